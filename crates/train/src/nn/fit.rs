//! The training loop: AdamW on shuffled batches, a cosine schedule, the best epoch kept.

use std::ops::ControlFlow;

use super::NnError;
use super::graph::Net;
use super::isa::Isa;
use super::kernels::AdamStep;
use super::loss::Loss;
use super::pass::Pass;
use super::rng::Rng;

/// Samples side by side, sample-major.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// `[n × n_in]`.
    pub inputs: &'a [f32],
    /// `[n × width of output 0]`; `None` when the input itself is the target.
    pub targets: Option<&'a [f32]>,
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct FitConfig {
    /// Rounds over all samples, at most.
    pub n_epochs: usize,
    /// Samples per step.
    pub batch_len: usize,
    /// Step size at the start.
    pub learning_rate: f32,
    /// Step size at the end as a part of that at the start; a cosine between. 1 keeps it constant.
    pub final_rate: f32,
    /// Steps over which the rate rises from zero.
    pub n_warmup_steps: usize,
    /// Shrinks weights (not biases) by this times the learning rate, each step.
    pub weight_decay: f32,
    /// Memory of the mean gradient.
    pub beta1: f32,
    /// Memory of the squared gradient.
    pub beta2: f32,
    /// Added to the root of the squared gradient.
    pub epsilon: f32,
    /// Gradients longer than this are shortened to it.
    pub max_gradient: Option<f32>,
    /// Ends after so many epochs without a better validation loss.
    pub patience: Option<usize>,
    /// Keeps the last epoch's parameters whatever validation says.
    pub keep_last: bool,
    /// Whether each epoch takes the samples in a new order.
    pub shuffle: bool,
    /// Orders, noise.
    pub seed: u64,
    /// The kernels' instruction set.
    pub isa: Isa,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            n_epochs: 20,
            batch_len: 128,
            learning_rate: 1e-3,
            final_rate: 1.0,
            n_warmup_steps: 0,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            max_gradient: None,
            patience: None,
            keep_last: false,
            shuffle: true,
            seed: 0,
            isa: Isa::detect(),
        }
    }
}

/// Where training is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all, if nothing ends them early.
    pub n_steps: usize,
    /// Mean training loss of the running epoch.
    pub loss: f64,
    /// The last validation loss.
    pub validation: Option<f64>,
}

/// What training did.
#[derive(Clone, Debug, PartialEq)]
pub struct FitReport {
    /// Steps done.
    pub n_steps: usize,
    /// Mean training loss per epoch.
    pub train_loss: Vec<f64>,
    /// Validation loss after each epoch; empty without validation samples.
    pub validation_loss: Vec<f64>,
    /// The epoch whose parameters were kept.
    pub best_epoch: usize,
}

/// Steps between two calls of the progress callback.
const PROGRESS_STEPS: usize = 32;

