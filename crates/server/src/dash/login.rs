//! The way in, and out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use zeroize::Zeroizing;

use super::{bird, frame};
use crate::access::{LoginRefused, Secret};
use crate::core::Core;
use crate::http::Problem;
use crate::http::guard::{Peer, cookie_name, foreign_origin, is_own_origin, session_cookie};

/// Largest body of a login.
const FORM_LEN_MAX: usize = 8 << 10;

/// `?next=PATH`: where somebody wanted to go.
pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let has_users = core.store.standing(None).await?.has_users;
    let next = query.get("next").map_or("/", |next| own_place(next));
    Ok(render(&core, has_users, next, "", None).into_response())
}

/// The form's answer: the place somebody wanted to go to, or the page again with what is wrong.
pub(super) async fn log_in(State(core): State<Arc<Core>>, mut request: Request) -> Result<Response, Problem> {
    // Nobody shall be logged in as somebody else without noticing either.
    if !is_own_origin(request.headers()) {
        return Err(foreign_origin());
    }
    let peer = request.extensions().get::<Peer>().copied();
    let by_tls = peer.is_some_and(|peer| peer.by_tls);
    // A proxy may speak TLS for this server; its browsers know.
    let origin = request.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
    let is_secure = by_tls || origin.is_some_and(|origin| origin.starts_with(b"https:"));
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip);
    DefaultBodyLimit::max(FORM_LEN_MAX).apply(&mut request);
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "a name and a password are shorter than this",
        )
    };
    let body = Bytes::from_request(request, &()).await.map_err(|_| too_large())?;
    let form = LoginForm::parse(&body);
    let next = own_place(&form.next);
    let refused = match core.log_in(&form.name, form.password, from).await {
        Ok(secret) => {
            let headers = [
                (header::LOCATION, place_header(next)),
                (header::SET_COOKIE, cookie(&secret, by_tls, is_secure)),
            ];
            return Ok((StatusCode::SEE_OTHER, headers).into_response());
        }
        Err(LoginRefused::Store(error)) => return Err(error.into()),
        Err(refused) => refused,
    };
    let status = match &refused {
        LoginRefused::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        LoginRefused::Wrong => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let has_users = core.store.standing(None).await?.has_users;
    let page = render(&core, has_users, next, &form.name, Some(&refused.to_string()));
    let mut response = (status, page).into_response();
    if let LoginRefused::TooMany { wait } = refused {
        response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
    }
    Ok(response)
}

/// Ends the session, and with it the cookie.
pub(super) async fn log_out(State(core): State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    if !is_own_origin(request.headers()) {
        return Err(foreign_origin());
    }
    let by_tls = request.extensions().get::<Peer>().is_some_and(|peer| peer.by_tls);
    let session = session_cookie(request.headers(), by_tls);
    if let Some(secret) = session.and_then(|text| Secret::from_text(text.as_bytes())) {
        core.log_out(secret.hash()).await?;
    }
    let gone = HeaderValue::from_static(match by_tls {
        true => "__Host-kinglet=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure",
        false => "kinglet=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
    });
    let to = HeaderValue::from_static("/login");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, gone)]).into_response())
}

/// What the form says. The last of several of a name counts; what else stands there is ignored.
#[derive(Default)]
pub(crate) struct LoginForm {
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
    pub(crate) next: String,
}

impl LoginForm {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(body) {
            match &*key {
                "name" => form.name = value.into_owned(),
                "password" => form.password = Zeroizing::new(value.into_owned()),
                "next" => form.next = value.into_owned(),
                _ => {}
            }
        }
        form
    }
}

/// A place on this server: whoever writes the link shall not send anybody elsewhere. Browsers take `//` and `/\` for
/// another server, and leave tabs and line ends out before they look.
pub(crate) fn own_place(next: &str) -> &str {
    let is_plain = next.bytes().all(|b| (b'!'..=b'~').contains(&b) && b != b'\\');
    let is_own = next.starts_with('/') && !next.starts_with("//");
    if is_plain && is_own && next.len() <= 1024 { next } else { "/" }
}

fn place_header(place: &str) -> HeaderValue {
    HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("/"))
}

fn cookie(secret: &Secret, by_tls: bool, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = Zeroizing::new(format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict{secure}",
        cookie_name(by_tls),
        *secret.as_text()
    ));
    // Base64 and our own words are what a header may have.
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn render(
    core: &Core,
    has_users: bool,
    next: &str,
    name: &str,
    trouble: Option<&str>,
) -> axum::response::Html<String> {
    let content = html! {
        section.card.login {
            (bird())
            h1 { "Log in" }
            @if has_users {
                @if let Some(trouble) = trouble { p.bad role="alert" { (sentence(trouble)) } }
                (form(next, name, trouble.is_some()))
            } @else {
                p { "There are no users yet. Add one on the server's machine:" }
                p { code { "kinglet user add anna --role admin --data DIR" } }
                p.soft { "DIR is the server's data directory; leave it out if the server was started without one." }
            }
        }
    };
    frame("Log in", core.clock.now_ms(), &html! {}, &content)
}

fn form(next: &str, name: &str, again: bool) -> Markup {
    html! {
        form method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label for="name" { "Name" }
            input #name name="name" value=(name) autocomplete="username" autocapitalize="none" spellcheck="false"
                maxlength="64" required autofocus[!again];
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete="current-password" maxlength="256" required autofocus[again];
            button.go { "Log in" }
        }
    }
}

pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).chain(['.']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        let check = |next: &str, expected: &str| assert_eq!(own_place(next), expected, "{next:?}");
        check("/devices/cellar?range=6h", "/devices/cellar?range=6h");
        check("/", "/");
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nset-cookie: x",
            " /",
            "/é",
            "evil",
        ] {
            check(other, "/");
        }
        check(&format!("/{}", "x".repeat(2000)), "/");
    }

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let form = LoginForm::parse(b"next=%2Fdevices%2Fa&name=anna&password=a+b%26%C3%A9%3D&x=y&&=");
        assert_eq!(
            (form.name.as_str(), form.password.as_str(), form.next.as_str()),
            ("anna", "a b&é=", "/devices/a")
        );
    }

    #[test]
    fn the_cookie_is_for_the_server_alone() {
        let secret = Secret::random().unwrap();
        let check = |by_tls, is_secure, start: &str, end: &str| {
            let value = cookie(&secret, by_tls, is_secure);
            let shown = value.to_str().unwrap();
            assert!(shown.starts_with(start) && shown.ends_with(end), "{shown}");
            assert!(!format!("{value:?}").contains(secret.as_text().as_str()), "it is not shown in a log");
        };
        check(false, false, "kinglet=", "; Path=/; HttpOnly; SameSite=Strict");
        check(false, true, "kinglet=", "; Path=/; HttpOnly; SameSite=Strict; Secure");
        check(true, true, "__Host-kinglet=", "; Path=/; HttpOnly; SameSite=Strict; Secure");
    }
}
