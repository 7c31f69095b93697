//! Codes that, with the residual that keeps the bound, cost few bits.

use std::ops::ControlFlow;

use super::super::{Net, NetBuilder, NnError, NodeId, Progress, Samples, fit};
use super::half::{Half, HalfNodes, Hidden, Integers, exponent_for};
use super::rate::{RateLoss, entropy_bits};
use super::{AutoencoderError, Effort, shifted};
use crate::klt::Basis;

/// What to train.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundedConfig {
    /// Codes per window.
    pub n_codes: usize,
    /// Step of each code along its principal direction, in the windows' normalised units; one for all, or `[n_codes]`.
    pub code_steps: Vec<f32>,
    /// Codes lie within `± code_limit`.
    pub code_limit: i32,
    /// Step of the residual's grid (`2E + 1` native steps) in normalised units; one for all, or `[n]`.
    pub residual_steps: Vec<f32>,
    /// The encoder's hidden path.
    pub encoder: Hidden,
    /// The decoder's hidden units.
    pub decoder_hidden: usize,
    /// The device's integers.
    pub integers: Integers,
    /// How long and how hard.
    pub effort: Effort,
}

/// How it went, over the validation windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundedReport {
    /// Entropy of the codes, each by its own histogram, bits per window.
    pub code_bits: f64,
    /// Entropy of the residuals on their grid, one histogram for all, bits per window.
    pub residual_bits: f64,
    /// The sum of both for the KLT in the same integers, from which training began.
    pub klt_bits: f64,
    /// Part of windows whose residuals are all zero: codes alone keep the bound.
    pub quiet: f64,
    /// Training found nothing better, so these are the KLT's own weights.
    pub is_klt: bool,
    /// Optimiser steps done.
    pub n_steps: usize,
}

/// An autoencoder for a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundedAutoencoder {
    /// Windows `[n]` to codes: a code is the rounded output, within the decoder's input range.
    pub encoder: Half,
    /// Codes to windows.
    pub decoder: Half,
    /// `[n_codes]`, mean magnitude of each code in training.
    pub spreads: Vec<f32>,
    /// How it went.
    pub report: BoundedReport,
}

impl BoundedAutoencoder {
    /// The codes of `window` `[n]`.
    pub fn codes(&self, window: &[f32]) -> Vec<i32> {
        self.encoder.codes_for(&self.decoder, window)
    }

    /// The window `[n]` that `codes` stand for, to be corrected by the residual.
    pub fn window(&self, codes: &[i32]) -> Vec<f32> {
        self.decoder.apply_codes(codes)
    }

    /// Code bits, residual bits, quiet part over `windows`.
    fn judge(&self, windows: &[f32], steps: &[f32]) -> (f64, f64, f64) {
        let n = self.encoder.n_in();
        let n_windows = (windows.len() / n) as f64;
        let (mut codes, mut residuals, mut quiet) = (Vec::new(), Vec::new(), 0usize);
        for w in windows.chunks_exact(n) {
            let c = self.codes(w);
            let back = self.window(&c);
            codes.push(c);
            let r: Vec<i32> = w
                .iter()
                .zip(&back)
                .zip(steps)
                .map(|((x, y), s)| ((x - y) / s).round_ties_even() as i32)
                .collect();
            quiet += usize::from(r.iter().all(|&r| r == 0));
            residuals.push(r);
        }
        let columns = |rows: &[Vec<i32>]| -> f64 {
            let width = rows.first().map_or(0, Vec::len);
            (0..width).map(|i| entropy_bits(rows.iter().map(|r| r[i]))).sum::<f64>() / n_windows
        };
        let pooled = entropy_bits(residuals.iter().flatten().copied()) / n_windows;
        (columns(&codes), pooled, quiet as f64 / n_windows)
    }
}

