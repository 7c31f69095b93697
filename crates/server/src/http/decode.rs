//! `POST /decode`: the seed's own door, on a port of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::seed::{Refused, SeedMode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The one route of the seed's own mode.
pub(crate) fn router(seed: Arc<SeedMode>) -> Router {
    Router::new()
        .route("/decode", post(decode))
        .fallback(|| async { Refused::NotFound })
        .method_not_allowed_fallback(|| async { Refused::Method })
        .with_state(seed)
}

async fn decode(State(seed): State<Arc<SeedMode>>, request: Request) -> Response {
    let answer = answer(&seed, request).await.inspect_err(|refused| seed.count(refused));
    match answer {
        Ok(text) => ([(header::CONTENT_TYPE, JSON)], text).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn answer(seed: &SeedMode, mut request: Request) -> Result<String, Refused> {
    check_headers(request.headers())?;
    let device = name_in(request.uri().query())?;
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    if announced.is_some_and(|len: u64| len > seed.body_len_max() as u64) {
        return Err(Refused::Body);
    }
    DefaultBodyLimit::max(seed.body_len_max()).apply(&mut request);
    let limit = Duration::from_millis(seed.core.config.request_timeout_ms);
    let read = tokio::time::timeout(limit, Bytes::from_request(request, &()));
    let body = read.await.map_err(|_| Refused::TimedOut)?.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refused::Body,
        _ => Refused::CutShort,
    })?;
    seed.take(&body, device.as_deref())
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refused> {
    // Every browser says where a POST comes from: a foreign page must not ask or add anything through its visitor.
    if headers.contains_key(header::ORIGIN) {
        return Err(Refused::Browser);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refused::ContentType) }
}

/// `?device=NAME`. Names are plain letters: nothing in them is ever percent-encoded.
fn name_in(query: Option<&str>) -> Result<Option<String>, Refused> {
    match query {
        None | Some("") => Ok(None),
        Some(query) => match query.strip_prefix("device=") {
            Some(name) if !name.contains('&') => Ok(Some(name.into())),
            _ => Err(Refused::UnknownParameter),
        },
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.to_string() }).to_string();
        let mut response = (self.status(), [(header::CONTENT_TYPE, JSON)], body).into_response();
        if self == Self::Busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}
