//! A request over MQTT 3.1.1 (`spec/mqtt.md`): frames are published with QoS 1, what the server publishes meanwhile is the
//! answer. As much of MQTT as that takes; what a server may not send ends the connection.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use embedded_io_async::{Read, Write};
use kinglet_wire::piece::HEAD_LEN;

use crate::exchange::{Incoming, MANY, Outgoing};

/// The server forgets a connection that was silent for one and a half of this. Nothing is sent to keep it: the next request
/// finds out, and connects anew.
const KEEP_ALIVE_S: u16 = 20 * 60;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const QOS_1: u8 = 2;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xC0;
const PINGRESP: u8 = 0xD0;

/// A connection that has logged in.
pub struct Mqtt<S> {
    io: S,
    topics: Topics,
    packet_id: u16,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttError<E> {
    /// The connection failed.
    Io(E),
    /// The server has ended the connection.
    Closed,
    /// The server does not let this device in; its reason, or 128 for a subscription.
    Refused(u8),
    /// A packet that makes no sense, or is longer than the buffer.
    Malformed,
}

struct Topics {
    up: String,
    down: String,
    refused: String,
    /// Where pieces of a bundle are asked for, and where they come.
    want: String,
    piece: String,
}

impl<S: Read + Write> Mqtt<S> {
    /// Logs in over `io` and subscribes. `token` as [`kinglet_wire::keys`] derives it, in hexadecimal.
    pub async fn connect(io: S, id: &str, token: &str, buf: &mut [u8]) -> Result<Self, MqttError<S::Error>> {
        let topic = |last| ["kinglet/", id, last].concat();
        let topics = Topics {
            up: topic("/up"),
            down: topic("/down"),
            refused: topic("/refused"),
            want: topic("/want"),
            piece: topic("/piece"),
        };
        let mut mqtt = Self { io, topics, packet_id: 1 };
        // Protocol level 4; user name, password, clean session.
        let mut body = [&text("MQTT")[..], &[4, 0xC2], &KEEP_ALIVE_S.to_be_bytes()].concat();
        for part in [id, id, token] {
            body.extend(text(part));
        }
        let mut out = packet(CONNECT, &body);
        let mut body = 1_u16.to_be_bytes().to_vec();
        for topic in [&mqtt.topics.down, &mqtt.topics.refused] {
            body.extend(text(topic));
            body.push(0);
        }
        out.extend(packet(SUBSCRIBE, &body));
        mqtt.send(&out).await?;
        match mqtt.receive(buf).await? {
            (CONNACK, [_, 0]) => {}
            (CONNACK, [_, reason]) => return Err(MqttError::Refused(*reason)),
            _ => return Err(MqttError::Malformed),
        }
        match mqtt.receive(buf).await? {
            (SUBACK, [0, 1, 0, 0]) => Ok(mqtt),
            (SUBACK, _) => Err(MqttError::Refused(128)),
            _ => Err(MqttError::Malformed),
        }
    }

    /// Publishes the frames of a request and gives what came on `down` until all were acknowledged, as one answer. After an
    /// error the connection is of no use.
    ///
    /// A PUBACK comes when the frame is stored and its sealed ack behind it, so a ping after the last PUBACK is answered when
    /// all is said.
    pub async fn exchange(
        &mut self,
        outgoing: &Outgoing,
        buf: &mut [u8],
    ) -> Result<Incoming, MqttError<S::Error>> {
        let mut incoming = Incoming { status: 200, many: Some(true), ..Incoming::default() };
        let (mut topic, mut wanted) = (&self.topics.up, None);
        if outgoing.kind.is_empty() {
            // A server from before grants nothing, and would end the connection of who asks all the same.
            let body = [&[0, 1][..], &text(&self.topics.piece), &[0]].concat();
            self.send(&packet(SUBSCRIBE, &body)).await?;
            if !matches!(self.receive(buf).await?, (SUBACK, [.., 0])) {
                return Ok(Incoming { status: 404, ..Incoming::default() });
            }
            (topic, wanted) = (&self.topics.want, outgoing.body.first_chunk());
            // Until the piece is there.
            incoming.status = 404;
        }
        // PUBACKs come in the order of what they acknowledge.
        let (mut out, mut waiting) = (Vec::new(), VecDeque::new());
        for frame in frames(outgoing) {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            let body = [&text(topic)[..], &self.packet_id.to_be_bytes(), frame].concat();
            out.extend(packet(PUBLISH | QOS_1, &body));
            waiting.push_back(self.packet_id.to_be_bytes());
        }
        self.send(&out).await?;
        let mut is_asked = false;
        loop {
            if waiting.is_empty() && !is_asked {
                self.send(&packet(PINGREQ, &[])).await?;
                is_asked = true;
            }
            match self.receive(buf).await? {
                (PUBACK, id) if waiting.pop_front().is_some_and(|wanted| wanted == *id) => {}
                (PINGRESP, []) if is_asked => return Ok(incoming),
                (PUBLISH, body) => {
                    self.topics.take(body, wanted, &mut incoming).ok_or(MqttError::Malformed)?
                }
                _ => return Err(MqttError::Malformed),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), MqttError<S::Error>> {
        self.io.write_all(bytes).await.map_err(MqttError::Io)?;
        self.io.flush().await.map_err(MqttError::Io)
    }

    /// Reads one packet: its first byte, and what is behind its length.
    async fn receive<'b>(&mut self, buf: &'b mut [u8]) -> Result<(u8, &'b [u8]), MqttError<S::Error>> {
        let mut first = [0];
        self.fill(&mut first).await?;
        let mut len = 0;
        for shift in [0, 7, 14, 21] {
            let mut byte = [0];
            self.fill(&mut byte).await?;
            len |= usize::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                let body = buf.get_mut(..len).ok_or(MqttError::Malformed)?;
                self.fill(body).await?;
                return Ok((first[0], body));
            }
        }
        Err(MqttError::Malformed)
    }

