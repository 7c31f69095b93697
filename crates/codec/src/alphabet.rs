//! How a signed number becomes a symbol and a few raw bits.
//!
//! Magnitudes up to 8 have a symbol each; above, symbols stand for half-octaves (widths 2, 2, 4, 4, 8, 8, …) with
//! the place inside as raw bits, as in the magnitude categories of JPEG; the last class of a table is open-ended
//! and coded in Elias gamma. Symbols are ordered 0, +1, −1, +2, −2, …: the likely ones come first.

use crate::freq::{Table, ilog2};
use crate::range::{Coder, Site, Stop, code_unbounded, code_wide};

/// Magnitudes with a symbol of their own.
const EXACT: u32 = 8;
/// Most magnitude classes a table can have: `2 · CLASSES_MAX + 1` symbols.
pub const CLASSES_MAX: usize = 48;
/// Largest magnitude that is coded.
pub(crate) const MAGNITUDE_MAX: u32 = (1 << 28) - 1;

/// Class of a magnitude, its first member and its raw bits. Class 0 is the magnitude 0.
fn class_of(magnitude: u32) -> (u32, u32, u32) {
    if magnitude <= EXACT {
        return (magnitude, magnitude, 0);
    }
    // From 9 on, octave k >= 0 covers [9 + 4(2^k - 1), …) in two halves of 2^(k+1) each.
    let octave = ilog2((magnitude - EXACT - 1) / 4 + 1);
    let octave_first = EXACT + 1 + 4 * ((1 << octave) - 1);
    let half = (magnitude - octave_first) >> (octave + 1);
    (EXACT + 1 + 2 * octave + half, octave_first + (half << (octave + 1)), octave + 1)
}

/// First member and raw bits of a class: the inverse of [`class_of`].
fn class_span(class: u32) -> (u32, u32) {
    if class <= EXACT {
        return (class, 0);
    }
    let (octave, half) = ((class - EXACT - 1) / 2, (class - EXACT - 1) % 2);
    (EXACT + 1 + 4 * ((1 << octave) - 1) + (half << (octave + 1)), octave + 1)
}

/// The symbol of `value` in an alphabet of `2 · n_classes + 1` symbols.
pub fn symbol_of(value: i32, n_classes: usize) -> usize {
    symbol_in(class_of(value.unsigned_abs()).0, value, n_classes)
}

/// The same, the class of its magnitude being known.
fn symbol_in(class: u32, value: i32, n_classes: usize) -> usize {
    let class = (class as usize).min(n_classes);
    match value {
        0 => 0,
        1.. => 2 * class - 1,
        _ => 2 * class,
    }
}

/// Raw bits behind the symbol of `value`, those of an open class guessed.
pub fn symbol_raw_bits(value: i32, n_classes: usize) -> u32 {
    let (class, _, raw_bits) = class_of(value.unsigned_abs());
    raw_bits_in(class, raw_bits, n_classes)
}

fn raw_bits_in(class: u32, raw_bits: u32, n_classes: usize) -> u32 {
    // Values of the open class share it out as far as an octave of its own would.
    if class as usize >= n_classes { raw_bits.max(3) + 1 } else { raw_bits }
}

/// Cost of `value` in sixteenths of a bit.
pub(crate) fn cost(table: Table<'_>, value: i32) -> u32 {
    let n_classes = table.len() / 2;
    let magnitude = value.unsigned_abs();
    let (class, _, raw_bits) = class_of(magnitude);
    let raw = if (class as usize) < n_classes {
        raw_bits
    } else {
        let (first, _) = class_span(n_classes as u32);
        2 * ilog2(magnitude - first + 1) + 1
    };
    table.cost(symbol_in(class, value, n_classes)) + 16 * raw
}

/// Share of a table's total that falls on `value` alone.
pub(crate) fn freq_of_value(table: Table<'_>, value: i32) -> u32 {
    let n_classes = table.len() / 2;
    let (class, _, raw_bits) = class_of(value.unsigned_abs());
    let width = table.interval_width(symbol_in(class, value, n_classes));
    width >> raw_bits_in(class, raw_bits, n_classes).min(31)
}

/// What [`freq_below`] grows by from `value` to the next, if `value` has a class of its own.
pub(crate) fn freq_of_exact(table: Table<'_>, value: i32) -> Option<u32> {
    let magnitude = value.unsigned_abs();
    let has_symbol = magnitude as usize <= table.len() / 2;
    let freq = || if has_symbol { table.interval_width(symbol_of(value, table.len() / 2)) } else { 0 };
    (magnitude <= EXACT).then(freq)
}

/// Share of a table's total that falls below `value`, each class spread evenly over its values; what lies beyond
/// the first values of the open class has none.
pub(crate) fn freq_below(table: Table<'_>, value: i32) -> u32 {
    if value <= 0 {
        freq_beyond(table, value.unsigned_abs(), 2)
    } else {
        table.total() - freq_beyond(table, value.unsigned_abs() - 1, 1)
    }
}

