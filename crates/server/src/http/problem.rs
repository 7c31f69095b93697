//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::ingest::IngestError;
use crate::limits::TooFast;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// An error answer: what happened in one word, and what to do next.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    wait: Duration,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), wait: Duration::from_secs(9) }
    }

    pub(crate) fn bad_request(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, detail)
    }
}

impl Problem {
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer to what is too much for now.
    pub(crate) fn too_fast(kind: &'static str, error: TooFast) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, error.to_string());
        Self { wait: error.wait, ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:kinglet:{}", self.kind),
            "title": self.kind.replace('_', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE || self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, (self.wait.as_secs() + 1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kinglet\""));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists(_) => Self::new(StatusCode::CONFLICT, "device_exists", error.to_string()),
            _ => {
                // The operator needs the reason, a stranger does not.
                tracing::error!(%error, "the store failed");
                let detail = "the store cannot be used now; nothing was acked, repeat later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
            }
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => error.into(),
            RegistryError::BadId(_) => Self::bad_request("bad_device_id", error.to_string()),
            RegistryError::BadName => Self::bad_request("bad_device_name", error.to_string()),
            RegistryError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_device", error.to_string())
            }
            RegistryError::Damaged(_) | RegistryError::Vault(_) => {
                tracing::error!(%error, "a device's secrets cannot be used");
                let detail = "the server cannot use this device's key; its log says why";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "vault_unavailable", detail)
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Registry(error) => error.into(),
            IngestError::TooFast(error) => Self::too_fast("too_many_frames", error),
        }
    }
}
