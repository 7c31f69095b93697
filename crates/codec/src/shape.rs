//! How a special window says its length and which of its values are steps.

use crate::freq::{Table, fixed};
use crate::model::Model;
use crate::range::{Coder, Site, Stop};
use crate::{ABOVE, BELOW, MISSING};

/// What a value is: a step, missing, above the grid, below it.
pub(crate) const ABSENT: [i32; 4] = [0, MISSING, ABOVE, BELOW];

/// What a value is likely to be, by what its channel's last one was: a step (or none yet), missing, beyond the grid.
/// Outages last, and a value beyond the grid is rare.
const PRESENCE: [Table<'static>; 3] =
    [fixed(32352, &[2, 64, 128, 128]), fixed(33126, &[48, 3, 128, 128]), fixed(31362, &[48, 48, 24, 24])];

/// Codes the shape of a special window; returns its length in samples, and whether values lie beside the counts. An
/// encoder gives these and its window; a decoder a full window of zeros, of which the values that are no steps are then
/// marked.
pub(crate) fn code(
    model: &Model<'_>,
    coder: &mut dyn Coder,
    (n_samples, is_beside): (usize, bool),
    steps: &mut [i32],
) -> Result<(usize, bool), Stop> {
    let n_samples_max = model.samples() as u32;
    let mut n_samples = n_samples as u32;
    let is_short = coder.bits(1, u32::from(n_samples < n_samples_max))? == 1;
    if is_short {
        // A window of one sample at most cannot be shorter.
        let n_shorter = n_samples_max.checked_sub(1).filter(|&n| n > 0).ok_or(Stop)?;
        n_samples = 1 + coder.uniform(n_shorter, n_samples.wrapping_sub(1))?;
    } else {
        n_samples = n_samples_max;
    }
    let n_channels = model.channels();
    let steps = &mut steps[..n_samples as usize * n_channels];
    let has_absent = coder.bits(1, u32::from(steps.iter().any(|&x| kind_of(x) != 0)))? == 1;
    let is_beside = model.counts.is_some() && coder.bits(1, u32::from(is_beside))? == 1;
    if !has_absent && !is_short && !is_beside {
        return Err(Stop); // not special
    }
    if has_absent {
        let mut last = [0usize; crate::CHANNELS_MAX];
        for (at, x) in steps.iter_mut().enumerate() {
            let last = &mut last[at % n_channels];
            let kind = coder.symbol(Site::Fixed, PRESENCE[(*last).min(2)], kind_of(*x))?;
            if kind != 0 {
                *x = ABSENT[kind];
            }
            *last = kind;
        }
    }
    Ok((n_samples as usize, is_beside))
}

fn kind_of(x: i32) -> usize {
    match x {
        MISSING => 1,
        ABOVE => 2,
        BELOW => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_right() {
        for table in PRESENCE {
            let sum: u32 = (0..table.len()).map(|sym| table.interval(sym).1).sum();
            assert_eq!(sum, table.total());
        }
    }
}
