//! The dashboard: pages rendered here, kept fresh by server-sent events, nothing fetched from elsewhere.

mod chart;
mod device;
mod overview;
mod seed;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::core::Core;

const CSS: &str = include_str!("../../assets/kinglet.css");
const JS: &str = include_str!("../../assets/kinglet.js");
const BIRD: &str = include_str!("../../assets/kinglet.svg");

/// The routes of the pages.
pub(crate) fn routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/live/devices", get(overview::fragment))
        .route("/devices/{id}", get(device::page))
        .route("/live/devices/{id}", get(device::fragment))
        .route("/seed/{name}", get(seed::page))
        .route("/live/seed/{name}", get(seed::fragment))
        .route("/assets/kinglet.css", get(|| asset("text/css; charset=utf-8", CSS)))
        .route("/assets/kinglet.js", get(|| asset("text/javascript; charset=utf-8", JS)))
        .route("/assets/kinglet.svg", get(|| asset("image/svg+xml", BIRD)))
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

fn layout(title: &str, now_ms: i64, intro: &Markup, live: &Live) -> Html<String> {
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
                    span.state #state role="status" { "not live" }
                }
                main #main {
                    (intro)
                    div #live data-from=(live.from) data-events=(live.events) { (live.content) }
                }
                footer { "Times are UTC. Every reading that came sealed lies within its bound of what the sensor measured." }
            }
        }
    };
    Html(page.into_string())
}

fn bird() -> Markup {
    // The only markup that is not built here: our own file.
    PreEscaped(BIRD.replace("role=\"img\" aria-label=\"Kinglet\"", "aria-hidden=\"true\""))
}

/// A page that says what is missing, and what to do.
fn not_there(title: &str, body: &Markup, now_ms: i64) -> impl IntoResponse {
    let content =
        html! { section.card.empty { (bird()) h1 { (title) } (body) p { a href="/" { "All devices" } } } };
    let live = Live { from: "/live/devices".into(), events: "/v1/live".into(), content: html! {} };
    (axum::http::StatusCode::NOT_FOUND, layout(title, now_ms, &content, &live))
}
