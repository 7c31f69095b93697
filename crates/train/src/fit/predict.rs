//! The predict rung, learned: a linear prediction by robust least squares, and a small network for the distribution
//! around it, in which the context table is one component.

use kinglet_codec::learn::{
    BUDGET_INPUTS, BudgetPart, COMPONENTS, DensePart, Lags, OUTPUTS, Parts, PredictNet, PredictPart, Scaling,
};

use super::curve::{Step, Told};
use super::examples::{Examples, FEATURE_Q, LINEAR_SCALE, Paths};
use super::learn::{Effort, LearnError, Setup};
use super::net::{dense, pow2};
use super::reference::REFERRING;
use super::rows::Rows;
use crate::nn::{
    Activation, FitConfig, FitReport, Isa, MIXTURE_OUTPUTS, MixtureLoss, Net, NetBuilder, NnError, NodeId,
    Progress, Samples, WeightScale, fit,
};

const _: () = assert!(OUTPUTS == MIXTURE_OUTPUTS);
/// Fractional bits of the network's outputs.
const OUTPUT_Q: i32 = 8;
/// The greatest hidden activation, as an integer.
const HIDDEN_MAX: f32 = 127.0;
/// Fewest examples of a channel a network is trained on.
const EXAMPLES_MIN: usize = 500;

/// How large the networks are, how far they look, and how long they are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size {
    pub(crate) lags: Lags,
    pub(crate) n_hidden: usize,
    /// Steps as a part of the effort's.
    pub(crate) steps: f64,
}

/// A rung, and for each channel the epochs its two phases were good for.
pub(crate) struct LearnedPredict {
    pub(crate) part: PredictPart,
    pub(crate) epochs: Epochs,
}

/// Of each channel, those of its two phases.
pub(crate) type Epochs = Vec<[usize; 2]>;

