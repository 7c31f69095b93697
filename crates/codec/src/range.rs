//! Integer range coder with the shortest ending.
//!
//! A carry-propagating range coder (G. N. N. Martin, 1979): 32-bit low and range, totals up to 2^16, byte
//! output while the range is below 2^24. A window is a few bytes, so the ending matters: the encoder picks, among
//! all values that decode alike, one with the most zero bytes at the end, and drops those. The decoder reads
//! zeros past the end. Hence no code ends in a zero byte, and the empty code is valid.

mod meter;

use crate::freq::{Table, ilog2, log2_q4};
pub(crate) use meter::{Meter, Metered};

/// Range below which a byte is put out.
const RENORM_BELOW: u32 = 1 << 24;
/// Most equally likely bits in one call.
pub(crate) const BITS_MAX: u32 = 16;

/// Why coding stopped early: no room left (encoder) or bytes no encoder writes (decoder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// Where in the format a symbol stands; learning counts by site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The rung, or the mark of a special window.
    Head,
    /// First value of channel `.0`.
    First(usize),
    /// A difference in raw context `.0` (see `context.rs`).
    Diff(usize),
    /// Latent `.0`.
    Latent(usize),
    /// Whether any residual differs from zero.
    ResidualFlag,
    /// A residual in context `.0`.
    Residual(usize),
    /// A difference of channel `.0` under a distribution of its own.
    Predicted(usize),
    /// Everything with a fixed prior.
    Fixed,
}

/// What is done with a symbol.
pub enum Turn {
    /// It is read: the one that lies at this place of the total.
    Read(u32),
    /// It is written.
    Write,
    /// Only its share of the total counts, not where it lies.
    Weigh,
}

/// One walk through a window's symbols serves both directions: an encoder writes `sym` and returns it, a decoder
/// ignores it and returns what it read. A kind of coder only says how a range is narrowed; the symbols' methods below are
/// there once for all kinds, because a device has several and little flash.
pub trait Coder {
    /// What is done with the next symbol, one of `total`.
    fn turn(&mut self, _total: u32) -> Turn {
        Turn::Write
    }
    /// Narrows the range to `[cum, cum + freq)` of `total`; the last symbol takes the remainder.
    fn narrow(&mut self, cum: u32, freq: u32, total: u32) -> Result<(), Stop>;
    /// Is shown each symbol of a site before it is written: what learning counts.
    #[cfg(feature = "bundle")]
    fn see(&mut self, _site: Site, _sym: usize) {}
    /// Sixteenths of a bit that the symbols so far have taken: the same for whoever writes and whoever reads.
    fn spent(&self) -> u32 {
        0
    }
    /// Bytes of the whole code, where that is known and tells something.
    fn code_len(&self) -> Option<usize> {
        None
    }
    /// From here on the length of the code is not told.
    fn hide_len(&mut self) {}
}

impl dyn Coder + '_ {
    /// Codes one symbol of `table`.
    pub fn symbol(&mut self, site: Site, table: Table<'_>, sym: usize) -> Result<usize, Stop> {
        let total = table.total();
        let (sym, cum, freq) = match self.turn(total) {
            Turn::Read(target) => table.find(target),
            Turn::Write => {
                self.show(site, sym);
                let (cum, freq) = table.interval(sym);
                (sym, cum, freq)
            }
            Turn::Weigh => (sym, 0, table.interval_width(sym)),
        };
        self.narrow(cum, freq, total)?;
        Ok(sym)
    }

    /// Codes one of `freqs`, each at least 1 and together at most 2^16.
    pub fn weighted(&mut self, site: Site, freqs: &[u32], sym: usize) -> Result<usize, Stop> {
        let total = freqs.iter().sum();
        let (mut sym, mut cum) = (sym, 0);
        if let Turn::Read(target) = self.turn(total) {
            sym = 0;
            while target >= cum + freqs[sym] {
                cum += freqs[sym];
                sym += 1;
            }
        } else {
            self.show(site, sym);
            cum = freqs[..sym].iter().sum();
        }
        self.narrow(cum, freqs[sym], total)?;
        Ok(sym)
    }

    /// Codes one of `n` symbols of which symbol `s` begins at `cum(s)` and ends at `cum(s + 1)`, always later;
    /// `cum(0)` is 0, `cum(n)` the total, at most 2^16.
    pub fn between(
        &mut self,
        site: Site,
        n: usize,
        cum: &dyn Fn(usize) -> u32,
        sym: usize,
    ) -> Result<usize, Stop> {
        let total = cum(n);
        let Turn::Read(target) = self.turn(total) else {
            self.show(site, sym);
            let from = cum(sym);
            self.narrow(from, cum(sym + 1) - from, total)?;
            return Ok(sym);
        };
        let (mut low, mut low_cum, mut high, mut high_cum) = (0, 0, n, total);
        let (mut at, mut step) = (n / 2, 1);
        while high - low > 1 {
            let at_cum = cum(at);
            if target < at_cum {
                (high, high_cum) = (at, at_cum);
            } else {
                (low, low_cum) = (at, at_cum);
            }
            // Nearly always it lies near the middle: outwards from there, then between what is known.
            at = match (low, high) {
                (0, _) => high.saturating_sub(step).max(1),
                (_, high) if high == n => (low + step).min(n - 1),
                _ => low.midpoint(high),
            };
            step *= 2;
        }
        self.narrow(low_cum, high_cum - low_cum, total)?;
        Ok(low)
    }

    /// Codes one of `total <= 2^16` equally likely values.
    pub fn uniform(&mut self, total: u32, value: u32) -> Result<u32, Stop> {
        let value = if let Turn::Read(target) = self.turn(total) { target } else { value };
        self.narrow(value, 1, total)?;
        Ok(value)
    }

    /// Codes `n_bits <= 16` equally likely bits.
    pub fn bits(&mut self, n_bits: u32, value: u32) -> Result<u32, Stop> {
        if n_bits == 0 { Ok(0) } else { self.uniform(1 << n_bits, value) }
    }

    #[cfg(feature = "bundle")]
    fn show(&mut self, site: Site, sym: usize) {
        self.see(site, sym);
    }

    #[cfg(not(feature = "bundle"))]
    fn show(&mut self, _: Site, _: usize) {}
}