/// Trains `net` and leaves the parameters of the best epoch in it: by validation loss, or else the last.
///
/// `progress` is called every few steps; `ControlFlow::Break` ends with [`NnError::Cancelled`]. After an error the
/// net holds the best epoch so far, or its parameters as they were.
pub fn fit(
    net: &mut Net,
    train: Samples<'_>,
    validation: Option<Samples<'_>>,
    loss: &mut dyn Loss,
    config: &FitConfig,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<FitReport, NnError> {
    let mut best = net.params.clone();
    let result = epochs(net, train, validation, loss, config, progress, &mut best);
    net.params = best;
    result
}

fn epochs(
    net: &mut Net,
    train: Samples<'_>,
    validation: Option<Samples<'_>>,
    loss: &mut dyn Loss,
    config: &FitConfig,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    best: &mut [f32],
) -> Result<FitReport, NnError> {
    let n = count(net, train)?;
    validation.map(|v| count(net, v)).transpose()?;
    let batch_len = config.batch_len.clamp(1, n);
    let steps_per_epoch = n.div_ceil(batch_len);
    let n_steps = steps_per_epoch * config.n_epochs;
    let mut rng = Rng::new(config.seed);
    let mut noise = Rng::new(rng.next_u64());
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut pass = Pass::new(net, batch_len, config.isa);
    let mut adam = Adam::new(net);
    let mut report =
        FitReport { n_steps: 0, train_loss: Vec::new(), validation_loss: Vec::new(), best_epoch: 0 };
    let mut best_loss = f64::INFINITY;
    for epoch in 0..config.n_epochs {
        if config.shuffle {
            rng.shuffle(&mut order);
        }
        let mut total = 0.0;
        for (i, chosen) in order.chunks(batch_len).enumerate() {
            pass.load(net, train.inputs, train.targets, chosen);
            pass.take_params(net);
            pass.forward(net, Some(&mut noise));
            total += pass.loss(net, loss);
            pass.backward(net, &mut adam.grad);
            adam.step(net, config, rate(config, report.n_steps, n_steps));
            report.n_steps += 1;
            if i == 0 || report.n_steps.is_multiple_of(PROGRESS_STEPS) {
                let loss = total / (i + 1) as f64;
                if !loss.is_finite() {
                    return Err(NnError::Diverged { step: report.n_steps });
                }
                let validation = report.validation_loss.last().copied();
                if progress(Progress { step: report.n_steps, n_steps, loss, validation }).is_break() {
                    return Err(NnError::Cancelled);
                }
            }
        }
        report.train_loss.push(total / steps_per_epoch as f64);
        if !total.is_finite() || net.params.iter().any(|p| !p.is_finite()) {
            return Err(NnError::Diverged { step: report.n_steps });
        }
        let judged = match validation {
            Some(samples) => {
                let v = evaluate(net, samples, loss, config.isa)?;
                report.validation_loss.push(v);
                v
            }
            None => f64::NEG_INFINITY,
        };
        if judged < best_loss || validation.is_none() || config.keep_last {
            best_loss = judged;
            best.copy_from_slice(&net.params);
            report.best_epoch = epoch;
        } else if config.patience.is_some_and(|p| epoch - report.best_epoch >= p) {
            break;
        }
    }
    Ok(report)
}

/// The mean loss over all samples, quantisers rounding.
pub fn evaluate(net: &Net, samples: Samples<'_>, loss: &mut dyn Loss, isa: Isa) -> Result<f64, NnError> {
    let mut total = 0.0;
    let n = for_each_batch(net, samples, isa, |pass, n_live| total += pass.loss(net, loss) * n_live as f64)?;
    Ok(total / n as f64)
}

impl Net {
    /// Output `j` of every sample of `inputs` `[n × n_in]`: `[n × n_out(j)]`, quantisers rounding.
    pub fn apply(&self, inputs: &[f32], j: usize, isa: Isa) -> Result<Vec<f32>, NnError> {
        let mut out = Vec::with_capacity(inputs.len() / self.n_in() * self.n_out(j));
        for_each_batch(self, Samples { inputs, targets: None }, isa, |pass, _| {
            pass.read_output(self, j, &mut out)
        })?;
        Ok(out)
    }

    /// Any node's values for every sample, `[n × width]`, quantisers rounding.
    pub fn apply_node(&self, inputs: &[f32], node: super::NodeId, isa: Isa) -> Result<Vec<f32>, NnError> {
        let mut out = Vec::new();
        for_each_batch(self, Samples { inputs, targets: None }, isa, |pass, _| {
            pass.read(self, node, &mut out)
        })?;
        Ok(out)
    }
}

fn for_each_batch(
    net: &Net,
    samples: Samples<'_>,
    isa: Isa,
    mut each: impl FnMut(&mut Pass, usize),
) -> Result<usize, NnError> {
    const BATCH_LEN: usize = 256;
    let n = count(net, samples)?;
    let order: Vec<u32> = (0..n as u32).collect();
    let mut pass = Pass::new(net, n.min(BATCH_LEN), isa);
    pass.take_params(net);
    for chosen in order.chunks(BATCH_LEN) {
        pass.load(net, samples.inputs, samples.targets, chosen);
        pass.forward(net, None);
        each(&mut pass, chosen.len());
    }
    Ok(n)
}

fn count(net: &Net, samples: Samples<'_>) -> Result<usize, NnError> {
    let (len, width) = (samples.inputs.len(), net.n_in());
    let n = len / width;
    if !len.is_multiple_of(width) || n > u32::MAX as usize {
        return Err(NnError::Shape { len, width });
    }
    if let Some(targets) = samples.targets.filter(|t| t.len() != n * net.n_out(0)) {
        return Err(NnError::Shape { len: targets.len(), width: net.n_out(0) });
    }
    if n == 0 { Err(NnError::NoSamples) } else { Ok(n) }
}

fn rate(config: &FitConfig, step: usize, n_steps: usize) -> f32 {
    if step < config.n_warmup_steps {
        return config.learning_rate * (step + 1) as f32 / config.n_warmup_steps as f32;
    }
    if config.final_rate == 1.0 {
        return config.learning_rate;
    }
    let part = (step - config.n_warmup_steps) as f64 / (n_steps - config.n_warmup_steps).max(1) as f64;
    let cosine = 0.5 + 0.5 * cos_pi(part);
    config.learning_rate * (config.final_rate + (1.0 - config.final_rate) * cosine as f32)
}

/// `cos(π x)` for `x` in `[0, 1]` by its series about ½: the platform's may differ in the last bit.
fn cos_pi(x: f64) -> f64 {
    let t = std::f64::consts::PI * (0.5 - x);
    let t2 = t * t;
    t * (1.0 - t2 / 6.0 * (1.0 - t2 / 20.0 * (1.0 - t2 / 42.0 * (1.0 - t2 / 72.0 * (1.0 - t2 / 110.0)))))
}

/// AdamW's memory.
struct Adam {
    grad: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    /// `β₁ᵗ`, `β₂ᵗ`.
    powers: (f64, f64),
}

impl Adam {
    fn new(net: &Net) -> Self {
        let zeros = vec![0.0; net.params.len()];
        Self { grad: zeros.clone(), m: zeros.clone(), v: zeros, powers: (1.0, 1.0) }
    }

    fn step(&mut self, net: &mut Net, config: &FitConfig, rate: f32) {
        if let Some(max) = config.max_gradient {
            let length = self.grad.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
            if length > f64::from(max) {
                let by = (f64::from(max) / length) as f32;
                self.grad.iter_mut().for_each(|g| *g *= by);
            }
        }
        self.powers.0 *= f64::from(config.beta1);
        self.powers.1 *= f64::from(config.beta2);
        let corrected = f64::from(rate) * (1.0 - self.powers.1).sqrt() / (1.0 - self.powers.0);
        config.isa.run(AdamStep {
            w: &mut net.params,
            dw: &self.grad,
            m: &mut self.m,
            v: &mut self.v,
            decays: &net.decays,
            decay: rate * config.weight_decay,
            rate: corrected as f32,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
        });
    }
}
