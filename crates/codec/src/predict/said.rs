//! What a network says of a value, and where an encoder keeps it.

use super::{COMPONENTS, Mixture, OUTPUTS};

/// Farther predictions are not believed: as far as a mixture takes them.
const LINEAR_MAX: i64 = (1 << 31) - 512;

/// What a network says of one value.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Linear predictions, Q4.
    pub(super) linear: [i64; COMPONENTS],
    /// Q8.
    pub(super) outputs: [i32; OUTPUTS],
}

/// What networks said of a window's values, [`Said::WORDS`] for each of its own, where an encoder asks them once and writes more than
/// once.
pub(crate) enum Memory<'m> {
    /// Nothing is kept.
    None,
    /// Is filled.
    Write(&'m mut [i32]),
    /// Was filled, for the same values.
    Read(&'m [i32]),
}

impl<'m> Memory<'m> {
    /// Of `words`, which are none where nothing is kept; `has_said`: they were filled.
    pub(crate) fn of(words: &'m mut [i32], has_said: bool) -> Self {
        match (words.is_empty(), has_said) {
            (true, _) => Self::None,
            (false, false) => Self::Write(words),
            (false, true) => Self::Read(words),
        }
    }
}

impl Said {
    /// Words it takes to keep one.
    pub(crate) const WORDS: usize = COMPONENTS + OUTPUTS / 2;

    /// The distribution of the next difference.
    pub(super) fn mixture(&self, mean_move: u32, gated: bool) -> Mixture {
        Mixture::new(&self.linear, mean_move, &self.outputs, gated)
    }

    /// Limited to what is kept of one: outputs of 16 bits, predictions of 32.
    pub(super) fn limit(&mut self) {
        for x in &mut self.linear {
            *x = (*x).clamp(-LINEAR_MAX, LINEAR_MAX);
        }
        for y in &mut self.outputs {
            *y = (*y).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        }
    }

    pub(super) fn store(&self, words: &mut [i32]) {
        for (word, &x) in words.iter_mut().zip(&self.linear) {
            *word = x as i32;
        }
        for (word, pair) in words[COMPONENTS..].iter_mut().zip(self.outputs.as_chunks().0) {
            let [low, high] = *pair;
            *word = (low & 0xffff) | (high << 16);
        }
    }

    pub(super) fn load(&mut self, words: &[i32]) {
        for (x, &word) in self.linear.iter_mut().zip(words) {
            *x = i64::from(word);
        }
        for ([low, high], &word) in self.outputs.as_chunks_mut().0.iter_mut().zip(&words[COMPONENTS..]) {
            (*low, *high) = (i32::from(word as i16), word >> 16);
        }
    }
}
