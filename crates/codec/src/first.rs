//! The lattice a channel is coded on, and its first value in a window.
//!
//! A decoded value is `step · r + phase` with an integer `r`. The lattice may be finer than the bound asks
//! (`step < 2E + 1`): then several `r` lie within the bound, and the encoder chooses (`search.rs`).
//! The first `r` is coded against a trained linear prediction from the channels already known, in a histogram of
//! equal bins with open ends.

use crate::freq::{SYMBOLS_MAX, Table, ilog2};
use crate::model::Reader;
use crate::range::{BITS_MAX, Coder, Site, Stop, code_unbounded};

/// A channel's lattice: `value = step · r + phase`, in grid steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lattice {
    /// Distance of neighbours, `1..=2E + 1`.
    pub step: u32,
    /// Value at `r = 0`, below `step` in magnitude.
    pub phase: i32,
}

impl Lattice {
    /// Bytes in a model.
    pub(crate) const LEN: usize = 8;

    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        Self { step: reader.u32().unwrap_or(1), phase: reader.i32().unwrap_or(0) }
    }

    /// The decoded value, in grid steps; `None` beyond what a grid can say.
    pub fn value(&self, r: i32) -> Option<i32> {
        let value = i64::from(self.step) * i64::from(r) + i64::from(self.phase);
        i32::try_from(value).ok().filter(|&v| crate::is_step(v))
    }

    /// First and last `r` whose value lies within `bound` of `x`; none when first > last.
    pub fn candidates(&self, x: i32, bound: i32) -> (i32, i32) {
        (self.lowest(x, bound), (x + bound - self.phase).div_euclid(self.step as i32))
    }

    /// The first of [`Lattice::candidates`].
    pub(crate) fn lowest(&self, x: i32, bound: i32) -> i32 {
        let step = self.step as i32;
        (x - bound - self.phase + step - 1).div_euclid(step)
    }

    /// The `r` nearest to `x`.
    pub(crate) fn nearest(&self, x: i32) -> i32 {
        let step = self.step as i32;
        (x - self.phase + step / 2).div_euclid(step)
    }
}

/// Most channels a prediction can look at, by the model's limit.
const COEFS_MAX: usize = crate::CHANNELS_MAX - 1;

/// How the first value of one channel is coded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First<'a> {
    /// Mean in grid steps.
    pub(crate) mean: i32,
    /// Q8 weights on the earlier channels' deviations from their means, as i16 LE.
    coefs: &'a [u8],
    /// `r` of the first bin's first member, relative to the prediction.
    bin_first: i32,
    /// A bin holds `2^bin_shift` neighbours.
    bin_shift: u32,
    /// Bins, then "below", then "above".
    table: Table<'a>,
    /// The bin that is symbol 0; the others follow, round to the one before it.
    zero: i32,
}

impl<'a> First<'a> {
    pub(crate) fn parse(reader: &mut Reader<'a>, idx: usize) -> Option<Self> {
        let this = Self::checked(reader, idx)?;
        let ok = this.bin_shift <= BITS_MAX
            && (1..=SYMBOLS_MAX - 2).contains(&this.bins())
            && this.mean.unsigned_abs() <= crate::STEP_MAX.unsigned_abs()
            && this.bin_first.unsigned_abs() <= 1 << 26
            && this.table.is_sound();
        ok.then_some(this)
    }

    /// Reads what [`First::parse`] has accepted before: encoders do so for every window, many times.
    pub(crate) fn checked(reader: &mut Reader<'a>, idx: usize) -> Option<Self> {
        let mean = reader.i32()?;
        let coefs = reader.bytes(2 * idx.min(COEFS_MAX))?;
        let bin_first = reader.i32()?;
        let bin_shift = u32::from(reader.u8()?);
        let n_bins = usize::from(reader.u8()?);
        let table = Table::read(reader, n_bins + 2)?;
        Some(Self { mean, coefs, bin_first, bin_shift, table, zero: 0 })
    }

