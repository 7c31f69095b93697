//! Old bytes keep their meaning: every vector in `vectors/wire` is read, opened, or refused as it says.

use super::vectors::{Block, read};
use super::*;
use crate::cose::{COSE_LEN_MAX, expand, external_aad};
use crate::counter::ShortCounter;
use crate::frame::Frame;
use crate::join::{Accept, JOIN_STATE_LEN_MAX, JoinState, Joining, RequestFrame};
use crate::keys::{Direction, JoinKey};
use crate::payload::Origin;
use crate::ranges::{RANGES_LEN_MAX, ReceivedRanges};
use crate::seal::{Aad, nonce};
use crate::{Field, ParseError};

/// The word a vector has for a refusal.
pub(super) fn word(e: ParseError) -> &'static str {
    match e {
        ParseError::NeedMore { .. } => "short",
        ParseError::TooLong => "long",
        ParseError::Version(_) => "version",
        ParseError::Kind(_) => "type",
        ParseError::Suite(_) => "suite",
        ParseError::Malformed(Field::Reserved) => "reserved",
        ParseError::Malformed(Field::Wide) => "wide",
        ParseError::Malformed(Field::DeviceId) => "device_id",
        ParseError::Malformed(Field::Quality) => "quality",
        ParseError::Malformed(Field::Time) => "time",
        ParseError::Malformed(Field::Padding) => "padding",
        ParseError::Malformed(Field::Slot) => "slot",
        ParseError::Malformed(Field::Reset) => "reset",
        ParseError::Malformed(Field::Update) => "update",
        ParseError::Malformed(_) => "malformed",
    }
}

fn id_of(block: &Block) -> DeviceId {
    DeviceId::new(block.text("id")).unwrap()
}

fn fingerprint_of(block: &Block) -> Option<Fingerprint> {
    block.bytes("fingerprint").try_into().ok()
}

fn key_of(block: &Block, frame: &[u8]) -> LinkKey {
    let secret = GenerationSecret::from_bytes(block.array("secret"));
    match Frame::new_checked(frame).unwrap().run() {
        Some(run) => secret.down(Suite::AesCcm16, &run),
        None => secret.up(Suite::AesCcm16),
    }
}

#[test]
fn keys_are_derived_as_ever() {
    for block in read("v1_keys.txt") {
        let (id, key) = (id_of(&block), DeviceKey::from_bytes(block.array("device_key")));
        let generation = block.has("secret").then(|| block.number("generation") as u32);
        let secret = match generation {
            Some(g) => {
                assert_eq!(key.join_key(&id).expose_secret(), &block.array("join_key"));
                let (dn, sn) = (block.array("device_nonce"), block.array("server_nonce"));
                let secret = key.generation_secret(&id, g, &dn, &sn);
                assert_eq!(secret.expose_secret(), &block.array("secret"));
                let down = secret.down(Suite::AesCcm16, &block.array("run"));
                assert_eq!((down.key(), down.iv()), (&block.array("down_key"), &block.array("down_iv")));
                secret
            }
            None => key.static_secret(&id),
        };
        if generation.is_none() {
            assert_eq!(secret.expose_secret(), &block.array("static_secret"));
        }
        let up = secret.up(Suite::AesCcm16);
        assert_eq!((up.key(), up.iv()), (&block.array("up_key"), &block.array("up_iv")), "{}", block.name());
    }
}

#[test]
fn access_tokens_are_derived_as_ever() {
    for block in read("v1_access.txt") {
        let (id, key) = (id_of(&block), DeviceKey::from_bytes(block.array("device_key")));
        let expected: std::string::String =
            block.bytes("access_token").iter().map(|b| std::format!("{b:02x}")).collect();
        assert_eq!(key.access_token(&id).password(), expected.as_bytes(), "{}", block.name());
    }
}

#[test]
fn old_frames_open() {
    for block in read("v1_frames_pass.txt") {
        let (name, id, fingerprint) = (block.name(), id_of(&block), fingerprint_of(&block));
        let (mut frame, content) = (block.bytes("frame"), block.bytes("content"));
        let key = key_of(&block, &frame);
        let counter = counter(block.number("counter"));
        let bound = Binding { id: &id, counter, bundle: fingerprint.as_ref() };
        let view = Frame::new_checked(&frame[..]).unwrap();
        assert_eq!(key.key(), &block.array("key"), "{name}");
        assert_eq!(nonce(&key, counter), block.array("nonce"), "{name}");
        assert_eq!(Aad::new(view.header(), &key, &bound).as_bytes(), block.bytes("aad"), "{name}");
        assert!(block.bytes("aad").ends_with(external_aad(&bound)));
        let mut cose = [0; COSE_LEN_MAX];
        let cose_len = expand(&view, &bound, &mut cose).unwrap();
        assert_eq!(cose[..cose_len], block.bytes("cose"), "{name}");

        let mut again = std::vec![0; frame.len()];
        seal_content(&key, &FrameRepr::parse(&view), &bound, &Raw(&content), &mut again).unwrap();
        assert_eq!(again, frame, "{name}: sealed to the same bytes");
        assert_eq!(open(&key, &bound, &mut frame).unwrap(), content, "{name}");
    }
}

