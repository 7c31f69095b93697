//! One device: charts of what it measured, and what somebody on the network saw of it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query as RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use kinglet_wire::counter::ShortCounter;
use kinglet_wire::frame::{Frame, Kind, Suite};
use kinglet_wire::payload::Reset;
use maud::{Markup, html};

use super::chart::{NARROW, Series, WIDE, format_time};
use super::{Live, layout, not_there, text};
use crate::access::Visitor;
use crate::core::{Core, SealedAt};
use crate::http::Problem;
use crate::http::query::{Query, iso};
use crate::offers::Offer;
use crate::readings::{ChannelInfo, Decoded, Readings, decode_all, sound};
use crate::reports;
use crate::store::{Coverage, DeviceRow, Flaw, Totals, WindowRow, day_of};

pub(super) const HOUR: i64 = 3_600_000;
/// What can be chosen: name in the address, words, length.
const RANGES: [(&str, &str, i64); 6] = [
    ("10m", "10 min", HOUR / 6),
    ("1h", "1 hour", HOUR),
    ("6h", "6 hours", 6 * HOUR),
    ("24h", "24 hours", 24 * HOUR),
    ("7d", "7 days", 7 * 24 * HOUR),
    ("30d", "30 days", 30 * 24 * HOUR),
];
const DEFAULT_RANGE: &str = "6h";
/// Windows decoded for one page.
const WINDOWS_MAX: u32 = 20_000;
/// Columns a chart is thinned to.
const COLUMNS: i64 = 450;

type Params = RawQuery<HashMap<String, String>>;

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    Path(id): Path<String>,
    RawQuery(query): Params,
) -> Result<Response, Problem> {
    let now = core.clock.now_ms();
    let range = range_of(query)?;
    let Some(row) = core.store.device(&id).await? else {
        let body =
            html! { p { "Add it with " code { "kinglet device add ID" } ", or look for it in the list." } };
        return Ok(not_there("There is no such device", &body, now, &who).into_response());
    };
    let content = content(&core, &row, range).await?;
    let intro = html! {
        h1 { (if row.name.is_empty() { &row.id } else { &row.name }) }
        p.soft { "Device " code { (row.id) } ", added " (format_time(row.t_created, "%-d %B %Y")) }
    };
    let live = Live {
        from: format!("/live/devices/{}?range={}", row.id, range.0),
        events: format!("/v1/live?device={}", row.id),
        content,
    };
    Ok(layout(&row.id, now, &who, &intro, &live).into_response())
}

pub(super) async fn fragment(
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
    RawQuery(query): Params,
) -> Result<Html<String>, Problem> {
    let range = range_of(query)?;
    let unknown =
        || Problem::new(axum::http::StatusCode::NOT_FOUND, "unknown_device", "there is no such device");
    let row = core.store.device(&id).await?.ok_or_else(unknown)?;
    Ok(Html(content(&core, &row, range).await?.into_string()))
}

/// Name in the address, words, length.
pub(super) type Range = (&'static str, &'static str, i64);

pub(super) fn range_of(query: HashMap<String, String>) -> Result<Range, Problem> {
    let query = Query::new(query, &["range"])?;
    let wanted = query.get("range").unwrap_or(DEFAULT_RANGE);
    let found = RANGES.into_iter().find(|range| range.0 == wanted);
    found.ok_or_else(|| Problem::bad_request("bad_range", "`range` must be 10m, 1h, 6h, 24h, 7d or 30d"))
}

async fn content(core: &Core, row: &DeviceRow, range: Range) -> Result<Markup, Problem> {
    let now = core.clock.now_ms();
    let today = day_of(now);
    let newest = core.store.latest_windows(vec![row.short_id]).await?;
    let newest = decode_all(&core.bundles, newest).await?.into_iter().next();
    let (mut windows, mut to, mut coverage) = (Vec::new(), now, Coverage::default());
    if let Some((window, read)) = &newest {
        let end = window.t_first + read.as_ref().map_or(0, |read| read.extent().span_ms);
        // A recording replayed, or a device long silent: show its last stretch rather than nothing.
        to = if end > now || end < now - range.2 { end + 1 } else { now };
        let from = to - range.2;
        let rows = core.store.windows(row.short_id, from, to, WINDOWS_MAX).await?;
        coverage = core.store.coverage(row.short_id, from, to).await?;
        windows = decode_all(&core.bundles, rows).await?;
    }
    let (windows, n_flawed) = sound(windows);
    let stats = core.store.day_stats(Some(row.short_id), today, today).await?;
    let today = stats.first().map(|s| s.totals).unwrap_or_default();
    let offer = core.offer_to(row).await?;
    Ok(html! {
        (facts(row, today, coverage, n_flawed, now))
        (itself(row, offer.as_ref()))
        (ranges(&format!("/devices/{}", row.id), range))
        (charts(&windows, to - range.2, to, now))
        (overheard(core.overheard.last(row.short_id), newest, now))
        p { "All readings of this range: "
            a href={ "/v1/devices/" (row.id) "/readings?format=csv&from=" (to - range.2) "&to=" (to) } { "CSV" } ", "
            a href={ "/v1/devices/" (row.id) "/readings?from=" (to - range.2) "&to=" (to) } { "JSON" } }
    })
}

