//! `GET /v1/live`: readings as they are stored, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::problem::Problem;
use super::query::Query;
use super::readings::value_json;
use crate::core::Core;
use crate::live::LiveWindow;

/// `?device=ID`: only this one. Events: `readings`, one per window, and `missed` with the number of windows
/// a slow reader was too late for.
pub(super) async fn stream(
    State(core): State<Arc<Core>>,
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
    let state = (core.live.subscribe(), core.stopping.subscribe(), only, place);
    let events = futures_util::stream::unfold(state, |(mut live, mut stopping, only, place)| async move {
        let event = loop {
            let received = tokio::select! {
                // What was stored before the end is still told.
                biased;
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
        Some((Ok::<_, Infallible>(event), (live, stopping, only, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
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
