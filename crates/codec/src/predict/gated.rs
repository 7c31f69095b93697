//! The network's distribution of one difference with the context table as one more component.
//!
//! How much the table weighs is an output of the network like any other, so that each does what it does well: the
//! table knows the spikes of a sensor that mostly holds still, the network knows where a moving one goes.

use core::cell::Cell;

use super::mixture::Mixture;
use crate::alphabet;
use crate::freq::Table;
use crate::range::{Coder, Site, Stop};

/// Classes of distances from the centre, on each side; the outermost is open.
const CLASSES: i32 = 32;
/// One symbol a class, negative ones first.
const N_SYMBOLS: usize = 2 * CLASSES as usize + 1;
/// All symbols together.
const TOTAL: u32 = 1 << 16;
/// Farther centres are not believed, so that every distance from one can be said.
const CENTRE_MAX: i32 = 1 << 26;

pub(crate) struct Gated<'a> {
    mixture: &'a Mixture,
    table: Table<'a>,
    centre: i32,
    /// What was asked of the table last, and its answer: a symbol's end is often one value from its beginning.
    asked: Cell<(i32, u32)>,
}

impl<'a> Gated<'a> {
    pub(crate) fn new(mixture: &'a Mixture, table: Table<'a>) -> Self {
        let centre = mixture.centre().clamp(-CENTRE_MAX, CENTRE_MAX);
        Self { mixture, table, centre, asked: Cell::new((i32::MAX, 0)) }
    }

    /// Codes the difference `d`.
    pub(crate) fn code(&self, coder: &mut dyn Coder, site: Site, d: i32) -> Result<i32, Stop> {
        let distance = d.wrapping_sub(self.centre);
        let class = alphabet::signed_class(distance, CLASSES);
        let sym = coder.between(site, N_SYMBOLS, &|sym| self.cum(sym), (class + CLASSES) as usize)?;
        let class = sym as i32 - CLASSES;
        Ok(self.centre + alphabet::code_inside(coder, class, CLASSES, distance)?)
    }

    /// Where symbol `sym` begins.
    fn cum(&self, sym: usize) -> u32 {
        if sym == 0 {
            return 0;
        }
        if sym >= N_SYMBOLS {
            return TOTAL;
        }
        let class = sym as i32 - CLASSES;
        let edge = if class > 0 {
            alphabet::first_of(class as u32) as i32
        } else {
            1 - alphabet::first_of(class.unsigned_abs() + 1) as i32
        };
        // Every symbol keeps a width of one.
        ((self.below(self.centre + edge) * (TOTAL - N_SYMBOLS as u32)) >> 16) + sym as u32
    }

    /// Probability of a difference below `d`, Q16.
    fn below(&self, d: i32) -> u32 {
        let table = match self.mixture.rest() {
            0 => 0,
            weight => weight * ((self.freq_below(d) << 15) / self.table.total()),
        };
        // Boundaries lie half way between values.
        (self.mixture.below((i64::from(d) << 4) - 8) + table) >> 9
    }

    fn freq_below(&self, d: i32) -> u32 {
        let (asked, freq) = self.asked.get();
        let own = if asked == d - 1 { alphabet::freq_of_exact(self.table, asked) } else { None };
        let freq = own.map_or_else(|| alphabet::freq_below(self.table, d), |own| freq + own);
        self.asked.set((d, freq));
        freq
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn symbols_tile_the_total() {
        let mut bytes = Vec::new();
        crate::freq::emit_table(&[9.0, 3.0, 3.0, 1.0, 1.0, 0.1, 0.1], &mut bytes);
        let table = Table::checked(&bytes);
        for (linear, rest) in [(0, 0), (1 << 40, 5000), (-77, -5000), (1 << 55, 300), (5000, 0)] {
            let outputs = [40, -900, 3000, -512, 256, 2000, 100, 0, -100, rest];
            let mixture = Mixture::new(&[linear, 0, -linear], 3000, &outputs, true);
            let gated = Gated::new(&mixture, table);
            let cums: Vec<u32> = (0..=N_SYMBOLS).map(|sym| gated.cum(sym)).collect();
            assert_eq!((cums[0], cums[N_SYMBOLS]), (0, TOTAL));
            assert!(cums.windows(2).all(|w| w[0] < w[1]), "{linear} {rest}");
        }
    }

    #[test]
    fn a_table_that_weighs_all_is_the_distribution() {
        let mut bytes = Vec::new();
        crate::freq::emit_table(&[8.0, 4.0, 4.0], &mut bytes);
        let table = Table::checked(&bytes);
        let mixture = Mixture::new(&[0; 3], 256, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 20], true);
        let gated = Gated::new(&mixture, table);
        let mass = |d: i32| f64::from(gated.below(d + 1) - gated.below(d)) / 65536.0;
        for (d, p) in [(0, 0.5), (1, 0.25), (-1, 0.25)] {
            assert!((mass(d) - p).abs() < 0.02, "{d}: {}", mass(d));
        }
    }
}
