//! Keys and joins.

use super::*;
use crate::join::{Accept, Grant, Joining, Request};

pub(super) fn keys() -> String {
    let (id, key, suite) = (id(), device_key(), Suite::AesCcm16);
    let (device_nonce, server_nonce) = (b"device nonce 16b", b"server nonce 16b");
    let secret = key.generation_secret(&id, GENERATION, device_nonce, server_nonce);
    let fixed = key.static_secret(&id);
    let (up, down) = (secret.up(suite), secret.down(suite, &RUN));
    Text::new("The key schedule, from a device key to both directions of a link.")
        .case("joined")
        .text("id", id.as_str())
        .hex("device_key", key.expose_secret())
        .hex("join_key", key.join_key(&id).expose_secret())
        .hex("generation", &GENERATION.to_be_bytes())
        .hex("device_nonce", device_nonce)
        .hex("server_nonce", server_nonce)
        .hex("secret", secret.expose_secret())
        .hex("suite", &[suite as u8])
        .hex("up_key", up.key())
        .hex("up_iv", up.iv())
        .hex("run", &RUN)
        .hex("down_key", down.key())
        .hex("down_iv", down.iv())
        .case("one_way")
        .text("id", id.as_str())
        .hex("device_key", key.expose_secret())
        .hex("static_secret", fixed.expose_secret())
        .hex("suite", &[suite as u8])
        .hex("up_key", fixed.up(suite).key())
        .hex("up_iv", fixed.up(suite).iv())
        .0
}

pub(super) fn joining() -> Joining {
    Joining::new(id(), *b"device nonce 16b", GENERATION - 1, FINGERPRINT)
}

fn grant() -> Grant {
    Grant {
        generation: GENERATION,
        device_nonce: *b"device nonce 16b",
        server_nonce: *b"server nonce 16b",
        time: Millis::saturating(1_790_000_000_456),
    }
}

fn request_bytes(request: &Request) -> Vec<u8> {
    let mut out = std::vec![0; request.emit_len()];
    request.emit(&device_key().join_key(&id()), &mut out).unwrap();
    out
}

fn accept_bytes(grant: Grant) -> Vec<u8> {
    let mut out = std::vec![0; crate::join::ACCEPT_LEN];
    let accept = Accept { suite: Suite::AesCcm16, short_id: ShortId(0x00c0_ffee), grant };
    accept.emit(&device_key().join_key(&id()), &mut out).unwrap();
    out
}

pub(super) fn joins_pass() -> String {
    let known = *joining().request();
    let none = Request { known: 0, fingerprint: [0; 16], ..known };
    let text = Text::new("Joins whose MAC holds.");
    let text =
        [("request", known), ("request_of_a_wiped_device", none)].iter().fold(text, |text, (name, r)| {
            text.case(name)
                .text("id", id().as_str())
                .hex("join_key", device_key().join_key(&id()).expose_secret())
                .hex("device_nonce", &r.device_nonce)
                .hex("known", &r.known.to_be_bytes())
                .hex("fingerprint", &r.fingerprint)
                .hex("request", &request_bytes(r))
        });
    text.case("accept")
        .text("id", id().as_str())
        .hex("join_key", device_key().join_key(&id()).expose_secret())
        .hex("short_id", &0x00c0_ffeeu32.to_be_bytes())
        .hex("device_nonce", &grant().device_nonce)
        .hex("server_nonce", &grant().server_nonce)
        .hex("generation", &GENERATION.to_be_bytes())
        .u48("time_ms", grant().time.bits())
        .hex("accept", &accept_bytes(grant()))
        .0
}

pub(super) fn joins_fail() -> String {
    let join_key = device_key().join_key(&id());
    let request = request_bytes(joining().request());
    let accept = accept_bytes(grant());
    let with = |bytes: &[u8], at: usize, to: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = to;
        changed
    };
    let mut zero = accept_bytes(Grant { generation: 0, ..grant() });
    let requests = [
        ("request_version_2", with(&request, 0, 0x90), "version"),
        ("request_suite_1", with(&request, 0, 0x52), "suite"),
        ("request_with_a_full_counter", with(&request, 0, 0x51), "wide"),
        ("request_without_id", with(&request, 1, 0), "device_id"),
        ("request_id_of_33", with(&request, 1, 33), "device_id"),
        ("request_id_with_a_slash", with(&request, 4, b'/'), "device_id"),
        ("request_cut", request[..request.len() - 1].to_vec(), "short"),
        ("request_and_more", [request.clone(), std::vec![0]].concat(), "long"),
        ("request_known_changed", with(&request, 29, 0xff), "open"),
        ("request_mac_changed", with(&request, request.len() - 1, !request[request.len() - 1]), "open"),
    ];
    let accepts = [
        ("accept_of_generation_0", std::mem::take(&mut zero), "open"),
        ("accept_second_byte", with(&accept, 1, 1), "open"),
        ("accept_cut", accept[..63].to_vec(), "open"),
        ("accept_and_more", [accept.clone(), std::vec![0]].concat(), "open"),
        ("accept_short_id_changed", with(&accept, 5, 0), "open"),
        ("accept_mac_changed", with(&accept, 63, !accept[63]), "open"),
        (
            "accept_to_another_nonce",
            accept_bytes(Grant { device_nonce: *b"Device nonce 16b", ..grant() }),
            "open",
        ),
        (
            "accept_of_a_known_generation",
            accept_bytes(Grant { generation: GENERATION - 1, ..grant() }),
            "open",
        ),
    ];
    let about = "Joins that are refused, and as what. A device refuses every accept in the same way.";
    let text = requests.iter().fold(Text::new(about), |text, (name, bytes, refused)| {
        text.case(name)
            .hex("join_key", join_key.expose_secret())
            .hex("request", bytes)
            .text("refused", refused)
    });
    accepts
        .iter()
        .fold(text, |text, (name, bytes, refused)| {
            text.case(name)
                .text("id", id().as_str())
                .hex("join_key", join_key.expose_secret())
                .hex("device_nonce", &joining().request().device_nonce)
                .hex("known", &joining().request().known.to_be_bytes())
                .hex("accept", bytes)
                .text("refused", refused)
        })
        .0
}
