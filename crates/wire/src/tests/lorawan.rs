//! A frame comes out of a LoRaWAN payload as it was sealed, and nothing else opens.

use super::*;
use crate::frame::Frame;
use crate::lorawan::{
    OVERHEAD, OVERHEAD_LONG, PORT, PORT_LONG, Packer, STATIC_SHORT_ID, SUITE, Uplink, expand_downlink,
    pack_downlink,
};
use crate::{ParseError, UP_HEADER_WIDE_LEN};

/// A frame of suite 1 and what the server knows when it comes.
pub(super) struct Wrapped {
    pub(super) case: Case,
    pub(super) secret: GenerationSecret,
    pub(super) short_id: ShortId,
    pub(super) highest: Option<u64>,
}

impl Wrapped {
    pub(super) fn frame(&self) -> Vec<u8> {
        self.case.sealed_by(&self.secret, SUITE)
    }
}

impl Case {
    pub(super) fn key_of(&self, secret: &GenerationSecret, suite: Suite) -> LinkKey {
        match self.header {
            FrameRepr::Data { .. } | FrameRepr::Status { .. } => secret.up(suite),
            FrameRepr::Command { down } | FrameRepr::Ack { down } => secret.down(suite, &down.run),
        }
    }

    pub(super) fn sealed_by(&self, secret: &GenerationSecret, suite: Suite) -> Vec<u8> {
        let len = self.header.header_len() + self.content.len() + suite.tag_len();
        let mut frame = std::vec![0; len];
        let (id, key) = (id(), self.key_of(secret, suite));
        let sealed = seal_content(&key, &self.header, &self.bound(&id), &Raw(&self.content), &mut frame);
        assert_eq!(sealed, Ok(len));
        frame
    }
}

pub(super) fn highest(n: Option<u64>) -> Option<Counter> {
    n.and_then(Counter::new)
}

/// As a device that has packed all counters up to `highest`, or just booted.
pub(super) fn pack(frame: &[u8], highest: Option<u64>) -> (Vec<u8>, u8) {
    let mut out = [0; 300];
    let view = Frame::checked_on(frame, SUITE).unwrap();
    if view.run().is_some() {
        let len = pack_downlink(frame, &mut out).unwrap();
        return (out[..len].to_vec(), PORT);
    }
    let mut packer = Packer::new();
    if let Some(n) = highest {
        packer.heard();
        let before = sealed_data(n);
        packer.pack(&before, &mut out).unwrap();
    }
    let (len, port) = packer.pack(frame, &mut out).unwrap();
    (out[..len].to_vec(), port)
}

fn up8(generation: u32, short_id: ShortId, n: u64) -> Up {
    Up::new(SUITE, generation, short_id, counter(n), false)
}

fn sealed_data(n: u64) -> Vec<u8> {
    let header = FrameRepr::Data { slot: Slot::default(), up: up8(GENERATION, ShortId(0x00c0_ffee), n) };
    let data = Data::new(Time::Arrival, Quality::Unknown, b"");
    Case::new("before", header, counter(n), &data).sealed_by(&secret(), SUITE)
}

