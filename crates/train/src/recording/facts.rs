//! What the training part says of a channel, and grids it allows.

use std::ops::Range;

use kinglet_codec::{BOUND_STEPS_MAX, Decimal, Grid};

use super::converted::Converted;
use super::quantum::STEPS_MAX;
use super::series::RecordedChannel;

/// Steps of a bound on a channel without a step of its own.
const PARTS_OF_BOUND: i64 = 64;
/// Most parts of a step that no decimal says: in longer periods counts are not looked for.
const PARTS_OF_STEP_MAX: i64 = 1000;
/// Largest mantissa of a step that a bundle keeps: `spec/bundle.md`.
const QUANTUM_MAX: i128 = 1 << 34;
/// Digits after the point a grid may have.
const SCALE_MAX: u8 = 15;

/// What the training part says of a channel.
pub(super) struct Facts {
    min: Decimal,
    max: Decimal,
    pub(super) deviation: f64,
}

impl Facts {
    pub(super) fn of(channel: &RecordedChannel, rows: Range<usize>) -> Option<Self> {
        let readings = || rows.clone().filter_map(|row| channel.values.get(row));
        let float = |d: Decimal| d.mantissa() as f64 / 10f64.powi(i32::from(d.scale()));
        let n = readings().count() as f64;
        // Two passes in a fixed order: the same bits on every machine.
        let mean = readings().map(float).sum::<f64>() / n;
        let variance = readings().map(|d| (float(d) - mean) * (float(d) - mean)).sum::<f64>() / n;
        Some(Self { min: readings().min()?, max: readings().max()?, deviation: variance.sqrt() })
    }

    /// `percent` of the deviation, rounded down to six digits.
    pub(super) fn percent(&self, percent: Decimal) -> Decimal {
        let bound = self.deviation * (percent.mantissa() as f64 / 10f64.powi(i32::from(percent.scale()) + 2));
        let written = format!("{bound:.16e}");
        let (digits, exponent) = written.split_once('e').unwrap_or(("0", "0"));
        // One digit, the point, five digits.
        format!("{}e{exponent}", &digits[..digits.len().min(7)]).parse().unwrap_or_default()
    }

    /// A 64th of the bound, its bound in steps; coarser where 24 bits or the digits ask for it.
    pub(super) fn part_of_bound(&self, bound: Decimal) -> Option<(Decimal, u32)> {
        let mut parts = PARTS_OF_BOUND;
        while parts >= 1 {
            if let Some(step) = divide(bound, parts)
                && self.fits(step)
            {
                return Some((step, bound_steps_beside(bound, step)?));
            }
            parts /= 2;
        }
        None
    }

    /// A part of a step that is wider than the bound, so that readings beside each other are told apart anyway, and
    /// its grid.
    pub(super) fn part_of_step(&self, converted: &Converted, bound: Decimal) -> Option<(Decimal, Grid)> {
        let in_bounds = converted.step / (bound.mantissa() as f64 / 10f64.powi(i32::from(bound.scale())));
        if in_bounds <= 1.0 {
            return None;
        }
        let mut parts = ((PARTS_OF_BOUND as f64 * in_bounds).ceil() as i64).min(PARTS_OF_STEP_MAX);
        while parts >= 1 {
            let step = converted.part(parts)?;
            let anchor = in_digits_of(step, converted.anchor)?;
            let steps = bound_steps_beside(bound, step)?;
            if let Some(grid) = self.grid(step, anchor, steps, true).filter(|_| self.fits(step)) {
                return Some((step, grid));
            }
            parts /= 2;
        }
        None
    }

    /// The least reading in the digits of `step`: computed ones have more than a bundle keeps.
    pub(super) fn least(&self, step: Decimal) -> Decimal {
        in_digits_of(step, self.min).unwrap_or(self.min)
    }

    fn fits(&self, step: Decimal) -> bool {
        let scale = self.max.scale().max(self.min.scale()).max(step.scale());
        let range = self.max.at_scale(scale) - self.min.at_scale(scale);
        range / step.at_scale(scale) <= STEPS_MAX && self.grid(step, self.least(step), 0, true).is_some()
    }

    /// The grid of `step` through `anchor`, its origin the step at or below the least reading.
    pub(super) fn grid(
        &self,
        step: Decimal,
        anchor: Decimal,
        bound_steps: u32,
        rounds: bool,
    ) -> Option<Grid> {
        let scale = step.scale().max(anchor.scale()).min(SCALE_MAX);
        let at = |d: Decimal| d.at_scale(scale);
        let steps = (at(self.min) - at(anchor)).div_euclid(at(step));
        let origin = i64::try_from(at(anchor) + steps * at(step)).ok()?;
        // Room for every step beside the origin.
        let reach = at(step).checked_mul(1 << 27)?.checked_add(i128::from(origin).abs())?;
        i64::try_from(reach).ok()?;
        if at(step) > QUANTUM_MAX {
            return None;
        }
        Some(Grid { scale, origin, quantum: i64::try_from(at(step)).ok()?, bound_steps, rounds })
    }
}

/// `bound / parts`, exact where the digits allow it, else rounded down; `None` if nothing is left.
fn divide(bound: Decimal, parts: i64) -> Option<Decimal> {
    let scale = (bound.scale() + 6).min(SCALE_MAX);
    let mantissa = bound.at_scale(scale) / i128::from(parts);
    let (mut mantissa, mut scale) = (mantissa, scale);
    // At most nine digits, so that origin and step fit together.
    while mantissa >= 1_000_000_000 && scale > 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa > 0).then(|| i64::try_from(mantissa).ok().map(|m| Decimal::new(m, scale)))?
}

/// `floor((bound - step / 2) / step)`; `None` if the rounding alone breaks the bound.
pub(super) fn bound_steps_beside(bound: Decimal, step: Decimal) -> Option<u32> {
    let scale = bound.scale().max(step.scale());
    let (bound, step) = (2 * bound.at_scale(scale), 2 * step.at_scale(scale));
    let room = bound - step / 2;
    (room >= 0).then(|| (room / step).min(i128::from(BOUND_STEPS_MAX)) as u32)
}

/// `value` rounded to the digits of `step`.
fn in_digits_of(step: Decimal, value: Decimal) -> Option<Decimal> {
    Some(Decimal::new(i64::try_from(value.at_scale(step.scale())).ok()?, step.scale()))
}
