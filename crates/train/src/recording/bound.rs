//! Bounds as people state them, and the grid a bound is kept on.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use kinglet_codec::{BOUND_STEPS_MAX, Decimal, Grid};

use super::converted::Converted;
use super::facts::{Facts, bound_steps_beside};
use super::quantum::Quantum;
use super::series::RecordedChannel;

/// How far a decoded reading may lie from what the sensor gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// In the channel's unit, above 0.
    Natural(Decimal),
    /// In percent of the standard deviation of the training part, above 0.
    PercentOfDeviation(Decimal),
    /// Not at all.
    Lossless,
}

/// The text is no bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no bound: write a number in the channel's unit such as 0.25, a share of its deviation such as 2%, or lossless"
)]
pub struct ParseBoundError(String);

impl Bound {
    /// Reads `0.25,1` or `2%,lossless`: one bound per channel, or one for all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ParseBoundError> {
        text.split(',').map(str::parse).collect()
    }
}

impl FromStr for Bound {
    type Err = ParseBoundError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseBoundError(text.chars().take(40).collect());
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("lossless") {
            return Ok(Self::Lossless);
        }
        let (number, is_percent) = match trimmed.strip_suffix('%') {
            Some(number) => (number, true),
            None => (trimmed, false),
        };
        let number: Decimal = number.parse().map_err(|_| error())?;
        match number.mantissa() {
            0 => Ok(Self::Lossless),
            ..0 => Err(error()),
            _ if is_percent => Ok(Self::PercentOfDeviation(number)),
            _ => Ok(Self::Natural(number)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Natural(bound) => write!(f, "{bound}"),
            Self::PercentOfDeviation(percent) => write!(f, "{percent}%"),
            Self::Lossless => f.write_str("lossless"),
        }
    }
}

/// A channel's grid, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChosenGrid {
    /// The grid, its bound in steps.
    pub grid: Grid,
    /// The bound in the channel's unit that the grid keeps for every reading; 0 for lossless.
    pub bound: Decimal,
    /// One step of the grid.
    pub step: Decimal,
    /// Why this grid.
    pub basis: GridBasis,
    /// Standard deviation of the training part.
    pub deviation: f64,
}

/// Why a grid is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GridBasis {
    /// The sensor's own step, and every reading lies on it.
    SensorStep,
    /// The sensor's own step; strays beside it are rounded, and the bound in steps leaves room for that.
    SensorStepWithStrays,
    /// A finer step than the sensor's, so that strays keep the bound too.
    StepOfAll,
    /// Readings without a step: a 64th of the bound, or more where the range asks for it. The bound in steps
    /// leaves room for the rounding.
    PartOfBound,
    /// A whole part of a step that no decimal says, about a 64th of the bound: readings in another unit than the sensor's.
    /// The bound in steps leaves room for the rounding.
    PartOfConvertedStep,
}

/// Why a channel has no grid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// Lossless needs a step.
    #[error(
        "channel `{0}` has no sensor step (its readings look like means or computed values), so nothing short of its digits is lossless: give it a bound, for example --bound 1%"
    )]
    LosslessWithoutStep(String),
    /// Lossless needs every reading on a step.
    #[error(
        "channel `{channel}` has readings beside its step of {step}, so it cannot be lossless: give it a bound of at least {step}"
    )]
    LosslessBesideStep {
        /// The channel.
        channel: String,
        /// Its step.
        step: Decimal,
    },
    /// A bundle has no room for the digits of the channel's step.
    #[error(
        "the step {step} of channel `{channel}` has more digits than a bundle keeps, so it cannot be lossless: give it a bound, for example --bound 1%"
    )]
    LosslessTooManyDigits {
        /// The channel.
        channel: String,
        /// Its step.
        step: Decimal,
    },
    /// The range is more than 2^24 bounds wide, or the digits do not fit.
    #[error("the bound {bound} is too fine for the range of channel `{channel}`: give a larger one")]
    BoundTooFine {
        /// The channel.
        channel: String,
        /// The bound, in the channel's unit.
        bound: Decimal,
    },
    /// The training part has no reading.
    #[error(
        "channel `{0}` has no reading in the training part: leave it out with --channels, or record longer"
    )]
    NoReading(String),
}

