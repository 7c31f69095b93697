//! Bundles over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;

use super::problem::Problem;
use super::query::iso;
use crate::bundles::AddBundleError;
use crate::core::Core;
use crate::vault::to_hex;

pub(super) async fn list(State(core): State<Arc<Core>>) -> Result<impl IntoResponse, Problem> {
    let rows = core.store.bundles().await?;
    let bundle = |row: &crate::store::BundleRow| {
        json!({
            "fingerprint": to_hex(&row.fingerprint), "name": row.name, "added": iso(row.t_added),
        })
    };
    Ok(Json(json!({ "bundles": rows.iter().map(bundle).collect::<Vec<_>>() })))
}

/// The body is the bundle file.
pub(super) async fn add(State(core): State<Arc<Core>>, body: Bytes) -> Result<impl IntoResponse, Problem> {
    let (bundle, is_new) = core.bundles.add(body.to_vec(), core.clock.now_ms()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((
        status,
        Json(json!({ "fingerprint": to_hex(&bundle.fingerprint()), "name": bundle.name(), "new": is_new })),
    ))
}

impl From<AddBundleError> for Problem {
    fn from(error: AddBundleError) -> Self {
        match error {
            AddBundleError::Bundle(error) => Self::bad_request("bad_bundle", error.to_string()),
            AddBundleError::Store(error) => error.into(),
        }
    }
}
