//! The ways a node can fail. Flat and `Copy`: no strings on the chip.

use core::fmt;

use kinglet_codec::EncodeError;
use kinglet_wire::SealError;

use crate::flash::FlashError;

/// Why a node does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Flash does not answer, or its sectors cannot be used: see [`crate::SECTOR_LEN_MIN`],
    /// [`crate::SECTORS_MIN`], [`crate::WRITE_LEN_MAX`].
    Flash(FlashError),
    /// The region holds something that is not this version's outbox. Erase it to begin a new one: the device
    /// then joins anew.
    Foreign,
    /// Windows of 16 older bundles still wait. Let them be acked before another bundle is used.
    SlotsTaken,
    /// A buffer is shorter than [`crate::BufferLens::of`] the model says.
    BuffersTooSmall,
    /// [`crate::Config::fill_len`] leaves no room for a code: at least [`crate::FILL_LEN_MIN`].
    FillTooSmall,
}

/// Why a call was not done, or not wholly. Nothing that was in flash is lost by any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeError {
    /// Flash has failed; the node tries again with a later call.
    Flash(FlashError),
    /// The sample was not taken: the window before it is full, and flash does not take that.
    SampleRefused,
    /// The sample has not as many readings as the model has channels.
    ChannelCount {
        /// Channels of the model.
        expected: usize,
    },
    /// The sample's unix time is before 1970 or beyond 48 bits of milliseconds.
    SampleTime,
    /// The buffer is shorter than [`crate::Node::frame_len_max`].
    BufferTooSmall {
        /// Bytes needed.
        need: usize,
    },
    /// The code of one sample alone is longer than a frame may take; that sample was left out.
    CodeTooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        len_max: usize,
    },
    /// The encoder refuses the window: a fault in this crate.
    Encode(EncodeError),
    /// The frame was not sealed: a fault in this crate.
    Seal(SealError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the outbox's flash cannot be used: {error}"),
            Self::Foreign => f.write_str("the outbox's flash holds something else: erase it to begin anew"),
            Self::SlotsTaken => f.write_str("windows of 16 older bundles wait: let them be acked first"),
            Self::BuffersTooSmall => f.write_str("a buffer is too small for this bundle"),
            Self::FillTooSmall => {
                write!(f, "frames to be filled have at least {} bytes", crate::FILL_LEN_MIN)
            }
        }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the outbox's flash has failed: {error}"),
            Self::SampleRefused => {
                f.write_str("the window is full and flash does not take it: sample refused")
            }
            Self::ChannelCount { expected } => {
                write!(f, "the bundle has {expected} channels, the sample has not")
            }
            Self::SampleTime => f.write_str("the sample's time is no unix time in milliseconds after 1970"),
            Self::BufferTooSmall { need } => write!(f, "the buffer is too small: {need} bytes are needed"),
            Self::CodeTooLong { len, len_max } => {
                write!(
                    f,
                    "one sample's code takes {len} bytes, a frame {len_max}: raise fill_len or code_len_max"
                )
            }
            Self::Encode(error) => write!(f, "the window was not encoded: {error:?}"),
            Self::Seal(error) => write!(f, "the frame was not sealed: {error}"),
        }
    }
}

impl core::error::Error for OpenError {}
impl core::error::Error for NodeError {}

impl From<FlashError> for OpenError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl From<FlashError> for NodeError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl From<EncodeError> for NodeError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<SealError> for NodeError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::BufferTooSmall { need } => Self::BufferTooSmall { need },
            error => Self::Seal(error),
        }
    }
}
