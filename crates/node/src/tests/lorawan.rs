//! The same promises in LoRaWAN payloads: acks once in several windows, short counters, keys with and without joins.

use super::rig::{GOOD, Link as Air, Rig, model_bytes};
use crate::{Config, Link};

const FILL_LEN: usize = 51;

/// Samples over `air` with a reboot every `reboot_ms`, then all that waits.
fn check(seed: u64, link: Link, air: Air, ms: u64, reboot_ms: u64) -> Rig {
    let mut rig = Rig::new(seed, 8, 4096, model_bytes(16, 60_000, "x"));
    rig.clock_slack_ms = 2_000;
    let config = rig.config_mut();
    *config = Config { link, fill_len: FILL_LEN, retry_min_ms: 60_000, retry_max_ms: 120_000, ..*config };
    (rig.server.link, rig.server.ack_every) = (link, 8);
    rig.reboot();
    rig.link = air;
    let mut left = ms;
    while left > 0 {
        let span = left.min(reboot_ms);
        rig.run(span);
        left -= span;
        if left > 0 {
            rig.reboot();
        }
    }
    rig.config_mut().retry_max_ms = 1_000;
    rig.drain();
    rig.check();
    assert_eq!(rig.lost(), 0, "the outbox is large enough");
    assert_eq!(rig.server.values().len() + rig.excused.len(), rig.taken.len());
    assert!(rig.longest <= FILL_LEN, "a payload of {} bytes", rig.longest);
    rig
}

#[test]
fn every_reading_arrives_once() {
    const BAD: Air = Air { loss: 30, duplicate: 20, delay_ms: 20, jitter_ms: 3000, hints: true };
    for link in [Link::Lorawan, Link::LorawanStatic] {
        for seed in 0..8 {
            check(seed, link, GOOD, 400_000, u64::MAX);
            check(seed, link, BAD, 400_000, u64::MAX);
            check(seed, link, Air { loss: 80, ..BAD }, 400_000, u64::MAX);
            check(seed, link, BAD, 400_000, 97_300 + seed);
        }
    }
}

#[test]
fn static_keys_never_join() {
    let mut rig = check(1, Link::LorawanStatic, GOOD, 100_000, 30_000);
    for _ in 0..3 {
        let now = rig.up();
        rig.node.as_mut().unwrap().handle_join_hint(now);
        rig.idle(2 * 3600 * 1000);
    }
    assert_eq!((rig.server.n_joins, rig.node.as_ref().unwrap().stats().generation), (0, 0));
}

#[test]
fn a_joined_device_names_its_server_number() {
    let rig = check(1, Link::Lorawan, GOOD, 100_000, u64::MAX);
    assert_eq!((rig.server.n_joins, rig.node.as_ref().unwrap().short_id().0), (1, 77));
}
