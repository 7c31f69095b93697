//! Which lattice value to say: among all that lie within the bound, the path that codes shortest.
//!
//! Where the lattice is finer than the bound, each sample may be said in several ways, and what is said decides what
//! the next sample costs. A beam search keeps the few cheapest beginnings. Ranking gives a bonus to values that the
//! channel could hold for longer (rate–distortion optimised quantisation; trellis quantisation in video coders).
//! Only the encoder searches, so nothing here is part of the format.

use core::ops::RangeInclusive;

use crate::alphabet;
use crate::context::{self, Context, History, load, neighbour_of};
use crate::first::{First, Lattice};
use crate::grid::is_step;
use crate::model::Model;

/// Beginnings kept.
pub(crate) const BEAM: usize = 4;
/// Most lattice values within the bound.
pub(crate) const CANDIDATES_MAX: u32 = 8;
/// How far ahead a value's use is judged, in samples.
const AHEAD: i32 = 12;
/// Worth of each sample the value could be held for, in sixteenths of a bit.
const AHEAD_BONUS: i32 = 5;

/// Words of workspace: two generations of histories for each beginning.
pub(crate) fn workspace_len(n_channels: usize) -> usize {
    2 * BEAM * n_channels * History::WORDS
}

#[derive(Clone, Copy)]
struct Candidate {
    /// Cost less bonus: what the beam is ranked by.
    rank: i32,
    cost: i32,
    parent: u8,
    /// Which of the values within the bound.
    choice: u8,
}

/// A window's search.
pub(crate) struct Search<'a> {
    pub(crate) model: &'a Model<'a>,
    pub(crate) context: &'a Context<'a>,
    /// The window, sample-major grid steps.
    steps: &'a [i32],
    /// Lattice values of an earlier window that this one is coded after, sample-major; none for one that stands alone.
    past: &'a [i32],
    /// Of each channel: the lattice, and the bound less the reserve. Asked for with every value.
    channels: [(Lattice, i32); crate::CHANNELS_MAX],
}

impl<'a> Search<'a> {
    /// `reserve`: steps kept of each bound, 0 or 1.
    pub(crate) fn new(
        model: &'a Model<'a>,
        context: &'a Context<'a>,
        steps: &'a [i32],
        reserve: i32,
        past: &'a [i32],
    ) -> Self {
        let mut channels = [(Lattice { step: 1, phase: 0 }, 0); crate::CHANNELS_MAX];
        for (idx, channel) in channels.iter_mut().enumerate().take(model.channels()) {
            *channel = (model.lattice(idx), (model.bound_steps(idx) - reserve).max(0));
        }
        Self { model, context, steps, past, channels }
    }

    /// Fills `rs` with the path found; false if some value has no lattice value within its bound.
    ///
    /// `back`: a word per value. `beam`: [`workspace_len`] words.
    pub(crate) fn run(&self, rs: &mut [i32], back: &mut [i32], beam: &mut [i32]) -> bool {
        let Some(ends) = self.ends(None, rs, back, beam) else { return false };
        if let Some(costs) = ends {
            let mut best = 0;
            for (slot, &cost) in costs.iter().enumerate() {
                if cost < costs[best] {
                    best = slot;
                }
            }
            self.trace(rs, back, best);
        }
        true
    }

