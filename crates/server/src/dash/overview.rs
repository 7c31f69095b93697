//! All devices at a glance.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query as RawQuery, State};
use axum::response::{Html, IntoResponse};
use maud::{Markup, html};

use super::chart::Series;
use super::{Live, bird, layout, text};
use crate::access::Visitor;
use crate::core::Core;
use crate::http::Problem;
use crate::http::query::Query;
use crate::readings::{Readings, decode_all, sound};
use crate::store::{Coverage, DayStats, DeviceRow, Flaw, RejectCount, Totals, day_of};

/// Devices on the page.
const DEVICES_MAX: u32 = 200;
/// With more devices than this the small charts are left out: each is a question to the store.
const SPARKS_MAX: usize = 32;
/// How far back a small chart looks at most, and how many windows it takes.
const SPARK_MS: i64 = 6 * 3_600_000;
const SPARK_WINDOWS: u32 = 120;

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let after = after(query)?;
    let content = content(&core, after).await?;
    let from = if after == 0 { "/live/devices".into() } else { format!("/live/devices?after={after}") };
    let live = Live { from, events: "/v1/live".into(), content };
    Ok(layout("Devices", core.clock.now_ms(), &who, &html! { h1 { "Devices" } }, &live))
}

pub(super) async fn fragment(
    State(core): State<Arc<Core>>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<Html<String>, Problem> {
    Ok(Html(content(&core, after(query)?).await?.into_string()))
}

/// `?after=SHORT_ID`: where the page begins.
fn after(query: HashMap<String, String>) -> Result<u32, Problem> {
    Query::new(query, &["after"])?.number("after", 0, u32::MAX)
}

/// What one card shows.
struct Card {
    row: DeviceRow,
    today: Totals,
    coverage: Coverage,
    newest: Option<Result<Readings, Flaw>>,
    recent: Vec<Readings>,
}

/// The devices whose short ids come after `after`, as many as a page has.
async fn content(core: &Core, after: u32) -> Result<Markup, Problem> {
    let now = core.clock.now_ms();
    let today = day_of(now);
    let mut rows = core.store.devices(after, DEVICES_MAX + 1).await?;
    let is_more = rows.len() > DEVICES_MAX as usize;
    rows.truncate(DEVICES_MAX as usize);
    let n_devices = match (after, is_more) {
        (0, false) => rows.len() as u64,
        _ => core.store.census().await?.n_devices,
    };
    let next = rows.last().filter(|_| is_more).map(|row| row.short_id);
    let place = Place { after, next, n_devices };
    let stats = core.store.day_stats(None, today, today).await?;
    let rejects = core.store.rejects(today, today).await?;
    let cards = cards(core, rows, &stats).await?;
    let unsealed = super::seed::section(core, now).await?;
    let alerts = super::alerts::section(core, now).await?;
    Ok(html! {
        @if let Some(alerts) = alerts { (alerts) }
        @if !(cards.is_empty() && unsealed.is_some()) { (render(&cards, &place, &stats, &rejects, now)) }
        @else if !rejects.is_empty() { (refusals(&rejects)) }
        @if let Some(unsealed) = unsealed { (unsealed) }
    })
}

async fn cards(core: &Core, rows: Vec<DeviceRow>, stats: &[DayStats]) -> Result<Vec<Card>, Problem> {
    let newest = core.store.latest_windows(rows.iter().map(|row| row.short_id).collect()).await?;
    let mut newest = decode_all(&core.bundles, newest).await?;
    let with_sparks = rows.len() <= SPARKS_MAX;
    let mut cards = Vec::with_capacity(rows.len());
    for row in rows {
        let newest = newest.iter().position(|(w, _)| w.device == row.short_id).map(|i| newest.swap_remove(i));
        let today = stats.iter().find(|s| s.device == row.short_id).map(|s| s.totals).unwrap_or_default();
        let (mut recent, mut coverage) = (Vec::new(), Coverage::default());
        if let (true, Some((window, _))) = (with_sparks, &newest) {
            let from = window.t_first - SPARK_MS;
            let windows = core.store.windows(row.short_id, from, i64::MAX, SPARK_WINDOWS).await?;
            coverage = core.store.coverage(row.short_id, from, i64::MAX).await?;
            (recent, _) = sound(decode_all(&core.bundles, windows).await?);
        }
        cards.push(Card { row, today, coverage, newest: newest.map(|(_, decoded)| decoded), recent });
    }
    Ok(cards)
}

/// Which of the devices a page has.
struct Place {
    after: u32,
    /// What the next page comes after, if there is one.
    next: Option<u32>,
    n_devices: u64,
}

fn render(cards: &[Card], place: &Place, stats: &[DayStats], rejects: &[RejectCount], now: i64) -> Markup {
    if place.n_devices == 0 {
        return html! {
            section.card.empty {
                (bird())
                h2 { "No devices yet" }
                p { "Add one on the server's machine, and give it the key that is shown:" br; code { "kinglet device add cellar --data DIR" } }
                p.soft { "DIR is the server's data directory; leave it out if the server was started without one." }
                p.soft { "It appears here with its first reading." }
            }
        };
    }
    let sum = |of: fn(&Totals) -> u64| stats.iter().map(|s| of(&s.totals)).sum::<u64>();
    let n_refused: u64 = rejects.iter().map(|r| r.n).sum();
    html! {
        dl.sums {
            div { dt { @if place.n_devices == 1 { "device" } @else { "devices" } } dd { (text::count(place.n_devices)) } }
            div { dt { "windows stored today" } dd { (text::count(sum(|t| t.windows))) } }
            div { dt { "spent on the air today" } dd { (text::bytes(sum(|t| t.bytes))) } }
            div { dt { "came twice" } dd { (text::count(sum(|t| t.duplicates))) } }
            div { dt { "turned away" } dd { (text::count(n_refused)) } }
        }
        @if n_refused > 0 { (refusals(rejects)) }
        ul.grid { @for card in cards { li { (card.render(now)) } } }
        @if place.after > 0 || place.next.is_some() {
            nav.ways.pages aria-label="More devices" {
                span.soft { (text::count(cards.len() as u64)) " of " (text::count(place.n_devices)) " on this page" }
                @if place.after > 0 { a href="/" { "First page" } }
                @if let Some(next) = place.next { a href={ "/?after=" (next) } { "Next page" } }
            }
        }
    }
}

fn refusals(rejects: &[RejectCount]) -> Markup {
    let mut by_reason = std::collections::BTreeMap::<&str, u64>::new();
    for reject in rejects {
        *by_reason.entry(&reject.reason).or_default() += reject.n;
    }
    let words: Vec<_> =
        by_reason.iter().map(|(why, n)| format!("{} {}", text::count(*n), why.replace('_', " "))).collect();
    html! { p.soft { "Turned away today: " (words.join(", ")) "." } }
}

impl Card {
    fn render(&self, now: i64) -> Markup {
        let row = &self.row;
        let label = if row.name.is_empty() { &row.id } else { &row.name };
        html! {
            article.card.device {
                h2 { a href={ "/devices/" (row.id) } { (label) } }
                div.when {
                    @if row.t_revoked.is_some() { span.badge.bad { "revoked" } " " }
                    @match row.t_last_seen {
                        Some(t) => { "heard " (text::ago(t, now)) },
                        None => { "never heard" },
                    }
                }
                (self.values())
                (self.spark())
                p.facts {
                    @if self.today.bytes > 0 { span { (text::bytes(self.today.bytes)) " today" } }
                    @if self.today.windows > 0 { span { (text::counted(self.today.windows, "window")) } }
                    @if row.windows_lost > 0 { span.bad { (text::counted(row.windows_lost, "window")) " lost on the device" } }
                    @if self.coverage.missing_ms > 0 { span.bad { (text::span(self.coverage.missing_ms)) " missing" } }
                }
            }
        }
    }

    fn values(&self) -> Markup {
        match &self.newest {
            None if self.row.t_last_seen.is_some() => {
                html! { p.soft { "It has joined; no window is full yet." } }
            }
            None => html! { p.soft { "Waiting for its first frame." } },
            Some(Err(flaw)) => html! { p.bad { (super::device::flaw_text(*flaw)) } },
            Some(Ok(readings)) => {
                let last = readings.samples().next_back().map(|(_, values)| values).unwrap_or_default();
                html! {
                    dl.values {
                        @for (channel, value) in readings.channels.iter().zip(last).take(4) {
                            div {
                                dt { (channel.name) }
                                dd { (text::value(value, channel.digits)) @if !channel.unit.is_empty() { small { "\u{a0}" (channel.unit) } } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn spark(&self) -> Markup {
        let (Some(first), Some(last)) = (self.recent.first(), self.recent.last()) else { return html! {} };
        let Some(channel) = last.channels.first() else { return html! {} };
        let end = last.t_first + last.extent().span_ms;
        let from = first.t_first.max(end - SPARK_MS);
        Series::new(&self.recent, channel, from, end, 130).spark()
    }
}
