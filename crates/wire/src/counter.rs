//! The 48-bit frame counter, and its four bytes in a header.

/// Number of a frame under one generation and direction, below 2^48. Never used twice under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Counter(u64);

/// A counter as a header carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShortCounter {
    /// The low 32 bits.
    Low(u32),
    /// All 48 bits.
    Full(Counter),
}

impl Counter {
    /// The last counter there is. After it a device must join anew.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// `None` from 2^48 on.
    pub const fn new(n: u64) -> Option<Self> {
        if n <= Self::MAX.0 { Some(Self(n)) } else { None }
    }

    /// The number, below 2^48; fits an `i64` column.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The counter after this one. `None` at the end: a counter never wraps.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// The counter `n` further on, as far as there are counters.
    pub const fn checked_add(self, n: u64) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(sum) => Self::new(sum),
            None => None,
        }
    }

    /// Takes the low 48 bits, as read from six bytes.
    pub(crate) const fn from_bits(n: u64) -> Self {
        Self(n & Self::MAX.0)
    }

    pub(crate) const fn low(self) -> u32 {
        self.0 as u32
    }
}

impl From<u32> for Counter {
    fn from(n: u32) -> Self {
        Self(n.into())
    }
}

impl ShortCounter {
    /// The form a device sends.
    ///
    /// Up to 2^31 the low bytes alone say everything. From there on the first frame after a boot and every
    /// 256th are full, so that no gap can leave the two ends apart. The form is part of the frame: a repeat has
    /// the form of the first sending, or it would be another frame under the same nonce.
    pub fn of(counter: Counter, first_after_boot: bool) -> Self {
        let lone = counter.get() < 1 << 31;
        if lone || !(first_after_boot || counter.get().is_multiple_of(256)) {
            Self::Low(counter.low())
        } else {
            Self::Full(counter)
        }
    }

    /// True if a header with this form can stand for `counter`.
    pub fn fits(self, counter: Counter) -> bool {
        match self {
            Self::Low(low) => low == counter.low(),
            Self::Full(full) => full == counter,
        }
    }

    /// The full counter: of all with these low bits the one nearest to `highest`, the highest counter that
    /// opened under the generation so far (none: the counter has not yet passed 2^32).
    ///
    /// A wrong guess does no harm: the counter is in the nonce, so the frame does not open.
    pub fn rebuild(self, highest: Option<Counter>) -> Counter {
        let low = match self {
            Self::Low(low) => u64::from(low),
            Self::Full(full) => return full,
        };
        let highest = highest.unwrap_or_default().get();
        let same = (highest & !0xffff_ffff) | low;
        let candidates = [same.checked_sub(1 << 32), Some(same), Some(same + (1 << 32))];
        candidates
            .into_iter()
            .flatten()
            .filter_map(Counter::new)
            .min_by_key(|c| c.get().abs_diff(highest))
            .unwrap_or(Counter(same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: u32, highest: Option<u64>, expected: u64) {
        let highest = highest.map(|h| Counter::new(h).unwrap());
        assert_eq!(ShortCounter::Low(low).rebuild(highest).get(), expected, "{low:#x} after {highest:?}");
    }

    #[test]
    fn rebuilds_the_nearest() {
        check(0, None, 0);
        check(5, None, 5);
        check(0x7fff_ffff, None, 0x7fff_ffff);
        // With nothing below zero to be nearer to, all 32 bits are read as they stand.
        check(0xffff_ffff, None, 0xffff_ffff);
        check(5, Some(4), 5);
        check(4, Some(5), 4);
        check(0, Some(0xffff_ffff), 0x1_0000_0000);
        check(0xffff_ffff, Some(0x1_0000_0000), 0xffff_ffff);
        // Jumps: 2^16 is nothing, just short of 2^31 still forward, just past it backward.
        check(0x0001_0000, Some(0), 0x0001_0000);
        check(0x8000_0000 - 1, Some(0x5_0000_0000), 0x5_7fff_ffff);
        check(0x8000_0001, Some(0x5_0000_0000), 0x4_8000_0001);
    }

    #[test]
    fn never_leaves_48_bits() {
        check(0xffff_ffff, Some(Counter::MAX.get()), Counter::MAX.get());
        check(0, Some(Counter::MAX.get()), 0xffff_0000_0000);
        check(0xffff_fff0, Some(0xffff_0000_0005), 0xfffe_ffff_fff0);
        assert_eq!(Counter::MAX.next(), None);
        assert_eq!(Counter::new(1 << 48), None);
    }

    #[test]
    fn sends_four_bytes_until_they_do_not_say_everything() {
        let of = |n, boot| ShortCounter::of(Counter::new(n).unwrap(), boot);
        assert_eq!(of(0, true), ShortCounter::Low(0));
        assert_eq!(of((1 << 31) - 1, true), ShortCounter::Low(0x7fff_ffff));
        assert_eq!(of(1 << 31, false), ShortCounter::Full(Counter(1 << 31)));
        assert_eq!(of((1 << 31) + 1, false), ShortCounter::Low(0x8000_0001));
        assert_eq!(of((1 << 31) + 1, true), ShortCounter::Full(Counter((1 << 31) + 1)));
        assert_eq!(of((1 << 32) + 512, false), ShortCounter::Full(Counter((1 << 32) + 512)));
    }
}
