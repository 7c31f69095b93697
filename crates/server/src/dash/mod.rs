//! The dashboard: pages rendered here, kept fresh by server-sent events, nothing fetched from elsewhere.

mod alerts;
mod api;
mod chart;
mod device;
mod login;
mod overview;
mod people;
mod seed;
mod text;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{MethodRouter, get, post};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::access::{By, Visitor};
use crate::core::Core;
use crate::http::{Needs, Route, openapi};
use crate::store::Role;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use login::{LoginForm, own_place};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use people::PeopleForm;

const CSS: &str = include_str!("../../assets/kinglet.css");
const JS: &str = include_str!("../../assets/kinglet.js");
const BIRD: &str = include_str!("../../assets/kinglet.svg");

/// The pages, what they fetch, and the way in.
pub(crate) static ROUTES: &[Route] = &[
    Route::page("/", Needs::Page(Role::Viewer), || get(overview::page)),
    Route::page("/devices/{id}", Needs::Page(Role::Viewer), || get(device::page)),
    Route::page("/seed/{name}", Needs::Page(Role::Viewer), || get(seed::page)),
    Route::page("/alerts", Needs::Page(Role::Viewer), || get(alerts::page)),
    Route::page("/people", Needs::Page(Role::Admin), || get(people::page)),
    Route::of(Method::POST, "/people/users", Needs::Page(Role::Admin), || form(people::add_user)),
    Route::of(Method::POST, "/people/users/{name}/role", Needs::Page(Role::Admin), || form(people::set_role)),
    Route::of(Method::POST, "/people/users/{name}/remove", Needs::Page(Role::Admin), || {
        form(people::remove_user)
    }),
    Route::of(Method::POST, "/people/tokens", Needs::Page(Role::Admin), || form(people::add_token)),
    Route::of(Method::POST, "/people/tokens/{name}/revoke", Needs::Page(Role::Admin), || {
        form(people::remove_token)
    }),
    Route::page("/docs", Needs::Page(Role::Viewer), || get(api::page)),
    Route::page("/openapi.json", Needs::Role(Role::Viewer), || get(openapi::serve)),
    Route::page("/live/devices", Needs::Role(Role::Viewer), || get(overview::fragment)),
    Route::page("/live/devices/{id}", Needs::Role(Role::Viewer), || get(device::fragment)),
    Route::page("/live/seed/{name}", Needs::Role(Role::Viewer), || get(seed::fragment)),
    Route::page("/login", Needs::OwnName, || get(login::page)),
    Route::of(Method::POST, "/login", Needs::OwnName, || post(login::log_in)),
    Route::of(Method::POST, "/logout", Needs::OwnName, || post(login::log_out)),
    Route::page("/assets/kinglet.css", Needs::OwnName, || get(|| asset("text/css; charset=utf-8", CSS))),
    Route::page("/assets/kinglet.js", Needs::OwnName, || get(|| asset("text/javascript; charset=utf-8", JS))),
    Route::page("/assets/kinglet.svg", Needs::OwnName, || get(|| asset("image/svg+xml", BIRD))),
];

/// Takes what a form sends.
fn form<H, T>(handler: H) -> MethodRouter<Arc<Core>>
where
    H: Handler<T, Arc<Core>>,
    T: 'static,
{
    post(handler).layer(DefaultBodyLimit::max(people::FORM_LEN_MAX))
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let kind = HeaderValue::from_static(kind);
    // Short, because a new version brings new assets under the same name.
    let cache = HeaderValue::from_static("max-age=60");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text)
}

/// The part of a page that is fetched again when there is news.
struct Live {
    from: String,
    events: String,
    content: Markup,
}

fn layout(title: &str, now_ms: i64, who: &Visitor, intro: &Markup, live: &Live) -> Html<String> {
    let aside = html! { span.state #state role="status" { "not live" } (ways(who)) };
    let content = html! {
        (intro)
        div #live data-from=(live.from) data-events=(live.events) { (live.content) }
    };
    frame(title, now_ms, &aside, &content)
}

/// A page: its head, what stands beside the name, and its content.
fn frame(title: &str, now_ms: i64, aside: &Markup, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Kinglet" }
                link rel="icon" type="image/svg+xml" href="/assets/kinglet.svg";
                link rel="stylesheet" href="/assets/kinglet.css";
                script src="/assets/kinglet.js" defer {}
            }
            body data-now=(now_ms) {
                a.skip href="#main" { "Skip to the readings" }
                header.top {
                    a.brand href="/" { (bird()) "Kinglet" }
                    (aside)
                }
                main #main { (content) }
                footer { "Times are UTC. Every reading that came sealed lies within its bound of what the sensor measured. " a href="/docs" { "API" } }
            }
        }
    };
    Html(page.into_string())
}

/// Where else to go, who is logged in, and how to leave.
fn ways(who: &Visitor) -> Markup {
    html! {
        nav.ways aria-label="Pages" {
            a href="/alerts" { "Alerts" }
            @if who.role >= Role::Admin { a href="/people" { "Users" } }
        }
        @if let By::Session(_) = who.by {
            form.out method="post" action="/logout" { span { (who.name) } button { "Log out" } }
        }
    }
}

fn bird() -> Markup {
    // The only markup that is not built here: our own file.
    PreEscaped(BIRD.replace("role=\"img\" aria-label=\"Kinglet\"", "aria-hidden=\"true\""))
}

/// A page that says what is missing, and what to do.
fn not_there(title: &str, body: &Markup, now_ms: i64, who: &Visitor) -> impl IntoResponse {
    let content =
        html! { section.card.empty { (bird()) h1 { (title) } (body) p { a href="/" { "All devices" } } } };
    let live = Live { from: "/live/devices".into(), events: "/v1/live".into(), content: html! {} };
    (axum::http::StatusCode::NOT_FOUND, layout(title, now_ms, who, &content, &live))
}
