//! Every gradient against finite differences.

use super::super::*;

/// Compares the gradient with central differences along single parameters and along random directions.
///
/// Values are f32, the loss is summed in f64: a step of 2⁻⁸ leaves about 1e-4 of noise and curvature.
fn check(name: &str, mut net: Net, loss: &mut dyn Loss, target_width: Option<usize>) {
    const STEP: f32 = 1.0 / 256.0;
    let n = 37;
    let mut rng = Rng::new(11);
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.uniform() * 2.0 - 1.0).collect() };
    let inputs = random(n * net.n_in());
    let targets = target_width.map(|w| random(n * w));
    let noise = random(net.params().len());
    net.params_mut().iter_mut().zip(&noise).for_each(|(p, r)| *p += 0.2 * r);
    let directions: Vec<Vec<f32>> = (0..6).map(|_| random(net.params().len())).collect();
    let order: Vec<u32> = (0..n as u32).collect();
    for isa in Isa::available() {
        let mut pass = Pass::new(&net, n, isa);
        pass.load(&net, &inputs, targets.as_deref(), &order);
        let mut grad = vec![0.0; net.params().len()];
        pass.take_params(&net);
        pass.forward(&net, None);
        pass.loss(&net, loss);
        pass.backward(&net, &mut grad);
        let length = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(length > 1e-3, "{name}: the gradient is empty");
        let mut at = |net: &mut Net, direction: &[f32], step: f32| {
            net.params_mut().iter_mut().zip(direction).for_each(|(p, d)| *p += step * d);
            pass.take_params(net);
            pass.forward(net, None);
            let value = pass.loss(net, loss);
            net.params_mut().iter_mut().zip(direction).for_each(|(p, d)| *p -= step * d);
            value
        };
        let single = (0..grad.len()).map(|i| (0..grad.len()).map(|j| f32::from(i == j)).collect());
        for direction in directions.iter().cloned().chain(single) {
            let measured =
                (at(&mut net, &direction, STEP) - at(&mut net, &direction, -STEP)) / (2.0 * f64::from(STEP));
            let computed: f64 = grad.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let off = (measured - computed).abs();
            assert!(
                off < 2e-3 * length + 2e-3 * measured.abs(),
                "{name} on {isa:?}: {computed} for {measured}"
            );
        }
    }
}

fn dense(act: Activation) -> Net {
    let (mut b, x) = NetBuilder::new(5);
    let h = b.dense(x, 7, act);
    let y = b.dense(h, 3, Activation::Linear);
    b.build(&[y], 1)
}

#[test]
fn of_dense_layers_and_activations() {
    check("linear", dense(Activation::Linear), &mut Mse, Some(3));
    check("tanh", dense(Activation::Tanh), &mut Mse, Some(3));
    check("sigmoid", dense(Activation::Sigmoid), &mut Mse, Some(3));
}

#[test]
fn of_relu_away_from_its_corner() {
    // Inputs within ±1 and biases beyond: half the units always on, half always off, none near zero.
    let (mut b, x) = NetBuilder::new(2);
    let h = b.dense(x, 4, Activation::Relu);
    let y = b.dense(h, 3, Activation::Tanh);
    let mut net = b.build(&[y], 2);
    net.biases_mut(h).copy_from_slice(&[4.0, -4.0, 4.0, -4.0]);
    check("relu", net, &mut Mse, Some(3));
}

#[test]
fn of_losses() {
    // Differences of at least 0.5 keep clear of the corners of L1 and Huber: outputs moved by 3.
    let shifted = || {
        let (mut b, x) = NetBuilder::new(4);
        let y = b.dense(x, 6, Activation::Tanh);
        let z = b.dense(y, 2, Activation::Linear);
        let mut net = b.build(&[z], 3);
        net.biases_mut(z).fill(4.0);
        net
    };
    check("l1", shifted(), &mut L1, Some(2));
    check("huber outside", shifted(), &mut Huber { delta: 0.5 }, Some(2));
    check("huber inside", dense(Activation::Tanh), &mut Huber { delta: 100.0 }, Some(3));
    let mut quartic = |view: &mut LossView<'_>| {
        let head = view.head(0);
        let mut total = Lanes::ZERO;
        for (y, g) in head.value.iter().zip(head.grad) {
            for l in 0..LANES {
                total.0[l] += y.0[l].powi(4);
                g.0[l] = head.scale * 4.0 * y.0[l].powi(3);
            }
        }
        total
    };
    check("closure", dense(Activation::Tanh), &mut quartic, None);
}

#[test]
fn of_two_outputs_and_shared_nodes() {
    // An autoencoder's shape: skip and hidden path each way, the latent used twice and in the loss.
    let (mut b, x) = NetBuilder::new(9);
    let h = b.dense(x, 6, Activation::Tanh);
    let (a, s) = (b.dense(h, 4, Activation::Linear), b.linear(x, 4));
    let z = b.add(a, s);
    let g = b.dense(z, 5, Activation::Sigmoid);
    let (c, t) = (b.linear(g, 9), b.dense(z, 9, Activation::Linear));
    let y = b.add(c, t);
    let net = b.build(&[y, z], 4);
    let mut both = |view: &mut LossView<'_>| {
        let mut total = Mse.panel(view);
        let head = view.head(1);
        for (z, g) in head.value.iter().zip(head.grad) {
            for l in 0..LANES {
                total.0[l] += 0.1 * z.0[l] * z.0[l];
                g.0[l] = 0.2 * z.0[l] * head.scale;
            }
        }
        total
    };
    check("skips", net, &mut both, None);
}

#[test]
fn of_convolutions() {
    for (stride, padding) in [(1, 0), (2, 2), (2, 0), (3, 1), (1, 4)] {
        let conv = Conv1d { channels_in: 2, channels_out: 3, kernel: 5, stride, padding };
        let (mut b, x) = NetBuilder::new(22);
        let h = b.conv1d(x, conv, Activation::Tanh);
        let second = Conv1d { channels_in: 3, channels_out: 2, kernel: 2, stride: 1, padding: 0 };
        let h = b.conv1d(h, second, Activation::Tanh);
        let y = b.dense(h, 4, Activation::Linear);
        check(&format!("conv {stride} {padding}"), b.build(&[y], 5), &mut Mse, Some(4));
    }
}

#[test]
fn of_quantisers_go_straight_through() {
    // Rounding hides small steps: the gradient must equal that of the net without the quantisers, near their end.
    let make = |fine: bool| {
        let (mut b, x) = NetBuilder::new(3);
        let mut h = b.dense(x, 4, Activation::Tanh);
        if fine {
            h = b.fixed_point(h, 14, -32768, 32767);
        }
        let y = b.dense(h, 3, Activation::Linear);
        let mut net = b.build(&[y], 6);
        if fine {
            net.set_weight_bits(Some((16, WeightScale::PerOutput)));
        }
        net
    };
    let grad = |net: &Net| {
        let inputs: Vec<f32> = (0..30).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut pass = Pass::new(net, 10, Isa::detect());
        pass.load(net, &inputs, None, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        pass.take_params(net);
        pass.forward(net, None);
        pass.loss(net, &mut Mse);
        let mut grad = vec![0.0; net.params().len()];
        pass.backward(net, &mut grad);
        grad
    };
    for (a, b) in grad(&make(true)).iter().zip(grad(&make(false))) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}