    /// What the paths kept cost at the window's end, to be had by [`Search::trace`], `i32::MAX` where there is none; no
    /// costs where `rs` holds the only path there is.
    ///
    /// `forced`: which of the lattice values within its bound the first value takes; the cheapest to go on from without.
    pub(crate) fn ends(
        &self,
        forced: Option<i32>,
        rs: &mut [i32],
        back: &mut [i32],
        beam: &mut [i32],
    ) -> Option<Option<[i32; BEAM]>> {
        let n_channels = self.model.channels();
        if self.channels[..n_channels].iter().all(|(lattice, bound)| lattice.step as i32 == 2 * bound + 1) {
            // One value within each bound: there is nothing to choose.
            for (at, (r, &x)) in rs.iter_mut().zip(self.steps).enumerate() {
                *r = if is_step(x) { self.channels[at % n_channels].0.nearest(x) } else { x };
            }
            return Some(None);
        }
        let mut forced = forced;
        let path_len = n_channels * History::WORDS;
        let (mut now, mut next) = beam.split_at_mut(BEAM * path_len);
        now.fill(0);
        context::begin(n_channels, self.past, now);
        let mut costs = [0i32; BEAM];
        let mut n_paths = 1;
        let mut kept = Kept::default();
        for (at, &x) in self.steps.iter().enumerate() {
            if !is_step(x) {
                continue;
            }
            let idx = at % n_channels;
            let (lattice, bound) = self.channels[idx];
            let (first_r, last_r) = lattice.candidates(x, bound);
            let mut last_r = last_r.min(first_r + CANDIDATES_MAX as i32 - 1);
            let mut from_r = first_r;
            if let Some(forced) = forced.take() {
                if first_r + forced > last_r {
                    return None;
                }
                (from_r, last_r) = (first_r + forced, first_r + forced);
            }
            let bonuses = self.bonuses(at, lattice, from_r..=last_r, bound);
            kept.len = 0;
            for parent in 0..n_paths {
                let histories = &now[parent * path_len..][..path_len];
                let pricing = self.pricing(idx, histories);
                for (r, bonus) in (from_r..=last_r).zip(bonuses) {
                    let cost = costs[parent] + pricing.cost(r) as i32;
                    let choice = (r - first_r) as u8;
                    kept.offer(Candidate { rank: cost - bonus, cost, parent: parent as u8, choice });
                }
            }
            // Beginnings that end alike differ in the past only: the cheapest stands for all.
            let (mut n_kept, mut word) = (0, 0u32);
            let own = idx * History::WORDS;
            for candidate in &kept.list[..kept.len] {
                if n_kept == BEAM {
                    break;
                }
                let parent = &now[usize::from(candidate.parent) * path_len..][..path_len];
                let (earlier, rest) = next.split_at_mut(n_kept * path_len);
                let r = first_r + i32::from(candidate.choice);
                let path = &mut rest[..path_len];
                // Histories one by one: where a copy is a call it takes longer.
                for (to, from) in path.as_chunks_mut().0.iter_mut().zip(parent.as_chunks().0) {
                    let [a, b, c, d] = *from;
                    *to = [a, b, c, d];
                }
                let mut history = load(path, idx);
                history.push(r);
                history.store(&mut path[own..]);
                // Few say the same value.
                let is_like = |other: &[i32]| other[own] == r && other.iter().eq(path.iter());
                if earlier.chunks_exact(path_len).any(is_like) {
                    continue;
                }
                costs[n_kept] = candidate.cost;
                word |= u32::from(candidate.parent | candidate.choice << 2) << (8 * n_kept);
                n_kept += 1;
            }
            if n_kept == 0 {
                return None;
            }
            n_paths = n_kept;
            back[at] = word as i32;
            core::mem::swap(&mut now, &mut next);
        }
        costs[n_paths..].fill(i32::MAX);
        Some(Some(costs))
    }

    /// Follows the back pointers of the path that ends in slot `best`.
    pub(crate) fn trace(&self, rs: &mut [i32], back: &[i32], best: usize) {
        self.trace_from(0, rs, back, best);
    }

    /// The same for the values from `from` on.
    pub(crate) fn trace_from(&self, from: usize, rs: &mut [i32], back: &[i32], best: usize) {
        let n_channels = self.model.channels();
        let mut slot = best;
        for (at, &x) in self.steps.iter().enumerate().skip(from).rev() {
            if !is_step(x) {
                rs[at] = x;
                continue;
            }
            let (lattice, bound) = self.channels[at % n_channels];
            let byte = (back[at] as u32 >> (8 * slot)) as u8;
            rs[at] = lattice.lowest(x, bound) + i32::from(byte >> 2);
            slot = usize::from(byte & 3);
        }
    }

