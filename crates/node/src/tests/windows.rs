//! Windows: what is cut when, and that every decoded time lies within half a period of its sample's own.

use std::vec;
use std::vec::Vec;

use super::rig::{DOWN, GOOD, PERIOD_MS, Rig, model_bytes};
use crate::{Flash, NodeError, SampleTime};
use kinglet_codec::Decimal;

/// Feeds samples at these uptimes and gives the lengths of the windows stored.
fn check(samples_at: &[u64], max_delay_ms: u32, expected: &[usize]) {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(4, max_delay_ms, "x"));
    rig.reboot();
    rig.idle(1000);
    let start = rig.now;
    for at in samples_at {
        rig.idle((start + at).saturating_sub(rig.now));
        rig.sample();
    }
    rig.drain();
    rig.check();
    let lens: Vec<_> = rig.server.rows.values().map(|row| row.values.len()).collect();
    assert_eq!(lens, expected, "{samples_at:?}");
}

#[test]
fn a_window_is_cut_when_it_is_full_overdue_or_there_is_a_gap() {
    check(&[0, 1000, 2000, 3000, 4000], 60_000, &[4, 1]);
    check(&[0, 1000, 2000, 3000, 4000], 2_500, &[3, 2]);
    check(&[0, 1000, 2000, 3000], 2_001, &[3, 1]);
    check(&[0, 1000, 2000, 3000], 0, &[1, 1, 1, 1]);
    check(&[0, 1000, 5000, 6000], 60_000, &[2, 2]);
    // Half a period off is the limit, early and late; drift adds up against the window's start.
    check(&[0, 1500, 2000], 60_000, &[3]);
    check(&[0, 1501, 2501], 60_000, &[1, 2]);
    check(&[0, 500, 2000], 60_000, &[3]);
    check(&[0, 499, 1499], 60_000, &[1, 2]);
    check(&[0, 1200, 2400, 3600], 60_000, &[3, 1]);
    check(&[0, 0, 0], 60_000, &[1, 1, 1]);
}

#[test]
fn samples_may_bring_their_own_time() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.idle(1000);
    let t = 1_600_000_000_123;
    for at in [t, t + 1000, t + 2400, t + 9000] {
        rig.sample_at(SampleTime::Unix(at));
    }
    rig.sample_at(SampleTime::Now);
    rig.drain();
    let times = rig.server.times(PERIOD_MS as i64);
    let known: Vec<_> = times.values().take(4).map(|time| time.unwrap()).collect();
    assert_eq!(known, [t, t + 1000, t + 2000, t + 9000]);
    assert_eq!(rig.server.rows.len(), 3);
    assert!((times[&4].unwrap() - rig.unix()).abs() < 400_000);
}

#[test]
fn a_clock_that_jumps_cuts_and_goes_on() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.run(2_000);
    // A long sleep, then a step back, which counts as standing still.
    rig.now += 3_600_000;
    rig.run(2_000);
    let now = rig.up();
    let node = rig.node.as_mut().unwrap();
    node.handle_sample(now - 500_000, &mut rig.flash, SampleTime::Now, &[Some(Decimal::new(99, 0))]).unwrap();
    rig.taken.insert(99, rig.now);
    rig.clock_slack_ms = 1000;
    rig.drain();
    rig.check();
    assert_eq!(rig.server.values().len(), 5);
}

#[test]
fn missing_readings_and_off_grid_ones_arrive_as_such() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    rig.idle(1000);
    let readings = [Some(Decimal::new(10, 0)), None, Some(Decimal::new(124, 1)), Some(Decimal::new(1, 0))];
    for reading in readings {
        let now = rig.up();
        rig.node.as_mut().unwrap().handle_sample(now, &mut rig.flash, SampleTime::Now, &[reading]).unwrap();
        rig.idle(1000);
    }
    rig.drain();
    let row = rig.server.rows.values().next().unwrap();
    assert_eq!(row.values, [10, kinglet_codec::MISSING, 12, 1]);
}

#[test]
fn a_wrong_number_of_readings_or_a_time_before_1970_is_refused() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(4, 60_000, "x"));
    rig.reboot();
    let node = rig.node.as_mut().unwrap();
    for readings in [&[][..], &[None, None]] {
        let refused = node.handle_sample(0, &mut rig.flash, SampleTime::Now, readings);
        assert_eq!(refused, Err(NodeError::ChannelCount { expected: 1 }));
    }
    let refused = node.handle_sample(0, &mut rig.flash, SampleTime::Unix(-1), &[None]);
    assert_eq!(refused, Err(NodeError::SampleTime));
    assert_eq!(node.stats().n_samples_open, 0);
}

#[test]
fn a_code_too_long_for_a_frame_is_cut_into_shorter_windows() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(64, 600_000, "x"));
    rig.config_mut().code_len_max = 12;
    rig.reboot();
    rig.run(64_000);
    rig.drain();
    rig.check();
    assert_eq!(rig.server.values().len(), 64);
    assert!(rig.server.rows.len() > 1, "one window of 64 does not fit 12 bytes");
}

#[test]
fn a_bundle_switch_keeps_waiting_windows_with_their_bundle() {
    let (first, second) = (model_bytes(4, 60_000, "x"), model_bytes(3, 60_000, "y"));
    let mut rig = Rig::new(1, 6, 4096, first);
    rig.server = super::server::Server::new(rig.server.id, [5; 32], vec![first, second]);
    rig.reboot();
    rig.run(8_000);
    rig.link = DOWN;
    rig.run(8_000);
    rig.flush();
    rig.use_model(second);
    rig.reboot();
    rig.run(9_000);
    rig.link = GOOD;
    rig.drain();
    rig.check();
    assert_eq!(rig.server.values().len(), 25);
    let slots: Vec<_> = rig.server.statuses.iter().map(|status| status.slot.get()).collect();
    assert!(slots.first() == Some(&0) && slots.last() == Some(&1), "{slots:?}");
}

#[test]
fn flash_that_fails_keeps_the_window_and_refuses_aloud() {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.idle(1000);
    rig.flash.cut_after(0, 3);
    assert!(rig.flash.erase(0).is_err());
    let mut results = Vec::new();
    for n in 0..4 {
        let now = rig.up() + n * 1000;
        let reading = [Some(Decimal::new(n as i64, 0))];
        results.push(rig.node.as_mut().unwrap().handle_sample(
            now,
            &mut rig.flash,
            SampleTime::Now,
            &reading,
        ));
    }
    assert_eq!(results[0], Ok(()));
    assert!(matches!(results[1], Err(NodeError::Flash(_))));
    assert_eq!(results[2..], [Err(NodeError::SampleRefused); 2]);
    assert_eq!(rig.node.as_ref().unwrap().stats().n_samples_open, 2);
}
