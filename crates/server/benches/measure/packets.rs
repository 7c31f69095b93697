//! Packets of MQTT 3.1.1, as far as benches say and hear them.
// Each bench uses its own part of this.
#![allow(dead_code)]

use std::io::Read;

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBLISH_QOS0: u8 = 0x30;
pub(crate) const PUBLISH_QOS1: u8 = 0x32;

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 127 { 0x80 } else { 0 };
        packet.push((len & 127) as u8 | more);
        len >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

/// A packet that has come: its first byte, and its id if it has one.
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) id: [u8; 2],
}

/// What came and was not looked at yet.
pub(crate) struct Input {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Input {
    /// With room for so many bytes, at least twice the longest packet.
    pub(crate) fn new(room: usize) -> Self {
        Self { bytes: vec![0; room].into(), from: 0, to: 0 }
    }

    /// The next packet that is here already.
    pub(crate) fn ready(&mut self) -> Option<Packet> {
        let bytes = &self.bytes[self.from..self.to];
        let first = *bytes.first()?;
        let (mut len, mut at, mut shift) = (0_usize, 1, 0);
        loop {
            let byte = *bytes.get(at)?;
            len |= usize::from(byte & 127) << shift;
            (at, shift) = (at + 1, shift + 7);
            if byte & 128 == 0 {
                break;
            }
        }
        let body = bytes.get(at..at + len)?;
        // Of a PUBLISH behind the topic, of all others in front.
        let before =
            if first == PUBLISH_QOS1 { 2 + usize::from(u16::from_be_bytes([body[0], body[1]])) } else { 0 };
        let id = body.get(before..before + 2).map_or([0; 2], |id| [id[0], id[1]]);
        self.from += at + len;
        Some(Packet { first, id })
    }

    /// First byte of the next packet, which is waited for.
    pub(crate) fn next(&mut self, stream: &mut impl Read) -> u8 {
        loop {
            if let Some(packet) = self.ready() {
                return packet.first;
            }
            let n = stream.read(self.room()).expect("a connection");
            assert!(n > 0, "the server has hung up");
            self.came(n);
        }
    }

    /// Where to put what comes next; say with [`Self::came`] how much it was.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.to > self.bytes.len() / 2 || self.from == self.to {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        &mut self.bytes[self.to..]
    }

    pub(crate) fn came(&mut self, n: usize) {
        self.to += n;
    }
}
