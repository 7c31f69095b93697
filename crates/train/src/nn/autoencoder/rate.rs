//! What codes and residuals will cost in bits, smooth enough to be trained on (after Ballé et al. 2018).

use super::super::isa::{Arith, Kernel};
use super::super::quant::round;
use super::super::{LANES, Lanes, Loss, LossView, math};
use std::f32::consts::LOG2_E;

/// The narrowest spread that is believed, in steps.
const SPREAD_MIN: f32 = 0.1;

/// How fast spreads follow what they describe, per panel.
const FOLLOW: f32 = 0.02;

/// Bits of residuals (output 0 against the target) and codes (output 1), per window and per number of it.
///
/// Each is charged by a Laplace distribution over whole steps whose mean magnitude follows the training data.
#[derive(Clone, Debug)]
pub(super) struct RateLoss {
    /// `[n]`, one over the residual's step, in the windows' normalised units.
    inverse_steps: Vec<f32>,
    /// `[n]`, mean magnitude of the rounded residuals, in steps.
    residual_spreads: Vec<f32>,
    /// `[n_codes]`, mean magnitude of each code.
    pub(super) spreads: Vec<f32>,
}

impl RateLoss {
    /// For residual steps `[n]` and as many codes as `spreads`, which are first guesses.
    pub(super) fn new(steps: &[f32], spreads: Vec<f32>) -> Self {
        let inverse_steps = steps.iter().map(|s| 1.0 / s).collect();
        Self { inverse_steps, residual_spreads: vec![1.0; steps.len()], spreads }
    }
}

impl Loss for RateLoss {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        let (isa, n_live, training) = (view.isa, view.n_live(), view.is_training());
        let share = 1.0 / self.inverse_steps.len() as f32;
        let mut total = Lanes::ZERO;
        let head = view.head(0);
        if training {
            let each =
                head.value.iter().zip(head.target).zip(&self.inverse_steps).zip(&mut self.residual_spreads);
            for (((y, t), inverse), spread) in each {
                follow(spread, n_live, |l| round((y.0[l] - t.0[l]) * inverse));
            }
        }
        isa.run(Residuals {
            y: head.value,
            target: head.target,
            inverse_steps: &self.inverse_steps,
            spreads: &self.residual_spreads,
            scale: head.scale * share,
            grad: head.grad,
            total: &mut total,
        });
        let head = view.head(1);
        if training {
            for (z, spread) in head.value.iter().zip(&mut self.spreads) {
                follow(spread, n_live, |l| z.0[l]);
            }
        }
        let scale = head.scale * share;
        isa.run(Codes { z: head.value, spreads: &self.spreads, scale, grad: head.grad, total: &mut total });
        total.0.iter_mut().for_each(|t| *t *= share);
        total
    }
}

fn follow(spread: &mut f32, n_live: usize, value: impl Fn(usize) -> f32) {
    let mean = (0..n_live).map(|l| value(l).abs()).sum::<f32>() / n_live.max(1) as f32;
    *spread = (*spread + FOLLOW * (mean - *spread)).max(SPREAD_MIN);
}

struct Residuals<'a> {
    y: &'a [Lanes],
    target: &'a [Lanes],
    inverse_steps: &'a [f32],
    spreads: &'a [f32],
    scale: f32,
    grad: &'a mut [Lanes],
    total: &'a mut Lanes,
}

impl Kernel for Residuals<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let steps = self.inverse_steps.iter().zip(self.spreads);
        for (((y, t), g), (inverse, spread)) in self.y.iter().zip(self.target).zip(self.grad).zip(steps) {
            let law = Laplace::new::<A>(*spread);
            for l in 0..LANES {
                let (bits, slope) = law.bits::<A>((y.0[l] - t.0[l]) * inverse);
                self.total.0[l] += bits;
                g.0[l] = self.scale * inverse * slope;
            }
        }
    }
}

struct Codes<'a> {
    z: &'a [Lanes],
    spreads: &'a [f32],
    scale: f32,
    grad: &'a mut [Lanes],
    total: &'a mut Lanes,
}

impl Kernel for Codes<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        for ((z, g), spread) in self.z.iter().zip(self.grad).zip(self.spreads) {
            let law = Laplace::new::<A>(*spread);
            for l in 0..LANES {
                let (bits, slope) = law.bits::<A>(z.0[l]);
                self.total.0[l] += bits;
                g.0[l] = self.scale * slope;
            }
        }
    }
}

/// A Laplace distribution by its mean magnitude, in steps.
struct Laplace {
    inverse: f32,
    /// Bits half a step away from the middle.
    outside: f32,
}

impl Laplace {
    #[inline(always)]
    fn new<A: Arith>(spread: f32) -> Self {
        let inverse = 1.0 / spread;
        Self { inverse, outside: 1.0 - LOG2_E * math::ln::<A>(1.0 - math::exp::<A>(-inverse)) }
    }

    /// Bits of a value known to lie between `z - ½` and `z + ½`, and their slope in `z`: steep where rounding begins
    /// to see a value, flat where it does not.
    #[inline(always)]
    fn bits<A: Arith>(&self, z: f32) -> (f32, f32) {
        let a = z.abs();
        // Beyond half a step both ends lie on one side of the peak, within it on two.
        let near = 0.5 * math::exp::<A>((if a < 0.5 { a - 0.5 } else { 0.0 }) * self.inverse);
        let far = 0.5 * math::exp::<A>((-a - 0.5) * self.inverse);
        let p = 1.0 - near - far;
        let p = if p < 1e-6 { 1e-6 } else { p };
        let slope = LOG2_E * self.inverse;
        let within = (-LOG2_E * math::ln::<A>(p), slope * (near - far) / p);
        let beyond = (A::fma(a - 0.5, slope, self.outside), slope);
        let (bits, slope) = if a < 0.5 { within } else { beyond };
        (bits, if z < 0.0 { -slope } else { slope })
    }
}

/// Bits of integers drawn as `counts` says: their entropy times their number, for reports.
pub(super) fn entropy_bits(values: impl Iterator<Item = i32>) -> f64 {
    let mut counts = std::collections::BTreeMap::<i32, u64>::new();
    values.for_each(|v| *counts.entry(v).or_default() += 1);
    let n: u64 = counts.values().sum();
    counts.values().map(|&c| -(c as f64) * (c as f64 / n as f64).log2()).sum()
}
