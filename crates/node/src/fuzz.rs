//! Doors as plain functions over bytes, for fuzzers and for tests: whatever the bytes, they return.

use std::vec;
use std::vec::Vec;

use kinglet_codec::learn::{Outline, Parts};
use kinglet_codec::{Decimal, Grid, Model};
use kinglet_wire::frame::Suite;
use kinglet_wire::join::Accept;
use kinglet_wire::join::Grant;
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::payload::Millis;
use kinglet_wire::update::{SignedUpdate, SigningKey, Update};

use crate::provision::{DATA_LEN_MAX, Given, Line, Receiver, Slots};
use crate::update::Updates;
use crate::{BufferLens, Buffers, Config, Downlink, Identity, MemFlash, Node, SampleTime};

const SECTOR_LEN: u32 = 1024;
const N_SECTORS: u32 = 4;
const UPDATE_SECTOR_LEN: u32 = 512;
const UPDATES_LEN: usize = 12 * UPDATE_SECTOR_LEN as usize;

/// Gives `bytes` to a device that is joining, and to one that has joined, as a downlink.
pub fn fuzz_downlink(bytes: &[u8]) {
    let mut flash = MemFlash::new(vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize], SECTOR_LEN, 4);
    with_node(&mut flash, |node, flash| {
        let mut out = vec![0; node.frame_len_max()];
        let mut random = |out: &mut [u8]| out.fill(4);
        let _ = node.poll_transmit(0, flash, &mut random, &mut out);
        let _ = node.handle_downlink(1, flash, &mut bytes.to_vec());
        let grant =
            Grant { generation: 1, device_nonce: [4; 16], server_nonce: [5; 16], time: Millis::default() };
        let accept = Accept { suite: Suite::AesCcm16, short_id: kinglet_wire::frame::ShortId(1), grant };
        let (id, key) = identity();
        let mut accept_bytes = vec![0; 128];
        let len = accept.emit(&key.join_key(&id), &mut accept_bytes).unwrap_or_default();
        let joined = node.handle_downlink(2, flash, &mut accept_bytes[..len]);
        assert_eq!(joined, Ok(Downlink::Joined { generation: 1 }));
        let _ = node.handle_downlink(3, flash, &mut bytes.to_vec());
    });
}

/// Reads `bytes` as a provisioning, as flash that should hold one, and as lines from a serial port.
pub fn fuzz_provision(bytes: &[u8]) {
    if let Ok(given) = Given::parse(bytes) {
        let mut out = vec![0; given.record_len()];
        let len = given.emit(&mut out).unwrap_or_default();
        assert!(Given::parse(&out[..len]).is_ok(), "what was read is written so that it can be read");
    }
    let mut image = vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize];
    for (to, from) in image.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mut flash = MemFlash::new(image, SECTOR_LEN, 4);
    let Ok(slots) = Slots::open(&mut flash) else { return };
    let mut out = vec![0; slots.record_len().unwrap_or_default()];
    let _ = slots.read(&mut flash, &mut out);
    let mut receiver = Receiver::new(slots);
    for line in bytes.split(|&b| b == b'\n').take(64) {
        let _ = receiver.line(&mut flash, line);
    }
}

/// A record, the lines that bring it, and flash that holds it: where mutations of [`fuzz_provision`] start.
pub fn sample_provisions() -> [Vec<u8>; 3] {
    let (id, key) = identity();
    let given = Given { id: Some(id), key: Some(key), ssid: "home", sensor: "dht11 4", ..Given::default() };
    let mut record = vec![0; given.record_len()];
    // The buffer is as long as it says.
    let _ = given.emit(&mut record);
    let mut lines = std::format!("{}\n", Line::Begin(record.len()));
    for (n, chunk) in record.chunks(DATA_LEN_MAX).enumerate() {
        lines += &std::format!("{}\n", Line::Data(n * DATA_LEN_MAX, chunk));
    }
    lines += &std::format!("{}\n", Line::End);
    let mut flash = MemFlash::new(vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize], SECTOR_LEN, 4);
    if let Ok(slots) = Slots::open(&mut flash) {
        let mut receiver = Receiver::new(slots);
        for line in lines.lines() {
            let _ = receiver.line(&mut flash, line.as_bytes());
        }
    }
    [record, lines.into_bytes(), flash.bytes_mut().to_vec()]
}

