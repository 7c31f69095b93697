//! The doors over HTTP.

mod bundles;
pub(crate) mod decode;
mod devices;
mod frames;
mod guard;
mod live;
mod metrics;
mod problem;
pub(crate) mod query;
pub(crate) mod readings;
mod seed;
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
pub(crate) use query::iso;
pub(crate) use readings::csv_text;
pub(crate) use serve::{accept, serve};

/// Largest body of a management call, apart from bundles, and of a join.
const SMALL_BODY: usize = 16 << 10;
/// Room for a request's parts around a bundle file.
const BUNDLE_BODY: usize = kinglet_codec::bundle::BUNDLE_LEN_MAX;

/// All routes of a server.
pub fn router(core: Arc<Core>) -> Router {
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
        .route("/v1/seed", get(seed::list))
        .route("/v1/seed/{name}/readings", get(seed::readings))
        .route("/v1/live", get(live::stream))
        .route("/metrics", get(metrics::metrics))
        .merge(dash::routes())
        .merge(managed)
        .layer(from_fn_with_state(Arc::clone(&core), guard::host));
    let shown = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(metrics::readyz))
        .merge(shown)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; the dashboard is at /")
        })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&core), guard::every_request));
    // What is sealed needs no name to be asked under: devices reach the server by whatever name they know. Nor
    // does it need what protects a browser; time and size are limited where the body is read.
    let sealed = Router::new()
        .route("/v1/frames", post(frames::take))
        .route("/v1/join", post(frames::join))
        .method_not_allowed_fallback(method_not_allowed);
    shown.merge(sealed).with_state(core)
}

async fn method_not_allowed() -> Problem {
    let detail = "this address does not take this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

async fn healthz() -> &'static str {
    "ok\n"
}
