//! What the network sees of the window so far.

use crate::context::History;
use crate::freq::log2_q4;
use crate::grid::is_step;
use crate::model::Reader;

/// Most values of its own a channel looks back at, beyond its last.
pub const OWN_LAGS_MAX: usize = 16;
/// Most movements of each other channel that are looked at.
pub const OTHER_LAGS_MAX: usize = 4;
/// Features beside lags and levels: place in the window (3), activity (2), run (1).
const EXTRAS: usize = 6;
const LONGEST: Lags = Lags { own: OWN_LAGS_MAX as u8, other: OTHER_LAGS_MAX as u8 };
const FEATURES_MAX: usize = LONGEST.n_features(crate::CHANNELS_MAX);
const LINEAR_MAX: usize = LONGEST.n_linear(crate::CHANNELS_MAX);

/// How far back the network looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lags {
    /// Values of the channel itself beyond its last, `1..=OWN_LAGS_MAX`.
    pub own: u8,
    /// Movements of each other channel, `1..=OTHER_LAGS_MAX`.
    pub other: u8,
}

impl Lags {
    /// Features of a model with so many channels.
    pub const fn n_features(self, n_channels: usize) -> usize {
        self.n_linear(n_channels) + n_channels + EXTRAS
    }

    /// Inputs of the linear prediction: the first of the features, before they are compressed.
    pub const fn n_linear(self, n_channels: usize) -> usize {
        self.own as usize + (n_channels - 1) * self.other as usize
    }

    pub(crate) fn check(self) -> Option<()> {
        let ok = (1..=OWN_LAGS_MAX).contains(&usize::from(self.own))
            && (1..=OTHER_LAGS_MAX).contains(&usize::from(self.other));
        ok.then_some(())
    }
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
}

/// A [`Scaling`] made ready for many values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    pub(crate) mean_move: u32,
    mean: i32,
    deviation: u32,
    /// `2^32 / mean_move` and `2^32 / deviation`, less than one off; `None` divides each value.
    inverses: Option<[u32; 2]>,
}

impl Measure {
    /// One that divides each value, as the mixed network does.
    pub(crate) fn dividing(Scaling { mean_move, mean, deviation }: Scaling) -> Self {
        Self { mean_move, mean, deviation, inverses: None }
    }

    /// One that multiplies each value by a quotient, as the gated network does: small processors divide slowly.
    pub(crate) fn multiplying(scaling: Scaling) -> Self {
        let inverse = |x: u32| u32::MAX / x.max(1);
        Self {
            inverses: Some([inverse(scaling.mean_move), inverse(scaling.deviation)]),
            ..Self::dividing(scaling)
        }
    }

    /// A difference in units of the usual one, compressed.
    fn movement(&self, d: i32) -> i32 {
        match self.inverses {
            None => signed(d, divide(u64::from(d.unsigned_abs()) << 12, self.mean_move)),
            Some([inverse, _]) => signed(d, (u64::from(d.unsigned_abs()) * u64::from(inverse)) >> 20),
        }
    }

    /// A value's distance from the mean, compressed.
    fn level(&self, r: i32) -> i32 {
        match self.inverses {
            None => {
                let distance = i64::from(r) - i64::from(self.mean);
                let small = compress(divide(distance.unsigned_abs() << 4, self.deviation));
                if distance < 0 { -small } else { small }
            }
            Some([_, inverse]) => {
                let distance = r.wrapping_sub(self.mean);
                signed(distance, (u64::from(distance.unsigned_abs()) * u64::from(inverse)) >> 28)
            }
        }
    }
}

/// `magnitude` compressed, with the sign of `of`.
fn signed(of: i32, magnitude: u64) -> i32 {
    let small = compress(magnitude);
    if of < 0 { -small } else { small }
}

/// A number in sixteenths, linear up to 1 and logarithmic beyond, limited to a byte.
fn compress(magnitude: u64) -> i32 {
    let magnitude = magnitude.min(1 << 30) as u32;
    let small = if magnitude <= 16 { magnitude as i32 } else { log2_q4(magnitude) as i32 - 48 };
    small.min(127)
}