/// Writes a code into a slice.
pub struct Encoder<'a> {
    low: u32,
    range: u32,
    out: &'a mut [u8],
    out_len: usize,
    code_len: Option<usize>,
}

/// Sixteenths of a bit behind so many bytes and a range.
fn spent(n_bytes: usize, range: u32) -> u32 {
    n_bytes as u32 * 128 + 512 - log2_q4(range)
}

impl<'a> Encoder<'a> {
    /// Starts a code at the front of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { low: 0, range: u32::MAX, out, out_len: 0, code_len: None }
    }

    /// The same of a code that shall have `code_len` bytes, and tells its symbols so.
    pub(crate) fn of_len(out: &'a mut [u8], code_len: usize) -> Self {
        Self { code_len: Some(code_len), ..Self::new(out) }
    }

    /// Adds one to the bytes already written. There always is one to add to: the value stays below 1.
    fn carry(&mut self) {
        for byte in self.out[..self.out_len].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// Ends the code; returns its bytes.
    pub fn finish(mut self) -> Result<usize, Stop> {
        self.end()
    }

    fn end(&mut self) -> Result<usize, Stop> {
        if self.low != 0 {
            let (_, carries) = self.low.overflowing_add(self.range - 1);
            if carries {
                // 2^32 lies in the range: carry, and everything after is zero.
                self.carry();
            } else {
                // The range holds a multiple of 2^24.
                let top = (self.low.wrapping_add(RENORM_BELOW - 1) >> 24) as u8;
                *self.out.get_mut(self.out_len).ok_or(Stop)? = top;
                self.out_len += 1;
            }
        }
        while self.out_len > 0 && self.out[self.out_len - 1] == 0 {
            self.out_len -= 1;
        }
        Ok(self.out_len)
    }
}

impl Coder for Encoder<'_> {
    fn narrow(&mut self, cum: u32, freq: u32, total: u32) -> Result<(), Stop> {
        let unit = self.range / total;
        let below = unit * cum;
        let (low, carry) = self.low.overflowing_add(below);
        self.low = low;
        if carry {
            self.carry();
        }
        self.range = if cum + freq == total { self.range - below } else { unit * freq };
        while self.range < RENORM_BELOW {
            let slot = self.out.get_mut(self.out_len).ok_or(Stop)?;
            *slot = (self.low >> 24) as u8;
            self.out_len += 1;
            self.low <<= 8;
            self.range <<= 8;
        }
        Ok(())
    }

    fn spent(&self) -> u32 {
        spent(self.out_len, self.range)
    }

    fn code_len(&self) -> Option<usize> {
        self.code_len
    }
}

/// Reads a code from a slice.
pub struct Decoder<'a> {
    /// The code's value minus the low end of the range.
    offset: u32,
    range: u32,
    code: &'a [u8],
    n_read: usize,
    tells_len: bool,
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `code`.
    pub fn new(code: &'a [u8]) -> Self {
        let mut this = Self { offset: 0, range: u32::MAX, code, n_read: 0, tells_len: true };
        for _ in 0..4 {
            this.offset = this.offset << 8 | this.next();
        }
        this
    }

    fn next(&mut self) -> u32 {
        let byte = self.code.get(self.n_read).copied().unwrap_or(0);
        self.n_read += 1;
        u32::from(byte)
    }

    /// Checks that an encoder could have ended so: at most one byte past those the symbols needed, no zero at the end.
    pub fn finish(self) -> Result<(), Stop> {
        // The encoder has written `n_read - 4` bytes when the decoder has read `n_read`, and ends with at most one.
        self.finish_padded(0)
    }

    /// The same of a code that at most `padding_max` zeros may follow.
    pub(crate) fn finish_padded(self, padding_max: usize) -> Result<(), Stop> {
        let needed_max = self.n_read - 3;
        let n_zeros = self.code.iter().rev().take_while(|&&byte| byte == 0).count();
        if self.code.len() - n_zeros <= needed_max && n_zeros <= padding_max { Ok(()) } else { Err(Stop) }
    }
}

