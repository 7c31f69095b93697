//! Piecewise constant and piecewise linear coders, one channel after the other.
//!
//! PMC (Lazaridis & Mehrotra, *Capturing sensor-generated time series with quality guarantees*, ICDE 2003) holds a
//! value for as long as it stays within the bound of every reading. LTC (Schoellhammer et al., *Lightweight temporal
//! compression of microclimate datasets*, LCN 2004) draws lines between knots. Both with fixed widths as published,
//! PMC also with trained tables for lengths and differences.

use kinglet_codec::learn::Stop;

use super::first::Firsts;
use super::tables::Spec;
use super::walk::{Walk, Walker, signed};
use crate::fit::Rows;

/// Fixed widths: values of the trained range, lengths up to a window.
pub(super) struct Widths {
    lows: Vec<i32>,
    n_bits: Vec<u32>,
    length_bits: u32,
}

impl Widths {
    /// Values at distances of `spans`.
    pub(super) fn learn(rows: &Rows, spans: &[i32], n_samples: usize) -> Self {
        let range = |idx: usize| {
            let (low, high) = rows.channel(idx).fold((i32::MAX, i32::MIN), |(l, h), x| (l.min(x), h.max(x)));
            (low, high.max(low))
        };
        let lows = (0..spans.len()).map(|idx| range(idx).0).collect();
        let n_bits = spans.iter().enumerate().map(|(idx, &span)| {
            let (low, high) = range(idx);
            // One pattern more, for what lies outside.
            u32::BITS - ((high.wrapping_sub(low) / span + 1) as u32).leading_zeros()
        });
        Self { lows, n_bits: n_bits.collect(), length_bits: bits_for(n_samples) }
    }

    /// Codes a value that lies `span` from its neighbours; outside of the trained range it takes 32 bits more.
    pub(super) fn value(&self, w: &mut impl Walker, idx: usize, span: i32, x: i32) -> Result<i32, Stop> {
        let n_bits = self.n_bits[idx];
        let outside = (1u32 << n_bits) - 1;
        let k = i64::from(x) - i64::from(self.lows[idx]);
        let k = (k + i64::from(span / 2)).div_euclid(i64::from(span));
        let is_inside = (0..i64::from(outside)).contains(&k);
        let sym = w.bits(n_bits, if is_inside { k as u32 } else { outside })?;
        if sym != outside {
            return Ok(self.lows[idx].wrapping_add((sym as i32).wrapping_mul(span)));
        }
        let high = w.bits(16, (x as u32) >> 16)?;
        Ok((high << 16 | w.bits(16, x as u32 & 0xffff)?) as i32)
    }

    fn length(&self, w: &mut impl Walker, len: usize) -> Result<usize, Stop> {
        Ok(w.bits(self.length_bits, (len - 1) as u32)? as usize + 1)
    }

    pub(super) fn static_len(&self) -> usize {
        5 * self.lows.len()
    }
}

/// Bits for `0..n`.
pub(super) fn bits_for(n: usize) -> u32 {
    usize::BITS - n.saturating_sub(1).leading_zeros()
}

/// Readings of one channel.
struct Column<'a> {
    steps: &'a mut [i32],
    n_channels: usize,
    idx: usize,
}

impl Column<'_> {
    fn get(&self, t: usize) -> i32 {
        self.steps[t * self.n_channels + self.idx]
    }

    fn set(&mut self, t: usize, x: i32) {
        self.steps[t * self.n_channels + self.idx] = x;
    }

    /// Samples from `t` on that a multiple of `spacing` is within `bound` of, and the lowest and highest such multiple.
    fn run(&self, t: usize, n_samples: usize, bound: i32, spacing: i32) -> (usize, i32, i32) {
        let (mut low, mut high) = (i32::MIN, i32::MAX);
        let mut found = (1, 0, 0);
        for at in t..n_samples {
            let x = self.get(at);
            low = low.max(x.wrapping_sub(bound));
            high = high.min(x.wrapping_add(bound));
            let first = low.wrapping_add(spacing - 1).div_euclid(spacing).wrapping_mul(spacing);
            let last = high.div_euclid(spacing).wrapping_mul(spacing);
            if first > last {
                break;
            }
            found = (at - t + 1, first, last);
        }
        found
    }
}

