//! `GET /docs`: the API as a page, made of the same table as the API itself.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use maud::{Markup, html};

use super::{frame, ways};
use crate::access::Visitor;
use crate::core::Core;
use crate::http::openapi::role_of;
use crate::http::route::{About, Content};
use crate::http::{Needs, Route, routes};

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
) -> impl IntoResponse {
    let content = html! {
        h1 { "API" }
        p.soft { "For programs, as OpenAPI 3.1: " a href="/openapi.json" { "/openapi.json" } "." }
        section.card {
            h2 { "Asking" }
            p { "Programs bring a token. It goes into a header, never into an address:" }
            pre.hex { "kinglet token add --name script > script.token\ncurl -H \"Authorization: Bearer $(cat script.token)\" http://127.0.0.1:8470/v1/devices" }
            p { "Errors are " code { "application/problem+json" } ": " code { "type" } " is the reason in one word, " code { "detail" } " says what to do next." }
        }
        @for route in routes() {
            @if let Some(about) = &route.about { (one(route, about)) }
        }
    };
    frame("API", core.clock.now_ms(), &ways(&who), &content)
}

fn one(route: &Route, about: &About) -> Markup {
    html! {
        section.card.route {
            h2 { code { (route.method.as_str()) " " (route.path) } " " span.badge { (for_whom(route.needs)) } }
            p { (words(about.summary)) }
            @if !about.query.is_empty() {
                div.scroll { table {
                    @for (name, _, means) in about.query {
                        tr { th scope="row" { code { (name) } } td { (words(means)) } }
                    }
                } }
            }
            p.soft {
                @if !about.body.is_empty() { "Send " (kinds(about.body)) ". " }
                "Answers " (about.status)
                @if !about.answer.is_empty() { " with " (kinds(about.answer)) }
                "."
            }
        }
    }
}

/// What stands between backticks is code.
fn words(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn for_whom(needs: Needs) -> &'static str {
    match needs {
        Needs::Seal => "devices, sealed",
        other => role_of(other).unwrap_or("anybody"),
    }
}

fn kinds(contents: &[Content]) -> Markup {
    html! {
        @for (i, (kind, schema)) in contents.iter().enumerate() {
            @if i > 0 { " or " }
            code { (kind) }
            @if schema.starts_with(char::is_uppercase) { " (" (schema) ")" }
        }
    }
}
