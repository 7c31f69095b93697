//! What a sensor counts, where its readings are written finer than it counts.
//!
//! A sensor that steps by 0.0625 °C but prints hundredths gives 24.94, 25.00, 25.06, 25.13: of a hundred grid steps
//! only sixteen occur. A channel's *counts* number those that do. They repeat with a period, so that a few residues
//! say them all, whatever rule rounded them. With counts the whole ladder works on counts in place of grid steps; a
//! value that lies beside them is the count below it, and the *rest* up to it is said after the rung's symbols.

use crate::freq::{Table, fixed};
use crate::grid::{BOUND_STEPS_MAX, is_step};
use crate::model::Reader;
use crate::parts;
use crate::range::{Coder, Site, Stop};

/// Most residues of a channel.
pub const RESIDUES_MAX: usize = 64;

/// The counts of all channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts<'a> {
    /// Of each channel: the bound in counts, u32 LE.
    bounds: &'a [u8],
    /// Of each channel: period (u16), number of residues (u8), residues (u16).
    records: &'a [u8],
    _part: parts::Counts,
}

/// The counts of one channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count<'a> {
    period: i32,
    /// u16 LE, ascending, below the period.
    residues: &'a [u8],
}

impl<'a> Counts<'a> {
    /// `bound_steps`: each channel's bound in grid steps.
    pub(crate) fn parse(
        section: &'a [u8],
        n_channels: usize,
        bound_steps: impl Fn(usize) -> i32,
    ) -> Option<Self> {
        let part = parts::counts()?;
        let mut reader = Reader(section);
        let bounds = reader.bytes(4 * n_channels)?;
        let records = reader.0;
        for idx in 0..n_channels {
            let bound = Reader(&bounds[4 * idx..]).u32().filter(|&b| b <= BOUND_STEPS_MAX)? as i32;
            let count = Count::read(&mut reader)?;
            let n = count.n();
            let ascending = (1..n).all(|at| count.residue(at - 1) < count.residue(at));
            // As many counts apart as the bound says is never more steps apart than the bound in steps.
            let within = |at: i32| count.wide(at + bound) - count.wide(at) <= i64::from(bound_steps(idx));
            if !ascending || count.residue(n - 1) >= count.period || !(0..n).all(within) {
                return None;
            }
        }
        reader.0.is_empty().then_some(Self { bounds, records, _part: part })
    }

    /// The bound of channel `idx` in counts.
    pub(crate) fn bound(&self, idx: usize) -> i32 {
        Reader(&self.bounds[4 * idx..]).i32().unwrap_or(0)
    }

    /// Channel after channel.
    pub(crate) fn channels(&self) -> impl Iterator<Item = Count<'a>> {
        let mut reader = Reader(self.records);
        (0..self.bounds.len() / 4).map_while(move |_| Count::read(&mut reader))
    }

    /// Replaces grid steps by counts; true if some lie beside them.
    pub(crate) fn count(&self, steps: &mut [i32]) -> bool {
        let mut is_beside = false;
        for (idx, count) in self.channels().enumerate() {
            for x in steps.iter_mut().skip(idx).step_by(self.bounds.len() / 4).filter(|x| is_step(**x)) {
                let n = count.of(*x);
                is_beside |= count.step(n) != Some(*x);
                *x = n;
            }
        }
        is_beside
    }
}

impl Counts<'_> {
    /// Of decoded `values` and the `counts` they were decoded as: makes each value the step of some count beside which it
    /// would have the same rest. A rest can be larger than the gap above its own count, where the bound has moved that.
    pub(crate) fn beside(&self, counts: &[i32], values: &mut [i32]) {
        let n_channels = self.bounds.len() / 4;
        for (idx, count) in self.channels().enumerate() {
            let gap = |at: &i32| count.wide(at + 1) - count.wide(*at);
            let widest = (0..count.n()).max_by_key(gap).unwrap_or(0);
            for (x, &n) in values.iter_mut().zip(counts).skip(idx).step_by(n_channels) {
                if is_step(*x) {
                    *x = (i64::from(*x) - count.wide(n) + count.wide(widest)) as i32;
                }
            }
        }
    }
}

