use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;

fn dense(n_in: usize, n_out: usize, activation: Activation, step: f32) -> Layer {
    let weights = (0..n_in * n_out).map(|i| step * (i as f32 - 2.5)).collect();
    let bias = (0..n_out).map(|i| 0.1 * i as f32).collect();
    Layer { shape: Shape::Dense { n_in, n_out }, activation, numbers: Numbers::Float { weights, bias } }
}

fn parts() -> SeedParts {
    let encoder = vec![dense(1, 3, Activation::Relu, 0.3), dense(3, 2, Activation::Linear, 0.2)];
    let decoder = vec![dense(2, 3, Activation::Tanh, 0.3), dense(3, 1, Activation::Sigmoid, 0.2)];
    SeedParts {
        name: "porch".into(),
        channels: vec![SeedChannel::temperature()],
        n_samples: 1,
        encoder: Some(Half { layers: encoder, input: None }),
        decoder: Half { layers: decoder, input: None },
        report: serde_json::json!({"n": 1}),
    }
}

fn int8_parts() -> SeedParts {
    let layer = |n_in, n_out, activation, scale, zero| Layer {
        shape: Shape::Dense { n_in, n_out },
        activation,
        numbers: Numbers::Int8 {
            weights: (0..n_in * n_out).map(|i| (i as i8 + 1) * 40).collect(),
            bias: vec![100; n_out],
            weight_scale: 0.01,
            output: Affine { scale, zero },
        },
    };
    let half = |layers, scale| Half { layers, input: Some(Affine { scale, zero: -128 }) };
    SeedParts {
        encoder: Some(half(vec![layer(1, 2, Activation::Relu, 0.01, -128)], 1.0 / 255.0)),
        decoder: half(vec![layer(2, 1, Activation::Linear, 1.0 / 128.0, -128)], 0.01),
        ..parts()
    }
}

fn model() -> SeedModel {
    SeedModel::new(parts()).unwrap()
}

#[test]
fn computes_what_the_formulas_say() {
    let m = model();
    let (x, relu) = (0.3f64, |v: f64| v.max(0.0));
    let h = [relu(-0.75 * x), relu(-0.45 * x + 0.1), relu(-0.15 * x + 0.2)];
    let z = [-0.5 * h[0] - 0.3 * h[1] - 0.1 * h[2], 0.1 * h[0] + 0.3 * h[1] + 0.5 * h[2] + 0.1];
    let got = m.encode(&[15.0]).unwrap();
    assert!(got.iter().zip(z).all(|(g, z)| (f64::from(*g) - z).abs() < 1e-7), "{got:?} {z:?}");
    let value = m.decode(&got).unwrap();
    assert!(value.len() == 1 && value[0] > 0.0 && value[0] < 50.0);
    assert_eq!(m.latent_len(), 2);
}

#[test]
fn files_give_back_the_same_model_and_the_same_bytes() {
    for parts in [parts(), int8_parts(), SeedParts { encoder: None, ..parts() }] {
        let m = SeedModel::new(parts.clone()).unwrap();
        let bytes = m.emit();
        let again = SeedModel::parse(&bytes).unwrap();
        assert_eq!(again.clone().into_parts(), parts);
        assert_eq!(again.emit(), bytes);
        assert_eq!(again.fingerprint(), m.fingerprint());
    }
}

