//! The step of a sensor, found in its readings.
//!
//! A sensor speaks in steps: 0.1 °C, 5 ppm, 0.0625 °C. Coding in steps instead of in digits is worth more
//! than any model, and a wrong step costs the promise of lossless codes, so the search is careful: it wants
//! nearly every reading on the grid, and does not trust a step that only a few different readings show.

use kinglet_codec::Decimal;

use super::values::Values;

/// At least this share of the readings lies on the grid.
const SHARE_MIN: f64 = 0.99;
/// At least this share of the different readings lies on the grid.
const DISTINCT_SHARE_MIN: f64 = 0.95;
/// From here on the greatest common divisor of the differences is no accident: for eight random numbers it
/// is above 1 in less than one of a hundred cases.
const DISTINCT_SURE: usize = 8;
/// Fewer different readings leave no room for strays among them.
const DISTINCT_WITH_STRAYS: usize = 20;
/// Steps between the least and the largest reading: 24 bits.
pub(super) const STEPS_MAX: i128 = 1 << 24;

/// The step of a sensor, as its readings show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantum {
    /// The step, above 0.
    pub step: Decimal,
    /// One value on the grid: all others are whole steps away.
    pub anchor: Decimal,
    /// Readings on the grid.
    pub n_on_grid: u64,
    /// All readings.
    pub n_readings: u64,
    /// A finer step that holds every reading, if there is one within 24 bits; equal to `step` if there are
    /// no strays.
    pub step_of_all: Option<Decimal>,
    /// The step the sensor itself has, if its readings look rounded for print: 24.94 for 24.9375 is a step
    /// of 0.0625 written with two digits. The grid stays on what was written.
    pub rounded_from: Option<Decimal>,
}

impl Quantum {
    /// Finds the step of a channel; `None` if its readings have none, as those of a mean, or there is none.
    pub fn find(values: &Values) -> Option<Self> {
        let scale = common_scale(values)?;
        let (readings, n_readings) = Counted::collect(values, scale)?;
        let all = readings.grid_of_all();
        let grid = readings.climb(all)?;
        let n_on_grid = readings.n_on(grid);
        if (n_on_grid as f64) < SHARE_MIN * n_readings as f64 || !readings.fits(grid.step) {
            return None;
        }
        let decimal = |mantissa: i128| i64::try_from(mantissa).ok().map(|m| Decimal::new(m, scale));
        let step = decimal(grid.step)?;
        let step_of_all = if n_on_grid == n_readings { Some(step) } else { step_of_all(values) };
        let rounded_from = if grid.step == 1 { readings.rounded_from(scale) } else { None };
        Some(Self { step, anchor: decimal(grid.anchor)?, n_on_grid, n_readings, step_of_all, rounded_from })
    }

    /// Share of the readings on the grid, at most 1.
    pub fn share(&self) -> f64 {
        self.n_on_grid as f64 / self.n_readings as f64
    }
}

/// The fewest digits after the point that hold nearly all readings.
fn common_scale(values: &Values) -> Option<u8> {
    let mut by_scale = [0u64; 19];
    values.iter().flatten().for_each(|v| by_scale[usize::from(v.scale().min(18))] += 1);
    let n: u64 = by_scale.iter().sum();
    let mut so_far = 0;
    by_scale.iter().zip(0u8..).find_map(|(count, scale)| {
        so_far += count;
        (so_far > 0 && so_far as f64 >= SHARE_MIN * n as f64).then_some(scale)
    })
}

/// A grid in units of the common scale.
#[derive(Clone, Copy)]
struct Lattice {
    step: i128,
    anchor: i128,
}

/// Different readings in units of the common scale, rising, and how often each came.
struct Counted(Vec<(i128, u64)>);

impl Counted {
    /// The readings that have at most `scale` digits, and the number of all readings.
    fn collect(values: &Values, scale: u8) -> Option<(Self, u64)> {
        let on_scale = values.iter().flatten().filter(|v| v.scale() <= scale);
        let mut mantissas: Vec<i128> = on_scale.map(|v| v.at_scale(scale)).collect();
        mantissas.sort_unstable();
        let counted: Vec<_> =
            mantissas.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect();
        let n_readings = values.iter().flatten().count() as u64;
        (!counted.is_empty()).then_some((Self(counted), n_readings))
    }

