//! One walk through a window's symbols counts them, writes them and reads them, so that every yardstick's bytes are
//! bytes that can be read back.

use kinglet_codec::learn::{Coder, Decoder, Encoder, Site, Stop};

use super::tables::Tables;

/// Most magnitude classes: every value a grid can say has one.
pub(super) const CLASSES_MAX: usize = 112;
/// Magnitudes with a class of their own; above there are four classes an octave.
const EXACT: u32 = 16;

/// What a walk tells its symbols to.
pub(super) trait Walker {
    /// Codes one symbol of table `table`.
    fn symbol(&mut self, table: usize, sym: usize) -> Result<usize, Stop>;
    /// Codes `n_bits <= 28` equally likely bits.
    fn bits(&mut self, n_bits: u32, value: u32) -> Result<u32, Stop>;
    /// Magnitude classes of a signed table.
    fn n_classes(&self, table: usize) -> usize;
}

/// A coder: its walk through one window.
pub(super) trait Walk {
    /// Codes `steps`, `[samples × channels]`, sample-major. A reader's are ignored; afterwards both hold what a
    /// reader reads.
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop>;
    /// Its tables.
    fn specs(&self) -> Vec<super::tables::Spec>;
    /// Bytes a device keeps beside the tables.
    fn static_len(&self) -> usize;
}

/// Codes a signed value: its class and sign as one symbol, the rest as bits; the last class is open-ended.
pub(super) fn signed(w: &mut impl Walker, table: usize, value: i32) -> Result<i32, Stop> {
    let n_classes = w.n_classes(table);
    let magnitude = value.unsigned_abs();
    let class = class_of(magnitude).min(n_classes - 1);
    let sym = if value == 0 { 0 } else { 2 * class - usize::from(value > 0) };
    let sym = w.symbol(table, sym)?;
    if sym == 0 {
        return Ok(0);
    }
    let (class, is_positive) = (sym.div_ceil(2), sym % 2 == 1);
    let (first, n_bits) = class_range(class);
    let magnitude = if class == n_classes - 1 {
        first.wrapping_add(unbounded(w, magnitude.wrapping_sub(first))?)
    } else {
        first + w.bits(n_bits, magnitude.wrapping_sub(first) & ((1 << n_bits) - 1))?
    };
    Ok(if is_positive { magnitude as i32 } else { -(magnitude as i32) })
}

/// Elias gamma of `value + 1`.
pub(super) fn unbounded(w: &mut impl Walker, value: u32) -> Result<u32, Stop> {
    let wanted = 31 - (value & ((1 << 28) - 1)).wrapping_add(1).leading_zeros();
    let mut n_bits = 0;
    while w.bits(1, u32::from(n_bits < wanted))? == 1 {
        n_bits += 1;
        if n_bits > 28 {
            return Err(Stop);
        }
    }
    let tail = w.bits(n_bits, value.wrapping_add(1) & ((1 << n_bits) - 1))?;
    Ok(((1 << n_bits) | tail) - 1)
}

pub(super) fn class_of(magnitude: u32) -> usize {
    if magnitude < EXACT {
        return magnitude as usize;
    }
    let octave = magnitude.ilog2();
    (EXACT + (octave - 4) * 4 + (magnitude >> (octave - 2) & 3)) as usize
}

/// First magnitude of a class, and the bits that tell its members apart.
fn class_range(class: usize) -> (u32, u32) {
    let class = class as u32;
    if class < EXACT {
        return (class, 0);
    }
    let (octave, quarter) = (4 + (class - EXACT) / 4, (class - EXACT) % 4);
    ((4 + quarter) << (octave - 2), octave - 2)
}

/// Counts symbols.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) counts: Vec<Vec<f64>>,
}

impl Walker for Tally {
    fn symbol(&mut self, table: usize, sym: usize) -> Result<usize, Stop> {
        if self.counts.len() <= table {
            self.counts.resize(table + 1, Vec::new());
        }
        let counts = &mut self.counts[table];
        if counts.len() <= sym {
            counts.resize(sym + 1, 0.0);
        }
        counts[sym] += 1.0;
        Ok(sym)
    }

    fn bits(&mut self, _: u32, value: u32) -> Result<u32, Stop> {
        Ok(value)
    }

    fn n_classes(&self, _: usize) -> usize {
        CLASSES_MAX
    }
}

/// Adds up what symbols cost, without coding them.
pub(super) struct Price<'a> {
    pub(super) tables: &'a Tables,
    pub(super) n_bits: f64,
}

impl Walker for Price<'_> {
    fn symbol(&mut self, table: usize, sym: usize) -> Result<usize, Stop> {
        self.n_bits += self.tables.cost(table, sym);
        Ok(sym)
    }

    fn bits(&mut self, n_bits: u32, value: u32) -> Result<u32, Stop> {
        self.n_bits += f64::from(n_bits);
        Ok(value)
    }

    fn n_classes(&self, table: usize) -> usize {
        self.tables.n_classes(table)
    }
}

/// Writes or reads real bytes.
struct Coded<'a, C> {
    coder: C,
    tables: &'a Tables,
}

impl<C: Coder> Walker for Coded<'_, C> {
    fn symbol(&mut self, table: usize, sym: usize) -> Result<usize, Stop> {
        (&mut self.coder as &mut dyn Coder).weighted(Site::Fixed, self.tables.freqs(table), sym)
    }

    fn bits(&mut self, n_bits: u32, value: u32) -> Result<u32, Stop> {
        let (high_bits, low_bits) = (n_bits.saturating_sub(16), n_bits.min(16));
        let coder: &mut dyn Coder = &mut self.coder;
        let high = coder.bits(high_bits, value.checked_shr(low_bits).unwrap_or(0))?;
        let low = coder.bits(low_bits, value & ((1 << low_bits) - 1))?;
        Ok(high << low_bits | low)
    }

    fn n_classes(&self, table: usize) -> usize {
        self.tables.n_classes(table)
    }
}

/// The code of `steps`, which become what a reader reads.
pub(super) fn encode(
    walk: &impl Walk,
    tables: &Tables,
    steps: &mut [i32],
    out: &mut [u8],
) -> Result<usize, Stop> {
    let mut coded = Coded { coder: Encoder::new(out), tables };
    walk.walk(&mut coded, steps)?;
    coded.coder.finish()
}

/// Reads a code into `steps`.
pub(super) fn decode(walk: &impl Walk, tables: &Tables, code: &[u8], steps: &mut [i32]) -> Result<(), Stop> {
    let mut coded = Coded { coder: Decoder::new(code), tables };
    walk.walk(&mut coded, steps)?;
    coded.coder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_magnitude_once() {
        let mut class = 0;
        for magnitude in 0..100_000u32 {
            let now = class_of(magnitude);
            assert!(now == class || now == class + 1);
            let (first, n_bits) = class_range(now);
            assert!(first <= magnitude && magnitude - first < 1 << n_bits, "{magnitude}");
            class = now;
        }
        assert!(class_of(1 << 27) < CLASSES_MAX);
    }
}
