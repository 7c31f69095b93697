//! The device's clock: monotonic milliseconds, and what is known of unix time.

use kinglet_wire::payload::{Millis, Quality, Time};

/// Number of a boot.
pub(crate) type Boot = u32;

/// How long a clock counts as synchronised after it was set.
const SYNCED_MS: u64 = 24 * 3600 * 1000;

/// When something was, as the device knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Milliseconds since the start of a boot.
    Uptime { boot: Boot, ms: u64 },
    /// Unix milliseconds, and whether the clock had been set within a day.
    Unix { t_ms: i64, synced: bool },
}

/// Monotonic milliseconds, and the bounds within which its offset to unix time lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Least and greatest unix milliseconds at uptime 0.
    bounds: Option<(i64, i64)>,
    /// The best guess between them.
    guess: i64,
    set_at: u64,
    /// How far off the clock may be and still date samples.
    tolerance_ms: i64,
    n_learned: u8,
}

/// A crystal keeps this: one part in so many.
const DRIFT: u64 = 10_000;
/// No clock needs to be better than this.
const TOLERANCE_MIN_MS: i64 = 500;
/// After so many answers that came too slowly, slower ones have to do.
const PATIENCE: u8 = 4;

impl Clock {
    /// A clock that was never set, for samples every `period_ms`.
    pub(crate) fn new(period_ms: u32) -> Self {
        let tolerance_ms = (i64::from(period_ms) / 4).max(TOLERANCE_MIN_MS);
        Self { bounds: None, guess: 0, set_at: 0, tolerance_ms, n_learned: 0 }
    }

    /// Unix milliseconds at uptime 0, if known well enough to date samples.
    pub(crate) fn offset(&self) -> Option<i64> {
        let (earliest, latest) = self.bounds?;
        let width = latest.saturating_sub(earliest);
        (width / 2 <= self.tolerance_ms).then_some(self.guess)
    }

    /// Unix milliseconds at `now`, if known.
    pub(crate) fn unix(&self, now: u64) -> Option<i64> {
        Some(self.offset()?.saturating_add(signed(now)))
    }

    /// How far [`Clock::unix`] can be trusted.
    pub(crate) fn quality(&self, now: u64) -> Quality {
        match self.offset() {
            None => Quality::Unknown,
            Some(_) if now.saturating_sub(self.set_at) > SYNCED_MS => Quality::Held,
            Some(_) => Quality::Synced,
        }
    }

    /// It is `t_ms` now, on good authority.
    pub(crate) fn set(&mut self, now: u64, t_ms: i64) {
        let offset = t_ms.saturating_sub(signed(now));
        (self.bounds, self.guess, self.set_at) = (Some((offset, offset)), offset, now);
    }

    /// The server's clock showed `t_ms` at some instant between `asked` and `now`.
    ///
    /// Whatever the link's delay, the true offset lies between those two readings of it. Each answer narrows the
    /// bounds; one that contradicts them, the drift since allowed for, takes their place. A guess good enough to
    /// date samples moves no further than it must. `once`: the question
    /// was sent once, so that the span is the link's own and waiting for repeats no part of it.
    pub(crate) fn learn(&mut self, asked: u64, now: u64, t_ms: i64, once: bool) {
        let new = (t_ms.saturating_sub(signed(now)), t_ms.saturating_sub(signed(asked.min(now))));
        let drift = signed(now.saturating_sub(self.set_at) / DRIFT).saturating_add(1);
        let narrowed = self.bounds.map(|(earliest, latest)| {
            (earliest.saturating_sub(drift).max(new.0), latest.saturating_add(drift).min(new.1))
        });
        let bounds = narrowed.filter(|(earliest, latest)| earliest <= latest).unwrap_or(new);
        self.guess = match self.offset() {
            Some(offset) => offset.clamp(bounds.0, bounds.1),
            None => bounds.0.saturating_add(bounds.1.saturating_sub(bounds.0) / 2),
        };
        self.bounds = Some(bounds);
        self.set_at = now;
        self.n_learned = self.n_learned.wrapping_add(once.into());
        if once && self.offset().is_none() && self.n_learned.is_multiple_of(PATIENCE) {
            self.tolerance_ms = self.tolerance_ms.saturating_mul(2);
        }
    }