/// Share of magnitudes above `magnitude` of one sign: symbols `sym_of_one`, two further, four further, ….
fn freq_beyond(table: Table<'_>, magnitude: u32, sym_of_one: usize) -> u32 {
    let n_classes = table.len() / 2;
    let (class, first, raw_bits) = class_of(magnitude);
    let sym_of = |class: usize| sym_of_one + 2 * (class - 1);
    let class = class as usize;
    if class > n_classes {
        return 0;
    }
    let mut sum = 0;
    if class > 0 {
        let left = (1 << raw_bits) - 1 - (magnitude - first);
        sum = ((u64::from(table.interval_width(sym_of(class))) * u64::from(left)) >> raw_bits) as u32;
    }
    sum + table.widths(sym_of(class + 1)..).step_by(2).sum::<u32>()
}

/// First magnitude of `class`, for alphabets without a table.
pub(crate) fn first_of(class: u32) -> u32 {
    class_span(class).0
}

/// The class of a value, negative for negative values, with at most `n_classes` on each side.
pub(crate) fn signed_class(value: i32, n_classes: i32) -> i32 {
    let class = (class_of(value.unsigned_abs()).0 as i32).min(n_classes);
    if value < 0 { -class } else { class }
}

/// Codes where in its class a value lies; `class` is one of `-n_classes..=n_classes`, the outermost open.
pub(crate) fn code_inside(
    coder: &mut dyn Coder,
    class: i32,
    n_classes: i32,
    value: i32,
) -> Result<i32, Stop> {
    let (first, raw_bits) = class_span(class.unsigned_abs());
    let above = value.unsigned_abs().wrapping_sub(first) & MAGNITUDE_MAX;
    let magnitude = if class.abs() == n_classes {
        first + code_unbounded(coder, above)?
    } else {
        first + code_wide(coder, raw_bits, above)?
    };
    if magnitude > MAGNITUDE_MAX {
        return Err(Stop);
    }
    Ok(if class < 0 { -(magnitude as i32) } else { magnitude as i32 })
}

/// Codes `value`, `|value| <= MAGNITUDE_MAX`, with a table of `2 · n_classes + 1` symbols.
pub(crate) fn code(coder: &mut dyn Coder, site: Site, table: Table<'_>, value: i32) -> Result<i32, Stop> {
    let n_classes = table.len() / 2;
    let sym = coder.symbol(site, table, symbol_of(value, n_classes))?;
    if sym == 0 {
        return Ok(0);
    }
    let class = sym.div_ceil(2) as i32;
    code_inside(coder, if sym % 2 == 1 { class } else { -class }, n_classes as i32, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_tile_the_magnitudes() {
        let mut next = 0;
        for class in 0..CLASSES_MAX as u32 {
            let (first, raw_bits) = class_span(class);
            assert_eq!(first, next, "class {class}");
            next = first + (1 << raw_bits);
            for magnitude in [first, next - 1] {
                assert_eq!(class_of(magnitude), (class, first, raw_bits), "magnitude {magnitude}");
            }
        }
        assert_eq!((class_span(9), class_span(10), class_span(11)), ((9, 1), (11, 1), (13, 2)));
    }

    #[test]
    fn shares_below_rise_to_the_total() {
        let mut bytes = std::vec::Vec::new();
        crate::freq::emit_table(
            &(0..25).map(|s| 1.0 / f64::from(1 + s)).collect::<std::vec::Vec<_>>(),
            &mut bytes,
        );
        let table = Table::checked(&bytes);
        let mut before = 0;
        for value in -60..=60 {
            let below = freq_below(table, value);
            assert!(below >= before && below <= table.total(), "{value}");
            if value.abs() <= 8 {
                let own = table.interval_width(symbol_of(value, 12));
                assert_eq!(freq_below(table, value + 1) - below, own, "{value}");
            }
            for n_symbols in [3, 9, 17, 19, 25] {
                let mut bytes = std::vec::Vec::new();
                crate::freq::emit_table(&[1.0, 0.5, 0.2].repeat(9)[..n_symbols], &mut bytes);
                let table = Table::checked(&bytes);
                let own = freq_below(table, value + 1) - freq_below(table, value);
                assert_eq!(
                    freq_of_exact(table, value),
                    (value.abs() <= 8).then_some(own),
                    "{value} {n_symbols}"
                );
            }
            before = below;
        }
        assert_eq!((freq_below(table, -60), freq_below(table, 60)), (0, table.total()));
    }

    #[test]
    fn symbols_are_ordered_by_magnitude() {
        let symbols: [usize; 5] = [0, 1, -1, 2, -2].map(|v| symbol_of(v, 20));
        assert_eq!(symbols, [0, 1, 2, 3, 4]);
        assert_eq!((symbol_of(1 << 20, 12), symbol_of(-(1 << 20), 12)), (23, 24));
    }
}
