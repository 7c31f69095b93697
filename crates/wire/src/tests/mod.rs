//! Tests by promise.

mod binding;
mod compatibility;
mod corruption;
mod cose;
mod join;
mod lorawan;
mod recovery;
mod secrets;
mod sizes;
mod vectors;

use std::vec::Vec;

use crate::counter::Counter;
use crate::frame::{Down, FrameRepr, ShortId, Slot, Suite, Up};
use crate::keys::{DeviceId, DeviceKey, GenerationSecret, LinkKey};
use crate::payload::{Ack, AckFlags, Command, Content, Data, Millis, Quality, Reset, Status, Time};
use crate::seal::{Binding, open, seal_content};
use crate::{Fingerprint, OpenError};

const FINGERPRINT: Fingerprint = *b"the 1st bundle's";
const RUN: [u8; 12] = *b"a server run";
const GENERATION: u32 = 0x21;

/// The same cases in every run; the fuzzers look further.
pub(crate) fn seeded() -> proptest::test_runner::Config {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(0x6b69_6e67);
    proptest::test_runner::Config { rng_seed, ..Default::default() }
}

/// One sealed frame and everything that opens it.
struct Case {
    name: &'static str,
    header: FrameRepr,
    counter: Counter,
    content: Vec<u8>,
}

impl Case {
    fn new(name: &'static str, header: FrameRepr, counter: Counter, content: &impl Content) -> Self {
        let mut bytes = std::vec![0; content.len()];
        assert_eq!(content.emit(&mut bytes), Ok(bytes.len()));
        Self { name, header, counter, content: bytes }
    }

    fn bound<'a>(&self, id: &'a DeviceId) -> Binding<'a> {
        let bundle = matches!(self.header, FrameRepr::Data { .. }).then_some(&FINGERPRINT);
        Binding { id, counter: self.counter, bundle }
    }

    fn key(&self) -> LinkKey {
        match self.header {
            FrameRepr::Data { .. } | FrameRepr::Status { .. } => secret().up(Suite::AesCcm16),
            FrameRepr::Command { down } | FrameRepr::Ack { down } => {
                secret().down(Suite::AesCcm16, &down.run)
            }
        }
    }

    fn sealed(&self) -> Vec<u8> {
        let mut frame = std::vec![0; self.header.header_len() + self.content.len() + crate::TAG_LEN];
        let content = Raw(&self.content);
        let len = seal_content(&self.key(), &self.header, &self.bound(&id()), &content, &mut frame);
        assert_eq!(len, Ok(frame.len()));
        frame
    }

    /// Opens other bytes with this case's key and binding.
    fn open(&self, frame: &mut [u8]) -> Result<Vec<u8>, OpenError> {
        open(&self.key(), &self.bound(&id()), frame).map(|content| content.to_vec())
    }
}

/// A content that is bytes already.
struct Raw<'a>(&'a [u8]);

impl Content for Raw<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, crate::BufferTooSmall> {
        out[..self.0.len()].copy_from_slice(self.0);
        Ok(self.0.len())
    }
}

fn id() -> DeviceId {
    DeviceId::new("cellar-7").unwrap()
}

fn device_key() -> DeviceKey {
    DeviceKey::from_bytes(core::array::from_fn(|i| i as u8))
}

fn secret() -> GenerationSecret {
    device_key().generation_secret(&id(), GENERATION, b"device nonce 16b", b"server nonce 16b")
}

fn counter(n: u64) -> Counter {
    Counter::new(n).unwrap()
}

fn up(n: u64, first_after_boot: bool) -> Up {
    Up::new(Suite::AesCcm16, GENERATION, ShortId(0x00c0_ffee), counter(n), first_after_boot)
}

fn down(n: u32) -> Down {
    Down::new(Suite::AesCcm16, GENERATION, ShortId(0x00c0_ffee), RUN, n)
}

fn status() -> Status {
    Status {
        slot: Slot::new(3).unwrap(),
        fingerprint: FINGERPRINT,
        windows_lost: 2,
        boot: 41,
        reset: Reset::Brownout,
        uptime: Millis::saturating(61_500),
        unix: Millis::new(1_790_000_000_123),
        quality: Quality::Synced,
        battery_mv: Some(3712),
        update: None,
        heap_free: None,
    }
}

/// One frame of each kind and form.
fn cases() -> Vec<Case> {
    let slot = Slot::new(3).unwrap();
    let far = (5 << 32) + 256;
    let unix = Time::unix(1_790_000_000_000);
    let ack = Ack {
        flags: AckFlags::STATUS_WANTED,
        server_time: Millis::saturating(1_790_000_060_789),
        base: counter(256),
        run: 44,
        bitmap: 0b1010,
    };
    let command = Command {
        expires: Millis::saturating(1_790_003_600_000),
        last_uplink: counter(299),
        code: 9,
        body: b"\x01\x02",
    };
    std::vec![
        Case::new(
            "data_empty",
            FrameRepr::Data { slot: Slot::default(), up: up(0, true) },
            counter(0),
            &Data::new(Time::Arrival, Quality::Unknown, b""),
        ),
        Case::new(
            "data",
            FrameRepr::Data { slot, up: up(300, false) },
            counter(300),
            &Data::new(unix, Quality::Synced, &[0xc0, 0xde, 0x00, 0x80]),
        ),
        Case::new(
            "data_full_counter",
            FrameRepr::Data { slot, up: up(far, false) },
            counter(far),
            &Data::new(Time::unix(1_790_000_000_001), Quality::Held, &[0x55; 40]).padded_to(16),
        ),
        Case::new("status", FrameRepr::Status { up: up(301, true) }, counter(301), &status()),
        Case::new("command", FrameRepr::Command { down: down(1) }, counter(1), &command),
        Case::new("ack", FrameRepr::Ack { down: down(2) }, counter(2), &ack),
    ]
}
