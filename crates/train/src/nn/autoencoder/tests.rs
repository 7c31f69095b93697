use std::ops::ControlFlow;

use super::super::{Conv1d, Isa, Loss, NetBuilder, Pass, Progress, Rng};
use super::rate::RateLoss;
use super::*;

/// Windows on a bent line: one number decides shape as well as height, which no linear code of one number can say.
fn bent(n_windows: usize, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let mut out = Vec::new();
    for _ in 0..n_windows {
        let a = 2.0 * rng.uniform() - 1.0;
        for t in 0..n {
            let t = t as f32 / n as f32;
            out.push(
                1.5 * a * t
                    + 2.0 * a * a * (t - 0.5)
                    + (a.abs() - 0.5) * (6.0 * t).sin()
                    + 0.01 * rng.uniform(),
            );
        }
    }
    out
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn quick(n_bytes: usize, seed: u64) -> FixedConfig {
    let mut c = FixedConfig::new(n_bytes, 12, seed);
    c.effort.n_steps = 1200;
    c.effort.batch_len = 64;
    c
}

#[test]
fn fixed_beats_the_klt_where_the_signal_bends() {
    let (train, held, fresh) = (bent(800, 16, 1), bent(200, 16, 2), bent(200, 16, 3));
    let a = train_fixed(&train, &held, 16, &quick(1, 1), &mut go).unwrap();
    assert!(!a.report.is_klt && a.report.rms < 0.8 * a.report.rms_klt, "{:?}", a.report);
    assert_eq!(a.bits.iter().map(|&b| usize::from(b)).sum::<usize>(), 8);
    assert!(a.rms(&fresh) < 0.85 * a.report.rms_klt);
    for w in fresh.chunks(16) {
        let bytes = a.encode(w);
        assert_eq!(bytes.len(), 1);
        assert_eq!(a.decode(&bytes), Some(a.window(&a.codes(w))));
    }
    assert_eq!(a.decode(&[]), None);
    assert_eq!(a.decode(&[0, 0]), None);
}

#[test]
fn fixed_ships_the_klt_when_training_finds_nothing_better() {
    // White noise has no shape to find.
    let mut rng = Rng::new(1);
    let mut noise = |n: usize| (0..n * 8).map(|_| rng.uniform() - 0.5).collect::<Vec<f32>>();
    let (train, held) = (noise(60), noise(300));
    let mut config = quick(2, 1);
    config.effort.learning_rate = 0.05;
    config.effort.n_steps = 50;
    let a = train_fixed(&train, &held, 8, &config, &mut go).unwrap();
    assert!(a.report.is_klt && a.encoder.front.is_none() && a.decoder.front.is_none(), "{:?}", a.report);
    assert_eq!(a.report.rms, a.report.rms_klt_integer);
    assert!(a.report.rms < 1.05 * a.report.rms_klt);
}

#[test]
fn same_seed_same_codec() {
    let (train, held) = (bent(200, 16, 1), bent(100, 16, 2));
    let mut config = quick(1, 7);
    config.effort.n_steps = 200;
    let run = |c: &FixedConfig| train_fixed(&train, &held, 16, c, &mut go).unwrap();
    assert_eq!(run(&config), run(&config));
    let other = FixedConfig { effort: Effort { seed: 8, ..config.effort.clone() }, ..config.clone() };
    assert_ne!(run(&config), run(&other));
}

#[test]
fn integers_of_a_convolution_do_what_the_net_did() {
    // `fit` keeps the epoch the net judged best; the integers must come to the same error.
    let (train, held) = (bent(400, 16, 1), bent(200, 16, 2));
    let conv = Conv1d { channels_in: 2, channels_out: 4, kernel: 5, stride: 2, padding: 2 };
    let config = FixedConfig { encoder: Hidden::Conv(conv), ..quick(1, 1) };
    let mut last = f64::NAN;
    let mut watch = |p: Progress| {
        last = p.validation.unwrap_or(last);
        ControlFlow::Continue(())
    };
    let a = train_fixed(&train, &held, 16, &config, &mut watch).unwrap();
    let front = a.encoder.front.as_ref().unwrap();
    assert!(front.conv == Some(conv) && front.layer.n_in == 10 && front.layer.n_out == 4);
    assert!(!a.report.is_klt && a.report.rms < 1.02 * last.sqrt(), "{} {}", a.report.rms, last.sqrt());
    assert!(a.report.rms > 0.9 * last.sqrt());
}

#[test]
fn bounded_costs_fewer_bits_than_the_klt_where_the_signal_bends() {
    let (train, held) = (bent(800, 16, 1), bent(200, 16, 2));
    let config = BoundedConfig {
        n_codes: 2,
        code_steps: vec![0.2],
        code_limit: 127,
        residual_steps: vec![0.1],
        encoder: Hidden::Dense(12),
        decoder_hidden: 12,
        integers: Integers::default(),
        effort: Effort { n_steps: 2000, batch_len: 64, seed: 1, ..Effort::default() },
    };
    let a = train_bounded(&train, &held, 16, &config, &mut go).unwrap();
    let r = a.report;
    assert!(!r.is_klt && r.code_bits + r.residual_bits < 0.8 * r.klt_bits, "{r:?}");
    assert!(a.codes(&held[..16]).iter().all(|c| c.abs() <= 127));
    let bad = BoundedConfig { residual_steps: vec![0.0], ..config.clone() };
    assert!(matches!(train_bounded(&train, &held, 16, &bad, &mut go), Err(AutoencoderError::Setting(_))));
}

#[test]
fn rate_gradient_is_true() {
    // Two free outputs, their values biases: the gradient by each bias against differences, and the bits themselves.
    let (mut b, x) = NetBuilder::new(2);
    let y = b.dense(x, 2, super::super::Activation::Linear);
    let z = b.dense(x, 3, super::super::Activation::Linear);
    let mut net = b.build(&[y, z], 1);
    net.params_mut().fill(0.0);
    let mut loss = RateLoss::new(&[0.7, 2.0], vec![0.3, 1.0, 20.0]);
    let mut pass = Pass::new(&net, 1, Isa::detect());
    let mut value = |net: &super::super::Net, grad: Option<&mut Vec<f32>>| {
        pass.load(net, &[0.0, 0.0], None, &[0]);
        pass.take_params(net);
        pass.forward(net, None);
        let v = pass.loss(net, &mut loss as &mut dyn Loss);
        if let Some(grad) = grad {
            pass.backward(net, grad);
        }
        v
    };
    for at in [-3.3f32, -0.7, -0.2, 0.1, 0.45, 0.6, 2.5] {
        for (node, count) in [(y, 2), (z, 3)] {
            for i in 0..count {
                net.params_mut().fill(0.0);
                net.biases_mut(node)[i] = at;
                let mut grad = vec![0.0; net.params().len()];
                value(&net, Some(&mut grad));
                net.params_mut().copy_from_slice(&grad);
                let computed = f64::from(net.biases(node)[i]);
                let mut side = |d: f32| {
                    net.params_mut().fill(0.0);
                    net.biases_mut(node)[i] = at + d;
                    value(&net, None)
                };
                let measured = (side(0.004) - side(-0.004)) / 0.008;
                assert!(
                    (computed - measured).abs() < 2e-3 + 5e-3 * measured.abs(),
                    "{at} {i}: {computed} {measured}"
                );
            }
        }
    }
    // A code far out costs its distance, one at zero with a narrow spread nearly nothing.
    net.params_mut().fill(0.0);
    let none = value(&net, None);
    net.biases_mut(z)[1] = 5.0;
    let far = value(&net, None);
    let bits = |z: f64, b: f64| -> f64 {
        let cdf = |x: f64| if x < 0.0 { 0.5 * (x / b).exp() } else { 1.0 - 0.5 * (-x / b).exp() };
        -(cdf(z + 0.5) - cdf(z - 0.5)).log2()
    };
    let codes = bits(0.0, 0.3) + bits(0.0, 1.0) + bits(0.0, 20.0);
    assert!((2.0 * none - codes - 2.0 * bits(0.0, 1.0)).abs() < 1e-4, "{none}");
    assert!((2.0 * (far - none) - bits(5.0, 1.0) + bits(0.0, 1.0)).abs() < 1e-4);
}

#[test]
fn refuses_settings_that_make_no_sense() {
    let data = bent(50, 16, 1);
    let run = |n: usize, c: &FixedConfig| train_fixed(&data, &data, n, c, &mut go).map(|_| ());
    assert!(matches!(run(16, &quick(0, 1)), Err(AutoencoderError::Klt(_))));
    assert!(matches!(run(16, &quick(1000, 1)), Err(AutoencoderError::Klt(_))));
    assert!(matches!(run(0, &quick(1, 1)), Err(AutoencoderError::Training(_))));
    assert!(matches!(run(17, &quick(1, 1)), Err(AutoencoderError::Training(_) | AutoencoderError::Klt(_))));
    let stop = &mut |_| ControlFlow::Break(());
    let cancelled = train_fixed(&data, &data, 16, &quick(1, 1), stop);
    assert_eq!(cancelled, Err(AutoencoderError::Training(super::super::NnError::Cancelled)));
}
