//! A model: a checked view on the bytes a device keeps.

use crate::Grid;

/// One channel of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The channel's name, UTF-8, at most 32 bytes.
    pub name: &'a str,
    /// Its unit, UTF-8, at most 16 bytes; may be empty.
    pub unit: &'a str,
    /// Its grid.
    pub grid: Grid,
}

/// Why bytes are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// Not a Kinglet model at all.
    Magic,
    /// A format version this code does not know.
    Version(u8),
    /// The bytes end early or contradict themselves in the named section.
    Malformed(&'static str),
}

/// A model: a checked view on the bytes a device keeps. Copying it copies a few words.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    bytes: &'a [u8],
}

impl<'a> Model<'a> {
    /// Checks every byte of `bytes`; decoding with the result cannot panic whatever the code says.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let _ = Self { bytes };
        todo!()
    }

    /// The bytes this model was parsed from.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// SHA-256 of [`Model::bytes`].
    pub fn identity(&self) -> [u8; 32] {
        todo!()
    }

    /// The first 16 bytes of [`Model::identity`]: what frames are bound to.
    pub fn fingerprint(&self) -> [u8; 16] {
        todo!()
    }

    /// Channels per sample, `1..=CHANNELS_MAX`.
    pub fn channels(&self) -> usize {
        todo!()
    }

    /// Channel `idx < self.channels()`.
    pub fn channel(&self, idx: usize) -> Channel<'a> {
        let _ = idx;
        todo!()
    }

    /// Samples in a full window, `1..=SAMPLES_MAX`.
    pub fn samples(&self) -> usize {
        todo!()
    }

    /// Sampling period, at least 1.
    pub fn period_ms(&self) -> u32 {
        todo!()
    }

    /// The longest a sample may wait for its window to fill.
    pub fn max_delay_ms(&self) -> u32 {
        todo!()
    }

    /// Bytes of the longest code.
    pub fn code_len_max(&self) -> usize {
        todo!()
    }

    /// `i32` words [`crate::encode`] and [`crate::decode`] need as workspace.
    pub fn workspace_len(&self) -> usize {
        todo!()
    }
}
