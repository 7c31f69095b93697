//! Why `POST /decode` says no.

use axum::http::StatusCode;

use crate::store::SEED_NAMES_MAX;

/// Why `POST /decode` says no; the text says what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the body is not JSON: send {{\"latent_vector\": [a, b]}}")]
    NotJson,
    #[error("the body has a number that is none (NaN or infinite): leave out readings that failed")]
    NoNumber,
    #[error("the body is not a JSON object: send {{\"latent_vector\": [a, b]}}")]
    NotObject,
    #[error("`latent_vector` is missing: send {{\"latent_vector\": [a, b]}}")]
    Missing,
    #[error("`latent_vector` is not a list of numbers: send {{\"latent_vector\": [a, b]}}")]
    NotList,
    #[error("element {idx} of `latent_vector` is not a number: send numbers, without quotes")]
    NotNumber {
        /// 0-based.
        idx: usize,
    },
    #[error(
        "element {idx} of `latent_vector` is beyond what a 32-bit float holds: check the encoder's output"
    )]
    TooLarge {
        /// 0-based.
        idx: usize,
    },
    #[error(
        "`latent_vector` has {given} numbers, this bundle's latent has {expected}: put the encoder exported from \
         this bundle on the board"
    )]
    Length {
        /// Numbers given.
        given: usize,
        /// Numbers expected.
        expected: usize,
    },
    #[error("a field is there twice: send each once")]
    Twice,
    #[error("`age_ms` must be a whole number of milliseconds, at most a week")]
    Age,
    #[error(
        "no encoder of this bundle makes this latent: export the encoder again (`kinglet export`) and put it on the \
         board, or serve the bundle that belongs to the board"
    )]
    Foreign,
    #[error("the name behind ?device= has at most 32 letters, digits, `-`, `_` and `.`")]
    BadName,
    #[error("there are {SEED_NAMES_MAX} names already: use one of them")]
    TooManyNames,
    #[error("this address knows the parameter `device` alone")]
    UnknownParameter,
    #[error("the body must be sent with content-type application/json")]
    ContentType,
    #[error("the body is too long for a latent: send {{\"latent_vector\": [a, b]}} and nothing else")]
    Body,
    #[error("the body did not arrive: send as many bytes as content-length says, at once")]
    CutShort,
    #[error("the request took too long: send it again")]
    TimedOut,
    #[error("browsers are not answered here: readings are shown on the dashboard")]
    Browser,
    #[error("there is nothing here: POST /decode")]
    NotFound,
    #[error("this address takes POST alone")]
    Method,
    #[error("the store cannot be written now, nothing was taken: send it again later")]
    Busy,
}

impl Refused {
    /// One word, for counts and tests.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NoNumber => "no_number",
            Self::NotObject => "not_object",
            Self::Missing => "missing",
            Self::NotList => "not_list",
            Self::NotNumber { .. } => "not_number",
            Self::TooLarge { .. } => "too_large",
            Self::Length { .. } => "length",
            Self::Twice => "twice",
            Self::Age => "age",
            Self::Foreign => "foreign_latent",
            Self::BadName => "bad_name",
            Self::TooManyNames => "too_many_names",
            Self::UnknownParameter => "unknown_parameter",
            Self::ContentType => "content_type",
            Self::Body => "body_too_large",
            Self::CutShort => "cut_short",
            Self::TimedOut => "timeout",
            Self::Browser => "browser",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::Busy => "busy",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Foreign => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Browser => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
