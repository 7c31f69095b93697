//! Frames that are filled: what is promised of them on paper is what they carry.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::ops::ControlFlow;

use kinglet_train::climate::{ClimateOptions, Sensor, generate};
use kinglet_train::fit::{
    Effort, FitError, FitOptions, FrameOptions, FrameSummary, Trained, frames, train, window_for,
};
use kinglet_train::recording::{Bound, Recording};

fn climate(rows: usize) -> Recording {
    generate(&ClimateOptions { sensor: Sensor::Dht22, rows, ..ClimateOptions::default() }).unwrap()
}

fn options(fill_len: Option<usize>) -> FitOptions {
    FitOptions {
        bounds: Bound::parse_list("0.2,1").unwrap(),
        effort: Effort::Fast,
        n_latents: Some(0),
        max_delay_ms: Some(24 * 3600 * 1000),
        frame: FrameOptions { overhead: 31, fill_len },
        ..FitOptions::default()
    }
}

fn fit(recording: &Recording, options: &FitOptions) -> Result<Trained, FitError> {
    train(recording, options, &mut |_| ControlFlow::Continue(()))
}

fn filled(trained: &Trained, fill_len: usize) -> &FrameSummary {
    trained.report.frames.iter().find(|f| f.fill_len == Some(fill_len)).unwrap()
}

#[test]
fn every_report_says_what_lorawan_frames_would_carry() {
    let trained = fit(&climate(4000), &options(None)).unwrap();
    let of = |f: &FrameSummary| f.fill_len;
    let kinds: Vec<_> = trained.report.frames.iter().map(of).collect();
    assert_eq!(kinds, [None, Some(51), Some(115), Some(222)]);
    for frames in &trained.report.frames[1..] {
        assert!(frames.frame_bytes_max <= frames.fill_len.unwrap(), "{frames:?}");
        let cuts = frames.cuts;
        assert!((cuts.full + cuts.window + cuts.delay + cuts.gap - 1.0).abs() < 1e-9);
    }
    // Windows of 32 samples fill none of them.
    assert!(filled(&trained, 222).samples_max == 32 && filled(&trained, 222).cuts.window > 0.9);
}

#[test]
fn a_window_chosen_for_its_frame_carries_more() {
    let recording = climate(8000);
    let mut wanted = options(Some(51));
    wanted.n_samples = window_for(&recording, &wanted, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(wanted.n_samples > 32, "{}", wanted.n_samples);
    let chosen = fit(&recording, &wanted).unwrap();
    let usual = fit(&recording, &options(Some(51))).unwrap();
    let (chosen, usual) = (filled(&chosen, 51), filled(&usual, 51));
    assert!(chosen.samples_mean > 1.5 * usual.samples_mean, "{chosen:?} {usual:?}");
    assert!(chosen.bytes_per_reading < usual.bytes_per_reading);
    assert!(chosen.frame_bytes_mean > 45.0, "{chosen:?}");
}

#[test]
fn nothing_waits_longer_than_it_may() {
    let recording = climate(3000);
    let short = FitOptions { max_delay_ms: Some(5 * 60_000), ..options(Some(115)) };
    let frames = fit(&recording, &short).unwrap().report.frames.remove(0);
    // One sample a minute: the sixth comes when the first has waited five.
    assert_eq!(frames.samples_max, 6);
    assert!(frames.cuts.delay > 0.9 && frames.frame_bytes_max <= 115);
}

#[test]
fn frames_that_are_too_short_are_refused() {
    // A reading of this kind does not fit what such a frame leaves.
    let recording = climate(1000);
    let lossless = FitOptions { bounds: vec![Bound::Lossless], ..options(Some(32)) };
    let error = fit(&recording, &lossless).err().unwrap();
    assert!(matches!(error, FitError::FillTooShort { fill_len: 32, room: 1, .. }), "{error}");
    assert!(error.to_string().contains("frames of 32 bytes have 1"), "{error}");
}

#[test]
fn a_loose_fill_is_the_same_as_none() {
    let recording = climate(2000);
    let trained = fit(&recording, &options(None)).unwrap();
    let model = trained.bundle.model();
    let with = |fill_len| frames(&model, &recording, 0..2000, FrameOptions { overhead: 31, fill_len });
    assert_eq!(with(Some(4000)).samples_mean, with(None).samples_mean);
    assert_eq!(with(Some(4000)).frames, with(None).frames);
}
