//! Codes that are measured: without writing them, or until they are longer than they may be.

use super::{Coder, Encoder, RENORM_BELOW, Stop, Turn};
use crate::freq::log2_q4;

/// Measures a code without writing it, to a sixteenth of a bit.
#[derive(Clone, Copy)]
pub(crate) struct Meter {
    range: u32,
    n_bytes: u32,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { range: u32::MAX, n_bytes: 0 }
    }

    /// Sixteenths of a bit so far.
    pub(crate) fn cost(&self) -> u32 {
        self.n_bytes * 128 + 512 - log2_q4(self.range)
    }
}

impl Coder for Meter {
    fn turn(&mut self, _: u32) -> Turn {
        Turn::Weigh
    }

    fn narrow(&mut self, _: u32, freq: u32, total: u32) -> Result<(), Stop> {
        self.range = self.range / total * freq;
        while self.range < RENORM_BELOW {
            self.range <<= 8;
            self.n_bytes += 1;
        }
        Ok(())
    }
}

/// Writes a code and measures it, until it is longer than it may be.
pub(crate) struct Metered<'a> {
    encoder: Encoder<'a>,
    meter: Meter,
    /// Stops at a code that costs more, in sixteenths of a bit.
    cost_max: u32,
}

impl<'a> Metered<'a> {
    pub(crate) fn new(out: &'a mut [u8], cost_max: u32) -> Self {
        Self { encoder: Encoder::new(out), meter: Meter::new(), cost_max }
    }

    /// Sixteenths of a bit so far.
    pub(crate) fn cost(&self) -> u32 {
        self.meter.cost()
    }

    /// Ends the code; returns its bytes.
    pub(crate) fn finish(mut self) -> Result<usize, Stop> {
        self.end()
    }

    /// The same where another code follows from a [`Mark`].
    pub(crate) fn end(&mut self) -> Result<usize, Stop> {
        self.encoder.end()
    }

    /// Where the code is now.
    pub(crate) fn mark(&self) -> Mark {
        let &Encoder { low, range, out_len, ref out, .. } = &self.encoder;
        let last_byte = out_len.checked_sub(1).map_or(0, |last| out[last]);
        Mark { low, range, out_len, last_byte, meter: self.meter }
    }

    /// Goes back to where it was.
    pub(crate) fn back_to(&mut self, mark: &Mark) {
        let encoder = &mut self.encoder;
        let written = &mut encoder.out[..mark.out_len];
        // One carry at most has come this far, and has changed the last byte.
        if written.last().is_some_and(|&byte| byte != mark.last_byte) {
            for byte in written.iter_mut().rev() {
                *byte = byte.wrapping_sub(1);
                if *byte != u8::MAX {
                    break;
                }
            }
        }
        (encoder.low, encoder.range, encoder.out_len) = (mark.low, mark.range, mark.out_len);
        self.meter = mark.meter;
    }
}

/// A place in a code that several go on from.
pub(crate) struct Mark {
    low: u32,
    range: u32,
    out_len: usize,
    last_byte: u8,
    meter: Meter,
}

impl Coder for Metered<'_> {
    fn narrow(&mut self, cum: u32, freq: u32, total: u32) -> Result<(), Stop> {
        self.meter.narrow(cum, freq, total)?;
        // Whole bytes alone, which is quicker to compare and never more than the cost.
        if self.meter.n_bytes * 128 > self.cost_max {
            Err(Stop)
        } else {
            self.encoder.narrow(cum, freq, total)
        }
    }

    fn spent(&self) -> u32 {
        self.encoder.spent()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::range::Site;
    use proptest::prelude::*;

    fn as_coder<'a>(metered: &'a mut Metered<'_>) -> &'a mut (dyn Coder + 'a) {
        metered
    }

    proptest! {
        #[test]
        fn codes_go_on_from_a_mark(
            shared in prop::collection::vec(any::<u8>(), 0..30),
            ends in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5),
        ) {
            // Mostly high values: carries run far.
            let value = |byte: &u8| if *byte < 100 { u32::from(*byte) } else { 0xff };
            let (mut out, mut alone) = ([0; 64], [0; 64]);
            let mut metered = Metered::new(&mut out, u32::MAX);
            for byte in &shared {
                as_coder(&mut metered).bits(8, value(byte)).unwrap();
            }
            let mark = metered.mark();
            for end in &ends {
                let mut other = Metered::new(&mut alone, u32::MAX);
                for byte in &shared {
                    as_coder(&mut other).bits(8, value(byte)).unwrap();
                }
                for byte in end {
                    as_coder(&mut metered).weighted(Site::Fixed, &[1, 300, 2], usize::from(*byte) % 3).unwrap();
                    as_coder(&mut other).weighted(Site::Fixed, &[1, 300, 2], usize::from(*byte) % 3).unwrap();
                }
                prop_assert_eq!(metered.cost(), other.cost());
                let len = other.finish().unwrap();
                prop_assert_eq!(metered.end(), Ok(len));
                prop_assert_eq!(&metered.encoder.out[..len], &alone[..len]);
                metered.back_to(&mark);
            }
        }
    }
}