/// The grid of `channel` for `bound`, exact in decimals: `E = floor(bound / step)`.
///
/// `rows`: the training part; origin and deviation come from it. `quantum`: of the whole channel. Readings
/// beside the grid are rounded to it by at most half a step, which `E` leaves room for:
/// `floor((bound - step / 2) / step)`. A channel without a step gets one of a 64th of the bound, or such a part of a step
/// no decimal says, and is refused as lossless.
pub fn grid_for(
    channel: &RecordedChannel,
    rows: Range<usize>,
    quantum: Option<&Quantum>,
    bound: Bound,
) -> Result<ChosenGrid, GridError> {
    let facts = Facts::of(channel, rows.clone()).ok_or_else(|| GridError::NoReading(channel.name.clone()))?;
    let bound = match bound {
        Bound::Natural(bound) => bound,
        Bound::PercentOfDeviation(percent) => facts.percent(percent),
        Bound::Lossless => Decimal::default(),
    };
    let too_fine = || GridError::BoundTooFine { channel: channel.name.clone(), bound };
    let part_of_bound = || {
        let (step, steps) = facts.part_of_bound(bound).ok_or_else(too_fine)?;
        Ok((step, steps, GridBasis::PartOfBound))
    };
    let choice = match quantum {
        Some(q) if q.n_on_grid == q.n_readings => (q.step, bound_steps(bound, q.step), GridBasis::SensorStep),
        Some(q) => match (bound_steps_beside(bound, q.step), q.step_of_all) {
            (Some(steps), _) => (q.step, steps, GridBasis::SensorStepWithStrays),
            (None, Some(fine)) => (fine, bound_steps(bound, fine), GridBasis::StepOfAll),
            (None, None) if bound.mantissa() == 0 => {
                return Err(GridError::LosslessBesideStep { channel: channel.name.clone(), step: q.step });
            }
            (None, None) => part_of_bound()?,
        },
        None if bound.mantissa() == 0 => return Err(GridError::LosslessWithoutStep(channel.name.clone())),
        None => {
            let readings = rows.filter_map(|row| channel.values.get(row));
            let converted = Converted::find(readings).and_then(|found| facts.part_of_step(&found, bound));
            if let Some((step, grid)) = converted {
                let basis = GridBasis::PartOfConvertedStep;
                return Ok(ChosenGrid { grid, bound, step, basis, deviation: facts.deviation });
            }
            part_of_bound()?
        }
    };
    let (step, bound_steps, basis) = choice;
    let anchor = match (basis, quantum) {
        (GridBasis::PartOfBound, _) | (_, None) => facts.least(step),
        (_, Some(q)) => q.anchor,
    };
    let rounds = matches!(basis, GridBasis::SensorStepWithStrays | GridBasis::PartOfBound);
    if let Some(grid) = facts.grid(step, anchor, bound_steps, rounds) {
        return Ok(ChosenGrid { grid, bound, step, basis, deviation: facts.deviation });
    }
    // A converter's step in volts, 0.00030517578125, has more digits than a bundle keeps.
    if bound.mantissa() == 0 {
        return Err(GridError::LosslessTooManyDigits { channel: channel.name.clone(), step });
    }
    let (step, bound_steps, basis) = part_of_bound()?;
    let grid = facts.grid(step, facts.least(step), bound_steps, true).ok_or_else(too_fine)?;
    Ok(ChosenGrid { grid, bound, step, basis, deviation: facts.deviation })
}

