//! `POST /v1/frames` and `POST /v1/join`: what devices say.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;
use crate::core::Core;
use crate::ingest::{Answer, Refusal};
use crate::join::JoinRefused;
use crate::list::{self, MANY, ONE};

const REFUSED: HeaderName = HeaderName::from_static("kinglet-refused");

/// One frame as the body, or many, each after its length in two bytes, most significant first.
pub(super) async fn take(State(core): State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    let many = is_many(request.headers())?;
    let taken = async {
        let body = read_body(request, core.config.body_bytes).await?;
        let answer = if many {
            let malformed = |why: &str| Problem::bad_request("malformed_list", why);
            let frames = list::split(&body, core.config.frames_per_request)
                .map_err(|why| malformed(&why.to_string()))?;
            if frames.is_empty() {
                return Err(malformed("the body is empty: send at least one frame"));
            }
            core.ingest(&frames).await?
        } else {
            core.ingest(&[&body]).await?
        };
        Ok(response(many, &answer))
    };
    in_time(&core, taken).await
}

/// A join request; the answer is an accept.
pub(super) async fn join(State(core): State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    let joined = async {
        let accept = core.join(&read_body(request, super::SMALL_BODY).await?).await?;
        Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(ONE))], accept).into_response())
    };
    in_time(&core, joined).await
}

/// From the header to the answer, slow bodies included.
pub(super) async fn in_time(
    core: &Core,
    answer: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let limit = Duration::from_millis(core.config.request_timeout_ms);
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(super::guard::too_slow()))
}

pub(crate) async fn read_body(request: Request, len_max: usize) -> Result<Bytes, Problem> {
    // What is announced too large is not read at all.
    let announced = request.body().size_hint().lower();
    let too_large = || {
        let detail = "the body is larger than this server takes: send fewer frames at a time";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    if announced > len_max as u64 {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), len_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Problem::bad_request("body_unreadable", "the body ended early or is not valid HTTP")),
    }
}

fn is_many(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(false) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(MANY) {
        Ok(true)
    } else if kind.eq_ignore_ascii_case(ONE) || kind.eq_ignore_ascii_case("application/octet-stream") {
        Ok(false)
    } else {
        let detail = format!("send one frame as {ONE}, or many as {MANY}");
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", detail))
    }
}

/// Sealed answers go out whatever became of the frames: only they mean something to the device.
fn response(many: bool, answer: &Answer) -> Response {
    let refused = answer.refused.first().copied();
    let status = match refused {
        Some(why) if answer.n_stored == 0 => status_of(why),
        _ => StatusCode::OK,
    };
    let mut response = match (answer.downlinks.as_slice(), refused) {
        ([], Some(why)) => Problem::new(status, why.word(), why.advice()).into_response(),
        (downlinks, _) if many => {
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(MANY))];
            (status, kind, list::join(downlinks)).into_response()
        }
        (downlinks, _) => {
            let frame = downlinks.first().cloned().unwrap_or_default();
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static(ONE))], frame).into_response()
        }
    };
    if !answer.refused.is_empty()
        && let Ok(value) = HeaderValue::from_str(&summary(&answer.refused))
    {
        response.headers_mut().insert(REFUSED, value);
    }
    response
}

/// `unknown_device;n=2, not_opened;n=1`: a structured list (RFC 9651).
fn summary(refused: &[Refusal]) -> String {
    let mut sorted = refused.to_vec();
    sorted.sort_unstable();
    let parts = sorted.chunk_by(|a, b| a == b).map(|same| format!("{};n={}", same[0].word(), same.len()));
    parts.collect::<Vec<_>>().join(", ")
}

fn status_of(why: Refusal) -> StatusCode {
    match why {
        Refusal::Malformed | Refusal::WrongDirection | Refusal::BadContent => StatusCode::BAD_REQUEST,
        Refusal::UnknownDevice => StatusCode::NOT_FOUND,
        Refusal::Revoked | Refusal::NotOpened | Refusal::OtherDevice => StatusCode::FORBIDDEN,
        Refusal::JoinRequired
        | Refusal::UnknownSlot
        | Refusal::UnknownBundle
        | Refusal::UnknownReference
        | Refusal::CounterReuse
        | Refusal::TooOld => StatusCode::CONFLICT,
        Refusal::TooManyFrames => StatusCode::TOO_MANY_REQUESTS,
    }
}

impl From<JoinRefused> for Problem {
    fn from(refused: JoinRefused) -> Self {
        let status = match refused {
            JoinRefused::Registry(error) => return error.into(),
            JoinRefused::TooFast(error) => return Self::too_fast("too_many_joins", error),
            JoinRefused::Malformed => StatusCode::BAD_REQUEST,
            JoinRefused::UnknownDevice => StatusCode::NOT_FOUND,
            JoinRefused::Revoked | JoinRefused::NotVerified => StatusCode::FORBIDDEN,
            JoinRefused::TooMany => StatusCode::TOO_MANY_REQUESTS,
            JoinRefused::Exhausted => StatusCode::CONFLICT,
        };
        Self::new(status, refused.word(), refused.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_refusals_up() {
        let refused = [Refusal::NotOpened, Refusal::UnknownDevice, Refusal::NotOpened];
        assert_eq!(summary(&refused), "unknown_device;n=1, not_opened;n=2");
    }
}
