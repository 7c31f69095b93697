//! How often something may be done: a bucket that fills by itself, kept as one number, the time at which it will be
//! full again (the generic cell rate algorithm of ITU-T I.371).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Nanoseconds that each one costs; 0 for no limit.
    each_ns: u64,
    /// Nanoseconds the bucket holds.
    room_ns: u64,
}

impl Pace {
    /// `n` in each `per`, and as many as come in `burst` at once. 0 is no limit.
    pub(crate) fn new(n: u32, per: Duration, burst: Duration) -> Self {
        Self { each_ns: nanos(per).checked_div(n.into()).unwrap_or(0), room_ns: nanos(burst) }
    }

    /// Each one costs so many nanoseconds; 0 is no limit.
    pub(crate) fn of(each_ns: u64, burst: Duration) -> Self {
        Self { each_ns, room_ns: nanos(burst) }
    }

    /// Nanoseconds that each one costs.
    pub(crate) fn each_ns(self) -> u64 {
        self.each_ns
    }

    /// When the bucket will be full again after `n` more, or how long they have to wait.
    fn after(self, full_at_ns: u64, now_ns: u64, n: u64) -> Result<u64, Duration> {
        let then = full_at_ns.max(now_ns).saturating_add(self.each_ns.saturating_mul(n));
        match then.saturating_sub(now_ns).saturating_sub(self.room_ns) {
            0 => Ok(then),
            // A single one larger than the bucket fits once it is full.
            _ if full_at_ns <= now_ns => Ok(then),
            wait => Err(Duration::from_nanos(wait)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One bucket. Times are nanoseconds since any moment that stays the same.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    /// Takes `n` at once, or says how long to wait.
    pub(crate) fn take(&self, pace: Pace, now_ns: u64, n: u64) -> Result<(), Duration> {
        if pace.each_ns == 0 {
            return Ok(());
        }
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let then = pace.after(full_at, now_ns, n)?;
            match self.0.compare_exchange_weak(full_at, then, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Says how long to wait for one, without taking it.
    pub(crate) fn look(&self, pace: Pace, now_ns: u64) -> Result<(), Duration> {
        if pace.each_ns == 0 {
            return Ok(());
        }
        pace.after(self.0.load(Ordering::Relaxed), now_ns, 1).map(|_| ())
    }

    /// Takes one whether it fits or not: the next ones wait for it.
    pub(crate) fn charge(&self, pace: Pace, now_ns: u64) {
        if pace.each_ns > 0 {
            let charged = |full_at: u64| Some(full_at.max(now_ns).saturating_add(pace.each_ns));
            // It always gives a number.
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
        }
    }
}

/// A bucket for each key, for at most so many at once; those beyond share one.
pub(crate) struct Meters<K> {
    n_max: usize,
    inner: Mutex<(HashMap<K, u64>, u64)>,
}

impl<K: Hash + Eq> Meters<K> {
    pub(crate) fn new(n_max: usize) -> Self {
        Self { n_max, inner: Mutex::new((HashMap::new(), 0)) }
    }

    /// Takes one from the bucket of `key`, or says how long to wait.
    pub(crate) fn take(&self, key: K, pace: Pace, now_ns: u64) -> Result<(), Duration> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (meters, others) = &mut *inner;
        if meters.len() >= self.n_max && !meters.contains_key(&key) {
            // A full bucket is as good as none.
            meters.retain(|_, full_at| *full_at > now_ns);
            if meters.len() >= self.n_max {
                *others = pace.after(*others, now_ns, 1)?;
                return Ok(());
            }
        }
        let full_at = meters.entry(key).or_insert(0);
        *full_at = pace.after(*full_at, now_ns, 1)?;
        Ok(())
    }

    /// Gives back what was taken from the bucket of `key`.
    pub(crate) fn give_back(&self, key: &K, pace: Pace) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = inner.0.get_mut(key) {
            *full_at = full_at.saturating_sub(pace.each_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn pace(n: u32, burst_s: u64) -> Pace {
        Pace::new(n, Duration::from_secs(1), Duration::from_secs(burst_s))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (meter, pace) = (Meter::default(), pace(10, 2));
        let taken = |now| (0..1000).filter(|_| meter.take(pace, now, 1).is_ok()).count();
        assert_eq!(taken(SECOND), 20);
        assert_eq!(meter.take(pace, SECOND, 1), Err(Duration::from_millis(100)));
        assert_eq!(meter.look(pace, SECOND), Err(Duration::from_millis(100)));
        assert_eq!(taken(2 * SECOND), 10);
        assert_eq!(taken(99 * SECOND), 20);
        // One that is larger than the bucket comes through once, and is paid for.
        assert!(meter.take(pace, 200 * SECOND, 50).is_ok());
        assert_eq!(meter.take(pace, 200 * SECOND, 1), Err(Duration::from_millis(3100)));
        meter.charge(pace, 200 * SECOND);
        assert_eq!(meter.look(pace, 200 * SECOND), Err(Duration::from_millis(3200)));
    }

    #[test]
    fn no_limit_is_none() {
        let (meter, none) = (Meter::default(), pace(0, 1));
        meter.charge(none, 0);
        assert!(meter.take(none, 0, u64::MAX).is_ok() && meter.look(none, 0).is_ok());
    }

    #[test]
    fn keys_do_not_take_from_each_other_and_memory_has_an_end() {
        let (meters, pace) = (Meters::new(3), pace(1, 2));
        for key in 0..3 {
            assert!(meters.take(key, pace, 0).is_ok() && meters.take(key, pace, 0).is_ok());
            assert!(meters.take(key, pace, 0).is_err());
        }
        // All others share one.
        assert!(meters.take(7, pace, 0).is_ok() && meters.take(8, pace, 0).is_ok());
        assert!(meters.take(9, pace, 0).is_err());
        meters.give_back(&0, pace);
        assert!(meters.take(0, pace, 0).is_ok() && meters.take(0, pace, 0).is_err());
        assert!(meters.take(9, pace, 3 * SECOND).is_ok());
        assert!(meters.inner.lock().unwrap().0.len() <= 3);
    }

    proptest! {
        /// In any stretch of time no more comes through than the burst and the rate allow.
        #[test]
        fn never_more_than_said(steps in prop::collection::vec((0..SECOND, 1u64..4), 1..200)) {
            let (meter, pace) = (Meter::default(), pace(50, 1));
            let (mut now, mut n) = (0, 0);
            for (step, wanted) in steps {
                now += step / 10;
                if meter.take(pace, now, wanted).is_ok() {
                    n += wanted;
                }
                let allowed = 50 + now * 50 / SECOND + 1;
                prop_assert!(n <= allowed, "{n} of {allowed}");
            }
        }
    }
}
