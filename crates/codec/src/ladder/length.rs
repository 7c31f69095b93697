//! The length that fits itself.
//!
//! Where the length of a code moves what networks say (`predict/budget.rs`), the encoder has to know it before it
//! writes. It asks the networks once, as if the length said nothing, and then writes for one length after the other
//! until a code is as long as it was written for, or shorter and filled up with zeros.

use crate::predict::PADDING_MAX;
use crate::range::{Coder, Encoder, Metered, Stop};

/// Lengths that are tried.
const LENGTHS_MAX: usize = 4;
/// What the end of a code costs on average, in sixteenths of a bit.
pub(super) const END: u32 = 41;
/// Sixteenths of a bit that knowing the length saves, about: where to begin.
const SAVED: u32 = 48;

/// The bytes of a window in `out`, if they cost no more than `cost_max`, in sixteenths of a bit. `write` says the same window
/// on the predict rung to each coder, and asks the networks the first time only; `is_beside`: rests follow.
pub(super) fn encode(
    is_beside: bool,
    cost_max: u32,
    out: &mut [u8],
    write: &mut dyn FnMut(&mut dyn Coder) -> Result<(), Stop>,
) -> Option<usize> {
    let len_max = (cost_max.saturating_add(END) / 128) as usize;
    let mut metered = Metered::new(out, cost_max.saturating_add(8 * SAVED));
    write(&mut metered).ok()?;
    let mut write_for = |code_len: usize, out: &mut [u8]| {
        let mut encoder = encoder_for(is_beside, out, code_len);
        write(&mut encoder).and_then(|()| encoder.finish())
    };
    let mut next = (metered.cost().saturating_sub(SAVED) / 128) as usize;
    // Shorter lengths do not fit, and this one does.
    let (mut shortest, mut fits) = (0, None);
    // What stands in front, its length and its bytes. The code that fits is kept at the end, if there is room for both.
    let (mut front, mut kept_at) = ((usize::MAX, 0), out.len());
    for _ in 0..LENGTHS_MAX {
        let mut written = write_for(next, &mut out[..kept_at]);
        if written.is_err() {
            // A code as long as that is no reason to end: what was kept is written again.
            kept_at = out.len();
            written = write_for(next, out);
        }
        let written = written.ok()?;
        front = (next, written);
        if written <= next {
            if next - written <= PADDING_MAX {
                fits = Some(next);
                let kept_len = if 2 * written <= out.len() { written } else { 0 };
                kept_at = out.len() - kept_len;
                out.copy_within(..kept_len, kept_at);
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
    if front.0 != code_len {
        front.1 = out.len() - kept_at;
        out.copy_within(kept_at.., 0);
        if kept_at == out.len() {
            front.1 = write_for(code_len, out).ok()?;
        }
    }
    out[front.1..code_len].fill(0);
    Some(code_len)
}

/// Tells the length of the code, unless rests follow that nobody reckons with.
pub(super) fn encoder_for(is_beside: bool, out: &mut [u8], code_len: usize) -> Encoder<'_> {
    if is_beside { Encoder::new(out) } else { Encoder::of_len(out, code_len) }
}