    fn min(&self) -> i128 {
        self.0[0].0
    }

    fn fits(&self, step: i128) -> bool {
        (self.0[self.0.len() - 1].0 - self.min()) / step <= STEPS_MAX
    }

    fn n_on(&self, grid: Lattice) -> u64 {
        self.0.iter().filter(|(m, _)| (m - grid.anchor) % grid.step == 0).map(|(_, n)| n).sum()
    }

    /// The grid of the greatest common divisor of all differences; of one unit where too few readings differ.
    fn grid_of_all(&self) -> Lattice {
        let anchor = self.min();
        let step = self.0.iter().fold(0, |g, (m, _)| gcd(g, m - anchor));
        let n_neighbours = self.0.windows(2).filter(|m| m[1].0 - m[0].0 == step).count();
        // Few, but next to each other: 20.0, 20.5, 21.0. Two alone tell nothing.
        let are_neighbours = self.0.len() > 2 && 2 * n_neighbours >= self.0.len() - 1;
        let is_sure = step > 0 && (self.0.len() >= DISTINCT_SURE || are_neighbours);
        Lattice { step: if is_sure { step } else { 1 }, anchor }
    }

    /// Coarser grids, prime by prime, as long as only strays are lost.
    fn climb(&self, mut grid: Lattice) -> Option<Lattice> {
        let n_readings: u64 = self.0.iter().map(|(_, n)| n).sum();
        if self.0.len() < DISTINCT_WITH_STRAYS {
            return Some(grid);
        }
        'coarser: loop {
            for prime in [2, 3, 5, 7, 11, 13] {
                let step = grid.step.checked_mul(prime)?;
                // Per residue: readings, different readings, one of them.
                let mut classes = [(0u64, 0usize, 0i128); 13];
                for &(mantissa, n) in self.0.iter().filter(|(m, _)| (m - grid.anchor) % grid.step == 0) {
                    let residue = ((mantissa - grid.anchor) / grid.step).rem_euclid(prime);
                    let class = &mut classes[residue as usize];
                    *class = (class.0 + n, class.1 + 1, mantissa);
                }
                let Some(&(n, n_distinct, anchor)) = classes.iter().max_by_key(|c| c.1) else { continue };
                let is_nearly_all = n as f64 >= SHARE_MIN * n_readings as f64
                    && n_distinct as f64 >= DISTINCT_SHARE_MIN * self.0.len() as f64;
                if is_nearly_all {
                    grid = Lattice { step, anchor };
                    continue 'coarser;
                }
            }
            return Some(grid);
        }
    }

    /// The largest of 1/2, 1/4, … 1/128 whose multiples, rounded to `scale` digits, are all the readings.
    fn rounded_from(&self, scale: u8) -> Option<Decimal> {
        let one = 10i128.pow(u32::from(scale));
        if self.0.len() < DISTINCT_SURE {
            return None;
        }
        (1..=7u32).find_map(|halvings| {
            let parts = 1i128 << halvings;
            // A reading m/one is k/parts rounded if it is off by at most half a unit.
            let is_rounded = |m: i128| {
                let doubled = 2 * (m * parts).rem_euclid(one);
                doubled <= parts || 2 * one - doubled <= parts
            };
            let is_coarse = one > 2 * parts;
            let fits = is_coarse && self.0.iter().all(|&(m, _)| is_rounded(m));
            fits.then(|| Decimal::new(5i64.pow(halvings), halvings as u8))
        })
    }
}

