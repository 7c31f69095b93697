//! Numbers as integers: rounding in the forward pass, gradients that pass as if it were not there
//! (straight-through, Bengio et al. 2013), and layers ready for an integer kernel.

use super::graph::{Net, NodeId};
use super::isa::{Arith, Kernel};
use super::kernels::{LANES, Lanes};
use super::rng::Rng;

/// How many scales the weights of a layer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightScale {
    /// One per output: `max |row| / (2^(bits-1) - 1)`.
    PerOutput,
    /// One per layer.
    PerTensor,
}

/// A layer for an integer kernel: `y[o] ≈ scale[o] · Σ weights[o][i] · x[i] + bias[o]`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedLayer {
    /// Inputs per output.
    pub n_in: usize,
    /// Outputs.
    pub n_out: usize,
    /// `[n_out × n_in]`, within `±(2^(bits-1) - 1)`.
    pub weights: Vec<i16>,
    /// `[n_out]`, also when the layer shares one scale.
    pub scale: Vec<f32>,
    /// `[n_out]`, zero where the layer has none.
    pub bias: Vec<f32>,
    /// Bits per weight; 8 or fewer fit `i8`.
    pub bits: u8,
}

impl QuantisedLayer {
    /// A dense layer from float weights `[n_out × n_in]`; `bias` may be empty.
    pub fn from_weights(weights: &[f32], n_in: usize, bias: &[f32], bits: u8, per: WeightScale) -> Self {
        let n_out = weights.len() / n_in;
        let mut scale = Vec::with_capacity(n_out);
        let mut integers = Vec::with_capacity(weights.len());
        for (row, s) in weights.chunks_exact(n_in).zip(scales(weights, n_in, bits, per)) {
            integers.extend(row.iter().map(|w| round(w / s) as i16));
            scale.push(s);
        }
        let bias = if bias.is_empty() { vec![0.0; n_out] } else { bias.to_vec() };
        Self { n_in, n_out, weights: integers, scale, bias, bits }
    }

    /// The weights the integers stand for, `[n_out × n_in]`.
    pub fn dequantised(&self) -> Vec<f32> {
        let rows = self.weights.chunks_exact(self.n_in).zip(&self.scale);
        rows.flat_map(|(row, s)| row.iter().map(move |&w| f32::from(w) * s)).collect()
    }
}

impl Net {
    /// The integers a dense or convolution node computes with; `None` for other nodes or while its weights
    /// are not rounded.
    pub fn quantised(&self, node: NodeId) -> Option<QuantisedLayer> {
        let layer = self.layer(node)?;
        let (bits, per) = layer.rounded?;
        Some(QuantisedLayer::from_weights(self.weights(node), layer.n_in, self.biases(node), bits, per))
    }
}

/// Rounds weights `[n_out × n_in]` in place to the values their integers stand for.
pub(super) fn round_weights(weights: &mut [f32], n_in: usize, bits: u8, per: WeightScale) {
    let top = top(bits);
    let whole = peak(weights);
    for row in weights.chunks_exact_mut(n_in) {
        let s = scale(if per == WeightScale::PerTensor { whole } else { peak(row) }, top);
        row.iter_mut().for_each(|w| *w = round(*w / s) * s);
    }
}

fn scales(weights: &[f32], n_in: usize, bits: u8, per: WeightScale) -> impl Iterator<Item = f32> + '_ {
    let whole = peak(weights);
    let rows = weights.chunks_exact(n_in);
    rows.map(move |row| scale(if per == WeightScale::PerTensor { whole } else { peak(row) }, top(bits)))
}

pub(super) fn top(bits: u8) -> f32 {
    ((1i32 << (bits - 1)) - 1) as f32
}

pub(super) fn peak(w: &[f32]) -> f32 {
    w.iter().fold(0.0f32, |m, w| if w.abs() > m { w.abs() } else { m })
}

/// Weights of zero may have any scale.
pub(super) fn scale(peak: f32, top: f32) -> f32 {
    if peak > 0.0 { peak / top } else { 1.0 }
}

/// To the nearest integer, halves to even, for `|x| < 2²²`; without a library call.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// `y = clamp(round(x · scale), lo, hi) / scale`, a range per feature. `scale` is a power of two.
pub(super) struct Round<'a> {
    pub(super) x: &'a [Lanes],
    pub(super) y: &'a mut [Lanes],
    pub(super) scale: f32,
    pub(super) range: &'a [(f32, f32)],
}

impl Kernel for Round<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let back = 1.0 / self.scale;
        for ((x, y), &(lo, hi)) in self.x.iter().zip(self.y).zip(self.range) {
            for l in 0..LANES {
                // The ends are integers: clamping first gives the same and keeps `round` in its domain.
                let v = x.0[l] * self.scale;
                let v = if v < lo {
                    lo
                } else if v > hi {
                    hi
                } else {
                    v
                };
                y.0[l] = round(v) * back;
            }
        }
    }
}

/// The gradient of [`Round`]: passes where `x` lay within half a step of the range, stops beyond.
pub(super) struct StraightThrough<'a> {
    pub(super) x: &'a [Lanes],
    pub(super) dy: &'a [Lanes],
    pub(super) dx: &'a mut [Lanes],
    pub(super) scale: f32,
    pub(super) range: &'a [(f32, f32)],
    pub(super) first: bool,
}

impl Kernel for StraightThrough<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let keep = if self.first { 0.0 } else { 1.0 };
        for (((x, dy), dx), &(lo, hi)) in self.x.iter().zip(self.dy).zip(self.dx).zip(self.range) {
            let (lo, hi) = (lo - 0.5, hi + 0.5);
            for l in 0..LANES {
                let v = x.0[l] * self.scale;
                let g = if v >= lo && v <= hi { dy.0[l] } else { 0.0 };
                dx.0[l] = if keep == 0.0 { g } else { dx.0[l] + g };
            }
        }
    }
}

/// `y = clamp(x, lo, hi) + noise`, uniform in ±½: what rounding does to a signal wide against the step.
pub(super) fn add_noise(x: &[Lanes], y: &mut [Lanes], range: &[(f32, f32)], rng: &mut Rng) {
    for ((x, y), &(lo, hi)) in x.iter().zip(y).zip(range) {
        for (x, y) in x.0.iter().zip(&mut y.0) {
            let v = if *x < lo {
                lo
            } else if *x > hi {
                hi
            } else {
                *x
            };
            *y = v + rng.uniform() - 0.5;
        }
    }
}
