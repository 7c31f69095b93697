//! Readings of the seed's own mode: cards of their own, a page per name, and what both say about protection.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query as RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use super::chart::{NARROW, Series, WIDE, format_time};
use super::device::{HOUR, Range, range_of, ranges};
use super::{Live, layout, not_there, text};
use crate::access::Visitor;
use crate::core::Core;
use crate::http::Problem;
use crate::seed::{WHAT_IT_IS, number};
use crate::store::{SeedRun, SeedSeries, StoreError};

/// Samples read for one page: a month of one in ten seconds.
const SAMPLES_MAX: u32 = 300_000;
/// Samples, and how far back, for a small chart.
const SPARK_MAX: u32 = 2_500;
const SPARK_MS: i64 = 6 * HOUR;
/// Columns a chart is thinned to.
const COLUMNS: i64 = 450;

type Params = RawQuery<HashMap<String, String>>;

/// The names on the overview; empty if the mode was never used.
pub(super) async fn section(core: &Core, now: i64) -> Result<Option<Markup>, Problem> {
    let mut series = core.store.seed_series().await?;
    // The latest bundle of each name.
    series.dedup_by(|later, first| later.device == first.device);
    if series.is_empty() {
        return Ok(None);
    }
    let mut cards = Vec::with_capacity(series.len());
    for series in series {
        let from = series.t_last - SPARK_MS;
        let runs = core.store.seed_samples(&series.device, from, i64::MAX, SPARK_MAX).await?;
        cards.push(card(&series, &runs, now));
    }
    Ok(Some(html! {
        section.seed {
            h2 { "Without a key " span.badge.bad { "no protection" } }
            p.soft { (WHAT_IT_IS) }
            ul.grid { @for card in cards { li { (card) } } }
        }
    }))
}

fn card(series: &SeedSeries, runs: &[SeedRun], now: i64) -> Markup {
    let last = runs.last();
    html! {
        article.card.device {
            h2 { a href={ "/seed/" (series.device) } { (series.device) } }
            div.when { "heard " (text::ago(series.t_last, now)) }
            @if let Some(run) = last {
                dl.values {
                    @for (channel, value) in run.channels.iter().zip(latest(run)).take(4) {
                        div { dt { (channel.0) } dd { (shown(*value)) @if !channel.1.is_empty() { small { "\u{a0}" (channel.1) } } } }
                    }
                }
                @if let Some(channel) = channels(runs).first() {
                    (line(runs, channel, series.t_last - SPARK_MS, series.t_last + 1, 130).spark())
                }
            }
            p.facts { span { (text::count(series.n_samples)) " readings" } }
        }
    }
}

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    Path(name): Path<String>,
    RawQuery(query): Params,
) -> Result<Response, Problem> {
    let now = core.clock.now_ms();
    let range = range_of(query)?;
    let series = of(&core, &name).await?;
    if series.is_empty() {
        let body = html! { p { "No reading has been decoded under this name." } };
        return Ok(not_there("There is nothing under this name", &body, now, &who).into_response());
    }
    let content = content(&core, &series, range).await?;
    let intro = html! {
        h1 { (name) }
        p { span.badge.bad { "no protection" } " " span.soft { (WHAT_IT_IS) } }
    };
    let live = Live {
        from: format!("/live/seed/{name}?range={}", range.0),
        events: format!("/v1/live?device={name}"),
        content,
    };
    Ok(layout(&name, now, &who, &intro, &live).into_response())
}

pub(super) async fn fragment(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
    RawQuery(query): Params,
) -> Result<Html<String>, Problem> {
    let range = range_of(query)?;
    let series = of(&core, &name).await?;
    if series.is_empty() {
        let nothing = "no reading has been decoded under this name";
        return Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown_device", nothing));
    }
    Ok(Html(content(&core, &series, range).await?.into_string()))
}

/// The series of a name, the latest first.
async fn of(core: &Core, name: &str) -> Result<Vec<SeedSeries>, StoreError> {
    Ok(core.store.seed_series().await?.into_iter().filter(|series| series.device == name).collect())
}

async fn content(core: &Core, series: &[SeedSeries], range: Range) -> Result<Markup, Problem> {
    let now = core.clock.now_ms();
    let newest = &series[0];
    let end = newest.t_last;
    // Silent for long: its last stretch rather than nothing.
    let to = if end >= now || end < now - range.2 { end + 1 } else { now };
    let from = to - range.2;
    let runs = core.store.seed_samples(&newest.device, from, to, SAMPLES_MAX).await?;
    let fingerprint: String = newest.bundle.iter().map(|b| format!("{b:02x}")).collect();
    let name = &newest.device;
    Ok(html! {
        dl.sums {
            div { dt { "last heard" } dd { (text::ago(end, now)) } }
            div { dt { "readings kept" } dd { (text::count(series.iter().map(|s| s.n_samples).sum())) } }
        }
        p.soft { "Decoded by the bundle " code { (fingerprint) } ", timed by their arrival." }
        (ranges(&format!("/seed/{name}"), range))
        @if to < now - HOUR { p.soft { "The latest readings are from " (format_time(to, "%-d %B %Y, %H:%M")) "." } }
        @for channel in channels(&runs) { (chart(&runs, &channel, from, to)) }
        p { "All readings of this range: "
            a href={ "/v1/seed/" (name) "/readings?format=csv&limit=100000&from=" (from) "&to=" (to) } { "CSV" } ", "
            a href={ "/v1/seed/" (name) "/readings?limit=100000&from=" (from) "&to=" (to) } { "JSON" } }
    })
}

fn chart(runs: &[SeedRun], channel: &(String, String), from: i64, to: i64) -> Markup {
    let (name, unit) = channel;
    let wide = line(runs, channel, from, to, COLUMNS);
    let narrow = line(runs, channel, from, to, COLUMNS / 3);
    let Some((low, high)) = wide.extremes() else { return html! {} };
    let unit = if unit.is_empty() { String::new() } else { format!("\u{a0}{unit}") };
    let label = format!("{name}: {} readings from {low:.2} to {high:.2}{unit}", wide.n_readings);
    html! {
        section.card {
            div.chart-head {
                h2 { (name) }
                span.soft { (format!("{low:.2} to {high:.2}{unit}")) }
                span.soft { (text::count(wide.n_readings as u64)) " readings" }
                span.soft { "no bound is promised" }
            }
            (wide.chart(WIDE, "wide-chart", &label))
            (narrow.chart(NARROW, "narrow-chart", &label))
        }
    }
}

fn line(runs: &[SeedRun], channel: &(String, String), from: i64, to: i64, n_columns: i64) -> Series {
    let mut samples = Vec::new();
    for run in runs {
        let Some(idx) = run.channels.iter().position(|c| c == channel) else { continue };
        let values = run.values.chunks_exact(run.channels.len());
        samples.extend(run.times.iter().zip(values).map(|(t, values)| (*t, f64::from(values[idx]))));
    }
    samples.sort_by_key(|(t, _)| *t);
    let mut gaps: Vec<i64> = samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
    Series::of(samples.into_iter(), (from, to), n_columns, usual, 0.0)
}

/// The channels of all runs, the latest first.
fn channels(runs: &[SeedRun]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for channel in runs.iter().rev().flat_map(|run| &run.channels) {
        if !all.contains(channel) {
            all.push(channel.clone());
        }
    }
    all
}

fn latest(run: &SeedRun) -> &[f32] {
    run.values.rchunks_exact(run.channels.len().max(1)).next().unwrap_or_default()
}

fn shown(value: f32) -> String {
    text::value(&number(value), 2)
}
