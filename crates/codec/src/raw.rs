//! The raw rung: fixed width, the end of the ladder.
//!
//! Values inside the trained range take `raw_bits` each, at the bound's spacing. A window that leaves it, or whose
//! readings lie off the grid, names its own base and width per channel and is kept to the step.

use crate::grid::{extent, is_step};
use crate::model::{Model, RAW_BITS_MAX};
use crate::range::{Coder, Stop, code_wide};

/// Half the span of bases: larger than any step.
const BASE_OFFSET: i32 = 1 << 27;

/// Codes the window `steps` (sample-major; what is no step is skipped); an encoder's `steps` become what a decoder
/// will read. `off_grid`: keep every value to the step.
pub(crate) fn code(
    model: &Model<'_>,
    coder: &mut dyn Coder,
    steps: &mut [i32],
    off_grid: bool,
) -> Result<(), Stop> {
    let own = u32::from(off_grid || !fits(model, steps));
    let own = coder.bits(1, own)? == 1;
    let n_channels = model.channels();
    for idx in 0..n_channels {
        let (base, n_bits, spacing) = if own {
            let (low, high) = extent(steps, idx, n_channels).unwrap_or((0, 0));
            let n_bits = 32 - ((high - low) as u32).leading_zeros();
            let n_bits = coder.uniform(u32::from(RAW_BITS_MAX) + 1, n_bits)?;
            let base = code_wide(coder, 28, (low + BASE_OFFSET) as u32)? as i32 - BASE_OFFSET;
            (base, n_bits, 1)
        } else {
            let (base, n_bits) = model.raw_range(idx);
            (base, u32::from(n_bits), 2 * model.bound_steps(idx) + 1)
        };
        let mut at = idx;
        while let Some(x) = steps.get_mut(at) {
            at += n_channels;
            if !is_step(*x) {
                continue;
            }
            let place = x.wrapping_sub(base).wrapping_add(spacing / 2) / spacing;
            let place = code_wide(coder, n_bits, place as u32)?;
            let value = i64::from(base) + i64::from(place) * i64::from(spacing);
            *x = i32::try_from(value).ok().filter(|&v| is_step(v)).ok_or(Stop)?;
        }
    }
    Ok(())
}

/// True if every value lies in its channel's trained range.
fn fits(model: &Model<'_>, steps: &[i32]) -> bool {
    let n_channels = model.channels();
    (0..n_channels).all(|idx| {
        let Some((lowest, highest)) = extent(steps, idx, n_channels) else { return true };
        let (base, n_bits) = model.raw_range(idx);
        let spacing = 2 * model.bound_steps(idx) + 1;
        let low = base - spacing / 2;
        lowest >= low && i64::from(highest) < i64::from(low) + (i64::from(spacing) << n_bits)
    })
}
