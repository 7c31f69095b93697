//! Users and tokens, for administrators. No page shows a secret, but the one that answers the making of a token.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use zeroize::Zeroizing;

use super::login::sentence;
use super::{frame, text, ways};
use crate::access::{AccessError, PASSWORD_LEN, Visitor};
use crate::core::Core;
use crate::http::Problem;
use crate::store::{Role, TokenRow, UserRow};

/// Largest body of a form.
pub(super) const FORM_LEN_MAX: usize = 8 << 10;
const PLACE: &str = "/people";
const DAY_MS: i64 = 86_400_000;
/// How long a token may last, in days.
const LASTING: [(u16, &str); 4] =
    [(30, "30 days"), (90, "90 days"), (365, "a year"), (0, "until it is revoked")];

pub(super) async fn page(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
) -> Result<Response, Problem> {
    Ok(render(&core, &who, Said::Nothing).await?.into_response())
}

pub(super) async fn add_user(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    body: Bytes,
) -> Result<Response, Problem> {
    let form = PeopleForm::parse(&body);
    let Some(role) = form.role else { return refused(&core, &who, NO_ROLE).await };
    let added = core.access.add_user(&form.name, role, form.password, core.clock.now_ms()).await;
    if added.is_ok() {
        tracing::info!(by = %who.name, role = role.word(), "user added");
    }
    done(&core, &who, added).await
}

pub(super) async fn set_role(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Some(role) = PeopleForm::parse(&body).role else { return refused(&core, &who, NO_ROLE).await };
    if who.is(&name) {
        return refused(&core, &who, ONESELF).await;
    }
    let set = core.access.set_role(&name, role).await;
    if set.is_ok() {
        // It was found, so it is a name: safe in a log line.
        tracing::info!(user = %name, by = %who.name, role = role.word(), "role changed");
    }
    done(&core, &who, set).await
}

pub(super) async fn remove_user(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    if who.is(&name) {
        return refused(&core, &who, ONESELF).await;
    }
    let removed = core.access.remove_user(&name).await;
    if removed.is_ok() {
        tracing::info!(user = %name, by = %who.name, "user removed");
    }
    done(&core, &who, removed).await
}

pub(super) async fn add_token(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    body: Bytes,
) -> Result<Response, Problem> {
    let form = PeopleForm::parse(&body);
    let (Some(role), Some(days)) = (form.role, form.days) else { return refused(&core, &who, NO_ROLE).await };
    let now_ms = core.clock.now_ms();
    let t_expires = (days > 0).then(|| now_ms.saturating_add(i64::from(days) * DAY_MS));
    match core.access.add_token(&form.name, role, t_expires, now_ms).await {
        Ok(token) => {
            tracing::info!(token = %form.name, by = %who.name, "token made");
            Ok(render(&core, &who, Said::Token(&form.name, &token)).await?.into_response())
        }
        Err(error) => done(&core, &who, Err(error)).await,
    }
}

pub(super) async fn remove_token(
    State(core): State<Arc<Core>>,
    Extension(who): Extension<Visitor>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let removed = core.access.remove_token(&name).await;
    if removed.is_ok() {
        tracing::info!(token = %name, by = %who.name, "token revoked");
    }
    done(&core, &who, removed).await
}

const NO_ROLE: &str = "a role is viewer, operator or admin, and a token lasts for so many days";
/// So one administrator is left whatever is done here.
const ONESELF: &str = "nobody takes their own role away: let another administrator do it, or `kinglet user` on the server's machine";

/// Back to the page; reloading it repeats nothing.
async fn done(core: &Core, who: &Visitor, done: Result<(), AccessError>) -> Result<Response, Problem> {
    match done {
        Ok(()) => {
            let to = HeaderValue::from_static(PLACE);
            Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
        }
        Err(error) => {
            let why = error.to_string();
            let problem = Problem::from(error);
            let page = render(core, who, Said::Trouble(&why)).await?;
            Ok((problem.status(), page).into_response())
        }
    }
}

async fn refused(core: &Core, who: &Visitor, why: &str) -> Result<Response, Problem> {
    let page = render(core, who, Said::Trouble(why)).await?;
    Ok((StatusCode::BAD_REQUEST, page).into_response())
}

/// What the forms of this page say. The last of several of a name counts; what else stands there is ignored.
#[derive(Default)]
pub(crate) struct PeopleForm {
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
    pub(crate) role: Option<Role>,
    pub(crate) days: Option<u16>,
}

