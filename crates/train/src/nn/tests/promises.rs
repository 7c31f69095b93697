//! Determinism, agreement of kernels, learning, stopping, errors.

use std::ops::ControlFlow;

use super::super::*;

fn waves(n: usize, width: usize) -> Vec<f32> {
    let mut rng = Rng::new(5);
    let mut out = Vec::new();
    for _ in 0..n {
        let (phase, speed) = (rng.uniform() * 6.0, 0.2 + 0.3 * rng.uniform());
        out.extend((0..width).map(|t| (phase + speed * t as f32).sin() + 0.05 * rng.uniform()));
    }
    out
}

fn autoencoder() -> (Net, NodeId) {
    let (mut b, x) = NetBuilder::new(16);
    let h = b.dense(x, 13, Activation::Tanh);
    let z = b.dense(h, 3, Activation::Linear);
    let q = b.fixed_point(z, 4, -128, 127);
    let g = b.dense(q, 13, Activation::Relu);
    let y = b.dense(g, 16, Activation::Linear);
    (b.build(&[y], 9), h)
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn trained(isa: Isa, seed: u64) -> (Vec<f32>, FitReport) {
    let data = waves(300, 16);
    let (mut net, _) = autoencoder();
    net.set_weight_bits(Some((8, WeightScale::PerOutput)));
    let config = FitConfig {
        n_epochs: 8,
        batch_len: 50,
        seed,
        isa,
        weight_decay: 0.01,
        final_rate: 0.1,
        ..FitConfig::default()
    };
    let samples = Samples { inputs: &data, targets: None };
    let report = fit(&mut net, samples, Some(samples), &mut Mse, &config, &mut go).unwrap();
    (net.params().to_vec(), report)
}

#[test]
fn same_seed_same_bits() {
    for isa in Isa::available() {
        let bits = |p: Vec<f32>| p.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (a, b) = (trained(isa, 1), trained(isa, 1));
        assert_eq!(bits(a.0.clone()), bits(b.0), "{isa:?}");
        assert_eq!(a.1, b.1);
        assert_ne!(bits(a.0), bits(trained(isa, 2).0));
    }
}

#[test]
fn instruction_sets_agree() {
    let data = waves(70, 16);
    let (net, h) = autoencoder();
    let order: Vec<u32> = (0..70).collect();
    let run = |isa| {
        let mut pass = Pass::new(&net, 70, isa);
        pass.load(&net, &data, None, &order);
        pass.take_params(&net);
        pass.forward(&net, None);
        let mut grad = vec![0.0; net.params().len()];
        pass.loss(&net, &mut Mse);
        pass.backward(&net, &mut grad);
        let mut all = Vec::new();
        pass.read(&net, h, &mut all);
        all.extend(&grad);
        all
    };
    let runs: Vec<Vec<f32>> = Isa::available().into_iter().map(run).collect();
    for other in &runs[1..] {
        for (a, b) in runs[0].iter().zip(other) {
            assert!((a - b).abs() <= 1e-5 + 1e-5 * a.abs(), "{a} {b}");
        }
    }
    // All sets with a fused multiply-add agree to the bit.
    assert!(runs[1..].windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn learns_a_tiny_set_by_heart() {
    let data = waves(8, 16);
    let (mut b, x) = NetBuilder::new(16);
    let h = b.dense(x, 24, Activation::Relu);
    let z = b.dense(h, 8, Activation::Linear);
    let y = b.dense(z, 16, Activation::Linear);
    let mut net = b.build(&[y], 1);
    let config = FitConfig { n_epochs: 4000, learning_rate: 5e-3, final_rate: 0.0, ..FitConfig::default() };
    let samples = Samples { inputs: &data, targets: None };
    fit(&mut net, samples, None, &mut Mse, &config, &mut go).unwrap();
    let loss = evaluate(&net, samples, &mut Mse, Isa::detect()).unwrap();
    assert!(loss < 1e-4, "{loss}");
    let out = net.apply(&data, 0, Isa::detect()).unwrap();
    assert_eq!(out.len(), data.len());
    assert!(data.iter().zip(&out).all(|(a, b)| (a - b).abs() < 0.05));
}

#[test]
fn learns_with_targets_and_convolution() {
    // The slope of a signal, which a convolution computes exactly.
    let mut rng = Rng::new(8);
    let data: Vec<f32> = (0..200 * 12).map(|_| rng.uniform() - 0.5).collect();
    let slopes: Vec<f32> = data.chunks(12).flat_map(|w| w.windows(2).map(|p| p[1] - p[0])).collect();
    let (mut b, x) = NetBuilder::new(12);
    let conv = Conv1d { channels_in: 1, channels_out: 1, kernel: 2, stride: 1, padding: 0 };
    let y = b.conv1d(x, conv, Activation::Linear);
    let mut net = b.build(&[y], 1);
    let config = FitConfig {
        n_epochs: 200,
        batch_len: 64,
        learning_rate: 2e-2,
        final_rate: 0.01,
        ..FitConfig::default()
    };
    let samples = Samples { inputs: &data, targets: Some(&slopes) };
    fit(&mut net, samples, None, &mut Mse, &config, &mut go).unwrap();
    let w = net.weights(y);
    assert!((w[0] + 1.0).abs() < 1e-3 && (w[1] - 1.0).abs() < 1e-3, "{w:?}");
}

#[test]
fn keeps_the_best_epoch_and_stops_early() {
    // Ten samples of noise to learn by heart, others of the same noise to be judged by: it only gets worse.
    let mut rng = Rng::new(3);
    let mut noise = |n: usize| (0..n * 6).map(|_| rng.uniform() - 0.5).collect::<Vec<f32>>();
    let (train, held) = (noise(10), noise(200));
    let (mut b, x) = NetBuilder::new(6);
    let h = b.dense(x, 32, Activation::Tanh);
    let z = b.dense(h, 2, Activation::Tanh);
    let h = b.dense(z, 32, Activation::Tanh);
    let y = b.dense(h, 6, Activation::Linear);
    let mut net = b.build(&[y], 1);
    let config = FitConfig { n_epochs: 400, learning_rate: 1e-2, patience: Some(20), ..FitConfig::default() };
    let held = Samples { inputs: &held, targets: None };
    let report =
        fit(&mut net, Samples { inputs: &train, targets: None }, Some(held), &mut Mse, &config, &mut go)
            .unwrap();
    assert_eq!(report.train_loss.len(), report.best_epoch + 21);
    let kept = evaluate(&net, held, &mut Mse, Isa::detect()).unwrap();
    assert_eq!(kept, report.validation_loss[report.best_epoch]);
    assert!(report.validation_loss.iter().all(|&v| v >= kept));
}

#[test]
fn integers_are_what_the_layer_computed_with() {
    let data = waves(64, 16);
    let (mut net, h) = autoencoder();
    for (bits, per) in [(8, WeightScale::PerOutput), (8, WeightScale::PerTensor), (4, WeightScale::PerOutput)]
    {
        net.set_weight_bits(Some((bits, per)));
        let layer = net.quantised(h).unwrap();
        let top = (1 << (bits - 1)) - 1;
        assert!(layer.weights.iter().all(|w| w.abs() <= top) && layer.weights.iter().any(|w| w.abs() == top));
        let w = layer.dequantised();
        let got = net.apply_node(&data, h, Isa::detect()).unwrap();
        for (x, y) in data.chunks(16).zip(got.chunks(13)) {
            for o in 0..13 {
                let sum: f32 = x.iter().zip(&w[o * 16..]).map(|(x, w)| x * w).sum::<f32>() + layer.bias[o];
                assert!((sum.tanh() - y[o]).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn quantisers_give_integers_in_their_range() {
    let (mut b, x) = NetBuilder::new(2);
    let q = b.fixed_point(x, 3, -8, 7);
    let c = b.codes(x, &[(-1, 0), (-2, 1)], true);
    let net = b.build(&[q, c], 0);
    let input = [0.31, 0.31, 5.0, 1.4, -5.0, -9.0];
    assert_eq!(net.apply(&input, 0, Isa::detect()).unwrap(), [0.25, 0.25, 0.875, 0.875, -1.0, -1.0]);
    assert_eq!(net.apply(&input, 1, Isa::detect()).unwrap(), [0.0, 0.0, 0.0, 1.0, -1.0, -2.0]);
    let mut pass = Pass::new(&net, 3, Isa::detect());
    pass.load(&net, &input, None, &[0, 1, 2]);
    pass.take_params(&net);
    pass.forward(&net, Some(&mut Rng::new(1)));
    let mut noisy = Vec::new();
    pass.read_output(&net, 1, &mut noisy);
    assert!((noisy[0] - 0.31 + 0.31).abs() <= 0.5 && noisy[0] != 0.0, "{noisy:?}");
}

#[test]
fn refuses_what_it_cannot_train_on() {
    let (mut net, _) = autoencoder();
    let before = net.params().to_vec();
    let mut check = |inputs: &[f32], targets: Option<&[f32]>, expected: NnError| {
        let samples = Samples { inputs, targets };
        let got = fit(&mut net, samples, None, &mut Mse, &FitConfig::default(), &mut go);
        assert_eq!(got, Err(expected));
        assert_eq!(net.params(), before);
    };
    check(&[], None, NnError::NoSamples);
    check(&[0.0; 17], None, NnError::Shape { len: 17, width: 16 });
    check(&[0.0; 16], Some(&[0.0; 3]), NnError::Shape { len: 3, width: 16 });
    check(&[f32::NAN; 16], None, NnError::Diverged { step: 1 });
    let data = waves(10, 16);
    let samples = Samples { inputs: &data, targets: None };
    let stop = &mut |_| ControlFlow::Break(());
    let got = fit(&mut net, samples, None, &mut Mse, &FitConfig::default(), stop);
    assert_eq!(got, Err(NnError::Cancelled));
}

#[test]
fn tells_where_it_is() {
    let data = waves(100, 16);
    let (mut net, _) = autoencoder();
    let config = FitConfig { n_epochs: 3, batch_len: 1, ..FitConfig::default() };
    let samples = Samples { inputs: &data, targets: None };
    let mut seen = Vec::new();
    let mut note = |p: Progress| {
        seen.push((p.step, p.validation.is_some()));
        assert!(p.n_steps == 300 && p.loss.is_finite());
        ControlFlow::Continue(())
    };
    fit(&mut net, samples, Some(samples), &mut Mse, &config, &mut note).unwrap();
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0) && seen.len() >= 9);
    assert!(!seen[0].1 && seen[seen.len() - 1].1);
}
