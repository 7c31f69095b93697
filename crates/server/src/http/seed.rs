//! `GET /v1/seed` and `GET /v1/seed/{name}/readings`: what the seed's own mode has decoded.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, Query as RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::problem::Problem;
use super::query::{Query, iso};
use super::readings::{csv_text, value_json};
use crate::core::Core;
use crate::seed::{WHAT_IT_IS, number};
use crate::store::SeedRun;

/// Most samples in one answer.
const SAMPLES_MAX: u32 = 100_000;

/// All series.
pub(super) async fn list(State(core): State<Arc<Core>>) -> Result<Response, Problem> {
    let series = core.store.seed_series().await?;
    let one = |s: &crate::store::SeedSeries| {
        json!({
            "device": s.device, "bundle": s.bundle.iter().map(|b| format!("{b:02x}")).collect::<String>(),
            "channels": channels(&s.channels), "samples": s.n_samples, "t_last": s.t_last,
        })
    };
    let body = json!({ "series": series.iter().map(one).collect::<Vec<_>>(), "protection": WHAT_IT_IS });
    Ok(axum::Json(body).into_response())
}

/// `?from&to&limit&format=json|csv`, as for sealed devices; of several bundles the samples follow each other by time.
pub(super) async fn readings(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let query = Query::new(query, &["from", "to", "limit", "format"])?;
    let csv = match query.get("format") {
        Some("csv") => true,
        None | Some("json") => false,
        Some(_) => return Err(Problem::bad_request("bad_format", "`format` must be json or csv")),
    };
    let (from, to) = (query.time("from", 0)?, query.time("to", i64::MAX)?);
    let limit = query.number("limit", 10_000, SAMPLES_MAX)?;
    if !core.store.seed_series().await?.iter().any(|s| s.device == name) {
        let detail = "no reading has been decoded under this name; /v1/seed lists those there are";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_device", detail));
    }
    // One more than asked for tells whether there are more.
    let runs = core.store.seed_samples(&name, from, to, limit.saturating_add(1)).await?;
    let table = Table::new(&runs, limit as usize);
    if csv {
        let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
        let saved = HeaderValue::from_static("attachment; filename=\"readings.csv\"");
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, saved)];
        return Ok((headers, table.csv()).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((kind, table.json(&name)).into_response())
}

/// Samples of runs whose channels may differ, by time, under the union of their channels.
struct Table<'a> {
    channels: Vec<(String, String)>,
    rows: Vec<(i64, &'a SeedRun, &'a [f32])>,
    truncated: bool,
}

impl<'a> Table<'a> {
    fn new(runs: &'a [SeedRun], limit: usize) -> Self {
        let mut channels: Vec<(String, String)> = Vec::new();
        for channel in runs.iter().flat_map(|run| &run.channels) {
            if !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        let samples = |run: &'a SeedRun| {
            let values = run.values.chunks_exact(run.channels.len().max(1));
            run.times.iter().zip(values).map(move |(t, values)| (*t, run, values))
        };
        let mut rows: Vec<_> = runs.iter().flat_map(samples).collect();
        rows.sort_by_key(|(t, ..)| *t);
        let truncated = rows.len() > limit;
        rows.drain(..rows.len().saturating_sub(limit));
        Self { channels, rows, truncated }
    }

    fn cells(&self, run: &SeedRun, values: &[f32]) -> impl Iterator<Item = Option<Value>> {
        let of = |channel| run.channels.iter().position(|c| c == channel);
        self.channels.iter().map(move |c| Some(value_json(&number(*values.get(of(c)?)?))))
    }

    fn csv(&self) -> String {
        let mut text = String::from("time");
        for (name, unit) in &self.channels {
            let name = if unit.is_empty() { name.clone() } else { format!("{name} ({unit})") };
            let _ = write!(text, ",{}", csv_text(&name));
        }
        text.push_str("\r\n");
        for (t, run, values) in &self.rows {
            text.push_str(&iso(*t));
            for cell in self.cells(run, values) {
                let _ = write!(text, ",{}", cell.map(|c| plain(&c)).unwrap_or_default());
            }
            text.push_str("\r\n");
        }
        text
    }

    fn json(&self, device: &str) -> String {
        let row = |(t, run, values): &(i64, &SeedRun, &[f32])| json!({ "t": t, "values": self.cells(run, values).map(Option::unwrap_or_default).collect::<Vec<_>>() });
        let body = json!({
            "device": device, "channels": channels(&self.channels), "protection": WHAT_IT_IS,
            "truncated": self.truncated, "readings": self.rows.iter().map(row).collect::<Vec<_>>(),
        });
        body.to_string() + "\n"
    }
}

fn plain(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            format!("{}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

fn channels(channels: &[(String, String)]) -> Vec<Value> {
    channels.iter().map(|(name, unit)| json!({ "name": name, "unit": unit })).collect()
}
