//! The registry over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::problem::Problem;
use super::query::{Query, iso};
use crate::core::Core;
use crate::reports;
use crate::store::{DeviceRow, Totals, day_of};
use crate::vault::to_hex;

/// Devices on one page.
const PAGE: u32 = 1000;

/// `?after=SHORT_ID&limit=N`: the next page begins after the last short id of this one.
pub(super) async fn list(
    State(core): State<Arc<Core>>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::new(query, &["after", "limit"])?;
    let after = query.get("after").map_or(Ok(0), str::parse);
    let after = after.map_err(|_| Problem::bad_request("bad_number", "`after` must be a short id"))?;
    let rows = core.store.devices(after, query.number("limit", 100, PAGE)?).await?;
    let today = day_of(core.clock.now_ms());
    let stats = core.store.day_stats(None, today, today).await?;
    let of = |row: &DeviceRow| {
        stats.iter().find(|s| s.device == row.short_id).map(|s| s.totals).unwrap_or_default()
    };
    let devices: Vec<_> = rows.iter().map(|row| device_json(row, of(row))).collect();
    Ok(Json(json!({ "devices": devices })))
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let row = find(&core, &id).await?;
    let today = day_of(core.clock.now_ms());
    let stats = core.store.day_stats(Some(row.short_id), today, today).await?;
    let mut json = device_json(&row, stats.first().map(|s| s.totals).unwrap_or_default());
    json["status"] = reports::status_json(&row);
    json["update"] = reports::update_json(&row, core.offer_to(&row).await?.as_ref());
    json["totals"] = totals_json(core.store.totals(Some(row.short_id)).await?);
    Ok(Json(json))
}

/// `{"id": "cellar", "name": "Cellar"}`. The answer is the only one that ever holds the key.
pub(super) async fn add(State(core): State<Arc<Core>>, body: Bytes) -> Result<impl IntoResponse, Problem> {
    let bad = || Problem::bad_request("bad_json", "send {\"id\": \"cellar\", \"name\": \"optional\"}");
    let wanted: Value = serde_json::from_slice(&body).map_err(|_| bad())?;
    let text = |key: &str| wanted.get(key).and_then(Value::as_str);
    let known = wanted.as_object().is_some_and(|o| o.keys().all(|key| key == "id" || key == "name"));
    let (true, Some(id)) = (known, text("id")) else { return Err(bad()) };
    let (row, key) = core.registry.add(id, text("name").unwrap_or_default(), core.clock.now_ms()).await?;
    tracing::info!(device = %row.id, "device added");
    let mut json = device_json(&row, Totals::default());
    json["key"] = to_hex(key.expose_secret()).into();
    Ok((StatusCode::CREATED, Json(json)))
}

pub(super) async fn revoke(
    State(core): State<Arc<Core>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    core.registry.revoke(&id, core.clock.now_ms()).await?;
    core.sessions.end(&id);
    // It was found, so it is a device id: safe in a log line.
    tracing::info!(device = %id, "device revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// The device of this id, or the answer that there is none.
pub(super) async fn find(core: &Core, id: &str) -> Result<DeviceRow, Problem> {
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_device",
            "there is no device of this id: see /v1/devices",
        )
    };
    core.store.device(id).await?.ok_or_else(unknown)
}

fn device_json(row: &DeviceRow, today: Totals) -> Value {
    json!({
        "id": row.id,
        "short_id": row.short_id,
        "name": row.name,
        "created": iso(row.t_created),
        "revoked": row.t_revoked.map(iso),
        "last_seen": row.t_last_seen.map(iso),
        "windows_lost": row.windows_lost,
        "bundles": row.slots.iter().map(|(slot, f)| json!({ "slot": slot, "fingerprint": to_hex(f) })).collect::<Vec<_>>(),
        "today": totals_json(today),
    })
}

fn totals_json(totals: Totals) -> Value {
    json!({
        "frames": totals.frames,
        "bytes": totals.bytes,
        "windows": totals.windows,
        "readings": totals.readings,
        "duplicates": totals.duplicates,
    })
}
