//! Who may ask, for how long, and what browsers may make of the answer.
//!
//! A browser brings its cookie along whoever has made it ask. So a change by cookie is made only if the browser says in
//! `Origin` that it is a page of ours that asks (browsers say it with every POST, and no page can say it for them); besides,
//! the cookie is `SameSite=Strict`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::route::{Needs, Route};
use crate::access::{Brought, By, Visitor};
use crate::core::Core;
use crate::store::{Role, StoreError};

const SAFE_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: browsers would then say `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
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

/// Who asks, as the connection says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    pub(crate) by_tls: bool,
}

/// Lets those through whom the route is for, and tells it who they are.
pub(super) async fn admit(
    State((core, route)): State<(Arc<Core>, &'static Route)>,
    mut request: Request,
    next: Next,
) -> Response {
    let current = core.current();
    // Only under names that are this server's: a page of another site cannot point its own name here (DNS rebinding) and
    // read the dashboard through its visitor's browser.
    if !is_own_host(request.headers(), &current.hosts) {
        let detail = "this server does not go by the name in the Host header: use its IP address, or add the name to `hosts` in the configuration";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail).into_response();
    }
    let least = match route.needs {
        Needs::Role(role) | Needs::Page(role) => role,
        Needs::Metrics if !current.metrics_without_login => Role::Viewer,
        Needs::Metrics | Needs::OwnName | Needs::Nothing | Needs::Seal => return next.run(request).await,
    };
    let (by_tls, is_safe) = (by_tls(&request), request.method().is_safe());
    match visitor(&core, request.headers().clone(), by_tls, is_safe, least).await {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(Refused::LogIn) if matches!(route.needs, Needs::Page(_)) => {
            to_login(request.uri()).into_response()
        }
        Err(refused) => Problem::from(refused).into_response(),
    }
}

/// Why somebody is not let through.
enum Refused {
    LogIn,
    Role { has: Role, least: Role },
    ForeignOrigin,
    Store(StoreError),
}

async fn visitor(
    core: &Core,
    headers: HeaderMap,
    by_tls: bool,
    is_safe: bool,
    least: Role,
) -> Result<Visitor, Refused> {
    let brought = brought(&headers, by_tls);
    let visitor = core.visitor(brought).await.map_err(Refused::Store)?.ok_or(Refused::LogIn)?;
    if matches!(visitor.by, By::Session(_)) && !is_safe && !is_own_origin(&headers) {
        return Err(Refused::ForeignOrigin);
    }
    match visitor.by {
        _ if visitor.role >= least => Ok(visitor),
        By::Nothing => Err(Refused::LogIn),
        _ => Err(Refused::Role { has: visitor.role, least }),
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::LogIn => {
                let detail = "this needs `Authorization: Bearer TOKEN`: make a token with `kinglet token add --name NAME`, or take the one in the file `token` of the server's data directory";
                Self::new(StatusCode::UNAUTHORIZED, "token_required", detail)
            }
            Refused::Role { has, least } => {
                let detail =
                    format!("this needs the role {}, and the role here is {}", least.word(), has.word());
                Self::new(StatusCode::FORBIDDEN, "role_required", detail)
            }
            Refused::ForeignOrigin => foreign_origin(),
            Refused::Store(error) => error.into(),
        }
    }
}

/// The answer to a change that no page of ours asks for.
pub(crate) fn foreign_origin() -> Problem {
    let detail = "the browser does not say that a page of this server asks: open the dashboard itself; a proxy before it must pass Host on as it is";
    Problem::new(StatusCode::FORBIDDEN, "foreign_origin", detail)
}

fn to_login(from: &axum::http::Uri) -> impl IntoResponse {
    let from = from.path_and_query().map_or("/", |from| from.as_str());
    let to = match from {
        "/" => "/login".to_owned(),
        from => {
            let next: String = form_urlencoded::byte_serialize(from.as_bytes()).collect();
            format!("/login?next={next}")
        }
    };
    // What was serialized has no byte that a header must not have.
    let to = HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/login"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)])
}

fn by_tls(request: &Request) -> bool {
    request.extensions().get::<Peer>().is_some_and(|peer| peer.by_tls)
}

/// What lets somebody in: a token, else a session's cookie.
fn brought(headers: &HeaderMap, by_tls: bool) -> Brought<'_> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return Brought::Token(bearer(value.as_bytes()).unwrap_or_default());
    }
    match session_cookie(headers, by_tls) {
        Some(session) => Brought::Session(session),
        None => Brought::Nothing,
    }
}

/// What stands behind `Bearer`.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// The name of the session's cookie. By TLS it is one that a browser takes from this very host by TLS alone, so that nobody
/// on the way can plant one; ports share cookies, so the other has another name.
pub(crate) fn cookie_name(by_tls: bool) -> &'static str {
    if by_tls { "__Host-kinglet" } else { "kinglet" }
}

/// What the session's cookie says; the first one, should there be several.
pub(crate) fn session_cookie(headers: &HeaderMap, by_tls: bool) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut named = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == cookie_name(by_tls)).map(|(_, value)| value)
}

/// True if the browser says that a page of this very server asks: same name, same port.
pub(crate) fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    name.is_some_and(|name| name.eq_ignore_ascii_case(host))
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

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_own_pages_may_change_things() {
        let check = |origin: &str, host: &str, expected: bool| {
            let headers = headers(&[(header::ORIGIN, origin), (header::HOST, host)]);
            assert_eq!(is_own_origin(&headers), expected, "{origin} {host}");
        };
        check("http://127.0.0.1:8470", "127.0.0.1:8470", true);
        check("https://Sensors.lan", "sensors.lan", true);
        check("http://127.0.0.1:8471", "127.0.0.1:8470", false);
        check("http://127.0.0.1", "127.0.0.1:8470", false);
        check("http://evil.example", "sensors.lan", false);
        check("null", "sensors.lan", false);
        check("sensors.lan", "sensors.lan", false);
        check("http://sensors.lan/", "sensors.lan", false);
        check("", "", false);
        assert!(!is_own_origin(&headers(&[(header::HOST, "sensors.lan")])));
    }

    #[test]
    fn cookies_and_tokens_are_found_where_they_stand() {
        let check = |cookie: &str, by_tls: bool, expected: Option<&str>| {
            let headers = headers(&[(header::COOKIE, cookie)]);
            assert_eq!(session_cookie(&headers, by_tls), expected, "{cookie}");
        };
        check("kinglet=x", false, Some("x"));
        check("a=b; kinglet=x;c=d", false, Some("x"));
        check("__Host-kinglet=y; kinglet=x", true, Some("y"));
        check("kinglet=x", true, None);
        check("__Host-kinglet=y", false, None);
        check("xkinglet=x; kinglet", false, None);
        check(";;=;", false, None);
        assert_eq!(bearer(b"Bearer x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"bearer "), Some(&b""[..]));
        assert_eq!(bearer(b"Basic Og=="), None);
        assert_eq!(bearer(b"bearer"), None);
    }
}