/// `floor(bound / step)`, at most what a grid can say.
fn bound_steps(bound: Decimal, step: Decimal) -> u32 {
    let scale = bound.scale().max(step.scale());
    let steps = bound.at_scale(scale) / step.at_scale(scale);
    steps.clamp(0, i128::from(BOUND_STEPS_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Values;

    fn channel(values: &[&str]) -> RecordedChannel {
        let values: Values = values.iter().map(|v| v.parse().ok()).collect();
        RecordedChannel { name: "x".into(), unit: String::new(), values }
    }

    fn tenths() -> RecordedChannel {
        channel(&["20", "20.1", "20.2", "20.3", "20.4", "20.5", "20.6", "20.7", "20.9"])
    }

    /// `want`: scale, origin, step, E; or the start of the error.
    fn check(channel: &RecordedChannel, bound: &str, want: Result<(u8, i64, i64, u32), &str>) {
        let quantum = Quantum::find(&channel.values);
        let rows = 0..channel.values.len();
        let got = grid_for(channel, rows, quantum.as_ref(), bound.parse().unwrap());
        match (got, want) {
            (Ok(got), Ok(want)) => {
                let g = got.grid;
                assert_eq!((g.scale, g.origin, g.quantum, g.bound_steps), want, "{bound}");
            }
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{bound}: {got}"),
            (got, want) => panic!("{bound}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn the_bound_in_steps_is_exact() {
        check(&tenths(), "lossless", Ok((1, 200, 1, 0)));
        check(&tenths(), "0.3", Ok((1, 200, 1, 3)));
        check(&tenths(), "0.29", Ok((1, 200, 1, 2)));
        check(&tenths(), "0.05", Ok((1, 200, 1, 0)));
        check(&tenths(), "1e6", Ok((1, 200, 1, 10_000_000)));
        check(&tenths(), "1e9", Ok((1, 200, 1, BOUND_STEPS_MAX)));
    }

    #[test]
    fn readings_beside_the_step_leave_room_for_rounding() {
        let mut values: Vec<String> = (0..1000).map(|i| (5 * (i * i % 61)).to_string()).collect();
        values[3] = "46".into();
        let strayed = channel(&values.iter().map(String::as_str).collect::<Vec<_>>());
        check(&strayed, "15", Ok((0, 0, 5, 2)));
        check(&strayed, "2.5", Ok((0, 0, 5, 0)));
        check(&strayed, "2", Ok((0, 0, 1, 2)));
        check(&strayed, "lossless", Ok((0, 0, 1, 0)));
    }

    #[test]
    fn readings_without_a_step_get_a_64th_of_the_bound() {
        let thirds: Vec<String> = (0..500).map(|i| format!("{:.12}", f64::from(i * i % 377) / 3.0)).collect();
        let thirds = channel(&thirds.iter().map(String::as_str).collect::<Vec<_>>());
        // Thirds are wider than a quarter: 86 parts are less than a 64th of it.
        check(&thirds, "0.25", Ok((12, -3_875_960_971, 3_875_968_992, 64)));
        check(&thirds, "0.5", Ok((7, 0, 78_125, 63)));
        check(&thirds, "lossless", Err("has no sensor step"));
        // Its least reading has as many digits as a float.
        let computed: Vec<String> = (7..500).map(|i| format!("{:.15}", f64::from(i).ln())).collect();
        let computed = channel(&computed.iter().map(String::as_str).collect::<Vec<_>>());
        check(&computed, "0.64", Ok((2, 195, 1, 63)));
        check(&thirds, "1e-12", Err("too fine"));
        // 125 / 0.00002 = 6.3 million steps of one bound: 2^24 leave room for two parts.
        check(&thirds, "0.00002", Ok((5, 0, 1, 1)));
    }

    #[test]
    fn a_step_of_more_digits_than_a_bundle_keeps() {
        // 10 V in 2^15 steps.
        let volts: Vec<String> =
            (0..500).map(|i| format!("{:.14}", f64::from(i * i % 377) / 3276.8)).collect();
        let volts = channel(&volts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(Quantum::find(&volts.values).unwrap().step.to_string(), "0.00030517578125");
        check(&volts, "0.0064", Ok((4, 0, 1, 63)));
        check(&volts, "lossless", Err("more digits than a bundle keeps"));
    }

    #[test]
    fn a_share_of_the_deviation_is_rounded_down() {
        let two = channel(&["0", "2", "0", "2"]);
        let grid = |bound: &str| {
            grid_for(&two, 0..4, Quantum::find(&two.values).as_ref(), bound.parse().unwrap()).unwrap()
        };
        assert_eq!((grid("100%").bound.to_string().as_str(), grid("100%").deviation), ("1", 1.0));
        assert_eq!(grid("33.33333333%").bound.to_string(), "0.333333");
        assert_eq!(grid_for(&two, 0..0, None, Bound::Lossless), Err(GridError::NoReading("x".into())));
    }

    #[test]
    fn bounds_are_read_as_people_write_them() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(text.parse::<Bound>().ok().map(|b| b.to_string()).as_deref(), want, "{text}");
        };
        check("0.25", Some("0.25"));
        check(" 2 %", Some("2%"));
        check("Lossless", Some("lossless"));
        check("0", Some("lossless"));
        for text in ["", "-1", "nan", "inf", "1,5", "2%%", "%", "loss"] {
            check(text, None);
        }
        assert_eq!(Bound::parse_list("0.25,2%,lossless").unwrap().len(), 3);
    }
}
