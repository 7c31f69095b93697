//! What is known to leak is found, and what does not leak is not.

use kinglet_codec::Decimal;
use kinglet_codec::seed::{Activation, Half, Layer, Numbers, SeedChannel, SeedParts, Shape as LayerShape};

use super::*;
use crate::climate::{ClimateOptions, generate};
use crate::fit::{Effort, FitOptions, train};
use crate::nn::Rng;
use crate::recording::{Bound, RecordedChannel};

const OPTIONS: AuditOptions = AuditOptions { seed: 1, sealed: SealedShape { outer_len: 26, head_len: 5 } };

fn climate(rows: usize) -> Recording {
    generate(&ClimateOptions { rows, ..ClimateOptions::default() }).unwrap()
}

/// Temperatures of some days, in tenths.
fn days(n: usize) -> Recording {
    let reading = |i: usize| {
        let day = (i as f64 / 144.0 * std::f64::consts::TAU).sin();
        Some(Decimal::new((220.0 + 70.0 * day) as i64, 1))
    };
    let values = (0..n).map(reading).collect();
    let channel = RecordedChannel { name: "temperature".into(), unit: "°C".into(), values };
    Recording::new((0..n as i64).map(|i| i * 600_000).collect(), vec![channel], 600_000).unwrap()
}

/// An encoder of one ReLU layer of `hidden` units and a linear one of two; the decoder is not looked at.
fn seed_model(hidden: usize, seed: u64) -> SeedModel {
    let mut rng = Rng::new(seed);
    let mut numbers = |n: usize| (0..n).map(|_| rng.uniform() - 0.3).collect::<Vec<f32>>();
    let mut dense = |n_in: usize, n_out: usize, activation| Layer {
        shape: LayerShape::Dense { n_in, n_out },
        activation,
        numbers: Numbers::Float { weights: numbers(n_in * n_out), bias: numbers(n_out) },
    };
    let encoder = Half {
        layers: vec![dense(1, hidden, Activation::Relu), dense(hidden, 2, Activation::Linear)],
        input: None,
    };
    let decoder = Half { layers: vec![dense(2, 1, Activation::Linear)], input: None };
    SeedModel::new(SeedParts {
        name: "seed".into(),
        channels: vec![SeedChannel::temperature()],
        n_samples: 1,
        encoder: Some(encoder),
        decoder,
        report: serde_json::Value::Null,
    })
    .unwrap()
}

#[test]
fn latents_are_read_from_few_pairs() {
    let found = audit_seed(&seed_model(32, 3), &days(2000), &OPTIONS).unwrap();
    let range = found.range.unwrap();
    let error = |known: &KnownPairs| known.channels[0].error_mean;
    let errors: Vec<f64> = range.known.iter().map(error).collect();
    assert_eq!(range.known.iter().map(|k| k.pairs).collect::<Vec<_>>(), [2, 5, 10, 20, 50]);
    // Each further pair helps, and fifty read the range to hundredths; a deaf guess is 12.5 off.
    assert!(errors[4] < 0.05 && errors[4] < errors[0], "{errors:?}");
    assert!(range.known[4].channels[0].error_deaf > 10.0);
    assert!(range.shape[0].correlation > 0.98 && found.shape[0].rank_correlation > 0.98);
    assert!(range.affine_error_mean < 2.0 && range.affine_error_max >= range.affine_error_mean);
    // A reading always has the same code.
    assert!(found.codebook.distinct <= 150 && found.codebook.share_heard_before > 0.9);
    assert_eq!(found.codebook.share_same_readings, 1.0);
    assert!(found.lengths.is_empty());
}

#[test]
fn windows_leak_less_than_latents_and_lengths_less_with_padding() {
    let recording = climate(12_000);
    let options = FitOptions {
        bounds: Bound::parse_list("0.25,1").unwrap(),
        effort: Effort::Fast,
        n_samples: 16,
        ..FitOptions::default()
    };
    let trained = train(&recording, &options, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let found = audit_windows(&trained.bundle.model(), &recording, &OPTIONS).unwrap();
    assert!(found.codes > 500 && found.known.len() == 5);
    for guess in found.known.iter().flat_map(|known| &known.channels) {
        assert!(guess.error_mean.is_finite() && guess.error_deaf > 0.0, "{guess:?}");
    }
    // Without a key fifty windows say more than nothing: what a code begins with is the level.
    let fifty = &found.known[4];
    assert!(fifty.channels.iter().any(|c| c.error_mean < 0.9 * c.error_deaf), "{fifty:?}");
    let (bare, padded) = (&found.lengths[0], &found.lengths[4]);
    assert_eq!((bare.padding_class, padded.padding_class), (0, 32));
    assert!(bare.distinct > padded.distinct && bare.entropy_bits > padded.entropy_bits);
    assert!(bare.cost_percent == 0.0 && padded.cost_percent > 0.0);
    assert!(bare.busy_auc.unwrap() > 0.6, "{bare:?}");
    assert!(padded.frame_bytes_mean >= bare.frame_bytes_mean + 1.0);
}

#[test]
fn the_same_seed_finds_the_same() {
    let model = seed_model(8, 1);
    let once = || serde_json::to_string(&audit_seed(&model, &days(300), &OPTIONS).unwrap()).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn noise_for_codes_tells_nothing() {
    let mut rng = Rng::new(5);
    let mut heard = Heard::default();
    for i in 0..600 {
        let noise: Vec<f64> = (0..64).map(|_| f64::from(u8::from(rng.uniform() < 0.5))).collect();
        let place = f64::from(rng.uniform());
        heard.push(place, noise, vec![f64::from(i % 50), 1.0]);
    }
    let names = ["a".to_string(), "b".to_string()];
    for known in heard.attack(&names, 1).iter().skip(2) {
        let guess = &known.channels[0];
        assert!(guess.error_mean > 0.95 * guess.error_deaf, "{known:?}");
    }
    assert!(shapes(&heard, &names)[0].correlation < 0.12);
}

#[test]
fn what_cannot_be_tried_says_why() {
    let refused = |e: AuditError| e.to_string();
    let model = seed_model(4, 1);
    let two = climate(300);
    let error = audit_seed(&model, &two, &OPTIONS).err().map(refused).unwrap();
    assert!(error.contains("has 2 channels, the bundle 1"), "{error}");
    let error = audit_seed(&model, &days(5), &OPTIONS).err().map(refused).unwrap();
    assert!(error.contains("at least 8"), "{error}");
    let deaf = SeedModel::new(SeedParts { encoder: None, ..seed_model(4, 1).into_parts() }).unwrap();
    assert_eq!(audit_seed(&deaf, &days(50), &OPTIONS).err(), Some(AuditError::NoEncoder));
}
