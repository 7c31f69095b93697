//! The clock retention goes by. The system's alone will not do: on the day it jumps a year ahead, everything would be old.

/// Differences up to this are believed at once: a night without power, a clock that is set.
const BELIEVED_MS: i64 = DAY_MS;
/// What the system's clock says beyond that is believed once servers have run by it for so long.
const WAIT_MS: i64 = 7 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// A clock that runs while a server runs, and follows the system's if that is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeClock {
    /// Unix milliseconds.
    pub t_ms: i64,
    /// How far the system's clock was ahead of this one at the last look; 0 if it is followed.
    pub ahead_ms: i64,
    /// How long servers have run while it was that far ahead.
    pub waited_ms: i64,
}

impl AgeClock {
    /// Follows a clock that stands at `t_ms`.
    pub fn at(t_ms: i64) -> Self {
        Self { t_ms, ahead_ms: 0, waited_ms: 0 }
    }

    /// As it is after a server has run for another `ran_ms`, if the system's clock then stands at `now_ms`.
    pub fn follow(self, now_ms: i64, ran_ms: i64) -> Self {
        let t_ms = self.t_ms.saturating_add(ran_ms);
        let ahead_ms = now_ms.saturating_sub(t_ms);
        if is_near(ahead_ms, 0) {
            return Self::at(now_ms);
        }
        // Another jump is another claim.
        let is_same = self.is_waiting() && is_near(ahead_ms, self.ahead_ms);
        let waited_ms = if is_same { self.waited_ms.saturating_add(ran_ms) } else { 0 };
        if waited_ms >= WAIT_MS { Self::at(now_ms) } else { Self { t_ms, ahead_ms, waited_ms } }
    }

    /// True while the system's clock is not believed.
    pub fn is_waiting(self) -> bool {
        self.ahead_ms != 0
    }
}

fn is_near(a_ms: i64, b_ms: i64) -> bool {
    a_ms.abs_diff(b_ms) <= BELIEVED_MS.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_790_000_000_000;
    const HOUR_MS: i64 = 3_600_000;
    const YEAR_MS: i64 = 365 * DAY_MS;

    /// Steps of (hours run, hours the system's clock moves), and what is to be seen after them: hours since the
    /// beginning, and whether it waits.
    fn check(steps: &[(i64, i64)], hours: i64, is_waiting: bool) {
        let (mut clock, mut now_ms) = (AgeClock::at(T0), T0);
        for (ran, moved) in steps {
            now_ms += moved * HOUR_MS;
            clock = clock.follow(now_ms, ran * HOUR_MS);
        }
        assert_eq!((clock.t_ms - T0, clock.is_waiting()), (hours * HOUR_MS, is_waiting), "{steps:?}");
    }

    #[test]
    fn a_clock_is_followed_near_by_and_believed_after_a_week_of_running() {
        let year = YEAR_MS / HOUR_MS;
        check(&[(1, 1), (1, 2), (0, 20), (1, -5)], 18, false);
        // A jump, and set right after three days.
        check(&[(1, year)], 1, true);
        check(&[(1, year), (72, 72), (0, 1 - year)], 73, false);
        check(&[(1, year), (167, 167)], 168, true);
        check(&[(1, year), (168, 168)], year + 168, false);
        // Back: a machine that has lost its clock, until it has asked for the time.
        check(&[(0, -50 * year), (1, 1)], 1, true);
        check(&[(0, -50 * year), (1, 50 * year + 1)], 1, false);
        // A week counts across restarts and nights without power, but of one claim only.
        let nights: Vec<_> = [(0, year)].into_iter().chain([(16, 24); 10]).collect();
        check(&nights, 160, true);
        check(&[&nights[..], &[(16, 24)]].concat(), year + 11 * 24, false);
        check(&[(0, year), (160, 160), (0, year), (100, 100)], 260, true);
        check(&[(0, year), (160, 160), (0, 48), (100, 100)], 260, true);
    }

    #[test]
    fn no_time_is_too_far() {
        for now_ms in [i64::MIN, 0, i64::MAX] {
            for t_ms in [i64::MIN, 0, i64::MAX] {
                let clock = AgeClock::at(t_ms).follow(now_ms, i64::MAX);
                assert!(clock.waited_ms == 0 || clock.is_waiting());
            }
        }
    }
}
