//! Messages of CoAP (RFC 7252), as far as a door for frames needs them.

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};

use super::echo::ECHO_LEN;
use super::names::{ALL, ECHO, FORMAT_LIST, FRAMES, PIECES};
use crate::list;

/// Critical options that may stand in a request; they say no more than where it went.
const UNDERSTOOD: [u16; 4] = [3, 7, 11, 15];
/// Bytes by which an answer to what nobody has authenticated may be longer than the request.
const SLACK: usize = 8;

/// What a datagram asks for.
pub(super) enum Heard {
    /// A frame was posted, or a request for a piece.
    Post(Request),
    /// It is answered without looking further.
    Answer(Vec<u8>),
    /// Nothing is said to it.
    Nothing,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// A frame or a join request; `wants_all` there is for the device.
    Frame { wants_all: bool },
    /// A request for a piece, with what was given back of an earlier answer.
    Want { echo: Vec<u8> },
}

/// What of a request is needed to answer it.
pub(super) struct Request {
    is_confirmable: bool,
    pub(super) id: u16,
    token: Vec<u8>,
    pub(super) posted: Posted,
    pub(super) payload: Vec<u8>,
    /// Bytes of the whole datagram.
    len: usize,
}

/// What an answer carries.
pub(super) enum Body {
    Empty,
    /// A sealed frame whose request was authenticated.
    Sealed(Vec<u8>),
    /// The same, and what more there is for the device.
    List(Vec<Vec<u8>>),
    /// A piece of a bundle, for an address that hears us.
    Piece(Vec<u8>),
    /// What an address is to give back before it gets one.
    Echo([u8; ECHO_LEN]),
    /// A sealed frame or a word for somebody unknown: left out where it would make the answer long.
    Hint(Vec<u8>),
}

/// Reads a datagram.
pub(super) fn hear(datagram: &[u8]) -> Heard {
    let Ok(packet) = Packet::from_bytes(datagram) else { return Heard::Nothing };
    let kind = packet.header.get_type();
    if packet.header.get_version() != 1 || matches!(kind, MessageType::Acknowledgement | MessageType::Reset) {
        return Heard::Nothing;
    }
    let is_confirmable = kind == MessageType::Confirmable;
    let request = Request {
        is_confirmable,
        id: packet.header.message_id,
        token: packet.get_token().to_vec(),
        posted: Posted::Frame { wants_all: false },
        payload: Vec::new(),
        len: datagram.len(),
    };
    let method = match packet.header.code {
        MessageClass::Request(method) => method,
        // A ping, or what no client sends: reset, as the RFC asks for (4.2, 4.3).
        _ if is_confirmable => return Heard::Answer(request.reset()),
        _ => return Heard::Nothing,
    };
    let refuse = |code| Heard::Answer(request.reply(request.id, code, Body::Empty));
    let is_critical = |number: &u16| number % 2 == 1 && !UNDERSTOOD.contains(number);
    if packet.options().any(|(number, _)| is_critical(number)) {
        return refuse(ResponseType::BadOption);
    }
    let has = |option, value: &str| {
        packet.get_option(option).is_some_and(|all| all.iter().any(|one| one == value.as_bytes()))
    };
    let posted = match packet.get_option(CoapOption::UriPath).and_then(|path| path.front()) {
        Some(path) if path == FRAMES.as_bytes() => {
            Posted::Frame { wants_all: has(CoapOption::UriQuery, ALL) }
        }
        Some(path) if path == PIECES.as_bytes() => {
            let echo = packet.get_option(ECHO).and_then(|echo| echo.front());
            Posted::Want { echo: echo.cloned().unwrap_or_default() }
        }
        _ => return refuse(ResponseType::NotFound),
    };
    if packet.get_option(CoapOption::UriPath).is_some_and(|path| path.len() != 1) {
        return refuse(ResponseType::NotFound);
    }
    if method != RequestType::Post {
        return refuse(ResponseType::MethodNotAllowed);
    }
    Heard::Post(Request { posted, payload: packet.payload, ..request })
}

impl Request {
    pub(super) fn is_confirmable(&self) -> bool {
        self.is_confirmable
    }

    /// The answer: in the acknowledgement itself, or to a request that wants none in a message `own_id`.
    pub(super) fn reply(&self, own_id: u16, code: ResponseType, body: Body) -> Vec<u8> {
        let (mut payload, mut option, is_hint) = (Vec::new(), None, matches!(body, Body::Hint(_)));
        match body {
            Body::Empty => {}
            Body::Sealed(bytes) | Body::Hint(bytes) | Body::Piece(bytes) => payload = bytes,
            Body::List(frames) => {
                option = Some((CoapOption::ContentFormat, FORMAT_LIST.to_be_bytes().to_vec()));
                payload = list::join(&frames);
            }
            Body::Echo(value) => option = Some((ECHO, value.to_vec())),
        }
        let reply = self.emit(own_id, code, payload, option);
        // Whoever writes somebody else's address under a request must not gain by it.
        if is_hint && reply.len() > self.len + SLACK {
            return self.emit(own_id, code, Vec::new(), None);
        }
        reply
    }

    fn emit(
        &self,
        own_id: u16,
        code: ResponseType,
        payload: Vec<u8>,
        option: Option<(CoapOption, Vec<u8>)>,
    ) -> Vec<u8> {
        let mut packet = Packet::new();
        packet.header.set_version(1);
        let (kind, id) = match self.is_confirmable {
            true => (MessageType::Acknowledgement, self.id),
            false => (MessageType::NonConfirmable, own_id),
        };
        packet.header.set_type(kind);
        packet.header.message_id = id;
        packet.header.code = MessageClass::Response(code);
        packet.set_token(self.token.clone());
        if let Some((option, value)) = option {
            packet.add_option(option, value);
        }
        packet.payload = payload;
        // Header, token and a frame are below every limit there is.
        packet.to_bytes().unwrap_or_default()
    }

    fn reset(&self) -> Vec<u8> {
        let [high, low] = self.id.to_be_bytes();
        vec![0x70, 0, high, low]
    }
}

/// What may come in a datagram: whatever it is, an answer without authentication is hardly longer.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(datagram: &[u8]) {
    match hear(datagram) {
        Heard::Nothing => {}
        Heard::Answer(answer) => assert!(answer.len() <= datagram.len() + SLACK),
        Heard::Post(request) => {
            assert!(request.payload.len() < datagram.len() && request.token.len() <= 8);
            for body in [Body::Hint(vec![7; 57]), Body::Echo([7; ECHO_LEN])] {
                // Who has sent no whole request for a piece is not asked to give anything back.
                let is_whole = request.payload.len() >= kinglet_wire::piece::REQUEST_LEN;
                if matches!(body, Body::Echo(_)) && !is_whole {
                    continue;
                }
                let answer = request.reply(7, ResponseType::Conflict, body);
                assert!(!answer.is_empty() && answer.len() <= datagram.len() + SLACK);
                assert!(Packet::from_bytes(&answer).is_ok_and(|packet| packet.get_token() == request.token));
            }
        }
    }
}