#[test]
fn refused_frames_stay_refused() {
    for block in read("v1_frames_fail.txt") {
        let (name, mut frame) = (block.name(), block.bytes("frame"));
        let refused = match Frame::new_checked(&frame[..]) {
            Err(e) => word(e),
            Ok(_) => {
                let (id, fingerprint, key) = (id_of(&block), fingerprint_of(&block), key_of(&block, &frame));
                let counter = counter(block.number("counter"));
                let bound = Binding { id: &id, counter, bundle: fingerprint.as_ref() };
                open(&key, &bound, &mut frame).map_or("open", |_| "not at all")
            }
        };
        assert_eq!(refused, block.text("refused"), "{name}");
    }
}

#[test]
fn old_contents_mean_the_same() {
    for block in read("v1_contents_pass.txt").into_iter().chain(read("v1_reference.txt")) {
        let (name, content) = (block.name(), block.bytes("content"));
        let quality = || match block.number("quality") {
            0 => Quality::Unknown,
            1 => Quality::Held,
            _ => Quality::Synced,
        };
        let millis = |key: &str| Millis::new(block.number(key) as i64).unwrap();
        match block.text("kind") {
            "data" => {
                let time = match block.text("time") {
                    "arrival" => Time::Arrival,
                    "unix_s" => Time::UnixS(block.number("unix_s") as u32),
                    "unix_ms" => Time::UnixMs(millis("unix_ms")),
                    "age" => Time::Age(block.number("age_ms") as u32),
                    _ => Time::Uptime { boot: block.number("boot") as u16, uptime: millis("uptime_ms") },
                };
                let origin = block.has("origin_counter").then(|| Origin {
                    generation: block.number("origin_generation") as u32,
                    counter: counter(block.number("origin_counter")),
                });
                let (code, padding_len) = (block.bytes("code"), block.number("padding_len") as usize);
                let data = Data { time, quality: quality(), origin, code: &code, padding_len };
                check_content(name, &data, Data::parse(&content).as_ref(), &content);
            }
            "status" => {
                let resets = [Reset::Unknown, Reset::PowerOn, Reset::Pin, Reset::Software, Reset::Watchdog];
                let resets = [&resets[..], &[Reset::Brownout, Reset::Panic, Reset::Sleep]].concat();
                let status = Status {
                    slot: Slot::new(block.number("slot") as u8).unwrap(),
                    fingerprint: block.array("fingerprint"),
                    windows_lost: block.number("windows_lost") as u32,
                    boot: block.number("boot") as u16,
                    reset: resets[block.number("reset") as usize],
                    uptime: millis("uptime_ms"),
                    unix: block.has("unix_ms").then(|| millis("unix_ms")),
                    quality: quality(),
                    battery_mv: block.has("battery_mv").then(|| block.number("battery_mv") as u16),
                    update: None,
                    heap_free: None,
                };
                check_content(name, &status, Status::parse(&content).as_ref(), &content);
            }
            "ack" => {
                let ack = Ack {
                    flags: AckFlags(block.number("flags") as u8),
                    server_time: millis("server_time_ms"),
                    base: counter(block.number("base")),
                    run: block.number("run") as u16,
                    bitmap: block.number("bitmap") as u32,
                };
                check_content(name, &ack, Ack::parse(&content).as_ref(), &content);
            }
            _ => {
                let body = block.bytes("body");
                let command = Command {
                    expires: millis("expires_ms"),
                    last_uplink: counter(block.number("last_uplink")),
                    code: block.number("code") as u8,
                    body: &body,
                };
                check_content(name, &command, Command::parse(&content).as_ref(), &content);
            }
        }
    }
}

fn check_content<C>(name: &str, meant: &C, read: Result<&C, &ParseError>, content: &[u8])
where
    C: Content + PartialEq + std::fmt::Debug,
{
    assert_eq!(read, Ok(meant), "{name}");
    let mut out = std::vec![0; meant.len()];
    assert_eq!(meant.emit(&mut out), Ok(out.len()), "{name}");
    assert_eq!(out, content, "{name}");
}