fn facts(row: &DeviceRow, today: Totals, coverage: Coverage, n_flawed: usize, now: i64) -> Markup {
    html! {
        @if let Some(t) = row.t_revoked { p.bad { "Revoked " (text::ago(t, now)) ": nothing of it is taken any more." } }
        dl.sums {
            div { dt { "last heard" } dd { @match row.t_last_seen { Some(t) => (text::ago(t, now)), None => "never" } } }
            div { dt { "spent today" } dd { (text::bytes(today.bytes)) } }
            div { dt { "windows today" } dd { (text::count(today.windows)) } }
            @if today.readings > 0 {
                div { dt { "per reading" } dd { (format!("{:.2} B", today.bytes as f64 / today.readings as f64)) } }
            }
            div { dt { "came twice" } dd { (text::count(today.duplicates)) } }
            div { dt { "lost on the device" } dd { (text::count(row.windows_lost)) } }
            div { dt { "missing in this range" } dd { @if coverage.missing_ms > 0 { (text::span(coverage.missing_ms)) } @else { "nothing" } } }
            @if n_flawed > 0 { div { dt { "windows that do not decode (kept)" } dd.bad { (n_flawed) } } }
        }
    }
}

/// What the device says of itself.
fn itself(row: &DeviceRow, offer: Option<&Offer>) -> Markup {
    let Some(status) = reports::last_status(row) else { return html! {} };
    html! {
        p.soft {
            "It has started " (text::counted(status.boot.into(), "time"))
            @if status.reset != Reset::Unknown { ", last because of: " (reports::reset_words(status.reset)) }
            @if let Some(mv) = status.battery_mv { "; battery " (format!("{:.2} V", f64::from(mv) / 1000.0)) }
            @if let Some(bytes) = status.heap_free { "; " (text::bytes(bytes.into())) " of heap free" }
            "."
            @if let Some(words) = reports::update_words(row, offer) { " It " (words) "." }
        }
    }
}

/// Links to the page at `path` for each range.
pub(super) fn ranges(path: &str, chosen: Range) -> Markup {
    html! {
        nav aria-label="Time range" {
            ul.ranges {
                @for (name, words, _) in RANGES {
                    li { a href={ (path) "?range=" (name) } aria-current=[(name == chosen.0).then_some("true")] { (words) } }
                }
            }
        }
    }
}

fn charts(windows: &[Readings], from: i64, to: i64, now: i64) -> Markup {
    let mut channels: Vec<&ChannelInfo> = Vec::new();
    for channel in windows.iter().rev().flat_map(|window| window.channels.iter()) {
        if !channels.iter().any(|known| known.name == channel.name) {
            channels.push(channel);
        }
    }
    if channels.is_empty() {
        return html! {
            section.card.empty { h2 { "No readings yet" } p.soft { "They appear here as soon as the first window is stored." } }
        };
    }
    html! {
        @if to > now + HOUR { p.bad { "The latest readings are from " (format_time(to, "%-d %B %Y, %H:%M")) ", which is to come: the device's clock, or this server's, is wrong." } }
        @if to < now - HOUR { p.soft { "The latest readings are from " (format_time(to, "%-d %B %Y, %H:%M")) "." } }
        @for channel in channels { (chart(windows, channel, from, to)) }
    }
}

fn chart(windows: &[Readings], channel: &ChannelInfo, from: i64, to: i64) -> Markup {
    let wide = Series::new(windows, channel, from, to, COLUMNS);
    let narrow = Series::new(windows, channel, from, to, COLUMNS / 3);
    let unit = if channel.unit.is_empty() { String::new() } else { format!("\u{a0}{}", channel.unit) };
    let Some((low, high)) = wide.extremes() else {
        return html! { section.card { h2 { (channel.name) } p.soft { "No numbers in this range." } } };
    };
    let digits = usize::from(channel.digits);
    let label = format!(
        "{}: {} readings from {low:.digits$} to {high:.digits$}{unit}, each within {}{unit} of the measured value",
        channel.name, wide.n_readings, channel.bound
    );
    let bound =
        if channel.bound.mantissa() == 0 { "exact".into() } else { format!("± {}{unit}", channel.bound) };
    html! {
        section.card {
            div.chart-head {
                h2 { (channel.name) }
                span.soft { (format!("{low:.digits$} to {high:.digits$}{unit}")) }
                span.soft { (bound) @if channel.bound.mantissa() != 0 { ", shaded" } }
                span.soft { (text::count(wide.n_readings as u64)) " readings" }
            }
            (wide.chart(WIDE, "wide-chart", &label))
            (narrow.chart(NARROW, "narrow-chart", &label))
        }
    }
}

