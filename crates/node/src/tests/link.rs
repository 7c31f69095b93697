//! A bad link, a full outbox, reboots: everything arrives once, or is said to be lost.

use super::rig::{DOWN, GOOD, Link, Rig, model_bytes};
use kinglet_wire::payload::{Quality, Time};

/// Samples for `ms` over `link`, reboots every `reboot_ms`, then all that waits.
fn check(seed: u64, link: Link, ms: u64, reboot_ms: u64) -> Rig {
    let mut rig = Rig::new(seed, 8, 4096, model_bytes(4, 60_000, "x"));
    rig.clock_slack_ms = 1000;
    rig.reboot();
    rig.link = link;
    let mut left = ms;
    while left > 0 {
        let span = left.min(reboot_ms);
        rig.run(span);
        left -= span;
        if left > 0 {
            rig.reboot();
        }
    }
    rig.drain();
    rig.check();
    assert_eq!(rig.lost(), 0, "the outbox is large enough");
    assert_eq!(rig.server.values().len() + rig.excused.len(), rig.taken.len());
    rig
}

#[test]
fn every_reading_arrives_once_however_bad_the_link() {
    const BAD: Link = Link { loss: 30, duplicate: 20, delay_ms: 20, jitter_ms: 3000, hints: true };
    for seed in 0..30 {
        check(seed, GOOD, 60_000, u64::MAX);
        check(seed, BAD, 60_000, u64::MAX);
        check(seed, Link { loss: 90, ..BAD }, 60_000, u64::MAX);
        check(seed, Link { loss: 0, duplicate: 100, ..BAD }, 60_000, u64::MAX);
        check(seed, BAD, 60_000, 7_300 + seed);
    }
}

#[test]
fn a_good_link_takes_one_frame_per_window() {
    let rig = check(1, GOOD, 60_000, u64::MAX);
    // A join, a status and fifteen windows.
    assert_eq!((rig.n_sent, rig.server.n_duplicates), (17, 0));
    assert!(rig.server.rows.values().all(|row| row.quality == Quality::Synced));
}