#[test]
fn refused_contents_stay_refused() {
    for block in read("v1_contents_fail.txt") {
        let content = block.bytes("content");
        let refused = match block.text("kind") {
            "data" => Data::parse(&content).err(),
            "status" => Status::parse(&content).err(),
            "ack" => Ack::parse(&content).err(),
            _ => Command::parse(&content).err(),
        };
        assert_eq!(refused.map(word), Some(block.text("refused")), "{}", block.name());
    }
}

#[test]
fn old_joins_hold() {
    for block in read("v1_joins_pass.txt") {
        let (name, key) = (block.name(), JoinKey::from_bytes(block.array("join_key")));
        if block.has("accept") {
            let accept = Accept::open(&block.bytes("accept"), &key).unwrap();
            assert_eq!(u64::from(accept.short_id.0), block.number("short_id"));
            assert_eq!(accept.grant.device_nonce, block.array("device_nonce"));
            assert_eq!(accept.grant.server_nonce, block.array("server_nonce"));
            assert_eq!(u64::from(accept.grant.generation), block.number("generation"));
            assert_eq!(accept.grant.time.bits(), block.number("time_ms"));
            let mut out = [0; crate::join::ACCEPT_LEN];
            accept.emit(&key, &mut out).unwrap();
            assert_eq!(out[..], block.bytes("accept"), "{name}");
        } else {
            let bytes = block.bytes("request");
            let frame = RequestFrame::parse(&bytes).unwrap();
            let request = frame.open(&key).unwrap();
            let (nonce, known) = (block.array("device_nonce"), block.number("known") as u32);
            let joining = Joining::new(id_of(&block), nonce, known, block.array("fingerprint"));
            assert_eq!(&request, joining.request(), "{name}");
            let mut out = std::vec![0; bytes.len()];
            joining.emit(&key, &mut out).unwrap();
            assert_eq!(out, bytes, "{name}");
        }
    }
}

#[test]
fn refused_joins_stay_refused() {
    for block in read("v1_joins_fail.txt") {
        let key = JoinKey::from_bytes(block.array("join_key"));
        let refused = if block.has("accept") {
            let (nonce, known) = (block.array("device_nonce"), block.number("known") as u32);
            let joining = Joining::new(id_of(&block), nonce, known, [0; 16]);
            joining.open(&block.bytes("accept"), &key).map_or("open", |_| "not at all")
        } else {
            let bytes = block.bytes("request");
            match RequestFrame::parse(&bytes) {
                Err(e) => word(e),
                Ok(frame) => frame.open(&key).map_or("open", |_| "not at all"),
            }
        };
        assert_eq!(refused, block.text("refused"), "{}", block.name());
    }
}

#[test]
fn counters_are_rebuilt_as_ever() {
    for block in read("v1_counters.txt") {
        let highest = block.has("highest").then(|| counter(block.number("highest")));
        let rebuilt = ShortCounter::Low(block.number("low") as u32).rebuild(highest);
        assert_eq!(rebuilt.get(), block.number("counter"), "{}", block.name());
    }
}

#[test]
fn old_stores_are_read() {
    for block in read("v1_stored.txt") {
        if block.has("join_state") {
            let bytes = block.bytes("join_state");
            let mut out = [0; JOIN_STATE_LEN_MAX];
            let len = JoinState::parse(&bytes).unwrap().emit(&mut out).unwrap();
            assert_eq!(out[..len], bytes, "{}", block.name());
            continue;
        }
        let bytes = block.bytes("ranges");
        let mut ranges = ReceivedRanges::new();
        for received in block.bytes("received").chunks_exact(6) {
            ranges.insert(counter(received.iter().fold(0, |n, &b| n << 8 | u64::from(b))));
        }
        assert_eq!(ReceivedRanges::parse(&bytes).as_ref(), Ok(&ranges), "{}", block.name());
        let mut out = [0; RANGES_LEN_MAX];
        let len = ranges.emit(&mut out).unwrap();
        assert_eq!(out[..len], bytes, "{}", block.name());
    }
}

#[test]
fn the_example_of_the_specification_is_a_vector() {
    let spec = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/wire.md")).unwrap();
    let example = spec.split("byte by byte:\n\n```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let hex: std::string::String =
        example.unwrap().lines().filter_map(|l| l.split_whitespace().next()).collect();
    let data = read("v1_frames_pass.txt").into_iter().find(|block| block.name() == "data").unwrap();
    assert_eq!(hex, data.text("frame"));
}

#[test]
fn directions_have_their_numbers() {
    assert_eq!((Direction::Up as u8, Direction::Down as u8), (0, 1));
}
