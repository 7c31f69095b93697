//! Windows coded after the one before: only where the server has that, and never at the price of a reading.

use super::rig::{DOWN, GOOD, Link, Rig, Rng, referring_model_bytes};
use kinglet_wire::frame::kind_of;

fn rig(seed: u64) -> Rig {
    Rig::new(seed, 8, 4096, referring_model_bytes(4, "x"))
}

fn n_referred(rig: &Rig) -> usize {
    rig.server.rows.values().filter(|row| row.referred).count()
}

#[test]
fn on_a_good_link_nearly_all_windows_refer() {
    let mut rig = rig(1);
    rig.reboot();
    rig.run(80_000);
    rig.drain();
    rig.check();
    // The first has none before it.
    assert_eq!((rig.server.rows.len(), n_referred(&rig)), (20, 19));
    assert_eq!((rig.lost(), rig.server.n_unknown, rig.server.n_joins), (0, 0, 1));
}

#[test]
fn every_reading_arrives_once_however_bad_the_link() {
    let mut n = 0;
    for seed in 0..40 {
        let bad = Link { loss: 30, duplicate: 20, delay_ms: 20, jitter_ms: 3000, hints: true };
        for (link, reboot_ms) in [(bad, u64::MAX), (bad, 7_300 + seed), (Link { loss: 5, ..GOOD }, u64::MAX)]
        {
            let mut rig = rig(seed);
            rig.clock_slack_ms = 1000;
            rig.reboot();
            rig.link = link;
            for _ in 0..6 {
                rig.run(10_000.min(reboot_ms));
                if reboot_ms < u64::MAX {
                    rig.reboot();
                }
            }
            rig.drain();
            rig.check();
            assert_eq!((rig.lost(), rig.server.n_unknown), (0, 0));
            n += n_referred(&rig);
        }
    }
    assert!(n > 300, "{n} windows referred");
}

#[test]
fn a_cut_at_every_write_loses_no_window_and_reuses_no_counter() {
    let story = |rig: &mut Rig| {
        rig.reboot();
        rig.run(16_000);
        rig.link = DOWN;
        rig.run(8_000);
        rig.link = GOOD;
        rig.run(16_000);
        rig.drain();
    };
    let mut whole = rig(1);
    story(&mut whole);
    assert!(n_referred(&whole) > 5);
    for cut in 0..whole.flash.n_writes() {
        for tear in [0, 9, 0xFF21, 0x1234_5677] {
            let mut rig = rig(1);
            rig.flash.cut_after(cut, tear);
            story(&mut rig);
            rig.check();
            assert_eq!((rig.lost(), rig.n_reboots), (0, 1), "cut {cut}, tear {tear:#x}");
        }
    }
}

#[test]
fn what_the_server_cannot_read_is_sent_alone() {
    let mut rig = rig(2);
    rig.reboot();
    rig.run(20_000);
    let before = n_referred(&rig);
    rig.server.has_no_past = true;
    rig.run(20_000);
    rig.drain();
    rig.check();
    assert_eq!((rig.server.values().len(), n_referred(&rig), rig.server.n_joins), (40, before, 1));
    assert!(rig.server.n_unknown > 0, "it was tried");
    // Once it can be read again, it is said again.
    rig.server.has_no_past = false;
    rig.run(20_000);
    rig.drain();
    rig.check();
    assert!(n_referred(&rig) > before);
}

#[test]
fn nothing_refers_across_a_join() {
    // What a restored server has forgotten it never meets: its keys are gone too.
    for seed in 0..20 {
        let mut rig = rig(seed);
        rig.clock_slack_ms = 1000;
        rig.reboot();
        rig.link = Link { loss: 20, duplicate: 10, delay_ms: 10, jitter_ms: 800, hints: true };
        rig.run(20_000 + seed * 137);
        rig.server.forget_keys();
        let cutoff = rig.server.rows.keys().map(|o| o.generation).max().unwrap();
        rig.server.rows.retain(|origin, _| origin.generation != cutoff || origin.counter.get() % 3 > 0);
        let kept = rig.server.values();
        rig.run(30_000);
        rig.drain();
        assert_eq!((rig.lost(), rig.server.n_unknown), (0, 0));
        // What was acked and then lost with the database is not the device's fault.
        let stored = rig.server.values();
        assert!(kept.keys().all(|value| stored[value] == 1) && stored.values().all(|n| *n == 1));
        let last = *rig.taken.keys().last().unwrap();
        assert!((last - 20..=last).all(|value| stored.contains_key(&value)));
    }
}

#[test]
fn a_replayed_refusal_costs_bytes_and_no_reading() {
    let mut rig = rig(3);
    rig.reboot();
    rig.run(20_000);
    rig.server.has_no_past = true;
    rig.record_downlinks = true;
    rig.run(8_000);
    rig.server.has_no_past = false;
    let heard = std::mem::take(&mut rig.downlinks);
    assert!(!heard.is_empty());
    let mut dice = Rng(3);
    for _ in 0..40 {
        rig.run(1_000 + dice.below(900));
        for bytes in &heard {
            assert!(kind_of(bytes).is_ok());
            rig.deliver(bytes);
        }
    }
    rig.drain();
    rig.check();
    assert_eq!((rig.lost(), rig.server.n_joins), (0, 1));
}
