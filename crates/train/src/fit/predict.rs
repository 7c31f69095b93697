//! The predict rung, learned: a linear prediction by least squares, a small network for the distribution around it,
//! and how much the context tables weigh beside it.

use kinglet_codec::is_step;
use kinglet_codec::learn::{
    DensePart, Lattice, OUTPUTS, Parts, PredictPart, Scaling, examples, n_features, n_linear,
};

use super::first::solve;
use super::latent::Told;
use super::learn::{Effort, LearnError, Setup};
use super::net::{dense, pow2};
use super::rows::Rows;
use crate::nn::{
    Activation, FitConfig, Isa, LANES, Lanes, Loss, LossView, Net, NetBuilder, NnError, NodeId, Progress,
    Samples, WeightScale, fit,
};

/// Most examples a network is trained on.
const EXAMPLES_MAX: usize = 400_000;
/// Fractional bits of features and of the network's outputs.
const FEATURE_Q: i32 = 4;
const OUTPUT_Q: i32 = 8;
/// The greatest hidden activation, as an integer.
const HIDDEN_MAX: f32 = 127.0;

/// Learns the rung for `parts`, whose tables are learned already; `None` where there is too little to learn from.
pub(crate) fn learn_predict(
    setup: &Setup,
    parts: &Parts,
    fit_rows: &Rows,
    held_out: &Rows,
    told: Told<'_>,
) -> Result<Option<Vec<(Scaling, PredictPart)>>, LearnError> {
    let lattices: Vec<Lattice> = parts.channels.iter().map(|c| c.lattice).collect();
    let scalings = scalings(fit_rows, &lattices);
    let n_samples = usize::from(setup.n_samples);
    let train = Examples::collect(fit_rows, n_samples, &lattices, &scalings, 8);
    let held = Examples::collect(held_out, n_samples, &lattices, &scalings, 2);
    let n_channels = scalings.len();
    let mut channels = Vec::new();
    for idx in 0..n_channels {
        let (train, held) = (&train[idx], &held[idx]);
        if train.moves.len() < 500 || held.moves.len() < 50 {
            return Ok(None);
        }
        let mut told = |share: f64| told((idx as f64 + share) / n_channels as f64);
        match learn_channel(setup, n_channels, scalings[idx], train, held, &mut told) {
            Ok(part) => channels.push((scalings[idx], part)),
            Err(NnError::Cancelled) => return Err(LearnError::Cancelled),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(channels))
}

/// What is usual for each channel on its lattice.
fn scalings(rows: &Rows, lattices: &[Lattice]) -> Vec<Scaling> {
    let scaling = |idx: usize| {
        let rs: Vec<f64> = rows.channel(idx).map(|x| f64::from(on_lattice(lattices[idx], x))).collect();
        let n = rs.len().max(1) as f64;
        let moves = rs.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>() / n;
        let mean = rs.iter().sum::<f64>() / n;
        let deviation = (rs.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n).sqrt();
        Scaling {
            // A sensor that hardly ever moves moves by whole steps when it does.
            mean_move: (moves.max(0.125) * 256.0).min(16_777_216.0) as u32,
            mean: mean.round() as i32,
            deviation: deviation.round().clamp(1.0, 67_108_864.0) as u32,
        }
    };
    (0..rows.n_channels).map(scaling).collect()
}

fn on_lattice(lattice: Lattice, x: i32) -> i32 {
    if is_step(x) { (x - lattice.phase + lattice.step as i32 / 2).div_euclid(lattice.step as i32) } else { x }
}

/// What one channel's network learns from.
#[derive(Default)]
struct Examples {
    /// `[n × n_features]`, as the device computes them.
    features: Vec<i8>,
    /// `[n × n_linear]`, lattice units.
    linear: Vec<i32>,
    /// `[n]`, lattice units.
    moves: Vec<i32>,
}

impl Examples {
    /// Of each channel, from windows that begin at `n_phases` places.
    fn collect(
        rows: &Rows,
        n_samples: usize,
        lattices: &[Lattice],
        scalings: &[Scaling],
        n_phases: usize,
    ) -> Vec<Self> {
        let n_channels = scalings.len();
        let mut all: Vec<Self> = (0..n_channels).map(|_| Self::default()).collect();
        let n_phases = n_phases.min(EXAMPLES_MAX / rows.len().max(1)).max(1);
        for phase in 0..n_phases {
            for window in rows.windows_from(n_samples, phase * n_samples / n_phases) {
                if all[0].moves.len() >= EXAMPLES_MAX {
                    return all;
                }
                let rs: Vec<i32> = window
                    .iter()
                    .enumerate()
                    .map(|(at, &x)| on_lattice(lattices[at % n_channels], x))
                    .collect();
                examples(n_channels, scalings, &rs, &mut |idx, features, linear, d| {
                    all[idx].features.extend(features.iter().map(|&f| f as i8));
                    all[idx].linear.extend(linear);
                    all[idx].moves.push(d);
                });
            }
        }
        all
    }

    /// Least squares of the move on the linear inputs, Q12.
    fn regress(&self, n_linear: usize) -> Vec<i16> {
        let mut normal = vec![vec![0.0f64; n_linear + 1]; n_linear];
        for (x, &d) in self.linear.chunks_exact(n_linear).zip(&self.moves) {
            for a in (0..n_linear).filter(|&a| x[a] != 0) {
                for b in a..n_linear {
                    normal[a][b] += f64::from(x[a]) * f64::from(x[b]);
                }
                normal[a][n_linear] += f64::from(x[a]) * f64::from(d);
            }
        }
        for a in 0..n_linear {
            let (above, rest) = normal.split_at_mut(a);
            rest[0].iter_mut().zip(above.iter()).for_each(|(x, row)| *x = row[a]);
            rest[0][a] = rest[0][a] * 1.001 + 1.0;
        }
        solve(normal).iter().map(|w| (w * 4096.0).round().clamp(-32768.0, 32767.0) as i16).collect()
    }

    /// Network inputs and targets: what the linear prediction leaves, in usual moves.
    fn tensors(&self, n_channels: usize, linear: &[i16], usual: f64) -> (Vec<f32>, Vec<f32>) {
        let scale = pow2(-FEATURE_Q) as f32;
        let inputs = self.features.iter().map(|&f| f32::from(f) * scale).collect();
        let mut targets = Vec::with_capacity(self.moves.len() * OUTPUTS);
        for (x, &d) in self.linear.chunks_exact(n_linear(n_channels)).zip(&self.moves) {
            let sum: i64 = x.iter().zip(linear).map(|(&x, &w)| i64::from(x) * i64::from(w)).sum();
            let predicted = (sum >> 8) as f64 / 16.0;
            targets.push(((f64::from(d) - predicted) / usual) as f32);
            targets.extend([0.0; OUTPUTS - 1]);
        }
        (inputs, targets)
    }
}

fn learn_channel(
    setup: &Setup,
    n_channels: usize,
    scaling: Scaling,
    train: &Examples,
    held: &Examples,
    told: Told<'_>,
) -> Result<PredictPart, NnError> {
    let usual = f64::from(scaling.mean_move) / 256.0;
    let linear = train.regress(n_linear(n_channels));
    let (inputs, targets) = train.tensors(n_channels, &linear, usual);
    let (held_inputs, held_targets) = held.tensors(n_channels, &linear, usual);
    let n_hidden = if train.moves.len() < 40_000 || n_channels > 4 { 8 } else { 16 };
    let mut shape = Shape::new(n_features(n_channels), n_hidden, setup.seed);
    let samples = Samples { inputs: &inputs, targets: Some(&targets) };
    let validation = Samples { inputs: &held_inputs, targets: Some(&held_targets) };
    let mut loss = MixtureLoss { half: (0.5 / usual) as f32 };
    let n_steps = match setup.effort {
        Effort::Fast => 800,
        Effort::Normal => 4000,
        Effort::High => 16_000,
    };
    let small = train.moves.len() < 60_000;
    let config = |part: f64, rate: f32| {
        let batch_len = 512.min(train.moves.len());
        let steps_per_epoch = train.moves.len().div_ceil(batch_len);
        FitConfig {
            n_epochs: ((f64::from(n_steps) * part) as usize).div_ceil(steps_per_epoch).max(2),
            batch_len,
            learning_rate: rate * if small { 2e-3 } else { 4e-3 },
            final_rate: 0.02,
            n_warmup_steps: 50,
            weight_decay: if small { 0.05 } else { 0.005 },
            max_gradient: Some(5.0),
            patience: Some(6),
            seed: setup.seed,
            ..FitConfig::default()
        }
    };
    let mut first = |p: Progress| told(0.6 * p.step as f64 / p.n_steps as f64);
    fit(&mut shape.net, samples, Some(validation), &mut loss, &config(0.6, 1.0), &mut first)?;
    shape.quantise(&inputs)?;
    let mut second = |p: Progress| told(0.6 + 0.4 * p.step as f64 / p.n_steps as f64);
    fit(&mut shape.net, samples, Some(validation), &mut loss, &config(0.4, 0.25), &mut second)?;
    let layers = shape.layers(usual).ok_or(NnError::NoSamples)?;
    Ok(PredictPart { linear, table_weight: 16, layers })
}

/// Two hidden layers and nine outputs.
struct Shape {
    net: Net,
    layers: [NodeId; 3],
    rounded: [NodeId; 2],
    exponents: [i8; 2],
}

impl Shape {
    fn new(n_features: usize, n_hidden: usize, seed: u64) -> Self {
        let (mut b, x) = NetBuilder::new(n_features);
        let first = b.dense(x, n_hidden, Activation::Relu);
        let first_rounded = b.fixed_point(first, 0, 0, HIDDEN_MAX as i32);
        let second = b.dense(first_rounded, n_hidden, Activation::Relu);
        let second_rounded = b.fixed_point(second, 0, 0, HIDDEN_MAX as i32);
        let out = b.dense(second_rounded, OUTPUTS, Activation::Linear);
        let mut net = b.build(&[out], seed);
        let rounded = [first_rounded, second_rounded];
        rounded.iter().for_each(|&node| net.set_quantising(node, false));
        net.weights_mut(out).iter_mut().for_each(|w| *w *= 0.1);
        // Three components beside each other, narrow to wide.
        net.biases_mut(out).copy_from_slice(&[0.0, -0.5, 0.5, -1.5, -0.5, 0.5, 0.5, 0.0, 0.0]);
        Self { net, layers: [first, second, out], rounded, exponents: [0; 2] }
    }

    /// Integer weights; activations in a byte, scaled by what `inputs` make of them.
    fn quantise(&mut self, inputs: &[f32]) -> Result<(), NnError> {
        let some = &inputs[..inputs.len().min(20_000 * self.net.n_in())];
        for (at, &node) in self.layers.iter().enumerate() {
            self.net.set_layer_bits(node, Some((8, WeightScale::PerOutput)));
            if at < 2 {
                let mut seen = self.net.apply_node(some, node, Isa::detect())?;
                seen.sort_unstable_by(f32::total_cmp);
                let peak = seen.get((seen.len() as f64 * 0.9995) as usize).copied().unwrap_or(1.0);
                let exponent = (-10..=14).rev().find(|&e| f64::from(peak) * pow2(e) <= f64::from(HIDDEN_MAX));
                self.exponents[at] = exponent.unwrap_or(-10) as i8;
                self.net.set_exponent(self.rounded[at], self.exponents[at]);
                self.net.set_quantising(self.rounded[at], true);
            }
        }
        Ok(())
    }

    fn layers(&self, usual: f64) -> Option<[DensePart; 3]> {
        let [first, second, out] = self.layers.map(|node| self.net.quantised(node));
        let [a, b] = self.exponents.map(|e| pow2(i32::from(e)));
        let mut out = out?;
        // Scales leave the network in usual moves; the device wants lattice units.
        for bias in &mut out.bias[3..6] {
            *bias += libm::log2(usual) as f32;
        }
        Some([
            dense(&first?, pow2(-FEATURE_Q), a),
            dense(&second?, 1.0 / a, b),
            dense(&out, 1.0 / b, pow2(OUTPUT_Q)),
        ])
    }
}

/// Bits of a move under the mixture: three offsets, binary logarithms of scales, and logits to base 2; a value is the
/// interval of `half` on each side.
struct MixtureLoss {
    half: f32,
}

/// Probability that every move has, so that no example pulls without limit; the coder's escape.
const FLOOR: f64 = 1e-4;

impl Loss for MixtureLoss {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        let n_live = view.n_live();
        let head = view.head(0);
        let mut total = Lanes::ZERO;
        for lane in 0..LANES {
            let mut out = [0.0f64; OUTPUTS];
            for (o, v) in out.iter_mut().zip(head.value) {
                *o = f64::from(v.0[lane]);
            }
            let mut grad = [0.0f64; OUTPUTS];
            if lane < n_live {
                let bits =
                    mixture_bits(&out, f64::from(head.target[0].0[lane]), f64::from(self.half), &mut grad);
                total.0[lane] = bits as f32;
            }
            for (g, d) in head.grad.iter_mut().zip(grad) {
                g.0[lane] = d as f32 * head.scale;
            }
        }
        total
    }
}

