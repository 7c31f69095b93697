//! What is or was wrong.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use maud::{Markup, html};

use super::{frame, text, ways};
use crate::access::Visitor;
use crate::core::Core;
use crate::http::Problem;
use crate::store::{AlertRow, StoreError};

/// Alerts on the page.
const ALERTS_MAX: u32 = 200;
/// Raised ones above the devices.
const RAISED_MAX: u32 = 5;

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
) -> Result<impl IntoResponse, Problem> {
    let now = core.clock.now_ms();
    let rows = core.store.alerts(i64::MAX, ALERTS_MAX, false).await?;
    let content = html! {
        h1 { "Alerts" }
        @if rows.is_empty() {
            section.card {
                @if core.current().alerts.is_empty() {
                    p { "Nothing is looked for. A section " code { "[[alert]]" } " in the configuration says what is to be noticed: devices that do not come, frames that do not open, readings outside of limits." }
                    p.soft { code { "kinglet config" } " prints examples." }
                } @else {
                    p { "Nothing was wrong so far." }
                }
            }
        } @else {
            section.card { (table(&rows, now)) }
            @if rows.len() == ALERTS_MAX as usize { p.soft { "The newest " (ALERTS_MAX) "; all are at " a href="/v1/alerts" { "/v1/alerts" } "." } }
        }
    };
    Ok(frame("Alerts", now, &ways(&who), &content))
}

/// What is raised now, for the top of another page.
pub(super) async fn section(core: &Core, now: i64) -> Result<Option<Markup>, StoreError> {
    let mut rows = core.store.alerts(i64::MAX, RAISED_MAX + 1, true).await?;
    let is_more = rows.len() > RAISED_MAX as usize;
    rows.truncate(RAISED_MAX as usize);
    Ok((!rows.is_empty()).then(|| {
        html! {
            section.card.alerts {
                h2 { "Alerts" }
                (table(&rows, now))
                @if is_more { p.soft { a href="/alerts" { "All alerts" } } }
            }
        }
    }))
}

fn table(rows: &[AlertRow], now: i64) -> Markup {
    html! {
        div.scroll { table.alert-rows {
            thead { tr { th scope="col" { "Device" } th scope="col" { "What" } th scope="col" { "Rule" } th scope="col" { "Raised" } th scope="col" { "Cleared" } } }
            tbody {
                @for row in rows {
                    tr {
                        td { a href={ "/devices/" (row.device_id) } { (row.device_id) } }
                        td { (row.alert.said) }
                        td { (row.alert.rule) }
                        td { (text::ago(row.alert.t_raised, now)) }
                        td { @match row.t_cleared { Some(t) => { (text::ago(t, now)) }, None => { span.badge.bad { "raised" } } } }
                    }
                }
            }
        } }
    }
}
