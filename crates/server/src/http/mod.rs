//! The doors over HTTP.

mod alerts;
mod bundles;
pub(crate) mod decode;
mod devices;
mod frames;
pub(crate) mod guard;
mod live;
mod metrics;
pub(crate) mod openapi;
mod people;
mod problem;
pub(crate) mod query;
pub(crate) mod readings;
pub(crate) mod route;
mod seed;
mod serve;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;

use crate::core::Core;
use crate::dash;
pub(crate) use frames::read_body;
pub(crate) use problem::Problem;
pub(crate) use query::iso;
pub(crate) use readings::csv_text;
pub(crate) use route::{Needs, Route};
pub(crate) use serve::{accept, serve};

/// Largest body of a management call, apart from bundles, and of a join.
const SMALL_BODY: usize = 16 << 10;
/// Room for a request's parts around a bundle file.
const BUNDLE_BODY: usize = kinglet_codec::bundle::BUNDLE_LEN_MAX;

/// Every address: those of the API, then those of the pages.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route> {
    table::ROUTES.iter().chain(dash::ROUTES)
}

/// All routes of a server.
pub fn router(core: Arc<Core>) -> Router {
    let is_sealed = |route: &&Route| route.needs == Needs::Seal;
    let shown = route::add(Router::new(), routes().filter(|route| !is_sealed(route)), &core)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; the dashboard is at /")
        })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&core), guard::every_request));
    // What is sealed or signed needs no name to be asked under: devices reach the server by whatever name they know. Nor
    // does it need what protects a browser; time and size are limited where the body is read.
    let sealed = route::add(Router::new(), routes().filter(is_sealed), &core)
        .method_not_allowed_fallback(method_not_allowed);
    shown.merge(sealed).with_state(core)
}

/// From the header to the answer, slow bodies included.
async fn lorawan(state: State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    let core = Arc::clone(&state);
    frames::in_time(&core, crate::lorawan::webhook(state, request)).await
}

async fn method_not_allowed() -> Problem {
    let detail = "this address does not take this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

async fn healthz() -> &'static str {
    "ok\n"
}
