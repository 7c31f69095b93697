//! The way to the server over HTTP.

use std::time::Duration;

use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};

use super::tls::TlsConnector;
use super::trust::Trust;
use crate::failure::{Failure, Kind, Result};

const ONE: &str = "application/vnd.kinglet.frame";
const MANY: &str = "application/vnd.kinglet.frames";
/// Largest answer that is read.
const ANSWER_LEN_MAX: u64 = 64 << 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A server's address and the connections to it.
#[derive(Clone)]
pub(crate) struct Link {
    agent: ureq::Agent,
    base: String,
}

/// What the server said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Sealed acks, an accept, hints.
    pub(crate) downlinks: Vec<Vec<u8>>,
    /// Why frames were refused, as the `kinglet-refused` header or the problem's title says.
    pub(crate) refused: Option<String>,
    /// The problem's detail, for people.
    pub(crate) detail: Option<String>,
}

/// Nothing came back, or nothing that can be read.
#[derive(Debug)]
pub(crate) struct LinkError(pub(crate) String);

impl Link {
    /// A link to `http://host:port` or `https://…`; a path is kept in front of `/v1/…`.
    pub(crate) fn new(url: &str, trust: &Trust) -> Result<Self> {
        let base = url.trim().trim_end_matches('/');
        if !(base.starts_with("http://") || base.starts_with("https://")) || base.len() < 9 {
            return Err(Failure::usage(format_args!("`{url}` is no server address"))
                .why("it must begin with http:// or https://")
                .next("say for example --server http://192.0.2.7:8470"));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")));
        let connector = TcpConnector::default().chain(TlsConnector(trust.config()));
        let agent = ureq::Agent::with_parts(config.build(), connector, DefaultResolver::default());
        Ok(Self { agent, base: base.into() })
    }

    /// The address, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Asks for keys; the answer holds the accept.
    pub(crate) fn post_join(&self, request: &[u8]) -> Result<Answer, LinkError> {
        self.post("/v1/join", ONE, request)
    }

    /// Brings frames; the answer holds what the server sends back.
    pub(crate) fn post_frames(&self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        if let [one] = frames {
            return self.post("/v1/frames", ONE, one);
        }
        let mut list = Vec::new();
        for frame in frames {
            // No frame is longer: the wire's limit is below 16 bits.
            list.extend_from_slice(&u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes());
            list.extend_from_slice(frame);
        }
        self.post("/v1/frames", MANY, &list)
    }

    fn post(&self, path: &str, kind: &str, body: &[u8]) -> Result<Answer, LinkError> {
        let failed = |e: ureq::Error| LinkError(e.to_string());
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", kind);
        let mut response = request.send(body).map_err(failed)?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let kind = header("content-type").unwrap_or_default();
        let mut answer = Answer {
            status: response.status().as_u16(),
            refused: header("kinglet-refused"),
            ..Answer::default()
        };
        let body = response.body_mut().with_config().limit(ANSWER_LEN_MAX).read_to_vec().map_err(failed)?;
        match kind.as_str() {
            ONE if !body.is_empty() => answer.downlinks.push(body),
            ONE => {}
            MANY => {
                answer.downlinks = split(&body).ok_or_else(|| LinkError("the answer is cut short".into()))?
            }
            _ => answer.read_problem(&body),
        }
        Ok(answer)
    }
}

impl Answer {
    fn read_problem(&mut self, body: &[u8]) {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| problem[key].as_str().map(str::to_owned);
        self.detail = text("detail");
        let named = text("title").map(|title| title.replace(' ', "_"));
        self.refused = self.refused.take().or(named).or_else(|| Some(format!("http_{}", self.status)));
    }

    /// True if one of the refused frames was refused for this reason.
    pub(crate) fn is_refused_as(&self, word: &str) -> bool {
        self.refused.as_deref().is_some_and(|list| {
            list.split(',').any(|part| part.trim().split(';').next().is_some_and(|found| found == word))
        })
    }

    /// As a failure of a command.
    pub(crate) fn to_failure(&self, link: &Link) -> Failure {
        let why = match (&self.refused, &self.detail) {
            (Some(word), Some(detail)) => format!("{word}: {detail}"),
            (Some(word), None) => word.clone(),
            (None, _) => format!("HTTP status {}", self.status),
        };
        Failure::new(Kind::Refused, format_args!("the server at {} refuses", link.url())).why(why)
    }
}

fn split(mut list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    while !list.is_empty() {
        let (len, rest) = list.split_first_chunk::<2>()?;
        let (frame, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        frames.push(frame.to_vec());
        list = rest;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_or_refused() {
        assert_eq!(split(&[0, 1, 7, 0, 0]), Some(vec![vec![7], vec![]]));
        assert_eq!(split(&[0, 2, 7]), None);
        assert_eq!(split(&[0]), None);
    }

    #[test]
    fn reasons_are_found_in_the_header() {
        let answer =
            Answer { refused: Some("unknown_device;n=2, not_opened;n=1".into()), ..Answer::default() };
        assert!(answer.is_refused_as("not_opened") && answer.is_refused_as("unknown_device"));
        assert!(!answer.is_refused_as("opened"));
    }

    #[test]
    fn addresses_are_checked() {
        let trust = Trust::public().unwrap();
        for url in ["", "ftp://x", "127.0.0.1:8470", "http://"] {
            assert!(Link::new(url, &trust).is_err(), "{url}");
        }
        assert!(Link::new("http://127.0.0.1:8470/", &trust).is_ok());
    }
}
