//! The seed's own exported files, where they are at hand: what was found about them once is found again.
#![allow(clippy::print_stdout, reason = "a test says why it skips")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use kinglet_codec::Decimal;
use kinglet_codec::seed::SeedChannel;
use kinglet_train::audit::{AuditOptions, SealedShape, audit_seed};
use kinglet_train::import::{Sources, import};
use kinglet_train::recording::{RecordedChannel, Recording};

/// The seed's files: in `seed/` of `KINGLET_RECORDINGS`.
fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("KINGLET_RECORDINGS").map(|place| PathBuf::from(place).join("seed"));
    given.filter(|place| place.join("decoder_model.keras").is_file())
}

/// A day between 15 and 30 °C, in tenths.
fn day() -> Recording {
    let reading = |i: usize| {
        let phase = (i as f64 / 1440.0 * std::f64::consts::TAU).sin();
        Some(Decimal::new((225.0 + 75.0 * phase).round() as i64, 1))
    };
    let channel = RecordedChannel {
        name: "temperature".into(),
        unit: "°C".into(),
        values: (0..1440).map(reading).collect(),
    };
    Recording::new((0..1440).map(|i| i * 60_000).collect(), vec![channel], 60_000).unwrap()
}

#[test]
fn the_seeds_own_models_give_away_what_was_measured() {
    let Some(folder) = folder() else {
        println!(
            "skipped: no seed/ with the seed's exported files; set KINGLET_RECORDINGS to a folder that has it"
        );
        return;
    };
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (keras, scaler, tflite) =
        (file("decoder_model.keras"), file("scaler.joblib"), file("encoder_model.tflite"));
    let sources = Sources { keras: &keras, scaler: &scaler, tflite: Some(&tflite) };
    let model = import("seed", vec![SeedChannel::temperature()], &sources).unwrap().model;
    let options = AuditOptions { seed: 1, sealed: SealedShape { outer_len: 26, head_len: 5 } };
    let found = audit_seed(&model, &day(), &options).unwrap();
    let range = found.range.unwrap();
    let errors: Vec<(usize, f64)> = range.known.iter().map(|k| (k.pairs, k.channels[0].error_mean)).collect();
    println!("over the range: {errors:?}, affine {} / {}", range.affine_error_mean, range.affine_error_max);
    println!("server {:?}, shape {:?}", range.decoder_error_mean, range.shape);
    println!("one day: {:?} {:?}", found.known, found.shape);
    // Measured elsewhere on the same files: 0.600, 0.145, 0.036, 0.0011 with 2, 5, 10, 50 pairs; one affine map
    // to 0.008; shape 0.9947 to 1; the server itself 0.166 off. Draws differ, so these are orders of size.
    let of = |pairs: usize| errors.iter().find(|(n, _)| *n == pairs).unwrap().1;
    assert!((0.1..1.5).contains(&of(2)) && of(5) < 0.4 && of(10) < 0.15 && of(50) < 0.005, "{errors:?}");
    assert!(range.affine_error_max < 0.01, "{}", range.affine_error_max);
    assert!((range.decoder_error_mean.unwrap() - 0.166).abs() < 0.01);
    assert!(range.shape[0].correlation > 0.99 && found.shape[0].correlation > 0.99);
    // Within a day's temperatures two pairs are enough.
    assert!(found.known[0].channels[0].error_mean < 0.01, "{:?}", found.known[0]);
}