/// Reads `bytes` as flash that should hold updates, as an offer, and as the pieces of a model.
pub fn fuzz_update(bytes: &[u8]) {
    let mut image = vec![0xFF; UPDATES_LEN];
    for (to, from) in image.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mut flash = MemFlash::new(image, UPDATE_SECTOR_LEN, 4);
    let model_bytes = model_bytes();
    let Ok(model) = Model::parse(&model_bytes) else { return };
    let signing = SigningKey::from_bytes([2; 32]);
    let Ok(mut updates) = Updates::open(&mut flash, signing.public(), &model.fingerprint()) else { return };
    let mut out = vec![0; updates.model_len()];
    if let Ok(Some(len)) = updates.load(&mut flash, &model, &mut out) {
        assert!(Model::parse(&out[..len]).is_ok(), "what is to be used is a model");
    }
    if let Ok(offer) = SignedUpdate::parse(bytes) {
        let _ = updates.handle_offer(&mut flash, &offer);
    }
    let update = Update { serial: u32::MAX, model_len: 700, identity: [1; 32] };
    let _ = updates.handle_offer(&mut flash, &signing.sign(&update));
    for (n, piece) in bytes.chunks(97).enumerate().take(64) {
        let from = updates.wanted(u64::MAX).map_or(n as u32, |wanted| wanted.from);
        let _ = updates.handle_bytes(n as u64, &mut flash, from, piece);
    }
    assert!(!updates.is_restart_due(), "nobody finds bytes to a hash");
    let _ = updates.handle_verdict(&mut flash, crate::Verdict::NotAccepted);
    let _ = (updates.state(), updates.given_up(), updates.poll_at());
}

/// Flash that holds an update which was fetched and one that is being fetched: where mutations of [`fuzz_update`] start.
pub fn sample_updates() -> Vec<u8> {
    let mut flash = MemFlash::new(vec![0xFF; UPDATES_LEN], UPDATE_SECTOR_LEN, 4);
    let (model_bytes, signing) = (model_bytes(), SigningKey::from_bytes([2; 32]));
    let Ok(model) = Model::parse(&model_bytes) else { return Vec::new() };
    let base = model.fingerprint();
    for (serial, n_bytes) in [(5, model_bytes.len()), (6, UPDATE_SECTOR_LEN as usize + 9)] {
        let model_len = if serial == 5 { model_bytes.len() } else { 2 * n_bytes } as u32;
        let offer = signing.sign(&Update { serial, model_len, identity: model.identity() });
        // Flash in memory does not fail.
        if let Ok(mut updates) = Updates::open(&mut flash, signing.public(), &base) {
            let _ = updates.handle_offer(&mut flash, &offer);
            for at in (0..n_bytes).step_by(64) {
                let piece: Vec<u8> =
                    model_bytes.iter().cycle().skip(at).take(64.min(n_bytes - at)).copied().collect();
                let _ = updates.handle_bytes(0, &mut flash, at as u32, &piece);
            }
        }
    }
    flash.bytes_mut().to_vec()
}

/// Boots a device on flash that holds `bytes` (repeated and cut to fit), and lets it work for a while.
pub fn fuzz_flash_image(bytes: &[u8]) {
    let mut image = vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize];
    for (to, from) in image.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mut flash = MemFlash::new(image, SECTOR_LEN, 4);
    with_node(&mut flash, |node, flash| {
        let mut random = |out: &mut [u8]| out.fill(6);
        let mut out = vec![0; node.frame_len_max()];
        for n in 0..64u32 {
            let now = u64::from(n) * 1000;
            let _ = node.handle_sample(now, flash, SampleTime::Now, &[Some(Decimal::new(n.into(), 0))]);
            for _ in 0..4 {
                if !matches!(node.poll_transmit(now, flash, &mut random, &mut out), Ok(Some(_))) {
                    break;
                }
            }
            let _ = node.poll_at();
        }
    });
}

