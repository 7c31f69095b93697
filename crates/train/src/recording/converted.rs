//! The step of readings that were converted from a unit in which their sensor has one: 42 °F are 5.555… °C.
//!
//! No decimal says such a step, and rounded to one it runs away from the readings. A grid that divides it into many parts
//! is as good as any where readings have no step, and meets it again and again, so that the parts that occur can be counted.

use kinglet_codec::Decimal;

/// At least this share of the readings, and of the different ones, lies on whole steps.
const SHARE_MIN: f64 = 0.99;
const DISTINCT_SHARE_MIN: f64 = 0.95;
/// Fewer different readings, or more, are not looked at: few prove nothing, many take long.
const DISTINCT: std::ops::RangeInclusive<usize> = 20..=1 << 16;
/// Readings that far apart, as a part of the largest, are one: sums and products of floats end so.
const SAME: f64 = 1e-9;
/// How far from a whole step a reading may lie, in steps: one in a thousand does so by chance.
const OFF_MAX: f64 = 5e-4;
/// Distances between neighbours that are tried, the commonest first.
const TRIED: usize = 8;

/// A step that no decimal says, and the reading that came most often, which lies on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Converted {
    pub(super) step: f64,
    pub(super) anchor: Decimal,
}

impl Converted {
    /// Finds the step of `readings`; `None` if they have none.
    pub(super) fn find(readings: impl Iterator<Item = Decimal>) -> Option<Self> {
        let mut sorted: Vec<Decimal> = readings.collect();
        sorted.sort_unstable();
        let largest = float(*sorted.first()?).abs().max(float(*sorted.last()?).abs());
        let is_same = |a: &Decimal, b: &Decimal| float(*b) - float(*a) <= SAME * largest;
        let distinct: Vec<(Decimal, usize)> =
            sorted.chunk_by(is_same).map(|run| (run[0], run.len())).collect();
        if !DISTINCT.contains(&distinct.len()) {
            return None;
        }
        let anchor = distinct.iter().max_by_key(|(_, n)| n)?.0;
        let offsets: Vec<(f64, usize)> =
            distinct.iter().map(|&(x, n)| (float(x) - float(anchor), n)).collect();
        let steps = common_gaps(&offsets).into_iter().map(|gap| fitted(gap, &offsets));
        let step = steps.filter(|&step| holds(step, &offsets, sorted.len())).max_by(f64::total_cmp)?;
        Some(Self { step, anchor })
    }

    /// One of `n` parts of the step, in ten digits; `None` if that leaves nothing.
    pub(super) fn part(&self, n: i64) -> Option<Decimal> {
        let part: Decimal = format!("{:.9e}", self.step / n as f64).parse().ok()?;
        (part.mantissa() > 0).then_some(part)
    }
}

fn float(d: Decimal) -> f64 {
    d.mantissa() as f64 / 10f64.powi(i32::from(d.scale()))
}

/// Distances between neighbours, the commonest first.
fn common_gaps(offsets: &[(f64, usize)]) -> Vec<f64> {
    let mut gaps: Vec<f64> = offsets.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let mut runs: Vec<&[f64]> = gaps.chunk_by(|a, b| b - a <= OFF_MAX * b).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    runs.iter().take(TRIED).map(|run| run[run.len() / 2]).collect()
}

/// The step near `step` that fits best, by least squares over readings ever farther away.
fn fitted(mut step: f64, offsets: &[(f64, usize)]) -> f64 {
    let farthest = offsets.iter().fold(0.0, |far: f64, (x, _)| far.max(x.abs()));
    let mut reach = 8.0 * step;
    loop {
        let (mut sum, mut squares) = (0.0, 0.0);
        for &(x, _) in offsets.iter().filter(|(x, _)| x.abs() <= reach) {
            let k = (x / step).round();
            if (x / step - k).abs() < 0.1 {
                (sum, squares) = (sum + k * x, squares + k * k);
            }
        }
        if squares > 0.0 {
            step = sum / squares;
        }
        if reach >= farthest {
            return step;
        }
        reach *= 4.0;
    }
}

/// True if nearly all readings lie on whole steps.
fn holds(step: f64, offsets: &[(f64, usize)], n_readings: usize) -> bool {
    let is_on = |(x, _): &&(f64, usize)| (x / step - (x / step).round()).abs() <= OFF_MAX;
    let (n_on, n_distinct) = offsets.iter().filter(is_on).fold((0, 0), |(a, b), (_, n)| (a + n, b + 1));
    n_on as f64 >= SHARE_MIN * n_readings as f64
        && f64::from(n_distinct) >= DISTINCT_SHARE_MIN * offsets.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings that wander over `convert` of whole numbers, as a program prints its floats.
    fn step_of(convert: impl Fn(f64) -> String) -> Option<f64> {
        let walk = (0..500u64).map(|i| ((i * i * 7 + i * 3) % 97) as f64);
        Converted::find(walk.filter_map(|k| convert(k).parse().ok())).map(|found| found.step)
    }

    fn check(convert: impl Fn(f64) -> String, want: f64) {
        let step = step_of(convert).unwrap();
        assert!((step - want).abs() < 1e-8 * want, "{step}, not {want}");
    }

    #[test]
    fn steps_of_other_units_are_found() {
        check(|k| format!("{}", (k - 12.0) / 1.8), 1.0 / 1.8);
        check(|k| format!("{:.7}", 3.0 + k / 7.0), 1.0 / 7.0);
        check(|k| format!("{}", k * 0.1 * 33.863_886_67), 3.386_388_667);
    }

    #[test]
    fn a_few_strays_are_forgiven_and_what_has_no_step_has_none() {
        check(|k| if k == 96.0 { "12.34567".into() } else { format!("{}", k / 1.8) }, 1.0 / 1.8);
        assert_eq!(step_of(|k| format!("{}", (k + 1.0).ln())), None);
        // Few different ones prove nothing.
        assert_eq!(step_of(|k| format!("{}", (k % 12.0) / 3.0)), None);
    }
}
