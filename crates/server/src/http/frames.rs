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

const ONE: &str = "application/vnd.kinglet.frame";
const MANY: &str = "application/vnd.kinglet.frames";
const REFUSED: HeaderName = HeaderName::from_static("kinglet-refused");

/// One frame as the body, or many, each after its length in two bytes, most significant first.
pub(super) async fn take(State(core): State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    let many = is_many(request.headers())?;
    let taken = async {
        let body = read_body(request, core.config.body_bytes).await?;
        let answer = if many {
            let frames = split_frames(&body, core.config.frames_per_request)
                .map_err(|why| Problem::bad_request("malformed_list", why.to_string()))?;
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

/// Why a body is no list of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    #[error("the body is empty: send at least one frame")]
    Empty,
    #[error("a frame is cut short: each has its length before it, two bytes, most significant first")]
    CutShort,
    #[error("too many frames in one request: send fewer at a time")]
    TooMany,
}

/// The frames of a list; allocates for at most `n_max` of them.
pub(crate) fn split_frames(body: &[u8], n_max: usize) -> Result<Vec<&[u8]>, ListError> {
    let mut frames = Vec::new();
    let mut rest = body;
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len));
        let (frame, behind) = behind.split_at_checked(len).ok_or(ListError::CutShort)?;
        if frames.len() == n_max {
            return Err(ListError::TooMany);
        }
        frames.push(frame);
        rest = behind;
    }
    match (rest, frames.len()) {
        ([], 0) => Err(ListError::Empty),
        ([], _) => Ok(frames),
        _ => Err(ListError::CutShort),
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
            let mut list = Vec::new();
            for frame in downlinks {
                list.extend(u16::try_from(frame.len()).unwrap_or(0).to_be_bytes());
                list.extend(frame);
            }
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static(MANY))], list).into_response()
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

    fn check(body: &[u8], expected: Result<&[&[u8]], ListError>) {
        assert_eq!(split_frames(body, 3), expected.map(<[_]>::to_vec), "{body:?}");
    }

    #[test]
    fn splits_lists_and_refuses_what_is_none() {
        check(b"", Err(ListError::Empty));
        check(b"\0", Err(ListError::CutShort));
        check(b"\0\0", Ok(&[b""]));
        check(b"\0\x01a", Ok(&[b"a"]));
        check(b"\0\x01a\0\x02bc", Ok(&[b"a", b"bc"]));
        check(b"\0\x01a\0", Err(ListError::CutShort));
        check(b"\0\x02a", Err(ListError::CutShort));
        check(b"\xff\xffa", Err(ListError::CutShort));
        check(&[0; 6], Ok(&[b"", b"", b""]));
        check(&[0; 8], Err(ListError::TooMany));
    }

    #[test]
    fn sums_refusals_up() {
        let refused = [Refusal::NotOpened, Refusal::UnknownDevice, Refusal::NotOpened];
        assert_eq!(summary(&refused), "unknown_device;n=1, not_opened;n=2");
    }
}