    /// How many values at the window's beginning are the same in the first `n_paths` paths kept.
    pub(crate) fn n_shared(&self, back: &[i32], n_paths: usize) -> usize {
        let mut slots = [0u8, 1, 2, 3];
        let slots = &mut slots[..n_paths];
        let mut n_shared = self.steps.len();
        for (at, _) in self.steps.iter().enumerate().rev().filter(|(_, x)| is_step(**x)) {
            if slots.iter().all(|&slot| slot == slots[0]) {
                break;
            }
            for slot in &mut *slots {
                *slot = (back[at] as u32 >> (8 * *slot)) as u8 & 3;
            }
            n_shared = at;
        }
        n_shared
    }

    fn pricing(&self, idx: usize, histories: &[i32]) -> Pricing<'_> {
        let history = load(histories, idx);
        if history.is_empty() {
            let predicted = context::predict_first(self.model, idx, histories);
            return match self.model.first(idx) {
                Some(first) => Pricing::First(first, predicted),
                None => Pricing::Free,
            };
        }
        let beside = neighbour_of(idx, self.model.channels()).map_or(0, |n| load(histories, n).moved());
        Pricing::Diff(self.context.table(history.raw_context(idx, beside)), history.r)
    }

    /// The bonus of each lattice value of a range, which lies within its bound: for how many of the next samples the channel
    /// could stay there.
    fn bonuses(&self, at: usize, lattice: Lattice, rs: RangeInclusive<i32>, bound: i32) -> Bonuses {
        let n_channels = self.model.channels();
        let (mut values, mut bonuses) = ([0; CANDIDATES_MAX as usize], [0; CANDIDATES_MAX as usize]);
        let mut end = 0;
        for (value, r) in values.iter_mut().zip(rs) {
            *value = lattice.value(r).unwrap_or(0);
            end += 1;
        }
        // They ascend, so that those drop out first that lie at the ends.
        let (mut first, mut bonus, mut next) = (0, 0, at + n_channels);
        while first < end && bonus < AHEAD_BONUS * AHEAD {
            let Some(&x) = self.steps.get(next) else { break };
            if is_step(x) {
                while first < end && values[first] < x - bound {
                    bonuses[first] = bonus;
                    first += 1;
                }
                while first < end && values[end - 1] > x + bound {
                    end -= 1;
                    bonuses[end] = bonus;
                }
            }
            (bonus, next) = (bonus + AHEAD_BONUS, next + n_channels);
        }
        bonuses[first..end].fill(bonus);
        bonuses
    }
}

/// Worth of lattice values, in sixteenths of a bit.
type Bonuses = [i32; CANDIDATES_MAX as usize];

/// What saying a value costs after a given beginning.
enum Pricing<'a> {
    First(First<'a>, i32),
    Diff(crate::freq::Table<'a>, i32),
    Free,
}

impl Pricing<'_> {
    fn cost(&self, r: i32) -> u32 {
        match self {
            Self::First(first, predicted) => first.cost(*predicted, r),
            Self::Diff(table, last) => alphabet::cost(*table, r.wrapping_sub(*last)),
            Self::Free => 0,
        }
    }
}

/// The best candidates so far, cheapest first; twice the beam, because some turn out to be alike.
struct Kept {
    list: [Candidate; 2 * BEAM],
    len: usize,
}

impl Default for Kept {
    fn default() -> Self {
        let none = Candidate { rank: i32::MAX, cost: 0, parent: 0, choice: 0 };
        Self { list: [none; 2 * BEAM], len: 0 }
    }
}

impl Kept {
    fn offer(&mut self, candidate: Candidate) {
        if self.len == self.list.len() && self.list[self.len - 1].rank <= candidate.rank {
            return;
        }
        let mut at = self.len.min(self.list.len() - 1);
        self.len = at + 1;
        while at > 0 && self.list[at - 1].rank > candidate.rank {
            self.list[at] = self.list[at - 1];
            at -= 1;
        }
        self.list[at] = candidate;
    }
}
