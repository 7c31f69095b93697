//! Users and tokens over HTTP, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::problem::Problem;
use super::query::iso;
use crate::access::AccessError;
use crate::core::Core;
use crate::store::{Role, TokenRow, UserRow};

pub(super) async fn users(State(core): State<Arc<Core>>) -> Result<impl IntoResponse, Problem> {
    let rows = core.store.users().await?;
    Ok(Json(json!({ "users": rows.iter().map(user_json).collect::<Vec<_>>() })))
}

/// `{"name": "anna", "role": "operator", "password": "…"}`.
pub(super) async fn add_user(
    State(core): State<Arc<Core>>,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let mut wanted = Wanted::parse(
        &body,
        &["name", "role", "password"],
        r#"send {"name": "anna", "role": "viewer, operator or admin", "password": "…"}"#,
    )?;
    let (name, role) = (wanted.text("name")?, wanted.role()?);
    let password = wanted.secret("password")?;
    core.access.add_user(&name, role, password, core.clock.now_ms()).await?;
    let added = core.store.user(&name.to_ascii_lowercase()).await?;
    tracing::info!(user = added.as_ref().map(|user| user.name.as_str()), "user added");
    Ok((StatusCode::CREATED, Json(added.as_ref().map(user_json))))
}

pub(super) async fn remove_user(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    core.access.remove_user(&name).await?;
    // It was found, so it is a name: safe in a log line.
    tracing::info!(user = %name, "user removed");
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tokens(State(core): State<Arc<Core>>) -> Result<impl IntoResponse, Problem> {
    let rows = core.store.tokens().await?;
    Ok(Json(json!({ "tokens": rows.iter().map(token_json).collect::<Vec<_>>() })))
}

/// `{"name": "grafana", "role": "viewer", "expires": "2027-01-01T00:00:00Z"}`, the last if it shall end.
pub(super) async fn add_token(
    State(core): State<Arc<Core>>,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let wanted = Wanted::parse(
        &body,
        &["name", "role", "expires"],
        r#"send {"name": "grafana", "role": "viewer, operator or admin", "expires": "a time, or leave it out"}"#,
    )?;
    let (name, role) = (wanted.text("name")?, wanted.role()?);
    let t_expires = match wanted.given.get("expires") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            let time = text.parse::<jiff::Timestamp>().map_err(|_| wanted.bad())?;
            Some(time.as_millisecond())
        }
        Some(_) => return Err(wanted.bad()),
    };
    let token = core.access.add_token(&name, role, t_expires, core.clock.now_ms()).await?;
    tracing::info!(token = %name, "token made");
    let body = json!({
        "name": name.to_ascii_lowercase(), "role": role.word(), "expires": t_expires.map(iso), "token": *token,
    });
    Ok((StatusCode::CREATED, Json(body)))
}

pub(super) async fn remove_token(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    core.access.remove_token(&name).await?;
    tracing::info!(token = %name, "token revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody wants added.
struct Wanted {
    given: Map<String, Value>,
    advice: &'static str,
}

impl Wanted {
    fn parse(body: &[u8], known: &[&str], advice: &'static str) -> Result<Self, Problem> {
        let bad = || Problem::bad_request("bad_json", advice);
        let given: Map<String, Value> = serde_json::from_slice(body).map_err(|_| bad())?;
        if given.keys().any(|key| !known.contains(&key.as_str())) {
            return Err(bad());
        }
        Ok(Self { given, advice })
    }

    fn bad(&self) -> Problem {
        Problem::bad_request("bad_json", self.advice)
    }

    fn text(&self, key: &str) -> Result<String, Problem> {
        self.given.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.bad())
    }

    fn role(&self) -> Result<Role, Problem> {
        self.text("role")?.parse().map_err(|_| self.bad())
    }

    /// Taken out, so that no copy stays behind.
    fn secret(&mut self, key: &str) -> Result<Zeroizing<String>, Problem> {
        match self.given.remove(key) {
            Some(Value::String(secret)) => Ok(Zeroizing::new(secret)),
            _ => Err(self.bad()),
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(Value::String(secret)) = self.given.get_mut("password") {
            secret.zeroize();
        }
    }
}

fn user_json(row: &UserRow) -> Value {
    json!({ "name": row.name, "role": row.role.word(), "created": iso(row.t_created) })
}

fn token_json(row: &TokenRow) -> Value {
    json!({
        "name": row.name, "role": row.role.word(), "created": iso(row.t_created), "expires": row.t_expires.map(iso),
    })
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let (status, kind) = match &error {
            AccessError::BadName => (StatusCode::BAD_REQUEST, "bad_name"),
            AccessError::BadPassword => (StatusCode::BAD_REQUEST, "bad_password"),
            AccessError::Taken(_) => (StatusCode::CONFLICT, "name_taken"),
            AccessError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_name"),
            AccessError::Hash(_) | AccessError::Vault(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            AccessError::Store(error) => return error.clone().into(),
        };
        Self::new(status, kind, error.to_string())
    }
}
