//! Which windows are done with: a number below which all are, and 64 bits from there on.

use super::{Reader, Writer};

/// Which windows are done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// All windows below are released or lost.
    pub(crate) low: u32,
    /// Bit `i`: window `low + i` is released too.
    pub(crate) released: u64,
    /// Windows lost so far.
    pub(crate) lost: u32,
}

impl Mark {
    pub(crate) fn emit(&self, out: &mut [u8]) -> usize {
        let mut w = Writer(out, 0);
        w.u32(self.low);
        w.u64(self.released);
        w.u32(self.lost);
        w.1
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        Some(Self { low: r.u32()?, released: r.u64()?, lost: r.u32()? })
    }

    /// True if window `id` needs nothing any more.
    pub(crate) fn is_done(&self, id: u32) -> bool {
        match id.checked_sub(self.low) {
            None => true,
            Some(bit @ 0..64) => self.released >> bit & 1 == 1,
            Some(_) => false,
        }
    }

    /// Notes that window `id`, less than 64 above `low`, is done with.
    pub(crate) fn set_done(&mut self, id: u32) {
        if let Some(bit @ 0..64) = id.checked_sub(self.low) {
            self.released |= 1 << bit;
        }
        let run = self.released.trailing_ones();
        self.low = self.low.saturating_add(run);
        self.released = self.released.checked_shr(run).unwrap_or(0);
    }

    /// Gives up every window below `low`; those not released are lost.
    pub(crate) fn give_up_below(&mut self, low: u32) {
        let Some(n @ 1..) = low.checked_sub(self.low) else { return };
        let gone = if n < 64 { self.released & ((1 << n) - 1) } else { self.released };
        self.lost = self.lost.wrapping_add(n - gone.count_ones());
        self.low = low;
        self.released = self.released.checked_shr(n).unwrap_or(0);
        let run = self.released.trailing_ones();
        self.low = self.low.saturating_add(run);
        self.released = self.released.checked_shr(run).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_slide_over_what_is_done() {
        let mut mark = Mark::default();
        for id in [2, 0, 63] {
            mark.set_done(id);
        }
        assert_eq!((mark.low, mark.is_done(0), mark.is_done(1), mark.is_done(2)), (1, true, false, true));
        mark.set_done(1);
        assert_eq!((mark.low, mark.is_done(63), mark.is_done(64), mark.lost), (3, true, false, 0));
        // 3..63 are given up, 63 was released, 64..70 are given up.
        mark.give_up_below(70);
        assert_eq!(mark, Mark { low: 70, released: 0, lost: 60 + 6 });
        mark.give_up_below(10);
        assert_eq!(mark.low, 70);
    }

    #[test]
    fn giving_up_to_a_released_window_goes_past_it() {
        let mut mark = Mark { low: 10, released: 0b1100, lost: 5 };
        mark.give_up_below(12);
        assert_eq!(mark, Mark { low: 14, released: 0, lost: 7 });
        let mut mark = Mark { low: 0, released: !1, lost: 0 };
        mark.set_done(0);
        assert_eq!(mark, Mark { low: 64, released: 0, lost: 0 });
    }
}
