//! Like Sprintz (Blalock, Madden & Guttag, *Sprintz: Time series compression for the Internet of Things*, 2018):
//! prediction, zigzag, and blocks of eight residuals packed at the width of the widest, without trained tables.

use kinglet_codec::learn::Stop;

use super::pieces::Widths;
use super::tables::Spec;
use super::walk::{Walk, Walker};
use crate::fit::Rows;

/// Residuals in a block.
const BLOCK: usize = 8;
/// Bits of a block's width; the widest pattern stands for 32 bits.
const WIDTH_BITS: u32 = 4;

/// Block packing behind a prediction.
pub(super) struct Sprintz {
    spans: Vec<i32>,
    widths: Widths,
    n_samples: usize,
    /// Continues the last difference instead of holding the last value.
    is_double: bool,
}

impl Sprintz {
    pub(super) fn learn(rows: &Rows, bounds: &[i32], n_samples: usize, is_double: bool) -> Self {
        let spans: Vec<i32> = bounds.iter().map(|e| 2 * e + 1).collect();
        let widths = Widths::learn(rows, &spans, n_samples);
        Self { spans, widths, n_samples, is_double }
    }

    fn predict(&self, steps: &[i32], t: usize, idx: usize) -> i32 {
        let n = self.spans.len();
        let last = steps[(t - 1) * n + idx];
        if self.is_double && t > 1 {
            let before = steps[(t - 2) * n + idx];
            return last.wrapping_add(last.wrapping_sub(before));
        }
        last
    }
}

impl Walk for Sprintz {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        let n = self.spans.len();
        for (idx, &span) in self.spans.iter().enumerate() {
            steps[idx] = self.widths.value(w, idx, span, steps[idx])?;
            let mut t = 1;
            while t < self.n_samples {
                let end = (t + BLOCK).min(self.n_samples);
                // The residuals first, as the closed loop makes them; a reader's mean nothing.
                let mut folded = [0u32; BLOCK];
                let truth: Vec<i32> = (t..end).map(|at| steps[at * n + idx]).collect();
                for at in t..end {
                    let predicted = self.predict(steps, at, idx);
                    let q = truth[at - t].wrapping_sub(predicted).wrapping_add(span / 2).div_euclid(span);
                    folded[at - t] = ((q << 1) ^ (q >> 31)) as u32;
                    steps[at * n + idx] = predicted.wrapping_add(q.wrapping_mul(span));
                }
                let widest = folded.iter().map(|f| 32 - f.leading_zeros()).max().unwrap_or(0);
                let width = w.bits(WIDTH_BITS, widest.min(15))?;
                let n_bits = if width == 15 { 32 } else { width };
                for at in t..end {
                    let f = folded[at - t];
                    let high = w.bits(n_bits.saturating_sub(16), if n_bits > 16 { f >> 16 } else { 0 })?;
                    let low = w.bits(n_bits.min(16), f & ((1 << n_bits.min(16)) - 1))?;
                    let f = high << 16 | low;
                    let q = (f >> 1) as i32 ^ -((f & 1) as i32);
                    let predicted = self.predict(steps, at, idx);
                    steps[at * n + idx] = predicted.wrapping_add(q.wrapping_mul(span));
                }
                t = end;
            }
        }
        Ok(())
    }

    fn specs(&self) -> Vec<Spec> {
        Vec::new()
    }

    fn static_len(&self) -> usize {
        self.widths.static_len()
    }
}
