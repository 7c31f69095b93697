//! Who may ask, for how long, and what browsers may make of the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::core::Core;

const SAFE_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A time limit from the header to the answer (slow bodies included), and safe headers.
pub(super) async fn every_request(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(core.config.request_timeout_ms);
    let mut response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow().into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SAFE_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The answer to a request that has used up its time.
pub(super) fn too_slow() -> Problem {
    let detail = "the request took too long; nothing of it was acked, repeat it";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
}

/// Answers only under names that are this server's: a page of another site cannot point its own name here
/// (DNS rebinding) and read the dashboard through its visitor's browser.
pub(super) async fn host(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    if is_own_host(request.headers(), &core.config.hosts) {
        return next.run(request).await;
    }
    let detail = "this server does not go by the name in the Host header: use its IP address, or add the name to `hosts` in the configuration";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail).into_response()
}

/// Lets only the holder of the management token through.
pub(super) async fn management(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = given.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    if token.is_some_and(|token| core.vault.is_token(token)) {
        return next.run(request).await;
    }
    let detail = "this needs `Authorization: Bearer TOKEN`; the token lies in the file `token` of the server's data directory";
    Problem::new(StatusCode::UNAUTHORIZED, "token_required", detail).into_response()
}

fn is_own_host(headers: &HeaderMap, extra: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // An IP address is nobody's name: there is nothing to rebind.
    name.parse::<IpAddr>().is_ok() || name == "localhost" || extra.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        assert_eq!(is_own_host(&headers, &["sensors.lan".into()]), expected, "{host}");
    }

    #[test]
    fn only_own_names() {
        check("127.0.0.1:8470", true);
        check("[::1]:8470", true);
        check("localhost", true);
        check("LOCALHOST:1", true);
        check("sensors.lan:80", true);
        check("192.168.1.9:8470", true);
        check("evil.example", false);
        check("localhost.evil.example:8470", false);
        check("127.0.0.1.evil.example", false);
        check("", false);
        check("[::1", true);
        check(":8470", false);
        assert!(!is_own_host(&HeaderMap::new(), &[]));
    }
}
