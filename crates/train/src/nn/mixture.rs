//! Bits of a number under a mixture of logistic distributions and one probability given from outside.

#![allow(clippy::needless_range_loop, reason = "counted loops over arrays are what the compiler unrolls")]

use super::isa::{Arith, Kernel};
use super::{LANES, Lanes, Loss, LossView, math};

/// Components.
const K: usize = 3;
/// Outputs a network needs for [`MixtureLoss`]: offsets, binary logarithms of scales, and logits to base 2 of the
/// components; then the logit of what is given from outside.
pub const MIXTURE_OUTPUTS: usize = 3 * K + 1;
/// Probability that everything has, so that no example pulls without limit: about what a coder keeps for each symbol.
const FLOOR: f32 = 1.5e-5;
/// Scales beyond `2^±LOG_MAX` are not believed.
const LOG_MAX: f32 = 12.0;

/// Bits of target 0 less each component's own prediction in output 1 (`[COMPONENTS]`), known to lie within `half` of it, where target 1 is the probability that stands beside the
/// components (PixelCNN++, Salimans et al. 2017, with one component more).
#[derive(Clone, Copy, Debug)]
pub struct MixtureLoss {
    /// Half the interval a target stands for.
    pub half: f32,
}

impl Loss for MixtureLoss {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        let (isa, half) = (view.isa, self.half);
        let mut linear = [Lanes::ZERO; K];
        linear.copy_from_slice(view.head(1).value);
        let mut by_linear = [Lanes::ZERO; K];
        let head = view.head(0);
        let mut total = Lanes::ZERO;
        isa.run(Bits {
            out: head.value,
            linear: &linear,
            y: &head.target[0],
            beside: &head.target[1],
            half,
            scale: head.scale,
            grad: head.grad,
            total: &mut total,
        });
        by_linear.copy_from_slice(&head.grad[..K]);
        view.head(1).grad.copy_from_slice(&by_linear);
        total
    }
}

struct Bits<'a> {
    out: &'a [Lanes],
    linear: &'a [Lanes],
    y: &'a Lanes,
    beside: &'a Lanes,
    half: f32,
    scale: f32,
    grad: &'a mut [Lanes],
    total: &'a mut Lanes,
}

impl Kernel for Bits<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        const LN_2: f32 = std::f32::consts::LN_2;
        let zero = [0.0f32; LANES];
        let logits = &self.out[2 * K..];
        let (mut raw, mut sum) = ([zero; K + 1], zero);
        let mut top = logits[0].0;
        for logit in &logits[1..=K] {
            for l in 0..LANES {
                top[l] = if logit.0[l] > top[l] { logit.0[l] } else { top[l] };
            }
        }
        for (raw, logit) in raw.iter_mut().zip(logits) {
            for l in 0..LANES {
                raw[l] = math::exp::<A>((logit.0[l] - top[l]) * LN_2);
                sum[l] += raw[l];
            }
        }
        let (mut p, mut mass, mut by_mean, mut by_log) = (zero, [zero; K], [zero; K], [zero; K]);
        for k in 0..K {
            let (mean, log) = (&self.out[k].0, &self.out[K + k].0);
            for l in 0..LANES {
                let log = if log[l] > LOG_MAX { LOG_MAX } else { log[l] };
                let log = if log < -LOG_MAX { -LOG_MAX } else { log };
                let inverse = math::exp::<A>(-LN_2 * log);
                let off = self.y.0[l] - mean[l] - self.linear[k].0[l];
                // On one side of the mean only, where small probabilities keep their digits.
                let distance = off.abs();
                let (near, far) = ((distance - self.half) * inverse, (distance + self.half) * inverse);
                let (s_near, s_far) = (math::sigmoid::<A>(-near), math::sigmoid::<A>(-far));
                let (d_near, d_far) = (s_near * (1.0 - s_near), s_far * (1.0 - s_far));
                mass[k][l] = s_near - s_far;
                let slope = (d_near - d_far) * inverse;
                by_mean[k][l] = if off < 0.0 { -slope } else { slope };
                by_log[k][l] = (d_near * near - d_far * far) * LN_2;
                p[l] += raw[k][l] * mass[k][l];
            }
        }
        let (mut outer, mut share) = (zero, zero);
        for l in 0..LANES {
            share[l] = 1.0 / sum[l];
            p[l] = (p[l] + raw[K][l] * self.beside.0[l]) * share[l];
            let all = p[l] + FLOOR;
            self.total.0[l] = -std::f32::consts::LOG2_E * math::ln::<A>(all);
            outer[l] = -self.scale / (all * LN_2);
        }
        for k in 0..K {
            for l in 0..LANES {
                let weight = outer[l] * raw[k][l] * share[l];
                self.grad[k].0[l] = weight * by_mean[k][l];
                self.grad[K + k].0[l] = weight * by_log[k][l];
                self.grad[2 * K + k].0[l] = weight * (mass[k][l] - p[l]) * LN_2;
            }
        }
        for l in 0..LANES {
            let weight = outer[l] * raw[K][l] * share[l];
            self.grad[3 * K].0[l] = weight * (self.beside.0[l] - p[l]) * LN_2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    fn bits(out: &[f32; MIXTURE_OUTPUTS], y: f32, beside: f32, isa: Isa) -> (f32, [f32; MIXTURE_OUTPUTS]) {
        let lanes: Vec<Lanes> = out.iter().map(|&x| Lanes([x; LANES])).collect();
        let (mut grad, mut total) = (vec![Lanes::ZERO; MIXTURE_OUTPUTS], Lanes::ZERO);
        isa.run(Bits {
            out: &lanes,
            linear: &[Lanes([0.1; LANES]); K],
            y: &Lanes([y; LANES]),
            beside: &Lanes([beside; LANES]),
            half: 0.3,
            scale: 1.0,
            grad: &mut grad,
            total: &mut total,
        });
        (total.0[3], std::array::from_fn(|i| grad[i].0[5]))
    }

    #[test]
    fn gradients_agree_with_differences() {
        let out = [0.1, -0.7, 0.4, -1.0, 0.3, 1.2, 0.5, -0.2, 0.1, -0.4];
        for isa in Isa::available() {
            for (y, beside) in [(-3.0, 0.0), (-0.2, 0.4), (0.0, 0.9), (0.45, 0.1), (6.0, 1e-4)] {
                let (_, grad) = bits(&out, y, beside, isa);
                for at in 0..MIXTURE_OUTPUTS {
                    let moved = |by: f32| {
                        let mut moved = out;
                        moved[at] += by;
                        f64::from(bits(&moved, y, beside, isa).0)
                    };
                    let slope = (moved(4e-3) - moved(-4e-3)) / 8e-3;
                    let close = (slope - f64::from(grad[at])).abs() < 2e-3 * (1.0 + slope.abs());
                    assert!(close, "{y} {at}: {slope} {}", grad[at]);
                }
            }
        }
    }

    #[test]
    fn probabilities_add_up() {
        let out = [0.3, -0.9, 0.0, -1.0, 0.5, 1.0, 0.0, 1.0, -1.0, -30.0];
        let sum: f64 = (-400..400)
            .map(|i| libm::exp2(-f64::from(bits(&out, i as f32 * 0.6, 0.0, Isa::detect()).0)))
            .sum();
        assert!((sum - 1.0).abs() < 0.02, "{sum}");
    }
}