    async fn fill(&mut self, mut out: &mut [u8]) -> Result<(), MqttError<S::Error>> {
        while !out.is_empty() {
            match self.io.read(out).await.map_err(MqttError::Io)? {
                0 => return Err(MqttError::Closed),
                n => out = out.get_mut(n..).ok_or(MqttError::Malformed)?,
            }
        }
        Ok(())
    }
}

impl Topics {
    /// What the server has published; `None` if it is no such thing. Longer frames than any answer are passed over.
    fn take(&self, body: &[u8], wanted: Option<&[u8; HEAD_LEN]>, incoming: &mut Incoming) -> Option<()> {
        let (len, rest) = body.split_first_chunk::<2>()?;
        let (topic, payload) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
        if topic == self.down.as_bytes() {
            let len = u16::try_from(payload.len()).ok()?;
            incoming.body.extend_from_slice(&len.to_be_bytes());
            incoming.body.extend_from_slice(payload);
        } else if topic == self.piece.as_bytes() {
            // One that comes late belongs to an earlier request.
            if let Some(bytes) = wanted.and_then(|wanted| payload.strip_prefix(wanted)) {
                (incoming.status, incoming.body) = (200, bytes.to_vec());
            }
        } else if topic == self.refused.as_bytes() {
            incoming.status = 409;
            incoming.join_required |= payload == b"join_required";
        }
        // A server that talks without end is none of ours.
        (incoming.body.len() <= ANSWER_LEN_MAX).then_some(())
    }
}

/// Downlinks of one answer, at most.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// The frames of a request.
fn frames(outgoing: &Outgoing) -> impl Iterator<Item = &[u8]> {
    let is_many = outgoing.kind == MANY;
    let mut rest = &outgoing.body[..];
    core::iter::from_fn(move || {
        if !is_many {
            return Some(core::mem::take(&mut rest)).filter(|frame| !frame.is_empty());
        }
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (frame, behind) = behind.split_at_checked(u16::from_be_bytes(*len).into())?;
        rest = behind;
        Some(frame)
    })
}

/// Bytes behind their length in two; ids and topics are far shorter than 64 KiB.
fn text(of: &str) -> Vec<u8> {
    [&(of.len() as u16).to_be_bytes(), of.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = alloc::vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 0x7F { 0x80 } else { 0 };
        out.push((len & 0x7F) as u8 | more);
        len >>= 7;
        if len == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ONE;
    use embassy_futures::block_on;

    /// A server whose words are known beforehand.
    #[derive(Default)]
    struct Script {
        says: VecDeque<u8>,
        heard: Vec<u8>,
    }

    impl embedded_io_async::ErrorType for Script {
        type Error = core::convert::Infallible;
    }
    impl Read for Script {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
            // As TCP may cut it.
            let n = buf.len().min(3).min(self.says.len());
            for (to, from) in buf.iter_mut().zip(self.says.drain(..n)) {
                *to = from;
            }
            Ok(n)
        }
    }
    impl Write for Script {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
            self.heard.extend_from_slice(buf);
            Ok(buf.len())
        }
        async fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn published(topic: &str, payload: &[u8]) -> Vec<u8> {
        packet(PUBLISH, &[&text(topic)[..], payload].concat())
    }

    fn connect(says: &[u8]) -> Result<Mqtt<Script>, MqttError<core::convert::Infallible>> {
        let script = Script { says: says.iter().copied().collect(), ..Script::default() };
        block_on(Mqtt::connect(script, "p", "t", &mut [0; 64]))
    }

    const WELCOME: &[u8] = &[0x20, 2, 0, 0, 0x90, 4, 0, 1, 0, 0];

    #[test]
    fn a_login_is_the_bytes_that_the_standard_says() {
        let mqtt = connect(WELCOME).ok().unwrap();
        let connect = b"\x10\x13\0\x04MQTT\x04\xC2\x04\xB0\0\x01p\0\x01p\0\x01t";
        let subscribe = b"\x82\x27\0\x01\0\x0Ekinglet/p/down\0\0\x11kinglet/p/refused\0";
        assert_eq!(mqtt.io.heard, [&connect[..], subscribe].concat());
        let why = |says: &[u8]| connect_error(says);
        assert_eq!(why(&[0x20, 2, 0, 5]), MqttError::Refused(5));
        assert_eq!(why(&[0x20, 2, 0, 0, 0x90, 4, 0, 1, 0, 0x80]), MqttError::Refused(128));
        assert_eq!(why(&[0x20, 2, 0]), MqttError::Closed);
        assert_eq!(why(&[0xD0, 0]), MqttError::Malformed);
        assert_eq!(why(&[0x20, 0xFF, 0xFF, 0xFF, 0xFF]), MqttError::Malformed);
        assert_eq!(why(&[0x20, 0xFF, 0xFF, 0xFF, 0x7F]), MqttError::Malformed);
    }

    fn connect_error(says: &[u8]) -> MqttError<core::convert::Infallible> {
        connect(says).err().unwrap()
    }

    #[test]
    fn frames_go_out_and_what_comes_down_meanwhile_is_the_answer() {
        let mut mqtt = connect(WELCOME).ok().unwrap();
        mqtt.io.heard.clear();
        let long = [9; 130];
        let answer = [
            &packet(PUBACK, &[0, 2])[..],
            &published("kinglet/p/down", b"ack"),
            &packet(PUBACK, &[0, 3]),
            &published("kinglet/p/down", &[1, 2]),
            &published("kinglet/p/refused", b"join_required"),
            &packet(PINGRESP, &[]),
        ];
        mqtt.io.says.extend(answer.concat());
        let body = [&[0, 1, 7, 0, 130][..], &long].concat();
        let outgoing = Outgoing { path: String::new(), kind: MANY, body, n_frames: 2 };
        let got = block_on(mqtt.exchange(&outgoing, &mut [0; 64])).unwrap();
        assert_eq!((got.status, got.many, got.join_required), (409, Some(true), true));
        assert_eq!(got.body, b"\0\x03ack\0\x02\x01\x02");
        let topic = b"\0\x0Ckinglet/p/up";
        let first = [&[0x32, 17][..], topic, &[0, 2, 7]].concat();
        let second = [&[0x32, 0x92, 0x01][..], topic, &[0, 3], &long].concat();
        assert_eq!(mqtt.io.heard, [first, second, Vec::from([0xC0, 0])].concat());

        // A piece: only once the server grants it, only the one that was asked for.
        let piece = [7; HEAD_LEN + 3];
        let asked = Outgoing { path: String::new(), kind: "", body: [7; HEAD_LEN + 2].to_vec(), n_frames: 0 };
        let granted = [&[SUBACK, 3, 0, 1, 0][..], &[PUBACK, 2, 0, 2]].concat();
        let late = published("kinglet/p/piece", &[8; HEAD_LEN + 3]);
        let mine = published("kinglet/p/piece", &piece);
        let ping = packet(PINGRESP, &[]);
        for (says, status, body) in [
            ([&granted[..], &late, &mine, &ping].concat(), 200, &[7; 3][..]),
            ([&granted[..], &late, &ping].concat(), 404, &[]),
            ([SUBACK, 3, 0, 1, 0x80].to_vec(), 404, &[]),
        ] {
            let mut mqtt = connect(&[WELCOME, &says].concat()).ok().unwrap();
            let got = block_on(mqtt.exchange(&asked, &mut [0; 64])).unwrap();
            assert_eq!((got.status, &got.body[..]), (status, body));
            let want = b"kinglet/p/want";
            assert_eq!(mqtt.io.heard.windows(want.len()).any(|part| part == want), says.len() > 5);
        }

        // Nothing of this is an answer.
        for wrong in [
            &[0x40, 2, 0, 9][..],
            &[0x40, 2, 0, 2, 0x40, 2, 0, 2],
            &[0xD0, 0],
            &[0x30, 1, 0],
            &[0x30, 3, 0, 9, 0],
            &[0x10, 0],
        ] {
            let mut mqtt = connect(&[WELCOME, wrong].concat()).ok().unwrap();
            let one = Outgoing { path: String::new(), kind: ONE, body: Vec::from([1]), n_frames: 1 };
            let error = block_on(mqtt.exchange(&one, &mut [0; 64])).unwrap_err();
            assert_eq!(error, MqttError::Malformed, "{wrong:?}");
        }
    }
}
