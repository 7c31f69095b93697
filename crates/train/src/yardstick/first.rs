//! The first value of each channel in a window, the same way as on our own rungs: against a prediction from the
//! channels already known, in a histogram with open ends.

use kinglet_codec::learn::{FirstPart, Lattice, Stop};

use super::tables::{Alphabet, Spec};
use super::walk::{Walker, unbounded};
use crate::fit::{Rows, Shaping, learn_first};

/// How each channel's first value is coded.
#[derive(Clone, Debug)]
pub(super) struct Firsts {
    spans: Vec<i32>,
    parts: Vec<FirstPart>,
}

impl Firsts {
    /// On multiples of `spans`, smoothed by `spread` deviations.
    pub(super) fn learn(rows: &Rows, spans: &[i32], spread: f64) -> Self {
        let lattices: Vec<Lattice> =
            spans.iter().map(|&span| Lattice { step: span as u32, phase: 0 }).collect();
        let parts =
            (0..spans.len()).map(|idx| learn_first(rows, idx, &lattices, Shaping::smooth(spread))).collect();
        Self { spans: spans.to_vec(), parts }
    }

    /// The table of channel `idx`.
    pub(super) fn spec(&self, idx: usize) -> Spec {
        Spec { parent: None, alphabet: Alphabet::Given(self.parts[idx].weights.clone()) }
    }

    /// Bytes beside the tables.
    pub(super) fn static_len(&self) -> usize {
        self.parts.iter().map(|p| 9 + 2 * p.coefs.len()).sum()
    }

    /// Codes `x`, the value of channel `idx`, in table `table`; returns the multiple of the span nearest to it.
    /// `earlier`: the first values of the channels before.
    pub(super) fn code(
        &self,
        w: &mut impl Walker,
        table: usize,
        idx: usize,
        earlier: &[i32],
        x: i32,
    ) -> Result<i32, Stop> {
        let (part, span) = (&self.parts[idx], self.spans[idx]);
        let mut sum = 0i64;
        for (c, &value) in earlier.iter().enumerate() {
            sum += i64::from(part.coefs[c]) * (i64::from(value) - i64::from(self.parts[c].mean));
        }
        let nearest = |x: i32| x.wrapping_add(span / 2).div_euclid(span);
        let predicted = nearest((i64::from(part.mean) + (sum >> 8)).clamp(-(1 << 27), 1 << 27) as i32);
        let n_bins = (part.weights.len() - 2) as i32;
        let first = predicted + part.bin_first;
        let end = first + (n_bins << part.bin_shift);
        let r = nearest(x);
        let sym = match r {
            _ if r < first => n_bins,
            _ if r >= end => n_bins + 1,
            _ => (r - first) >> part.bin_shift,
        };
        let sym = w.symbol(table, sym as usize)? as i32;
        let r = if sym == n_bins {
            first - 1 - unbounded(w, first.wrapping_sub(1).wrapping_sub(r) as u32)? as i32
        } else if sym == n_bins + 1 {
            end + unbounded(w, r.wrapping_sub(end) as u32)? as i32
        } else {
            let bin = first + (sym << part.bin_shift);
            let n_bits = u32::from(part.bin_shift);
            bin + w.bits(n_bits, r.wrapping_sub(bin) as u32 & ((1 << n_bits) - 1))? as i32
        };
        Ok(r.wrapping_mul(span))
    }
}
