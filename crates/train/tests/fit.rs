//! A bundle is learned from any recording, keeps its bound, and is the same each time.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::ops::ControlFlow;

use kinglet_train::climate::{ClimateOptions, Sensor, generate};
use kinglet_train::fit::{Effort, FitError, FitOptions, LearnError, Trained, evaluate, train};
use kinglet_train::recording::{Bound, Cut, Recording};

fn climate(rows: usize) -> Recording {
    generate(&ClimateOptions { sensor: Sensor::Dht22, rows, ..ClimateOptions::default() }).unwrap()
}

fn options(bound: &str) -> FitOptions {
    FitOptions { bounds: Bound::parse_list(bound).unwrap(), effort: Effort::Fast, ..FitOptions::default() }
}

fn fit(recording: &Recording, options: &FitOptions) -> Result<Trained, FitError> {
    train(recording, options, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn the_bound_holds_on_rows_nobody_has_seen() {
    let recording = climate(6000);
    for bound in ["lossless", "0.2,1", "0.5", "5%"] {
        let evaluation = fit(&recording, &options(bound)).unwrap().report.evaluation;
        assert!(evaluation.max_error_over_bound.unwrap() <= 1.0, "{bound}: {evaluation:?}");
        assert!(evaluation.windows > 20 && evaluation.static_bytes <= 20 << 10);
    }
}

#[test]
fn the_same_seed_gives_the_same_bundle() {
    let recording = climate(2500);
    let with = |seed| {
        let options = FitOptions { seed, n_latents: Some(3), ..options("0.3,1") };
        fit(&recording, &options).unwrap().bundle.emit()
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

/// Tags of a model's sections (`spec/bundle.md`).
fn sections(device: &[u8]) -> Vec<u8> {
    let (mut rest, mut tags) = (&device[20..], Vec::new());
    while let [tag, a, b, c, d, after @ ..] = rest {
        tags.push(*tag);
        rest = &after[u32::from_le_bytes([*a, *b, *c, *d]) as usize..];
    }
    tags
}

#[test]
fn networks_are_told_the_length_of_codes_where_an_encoder_can_keep_what_they_say() {
    let recording = climate(6000);
    for (n_samples, told) in [(32, true), (80, false)] {
        let options = FitOptions { n_samples, n_latents: Some(0), ..options("lossless") };
        let trained = fit(&recording, &options).unwrap();
        let tags = sections(trained.bundle.model().bytes());
        assert_eq!((tags.contains(&12), tags.contains(&8)), (told, !told), "{n_samples}: {tags:?}");
        assert_eq!(trained.report.evaluation.max_error_over_bound, Some(0.0));
    }
}

#[test]
fn networks_of_windows_that_refer_are_told_the_length_of_codes_too() {
    let options = FitOptions { references: true, n_latents: Some(0), ..options("lossless") };
    let trained = fit(&climate(6000), &options).unwrap();
    let tags = sections(trained.bundle.model().bytes());
    assert_eq!([8, 11, 12].map(|tag| tags.contains(&tag)), [false, true, true], "{tags:?}");
    assert!(trained.report.references.unwrap().referring > 0.5);
}

#[test]
fn a_forced_autoencoder_still_keeps_the_bound() {
    let options = FitOptions { n_latents: Some(4), ..options("1,4") };
    let trained = fit(&climate(4000), &options).unwrap();
    assert!(trained.report.evaluation.max_error_over_bound.unwrap() <= 1.0);
    let without = FitOptions { n_latents: Some(0), ..options };
    let without = fit(&climate(4000), &without).unwrap();
    assert!(trained.report.evaluation.static_bytes > without.report.evaluation.static_bytes);
}

#[test]
fn a_fixed_size_is_kept_and_its_error_measured() {
    let recording = climate(4000);
    let trained =
        fit(&recording, &FitOptions { fixed_bytes: Some(6), cut: Cut::ByRows, ..options("1%") }).unwrap();
    let fixed = trained.report.fixed.unwrap();
    let evaluation = &trained.report.evaluation;
    assert_eq!((evaluation.payload_bytes_p95, evaluation.payload_bytes_max), (6, 6));
    assert_eq!(evaluation.max_error_over_bound, None);
    // Integers and eight-bit weights cost little against the transform in floating point.
    assert!(fixed.rms < 1.05 * fixed.rms_klt.unwrap() && fixed.rms < 0.5, "{fixed:?}");
}

#[test]
fn a_bundle_says_when_a_recording_is_not_for_it() {
    let trained = fit(&climate(1000), &options("lossless")).unwrap();
    let one =
        generate(&ClimateOptions { sensor: Sensor::Bme280, rows: 100, ..ClimateOptions::default() }).unwrap();
    let error = evaluate(&trained.bundle.model(), &one, 0..100, Cut::AtGaps).unwrap_err();
    assert!(matches!(error, FitError::Channels { have: 3, need: 2 }), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let refused =
        |recording: &Recording, options: &FitOptions| fit(recording, options).err().unwrap().to_string();
    assert!(refused(&climate(40), &options("1")).contains("at least 64"));
    assert!(refused(&climate(500), &options("1,2,3")).contains("one each"));
    let wide = FitOptions { n_samples: 257, ..options("1") };
    assert!(refused(&climate(500), &wide).contains("at most 256"));
}

#[test]
fn a_cancelled_training_says_so() {
    let stopped = train(&climate(500), &options("1"), &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped.err(), Some(FitError::Learn(LearnError::Cancelled))));
}