/// Bits of `y ± half`, and their gradient.
fn mixture_bits(out: &[f64; OUTPUTS], y: f64, half: f64, grad: &mut [f64; OUTPUTS]) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let top = out[6].max(out[7]).max(out[8]);
    let raw: [f64; 3] = std::array::from_fn(|k| libm::exp2(out[6 + k] - top));
    let sum: f64 = raw.iter().sum();
    let (mut p, mut parts) = (0.0, [(0.0, 0.0, 0.0, 0.0); 3]);
    for k in 0..3 {
        let inverse = libm::exp2(-out[3 + k].clamp(-12.0, 12.0));
        let (above, below) = ((y + half - out[k]) * inverse, (y - half - out[k]) * inverse);
        let (s_above, s_below) = (sigmoid(above), sigmoid(below));
        let mass = (s_above - s_below).max(0.0);
        let (d_above, d_below) = (s_above * (1.0 - s_above), s_below * (1.0 - s_below));
        let weight = raw[k] / sum;
        p += weight * mass;
        parts[k] = (weight, mass, (d_above - d_below) * inverse, d_above * above - d_below * below);
    }
    let total = p + FLOOR;
    let outer = -1.0 / (total * LN_2);
    for (k, &(weight, mass, by_mean, by_log)) in parts.iter().enumerate() {
        grad[k] = outer * weight * -by_mean;
        grad[3 + k] = outer * weight * -by_log * LN_2;
        grad[6 + k] = outer * weight * (mass - p) * LN_2;
    }
    -libm::log2(total)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let out = [0.1, -0.7, 0.4, -1.0, 0.3, 1.2, 0.5, -0.2, 0.1];
        for y in [-3.0, -0.2, 0.0, 0.45, 6.0] {
            let mut grad = [0.0; OUTPUTS];
            mixture_bits(&out, y, 0.3, &mut grad);
            for at in 0..OUTPUTS {
                let bits = |by: f64| {
                    let mut moved = out;
                    moved[at] += by;
                    mixture_bits(&moved, y, 0.3, &mut [0.0; OUTPUTS])
                };
                let slope = (bits(1e-5) - bits(-1e-5)) / 2e-5;
                assert!(
                    (slope - grad[at]).abs() < 1e-6 * (1.0 + slope.abs()),
                    "{y} {at}: {slope} {}",
                    grad[at]
                );
            }
        }
    }
}
