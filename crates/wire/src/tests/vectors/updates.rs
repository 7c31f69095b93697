//! Signed updates, and what a status says of them: written by this version, and read again.

use super::*;
use crate::payload::{UpdateRefused, UpdateState};
use crate::update::{SignedUpdate, SigningKey, Update, UpdateKey};
use crate::{Field, ParseError};

const SEED: [u8; 32] = *b"a seed that signs nothing else..";

fn states() -> [(&'static str, Option<UpdateState>, Option<u32>); 4] {
    let state = |serial, is_trial, refused| Some(UpdateState { serial, is_trial, refused });
    [
        ("status_no_update_yet", state(0, false, None), None),
        ("status_on_trial", state(7, true, None), None),
        ("status_went_back", state(6, false, Some((7, UpdateRefused::NotAccepted))), Some(41_234)),
        ("status_heap", None, Some(65_536)),
    ]
}

pub(super) fn updates() -> String {
    let key = SigningKey::from_bytes(SEED);
    let mut text = Text::new("Signed updates, and what a status says of them.");
    let mut bad = Vec::new();
    for (serial, model_len, identity) in
        [(1, 1, [0; 32]), (0x6553_f100, 61_000, *b"a SHA-256 of all a device keeps.")]
    {
        let update = Update { serial, model_len, identity };
        let signed = key.sign(&update).to_bytes();
        text = text
            .case(if serial == 1 { "update_least" } else { "update" })
            .text("kind", "update")
            .hex("seed", &SEED)
            .hex("public", key.public().as_bytes())
            .hex("serial", &serial.to_be_bytes())
            .hex("model_len", &model_len.to_be_bytes())
            .hex("identity", &identity)
            .hex("update", &signed);
        bad = signed.to_vec();
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = bad.clone();
        bytes[at] = to;
        bytes
    };
    let no_serial = [&bad[..1], &[0; 4], &bad[5..]].concat();
    let cases = [
        ("update_version_2", changed(0, 2), "version"),
        ("update_short", bad[..104].to_vec(), "short"),
        ("update_long", [&bad[..], &[0]].concat(), "long"),
        ("update_serial_0", no_serial, "update"),
        ("update_other_serial", changed(4, bad[4] ^ 1), "signature"),
        ("update_other_model", changed(40, bad[40] ^ 1), "signature"),
        ("update_signature_changed", changed(104, bad[104] ^ 1), "signature"),
    ];
    for (name, bytes, refused) in cases {
        text = text.case(name).text("kind", "update").hex("public", key.public().as_bytes());
        text = text.hex("update", &bytes).text("refused", refused);
    }
    for (name, update, heap_free) in states() {
        let status = Status { unix: None, battery_mv: None, update, heap_free, ..status() };
        let mut out = [0; 64];
        let len = status.emit(&mut out).unwrap();
        text = text.case(name).text("kind", "status");
        if let Some(UpdateState { serial, is_trial, refused }) = update {
            let (refused, why) = refused.map_or((0, 0), |(serial, why)| (serial, why as u8));
            text = text.hex("serial", &serial.to_be_bytes()).hex("trial", &[is_trial.into()]);
            text = text.hex("refused_serial", &refused.to_be_bytes()).hex("why", &[why]);
        }
        if let Some(bytes) = heap_free {
            text = text.hex("heap_free", &bytes.to_be_bytes());
        }
        text = text.hex("content", &out[..len]);
    }
    for (name, at, to) in
        [("status_why_8", 39, 8), ("status_why_without_serial", 39, 6), ("status_bit_7", 0, 0xA8)]
    {
        let status = Status { unix: None, battery_mv: None, update: states()[0].1, ..status() };
        let mut out = [0; 64];
        let len = status.emit(&mut out).unwrap();
        out[at] = to;
        let refused = if at == 0 { "reserved" } else { "update" };
        text = text.case(name).text("kind", "status").hex("content", &out[..len]).text("refused", refused);
    }
    text.0
}

#[test]
fn updates_are_read_as_ever() {
    for block in read("v1_updates.txt") {
        let name = block.name();
        let refused = block.has("refused").then(|| block.text("refused"));
        if block.text("kind") == "status" {
            let content = block.bytes("content");
            let read = Status::parse(&content);
            match refused {
                Some("reserved") => assert_eq!(read, Err(ParseError::Malformed(Field::Reserved)), "{name}"),
                Some(_) => assert_eq!(read, Err(ParseError::Malformed(Field::Update)), "{name}"),
                None => {
                    let read = read.unwrap();
                    let heap_free = block.has("heap_free").then(|| block.number("heap_free") as u32);
                    let update = block.has("serial").then(|| UpdateState {
                        serial: block.number("serial") as u32,
                        is_trial: block.number("trial") == 1,
                        refused: UpdateRefused::from_number(block.number("why") as u8)
                            .map(|why| (block.number("refused_serial") as u32, why)),
                    });
                    assert_eq!((read.update, read.heap_free), (update, heap_free), "{name}");
                }
            }
            continue;
        }
        let key = UpdateKey::from_bytes(block.array("public"));
        let read = SignedUpdate::parse(&block.bytes("update"));
        match refused {
            Some("signature") => assert!(read.unwrap().verify(&key).is_err(), "{name}"),
            Some("version") => assert_eq!(read, Err(ParseError::Version(2)), "{name}"),
            Some("short") => assert!(matches!(read, Err(ParseError::NeedMore { .. })), "{name}"),
            Some("long") => assert_eq!(read, Err(ParseError::TooLong), "{name}"),
            Some(_) => assert_eq!(read, Err(ParseError::Malformed(Field::Update)), "{name}"),
            None => {
                let update = Update {
                    serial: block.number("serial") as u32,
                    model_len: block.number("model_len") as u32,
                    identity: block.array("identity"),
                };
                let signing = SigningKey::from_bytes(block.array("seed"));
                assert_eq!(signing.public(), key, "{name}");
                assert_eq!(
                    (read.unwrap().verify(&key), signing.sign(&update)),
                    (Ok(update), read.unwrap()),
                    "{name}"
                );
            }
        }
    }
}