    /// Predicted grid step, from earlier channels' values minus their means.
    pub(crate) fn predict(&self, deviations: &[i32]) -> i32 {
        let mut reader = Reader(self.coefs);
        let mut sum = 0i64;
        for &deviation in deviations {
            sum += i64::from(reader.i16().unwrap_or(0)) * i64::from(deviation);
        }
        let limit = i64::from(crate::STEP_MAX);
        (i64::from(self.mean) + (sum >> 8)).clamp(-limit, limit) as i32
    }

    /// The same with another bin as symbol 0.
    pub(crate) fn beginning(self, bin: u8) -> Self {
        Self { zero: i32::from(bin), ..self }
    }

    /// Number of bins.
    pub(crate) fn bins(&self) -> usize {
        self.table.len() - 2
    }

    /// Codes `r` against `predicted`, both in lattice units.
    pub(crate) fn code(
        &self,
        coder: &mut dyn Coder,
        site: Site,
        predicted: i32,
        r: i32,
    ) -> Result<i32, Stop> {
        let n_bins = (self.table.len() - 2) as i32;
        let first = predicted + self.bin_first;
        let end = first.saturating_add(n_bins << self.bin_shift);
        let sym = match r {
            _ if r < first => n_bins,
            _ if r >= end => n_bins + 1,
            _ => (((r - first) >> self.bin_shift) - self.zero).rem_euclid(n_bins),
        };
        let sym = coder.symbol(site, self.table, sym as usize)? as i32;
        let r = if sym == n_bins {
            i64::from(first) - 1 - i64::from(code_unbounded(coder, beyond(first - 1, r))?)
        } else if sym == n_bins + 1 {
            i64::from(end) + i64::from(code_unbounded(coder, beyond(r, end))?)
        } else {
            let bin = (sym + self.zero) % n_bins;
            let bin_first = first + (bin << self.bin_shift);
            let inside = (r.wrapping_sub(bin_first)) as u32 & ((1 << self.bin_shift) - 1);
            i64::from(bin_first) + i64::from(coder.bits(self.bin_shift, inside)?)
        };
        i32::try_from(r).map_err(|_| Stop)
    }

    /// Cost of `r` in sixteenths of a bit, for the encoder's search.
    pub(crate) fn cost(&self, predicted: i32, r: i32) -> u32 {
        let n_bins = (self.table.len() - 2) as i32;
        let first = predicted + self.bin_first;
        let end = first.saturating_add(n_bins << self.bin_shift);
        let gamma = |above: u32| 16 * (2 * ilog2(above + 1) + 1);
        match r {
            _ if r < first => self.table.cost(n_bins as usize) + gamma(beyond(first - 1, r)),
            _ if r >= end => self.table.cost(n_bins as usize + 1) + gamma(beyond(r, end)),
            _ => {
                let sym = (((r - first) >> self.bin_shift) - self.zero).rem_euclid(n_bins);
                self.table.cost(sym as usize) + 16 * self.bin_shift
            }
        }
    }
}

/// `a - b` of an open-ended bin; a decoder's `a` and `b` mean nothing and must not overflow.
fn beyond(a: i32, b: i32) -> u32 {
    a.wrapping_sub(b) as u32 & ((1 << 28) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_exactly_those_within_the_bound() {
        for (step, phase, bound) in [(1, 0, 0), (5, 0, 2), (5, -2, 2), (3, 1, 3), (2, 1, 2), (1, 0, 3)] {
            let lattice = Lattice { step, phase };
            for x in -30..30 {
                let (first, last) = lattice.candidates(x, bound);
                for r in -40..40 {
                    let within = (lattice.value(r).unwrap() - x).abs() <= bound;
                    assert_eq!(within, (first..=last).contains(&r), "{lattice:?} {x} {r}");
                }
                assert!(first <= last, "some value always fits when step <= 2 bound + 1");
            }
        }
    }
}
