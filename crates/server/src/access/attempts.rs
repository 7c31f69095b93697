//! How often somebody may try a password: per address and per name, whoever tries.
//!
//! Counted are failures. A name may be failed at by anybody, which must not lock its owner out for long: its bucket holds
//! more than an address may use, and fills again by the minute. IPv6 addresses count by the /64 their owner has been given.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::pace::{Meters, Pace};

/// Failures of one address at once, and then one in six seconds.
const PER_ADDRESS: u32 = 10;
/// Failures at one name at once, and then one in three seconds.
const PER_NAME: u32 = 40;
const ADDRESS_EVERY: Duration = Duration::from_secs(6);
const NAME_EVERY: Duration = Duration::from_secs(3);
/// Addresses, and names, that are counted; those beyond share one count.
const COUNTED_MAX: usize = 10_000;

pub(super) struct Attempts {
    begun: Instant,
    addresses: Meters<IpAddr>,
    names: Meters<String>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { begun: Instant::now(), addresses: Meters::new(COUNTED_MAX), names: Meters::new(COUNTED_MAX) }
    }
}

impl Attempts {
    /// Counts an attempt before it is made, so that many at once do not slip through; or says how long to wait.
    pub(super) fn begin(&self, from: IpAddr, name: &str) -> Result<(), Duration> {
        self.begin_at(from, name, self.begun.elapsed())
    }

    fn begin_at(&self, from: IpAddr, name: &str, now: Duration) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.addresses.take(owner_of(from), per_address(), now_ns)?;
        self.names.take(name.to_owned(), per_name(), now_ns)
    }

    /// It was the right password, and no failure. What was failed at before stays counted: an account of one's own shall
    /// not be worth more guesses at another.
    pub(super) fn succeeded(&self, from: IpAddr, name: &str) {
        self.addresses.give_back(&owner_of(from), per_address());
        self.names.give_back(&name.to_owned(), per_name());
    }
}

fn per_address() -> Pace {
    Pace::new(1, ADDRESS_EVERY, ADDRESS_EVERY * PER_ADDRESS)
}

fn per_name() -> Pace {
    Pace::new(1, NAME_EVERY, NAME_EVERY * PER_NAME)
}

fn owner_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_name_are_slowed_down_each_by_itself() {
        let attempts = Attempts::default();
        let begin = |from: &str, name: &str, s| {
            attempts.begin_at(from.parse().unwrap(), name, Duration::from_secs(s)).is_ok()
        };
        let tried = |from: &str, name, s| (0..100).filter(|_| begin(from, name, s)).count();
        assert_eq!(tried("192.0.2.1", "anna", 1), 10);
        assert_eq!(
            tried("192.0.2.1", "bob", 1),
            0,
            "the address has used up its attempts, whatever the name"
        );
        assert_eq!(tried("2001:db8::1", "bob", 1), 10);
        assert_eq!(tried("2001:db8::ffff:2", "bob", 1), 0, "the same network");
        assert_eq!(tried("::ffff:192.0.2.1", "bob", 1), 0, "the same address");
        // Many addresses at one name.
        let n: usize = (2..100).map(|i| tried(&format!("192.0.2.{i}"), "anna", 1)).sum();
        assert_eq!(n, 30);
        assert!(begin("198.51.100.1", "carol", 1), "others are not held up");
        // Its owner gets in again soon.
        assert!(begin("198.51.100.2", "anna", 4));
        assert!(!begin("198.51.100.3", "anna", 4));
        attempts.succeeded("198.51.100.2".parse().unwrap(), "anna");
        assert!(begin("198.51.100.2", "anna", 4), "a success is no failure");
        assert!(!begin("198.51.100.2", "anna", 4), "and undoes none");
    }
}
