//! The way to the server, whatever carries the frames.

use std::sync::Arc;

use kinglet_node::Identity;
use kinglet_node::update::Wanted;
use kinglet_server::list;
use kinglet_wire::keys::DeviceId;
use kinglet_wire::piece::{PIECE_LEN_MAX, PieceRequest};
use zeroize::Zeroizing;

use super::coap_line::CoapLine;
use super::http_line::HttpLine;
use super::mqtt_line::{MqttLine, MqttServer};
use super::trust::Trust;
use crate::failure::{Failure, Kind, Result};

/// Most frames in an answer. No request has as many, and each of its frames has one answer or two.
const DOWNLINKS_MAX: usize = 4096;

/// A server's address, and how each device gets a line to it.
pub(crate) struct Link {
    url: String,
    carrier: Carrier,
}

enum Carrier {
    Http(HttpLine),
    Mqtt(Arc<MqttServer>),
    /// Host and port.
    Coap(String, u16),
}

/// One device's way to the server.
pub(crate) trait Line: Send {
    /// Asks for keys; the answer holds the accept.
    fn join(&mut self, request: &[u8]) -> Result<Answer, LinkError>;
    /// Brings frames; the answer holds what the server sends back.
    fn bring(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError>;
    /// Asks for a piece of a bundle that is offered.
    fn fetch(&mut self, wanted: &Wanted) -> Result<Vec<u8>, LinkError>;
}

/// What a device logs in with, where a line asks for it.
pub(crate) struct Account {
    pub(super) id: DeviceId,
    pub(super) password: Zeroizing<[u8; 64]>,
}

/// What the server said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// As HTTP has it; 400 and above if nothing was taken.
    pub(crate) status: u16,
    /// Sealed acks, an accept, hints.
    pub(crate) downlinks: Vec<Vec<u8>>,
    /// Why frames were refused: words as the `kinglet-refused` header or a problem's title has them.
    pub(crate) refused: Option<String>,
    /// The problem's detail, for people.
    pub(crate) detail: Option<String>,
}

/// The same, where request and piece are messages of their own.
pub(super) fn piece_request(wanted: &Wanted) -> PieceRequest {
    let len = u16::try_from(wanted.len).unwrap_or(PIECE_LEN_MAX).min(PIECE_LEN_MAX);
    PieceRequest { fingerprint: wanted.fingerprint, from: wanted.from, len }
}

/// The frames of an answer that is a list of them.
pub(super) fn split(list: &[u8]) -> Result<Vec<Vec<u8>>, LinkError> {
    let frames = list::split(list, DOWNLINKS_MAX).map_err(|e| LinkError(format!("the answer: {e}")))?;
    Ok(frames.into_iter().map(<[u8]>::to_vec).collect())
}

/// Nothing came back, or nothing that can be read.
#[derive(Debug)]
pub(crate) struct LinkError(pub(crate) String);

impl Link {
    /// A link to `http://host:port`, `https://…`, `mqtt://…`, `mqtts://…` or `coap://…`.
    pub(crate) fn new(url: &str, trust: &Trust) -> Result<Self> {
        let base = url.trim().trim_end_matches('/');
        let bad = || {
            Failure::usage(format_args!("`{url}` is no server address"))
                .why("it must begin with http://, https://, mqtt://, mqtts:// or coap://")
                .next("say for example --server http://192.0.2.7:8470")
        };
        let carrier = match base.split_once("://") {
            Some(("http" | "https", host)) if host.len() > 1 => Carrier::Http(HttpLine::new(base, trust)),
            Some(("mqtt" | "mqtts", _)) => {
                Carrier::Mqtt(Arc::new(MqttServer::new(base, trust).ok_or_else(bad)?))
            }
            Some(("coap", _)) => {
                let (host, port) = host_and_port(base, 5683).ok_or_else(bad)?;
                Carrier::Coap(host, port)
            }
            _ => return Err(bad()),
        };
        Ok(Self { url: base.into(), carrier })
    }

    /// The address, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A line for this device.
    pub(crate) fn line(&self, account: &Account) -> Box<dyn Line> {
        match &self.carrier {
            Carrier::Http(line) => Box::new(line.clone()),
            Carrier::Coap(host, port) => Box::new(CoapLine::new(host.clone(), *port)),
            Carrier::Mqtt(server) => Box::new(MqttLine::new(Arc::clone(server), account)),
        }
    }
}

/// Host, without the brackets of an IPv6 address, and port of a URL that names nothing else.
pub(super) fn host_and_port(url: &str, default_port: u16) -> Option<(String, u16)> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    // No user and no password: the device has its own, and an address is no place for one.
    let host = uri.host().filter(|host| !host.is_empty())?;
    let port = match uri.authority()?.as_str().strip_prefix(host)? {
        "" => default_port,
        rest => rest.strip_prefix(':')?.parse().ok()?,
    };
    Some((host.trim_matches(['[', ']']).into(), port))
}

impl Account {
    pub(crate) fn of(identity: &Identity) -> Self {
        let password = Zeroizing::new(identity.key.access_token(&identity.id).password());
        Self { id: identity.id, password }
    }
}

impl Answer {
    /// True if the server would take it later.
    pub(crate) fn is_too_much(&self) -> bool {
        self.status == 429 || self.is_refused_as("too_many_frames") || self.is_refused_as("too_many_joins")
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

#[cfg(test)]
mod tests {
    use super::*;

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
        for url in [
            "",
            "ftp://x",
            "127.0.0.1:8470",
            "http://",
            "mqtt://",
            "mqtt://x:y",
            "mqtt://u:p@x",
            "mqtts://a b",
            "coap://:5683",
        ] {
            assert!(Link::new(url, &trust).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:8470/", "mqtt://127.0.0.1", "mqtts://[::1]:8883/", "coap://[::1]"] {
            assert!(Link::new(url, &trust).is_ok(), "{url}");
        }
    }
}
