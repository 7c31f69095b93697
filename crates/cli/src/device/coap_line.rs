//! The way to the server by CoAP over UDP: one confirmable message per frame, answered in its acknowledgement.

use std::net::{ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};

use kinglet_node::update::Wanted;
use kinglet_server::coap::names::{ALL, ECHO, FORMAT_LIST, FRAMES, PIECES};

use super::link::{Answer, Line, LinkError, piece_request, split};

/// How long the first acknowledgement is waited for; each further time twice as long (RFC 7252, 4.2).
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: u32 = 3;
/// Longest answer: a frame, a header and a token.
const ANSWER_LEN_MAX: usize = 9000;

/// A device's socket, made when it is needed.
pub(super) struct CoapLine {
    host: String,
    port: u16,
    socket: Option<UdpSocket>,
    message_id: u16,
    /// What the server wants given back before it sends what is longer than a request.
    echo: Option<Vec<u8>>,
}

impl CoapLine {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self { host, port, socket: None, message_id: 0, echo: None }
    }

    /// Posts something, and waits for its acknowledgement.
    fn exchange(
        &mut self,
        path: &str,
        option: Option<(CoapOption, Vec<u8>)>,
        payload: &[u8],
    ) -> Result<Packet, LinkError> {
        let failed = |e: std::io::Error| LinkError(e.to_string());
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                // Any number will do to begin with, but not the same after each start.
                let mut id = [0; 2];
                getrandom::fill(&mut id).map_err(|e| LinkError(e.to_string()))?;
                self.message_id = u16::from_be_bytes(id);
                connect(&self.host, self.port).map_err(failed)?
            }
        };
        self.message_id = self.message_id.wrapping_add(1);
        let mut packet = Packet::new();
        packet.header.set_version(1);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.message_id = self.message_id;
        packet.header.code = MessageClass::Request(RequestType::Post);
        packet.set_token(self.message_id.to_be_bytes().to_vec());
        packet.add_option(CoapOption::UriPath, path.into());
        if let Some((option, value)) = option {
            packet.add_option(option, value);
        }
        packet.payload = payload.to_vec();
        let said = exchange(&socket, &packet).map_err(failed)?;
        self.socket = Some(socket);
        Ok(said)
    }

    /// Posts one frame; what is said to it goes into `answer`.
    fn post(&mut self, frame: &[u8], answer: &mut Answer) -> Result<(), LinkError> {
        // With all there is for the device; a server that does not know of that gives the ack alone.
        let said = self.exchange(FRAMES, Some((CoapOption::UriQuery, ALL.into())), frame)?;
        let MessageClass::Response(code) = said.header.code else {
            return Err(LinkError("the server has reset the request".into()));
        };
        // 4.04 as 404; the best of them stands for all.
        let number = u8::from(said.header.code);
        answer.status = answer.status.min(u16::from(number >> 5) * 100 + u16::from(number & 31));
        let format = said.get_option(CoapOption::ContentFormat).and_then(|format| format.front());
        if format.is_some_and(|format| **format == FORMAT_LIST.to_be_bytes()) {
            answer.downlinks.extend(split(&said.payload)?);
        } else if kinglet_wire::frame::kind_of(&said.payload).is_ok() {
            answer.downlinks.push(said.payload);
        } else if code.is_error() {
            let word = match String::from_utf8_lossy(&said.payload) {
                word if word.is_empty() => format!("coap_{}", said.header.get_code()),
                word => word.into_owned(),
            };
            answer.refused = Some(match answer.refused.take() {
                Some(words) => format!("{words}, {word}"),
                None => word,
            });
        }
        Ok(())
    }
}

impl Line for CoapLine {
    fn join(&mut self, request: &[u8]) -> Result<Answer, LinkError> {
        self.bring(&[request.to_vec()])
    }

    fn bring(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        let mut answer = Answer { status: u16::MAX, ..Answer::default() };
        for (n, frame) in frames.iter().enumerate() {
            match self.post(frame, &mut answer) {
                // What was answered before counts; the others are sent again.
                Err(_) if n > 0 => break,
                done => done?,
            }
        }
        Ok(answer)
    }

    fn fetch(&mut self, wanted: &Wanted) -> Result<Vec<u8>, LinkError> {
        let request = piece_request(wanted);
        // Twice: the first time the server may only ask whether this is our address.
        for _ in 0..2 {
            let echo = self.echo.clone().map(|echo| (ECHO, echo));
            let said = self.exchange(PIECES, echo, &request.to_bytes())?;
            let asks = said.get_option(ECHO).and_then(|echo| echo.front().cloned());
            match said.header.code {
                MessageClass::Response(ResponseType::Content) => {
                    let bytes = request.read(&said.payload).map(<[u8]>::to_vec);
                    return bytes.ok_or_else(|| LinkError("the answer is another piece".into()));
                }
                MessageClass::Response(ResponseType::Unauthorized) if asks.is_some() => self.echo = asks,
                _ => break,
            }
        }
        Err(LinkError("the bundle is not there".into()))
    }
}

fn connect(host: &str, port: u16) -> std::io::Result<UdpSocket> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for addr in (host, port).to_socket_addrs()? {
        let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(addr).map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Sends until the acknowledgement of this message is there.
fn exchange(socket: &UdpSocket, packet: &Packet) -> std::io::Result<Packet> {
    let message_id = packet.header.message_id;
    let bytes = packet.to_bytes_unlimited().map_err(|e| std::io::Error::other(e.to_string()))?;
    let mut heard = vec![0; ANSWER_LEN_MAX];
    for n in 0..TRIES {
        socket.send(&bytes)?;
        let until = Instant::now() + ACK_TIMEOUT * 2_u32.pow(n);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let len = match socket.recv(&mut heard) {
                Ok(len) => len,
                Err(e) if is_late(&e) => break,
                Err(e) => return Err(e),
            };
            let Ok(answer) = Packet::from_bytes(&heard[..len]) else { continue };
            let is_reset = answer.header.get_type() == MessageType::Reset;
            if answer.header.message_id == message_id
                && (is_reset || answer.get_token() == packet.get_token())
            {
                return Ok(answer);
            }
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no acknowledgement came"))
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
