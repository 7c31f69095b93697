//! How long to wait before something that failed is tried again.

/// First wait for Wi-Fi, in milliseconds.
const MIN_MS: u64 = 1_000;
/// Longest wait: an access point that restarts is back within minutes.
const MAX_MS: u64 = 120_000;

/// Doubling waits with jitter: boards that lost the same access point do not come back in the same second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Milliseconds to wait after one more failure; `random` is any 32 random bits.
    pub fn failed(&mut self, random: u32) -> u64 {
        let wait = wait_ms(MIN_MS, MAX_MS, self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }

    /// It worked: the next failure waits shortly again.
    pub fn worked(&mut self) {
        self.attempts = 0;
    }
}

/// `min` doubled for each failure `before`, at most `max`, give or take a quarter; `random` is any 32 random bits.
pub fn wait_ms(min: u64, max: u64, before: u32, random: u32) -> u64 {
    let wait = (min << before.min(16)).min(max);
    wait - wait / 4 + (wait / 2 * u64::from(random)) / u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_two_minutes_give_or_take_a_quarter() {
        let mut backoff = Backoff::default();
        let low: std::vec::Vec<u64> = (0..9).map(|_| backoff.failed(0)).collect();
        assert_eq!(low, [750, 1500, 3000, 6000, 12_000, 24_000, 48_000, 90_000, 90_000]);
        assert_eq!(backoff.failed(u32::MAX), 150_000);
        backoff.worked();
        assert_eq!(backoff.failed(u32::MAX), 1_250);
        backoff.attempts = u32::MAX;
        assert!(backoff.failed(1) < 150_001);
    }
}