/// Learns the rung for `parts`, whose tables were counted on `rows`; `None` where there is too little to learn from.
///
/// If `parts` have networks, those learned are moved by what codes of the former have left.
/// `held_out` rows say when to stop; without them each channel's phases take as many epochs as `epochs` says.
pub(crate) fn learn_predict(
    setup: &Setup,
    parts: &Parts,
    size: Size,
    rows: &Rows,
    held_out: Option<&Rows>,
    epochs: &[[usize; 2]],
    told: Told<'_>,
) -> Result<Option<LearnedPredict>, LearnError> {
    let n_channels = rows.n_channels;
    let parts =
        &if setup.references { Parts { reference: Some(REFERRING), ..parts.clone() } } else { parts.clone() };
    let paths = Paths::find(parts, rows, 8);
    let held_paths = held_out.map(|rows| Paths::find(parts, rows, 2));
    let Some(tables) = &parts.context else { return Ok(None) };
    let scalings = paths.scalings(n_channels);
    let usual_bits = paths.usual_bits();
    let mut learned = LearnedPredict {
        part: PredictPart {
            lags: size.lags,
            channels: Vec::new(),
            budget: usual_bits.map(|usual_bits| BudgetPart { usual_bits, layers: Vec::new() }),
        },
        epochs: Vec::new(),
    };
    for (idx, &scaling) in scalings.iter().enumerate() {
        let train = Examples::collect(&paths, size.lags, &scalings, tables, idx, true, usual_bits);
        let held = held_paths
            .as_ref()
            .map(|p| Examples::collect(p, size.lags, &scalings, tables, idx, false, usual_bits));
        if train.len() < EXAMPLES_MIN || held.as_ref().is_some_and(|held| held.len() < EXAMPLES_MIN / 10) {
            return Ok(None);
        }
        let mut told = |step: Step| told(step.within(idx, n_channels));
        let stop = match (&held, epochs.get(idx)) {
            (Some(held), _) => Stop::ByValidation(held),
            (None, Some(&epochs)) => Stop::After(epochs),
            (None, None) => return Ok(None),
        };
        match learn_channel(setup, size, scaling, &train, stop, &mut told) {
            Ok((net, layer, epochs)) => {
                learned.part.channels.push((scaling, net));
                if let (Some(budget), Some(layer)) = (&mut learned.part.budget, layer) {
                    budget.layers.push(layer);
                }
                learned.epochs.push(epochs);
            }
            Err(NnError::Cancelled) => return Err(LearnError::Cancelled),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(learned))
}

/// When a channel's training ends.
enum Stop<'a> {
    ByValidation(&'a Examples),
    After([usize; 2]),
}

fn learn_channel(
    setup: &Setup,
    size: Size,
    scaling: Scaling,
    train: &Examples,
    stop: Stop<'_>,
    told: Told<'_>,
) -> Result<(PredictNet, Option<DensePart>, [usize; 2]), NnError> {
    let usual = f64::from(scaling.mean_move) / 256.0;
    let (n_channels, n_rows) = (setup.channels.len(), train.n_rows);
    let linear = train.regress(size.lags.n_linear(n_channels));
    let (inputs, targets) = train.tensors(usual);
    let held = match stop {
        Stop::ByValidation(held) => Some(held.tensors(usual)),
        Stop::After(_) => None,
    };
    let samples = Samples { inputs: &inputs, targets: Some(&targets) };
    let validation = held.as_ref().map(|(inputs, targets)| Samples { inputs, targets: Some(targets) });
    let n_features = size.lags.n_features(n_channels);
    let mut net = Shape::new(n_features, train.has_budgets(), &linear, size.n_hidden, setup.seed);
    let mut loss = MixtureLoss { half: (0.5 / usual) as f32 };
    let batch_len = 512.min(train.len());
    let steps_per_epoch = train.len().div_ceil(batch_len);
    let asked =
        |part: f64| ((n_steps(setup, n_rows) * size.steps * part) as usize).div_ceil(steps_per_epoch).max(2);
    let n_epochs = match stop {
        Stop::ByValidation(_) => PHASES.map(asked),
        Stop::After(epochs) => epochs,
    };
    // Few rows are learned by heart: they get smaller steps and stronger decay.
    let plenty = (n_rows as f64 / FEW_ROWS).clamp(1.0, 3.0);
    let config = |phase: usize| FitConfig {
        n_epochs: n_epochs[phase],
        batch_len,
        learning_rate: RATES[phase] * plenty as f32 * if n_rows < SCARCE_ROWS { 2e-3 } else { 4e-3 },
        final_rate: 0.02,
        n_warmup_steps: 50,
        weight_decay: (0.2 / (plenty * plenty)) as f32,
        beta2: 0.99,
        max_gradient: Some(5.0),
        patience: Some((n_epochs[phase] / 3).max(6)),
        seed: setup.seed,
        ..FitConfig::default()
    };
    let mut first = |p: Progress| told(Step::of(p, 0.0, PHASES[0]));
    let floating = fit(&mut net.net, samples, validation, &mut loss, &config(0), &mut first)?;
    net.quantise(&inputs)?;
    let mut second = |p: Progress| told(Step::of(p, PHASES[0], PHASES[1]));
    let whole = fit(&mut net.net, samples, validation, &mut loss, &config(1), &mut second)?;
    let layers = net.layers(usual).ok_or(NnError::NoSamples)?;
    let net_part = PredictNet { linear: net.linear(), layers };
    Ok((net_part, net.by_budget(), [worth(&floating), worth(&whole)]))
}

/// Epochs that were worth it: up to the last that was hardly worse than the best.
fn worth(report: &FitReport) -> usize {
    let losses = &report.validation_loss;
    let best = losses.get(report.best_epoch).copied().unwrap_or(f64::INFINITY);
    let last = losses.iter().rposition(|&loss| loss <= best * NOT_WORSE);
    last.unwrap_or(report.best_epoch) + 1
}

/// A validation loss so many times the best is as good.
const NOT_WORSE: f64 = 1.003;
/// Rows up to which training is gentle, and those below which it is gentlest.
const FEW_ROWS: f64 = 10_000.0;
const SCARCE_ROWS: usize = 5000;
/// Shares of the steps with floating weights and with integers.
const PHASES: [f64; 2] = [0.65, 0.35];
/// Learning rates of both phases, as parts of the first's.
const RATES: [f32; 2] = [1.0, 0.4];

/// Steps of both phases together: more rows bear more of them.
fn n_steps(setup: &Setup, n_rows: usize) -> f64 {
    let most = match setup.effort {
        Effort::Fast => 1000.0,
        Effort::Normal => 9000.0,
        Effort::High => 30_000.0,
    };
    (n_rows as f64 * most / 27_000.0).clamp(1000.0_f64.min(most), most)
}

/// Two hidden layers and the outputs; beside them a linear prediction for each component.
struct Shape {
    net: Net,
    layers: [NodeId; 3],
    skip: NodeId,
    /// From budgets to the outputs.
    by_budget: Option<NodeId>,
    rounded: [NodeId; 2],
    exponents: [i8; 2],
}

impl Shape {
    fn new(n_features: usize, has_budgets: bool, linear: &[f64], n_hidden: usize, seed: u64) -> Self {
        let n_known = n_features + if has_budgets { BUDGET_INPUTS } else { 0 };
        let n_inputs = n_known + linear.len();
        let (mut b, _) = NetBuilder::new(n_inputs);
        let features = b.slice(0..n_features);
        let moves = b.slice(n_known..n_inputs);
        let skip = b.linear(moves, COMPONENTS);
        let first = b.dense(features, n_hidden, Activation::Relu);
        let first_rounded = b.fixed_point(first, 0, 0, HIDDEN_MAX as i32);
        let second = b.dense(first_rounded, n_hidden, Activation::Relu);
        let second_rounded = b.fixed_point(second, 0, 0, HIDDEN_MAX as i32);
        let out = b.dense(second_rounded, OUTPUTS, Activation::Linear);
        let (mut said, mut by_budget) = (out, None);
        if has_budgets {
            let budget = b.slice(n_features..n_known);
            let moved = b.linear(budget, OUTPUTS);
            (said, by_budget) = (b.add(out, moved), Some(moved));
        }
        let mut net = b.build(&[said, skip], seed);
        if let Some(node) = by_budget {
            net.weights_mut(node).fill(0.0);
        }
        let rounded = [first_rounded, second_rounded];
        rounded.iter().for_each(|&node| net.set_quantising(node, false));
        net.weights_mut(out).iter_mut().for_each(|w| *w *= 0.1);
        // Three components beside each other, narrow to wide, and the table as heavy as each.
        net.biases_mut(out).copy_from_slice(&[0.0, -0.5, 0.5, -1.5, -0.5, 0.5, 0.5, 0.0, 0.0, 0.0]);
        // Two begin with the best linear prediction there is, the third with "stays where it is".
        let weights = linear.iter().map(|&w| w as f32 / LINEAR_SCALE);
        let still = linear.iter().map(|_| 0.0);
        let begin: Vec<f32> = weights.clone().chain(weights).chain(still).collect();
        net.weights_mut(skip).copy_from_slice(&begin);
        Self { net, layers: [first, second, out], skip, by_budget, rounded, exponents: [0; 2] }
    }

    /// The linear predictions, Q12.
    fn linear(&self) -> [Vec<i16>; COMPONENTS] {
        let weights = self.net.weights(self.skip);
        let rounded =
            |w: &f32| (f64::from(*w * LINEAR_SCALE) * 4096.0).round().clamp(-32768.0, 32767.0) as i16;
        let n = weights.len() / COMPONENTS;
        std::array::from_fn(|k| weights[k * n..][..n].iter().map(rounded).collect())
    }

    /// Integer weights; activations in a byte, scaled by what `inputs` make of them.
    fn quantise(&mut self, inputs: &[f32]) -> Result<(), NnError> {
        let some = &inputs[..inputs.len().min(20_000 * self.net.n_in())];
        if let Some(node) = self.by_budget {
            self.net.set_layer_bits(node, Some((8, WeightScale::PerOutput)));
        }
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

    fn by_budget(&self) -> Option<DensePart> {
        let layer = self.net.quantised(self.by_budget?)?;
        Some(dense(&layer, pow2(-FEATURE_Q), pow2(OUTPUT_Q)))
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
