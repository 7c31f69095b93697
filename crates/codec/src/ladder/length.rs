//! The length that fits itself.
//!
//! Where the length of a code moves what networks say (`predict/budget.rs`), the encoder has to know it before it
//! writes. It asks the networks once, as if the length said nothing, and then writes for one length after the other
//! until a code is as long as it was written for, or shorter and filled up with zeros.

use super::{Areas, Counted, prepare, write};
use crate::Rung;
use crate::model::Model;
use crate::predict::PADDING_MAX;
use crate::range::{Encoder, Metered};

/// Lengths that are tried.
const LENGTHS_MAX: usize = 4;
/// What the end of a code costs on average, in sixteenths of a bit.
const END: u32 = 41;
/// Sixteenths of a bit that knowing the length saves, about: where to begin.
const SAVED: u32 = 48;

/// Writes a window on the predict rung if that costs no more than `cost_max`, in sixteenths of a bit; its bytes.
pub(super) fn encode(
    model: &Model<'_>,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    cost_max: u32,
    out: &mut [u8],
) -> Option<usize> {
    if !prepare(model, window, Rung::Predict, areas) {
        return None;
    }
    let len_max = (cost_max.saturating_add(END) / 128) as usize;
    let mut metered = Metered::new(out, cost_max.saturating_add(8 * SAVED));
    areas.has_said = false;
    write(model, window, Rung::Predict, areas, &mut metered).ok()?;
    areas.has_said = true;
    let mut next = (metered.cost().saturating_sub(SAVED) / 128) as usize;
    // Shorter lengths do not fit, and this one does.
    let (mut shortest, mut fits) = (0, None);
    // What stands in `out`, and its bytes.
    let mut last = (usize::MAX, 0);
    for _ in 0..LENGTHS_MAX {
        let written = write_for(model, window, areas, next, out)?;
        last = (next, written);
        if written <= next {
            if next - written <= PADDING_MAX {
                fits = Some(next);
            }
            let shorter = written.max(shortest);
            if shorter >= next {
                break;
            }
            next = shorter;
        } else {
            shortest = next + 1;
            match fits {
                Some(fits) if shortest >= fits => break,
                Some(fits) => next = written.min(fits - 1),
                None if shortest > len_max => break,
                None => next = written,
            }
        }
    }
    let code_len = fits.filter(|&n| n <= len_max)?;
    let written = if last.0 == code_len { last.1 } else { write_for(model, window, areas, code_len, out)? };
    out[written..code_len].fill(0);
    Some(code_len)
}

/// Tells the length of the code, unless rests follow that nobody reckons with.
pub(super) fn encoder_for<'o>(window: Counted<'_>, out: &'o mut [u8], code_len: usize) -> Encoder<'o> {
    if window.is_beside { Encoder::new(out) } else { Encoder::of_len(out, code_len) }
}

/// Writes the window as if the code had `code_len` bytes; those it has.
fn write_for(
    model: &Model<'_>,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    code_len: usize,
    out: &mut [u8],
) -> Option<usize> {
    prepare(model, window, Rung::Predict, areas);
    let mut encoder = encoder_for(window, out, code_len);
    write(model, window, Rung::Predict, areas, &mut encoder).and_then(|()| encoder.finish()).ok()
}
