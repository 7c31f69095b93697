//! `GET /v1/devices/{id}/readings`: decoded readings as JSON or CSV.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::devices::find;
use super::problem::Problem;
use super::query::{Query, iso};
use crate::core::Core;
use crate::readings::{ChannelInfo, Readings, Value, decode_all, sound, to_f64};

/// Most readings (samples) in one answer.
const READINGS_MAX: u32 = 100_000;
/// Most windows read for one answer.
const WINDOWS_MAX: u32 = 20_000;

/// `?from&to&limit&format=json|csv`: samples with `from <= time < to`, by time; if there are more than `limit`,
/// the newest of them, and the answer says so.
pub(super) async fn list(
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::new(query, &["from", "to", "limit", "format"])?;
    let csv = wants_csv(&query, &headers)?;
    let device = find(&core, &id).await?;
    let (from, to) = (query.time("from", 0)?, query.time("to", i64::MAX)?);
    let limit = query.number("limit", 10_000, READINGS_MAX)?;
    let n_windows = limit.min(WINDOWS_MAX);
    let rows = core.store.windows(device.short_id, from, to, n_windows).await?;
    let is_full = rows.len() == n_windows as usize;
    let (windows, n_flawed) = sound(decode_all(&core.bundles, rows).await?);
    let table = Table::new(&windows, from, to, limit as usize, is_full);
    Ok(if csv {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
            (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"readings.csv\"")),
        ];
        (headers, table.csv()).into_response()
    } else {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (headers, table.json(&device.id, n_flawed)).into_response()
    })
}

fn wants_csv(query: &Query, headers: &HeaderMap) -> Result<bool, Problem> {
    match query.get("format") {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(_) => Err(Problem::bad_request("bad_format", "`format` must be json or csv")),
        None => {
            let accept =
                headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            Ok(accept.split(',').any(|kind| kind.trim().split(';').next() == Some("text/csv")))
        }
    }
}

/// Samples of windows whose channels may differ, under the union of their channels.
struct Table<'a> {
    channels: Vec<&'a ChannelInfo>,
    rows: Vec<Row<'a>>,
    truncated: bool,
}

struct Row<'a> {
    t_ms: i64,
    window: &'a Readings,
    values: &'a [Value],
}

impl<'a> Table<'a> {
    fn new(windows: &'a [Readings], from: i64, to: i64, limit: usize, more: bool) -> Self {
        let mut channels: Vec<&ChannelInfo> = Vec::new();
        for channel in windows.iter().flat_map(|window| window.channels.iter()) {
            if !channels.iter().any(|known| known.name == channel.name) {
                channels.push(channel);
            }
        }
        let samples =
            |window: &'a Readings| window.samples().map(move |(t_ms, values)| Row { t_ms, window, values });
        let mut rows: Vec<Row<'_>> =
            windows.iter().flat_map(samples).filter(|row| (from..to).contains(&row.t_ms)).collect();
        // Windows may overlap when a device's clock was set back.
        rows.sort_by_key(|row| row.t_ms);
        let truncated = more || rows.len() > limit;
        rows.drain(..rows.len().saturating_sub(limit));
        Self { channels, rows, truncated }
    }

    /// The values of a row in the order of the table's channels.
    fn cells(&self, row: &Row<'a>) -> impl Iterator<Item = Option<Value>> {
        let of = |name: &str| row.window.channels.iter().position(|channel| channel.name == name);
        self.channels.iter().map(move |channel| row.values.get(of(&channel.name)?).copied())
    }

    fn json(&self, device: &str, n_flawed: usize) -> String {
        let channel = |c: &&ChannelInfo| json!({ "name": c.name, "unit": c.unit, "bound": to_f64(c.bound) });
        let channels: Vec<_> = self.channels.iter().map(channel).collect();
        let head = json!({
            "device": device, "channels": channels, "truncated": self.truncated, "flawed_windows": n_flawed,
        });
        // The rows are written by hand: a hundred thousand of them as a tree would take a hundred megabytes.
        let mut text = head.to_string();
        text.pop();
        text.push_str(",\"readings\":[");
        for (i, row) in self.rows.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let quality = row.window.t_quality.word();
            let _ = write!(text, "{comma}{{\"t\":{},\"time_quality\":\"{quality}\",\"values\":[", row.t_ms);
            for (i, cell) in self.cells(row).enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(
                    text,
                    "{comma}{}",
                    cell.map_or(serde_json::Value::Null, |value| value_json(&value))
                );
            }
            text.push_str("]}");
        }
        text.push_str("]}\n");
        text
    }

    fn csv(&self) -> String {
        let mut text = String::from("time");
        for channel in &self.channels {
            let name = if channel.unit.is_empty() {
                channel.name.clone()
            } else {
                format!("{} ({})", channel.name, channel.unit)
            };
            let _ = write!(text, ",{}", csv_text(&name));
        }
        text.push_str("\r\n");
        for row in &self.rows {
            text.push_str(&iso(row.t_ms));
            for cell in self.cells(row) {
                text.push(',');
                match cell {
                    Some(Value::Number(number)) => {
                        let _ = write!(text, "{number}");
                    }
                    Some(Value::Above) => text.push_str("above"),
                    Some(Value::Below) => text.push_str("below"),
                    Some(Value::Missing) | None => {}
                }
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// A value in JSON: a number, `null` where the sensor gave none, `"above"` or `"below"` outside its range.
pub(crate) fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) if number.scale() == 0 => number.mantissa().into(),
        Value::Number(number) => to_f64(*number).into(),
        Value::Missing => serde_json::Value::Null,
        Value::Above => "above".into(),
        Value::Below => "below".into(),
    }
}

/// A text cell (RFC 4180) that no spreadsheet takes for a formula: such a one gets an apostrophe before it.
pub(crate) fn csv_text(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains([',', '"', ';', '\'']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let check = |text: &str, cell: &str| assert_eq!(csv_text(text), cell);
        check("temperature (°C)", "temperature (°C)");
        check("=1+1", "\"'=1+1\"");
        check("  @SUM(A1)", "\"'  @SUM(A1)\"");
        check("\t=1", "\"' =1\"");
        check("a,b\"c", "\"a,b\"\"c\"");
        check("a\r\nb", "a  b");
    }

    #[test]
    fn values_keep_their_digits() {
        let check = |text: &str, json: &str| {
            assert_eq!(value_json(&Value::Number(text.parse().unwrap())).to_string(), json);
        };
        check("23.7", "23.7");
        check("-0.05", "-0.05");
        check("1013", "1013");
        check("0.123456789012345", "0.123456789012345");
        check("572.666666666667", "572.666666666667");
    }
}
