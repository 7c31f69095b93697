//! Frequency tables of one byte per symbol.
//!
//! A byte `c` stands for the frequency `2^15 · 2^(-c/16)`, at least 1, so that it is at once the symbol's cost in
//! sixteenths of a bit. A table's total is stored beside it: a decoder needs no pass to find it, and no RAM.

use crate::model::Reader;

/// `2^15 · 2^(-i/16)`, rounded.
const MANTISSA: [u16; 16] = [
    32768, 31379, 30048, 28774, 27554, 26386, 25268, 24196, 23170, 22188, 21247, 20347, 19484, 18658, 17867,
    17109,
];
/// Largest total the range coder takes.
pub(crate) const TOTAL_MAX: u32 = 1 << 16;
/// Most symbols in a table.
pub const SYMBOLS_MAX: usize = 128;

/// The frequency a byte stands for.
pub fn freq_of(code: u8) -> u32 {
    (u32::from(MANTISSA[usize::from(code & 15)]) >> (code >> 4)).max(1)
}

/// Position of the highest bit; 0 for 0. Where there is no instruction for it, it is counted in a few steps.
pub(crate) fn ilog2(x: u32) -> u32 {
    if cfg!(not(target_arch = "riscv32")) {
        return x.checked_ilog2().unwrap_or(0);
    }
    let (mut rest, mut n) = (x, 0);
    for half in [16, 8, 4, 2, 1] {
        if rest >> half != 0 {
            rest >>= half;
            n += half;
        }
    }
    n
}

/// Binary logarithm in sixteenths, linear inside an octave; 0 for 0.
pub(crate) fn log2_q4(x: u32) -> u32 {
    let octave = ilog2(x);
    let mantissa = if octave < 4 { x << (4 - octave) } else { x >> (octave - 4) };
    16 * octave + (mantissa & 15)
}

/// A checked frequency table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    total: u32,
    codes: &'a [u8],
}

/// A table written in the source: `total` must be the sum of the frequencies (a test checks each).
pub(crate) const fn fixed(total: u32, codes: &'static [u8]) -> Table<'static> {
    Table { total, codes }
}

impl<'a> Table<'a> {
    /// Reads `n_symbols` bytes after a 16-bit total minus one, and checks the total.
    pub(crate) fn parse(reader: &mut Reader<'a>, n_symbols: usize) -> Option<Self> {
        Self::read(reader, n_symbols).filter(Self::is_sound)
    }

    /// Reads a table whose total is another's to check.
    pub(crate) fn read(reader: &mut Reader<'a>, n_symbols: usize) -> Option<Self> {
        let total = u32::from(reader.u16()?) + 1;
        Some(Self { total, codes: reader.bytes(n_symbols)? })
    }

    /// True if the total is that of the frequencies.
    pub(crate) fn is_sound(&self) -> bool {
        let sum: u32 = self.codes.iter().map(|&c| freq_of(c)).sum();
        self.codes.len() <= SYMBOLS_MAX && sum == self.total
    }

    /// A table whose bytes [`Table::parse`] has accepted before.
    pub(crate) fn checked(bytes: &'a [u8]) -> Self {
        Self { total: u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) + 1, codes: &bytes[2..] }
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Symbols in the table.
    pub(crate) fn len(&self) -> usize {
        self.codes.len()
    }

    /// Cost of `sym` in sixteenths of a bit, not counting that totals differ from 2^15.
    pub(crate) fn cost(&self, sym: usize) -> u32 {
        u32::from(self.codes[sym])
    }

    /// Width of `sym`.
    pub(crate) fn interval_width(&self, sym: usize) -> u32 {
        freq_of(self.codes[sym])
    }

    /// Widths of a run of symbols; none where it begins behind the last.
    pub(crate) fn widths(&self, from: core::ops::RangeFrom<usize>) -> impl Iterator<Item = u32> + use<'a> {
        self.codes.get(from).unwrap_or_default().iter().map(|&code| freq_of(code))
    }

    /// Start and width of `sym`.
    pub(crate) fn interval(&self, sym: usize) -> (u32, u32) {
        let cum = self.codes[..sym].iter().map(|&c| freq_of(c)).sum();
        (cum, freq_of(self.codes[sym]))
    }

    /// The symbol whose interval holds `target < total`, with its start and width.
    pub(crate) fn find(&self, target: u32) -> (usize, u32, u32) {
        let (mut cum, last) = (0, self.codes.len() - 1);
        for (sym, &code) in self.codes[..last].iter().enumerate() {
            let freq = freq_of(code);
            if target < cum + freq {
                return (sym, cum, freq);
            }
            cum += freq;
        }
        (last, cum, self.total - cum)
    }
}

/// Turns counts into table bytes: total (16 bits, minus one), then a byte a symbol.
#[cfg(feature = "bundle")]
pub fn emit_table(weights: &[f64], out: &mut std::vec::Vec<u8>) {
    let sum: f64 = weights.iter().sum();
    let mut codes: std::vec::Vec<u8> = weights
        .iter()
        .map(|&w| {
            let cost = if w > 0.0 { -libm::log2(w / sum) * 16.0 } else { 255.0 };
            // A cost of 0 would leave no room for anyone else.
            libm::round(cost).clamp(0.0, 255.0) as u8
        })
        .collect();
    // Rounding can only overshoot when nearly everything lies on few symbols.
    while codes.iter().map(|&c| freq_of(c)).sum::<u32>() > TOTAL_MAX {
        for code in &mut codes {
            *code = code.saturating_add(1);
        }
    }
    let total: u32 = codes.iter().map(|&c| freq_of(c)).sum();
    out.extend(((total - 1) as u16).to_le_bytes());
    out.extend(codes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mantissas_are_powers_of_two() {
        for (i, &m) in MANTISSA.iter().enumerate() {
            let exact = 32768.0 * 2f64.powf(-(i as f64) / 16.0);
            assert!((f64::from(m) - exact).abs() <= 0.5, "{i}");
        }
        assert_eq!(freq_of(255), 1);
    }

    #[test]
    fn find_inverts_interval() {
        let codes = [3u8, 80, 16, 255, 100, 47];
        let total = codes.iter().map(|&c| freq_of(c)).sum();
        let table = Table { total, codes: &codes };
        for sym in 0..codes.len() {
            let (cum, freq) = table.interval(sym);
            assert_eq!(table.find(cum), (sym, cum, freq));
            assert_eq!(table.find(cum + freq - 1), (sym, cum, freq));
        }
    }
}
