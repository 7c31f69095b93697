//! What is or was wrong, over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query as Given, State};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::problem::Problem;
use super::query::Query;
use crate::alerts::alert_json;
use crate::core::Core;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

/// `?state=raised&before=ALERT&limit=N`: the newest first.
pub(super) async fn list(
    State(core): State<Arc<Core>>,
    Given(given): Given<HashMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::new(given, &["state", "before", "limit"])?;
    let raised_only = match query.get("state") {
        None | Some("all") => false,
        Some("raised") => true,
        Some(_) => return Err(Problem::bad_request("bad_state", "`state` must be raised or all")),
    };
    let before = match query.get("before") {
        None => i64::MAX,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("bad_number", "`before` must be the number of an alert"))?,
    };
    let limit = query.number("limit", LIMIT, LIMIT_MAX)?;
    let rows = core.store.alerts(before, limit, raised_only).await?;
    let alerts: Vec<Value> = rows.iter().map(|row| alert_json(row, row.step())).collect();
    Ok(Json(json!({ "alerts": alerts })))
}
