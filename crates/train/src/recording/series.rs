//! A recording: times, channels, period and gaps.

use super::error::RecordingError;
use super::values::Values;

/// Samples of one or more channels, sorted by time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    times_ms: Vec<i64>,
    channels: Vec<RecordedChannel>,
    period_ms: u32,
}

/// One channel of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedChannel {
    /// Name, 1..=32 bytes, no two alike in a recording that was read.
    pub name: String,
    /// Unit, at most 16 bytes, may be empty.
    pub unit: String,
    /// One value per sample.
    pub values: Values,
}

/// An interval longer than one and a half periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first sample after it; `row >= 1`.
    pub row: usize,
    /// Its length from sample to sample, milliseconds.
    pub len_ms: i64,
}

impl Recording {
    /// A recording from its parts. `times_ms`: Unix milliseconds, not falling, at least 2; each channel as
    /// many values; `period_ms` at least 1.
    pub fn new(
        times_ms: Vec<i64>,
        channels: Vec<RecordedChannel>,
        period_ms: u32,
    ) -> Result<Self, RecordingError> {
        if times_ms.len() < 2 || !times_ms.is_sorted() {
            return Err(RecordingError::Shape("times must not fall, and be at least 2"));
        }
        if channels.is_empty() || channels.iter().any(|c| c.values.len() != times_ms.len()) {
            return Err(RecordingError::Shape("a channel has more or fewer values than there are times"));
        }
        if period_ms == 0 {
            return Err(RecordingError::NoPeriod);
        }
        Ok(Self { times_ms, channels, period_ms })
    }

    /// Number of samples, at least 2.
    pub fn len(&self) -> usize {
        self.times_ms.len()
    }

    /// Never true; here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.times_ms.is_empty()
    }

    /// Time of each sample, Unix milliseconds, not falling.
    pub fn times_ms(&self) -> &[i64] {
        &self.times_ms
    }

    /// The channels, at least one.
    pub fn channels(&self) -> &[RecordedChannel] {
        &self.channels
    }

    /// Sampling period, at least 1.
    pub fn period_ms(&self) -> u32 {
        self.period_ms
    }

    /// The gaps, in order of time.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        gaps(&self.times_ms, self.period_ms)
    }
}

/// Intervals longer than one and a half periods.
pub(super) fn gaps(times_ms: &[i64], period_ms: u32) -> impl Iterator<Item = Gap> + '_ {
    let is_gap = move |len_ms: i64| len_ms > i64::from(period_ms) + i64::from(period_ms / 2);
    let intervals = times_ms.windows(2).enumerate().map(|(at, t)| Gap { row: at + 1, len_ms: t[1] - t[0] });
    intervals.filter(move |gap| is_gap(gap.len_ms))
}

/// A sampling period found in times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Period {
    pub period_ms: u32,
    /// Mean of the regular intervals.
    pub mean_ms: f64,
}

/// The period: the median interval, refined where stamps are coarser than the clock behind them.
///
/// A clock of 30.6 s stamped in whole seconds shows intervals of 30 and 31 s. The median alone would drift
/// 13 s within a window of 32; the mean of the intervals near the median does not.
pub(super) fn find_period(times_ms: &[i64]) -> Option<Period> {
    let mut intervals: Vec<i64> = times_ms.windows(2).map(|t| t[1] - t[0]).filter(|&d| d > 0).collect();
    let middle = intervals.len().checked_sub(1)? / 2;
    let median = *intervals.select_nth_unstable(middle).1;
    let (mut sum, mut n) = (0i128, 0u32);
    for &interval in intervals.iter().filter(|&&d| 4 * (d - median).abs() <= median.max(4)) {
        sum += i128::from(interval);
        n += 1;
    }
    let mean_ms = sum as f64 / f64::from(n);
    let is_mean_better = (mean_ms - median as f64).abs() > 0.005 * median as f64 && median >= 100;
    let period_ms = if is_mean_better { three_digits(mean_ms) } else { median };
    Some(Period { period_ms: u32::try_from(period_ms).ok().filter(|&p| p > 0)?, mean_ms })
}

/// `ms` rounded to three digits: the rest is the stamps' jitter.
fn three_digits(ms: f64) -> i64 {
    let mut unit = 1i64;
    while ms >= (1000 * unit) as f64 {
        unit *= 10;
    }
    (ms / unit as f64).round() as i64 * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times_ms: &[i64], want: Option<u32>) {
        assert_eq!(find_period(times_ms).map(|p| p.period_ms), want, "{times_ms:?}");
    }

    #[test]
    fn finds_the_period_behind_the_stamps() {
        check(&[0, 60_000, 120_000, 180_000], Some(60_000));
        check(&[0, 60_000, 120_000, 9_000_000, 9_060_000], Some(60_000));
        check(&[0, 59_000, 120_000, 180_000, 239_000, 300_000], Some(60_000));
        check(&[0, 0, 0, 1000, 1000, 2000], Some(1000));
        check(&[0, 3, 6, 8, 11, 14], Some(3));
        check(&[5, 5, 5], None);
        check(&[0, 1 << 40], None);
        let drifting: Vec<i64> = (0..100).map(|i| i * 30_600 / 1000 * 1000).collect();
        check(&drifting, Some(30_600));
    }
}
