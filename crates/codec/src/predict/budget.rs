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

/// What a code has for a window's values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// In sixteenths of a bit.
    whole: u32,
    n_values: u32,
    n_channels: u32,
    /// Logarithm of the bits usual for a value, Q4.
    usual: i32,
    /// That of the bits there are for one over it.
    all: i32,
}

impl Budget {
    /// `code_len`: of the code, in bytes. `n_values`: of the window.
    pub(crate) fn new(code_len: usize, n_values: usize, n_channels: usize, usual: i8) -> Self {
        // Longer than any code: it is refused in the end.
        let whole = (128 * code_len.min(1 << 20) as u32).saturating_sub(END);
        let (n_values, n_channels, usual) = (n_values as u32, n_channels as u32, i32::from(usual));
        Self { whole, n_values, n_channels, usual, all: per_value(whole, n_values, usual) }
    }

    /// Logarithm of the bits left a value over those usual for one: now, bent, later in the window more, in its last samples
    /// alone; the same of the whole code, and bent. `spent`: in sixteenths of a bit. `n_left`: this value and those after it.
    pub(crate) fn inputs(&self, spent: u32, n_left: usize) -> [i16; BUDGET_INPUTS] {
        let &Self { whole, n_values, n_channels, usual, all } = self;
        let n_left = n_left as u32;
        let now = per_value(whole.saturating_sub(spent), n_left, usual);
        let is_last = n_left < 5 * n_channels;
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

fn per_value(bits: u32, n: u32, usual: i32) -> i32 {
    (2 * (log2_q4(bits.max(1)) as i32 - log2_q4(16 * n) as i32 - usual)).clamp(-127, 127)
}