fn overheard(sealed: Option<SealedAt>, newest: Option<Decoded>, now: i64) -> Markup {
    html! {
        div.pair {
            section.card {
                h2 { "What an eavesdropper sees" }
                @match sealed.as_ref().and_then(|(bytes, t)| Some((any_frame(bytes)?, bytes, *t))) {
                    Some((frame, bytes, t)) => (frame_view(&frame, bytes, t, now)),
                    None => p.soft { "The next frame is shown here. Sealed frames are not kept across a restart." },
                }
            }
            section.card {
                h2 { "What the server reads" }
                @match newest {
                    Some((row, Ok(readings))) => (window_view(&row, &readings)),
                    Some((_, Err(flaw))) => p.bad { (flaw_text(flaw)) },
                    None => p.soft { "Nothing yet." },
                }
            }
        }
    }
}

/// The frame, of whichever suite.
fn any_frame(bytes: &[u8]) -> Option<Frame<&[u8]>> {
    let on = |suite| Frame::checked_on(bytes, suite).ok();
    on(Suite::AesCcm16).or_else(|| on(Suite::AesCcm8))
}

fn frame_view(frame: &Frame<&[u8]>, bytes: &[u8], t: i64, now: i64) -> Markup {
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    let counter = match frame.counter() {
        ShortCounter::Low(low) => low.to_string(),
        ShortCounter::Full(full) => full.get().to_string(),
    };
    let kind = if frame.kind() == Kind::Data { "data" } else { "status" };
    html! {
        p.soft { (bytes.len()) " bytes, " (text::ago(t, now)) }
        p.hex tabindex="0" aria-label="The frame in hexadecimal" {
            span.h { (hex(frame.header())) } " " span.s { (hex(frame.sealed())) } " " span.t { (hex(frame.tag())) }
        }
        p {
            span.key.h { i {} "header " (frame.header_len()) " B" }
            span.key.s { i {} "sealed " (frame.sealed().len()) " B" }
            span.key.t { i {} "tag " (frame.tag().len()) " B" }
        }
        table {
            tr { th scope="row" { "type" } td { (kind) } }
            tr { th scope="row" { "device number" } td { (frame.short_id().0) } }
            tr { th scope="row" { "counter" } td { (counter) } }
            tr { th scope="row" { "key generation, low bits" } td { (frame.generation_low()) } }
            tr { th scope="row" { "bundle slot" } td { (frame.slot().get()) } }
            tr { th scope="row" { "also visible" } td { "its length and when it was sent" } }
        }
    }
}

fn window_view(row: &WindowRow, readings: &Readings) -> Markup {
    let samples: Vec<_> = readings.samples().collect();
    let shown = samples.len().saturating_sub(8);
    html! {
        p.soft {
            (samples.len()) " samples from a code of " (row.code.len()) " bytes (" (row.frame_len) " with header and tag), first at "
            time datetime=(iso(readings.t_first)) { (format_time(readings.t_first, "%H:%M:%S")) }
            ", time by " (row.t_quality.word())
        }
        div.scroll {
            table {
                thead { tr { th scope="col" { "time" } @for channel in readings.channels.iter() {
                    th.n scope="col" { (channel.name) @if !channel.unit.is_empty() { " (" (channel.unit) ")" } }
                } } }
                tbody {
                    @if shown > 0 { tr { td.soft colspan=(1 + readings.channels.len()) { "… " (shown) " before these" } } }
                    @for (t, values) in &samples[shown..] {
                        tr { td { (format_time(*t, "%H:%M:%S")) } @for (value, channel) in values.iter().zip(readings.channels.iter()) { td.n { (text::value(value, channel.digits)) } } }
                    }
                }
            }
        }
    }
}

/// What a flaw means and what to do.
pub(super) fn flaw_text(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Malformed => "The latest window does not decode with its bundle; it is kept as it came.",
        Flaw::BundleMissing => {
            "The bundle of the latest window is not on this server: add it with kinglet bundle add FILE."
        }
        Flaw::Damaged => {
            "The latest window's checksum does not match: the disk gave back other bytes. Restore a backup."
        }
    }
}