impl Coder for Decoder<'_> {
    fn turn(&mut self, total: u32) -> Turn {
        // The remainder of the division belongs to the last symbol.
        Turn::Read((self.offset / (self.range / total)).min(total - 1))
    }

    fn narrow(&mut self, cum: u32, freq: u32, total: u32) -> Result<(), Stop> {
        let unit = self.range / total;
        self.offset -= unit * cum;
        self.range = if cum + freq == total { self.range - unit * cum } else { unit * freq };
        while self.range < RENORM_BELOW {
            self.offset = self.offset << 8 | self.next();
            self.range <<= 8;
        }
        Ok(())
    }

    fn spent(&self) -> u32 {
        spent(self.n_read - 4, self.range)
    }

    fn code_len(&self) -> Option<usize> {
        Some(self.code.len()).filter(|_| self.tells_len)
    }

    fn hide_len(&mut self) {
        self.tells_len = false;
    }
}

/// Codes `value < 2^28` of unknown size: Elias gamma on `value + 1`, all bits equally likely.
pub(crate) fn code_unbounded(coder: &mut dyn Coder, value: u32) -> Result<u32, Stop> {
    let wanted = ilog2(value + 1);
    let mut n_bits = 0;
    while coder.bits(1, u32::from(n_bits < wanted))? == 1 {
        n_bits += 1;
        if n_bits > 28 {
            return Err(Stop);
        }
    }
    let tail = code_wide(coder, n_bits, (value + 1) & ((1 << n_bits) - 1))?;
    Ok(((1 << n_bits) | tail) - 1)
}

/// Codes `value < 2^n_bits`, `n_bits <= 32`, all values equally likely.
pub(crate) fn code_wide(coder: &mut dyn Coder, n_bits: u32, value: u32) -> Result<u32, Stop> {
    let (high_bits, low_bits) = (n_bits.saturating_sub(BITS_MAX), n_bits.min(BITS_MAX));
    let high = coder.bits(high_bits, if high_bits == 0 { 0 } else { value >> low_bits })?;
    let low = coder.bits(low_bits, value & ((1 << low_bits) - 1))?;
    Ok(high << low_bits | low)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn dynamic(coder: &mut dyn Coder) -> &mut dyn Coder {
        coder
    }

    fn round_trip(values: &[(u32, u32)]) -> Vec<u8> {
        let mut out = [0; 4096];
        let mut encoder = Encoder::new(&mut out);
        for &(n_bits, value) in values {
            dynamic(&mut encoder).bits(n_bits, value).unwrap();
        }
        let code_len = encoder.finish().unwrap();
        let mut decoder = Decoder::new(&out[..code_len]);
        for &(n_bits, value) in values {
            assert_eq!(dynamic(&mut decoder).bits(n_bits, 0), Ok(value));
        }
        assert_eq!(decoder.finish(), Ok(()));
        out[..code_len].to_vec()
    }

    #[test]
    fn zeros_cost_nothing_and_codes_never_end_in_zero() {
        assert!(round_trip(&[(16, 0); 50]).is_empty());
        assert_eq!(round_trip(&[(8, 0x80)]).len(), 1);
    }

    #[test]
    fn carries_run_through() {
        round_trip(&[(8, 0xff), (16, 0xffff), (16, 0xffff), (1, 1), (16, 0xffff), (16, 1)]);
    }

    #[test]
    fn refuses_bytes_nobody_needed() {
        for extra in 2..5 {
            let mut code = round_trip(&[(8, 0x5a), (8, 0xa5)]);
            code.extend(std::iter::repeat_n(7, extra));
            let mut decoder = Decoder::new(&code);
            let _ = (dynamic(&mut decoder).bits(8, 0), dynamic(&mut decoder).bits(8, 0));
            assert_eq!(decoder.finish(), Err(Stop), "{extra} bytes more");
        }
    }

    proptest! {
        #[test]
        fn bits_round_trip(values in prop::collection::vec((0u32..=16, any::<u32>()), 0..200)) {
            let values: Vec<_> = values.iter().map(|&(n, v)| (n, v & ((1 << n) - 1))).collect();
            let code = round_trip(&values);
            let n_bits: u32 = values.iter().map(|v| v.0).sum();
            prop_assert!(code.len() as u32 <= n_bits.div_ceil(8) + 1);
        }

        #[test]
        fn unbounded_round_trip(values in prop::collection::vec(0u32..(1 << 28), 0..50)) {
            let mut out = [0; 4096];
            let mut encoder = Encoder::new(&mut out);
            for &value in &values {
                code_unbounded(&mut encoder, value).unwrap();
                code_wide(&mut encoder, 28, value).unwrap();
            }
            let code_len = encoder.finish().unwrap();
            let mut decoder = Decoder::new(&out[..code_len]);
            for &value in &values {
                prop_assert_eq!(code_unbounded(&mut decoder, 0), Ok(value));
                prop_assert_eq!(code_wide(&mut decoder, 28, 0), Ok(value));
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }
}