#[test]
fn what_was_buffered_before_the_clock_was_set_gets_its_own_time() {
    let mut rig = Rig::new(3, 8, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.link = DOWN;
    rig.run(100_000);
    rig.link = GOOD;
    rig.drain();
    rig.check();
    assert_eq!(rig.server.values().len(), 100);
    let is_dated = |time| matches!(time, Time::UnixMs(_) | Time::UnixS(_));
    assert!(rig.server.rows.values().all(|row| is_dated(row.time)), "the status' answer dated them all");
}

#[test]
fn a_boot_dated_once_stays_dated_through_a_reboot() {
    let mut rig = Rig::new(3, 8, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.run(4_000);
    rig.reboot();
    // Joined, but no clock yet: three windows of this boot wait in flash by their uptime.
    rig.link = DOWN;
    rig.run(12_000);
    let (now, unix) = (rig.up(), rig.unix());
    rig.node.as_mut().unwrap().set_unix_time(now, &mut rig.flash, unix).unwrap();
    rig.reboot();
    rig.link = GOOD;
    rig.drain();
    rig.check();
    assert!(rig.server.rows.values().all(|row| !matches!(row.time, Time::Uptime { .. })));
    assert!(rig.server.rows.values().any(|row| row.quality == Quality::Held));
}

#[test]
fn a_full_outbox_loses_the_oldest_and_says_how_many() {
    for (n_sectors, sector_len, n_samples) in [(4, 512, 2), (5, 1024, 1), (6, 512, 7), (4, 4096, 2)] {
        let mut rig = Rig::new(4, n_sectors, sector_len, model_bytes(n_samples, 60_000, "x"));
        rig.reboot();
        rig.run(4_000);
        rig.link = DOWN;
        rig.run(1_500_000);
        rig.flush();
        let lost = rig.lost();
        rig.link = GOOD;
        rig.drain();
        rig.check();
        assert!(lost > 50, "{lost} lost from {n_sectors} sectors of {sector_len}");
        assert_eq!(rig.lost(), lost, "emptying a full outbox of {n_sectors} sectors loses nothing more");
        // Lost windows are missing whole, and no other is.
        let stored = rig.server.values();
        let n_missing = rig.taken.len() - stored.len();
        assert_eq!(n_missing, usize::from(n_samples) * lost as usize);
        let last = rig.taken.len() as i32;
        assert!((last - 8..last).all(|n| stored.contains_key(&n)), "the newest are kept");
    }
}

#[test]
fn at_most_32_frames_are_in_flight() {
    let mut rig = Rig::new(5, 16, 4096, model_bytes(1, 60_000, "x"));
    rig.reboot();
    rig.run(2_000);
    rig.link = DOWN;
    rig.run(100_000);
    let stats = rig.node.as_ref().unwrap().stats();
    assert_eq!(stats.n_in_flight, crate::IN_FLIGHT_MAX);
    assert_eq!(stats.n_windows_waiting, 100);
    rig.link = GOOD;
    rig.drain();
    rig.check();
}

#[test]
fn a_restored_server_is_joined_anew_and_gets_everything_once() {
    for hints in [true, false] {
        let mut rig = Rig::new(6, 8, 4096, model_bytes(4, 60_000, "x"));
        rig.reboot();
        rig.run(20_000);
        rig.link = DOWN;
        rig.run(20_000);
        rig.server.forget_keys();
        rig.link = Link { hints, ..GOOD };
        // Without a hint the node takes an hour of silence for one.
        if hints {
            rig.run(60_000)
        } else {
            rig.idle(3 * 3_600_000)
        }
        let stats = rig.node.as_ref().unwrap().stats();
        assert_eq!((stats.generation, stats.windows_lost), (2, 0), "hints: {hints}");
        rig.drain();
        rig.check();
        assert_eq!(rig.server.values().len(), rig.taken.len());
    }
}

#[test]
fn wiped_flash_joins_anew() {
    let mut rig = Rig::new(7, 8, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.run(20_000);
    rig.flush();
    rig.idle(2_000);
    rig.flash.bytes_mut().fill(0xFF);
    rig.reboot();
    rig.run(20_000);
    rig.drain();
    let stats = rig.node.as_ref().unwrap().stats();
    assert_eq!((stats.generation, stats.boot), (2, 1));
    assert_eq!(rig.server.values().len(), 40);
}

#[test]
fn an_outage_is_not_spent_sending() {
    let mut rig = Rig::new(8, 16, 4096, model_bytes(4, 60_000, "x"));
    rig.config_mut().retry_max_ms = 900_000;
    rig.reboot();
    rig.run(8_000);
    rig.link = DOWN;
    rig.run(400_000);
    let before = rig.n_sent;
    rig.idle(2 * 3_600_000);
    let n = rig.n_sent - before;
    assert!((32..600).contains(&n), "{n} frames in two hours of nothing");
}

#[test]
fn a_date_once_sealed_outlives_the_keys() {
    let mut rig = Rig::new(4, 6, 4096, model_bytes(4, 60_000, "x"));
    rig.link = DOWN;
    rig.reboot();
    rig.run(12_000);
    // Long enough to join, to be told the time and to seal; what acknowledges the windows is lost.
    rig.link = GOOD;
    let up = rig.up();
    rig.node.as_mut().unwrap().handle_link_up(up);
    rig.idle(22);
    rig.link = DOWN;
    rig.idle(1_000);
    let n_stored = rig.server.rows.len();
    assert!(n_stored > 0 && rig.node.as_ref().unwrap().stats().n_in_flight == n_stored);
    // The server comes back from a backup: other keys, and every window again.
    rig.server.forget_keys();
    rig.server.rows.clear();
    rig.drain();
    assert_eq!(rig.server.rows.len(), n_stored);
    for row in rig.server.rows.values() {
        assert!(!matches!(row.time, Time::Uptime { .. }), "{row:?}");
    }
}
