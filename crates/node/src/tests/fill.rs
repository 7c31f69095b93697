//! Filled frames: as many samples as fit, never a byte more, never a sample kept too long.

use std::vec::Vec;

use super::rig::{DOWN, GOOD, PERIOD_MS, Rig, model_bytes};
use crate::{FILL_LEN_MIN, NodeError, OpenError, SampleTime};
use kinglet_codec::Decimal;

/// Bytes a frame has beside its code: header, flags, unix time in milliseconds, tag.
const OVERHEAD: usize = 10 + 1 + 6 + 16;

fn rig(n_samples: u16, max_delay_ms: u32, fill_len: usize, padding_class: u8) -> Rig {
    let mut rig = Rig::new(1, 8, 4096, model_bytes(n_samples, max_delay_ms, "x"));
    rig.leaps = true;
    (rig.config_mut().fill_len, rig.config_mut().padding_class) = (fill_len, padding_class);
    rig
}

fn frame_lens(rig: &Rig) -> Vec<usize> {
    rig.data_frames().map(<[u8]>::len).collect()
}

#[test]
fn no_frame_is_longer_and_most_are_full() {
    for fill_len in [48, 51, 64, 115, 222] {
        for padding_class in [0, 8, 16] {
            let mut rig = rig(256, 600_000, fill_len, padding_class);
            rig.reboot();
            rig.run(500_000);
            rig.drain();
            rig.check();
            let lens = frame_lens(&rig);
            assert!(lens.iter().all(|&len| len <= fill_len), "{fill_len} {padding_class}: {lens:?}");
            if fill_len > 100 {
                continue; // 256 samples of this kind take fewer bytes
            }
            // What is not padded away is used but for less than a sample, which takes up to eight bytes here.
            let unused = usize::from(padding_class) + 8;
            let n_full = lens.iter().filter(|&&len| len + unused >= fill_len).count();
            assert!(n_full * 10 >= lens.len() * 8, "{fill_len} {padding_class}: {lens:?}");
        }
    }
}

#[test]
fn a_fill_beyond_every_window_changes_nothing() {
    let stored = |fill_len| {
        let mut rig = rig(16, 600_000, fill_len, 0);
        rig.reboot();
        rig.run(100_000);
        rig.drain();
        rig.server.rows.values().map(|row| row.values.clone()).collect::<Vec<_>>()
    };
    assert_eq!(stored(4000), stored(0));
}

#[test]
fn no_sample_waits_longer_than_it_may() {
    for (max_delay_ms, fill_len) in [(0, 51), (4_000, 51), (9_500, 222), (60_000, 48)] {
        let mut rig = rig(256, max_delay_ms, fill_len, 0);
        rig.leaps = false;
        rig.reboot();
        rig.run(5_000);
        for _ in 0..300 {
            rig.run(PERIOD_MS / 2);
            rig.idle(PERIOD_MS / 2);
            let n_open = rig.node.as_ref().unwrap().stats().n_samples_open;
            let oldest = rig.taken.values().rev().take(n_open).next_back();
            let waited = oldest.map_or(0, |at| rig.now - at);
            assert!(waited <= u64::from(max_delay_ms), "{waited} ms of {max_delay_ms}");
        }
        rig.drain();
        rig.check();
        let longest = rig.server.rows.values().map(|row| row.values.len()).max();
        assert!(longest <= Some(max_delay_ms as usize / PERIOD_MS as usize + 1));
    }
}

#[test]
fn windows_cut_before_the_clock_was_set_fit_too() {
    let mut rig = rig(256, 600_000, 51, 0);
    rig.link = DOWN;
    rig.reboot();
    rig.run(300_000);
    rig.link = GOOD;
    rig.drain();
    rig.check();
    let lens = frame_lens(&rig);
    assert!(lens.len() > 5 && lens.iter().all(|&len| len <= 51), "{lens:?}");
}

#[test]
fn a_window_sealed_again_is_longer_by_its_origin_alone() {
    let mut rig = rig(256, 600_000, 51, 0);
    rig.reboot();
    rig.run(200_000);
    rig.link = DOWN;
    rig.run(200_000);
    rig.server.forget_keys();
    rig.link = GOOD;
    rig.drain();
    rig.check();
    assert!(rig.server.n_joins >= 2);
    let lens = frame_lens(&rig);
    assert!(lens.iter().any(|&len| len > 51) && lens.iter().all(|&len| len <= 61), "{lens:?}");
}

#[test]
fn a_cut_at_every_write_loses_nothing_while_frames_are_filled() {
    let story = |cut: Option<u32>| {
        let mut rig = rig(64, 600_000, 48, 0);
        rig.leaps = false;
        if let Some(cut) = cut {
            rig.flash.cut_after(cut, cut.wrapping_mul(0x9E37_79B9));
        }
        rig.reboot();
        rig.run(60_000);
        rig.link = DOWN;
        rig.run(60_000);
        rig.link = GOOD;
        rig.run(80_000);
        rig.drain();
        rig.check();
        assert!(frame_lens(&rig).iter().all(|&len| len <= 58));
        rig
    };
    let n_writes = story(None).flash.n_writes();
    assert!(n_writes >= 15, "{n_writes}");
    for cut in 0..n_writes {
        let rig = story(Some(cut));
        assert_eq!((rig.lost(), rig.n_reboots), (0, 1), "cut {cut}");
    }
}

#[test]
fn what_cannot_fit_is_refused_aloud() {
    let mut rig = rig(8, 60_000, FILL_LEN_MIN, 0);
    rig.reboot();
    rig.idle(1000);
    let now = rig.up();
    let node = rig.node.as_mut().unwrap();
    // Far beyond what the bundle was made for: its code alone is longer than what is left.
    let reading = [Some(Decimal::new(-0x1A5_5A5B, 0))];
    let refused = node.handle_sample(now, &mut rig.flash, SampleTime::Now, &reading);
    assert!(matches!(refused, Err(NodeError::CodeTooLong { .. })), "{refused:?}");
    assert_eq!(node.stats().n_samples_open, 0);

    let config = crate::Config { fill_len: FILL_LEN_MIN - 1, ..crate::Config::default() };
    let mut flash = crate::MemFlash::new(std::vec![0xFF; 4 * 4096], 4096, 4);
    let model = kinglet_codec::Model::parse(model_bytes(4, 1000, "x")).unwrap();
    let need = crate::BufferLens::of(&model);
    let (mut steps, mut workspace) = (std::vec![0; need.steps], std::vec![0; need.workspace]);
    let mut code = std::vec![0; need.code];
    let buffers = crate::Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let key = kinglet_wire::keys::DeviceKey::from_bytes([5; 32]);
    let identity = crate::Identity { id: kinglet_wire::keys::DeviceId::new("cellar").unwrap(), key };
    let opened = crate::Node::open(&mut flash, identity, model, buffers, config);
    assert!(matches!(opened.err(), Some(OpenError::FillTooSmall)));
    const { assert!(FILL_LEN_MIN > OVERHEAD) };
}