impl PeopleForm {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(body) {
            match &*key {
                "name" => form.name = value.into_owned(),
                "password" => form.password = Zeroizing::new(value.into_owned()),
                "role" => form.role = value.parse().ok(),
                "days" => form.days = value.parse().ok(),
                _ => {}
            }
        }
        form
    }
}

/// What the page has to say before anything else.
enum Said<'a> {
    Nothing,
    Trouble(&'a str),
    /// A token's name, and the token.
    Token(&'a str, &'a str),
}

async fn render(core: &Core, who: &Visitor, said: Said<'_>) -> Result<axum::response::Html<String>, Problem> {
    let (users, tokens) = (core.store.users().await?, core.store.tokens().await?);
    let now = core.clock.now_ms();
    let content = html! {
        h1 { "Users and tokens" }
        p.soft { "A viewer sees devices and readings; an operator also adds and revokes devices and bundles; an admin also users and tokens." }
        @match said {
            Said::Nothing => {},
            Said::Trouble(why) => section.card { p.bad role="alert" { (sentence(why)) } },
            Said::Token(name, token) => section.card role="status" {
                h2 { "The token " (name) }
                p { "This is the only time it is shown: copy it now." }
                pre.hex #token { (token) }
            },
        }
        section.card {
            h2 { "Users" }
            div.scroll { table {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Added" } th scope="col" { "" } } }
                tbody { @for user in &users { (user_row(user, who, now)) } }
            } }
            form.fields method="post" action="/people/users" {
                h3 { "Add a user" }
                div { label for="user-name" { "Name" } input #user-name name="name" maxlength="64" autocomplete="off" autocapitalize="none" spellcheck="false" required; }
                div {
                    label for="user-password" { "Password" }
                    input #user-password name="password" type="password" autocomplete="new-password" minlength=(PASSWORD_LEN.start()) maxlength=(PASSWORD_LEN.end()) required;
                }
                div { label for="user-role" { "Role" } (roles("user-role", Role::Viewer)) }
                button { "Add" }
            }
        }
        section.card {
            h2 { "Tokens" }
            @if tokens.is_empty() { p.soft { "There are none. Programs use them to ask the API." } }
            @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Made" } th scope="col" { "Ends" } th scope="col" { "" } } }
                    tbody { @for token in &tokens { (token_row(token, now)) } }
                } }
            }
            form.fields method="post" action="/people/tokens" {
                h3 { "Make a token" }
                div { label for="token-name" { "Name" } input #token-name name="name" maxlength="64" autocomplete="off" autocapitalize="none" spellcheck="false" required; }
                div { label for="token-role" { "Role" } (roles("token-role", Role::Viewer)) }
                div {
                    label for="token-days" { "Lasts" }
                    select #token-days name="days" { @for (days, words) in LASTING { option value=(days) selected[days == 90] { (words) } } }
                }
                button { "Make" }
            }
        }
    };
    Ok(frame("Users and tokens", now, &ways(who), &content))
}

fn user_row(user: &UserRow, who: &Visitor, now: i64) -> Markup {
    let at = format!("{PLACE}/users/{}", user.name);
    html! {
        tr {
            th scope="row" { (user.name) }
            @if who.is(&user.name) {
                td { (user.role.word()) }
                td { (text::ago(user.t_created, now)) }
                td.soft { "you" }
            } @else {
                td {
                    form.row method="post" action={ (at) "/role" } {
                        label.hidden for={ "role-" (user.name) } { "Role of " (user.name) }
                        (roles(&format!("role-{}", user.name), user.role))
                        button { "Set" }
                    }
                }
                td { (text::ago(user.t_created, now)) }
                td { (away(&format!("{at}/remove"), "Remove", &user.name)) }
            }
        }
    }
}

fn token_row(token: &TokenRow, now: i64) -> Markup {
    html! {
        tr {
            th scope="row" { (token.name) }
            td { (token.role.word()) }
            td { (text::ago(token.t_created, now)) }
            td { @match token.t_expires { Some(t) => { (text::ago(t, now)) }, None => { "never" } } }
            td { (away(&format!("{PLACE}/tokens/{}/revoke", token.name), "Revoke", &token.name)) }
        }
    }
}

fn roles(id: &str, chosen: Role) -> Markup {
    html! {
        select id=(id) name="role" {
            @for role in Role::ALL { option value=(role.word()) selected[role == chosen] { (role.word()) } }
        }
    }
}

/// Two steps, since there is no way back.
fn away(action: &str, what: &str, name: &str) -> Markup {
    html! {
        details.away {
            summary { (what) }
            form method="post" action=(action) { button { (what) " " (name) } }
        }
    }
}
