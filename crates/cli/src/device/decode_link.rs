//! The seed's protocol: one latent per `POST /decode`.

use std::fmt::Write as _;
use std::time::Duration;

use super::tls;
use super::trust::Trust;
use crate::failure::{Failure, Result, printable};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_LEN_MAX: u64 = 64 << 10;

/// The way to a server's `/decode`.
pub(crate) struct DecodeLink {
    agent: ureq::Agent,
    url: String,
}

/// What became of a reading.
#[derive(Debug)]
pub(crate) enum Posted {
    /// Taken; the answer's body.
    Taken(String),
    /// The server was reached and said no.
    Refused(String),
    /// Nobody answered, or the server is in trouble: the same reading may be taken later.
    Away(String),
}

impl DecodeLink {
    /// `server`: `http://host:5000`, with or without `/decode`.
    pub(crate) fn new(server: &str, device: Option<&str>) -> Result<Self> {
        let base = server.trim().trim_end_matches('/').trim_end_matches("/decode");
        if !(base.starts_with("http://") || base.starts_with("https://")) || base.len() < 9 {
            return Err(Failure::usage(format_args!("`{server}` is no server address"))
                .why("it must begin with http:// or https://")
                .next("say for example --server http://192.168.1.10:5000"));
        }
        let name = device.map(|device| format!("?device={device}")).unwrap_or_default();
        let agent = tls::agent(&Trust::public()?, TIMEOUT);
        Ok(Self { agent, url: format!("{base}/decode{name}") })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Posts one latent. `age_ms` is said only of readings that were kept: the sketch's body has no such field.
    pub(crate) fn post(&self, latent: &[f32], age_ms: Option<u64>) -> Posted {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut response = match request.send(body(latent, age_ms)) {
            Ok(response) => response,
            Err(e) => return Posted::Away(e.to_string()),
        };
        let status = response.status().as_u16();
        let text = match response.body_mut().with_config().limit(ANSWER_LEN_MAX).read_to_vec() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_string(),
            Err(e) => return Posted::Away(e.to_string()),
        };
        match status {
            200 => Posted::Taken(text),
            408 | 429 | 500.. => Posted::Away(format!("HTTP status {status}: {}", printable(&text))),
            _ => Posted::Refused(format!("HTTP status {status}: {}", reason(&text))),
        }
    }
}

/// `{"latent_vector":[a,b]}`, as the sketch sends it.
fn body(latent: &[f32], age_ms: Option<u64>) -> String {
    let mut text = String::from("{\"latent_vector\":[");
    for (i, z) in latent.iter().enumerate() {
        let _ = write!(text, "{}{z}", if i == 0 { "" } else { "," });
    }
    text.push(']');
    if let Some(age_ms) = age_ms {
        let _ = write!(text, ",\"age_ms\":{age_ms}");
    }
    text + "}"
}

/// The `error` of a JSON answer, or the answer.
fn reason(text: &str) -> String {
    let said: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    printable(said["error"].as_str().unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_sketchs_own() {
        assert_eq!(body(&[1.5, -0.25], None), r#"{"latent_vector":[1.5,-0.25]}"#);
        assert_eq!(body(&[0.1], Some(4000)), r#"{"latent_vector":[0.1],"age_ms":4000}"#);
    }

    #[test]
    fn addresses_are_taken_with_and_without_their_path() {
        let url = |server| DecodeLink::new(server, Some("porch")).map(|link| link.url().to_string()).ok();
        let whole = Some("http://10.0.0.2:5000/decode?device=porch".to_string());
        assert_eq!(url("http://10.0.0.2:5000"), whole);
        assert_eq!(url("http://10.0.0.2:5000/decode"), whole);
        assert_eq!(url("10.0.0.2:5000"), None);
    }
}
