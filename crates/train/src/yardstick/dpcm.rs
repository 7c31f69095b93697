//! `last+ctx` and `LPC+ctx`: closed-loop prediction, the residual coded in trained contexts.
//!
//! The context is how large the last two residuals were, the sign of the last that was not zero, and where the
//! last value lay on a coarser step than the grid's: many sensors count coarser than they are written down.

use kinglet_codec::learn::Stop;

use super::first::Firsts;
use super::linear::Linear;
use super::tables::Spec;
use super::walk::{Walk, Walker, signed};
use crate::fit::Rows;

/// Activity classes.
const LEVELS: usize = 9;
/// Signs of the last residual that was not zero.
const SIGNS: usize = 3;
/// Most phases of the coarser step.
const PHASES: usize = 4;
/// Tables of a channel after its first value: warm-up ones, then a table for each context, then those they lean on.
const WARM_UP: usize = 1 + LEVELS * SIGNS;
const CONTEXTS: usize = LEVELS * SIGNS * PHASES;
const TABLES: usize = WARM_UP + CONTEXTS + LEVELS * SIGNS + LEVELS + 1;

/// What is tried in learning it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params {
    /// Smoothing of first values.
    pub(super) spread: f64,
    /// One set of tables for all channels.
    pub(super) is_pooled: bool,
    /// Whether phases are told apart.
    pub(super) has_phase: bool,
}

/// Either of the two.
pub(super) struct Dpcm {
    n_channels: usize,
    /// Quantiser steps, `2E + 1`.
    spans: Vec<i32>,
    firsts: Firsts,
    /// `None`: the last value.
    linear: Option<Linear>,
    /// Upper ends of the activity classes of each channel.
    levels: Vec<Vec<u32>>,
    /// The coarser step of each channel, 1 for none.
    moduli: Vec<i32>,
    is_pooled: bool,
}

/// What is remembered of a channel.
#[derive(Clone, Copy, Default)]
struct State {
    /// The last residuals.
    last: [i32; 2],
    sign: i32,
}

impl State {
    fn push(&mut self, q: i32) {
        self.last = [q, self.last[0]];
        self.sign = if q == 0 { self.sign } else { q.signum() };
    }

    fn activity(&self) -> u32 {
        let [a, b] = self.last.map(i32::unsigned_abs);
        a.saturating_mul(2).saturating_add(b)
    }
}

impl Dpcm {
    /// Learns predictions and classes; the tables come after.
    pub(super) fn learn(
        rows: &Rows,
        bounds: &[i32],
        n_samples: usize,
        is_linear: bool,
        params: Params,
    ) -> Self {
        let n_channels = rows.n_channels;
        let spans: Vec<i32> = bounds.iter().map(|e| 2 * e + 1).collect();
        let linear = is_linear.then(|| Linear::learn(rows, &spans, n_samples));
        let mut this = Self {
            n_channels,
            firsts: Firsts::learn(rows, &spans, params.spread),
            linear,
            levels: vec![Vec::new(); n_channels],
            moduli: vec![1; n_channels],
            spans,
            is_pooled: params.is_pooled,
        };
        let activities = this.activities(rows, n_samples);
        this.levels = activities.into_iter().map(levels).collect();
        if params.has_phase {
            this.moduli = (0..n_channels).map(|idx| coarser_step(rows, idx)).collect();
        }
        this
    }

    fn predict(&self, steps: &[i32], t: usize, idx: usize) -> i32 {
        let last = steps[(t - 1) * self.n_channels + idx];
        match &self.linear {
            Some(linear) => linear.predict(steps, t, idx),
            None => last,
        }
    }

    /// Activities of each channel on its own path.
    fn activities(&self, rows: &Rows, n_samples: usize) -> Vec<Vec<u32>> {
        let mut seen = vec![Vec::new(); self.n_channels];
        let mut steps = Vec::new();
        for window in rows.windows(n_samples) {
            steps.clear();
            steps.extend_from_slice(window);
            let mut states = vec![State::default(); self.n_channels];
            for at in self.n_channels..steps.len() {
                let (t, idx) = (at / self.n_channels, at % self.n_channels);
                let (predicted, span) = (self.predict(&steps, t, idx), self.spans[idx]);
                let q = residual(steps[at], predicted, span);
                steps[at] = predicted + q * span;
                states[idx].push(q);
                seen[idx].push(states[idx].activity());
            }
        }
        seen
    }

