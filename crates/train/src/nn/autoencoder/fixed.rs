//! Whole windows in exactly K bytes.

use std::ops::ControlFlow;

use super::super::{Mse, Net, NetBuilder, NnError, Progress, Samples, fit};
use super::half::{Half, HalfNodes, Hidden, Integers, exponent_for};
use super::rounding::{self, Moments};
use super::{AutoencoderError, Effort, shifted};
use crate::klt::{FixedKlt, pack, unpack};

/// What to train.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedConfig {
    /// Bytes per window.
    pub n_bytes: usize,
    /// The encoder's hidden path.
    pub encoder: Hidden,
    /// The decoder's hidden units.
    pub decoder_hidden: usize,
    /// Bits of one code, at most.
    pub bits_max: u8,
    /// How far codes reach, see [`FixedKlt::reaching`].
    pub reach: f64,
    /// The device's integers.
    pub integers: Integers,
    /// How long and how hard.
    pub effort: Effort,
}

impl FixedConfig {
    /// Dense halves with `hidden` units each.
    pub fn new(n_bytes: usize, hidden: usize, seed: u64) -> Self {
        Self {
            n_bytes,
            encoder: Hidden::Dense(hidden),
            decoder_hidden: hidden,
            bits_max: 10,
            reach: 1.0,
            integers: Integers::default(),
            effort: Effort { seed, ..Effort::default() },
        }
    }
}

/// How it went; errors are root mean squares over the validation windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedReport {
    /// Of this autoencoder in integers.
    pub rms: f64,
    /// Of the KLT in floating point at the same size.
    pub rms_klt: f64,
    /// Of the KLT in the same integers.
    pub rms_klt_integer: f64,
    /// Training found nothing better, so these are the KLT's own weights.
    pub is_klt: bool,
    /// Optimiser steps done.
    pub n_steps: usize,
}

/// An autoencoder that says every window in the same number of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedAutoencoder {
    /// Windows `[n]` to codes `[n_codes]`: a code is the rounded output, within the decoder's input range.
    pub encoder: Half,
    /// Codes to windows.
    pub decoder: Half,
    /// Bits per code; their sum is `8 · n_bytes`.
    pub bits: Vec<u8>,
    /// How it went.
    pub report: FixedReport,
}

impl FixedAutoencoder {
    /// The codes of `window` `[n]`.
    pub fn codes(&self, window: &[f32]) -> Vec<i32> {
        self.encoder.codes_for(&self.decoder, window)
    }

    /// The window `[n]` that `codes` stand for.
    pub fn window(&self, codes: &[i32]) -> Vec<f32> {
        self.decoder.apply_codes(codes)
    }

    /// `window` in exactly K bytes.
    pub fn encode(&self, window: &[f32]) -> Vec<u8> {
        pack(&self.codes(window), self.bits.iter().copied())
    }

    /// What [`Self::encode`] wrote; `None` unless `bytes` has exactly K bytes.
    pub fn decode(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        let n_bits: usize = self.bits.iter().map(|&b| usize::from(b)).sum();
        let codes = unpack(bytes, self.bits.iter().copied())?;
        (bytes.len() == n_bits.div_ceil(8)).then(|| self.window(&codes))
    }

    /// Root of the mean squared error over all numbers of `windows`.
    pub fn rms(&self, windows: &[f32]) -> f64 {
        let squares = windows.chunks_exact(self.encoder.n_in()).map(|w| {
            let back = self.window(&self.codes(w));
            w.iter().zip(back).map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).sum::<f64>()
        });
        (squares.sum::<f64>() / windows.len().max(1) as f64).sqrt()
    }
}

