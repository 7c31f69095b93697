//! The window being filled: which samples belong together, and since when.

use kinglet_codec::{Decimal, MISSING, Model};

/// One channel's reading; `None` if the sensor gave none.
pub type Reading = Option<Decimal>;

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleTime {
    /// Now, on the device's own clock. The usual case.
    Now,
    /// At these unix milliseconds, as the source of the reading says. For readings that come with their time.
    Unix(i64),
}

/// Periods from this on are sent in whole seconds, which takes two bytes less.
const WHOLE_SECONDS_FROM_MS: u32 = 10_000;

/// The samples since the last cut; their steps live in the caller's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    n_samples: usize,
    first: Base,
    /// When the first sample came in.
    since: u64,
    off_grid: bool,
}

/// Time of a sample, on one of two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Uptime(u64),
    Unix(i64),
}

impl Default for Base {
    fn default() -> Self {
        Self::Uptime(0)
    }
}

impl Base {
    /// So many milliseconds later.
    pub(crate) fn after(self, ms: u64) -> Self {
        match self {
            Self::Uptime(at) => Self::Uptime(at.saturating_add(ms)),
            Self::Unix(at) => Self::Unix(at.saturating_add_unsigned(ms)),
        }
    }

    /// Milliseconds between two times; `None` if they are on two axes.
    pub(crate) fn distance(self, other: Self) -> Option<u64> {
        match (self, other) {
            (Self::Uptime(a), Self::Uptime(b)) => Some(a.abs_diff(b)),
            (Self::Unix(a), Self::Unix(b)) => Some(a.abs_diff(b)),
            _ => None,
        }
    }
}

/// True if frames of this model say whole seconds.
pub(crate) fn is_whole_s(model: &Model<'_>) -> bool {
    model.period_ms() >= WHOLE_SECONDS_FROM_MS
}

impl Window {
    pub(crate) fn n_samples(&self) -> usize {
        self.n_samples
    }

    pub(crate) fn off_grid(&self) -> bool {
        self.off_grid
    }

    pub(crate) fn first(&self) -> Base {
        self.first
    }

    /// When it must be cut at the latest.
    pub(crate) fn deadline(&self, model: &Model<'_>) -> Option<u64> {
        (self.n_samples > 0).then(|| self.since.saturating_add(model.max_delay_ms().into()))
    }

    /// True if a sample at `at` is the next of this window: its decoded time will lie within half a period of
    /// its own, rounding to whole seconds included.
    pub(crate) fn continues(&self, model: &Model<'_>, at: Base) -> bool {
        if self.n_samples == 0 {
            return true;
        }
        let distance = match (self.first, at) {
            (Base::Uptime(first), Base::Uptime(at)) => i128::from(at) - i128::from(first),
            (Base::Unix(first), Base::Unix(at)) => i128::from(at) - i128::from(first),
            _ => return false,
        };
        let period = i128::from(model.period_ms());
        let rounding = if is_whole_s(model) { 500 } else { 0 };
        let off = distance - period * self.n_samples as i128;
        2 * (off.abs() + rounding) <= period
    }

    /// Adds a sample behind the others in `steps`.
    pub(crate) fn add(
        &mut self,
        model: &Model<'_>,
        now: u64,
        at: Base,
        readings: &[Reading],
        steps: &mut [i32],
    ) {
        if self.n_samples == 0 {
            *self = Self { first: at, since: now, ..Self::default() };
        }
        let from = self.n_samples * readings.len();
        for (idx, (reading, step)) in readings.iter().zip(&mut steps[from..]).enumerate() {
            *step = match reading {
                None => MISSING,
                Some(value) => {
                    let quantised = model.channel(idx).grid.quantise(*value);
                    self.off_grid |= !quantised.exact;
                    quantised.step
                }
            };
        }
        self.n_samples += 1;
    }

    /// Takes `n` samples off the front; `steps` moves up.
    pub(crate) fn remove_front(&mut self, model: &Model<'_>, n: usize, steps: &mut [i32]) {
        let n_channels = model.channels();
        steps.copy_within(n * n_channels..self.n_samples * n_channels, 0);
        self.n_samples -= n;
        let ms = u64::from(model.period_ms()) * n as u64;
        if let Base::Uptime(first) = self.first {
            // Nobody has noted when the sample that is now the first came in; it was not before this.
            self.since =
                self.since.max((first + ms).saturating_sub(u64::from(model.period_ms()).div_ceil(2)));
        }
        self.first = self.first.after(ms);
        if self.n_samples == 0 {
            *self = Self::default();
        }
    }
}