    /// The better of what is known: a stamp of this boot becomes unix time once the clock is set.
    pub(crate) fn resolve(&self, now: u64, boot: Boot, dated: Option<(Boot, i64)>, stamp: Stamp) -> Stamp {
        let Stamp::Uptime { boot: of, ms } = stamp else { return stamp };
        match (self.offset(), dated) {
            (Some(offset), _) if of == boot => {
                let synced = self.quality(now) == Quality::Synced;
                Stamp::Unix { t_ms: offset.saturating_add(signed(ms)), synced }
            }
            (_, Some((dated, offset))) if of == dated => {
                Stamp::Unix { t_ms: offset.saturating_add(signed(ms)), synced: false }
            }
            _ => stamp,
        }
    }
}

impl Stamp {
    /// As it stands in a frame. `whole_s`: rounded to whole seconds, which takes two bytes less.
    pub(crate) fn time(self, whole_s: bool) -> (Time, Quality) {
        match self {
            Self::Uptime { boot, ms } => {
                let uptime = Millis::saturating(signed(ms));
                (Time::Uptime { boot: boot as u16, uptime }, Quality::Unknown)
            }
            Self::Unix { t_ms, synced } => {
                let t_ms = Millis::saturating(t_ms).get();
                let t_ms = if whole_s { (t_ms + 500).div_euclid(1000) * 1000 } else { t_ms };
                (Time::unix(t_ms), if synced { Quality::Synced } else { Quality::Held })
            }
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_within_what_the_link_allows() {
        let mut clock = Clock::new(1000);
        assert_eq!((clock.unix(5), clock.quality(5)), (None, Quality::Unknown));
        // Too slow to say when it is.
        clock.learn(0, 1200, 50_000, false);
        assert_eq!(clock.unix(1200), None);
        clock.learn(1000, 1200, 50_000, true);
        assert_eq!(clock.unix(1200), Some(50_100));
        // A slow answer says little, and changes little.
        clock.learn(2000, 9000, 51_500, true);
        assert_eq!(clock.unix(1200), Some(50_100));
        // A quick one that contradicts the clock is believed.
        clock.learn(10_000, 10_010, 60_000, true);
        assert_eq!(clock.unix(10_010), Some(60_000));
        assert_eq!(clock.quality(10_010 + SYNCED_MS + 1), Quality::Held);
    }

    #[test]
    fn where_all_answers_are_slow_they_have_to_do() {
        let mut clock = Clock::new(1000);
        for n in 1..=4 * u64::from(PATIENCE) {
            clock.learn(n * 10_000, n * 10_000 + 5000, n as i64 * 10_000 + 3000, true);
        }
        let off = clock.unix(0).unwrap() - 500;
        assert!(off.abs() <= 2500, "{off}");
        // A minute between samples makes the same answers good enough at once.
        let mut clock = Clock::new(60_000);
        clock.learn(10_000, 15_000, 13_000, true);
        assert!(clock.unix(0).is_some());
    }

    #[test]
    fn dates_this_boot_and_the_last_dated_one_only() {
        let mut clock = Clock::new(1000);
        let of = |boot| Stamp::Uptime { boot, ms: 10 };
        assert_eq!(clock.resolve(0, 3, None, of(3)), of(3));
        clock.set(100, 1_000_100);
        assert_eq!(clock.resolve(100, 3, None, of(3)), Stamp::Unix { t_ms: 1_000_010, synced: true });
        assert_eq!(clock.resolve(100, 3, None, of(2)), of(2));
        assert_eq!(clock.resolve(100, 3, Some((2, 7)), of(2)), Stamp::Unix { t_ms: 17, synced: false });
    }

    #[test]
    fn hostile_times_saturate() {
        let mut clock = Clock::new(u32::MAX);
        clock.learn(0, u64::MAX, i64::MIN, true);
        clock.learn(u64::MAX, 0, i64::MAX, true);
        let _ = clock.unix(u64::MAX);
        let _ = Stamp::Unix { t_ms: i64::MAX, synced: true }.time(true);
        let _ = Stamp::Uptime { boot: u32::MAX, ms: u64::MAX }.time(true);
    }

    #[test]
    fn whole_seconds_round_to_the_nearest() {
        let time = |t_ms| Stamp::Unix { t_ms, synced: true }.time(true).0;
        assert_eq!(time(1_499), Time::UnixS(1));
        assert_eq!(time(1_500), Time::UnixS(2));
        assert_eq!(Stamp::Unix { t_ms: 1_499, synced: true }.time(false).0, Time::unix(1_499));
    }
}
