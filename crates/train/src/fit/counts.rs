//! What sensors count, found in the values they give.
//!
//! A converter's step is seldom a round number of the digits its readings are written in, so that of the grid's values
//! only some occur, and which ones repeats. The shortest period whose residues are few, and nearly all there are,
//! says them.

use std::collections::BTreeMap;

use kinglet_codec::is_step;
use kinglet_codec::learn::{CountPart, Outline, RESIDUES_MAX};

use super::rows::Rows;

/// Longest period that is tried.
const PERIOD_MAX: i32 = 1000;
/// Share of the values that lie on counts.
const ON_COUNTS: f64 = 0.9995;
/// Counts are worth it where at most this share of a period's values occur.
const SPARSE: f64 = 0.6;
/// A period that is as sparse as the sparsest but for this is as good, if it is shorter.
const AS_SPARSE: f64 = 1.05;
/// Different values it takes to believe in residues: so many more than there are of these.
const PROOF: usize = 10;

/// The counts of `rows`' channels; `None` if each counts by grid steps.
pub(crate) fn find_counts(rows: &Rows, channels: &[Outline]) -> Option<Vec<CountPart>> {
    let mut is_any = false;
    let parts = channels
        .iter()
        .enumerate()
        .map(|(idx, channel)| {
            let bound_steps = channel.grid.bound_steps;
            let counted = find(rows.channel(idx)).map(|(period, residues)| {
                let bound = bound_in_counts(i64::from(period), &residues, bound_steps);
                CountPart { bound, period, residues }
            });
            // Counts of one residue are a coarser step, which the grid, made for all the file, does not have: later rows lie beside
            // them. Where the bound reaches the next count, a rest costs what the bound would spare.
            let counted = counted.filter(|count| count.bound == 0 || count.residues.len() > 1);
            is_any |= counted.is_some();
            counted.unwrap_or(CountPart { bound: bound_steps, period: 1, residues: vec![0] })
        })
        .collect();
    is_any.then_some(parts)
}

/// The same outlines in counts.
pub(crate) fn count_outlines(channels: &[Outline], counts: &[CountPart]) -> Vec<Outline> {
    let in_counts = |(channel, count): (&Outline, &CountPart)| {
        let mut channel = channel.clone();
        channel.grid.bound_steps = count.bound;
        channel.range = (count_of(count, channel.range.0), count_of(count, channel.range.1));
        channel
    };
    channels.iter().zip(counts).map(in_counts).collect()
}

/// The same rows in counts; what lies beside them becomes the count below.
pub(crate) fn count_rows(rows: &Rows, counts: &[CountPart]) -> Rows {
    let mut counted = rows.clone();
    for (at, x) in counted.steps.iter_mut().enumerate().filter(|(_, x)| is_step(**x)) {
        *x = count_of(&counts[at % rows.n_channels], *x);
    }
    counted
}

/// The greatest count at or below a step.
fn count_of(count: &CountPart, step: i32) -> i32 {
    let period = i32::from(count.period);
    let (turn, place) = (step.div_euclid(period), step.rem_euclid(period));
    let below = count.residues.partition_point(|&residue| i32::from(residue) <= place);
    turn * count.residues.len() as i32 + below as i32 - 1
}

/// The most counts that are never further apart than `bound_steps`.
fn bound_in_counts(period: i64, residues: &[u16], bound_steps: u32) -> u32 {
    let n = residues.len();
    let step = |count: usize| (count / n) as i64 * period + i64::from(residues[count % n]);
    let within = |bound: usize| (0..n).all(|at| step(at + bound) - step(at) <= i64::from(bound_steps));
    let most = (1..).take_while(|&bound| bound <= bound_steps as usize && within(bound)).last();
    most.unwrap_or(0) as u32
}

/// Period and residues of one channel's values.
fn find(values: impl Iterator<Item = i32>) -> Option<(u16, Vec<u16>)> {
    let mut seen = BTreeMap::<i32, usize>::new();
    values.for_each(|x| *seen.entry(x).or_default() += 1);
    let (low, high) = (*seen.first_key_value()?.0, *seen.last_key_value()?.0);
    let n: usize = seen.values().sum();
    // What a channel of 2^26 steps has seen says nothing of residues, and would take long.
    if seen.len() > 1 << 16 {
        return None;
    }
    let mut best: Option<(f64, u16, Vec<u16>)> = None;
    for period in 2..=PERIOD_MAX.min((high - low) / 2) {
        let Some(residues) = residues(&seen, n, period) else { continue };
        let density = residues.len() as f64 / f64::from(period);
        if density <= SPARSE && best.as_ref().is_none_or(|best| density * AS_SPARSE < best.0) {
            best = Some((density, period as u16, residues));
        }
    }
    best.map(|(_, period, residues)| (period, residues))
}

/// The fewest residues that nearly all values have; `None` if they are too many, or not proved.
fn residues(seen: &BTreeMap<i32, usize>, n: usize, period: i32) -> Option<Vec<u16>> {
    let mut weights = vec![0usize; period as usize];
    seen.iter().for_each(|(x, n)| weights[x.rem_euclid(period) as usize] += n);
    let mut order: Vec<usize> = (0..weights.len()).filter(|&at| weights[at] > 0).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(weights[at]), at));
    let (mut n_on, mut n_residues) = (0, 0);
    while (n_on as f64) < ON_COUNTS * n as f64 {
        n_on += weights[order[n_residues]];
        n_residues += 1;
    }
    order.truncate(n_residues);
    order.sort_unstable();
    let is_on = |x: &&i32| order.binary_search(&(x.rem_euclid(period) as usize)).is_ok();
    let n_values = seen.keys().filter(is_on).count();
    let is_proved = n_values >= (2 * n_residues).max(n_residues + PROOF);
    (n_residues <= RESIDUES_MAX && is_proved).then(|| order.iter().map(|&at| at as u16).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(period: i32, residues: &[i32]) -> Vec<i32> {
        (0..400)
            .map(|i| {
                2400 + (i * 7 % 60 / residues.len() as i32) * period + residues[i as usize % residues.len()]
            })
            .collect()
    }

    #[test]
    fn finds_a_converter_behind_printed_digits() {
        assert_eq!(find(values(25, &[0, 6, 13, 19]).into_iter()), Some((25, vec![0, 6, 13, 19])));
        // Halves to even: the pattern is twice as long.
        let even = values(50, &[0, 6, 12, 19, 25, 31, 38, 44]);
        assert_eq!(find(even.into_iter()).map(|found| found.0), Some(50));
    }

    #[test]
    fn a_channel_that_counts_by_its_grid_has_no_counts() {
        assert_eq!(find(0..500), None);
        // Few values prove nothing.
        assert_eq!(find([0, 40, 77, 200, 310, 480].into_iter().cycle().take(900)), None);
    }

    #[test]
    fn bounds_and_rows_in_counts() {
        let count = CountPart { bound: 0, period: 25, residues: vec![0, 6, 13, 19] };
        assert_eq!([0, 6, 7, 13, 20].map(|e| bound_in_counts(25, &count.residues, e)), [0, 0, 1, 2, 3]);
        assert_eq!([-1, 0, 5, 6, 25].map(|x| count_of(&count, x)), [-1, 0, 0, 1, 4]);
    }
}
