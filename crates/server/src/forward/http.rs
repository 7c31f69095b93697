//! A POST at a time, on a thread of its own while it waits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{Trouble, said};
use crate::trust;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most that is read of an answer; more is not needed to say why it was refused.
const ANSWER_LEN_MAX: u64 = 64 << 10;

/// Connections to one target.
pub(crate) struct Poster {
    agent: ureq::Agent,
    /// What it answers may be shown: it does not repeat what it was sent, secrets included.
    is_discreet: bool,
}

/// A header's name and value.
pub(crate) type Header = (&'static str, String);

/// What an answer means.
pub(crate) enum Answer {
    /// It is there.
    Taken,
    /// This will never be taken, whenever it is sent.
    Refused(String),
}

impl Poster {
    pub(crate) fn new(ca_file: Option<&Path>, is_discreet: bool) -> Result<Self, Trouble> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = ca_file {
            let roots = trust::authorities(path)?;
            let roots = roots.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .tls_config(tls.build())
            .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().into(), is_discreet })
    }

    /// Posts a body. Errors name neither the address nor a header.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: Vec<Header>,
        body: Vec<u8>,
    ) -> Result<Answer, Trouble> {
        let (agent, url) = (self.agent.clone(), url.to_owned());
        let sent = tokio::task::spawn_blocking(move || {
            let request =
                headers.iter().fold(agent.post(url), |request, (name, value)| request.header(*name, value));
            let mut response = request.send(&body[..])?;
            // Read to the end, so that the connection can be used again.
            let text = response.body_mut().with_config().limit(ANSWER_LEN_MAX).read_to_vec();
            Ok::<_, ureq::Error>((response.status().as_u16(), text.unwrap_or_default()))
        });
        let (status, text) = match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Trouble::Target(said(&error.to_string()))),
            Err(error) => return Err(Trouble::Target(error.to_string())),
        };
        let shown = || match self.is_discreet {
            true => format!("it answers {status}: {}", said(String::from_utf8_lossy(&text).trim())),
            false => format!("it answers {status}"),
        };
        match status {
            200..=299 => Ok(Answer::Taken),
            // What is wrong with this body will be wrong with it tomorrow.
            400 | 413 | 415 | 422 => Ok(Answer::Refused(shown())),
            // Keys, addresses and databases are mended by people, the rest by itself.
            _ => Err(Trouble::Target(shown())),
        }
    }
}