/// Trains on `train`, judges on `validation`, both `[n_windows × n]` and normalised.
///
/// Begins as the KLT at the same bits, trains in floating point through rounded codes, then in integers; what is
/// worse than the KLT in the end is thrown away for it. With no steps to train it is the KLT.
pub fn train_fixed(
    train: &[f32],
    validation: &[f32],
    n: usize,
    config: &FixedConfig,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<FixedAutoencoder, AutoencoderError> {
    if !(4..=16).contains(&config.integers.input_bits) {
        return Err(AutoencoderError::Setting("inputs have 4 to 16 bits"));
    }
    if n == 0 || validation.is_empty() || !validation.len().is_multiple_of(n) {
        return Err(NnError::Shape { len: validation.len(), width: n }.into());
    }
    let klt = FixedKlt::reaching(train, n, config.n_bytes, config.bits_max, config.reach)?;
    let rms_klt = klt.rms(validation);
    let plain = Shape::new(&klt, train, config, Hidden::None, 0).rounded(train, config)?;
    let rms_klt_integer = plain.rms(validation);
    let report = FixedReport { rms: rms_klt_integer, rms_klt, rms_klt_integer, is_klt: true, n_steps: 0 };
    let plain = FixedAutoencoder { report, ..plain };
    if config.effort.n_steps == 0 {
        return Ok(plain);
    }
    let mut shape = Shape::new(&klt, train, config, config.encoder, config.decoder_hidden);
    let n_steps = shape.train(train, validation, config, progress)?;
    let trained = shape.finish(train, config)?;
    let rms = trained.rms(validation);
    if rms >= rms_klt_integer {
        return Ok(FixedAutoencoder { report: FixedReport { n_steps, ..report }, ..plain });
    }
    Ok(FixedAutoencoder { report: FixedReport { rms, is_klt: false, n_steps, ..report }, ..trained })
}

/// The whole autoencoder as one net.
struct Shape {
    net: Net,
    encoder: HalfNodes,
    decoder: HalfNodes,
    bits: Vec<u8>,
}

impl Shape {
    /// As the KLT: hidden paths are there, their last layers zero.
    fn new(
        klt: &FixedKlt,
        train: &[f32],
        config: &FixedConfig,
        hidden: Hidden,
        decoder_hidden: usize,
    ) -> Self {
        let n = klt.basis.n();
        let bits: Vec<u8> = klt.quantisers.iter().map(|q| q.bits).collect();
        let ranges: Vec<(i32, i32)> = bits.iter().map(|b| (-(1 << (b - 1)), (1 << (b - 1)) - 1)).collect();
        let top = (1 << (config.integers.input_bits - 1)) - 1;
        let exponent = exponent_for(&mut train.to_vec(), 1.0, top);
        let (mut b, x) = NetBuilder::new(n);
        let input = b.fixed_point(x, exponent, -top - 1, top);
        let encoder = HalfNodes::add(&mut b, input, exponent, vec![(-top - 1, top); n], bits.len(), hidden);
        let codes = b.codes(encoder.out, &ranges, false);
        let back = if decoder_hidden == 0 { Hidden::None } else { Hidden::Dense(decoder_hidden) };
        let decoder = HalfNodes::add(&mut b, codes, 0, ranges, n, back);
        let mut net = b.build(&[decoder.out], config.effort.seed);
        encoder.float(&mut net);
        decoder.float(&mut net);
        begin(&mut net, klt, &encoder, &decoder);
        Self { net, encoder, decoder, bits }
    }

    fn train(
        &mut self,
        train: &[f32],
        validation: &[f32],
        config: &FixedConfig,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<usize, AutoencoderError> {
        let n_windows = train.len() / self.net.n_in();
        let (inputs, held) =
            (Samples { inputs: train, targets: None }, Samples { inputs: validation, targets: None });
        let first = config.effort.phase(0.6, 1.0, n_windows);
        let second = config.effort.phase(0.4, 0.25, n_windows);
        let steps = |c: &super::super::FitConfig| c.n_epochs * n_windows.div_ceil(c.batch_len);
        let (n_first, n_second) = (steps(&first), steps(&second));
        let mut told = shifted(progress, 0, n_second);
        let a = fit(&mut self.net, inputs, Some(held), &mut Mse, &first, &mut told)?;
        drop(told);
        self.quantise(train, config)?;
        let mut told = shifted(progress, n_first, 0);
        let b = fit(&mut self.net, inputs, Some(held), &mut Mse, &second, &mut told)?;
        Ok(a.n_steps + b.n_steps)
    }

    /// What [`Self::finish`] gives of a net without hidden paths, its weights rounded for the windows of `train`.
    fn rounded(mut self, train: &[f32], config: &FixedConfig) -> Result<FixedAutoencoder, AutoencoderError> {
        let mut plain = self.finish(train, config)?;
        let n = plain.encoder.n_in();
        let bits = config.integers.skip_weight_bits;
        let layer = |node, moments: &Moments| {
            rounding::rounded(self.net.weights(node), self.net.biases(node), bits, moments)
        };
        let mut moments = Moments::new(n);
        train.chunks_exact(n).for_each(|window| moments.add(window));
        plain.encoder.skip = layer(self.encoder.skip, &moments);
        let mut moments = Moments::new(plain.bits.len());
        for window in train.chunks_exact(n) {
            let codes: Vec<f32> = plain.codes(window).into_iter().map(|code| code as f32).collect();
            moments.add(&codes);
        }
        plain.decoder.skip = layer(self.decoder.skip, &moments);
        Ok(plain)
    }

    fn quantise(&mut self, train: &[f32], config: &FixedConfig) -> Result<(), NnError> {
        let isa = config.effort.isa;
        self.encoder.quantise(&mut self.net, config.integers, train, isa)?;
        self.decoder.quantise(&mut self.net, config.integers, train, isa)
    }

    fn finish(&mut self, train: &[f32], config: &FixedConfig) -> Result<FixedAutoencoder, AutoencoderError> {
        let missing = AutoencoderError::Setting("the net holds no integers yet");
        if self.encoder.half(&self.net).is_none() {
            self.quantise(train, config)?;
        }
        let encoder = self.encoder.half(&self.net).ok_or(missing)?;
        let decoder = self.decoder.half(&self.net).ok_or(missing)?;
        let report = FixedReport { rms: 0.0, rms_klt: 0.0, rms_klt_integer: 0.0, is_klt: false, n_steps: 0 };
        Ok(FixedAutoencoder { encoder, decoder, bits: self.bits.clone(), report })
    }
}

/// Writes the transform into the skips: code = floor(c / step) = round(c / step - ½), back = (code + ½) · step.
fn begin(net: &mut Net, klt: &FixedKlt, encoder: &HalfNodes, decoder: &HalfNodes) {
    let (n, l) = (klt.basis.n(), klt.directions.len());
    let mean = &klt.basis.mean;
    let mut bias: Vec<f32> = mean.clone();
    for (i, (&d, q)) in klt.directions.iter().zip(&klt.quantisers).enumerate() {
        let (v, step) = (klt.basis.vector(d), q.step as f32);
        let w = &mut net.weights_mut(encoder.skip)[i * n..][..n];
        w.iter_mut().zip(v).for_each(|(w, v)| *w = v / step);
        let centre: f64 = v.iter().zip(mean).map(|(v, m)| f64::from(*v) * f64::from(*m)).sum();
        net.biases_mut(encoder.skip)[i] = (-centre / q.step - 0.5) as f32;
        for (j, v) in v.iter().enumerate() {
            net.weights_mut(decoder.skip)[j * l + i] = v * step;
            bias[j] += 0.5 * v * step;
        }
    }
    net.biases_mut(decoder.skip).copy_from_slice(&bias);
    for half in [encoder, decoder] {
        if let Some(front) = &half.front {
            net.weights_mut(front.back).fill(0.0);
        }
    }
}