/// An image of a device's flash, for a corpus and for mutation: joined, with windows waiting.
pub fn sample_flash_image() -> std::vec::Vec<u8> {
    let mut flash = MemFlash::new(vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize], SECTOR_LEN, 4);
    with_node(&mut flash, |node, flash| {
        let mut random = |out: &mut [u8]| out.fill(4);
        let mut out = vec![0; node.frame_len_max()];
        let _ = node.poll_transmit(0, flash, &mut random, &mut out);
        let grant =
            Grant { generation: 1, device_nonce: [4; 16], server_nonce: [5; 16], time: Millis::default() };
        let accept = Accept { suite: Suite::AesCcm16, short_id: kinglet_wire::frame::ShortId(1), grant };
        let (id, key) = identity();
        let len = accept.emit(&key.join_key(&id), &mut out).unwrap_or_default();
        let _ = node.handle_downlink(1, flash, &mut out[..len]);
        for n in 0..30 {
            let now = 1000 + n * 1000;
            let _ = node.handle_sample(now, flash, SampleTime::Now, &[Some(Decimal::new(n as i64, 0))]);
            let _ = node.poll_transmit(now, flash, &mut random, &mut out);
        }
    });
    flash.bytes_mut().to_vec()
}

fn model_bytes() -> Vec<u8> {
    let grid = Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    Parts::untrained(4, 1000, &[Outline::new("x", grid, (0, 1000))]).emit()
}

fn identity() -> (DeviceId, DeviceKey) {
    #[allow(clippy::expect_used, reason = "a constant")]
    let id = DeviceId::new("fuzz").expect("is an id");
    (id, DeviceKey::from_bytes([1; 32]))
}

fn with_node(
    flash: &mut MemFlash<std::vec::Vec<u8>>,
    run: impl FnOnce(&mut Node<'_>, &mut MemFlash<std::vec::Vec<u8>>),
) {
    let bytes = model_bytes();
    let Ok(model) = Model::parse(&bytes) else { return };
    let need = BufferLens::of(&model);
    let (mut steps, mut workspace, mut code) =
        (vec![0; need.steps], vec![0; need.workspace], vec![0; need.code]);
    let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let (id, key) = identity();
    if let Ok(mut node) = Node::open(flash, Identity { id, key }, model, buffers, Config::default()) {
        run(&mut node, flash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_downlink_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..8) {
            fuzz_downlink(&bytes);
            let mut framed = bytes;
            if let Some(first) = framed.first_mut() {
                *first = 0x40 | kind << 3;
            }
            fuzz_downlink(&framed);
        }

        #[test]
        fn any_provisioning_is_survived(
            which in 0usize..3,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let mut bytes = sample_provisions()[which].clone();
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            fuzz_provision(&bytes);
        }

        #[test]
        fn any_updates_are_survived(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            noise in prop::collection::vec(any::<u8>(), 0..2048),
        ) {
            let mut image = sample_updates();
            for (at, byte) in flips {
                let at = at.index(image.len());
                image[at] = byte;
            }
            fuzz_update(&image);
            fuzz_update(&noise);
        }

        #[test]
        fn any_flash_image_is_survived(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
            noise in prop::collection::vec(any::<u8>(), 0..4096),
        ) {
            let mut image = sample_flash_image();
            for (at, byte) in flips {
                let at = at.index(image.len());
                image[at] = byte;
            }
            fuzz_flash_image(&image);
            fuzz_flash_image(&noise);
        }
    }
}
