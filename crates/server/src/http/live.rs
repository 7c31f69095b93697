//! `GET /v1/live`: readings as they are stored, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::problem::Problem;
use super::query::Query;
use super::readings::value_json;
use crate::access::Visitor;
use crate::core::Core;
use crate::live::LiveWindow;

/// How often it is looked whether who watches still may.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// `?device=ID`: only this one. Events: `readings`, one per window, and `missed` with the number of windows
/// a slow reader was too late for.
pub(super) async fn stream(
    State(core): State<Arc<Core>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::new(query, &["device"])?;
    let only = query.get("device").map(str::to_owned);
    let place = Arc::clone(&core.live_streams).try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_streams",
            "too many live streams are open: close one",
        )
    })?;
    let watcher = looks_after(visitor, Arc::clone(&core));
    let state = (core.live.subscribe(), core.stopping.subscribe(), only, place, watcher);
    let events = futures_util::stream::unfold(
        state,
        |(mut live, mut stopping, only, place, mut watcher)| async move {
            let event = loop {
                let received = tokio::select! {
                    biased;
                    _ = watcher.join_next() => return None,
                    // What was stored before the end is still told.
                    received = live.recv() => received,
                    // Streams end with the server; otherwise they would keep it from draining.
                    _ = stopping.wait_for(|stopping| *stopping) => return None,
                };
                match received {
                    Ok(window) if only.as_ref().is_none_or(|id| *id == window.device) => {
                        break window_event(&window);
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(n)) => break Event::default().event("missed").data(n.to_string()),
                    Err(RecvError::Closed) => return None,
                }
            };
            Some((Ok::<_, Infallible>(event), (live, stopping, only, place, watcher)))
        },
    );
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Ends once somebody who watches would not be let in any more: a stream may outlive what let them in. A task of its own,
/// which ends with the stream, so that no look is cut short by what is told meanwhile.
fn looks_after(visitor: Visitor, core: Arc<Core>) -> JoinSet<()> {
    let mut look = JoinSet::new();
    look.spawn(async move {
        while core.is_still_let_in(&visitor).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    look
}

fn window_event(window: &LiveWindow) -> Event {
    let readings = &window.readings;
    let samples = readings.samples().map(|(_, values)| values.iter().map(value_json).collect::<Vec<_>>());
    let data = json!({
        "device": window.device,
        "t_first": readings.t_first,
        "period_ms": readings.period_ms,
        "time_quality": readings.t_quality.word(),
        "channels": readings.channels.iter().map(|c| json!({ "name": c.name, "unit": c.unit })).collect::<Vec<_>>(),
        "values": samples.collect::<Vec<_>>(),
    });
    Event::default().event("readings").data(data.to_string())
}