/// PMC with fixed widths.
pub(super) struct Pmc {
    bounds: Vec<i32>,
    widths: Widths,
    n_samples: usize,
}

impl Pmc {
    pub(super) fn learn(rows: &Rows, bounds: &[i32], n_samples: usize) -> Self {
        // Half the quantiser's step, so that most runs have a value that fits.
        let spacings: Vec<i32> = bounds.iter().map(|e| e + 1).collect();
        Self { bounds: bounds.to_vec(), widths: Widths::learn(rows, &spacings, n_samples), n_samples }
    }
}

impl Walk for Pmc {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        let n_channels = self.bounds.len();
        for (idx, &bound) in self.bounds.iter().enumerate() {
            let mut column = Column { steps, n_channels, idx };
            let (low, spacing) = (self.widths.lows[idx], bound + 1);
            let mut t = 0;
            while t < self.n_samples {
                let shifted = Shifted { column: &column, by: low };
                let (len, value) = shifted.run(t, self.n_samples, bound, spacing);
                let len = self.widths.length(w, len)?.min(self.n_samples - t);
                let value = self.widths.value(w, idx, spacing, value)?;
                (t..t + len).for_each(|at| column.set(at, value));
                t += len;
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

/// A column on multiples of a spacing counted from `by`.
struct Shifted<'a, 'b> {
    column: &'a Column<'b>,
    by: i32,
}

impl Shifted<'_, '_> {
    fn run(&self, t: usize, n_samples: usize, bound: i32, spacing: i32) -> (usize, i32) {
        let (mut low, mut high) = (i32::MIN, i32::MAX);
        let mut found = (1, 0);
        for at in t..n_samples {
            let x = self.column.get(at).wrapping_sub(self.by);
            low = low.max(x.wrapping_sub(bound));
            high = high.min(x.wrapping_add(bound));
            let first = low.wrapping_add(spacing - 1).div_euclid(spacing).wrapping_mul(spacing);
            if first > high {
                break;
            }
            found = (at - t + 1, first.wrapping_add(self.by));
        }
        found
    }
}

/// PMC with trained tables: how long, and how far from the value before.
pub(super) struct PmcAc {
    n_channels: usize,
    n_samples: usize,
    bounds: Vec<i32>,
    /// Distance of the values that may be held.
    spacings: Vec<i32>,
    firsts: Firsts,
    is_pooled: bool,
}

/// What is tried in learning it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PmcParams {
    /// Values within the bound of a reading.
    pub(super) divisor: f64,
    pub(super) spread: f64,
    pub(super) is_pooled: bool,
}

/// Length tables by what came before: first run, then class of its length and way of its step.
const LENGTHS: usize = 1 + RUNS * 2;
/// Difference tables: sign of the step before, class of the run before.
const STEPS: usize = 3 * RUNS;
const RUNS: usize = 4;
const PIECE_TABLES: usize = LENGTHS + 1 + STEPS + 1;

impl PmcAc {
    pub(super) fn learn(rows: &Rows, bounds: &[i32], n_samples: usize, params: PmcParams) -> Self {
        let spacing = |e: &i32| ((f64::from(2 * e + 1) / params.divisor) as i32).max(1);
        let spacings: Vec<i32> = bounds.iter().map(spacing).collect();
        Self {
            n_channels: rows.n_channels,
            n_samples,
            bounds: bounds.to_vec(),
            firsts: Firsts::learn(rows, &spacings, params.spread),
            spacings,
            is_pooled: params.is_pooled,
        }
    }
}

impl Walk for PmcAc {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        let n = self.n_samples;
        let mut firsts = [0; kinglet_codec::CHANNELS_MAX];
        for idx in 0..self.n_channels {
            let (bound, spacing) = (self.bounds[idx], self.spacings[idx]);
            let base = self.n_channels + if self.is_pooled { 0 } else { idx * PIECE_TABLES };
            let mut column = Column { steps, n_channels: self.n_channels, idx };
            let (mut t, mut last, mut step, mut run) = (0, 0, 0i32, 0usize);
            while t < n {
                let (len, low, high) = column.run(t, n, bound, spacing);
                // Of the values that hold as long, the nearest to the last, or the middle.
                let middle = low.wrapping_add(high.wrapping_sub(low) / spacing / 2 * spacing);
                let wanted = if t == 0 { middle } else { last.clamp(low, high.max(low)) };
                let value = if t == 0 {
                    firsts[idx] = self.firsts.code(w, idx, idx, &firsts[..idx], wanted)?;
                    firsts[idx]
                } else {
                    let table = base + LENGTHS + 1 + (step.signum() + 1) as usize * RUNS + run_class(run);
                    step = signed(w, table, wanted.wrapping_sub(last).div_euclid(spacing))?;
                    last.wrapping_add(step.wrapping_mul(spacing))
                };
                let table = if t == 0 {
                    base
                } else {
                    base + 1 + run_class(run) * 2 + usize::from(step.unsigned_abs() > 1)
                };
                // A run to the end is a symbol of its own, however long.
                let sym = if t + len >= n { n - 1 } else { len - 1 };
                run = (w.symbol(table, sym)? + 1).min(n - t);
                (t..t + run).for_each(|at| column.set(at, value));
                t += run;
                last = value;
            }
        }
        Ok(())
    }

    fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = (0..self.n_channels).map(|idx| self.firsts.spec(idx)).collect();
        for _ in 0..if self.is_pooled { 1 } else { self.n_channels } {
            let base = specs.len();
            let (lengths, steps) = (base + LENGTHS, base + PIECE_TABLES - 1);
            specs.extend((0..LENGTHS).map(|_| Spec::plain(self.n_samples, Some(lengths))));
            specs.push(Spec::plain(self.n_samples, None));
            specs.extend((0..STEPS).map(|_| Spec::signed(Some(steps))));
            specs.push(Spec::signed(None));
        }
        specs
    }

