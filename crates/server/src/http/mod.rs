//! The doors over HTTP.

mod bundles;
mod devices;
mod frames;
mod guard;
mod live;
mod problem;
pub(crate) mod query;
mod readings;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::core::Core;
use crate::dash;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use frames::split_frames;
pub(crate) use problem::Problem;
pub(crate) use serve::serve;

/// Largest body of a management call, apart from bundles.
const SMALL_BODY: usize = 16 << 10;
/// Room for a request's parts around a bundle file.
const BUNDLE_BODY: usize = kinglet_codec::bundle::BUNDLE_LEN_MAX;

/// All routes of a server.
pub fn router(core: Arc<Core>) -> Router {
    let frames_body = DefaultBodyLimit::max(core.config.body_bytes);
    let managed = Router::new()
        .route("/v1/devices", post(devices::add).layer(DefaultBodyLimit::max(SMALL_BODY)))
        .route("/v1/devices/{id}", axum::routing::delete(devices::revoke))
        .route("/v1/bundles", post(bundles::add).layer(DefaultBodyLimit::max(BUNDLE_BODY)))
        .layer(from_fn_with_state(Arc::clone(&core), guard::management));
    let shown = Router::new()
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{id}", get(devices::show))
        .route("/v1/devices/{id}/readings", get(readings::list))
        .route("/v1/bundles", get(bundles::list))
        .route("/v1/live", get(live::stream))
        .merge(dash::routes())
        .merge(managed)
        .layer(from_fn_with_state(Arc::clone(&core), guard::host));
    // What is sealed needs no name to be asked under: devices reach the server by whatever name they know.
    let sealed = Router::new()
        .route("/v1/frames", post(frames::take).layer(frames_body))
        .route("/v1/join", post(frames::join).layer(DefaultBodyLimit::max(SMALL_BODY)))
        .route("/healthz", get(healthz));
    Router::new()
        .merge(sealed)
        .merge(shown)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; the dashboard is at /")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this address does not take this method",
            )
        })
        .layer(from_fn_with_state(Arc::clone(&core), guard::every_request))
        .with_state(core)
}

async fn healthz() -> &'static str {
    "ok\n"
}
