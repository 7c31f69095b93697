//! Readings on an integer grid, and what a bound is worth there.

use crate::decimal::{Decimal, div_round, pow10};

/// A reading the sensor did not give.
pub const MISSING: i32 = i32::MIN;
/// A reading above everything the grid can say.
pub const ABOVE: i32 = i32::MAX;
/// A reading below everything the grid can say.
pub const BELOW: i32 = i32::MIN + 1;
/// Largest magnitude of a reading's step; leaves room for sums and differences in `i32`.
pub const STEP_MAX: i32 = (1 << 26) - 1;
/// Largest magnitude of a decoded step: a bound beyond the largest reading.
pub(crate) const DECODED_MAX: i32 = (1 << 27) - 1;
/// Largest bound in steps.
pub const BOUND_STEPS_MAX: u32 = 1 << 24;
const _: () = assert!(STEP_MAX as u32 + BOUND_STEPS_MAX <= DECODED_MAX as u32);

/// True if `step` is a number on the grid rather than [`MISSING`], [`ABOVE`] or [`BELOW`].
pub fn is_step(step: i32) -> bool {
    step.unsigned_abs() <= DECODED_MAX.unsigned_abs()
}

/// Smallest and largest step of channel `idx` in a window, sample-major; `None` if it has none.
pub(crate) fn extent(steps: &[i32], idx: usize, n_channels: usize) -> Option<(i32, i32)> {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    let mut at = idx;
    while let Some(&x) = steps.get(at) {
        if is_step(x) {
            (low, high) = (low.min(x), high.max(x));
        }
        at += n_channels;
    }
    (low <= high).then_some((low, high))
}

/// A channel's grid: `value = (origin + step × quantum) × 10^-scale`, and the bound in native steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Digits after the point of `origin` and `quantum`.
    pub scale: u8,
    /// Mantissa of the value at step 0.
    pub origin: i64,
    /// Mantissa of one step, at least 1.
    pub quantum: i64,
    /// `E`: how many steps a decoded value may lie from the encoded one. 0 is lossless.
    pub bound_steps: u32,
    /// True if the bound in steps leaves room for rounding readings to the grid, at most half a step; false if
    /// readings are expected to lie on it.
    pub rounds: bool,
}

/// A reading on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantised {
    /// The nearest step, or [`ABOVE`] or [`BELOW`].
    pub step: i32,
    /// True if the bound in steps keeps the bound for the reading itself: it lies on the step, or the grid leaves
    /// room for rounding.
    pub exact: bool,
}

impl Grid {
    /// The step nearest to `reading`, halves away from zero.
    pub fn quantise(&self, reading: Decimal) -> Quantised {
        let scale = self.scale.max(reading.scale());
        let unit = i128::from(pow10(scale - self.scale));
        let distance = reading.at_scale(scale) - i128::from(self.origin) * unit;
        let quantum = i128::from(self.quantum) * unit;
        let step = div_round(distance, quantum);
        if step.unsigned_abs() > STEP_MAX.unsigned_abs().into() {
            return Quantised { step: if step > 0 { ABOVE } else { BELOW }, exact: true };
        }
        Quantised { step: step as i32, exact: self.rounds || step * quantum == distance }
    }

    /// The value at `step`; `None` for [`MISSING`], [`ABOVE`] and [`BELOW`].
    pub fn value(&self, step: i32) -> Option<Decimal> {
        let mantissa = i64::from(step).checked_mul(self.quantum)?.checked_add(self.origin)?;
        is_step(step).then(|| Decimal::new(mantissa, self.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTHS: Grid = Grid { scale: 1, origin: -400, quantum: 1, bound_steps: 0, rounds: false };

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn quantise_and_value_are_inverse_on_the_grid() {
        for step in [-STEP_MAX, -1, 0, 1, 637, STEP_MAX] {
            let value = TENTHS.value(step).unwrap();
            assert_eq!(TENTHS.quantise(value), Quantised { step, exact: true });
        }
    }

    #[test]
    fn rounds_what_lies_between_and_says_so() {
        assert_eq!(TENTHS.quantise(d("23.74")), Quantised { step: 637, exact: false });
        assert_eq!(TENTHS.quantise(d("23.75")), Quantised { step: 638, exact: false });
        assert_eq!(TENTHS.quantise(d("23.7")), Quantised { step: 637, exact: true });
    }

    #[test]
    fn a_grid_with_room_takes_what_lies_between() {
        let grid = Grid { bound_steps: 1, rounds: true, ..TENTHS };
        assert_eq!(grid.quantise(d("23.74")), Quantised { step: 637, exact: true });
    }

    #[test]
    fn says_above_and_below_instead_of_clipping() {
        assert_eq!(TENTHS.quantise(d("1e12")).step, ABOVE);
        assert_eq!(TENTHS.quantise(d("-1e12")).step, BELOW);
        assert_eq!(TENTHS.value(MISSING), None);
    }
}