    fn static_len(&self) -> usize {
        self.firsts.static_len()
    }
}

fn run_class(run: usize) -> usize {
    [1, 3, 8].iter().filter(|&&top| run > top).count()
}

/// LTC: lines between knots on the grid.
pub(super) struct Ltc {
    bounds: Vec<i32>,
    widths: Widths,
    n_samples: usize,
}

impl Ltc {
    pub(super) fn learn(rows: &Rows, bounds: &[i32], n_samples: usize) -> Self {
        let ones = vec![1; bounds.len()];
        Self { bounds: bounds.to_vec(), widths: Widths::learn(rows, &ones, n_samples), n_samples }
    }
}

impl Walk for Ltc {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        for (idx, &bound) in self.bounds.iter().enumerate() {
            let mut column = Column { steps, n_channels: self.bounds.len(), idx };
            let mut knot = self.widths.value(w, idx, 1, column.get(0))?;
            column.set(0, knot);
            let mut t = 0;
            while t + 1 < self.n_samples {
                let (len, end) = line(&column, t, knot, self.n_samples, bound);
                let len = self.widths.length(w, len)?.min(self.n_samples - 1 - t);
                let end = self.widths.value(w, idx, 1, end)?;
                for at in 1..=len {
                    column.set(t + at, on_line(knot, end, at, len));
                }
                (knot, t) = (end, t + len);
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

/// The longest line from `knot` at `t` that keeps the bound: its length and the knot at its end.
fn line(column: &Column<'_>, t: usize, knot: i32, n_samples: usize, bound: i32) -> (usize, i32) {
    let mut found = (1, column.get(t + 1));
    // Slopes that keep the bound so far; a rounded value may lie half a step further off.
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    let reach = f64::from(bound) + 0.499;
    for at in t + 1..n_samples {
        let (run, rise) = ((at - t) as f64, f64::from(column.get(at)) - f64::from(knot));
        low = low.max((rise - reach) / run);
        high = high.min((rise + reach) / run);
        if low > high {
            break;
        }
        let (first, last) = ((low * run).ceil(), (high * run).floor());
        if first <= last {
            let end = knot.wrapping_add(((low + high) / 2.0 * run).round().clamp(first, last) as i32);
            let within = |k: usize| {
                let value = on_line(knot, end, k, at - t);
                value.wrapping_sub(column.get(t + k)).unsigned_abs() <= bound as u32
            };
            if (1..=at - t).all(within) {
                found = (at - t, end);
            }
        }
    }
    found
}

/// The line's value at `at` of `len`, rounded.
fn on_line(from: i32, to: i32, at: usize, len: usize) -> i32 {
    let rise = (i64::from(to) - i64::from(from)) * at as i64;
    let len = len as i64;
    (i64::from(from) + (2 * rise + len).div_euclid(2 * len)) as i32
}
