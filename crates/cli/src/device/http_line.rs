//! The way to the server over HTTP, and over TLS.

use std::time::Duration;

use kinglet_node::update::Wanted;
use kinglet_server::list::{self, MANY, ONE};

use super::link::{Answer, Line, LinkError, split};
use super::tls;
use super::trust::Trust;
use crate::hex;

/// Largest answer that is read.
const ANSWER_LEN_MAX: u64 = 64 << 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A server's address and the connections to it, which all devices share.
#[derive(Clone)]
pub(super) struct HttpLine {
    agent: ureq::Agent,
    base: String,
}

impl HttpLine {
    /// `base` is `http://…` or `https://…`; a path is kept in front of `/v1/…`.
    pub(super) fn new(base: &str, trust: &Trust) -> Self {
        Self { agent: tls::agent(trust, TIMEOUT), base: base.into() }
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
            MANY => answer.downlinks = split(&body)?,
            _ => read_problem(&mut answer, &body),
        }
        Ok(answer)
    }
}

impl Line for HttpLine {
    fn join(&mut self, request: &[u8]) -> Result<Answer, LinkError> {
        self.post("/v1/join", ONE, request)
    }

    fn bring(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        // A list even of one: the answer to a single frame has room for an ack alone, none for what is offered.
        self.post("/v1/frames", MANY, &list::join(frames))
    }

    fn fetch(&mut self, wanted: &Wanted) -> Result<Vec<u8>, LinkError> {
        let failed = |e: ureq::Error| LinkError(e.to_string());
        let Wanted { fingerprint, from, len } = wanted;
        let url = format!("{}/v1/bundles/{}?from={from}&len={len}", self.base, hex::emit(fingerprint));
        let mut response = self.agent.get(url).call().map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(LinkError(format!(
                "the bundle is not there: HTTP status {}",
                response.status().as_u16()
            )));
        }
        response.body_mut().with_config().limit(u64::from(*len)).read_to_vec().map_err(failed)
    }
}

/// What a problem (RFC 9457) says.
fn read_problem(answer: &mut Answer, body: &[u8]) {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    answer.detail = text("detail");
    let named = text("title").map(|title| title.replace(' ', "_"));
    answer.refused = answer.refused.take().or(named).or_else(|| Some(format!("http_{}", answer.status)));
}