/// `n / by` for `n < 2^48` and `1 <= by <= 2^26`: six bits at a time, because chips divide 32 bits at once and spend a kilobyte
/// on 64.
fn divide(n: u64, by: u32) -> u64 {
    if let Ok(n) = u32::try_from(n) {
        return u64::from(n / by);
    }
    let (mut quotient, mut rest) = (0, 0);
    for at in (0..48).step_by(6).rev() {
        rest = rest << 6 | (n >> at) as u32 & 63;
        quotient = quotient << 6 | u64::from(rest / by);
        rest %= by;
    }
    quotient
}

/// The features of one value.
pub(crate) struct Features {
    linear: [i32; LINEAR_MAX],
    values: [i16; FEATURES_MAX],
    n_channels: usize,
    lags: Lags,
    n_samples: usize,
}

impl Features {
    /// `n_samples`: of a full window.
    pub(crate) fn new(n_channels: usize, lags: Lags, n_samples: usize) -> Self {
        Self { linear: [0; LINEAR_MAX], values: [0; FEATURES_MAX], n_channels, lags, n_samples }
    }

    /// `[n_linear]`, lattice units.
    pub(crate) fn linear(&self) -> &[i32] {
        &self.linear[..self.lags.n_linear(self.n_channels)]
    }

    /// `[n_features]`, each within a byte.
    pub(crate) fn values(&self) -> &[i16] {
        &self.values[..self.lags.n_features(self.n_channels)]
    }

    /// Looks back from value `at`, whose channel has `history`.
    pub(crate) fn look(&mut self, measures: &[Measure], rs: &[i32], at: usize, history: &History) {
        let (n_channels, lags) = (self.n_channels, self.lags);
        let idx = at % n_channels;
        let mut next = 0;
        let mut put = |this: &mut Self, d: i32, measure: &Measure| {
            this.linear[next] = d;
            this.values[next] = measure.movement(d) as i16;
            next += 1;
        };
        let own = measures[idx];
        let mut past = Past::new(rs, at, n_channels);
        let (mut last, mut activity) = (history.r, [0u32; 2]);
        let _ = past.next();
        for lag in 0..lags.own {
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
            let measure = measures[other];
            let sample_at = at - idx + other;
            let known_now = other < idx && is_step(rs[sample_at]);
            let mut past =
                Past::new(rs, if known_now { sample_at + n_channels } else { sample_at }, n_channels);
            let (now, base) = if known_now { (past.next(), past.next()) } else { (None, past.next()) };
            let from_base = |r: Option<i32>| r.zip(base).map_or(0, |(r, base)| r.wrapping_sub(base));
            let mut n_left = lags.other;
            if other < idx {
                put(self, from_base(now), &measure);
                n_left -= 1;
            }
            for _ in 0..n_left {
                put(self, from_base(past.next()), &measure);
            }
        }
        let mut at_value = lags.n_linear(n_channels);
        let mut push = |this: &mut Self, x: i32| {
            this.values[at_value] = x as i16;
            at_value += 1;
        };
        for (channel, measure) in measures.iter().enumerate().take(n_channels) {
            let latest =
                Past::new(rs, at - idx + channel + if channel < idx { n_channels } else { 0 }, n_channels)
                    .next();
            push(self, latest.map_or(0, |r| measure.level(r)));
        }
        // With an earlier window's values in front there are more than a network has learned from.
        let n_before = (at / n_channels).min(self.n_samples - 1);
        push(self, 2 * n_before.min(8) as i32);
        push(self, if n_before == 1 { 16 } else { 0 });
        push(self, (n_before / 2).min(127) as i32);
        push(self, own.movement((activity[0] / 4) as i32));
        push(self, own.movement((activity[1] / u32::from(lags.own)) as i32));
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

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn quotients_are_those_of_64_bits() {
        for n in [0, 1, 63, 64, 4095, (1 << 44) - 1, (1 << 48) - 1] {
            for by in [1, 2, 3, 63, 1000, (1 << 24) - 1, 1 << 24, (1 << 26) - 1, 1 << 26] {
                assert_eq!(divide(n, by), n / u64::from(by), "{n} / {by}");
            }
        }
    }
}
