//! What the length of a code tells of the values still to come.
//!
//! The frame around a code says its length, so a decoder knows before each value how many bits are left for how many
//! values: much for few of them means that the window will be lively, little that it will be calm. That knowledge is
//! free, and the network's outputs are moved by it. The encoder looks for the length that fits itself.

use crate::freq::log2_q4;

/// Inputs of the layer that moves the outputs.
pub const BUDGET_INPUTS: usize = 6;
/// Most values of a window in a model with budgets: an encoder keeps what its networks said of each.
pub const BUDGET_VALUES_MAX: usize = 128;
/// Zeros that fill a code up to the length it was written for, at most.
pub(crate) const PADDING_MAX: usize = 2;
/// Bits of a code that say no value, in sixteenths: half a byte is lost at its end, less what chance gives back.
const END: u32 = 40;

/// What is left of a code for how many values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Of the code, and used so far, in sixteenths of a bit.
    pub(crate) total: u32,
    pub(crate) spent: u32,
    /// Values in the window, and this one with those after it.
    pub(crate) n_values: u32,
    pub(crate) n_left: u32,
}

impl Budget {
    /// Logarithm of the bits left a value over `usual`, that of the bits usual for one (Q4): now, bent, later in the
    /// window more, in its last samples alone; the same of the whole code, and bent.
    pub(crate) fn inputs(self, usual: i32, n_channels: usize) -> [i16; BUDGET_INPUTS] {
        let Self { total, spent, n_values, n_left } = self;
        let whole = total.saturating_sub(END);
        let per_value = |bits: u32, n: u32| {
            (2 * (log2_q4(bits.max(1)) as i32 - log2_q4(16 * n) as i32 - usual)).clamp(-127, 127)
        };
        let now = per_value(whole.saturating_sub(spent), n_left);
        let all = per_value(whole, n_values);
        let is_last = n_left < 5 * n_channels as u32;
        [
            now,
            (now * now) >> 6,
            now * (n_values - n_left) as i32 / n_values as i32,
            if is_last { now >> 1 } else { 0 },
            all,
            (all * all) >> 6,
        ]
        .map(|x| x.min(127) as i16)
    }
}