/// Trains on `train`, judges on `validation`, both `[n_windows × n]` and normalised.
///
/// Begins as the KLT with the given steps; makes the sum of code and residual bits small, with noise in place of
/// rounding (Ballé et al. 2018), first in floating point, then in integers. What is worse than the KLT in the end is
/// thrown away for it.
pub fn train_bounded(
    train: &[f32],
    validation: &[f32],
    n: usize,
    config: &BoundedConfig,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<BoundedAutoencoder, AutoencoderError> {
    let l = config.n_codes;
    let wide = |v: &[f32], n: usize| match v {
        [one] => Some(vec![*one; n]),
        all if all.len() == n => Some(all.to_vec()),
        _ => None,
    };
    let positive = |v: &Vec<f32>| v.iter().all(|s| s.is_finite() && *s > 0.0);
    let steps = wide(&config.residual_steps, n).filter(positive);
    let steps =
        steps.ok_or(AutoencoderError::Setting("residual steps are above zero, one or one per number"))?;
    let code_steps = wide(&config.code_steps, l).filter(positive);
    let code_steps =
        code_steps.ok_or(AutoencoderError::Setting("code steps are above zero, one or one per code"))?;
    if l == 0 || l > n || config.code_limit < 1 || !(4..=16).contains(&config.integers.input_bits) {
        return Err(AutoencoderError::Setting("1 to n codes, limits of 1 or more, inputs of 4 to 16 bits"));
    }
    if validation.is_empty() || !validation.len().is_multiple_of(n) {
        return Err(NnError::Shape { len: validation.len(), width: n }.into());
    }
    let basis = Basis::learn(train, n)?;
    let mut linear = Shape::new(&basis, &code_steps, &steps, train, config, Hidden::None, 0);
    linear.quantise(train, config)?;
    let plain = linear.finish()?;
    let (code_bits, residual_bits, quiet) = plain.judge(validation, &steps);
    let klt_bits = code_bits + residual_bits;
    let mut shape =
        Shape::new(&basis, &code_steps, &steps, train, config, config.encoder, config.decoder_hidden);
    let n_steps = shape.train(train, validation, config, progress)?;
    let report = BoundedReport { code_bits, residual_bits, klt_bits, quiet, is_klt: true, n_steps };
    let trained = shape.finish()?;
    let (code_bits, residual_bits, quiet) = trained.judge(validation, &steps);
    if code_bits + residual_bits >= klt_bits {
        return Ok(BoundedAutoencoder { report, ..plain });
    }
    let report = BoundedReport { code_bits, residual_bits, quiet, is_klt: false, ..report };
    Ok(BoundedAutoencoder { report, ..trained })
}

struct Shape {
    net: Net,
    codes: NodeId,
    encoder: HalfNodes,
    decoder: HalfNodes,
    loss: RateLoss,
}

impl Shape {
    fn new(
        basis: &Basis,
        code_steps: &[f32],
        steps: &[f32],
        train: &[f32],
        config: &BoundedConfig,
        hidden: Hidden,
        decoder_hidden: usize,
    ) -> Self {
        let (n, l) = (basis.n(), code_steps.len());
        let top = (1 << (config.integers.input_bits - 1)) - 1;
        let exponent = exponent_for(&mut train.to_vec(), 1.0, top);
        let ranges = vec![(-config.code_limit, config.code_limit); l];
        let (mut b, x) = NetBuilder::new(n);
        let input = b.fixed_point(x, exponent, -top - 1, top);
        let encoder = HalfNodes::add(&mut b, input, exponent, vec![(-top - 1, top); n], l, hidden);
        let codes = b.codes(encoder.out, &ranges, true);
        let back = if decoder_hidden == 0 { Hidden::None } else { Hidden::Dense(decoder_hidden) };
        let decoder = HalfNodes::add(&mut b, codes, 0, ranges, n, back);
        let mut net = b.build(&[decoder.out, codes], config.effort.seed);
        encoder.float(&mut net);
        decoder.float(&mut net);
        let mut spreads = Vec::with_capacity(l);
        for (i, &step) in code_steps.iter().enumerate() {
            let v = basis.vector(i);
            let w = &mut net.weights_mut(encoder.skip)[i * n..][..n];
            w.iter_mut().zip(v).for_each(|(w, v)| *w = v / step);
            let centre: f64 = v.iter().zip(&basis.mean).map(|(v, m)| f64::from(*v) * f64::from(*m)).sum();
            net.biases_mut(encoder.skip)[i] = (-centre / f64::from(step)) as f32;
            for (j, v) in v.iter().enumerate() {
                net.weights_mut(decoder.skip)[j * l + i] = v * step;
            }
            // A Laplace distribution's mean magnitude is its deviation over √2.
            spreads.push(((0.5 * basis.variances[i]).sqrt() as f32 / step).max(0.2));
        }
        net.biases_mut(decoder.skip).copy_from_slice(&basis.mean);
        for front in [&encoder, &decoder].into_iter().filter_map(|h| h.front.as_ref()) {
            net.weights_mut(front.back).fill(0.0);
        }
        Self { net, codes, encoder, decoder, loss: RateLoss::new(steps, spreads) }
    }

    fn train(
        &mut self,
        train: &[f32],
        validation: &[f32],
        config: &BoundedConfig,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<usize, AutoencoderError> {
        let n_windows = train.len() / self.net.n_in();
        let (inputs, held) =
            (Samples { inputs: train, targets: None }, Samples { inputs: validation, targets: None });
        let first = config.effort.phase(0.7, 1.0, n_windows);
        let second = config.effort.phase(0.3, 0.25, n_windows);
        let steps = |c: &super::super::FitConfig| c.n_epochs * n_windows.div_ceil(c.batch_len);
        let (n_first, n_second) = (steps(&first), steps(&second));
        let mut told = shifted(progress, 0, n_second);
        let a = fit(&mut self.net, inputs, Some(held), &mut self.loss, &first, &mut told)?;
        drop(told);
        self.quantise(train, config)?;
        let mut told = shifted(progress, n_first, 0);
        let b = fit(&mut self.net, inputs, Some(held), &mut self.loss, &second, &mut told)?;
        Ok(a.n_steps + b.n_steps)
    }

    fn quantise(&mut self, train: &[f32], config: &BoundedConfig) -> Result<(), NnError> {
        let isa = config.effort.isa;
        self.net.set_noise(self.codes, true);
        self.encoder.quantise(&mut self.net, config.integers, train, isa)?;
        self.decoder.quantise(&mut self.net, config.integers, train, isa)
    }

    fn finish(&self) -> Result<BoundedAutoencoder, AutoencoderError> {
        let missing = AutoencoderError::Setting("the net holds no integers yet");
        let report = BoundedReport {
            code_bits: 0.0,
            residual_bits: 0.0,
            klt_bits: 0.0,
            quiet: 0.0,
            is_klt: false,
            n_steps: 0,
        };
        Ok(BoundedAutoencoder {
            encoder: self.encoder.half(&self.net).ok_or(missing)?,
            decoder: self.decoder.half(&self.net).ok_or(missing)?,
            spreads: self.loss.spreads.clone(),
            report,
        })
    }
}