impl<'a> Count<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let period = i32::from(reader.u16()?);
        let n = usize::from(reader.u8()?);
        let residues = reader.bytes(2 * n)?;
        ((1..=RESIDUES_MAX).contains(&n) && period >= 1).then_some(Self { period, residues })
    }

    fn n(&self) -> i32 {
        self.residues.len() as i32 / 2
    }

    fn residue(&self, at: i32) -> i32 {
        let at = 2 * at as usize;
        i32::from(u16::from_le_bytes([self.residues[at], self.residues[at + 1]]))
    }

    fn wide(&self, count: i32) -> i64 {
        let (turn, at) = (count.div_euclid(self.n()), count.rem_euclid(self.n()));
        i64::from(turn) * i64::from(self.period) + i64::from(self.residue(at))
    }

    /// The grid step of a count; `None` beyond what a grid can say.
    fn step(&self, count: i32) -> Option<i32> {
        i32::try_from(self.wide(count)).ok().filter(|&x| is_step(x))
    }

    /// The greatest count at or below a grid step.
    fn of(&self, step: i32) -> i32 {
        let (turn, place) = (step.div_euclid(self.period), step.rem_euclid(self.period));
        turn * self.n() + (0..self.n()).filter(|&at| self.residue(at) <= place).count() as i32 - 1
    }

    /// The most grid steps from one count to the next: so many rests there are.
    fn rests(&self) -> u32 {
        let n = self.n();
        (0..n).map(|at| self.wide(at + 1) - self.wide(at)).max().unwrap_or(1) as u32
    }
}

/// Whether a rest is the channel's last one: where the count has not moved, or there was none beside; where it has,
/// after a rest of 0; the same after another. [yes, no].
const SAME: [Table<'static>; 3] = [fixed(32495, &[1, 78]), fixed(31547, &[3, 57]), fixed(31547, &[57, 3])];

/// Turns decoded counts into the grid steps they stand for. `is_beside`: rests are coded, those of an encoder for
/// `given`, the window in grid steps; a decoder's is empty.
pub(crate) fn code_rests(
    counts: &Counts<'_>,
    coder: &mut dyn Coder,
    is_beside: bool,
    given: &[i32],
    values: &mut [i32],
) -> Result<(), Stop> {
    let n_channels = counts.bounds.len() / 4;
    let mut any = false;
    for (idx, count) in counts.channels().enumerate() {
        let n_rests = count.rests();
        let (mut last_count, mut last_rest) = (None, 0u32);
        for at in (idx..values.len()).step_by(n_channels) {
            let n = values[at];
            if !is_step(n) {
                continue;
            }
            let mut rest = 0;
            if is_beside && n_rests > 1 {
                let wanted = given.get(at).map_or(0, |&x| (i64::from(x) - count.wide(count.of(x))) as u32);
                let context = match (last_count == Some(n), last_rest) {
                    (true, _) => 0,
                    (false, 0) => 1,
                    (false, _) => 2,
                };
                let other = coder.symbol(Site::Fixed, SAME[context], usize::from(wanted != last_rest))? == 1;
                rest = last_rest;
                if other {
                    // Of all rests but the last one.
                    let place = wanted.wrapping_sub(u32::from(wanted > last_rest));
                    let place = coder.uniform(n_rests - 1, place)?;
                    rest = place + u32::from(place >= last_rest);
                }
                any |= rest != 0;
                (last_count, last_rest) = (Some(n), rest);
            }
            let value = count.wide(n) + i64::from(rest);
            values[at] = i32::try_from(value).ok().filter(|&x| is_step(x)).ok_or(Stop)?;
        }
    }
    if any == is_beside { Ok(()) } else { Err(Stop) }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn record(period: u16, residues: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::from(period.to_le_bytes());
        bytes.push(residues.len() as u8);
        bytes.extend(residues.iter().flat_map(|r| r.to_le_bytes()));
        bytes
    }

    #[test]
    fn totals_are_right() {
        for table in SAME {
            let sum: u32 = (0..table.len()).map(|sym| table.interval(sym).1).sum();
            assert_eq!(sum, table.total());
        }
    }

    #[test]
    fn counts_number_the_steps_that_occur() {
        let bytes = record(25, &[0, 6, 13, 19]);
        let count = Count::read(&mut Reader(&bytes)).unwrap();
        for (step, n) in [(0, 0), (6, 1), (7, 1), (12, 1), (13, 2), (25, 4), (-1, -1), (-6, -1), (-7, -2)] {
            assert_eq!(count.of(step), n, "{step}");
        }
        for n in -9..9 {
            let step = count.step(n).unwrap();
            assert_eq!((count.of(step), count.of(step - 1)), (n, n - 1));
        }
        assert_eq!(count.rests(), 7);
    }

    #[test]
    fn a_bound_wider_than_its_counts_is_refused() {
        for (bound, bound_steps, is_fine) in [(0u32, 0, true), (1, 7, true), (1, 6, false), (2, 13, true)] {
            let section = [&bound.to_le_bytes()[..], &record(25, &[0, 6, 13, 19])].concat();
            assert_eq!(
                Counts::parse(&section, 1, |_| bound_steps).is_some(),
                is_fine,
                "{bound} {bound_steps}"
            );
        }
        for residues in [&[3u16, 3][..], &[4, 1], &[0, 25], &[]] {
            let section = [&[0u8; 4][..], &record(25, residues)].concat();
            assert!(Counts::parse(&section, 1, |_| 0).is_none(), "{residues:?}");
        }
    }
}
