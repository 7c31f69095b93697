//! The same steps as Keras, from the same weights: `golden/keras.json`, made by `golden/make.py`.

use std::ops::ControlFlow;

use serde_json::Value;

use super::super::*;
use Activation::{Linear, Relu, Sigmoid, Tanh};

/// Twenty steps of f32 arithmetic in another order.
const TOLERANCE: f32 = 2e-5;

fn numbers(case: &Value, key: &str) -> Vec<f32> {
    case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn check(name: &str, mut net: Net, loss: &mut dyn Loss, config: FitConfig) {
    let all: Value = serde_json::from_str(include_str!("golden/keras.json")).unwrap();
    let case = all["cases"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
    let (inputs, targets) = (numbers(case, "inputs"), numbers(case, "targets"));
    net.params_mut().copy_from_slice(&numbers(case, "before"));
    for isa in Isa::available() {
        let mut net = net.clone();
        let n = |key: &str| case[key].as_u64().unwrap() as usize;
        let config = FitConfig {
            n_epochs: n("n_epochs"),
            batch_len: n("batch_len"),
            shuffle: false,
            isa,
            ..config.clone()
        };
        let samples = Samples { inputs: &inputs, targets: Some(&targets) };
        let report = fit(&mut net, samples, None, loss, &config, &mut |_| ControlFlow::Continue(())).unwrap();
        let close = |a: &[f32], b: &[f32], what: &str| {
            assert_eq!(a.len(), b.len());
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert!((a - b).abs() < TOLERANCE, "{name} on {isa:?}: {what} {i}: {a}, Keras {b}");
            }
        };
        close(net.params(), &numbers(case, "after"), "parameter");
        close(&net.apply(&inputs, 0, isa).unwrap(), &numbers(case, "output"), "output");
        let last = report.train_loss.last().copied().unwrap() as f32;
        close(&[last], &[case["last_loss"].as_f64().unwrap() as f32], "loss");
        let moved =
            net.params().iter().zip(numbers(case, "before")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 0.02, "{name}: nothing was trained");
    }
}

fn dense(acts: [Activation; 3]) -> Net {
    let (mut b, mut x) = NetBuilder::new(3);
    for (width, act) in [5, 4, 2].into_iter().zip(acts) {
        x = b.dense(x, width, act);
    }
    b.build(&[x], 0)
}

fn rate(learning_rate: f32) -> FitConfig {
    FitConfig { learning_rate, ..FitConfig::default() }
}

#[test]
fn adam_and_losses_do_what_keras_does() {
    check("adam, mse", dense([Tanh, Relu, Linear]), &mut Mse, rate(0.01));
    check("adam, l1", dense([Tanh, Tanh, Linear]), &mut L1, rate(0.005));
    let betas = FitConfig { beta1: 0.8, beta2: 0.99, ..rate(0.02) };
    check("adam, huber", dense([Tanh, Sigmoid, Linear]), &mut Huber { delta: 0.3 }, betas);
}

#[test]
fn weight_decay_does_what_keras_does() {
    check(
        "adamw, mse",
        dense([Relu, Tanh, Sigmoid]),
        &mut Mse,
        FitConfig { weight_decay: 0.1, ..rate(0.01) },
    );
}

#[test]
fn convolution_does_what_keras_does() {
    let (mut b, x) = NetBuilder::new(18);
    let conv = Conv1d { channels_in: 2, channels_out: 3, kernel: 5, stride: 2, padding: 0 };
    let h = b.conv1d(x, conv, Tanh);
    let y = b.dense(h, 2, Linear);
    check("convolution", b.build(&[y], 0), &mut Mse, rate(0.01));
}