    /// The table of the residual at `t >= 1`.
    fn table(&self, t: usize, idx: usize, state: &State, last: i32) -> usize {
        let base = self.n_channels + if self.is_pooled { 0 } else { idx * TABLES };
        if t == 1 {
            return base;
        }
        let activity = state.activity();
        let level = self.levels[idx].iter().filter(|&&top| activity > top).count();
        let sign = (state.sign + 1) as usize;
        let context = level * SIGNS + sign;
        if t == 2 {
            return base + 1 + context;
        }
        let modulus = self.moduli[idx];
        let phase = last.rem_euclid(modulus) * PHASES as i32 / modulus;
        base + WARM_UP + context * PHASES + phase as usize
    }
}

impl Walk for Dpcm {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        let mut states = [State::default(); kinglet_codec::CHANNELS_MAX];
        for at in 0..steps.len() {
            let (t, idx) = (at / self.n_channels, at % self.n_channels);
            if t == 0 {
                steps[at] = self.firsts.code(w, idx, idx, &steps[..idx], steps[at])?;
                continue;
            }
            let (predicted, span) = (self.predict(steps, t, idx), self.spans[idx]);
            let table = self.table(t, idx, &states[idx], steps[at - self.n_channels]);
            let q = signed(w, table, residual(steps[at], predicted, span))?;
            steps[at] = predicted.wrapping_add(q.wrapping_mul(span));
            states[idx].push(q);
        }
        Ok(())
    }

    fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = (0..self.n_channels).map(|idx| self.firsts.spec(idx)).collect();
        for _ in 0..if self.is_pooled { 1 } else { self.n_channels } {
            let base = specs.len();
            let (by_context, by_level) = (base + WARM_UP + CONTEXTS, base + TABLES - 1 - LEVELS);
            let root = base + TABLES - 1;
            specs.push(Spec::signed(Some(root)));
            let warm_up = (0..LEVELS * SIGNS).map(|context| Spec::signed(Some(by_context + context)));
            specs.extend(warm_up);
            specs.extend((0..CONTEXTS).map(|context| Spec::signed(Some(by_context + context / PHASES))));
            specs.extend((0..LEVELS * SIGNS).map(|context| Spec::signed(Some(by_level + context / SIGNS))));
            specs.extend((0..LEVELS).map(|_| Spec::signed(Some(root))));
            specs.push(Spec::signed(None));
        }
        specs
    }

    fn static_len(&self) -> usize {
        let classes = self.n_channels * (LEVELS + 2);
        self.firsts.static_len() + self.linear.as_ref().map_or(0, Linear::static_len) + classes
    }
}

/// The residual, in steps of the quantiser.
fn residual(x: i32, predicted: i32, span: i32) -> i32 {
    x.wrapping_sub(predicted).wrapping_add(span / 2).div_euclid(span)
}

/// Upper ends of activity classes that hold about as much each, none twice.
fn levels(mut activities: Vec<u32>) -> Vec<u32> {
    activities.sort_unstable();
    let mut levels: Vec<u32> = Vec::new();
    let n = activities.len();
    let mut from = 0;
    while levels.len() < LEVELS - 1 && from < n {
        let left = LEVELS - levels.len();
        let top = activities[from + (n - from) / left.max(1) - usize::from(n - from >= left)];
        levels.push(top);
        from = activities.partition_point(|&a| a <= top);
    }
    levels
}

/// The coarser step whose phases tell most of the next move.
fn coarser_step(rows: &Rows, idx: usize) -> i32 {
    let values: Vec<i32> = rows.channel(idx).collect();
    let entropy = |modulus: i32| {
        let mut counts = std::collections::BTreeMap::<(i32, i32), f64>::new();
        let mut totals = [0.0f64; PHASES];
        for pair in values.windows(2).filter(|p| p[0] != p[1]) {
            let phase = pair[0].rem_euclid(modulus) * PHASES as i32 / modulus;
            *counts.entry((phase, (pair[1] - pair[0]).clamp(-64, 64))).or_default() += 1.0;
            totals[phase as usize] += 1.0;
        }
        // Each symbol that is told apart costs a prior's worth of learning.
        let spent: f64 =
            counts.iter().map(|(&(phase, _), &n)| n * (totals[phase as usize] / n).log2() + 6.0).sum();
        spent
    };
    let candidates = std::iter::once(1).chain(2..=64);
    candidates.map(|m| (entropy(m), m)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1, |best| best.1)
}