#[test]
fn identity_is_weights_and_outline_but_not_the_name() {
    let same = SeedModel::new(SeedParts { name: "else".into(), ..parts() }).unwrap();
    assert_eq!(same.identity(), model().identity());
    let mut other = parts();
    other.channels[0].range.1 = 51.0;
    assert_ne!(SeedModel::new(other).unwrap().identity(), model().identity());
    let mut other = parts();
    let Numbers::Float { bias, .. } = &mut other.decoder.layers[0].numbers else { panic!() };
    bias[0] = 1e-9;
    assert_ne!(SeedModel::new(other).unwrap().identity(), model().identity());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = model().emit();
    for n in 0..bytes.len() {
        assert!(SeedModel::parse(&bytes[..n]).is_err(), "{n}");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_changes_the_identity_or_lies_around_it() {
    let m = model();
    let bytes = m.emit();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let Ok(read) = SeedModel::parse(&bad) else { continue };
            let (a, b) = (read.clone().into_parts(), m.clone().into_parts());
            let around = a.name != b.name || a.report != b.report || a == b;
            assert!(read.identity() != m.identity() || around, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn bad_readings_and_latents_get_their_reason() {
    let m = model();
    let e = |values: &[f32]| m.encode(values).unwrap_err();
    assert_eq!(e(&[]), SeedError::InputLen { given: 0, expected: 1 });
    assert_eq!(e(&[f32::NAN]), SeedError::NotFinite { idx: 0 });
    assert_eq!(e(&[50.5]), SeedError::OutOfRange { idx: 0, value: 50.5, lo: 0.0, hi: 50.0 });
    let d = |latent: &[f32]| m.decode(latent).unwrap_err();
    assert_eq!(d(&[1.0]), SeedError::LatentLen { given: 1, expected: 2 });
    assert_eq!(d(&[1.0, f32::INFINITY]), SeedError::NotFinite { idx: 1 });
    let blind = SeedModel::new(SeedParts { encoder: None, ..parts() }).unwrap();
    assert_eq!(blind.encode(&[1.0]), Err(SeedError::NoEncoder));
    let mut wild = parts();
    wild.decoder.layers = vec![dense(2, 1, Activation::Linear, 1.0)];
    let wild = SeedModel::new(wild).unwrap();
    assert_eq!(wild.decode(&[f32::MAX, -f32::MAX]), Err(SeedError::Overflow));
}

#[test]
fn clipping_is_counted() {
    let mut values = [-1.0, 20.0, 51.0];
    assert_eq!(model().clip(&mut values), 2);
    assert_eq!(values, [0.0, 20.0, 50.0]);
}

#[test]
fn impossible_models_are_refused() {
    type Change = fn(&mut SeedParts);
    let changes: [Change; 7] = [
        |p| p.channels.clear(),
        |p| p.n_samples = 2,
        |p| p.channels[0].range = (1.0, 1.0),
        |p| p.decoder.layers.clear(),
        |p| p.decoder.layers[1] = dense(4, 1, Activation::Linear, 1.0),
        |p| p.decoder.layers[1] = dense(3, 1, Activation::Linear, f32::INFINITY),
        |p| p.encoder.as_mut().unwrap().layers[0] = dense(1, 2000, Activation::Linear, 1.0),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut p = parts();
        change(&mut p);
        assert!(matches!(SeedModel::new(p), Err(SeedError::Model(_))), "{i}");
    }
    let mut p = int8_parts();
    p.decoder.layers[0].activation = Activation::Sigmoid;
    assert!(matches!(SeedModel::new(p), Err(SeedError::Model(_))));
}

#[test]
fn int8_halves_compute_with_integers() {
    let m = SeedModel::new(int8_parts()).unwrap();
    assert!(m.is_int8());
    // 24.9 of 50 is step 127 of 255: 127 · 40 + 100 steps of 0.01/255, in steps of 0.01: 20.3.
    let latent = m.encode(&[24.9]).unwrap();
    let expected = [(127.0 * 40.0 + 100.0) / 255.0, (127.0 * 80.0 + 100.0) / 255.0];
    let close =
        latent.iter().zip(expected).all(|(z, e): (_, f64)| (f64::from(*z) - e.round() * 0.01).abs() < 1e-6);
    assert!(close, "{latent:?} {expected:?}");
    assert!(m.decode(&latent).unwrap()[0].is_finite());
    let relu_off = m.encoder().unwrap().run_int8(&[-128]).unwrap();
    assert_eq!(relu_off, [-128, -128]);
}

#[test]
fn a_convolution_reads_step_major() {
    let shape = Shape::Conv1d { n_steps: 4, channels_in: 2, channels_out: 1, kernel: 2, stride: 2 };
    let numbers = Numbers::Float { weights: vec![1.0, 10.0, 100.0, 1000.0], bias: vec![0.5] };
    let layer = Layer { shape, activation: Activation::Linear, numbers };
    let y = layer.run(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(y, [4321.5, 8765.5]);
}

#[cfg(feature = "bundle")]
#[test]
fn the_two_kinds_of_bundle_refuse_each_other_by_name() {
    use crate::bundle::{Bundle, BundleError};
    let grid = crate::Grid { scale: 1, origin: 0, quantum: 1, bound_steps: 2, rounds: false };
    let outline = crate::learn::Outline::new("x", grid, (-400, 800));
    let device = crate::learn::Parts::untrained(32, 1000, &[outline]).emit();
    let window = Bundle::new("w", device, serde_json::Value::Null).unwrap().emit();
    assert_eq!(SeedModel::parse(&window).unwrap_err(), SeedError::WindowCodec);
    let refused = Bundle::parse(&model().emit()).err().unwrap();
    assert!(matches!(refused, BundleError::SeedMode), "{refused}");
    assert!(refused.to_string().contains("this is a seed-mode bundle"));
    assert!(SeedError::WindowCodec.to_string().contains("window codec"));
}

#[test]
fn other_files_are_refused_with_the_next_step() {
    for bytes in [&b""[..], b"PK\x03\x04", &[0xff; 64], &Vec::from([0u8; 4096])] {
        let e = SeedModel::parse(bytes).unwrap_err().to_string();
        assert!(e.contains("kinglet train"), "{e}");
    }
}