/// One frame of each kind and form.
pub(super) fn cases() -> Vec<Wrapped> {
    let (slot, ours) = (Slot::new(3).unwrap(), ShortId(0x00c0_ffee));
    let data = Data::new(Time::unix(1_790_000_000_000), Quality::Synced, &[0xc0, 0xde, 0x00, 0x80]);
    let down = |n| Down::new(SUITE, GENERATION, ours, RUN, n);
    let named = |name, header, n, content: &dyn Content| {
        let mut bytes = std::vec![0; content.len()];
        content.emit(&mut bytes).unwrap();
        Case { name, header, counter: counter(n), content: bytes }
    };
    let of = |name, n, highest| Wrapped {
        case: named(name, FrameRepr::Data { slot, up: up8(GENERATION, ours, n) }, n, &data),
        secret: secret(),
        short_id: ours,
        highest,
    };
    let is_static = |name, header, n, content: &dyn Content, highest| Wrapped {
        case: named(name, header, n, content),
        secret: device_key().static_secret(&id()),
        short_id: STATIC_SHORT_ID,
        highest,
    };
    let plain_status = Status { battery_mv: None, ..status() };
    let ack = Ack {
        flags: AckFlags::default(),
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
    let short = FrameRepr::Status { up: up8(0, STATIC_SHORT_ID, 301) };
    let first = FrameRepr::Status { up: up8(0, STATIC_SHORT_ID, 0) };
    let in_frame = |frame| Wrapped { case: frame, secret: secret(), short_id: ours, highest: None };
    std::vec![
        of("first_after_boot", 300, None),
        of("data", 300, Some(299)),
        of("past_16_bits", 0x1_0002, Some(0xfff0)),
        is_static("static_status", short, 301, &plain_status, Some(300)),
        is_static("static_first_status", first, 0, &plain_status, None),
        of("repeat", 290, Some(300)),
        of("every_256th", 512, Some(511)),
        of("full_counter", 5 << 32, Some((5 << 32) - 1)),
        in_frame(named("command", FrameRepr::Command { down: down(1) }, 1, &command)),
        in_frame(named("ack", FrameRepr::Ack { down: down(2) }, 2, &ack)),
    ]
}

#[test]
fn what_was_sealed_comes_out_and_opens() {
    for Wrapped { case, secret, short_id, highest: before } in cases() {
        let frame = case.sealed_by(&secret, SUITE);
        let (payload, port) = pack(&frame, before);
        let mut out = std::vec![0; payload.len() + UP_HEADER_WIDE_LEN];
        let len = match case.key_of(&secret, SUITE).direction() {
            crate::keys::Direction::Down => expand_downlink(&payload, short_id, &mut out).unwrap(),
            crate::keys::Direction::Up => {
                let uplink = Uplink::parse(port, &payload).unwrap();
                uplink.expand(short_id, highest(before), &mut out).unwrap()
            }
        };
        assert_eq!(out[..len], frame, "{}", case.name);
        let id = id();
        let opened = open(&case.key_of(&secret, SUITE), &case.bound(&id), &mut out[..len]).unwrap();
        assert_eq!(opened, case.content, "{}", case.name);
    }
}

#[test]
fn overhead_is_12_bytes_and_a_first_status_fits_the_slowest_rate() {
    let len = |name: &str| {
        let wrapped = cases().into_iter().find(|w| w.case.name == name).unwrap();
        (pack(&wrapped.frame(), wrapped.highest).0.len(), wrapped.case.content.len())
    };
    for (name, overhead) in [
        ("data", OVERHEAD),
        ("past_16_bits", OVERHEAD),
        ("first_after_boot", OVERHEAD_LONG),
        ("repeat", OVERHEAD_LONG),
        ("every_256th", OVERHEAD_LONG),
        ("full_counter", OVERHEAD_LONG + 2),
    ] {
        let (payload_len, content_len) = len(name);
        assert_eq!(payload_len, content_len + overhead, "{name}");
    }
    // EU868, DR0: 51 bytes (RP002-1.0.4, table 16).
    assert_eq!((len("static_first_status").0, len("ack").0), (51, 45));
}

#[test]
fn each_bit_counts() {
    let wrapped = &cases()[1];
    let (payload, port) = pack(&wrapped.frame(), wrapped.highest);
    for bit in 0..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(uplink) = Uplink::parse(port, &changed) else { continue };
        let mut out = [0; 300];
        let len = uplink.expand(wrapped.short_id, highest(wrapped.highest), &mut out).unwrap();
        let id = id();
        let key = wrapped.case.key_of(&wrapped.secret, SUITE);
        assert_eq!(open(&key, &wrapped.case.bound(&id), &mut out[..len]), Err(OpenError), "bit {bit}");
    }
    for len in 0..payload.len() {
        let opened = Uplink::parse(port, &payload[..len]).map(|uplink| {
            let mut out = [0; 300];
            let len = uplink.expand(wrapped.short_id, highest(wrapped.highest), &mut out).unwrap();
            let id = id();
            open(&wrapped.case.key_of(&wrapped.secret, SUITE), &wrapped.case.bound(&id), &mut out[..len])
                .is_ok()
        });
        assert_ne!(opened, Ok(true), "cut to {len}");
    }
}

#[test]
fn no_other_link_takes_the_short_tag() {
    let wrapped = &cases()[1];
    let mut frame = wrapped.frame();
    assert_eq!(Frame::new_checked(&frame[..]).err(), Some(ParseError::Suite(1)));
    // Nor does a key of the other suite, whatever the frame says.
    let id = id();
    frame[0] &= !0b110;
    assert_eq!(
        open(&wrapped.secret.up(Suite::AesCcm16), &wrapped.case.bound(&id), &mut frame),
        Err(OpenError)
    );
}

#[test]
fn the_nearest_counter_is_taken() {
    let check = |n: u64, highest: u64| {
        let (payload, port) = pack(&sealed_data(n), Some(highest));
        assert_eq!(port, PORT, "{n} after {highest}");
        let mut out = [0; 64];
        let uplink = Uplink::parse(port, &payload).unwrap();
        let len = uplink.expand(ShortId(1), Counter::new(highest), &mut out).unwrap();
        let found = Frame::checked_on(&out[..len], SUITE).unwrap().counter().rebuild(Counter::new(highest));
        assert_eq!(found.get(), n, "after {highest}");
    };
    check(5, 4);
    check(0xffff, 0x8001);
    check(0x1_7ffe, 0xffff);
}

#[test]
fn joins_pass_as_they_are() {
    let joining = crate::join::Joining::new(id(), [3; 16], 0, FINGERPRINT);
    let (mut request, mut out) = ([0; 128], [0; 128]);
    let len = joining.emit(&device_key().join_key(&id()), &mut request).unwrap();
    assert_eq!(Packer::new().pack(&request[..len], &mut out), Ok((len, PORT)));
    assert_eq!(out[..len], request[..len]);
    assert!(matches!(Uplink::parse(PORT, &out[..len]), Err(ParseError::Suite(0))));
}

#[test]
fn a_port_says_how_long_the_counter_is() {
    let (payload, _) = pack(&sealed_data(300), Some(299));
    let other = Uplink::parse(PORT_LONG, &payload);
    // Two bytes of what was sealed are read as counter: too short here, and never authentic.
    assert!(matches!(other, Err(ParseError::NeedMore { .. })), "{other:?}");
}
