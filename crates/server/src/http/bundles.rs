//! Bundles over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query as RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use super::problem::Problem;
use super::query::{Query, iso};
use crate::bundles::AddBundleError;
use crate::core::Core;
use crate::pieces::NoPiece;
use crate::store::Fingerprint;
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

/// Longest piece.
const PIECE_MAX: u32 = 1 << 16;

/// A piece of the model of a bundle that is offered: `?from=0&len=1024`. Whoever made it has signed it, so anybody may bring it.
pub(super) async fn piece(
    State(core): State<Arc<Core>>,
    Path(fingerprint): Path<String>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::new(query, &["from", "len"])?;
    let from = query.get("from").map_or(Ok(0), str::parse);
    let from: usize = from.map_err(|_| Problem::bad_request("bad_number", "`from` must be a number"))?;
    let len = query.number("len", PIECE_MAX, PIECE_MAX)? as usize;
    let wanted = from_hex(&fingerprint).ok_or(NoPiece::NotOffered)?;
    let piece = core.piece(&wanted, from, len).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], piece))
}

fn from_hex(text: &str) -> Option<Fingerprint> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (idx, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * idx..2 * idx + 2)?, 16).ok()?;
    }
    Some(out)
}

impl From<NoPiece> for Problem {
    fn from(why: NoPiece) -> Self {
        let status = match why {
            NoPiece::Store(error) => return error.into(),
            NoPiece::BeyondTheEnd(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            NoPiece::Malformed | NoPiece::NotOffered => StatusCode::NOT_FOUND,
        };
        Self::new(status, why.word(), why.to_string())
    }
}

impl From<AddBundleError> for Problem {
    fn from(error: AddBundleError) -> Self {
        match error {
            AddBundleError::Bundle(error) => Self::bad_request("bad_bundle", error.to_string()),
            AddBundleError::Store(error) => error.into(),
        }
    }
}
