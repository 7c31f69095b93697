//! What the network sees of the window so far.

use crate::context::History;
use crate::freq::log2_q4;
use crate::grid::is_step;
use crate::model::Reader;

/// How far back a channel's own values are looked at, beyond its last.
pub const OWN_LAGS: usize = 8;
/// How many movements of each other channel are looked at.
pub const OTHER_LAGS: usize = 3;
/// Features beside lags and levels: place in the window (3), activity (2), run (1).
const EXTRAS: usize = 6;
/// Most features.
pub const FEATURES_MAX: usize = n_features(crate::CHANNELS_MAX);
const LINEAR_MAX: usize = n_linear(crate::CHANNELS_MAX);

/// Features of a model with so many channels.
pub const fn n_features(n_channels: usize) -> usize {
    n_linear(n_channels) + n_channels + EXTRAS
}

/// Inputs of the linear prediction: the first of the features, before they are compressed.
pub const fn n_linear(n_channels: usize) -> usize {
    OWN_LAGS + (n_channels - 1) * OTHER_LAGS
}

/// What is usual for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// Mean magnitude of a difference, lattice units Q8, at least 1.
    pub mean_move: u32,
    /// Mean, lattice units.
    pub mean: i32,
    /// Deviation, lattice units, at least 1.
    pub deviation: u32,
}

impl Scaling {
    /// Bytes in a model.
    pub(crate) const LEN: usize = 12;

    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        Self {
            mean_move: reader.u32().unwrap_or(0),
            mean: reader.i32().unwrap_or(0),
            deviation: reader.u32().unwrap_or(0),
        }
    }

    pub(crate) fn check(&self) -> Option<()> {
        let ok = (1..=1 << 24).contains(&self.mean_move)
            && (1..=1 << 26).contains(&self.deviation)
            && self.mean.unsigned_abs() <= 1 << 26;
        ok.then_some(())
    }

    /// A difference in units of the usual one, compressed.
    fn movement(&self, d: i32) -> i32 {
        compress((i64::from(d) << 12) / i64::from(self.mean_move))
    }

    /// A value's distance from the mean, compressed.
    fn level(&self, r: i32) -> i32 {
        compress(((i64::from(r) - i64::from(self.mean)) << 4) / i64::from(self.deviation))
    }
}

/// A number in sixteenths, linear up to 1 and logarithmic beyond, limited to a byte.
fn compress(x: i64) -> i32 {
    let magnitude = x.unsigned_abs().min(1 << 30) as u32;
    let small = if magnitude <= 16 { magnitude as i32 } else { log2_q4(magnitude) as i32 - 48 };
    let small = small.min(127);
    if x < 0 { -small } else { small }
}

/// The features of one value.
pub(crate) struct Features {
    linear: [i32; LINEAR_MAX],
    values: [i32; FEATURES_MAX],
    n_channels: usize,
}

impl Default for Features {
    fn default() -> Self {
        Self { linear: [0; LINEAR_MAX], values: [0; FEATURES_MAX], n_channels: 1 }
    }
}

impl Features {
    /// `[n_linear]`, lattice units.
    pub(crate) fn linear(&self) -> &[i32] {
        &self.linear[..n_linear(self.n_channels)]
    }

    /// `[n_features]`, each within a byte.
    pub(crate) fn values(&self) -> &[i32] {
        &self.values[..n_features(self.n_channels)]
    }

    /// Looks back from value `at`, whose channel has `history`.
    pub(crate) fn look(
        &mut self,
        scaling_of: &impl Fn(usize) -> Scaling,
        n_channels: usize,
        rs: &[i32],
        at: usize,
        history: &History,
    ) {
        self.n_channels = n_channels;
        let idx = at % n_channels;
        let mut next = 0;
        let mut put = |this: &mut Self, d: i32, scaling: &Scaling| {
            this.linear[next] = d;
            this.values[next] = scaling.movement(d);
            next += 1;
        };
        let own = scaling_of(idx);
        let mut past = Past::new(rs, at, n_channels);
        let (mut last, mut activity) = (history.r, [0u32; 2]);
        let _ = past.next();
        for lag in 0..OWN_LAGS {
            // Before the window there is nothing: a value that does not move.
            let r = past.next();
            put(self, r.map_or(0, |r| r.wrapping_sub(history.r)), &own);
            let moved = r.map_or(0, |r| r.wrapping_sub(last).unsigned_abs().min(1 << 26));
            activity[1] += moved;
            activity[0] += if lag < 4 { moved } else { 0 };
            last = r.unwrap_or(last);
        }
        for other in (0..n_channels).filter(|&other| other != idx) {
            // Earlier channels are known at this instant: their last value but one is where they came from.
            let scaling = scaling_of(other);
            let sample_at = at - idx + other;
            let known_now = other < idx && is_step(rs[sample_at]);
            let mut past =
                Past::new(rs, if known_now { sample_at + n_channels } else { sample_at }, n_channels);
            let (now, base) = if known_now { (past.next(), past.next()) } else { (None, past.next()) };
            let from_base = |r: Option<i32>| r.zip(base).map_or(0, |(r, base)| r.wrapping_sub(base));
            let mut n_left = OTHER_LAGS;
            if other < idx {
                put(self, from_base(now), &scaling);
                n_left -= 1;
            }
            for _ in 0..n_left {
                put(self, from_base(past.next()), &scaling);
            }
        }
        let mut at_value = n_linear(n_channels);
        let mut push = |this: &mut Self, x: i32| {
            this.values[at_value] = x;
            at_value += 1;
        };
        for channel in 0..n_channels {
            let latest =
                Past::new(rs, at - idx + channel + if channel < idx { n_channels } else { 0 }, n_channels)
                    .next();
            let scaling = scaling_of(channel);
            push(self, latest.map_or(0, |r| scaling.level(r)));
        }
        let n_before = at / n_channels;
        push(self, 2 * n_before.min(8) as i32);
        push(self, if n_before == 1 { 16 } else { 0 });
        push(self, (n_before / 2).min(127) as i32);
        push(self, own.movement((activity[0] / 4) as i32));
        push(self, own.movement((activity[1] / OWN_LAGS as u32) as i32));
        push(self, log2_q4(1 + u32::from(history.run())).min(127) as i32);
    }
}

/// A channel's values that are steps, backwards from before value `end`.
struct Past<'a> {
    rs: &'a [i32],
    /// Values from here on are not looked at; 0 when there are none left.
    end: usize,
    n_channels: usize,
}

impl<'a> Past<'a> {
    /// Values at `end − n_channels`, `end − 2 · n_channels`, ….
    fn new(rs: &'a [i32], end: usize, n_channels: usize) -> Self {
        Self { rs, end, n_channels }
    }
}

impl Iterator for Past<'_> {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        while let Some(at) = self.end.checked_sub(self.n_channels) {
            self.end = at;
            if is_step(self.rs[at]) {
                return Some(self.rs[at]);
            }
        }
        None
    }
}
