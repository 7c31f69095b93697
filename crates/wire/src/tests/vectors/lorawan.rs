//! Frames in LoRaWAN payloads.

use super::*;
use crate::cose::{COSE_LEN_MAX, expand};
use crate::frame::Frame;
use crate::lorawan::{PORT, PORT_LONG, SUITE, Uplink, expand_downlink, pack_downlink};
use crate::seal::{Aad, nonce};
use crate::tests::compatibility::word;
use crate::tests::lorawan::{Wrapped, cases, pack};

pub(super) fn pass() -> String {
    let about = "Frames in LoRaWAN payloads: what a payload stands for, and what opens it. `highest`: the highest \
                 counter opened before.";
    cases()
        .iter()
        .fold(Text::new(about), |text, case| {
            let Wrapped { case, secret, short_id, highest, .. } = case;
            let (id, key, frame) = (id(), case.key_of(secret, SUITE), case.sealed_by(secret, SUITE));
            let bound = case.bound(&id);
            let view = Frame::checked_on(&frame[..], SUITE).unwrap();
            let mut cose = [0; COSE_LEN_MAX];
            let cose_len = expand(&view, &bound, &mut cose).unwrap();
            let (payload, port) = pack(&frame, *highest);
            text.case(case.name)
                .text("id", id.as_str())
                .hex("secret", secret.expose_secret())
                .u48("counter", case.counter.get())
                .hex("fingerprint", bound.bundle.map_or(&[], |f| &f[..]))
                .hex("key", key.key())
                .hex("nonce", &nonce(&key, case.counter))
                .hex("aad", Aad::new(view.header(), &key, &bound).as_bytes())
                .hex("content", &case.content)
                .hex("short_id", &short_id.0.to_be_bytes())
                .hex("frame", &frame)
                .hex("port", &[port])
                .u48("highest", highest.unwrap_or(0))
                .hex("payload", &payload)
                .hex("cose", &cose[..cose_len])
        })
        .0
}

pub(super) fn fail() -> String {
    let about = "LoRaWAN payloads that are refused, and as what.";
    let payload = |i: usize| pack(&cases()[i].frame(), cases()[i].highest).0;
    let changed = |i: usize, at: usize, to: u8| {
        let mut payload = payload(i);
        payload[at] = to;
        payload
    };
    let refused = [
        ("empty", PORT, Vec::new(), "short"),
        ("version_2", PORT, changed(1, 0, 0x82), "version"),
        ("suite_0", PORT, changed(1, 0, 0x40), "suite"),
        ("suite_2", PORT, changed(1, 0, 0x44), "suite"),
        ("a_downlink", PORT, changed(1, 0, 0x6a), "type"),
        ("type_7", PORT, changed(1, 0, 0x7a), "type"),
        ("another_port", 1, payload(1), "type"),
        ("a_full_counter_where_it_is_short", PORT, changed(1, 0, 0x43), "wide"),
        ("status_with_a_slot", PORT, changed(3, 1, 0x13), "reserved"),
        ("cut_in_the_tag", PORT, payload(1)[..11].to_vec(), "short"),
        ("cut_in_the_long_counter", PORT_LONG, payload(0)[..5].to_vec(), "short"),
        ("longer_than_a_payload", PORT, std::vec![0x42; 243], "long"),
    ];
    let text = refused.iter().fold(Text::new(about), |text, (name, port, payload, refused)| {
        let parsed = Uplink::parse(*port, payload).map_err(word);
        assert_eq!(parsed.err(), Some(*refused), "{name}");
        text.case(name)
            .text("direction", "up")
            .hex("port", &[*port])
            .hex("payload", payload)
            .text("refused", refused)
    });
    let down = |i: usize| {
        let mut out = [0; 300];
        let len = pack_downlink(&cases()[i].frame(), &mut out).unwrap();
        out[..len].to_vec()
    };
    let ack = cases().len() - 1;
    let refused = [
        ("down_empty", Vec::new(), "short"),
        ("down_suite_0", [&[0x68], &down(ack)[1..]].concat(), "suite"),
        ("down_an_uplink", payload(1), "type"),
        ("down_with_a_slot", [&down(ack)[..1], &[0x13], &down(ack)[2..]].concat(), "reserved"),
        ("down_cut", down(ack)[..25].to_vec(), "short"),
    ];
    refused
        .iter()
        .fold(text, |text, (name, payload, refused)| {
            let parsed = expand_downlink(payload, crate::frame::ShortId(7), &mut [0; 300]).map_err(word);
            assert_eq!(parsed.err(), Some(*refused), "{name}");
            text.case(name).text("direction", "down").hex("payload", payload).text("refused", refused)
        })
        .0
}