/// The step that holds every reading, strays included; `None` if it needs more than 24 bits.
fn step_of_all(values: &Values) -> Option<Decimal> {
    let scale = values.iter().flatten().map(|v| v.scale()).max()?;
    let (readings, _) = Counted::collect(values, scale)?;
    let grid = readings.grid_of_all();
    readings.fits(grid.step).then(|| i64::try_from(grid.step).ok().map(|m| Decimal::new(m, scale)))?
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `want`: step, readings off the grid, step before rounding.
    fn check(what: &str, values: impl IntoIterator<Item = String>, want: Option<(&str, u64, Option<&str>)>) {
        let values: Values = values.into_iter().map(|v| v.parse().ok()).collect();
        let found = Quantum::find(&values);
        let got = found
            .map(|q| (q.step.to_string(), q.n_readings - q.n_on_grid, q.rounded_from.map(|d| d.to_string())));
        let want = want.map(|(step, off, from)| (step.to_string(), off, from.map(str::to_string)));
        assert_eq!(got, want, "{what}");
    }

    /// `n` readings that wander over steps of `step`, starting at `start`, in `digits` digits.
    fn wander(start: f64, step: f64, digits: usize, n: usize) -> Vec<String> {
        let walk = (0..n as u64).map(|i| (i * i * 7 + i * 3) % 97);
        walk.map(|k| format!("{:.digits$}", start + k as f64 * step)).collect()
    }

    #[test]
    fn finds_the_steps_of_real_sensors() {
        check("DHT22", wander(-4.0, 0.1, 1, 500), Some(("0.1", 0, None)));
        check("DHT11", wander(20.0, 1.0, 0, 500), Some(("1", 0, None)));
        check("DHT11 as a float", wander(20.0, 1.0, 1, 500), Some(("1", 0, None)));
        check("CO2", wander(390.0, 5.0, 0, 500), Some(("5", 0, None)));
        check("power", wander(0.1, 0.002, 3, 500), Some(("0.002", 0, None)));
        check("current", wander(0.2, 0.2, 1, 500), Some(("0.2", 0, None)));
        check("not from zero", wander(0.5, 2.0, 1, 500), Some(("2", 0, None)));
        check("DS18B20, 4 digits", wander(20.0, 0.0625, 4, 500), Some(("0.0625", 0, None)));
        check("DS18B20, 3 digits", wander(20.0, 0.0625, 3, 500), Some(("0.001", 0, Some("0.0625"))));
        check("DS18B20, 2 digits", wander(20.0, 0.0625, 2, 500), Some(("0.01", 0, Some("0.0625"))));
        check("counter", wander(1e6, 37.0, 0, 500), Some(("37", 0, None)));
    }

    #[test]
    fn forgives_a_few_strays_and_says_so() {
        let mut values = wander(390.0, 5.0, 0, 1000);
        values[17] = "391".into();
        values[400] = "402.5".into();
        check("strays", values.clone(), Some(("5", 2, None)));
        let values: Values = values.into_iter().map(|v| v.parse().ok()).collect();
        assert_eq!(Quantum::find(&values).unwrap().step_of_all.unwrap().to_string(), "0.5");
    }

    #[test]
    fn does_not_trust_what_few_readings_show() {
        let repeat =
            |values: &[&str]| (0..300).map(|i| values[i % values.len()].to_string()).collect::<Vec<_>>();
        check("constant", repeat(&["23.5"]), Some(("0.1", 0, None)));
        check("on and off", repeat(&["0", "453"]), Some(("1", 0, None)));
        check("neighbours", repeat(&["20", "20.5", "21"]), Some(("0.5", 0, None)));
        check(
            "mostly zero",
            (0..5000).map(|i| if i % 100 == 0 { i.to_string() } else { "0".into() }),
            Some(("100", 0, None)),
        );
        let mut night = vec!["0".to_string(); 10_000];
        night.extend((0..60).map(|i| (i * i + 1).to_string()));
        check("night and dawn", night, Some(("1", 0, None)));
    }

    #[test]
    fn a_mean_has_no_step() {
        check("thirds", (0..500).map(|i| format!("{:.12}", f64::from(i * i % 377) / 3.0)), None);
        check("nothing", std::iter::empty::<String>(), None);
        check("missing only", ["x".to_string()], None);
    }
}
