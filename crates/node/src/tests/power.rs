//! Recovery: the power goes at any write, and nothing that was promised is lost.

use super::rig::{DOWN, GOOD, Link, Rig, Rng, model_bytes};

/// Forty samples over a good link with an outage in the middle, then all that waits.
fn story(rig: &mut Rig) {
    rig.reboot();
    rig.run(12_000);
    rig.link = DOWN;
    rig.run(12_000);
    rig.link = GOOD;
    rig.run(16_000);
    rig.drain();
}

#[test]
fn a_cut_at_every_write_loses_no_window_and_reuses_no_counter() {
    let model = model_bytes(4, 60_000, "x");
    let mut whole = Rig::new(1, 6, 4096, model);
    story(&mut whole);
    whole.check();
    assert_eq!((whole.lost(), whole.excused.len()), (0, 0));
    assert_eq!(whole.server.values().len(), 40);
    let n_writes = whole.flash.n_writes();
    assert!(n_writes >= 25, "{n_writes}");
    for cut in 0..n_writes {
        for tear in [0, 9, 0xFF21, 0x1234_5677] {
            let mut rig = Rig::new(1, 6, 4096, model);
            rig.flash.cut_after(cut, tear);
            story(&mut rig);
            rig.check();
            assert_eq!(rig.lost(), 0, "cut {cut}, tear {tear:#x}");
            assert_eq!(rig.n_reboots, 1, "cut {cut}, tear {tear:#x}");
        }
    }
}

#[test]
fn a_cut_at_every_write_while_the_outbox_is_full() {
    let model = model_bytes(2, 60_000, "x");
    let story = |rig: &mut Rig| {
        rig.reboot();
        rig.run(4_000);
        rig.link = DOWN;
        rig.run(120_000);
        rig.link = GOOD;
        rig.run(4_000);
        rig.drain();
    };
    let mut whole = Rig::new(2, 4, 512, model);
    story(&mut whole);
    whole.check();
    assert!(whole.lost() > 0, "the outbox was to be too small");
    for cut in 0..whole.flash.n_writes() {
        let mut rig = Rig::new(2, 4, 512, model);
        rig.flash.cut_after(cut, cut.wrapping_mul(0x9E37_79B9));
        story(&mut rig);
        rig.check();
        assert_eq!(rig.n_reboots, 1, "cut {cut}");
        assert!(
            rig.lost() <= whole.lost() + 16,
            "cut {cut}: {} lost, {} without it",
            rig.lost(),
            whole.lost()
        );
    }
}

#[test]
fn many_cuts_over_a_bad_link() {
    let mut n_cuts = 0;
    // `cargo xtask c` tries more of them, on the node in C beside this one.
    let n_seeds = std::env::var("KINGLET_POWER_SEEDS").map_or(250, |n| n.parse().unwrap());
    for seed in 0..n_seeds {
        let mut dice = Rng(seed ^ 0xC0FFEE);
        let model = model_bytes(1 + dice.below(6) as u16, 60_000, "x");
        let mut rig = Rig::new(seed, 4 + dice.below(4) as u32, 1024, model);
        rig.clock_slack_ms = 1000;
        for _ in 0..6 {
            rig.flash.cut_after(dice.below(40) as u32, dice.next() as u32);
            rig.link = Link {
                loss: dice.below(80),
                duplicate: dice.below(40),
                delay_ms: 5,
                jitter_ms: dice.below(100),
                hints: true,
            };
            rig.run(dice.below(30_000));
            if dice.below(3) == 0 {
                rig.reboot();
            }
        }
        rig.flash.power_on();
        rig.drain();
        n_cuts += rig.n_reboots;
        rig.check();
    }
    assert!(n_cuts > 4 * n_seeds as usize, "{n_cuts} cuts and reboots");
    std::println!("{n_cuts} cuts and reboots");
}

#[test]
fn a_sector_header_that_rots_away_costs_no_counter_twice() {
    for sector in 0..4 {
        let mut rig = Rig::new(9, 4, 1024, model_bytes(2, 60_000, "x"));
        rig.reboot();
        rig.run(60_000);
        // Each boot moves the counters on, by a record in the sector that is about to rot.
        for _ in 0..3 {
            rig.reboot();
            rig.run(4_000);
        }
        rig.flash.bytes_mut()[sector * 1024 + 12] ^= 0x10;
        rig.reboot();
        // Every frame that leaves is held against all that left before.
        rig.run(20_000);
        rig.drain();
        let stored = rig.server.values();
        let last = rig.taken.len() as i32;
        assert!((last - 20..last).all(|n| stored.contains_key(&n)), "sector {sector}");
    }
}
