//! The ways bytes can be refused. Flat and `Copy`: on a chip they cost a byte or two, and they carry no secret.

use core::fmt;

/// Opening failed: wrong key, wrong device, wrong direction, wrong bundle, wrong counter, or changed bytes.
///
/// There is one way to fail, so that nobody learns from the answer which of these it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError;

/// Why bytes are not what they claim to be. Found before any key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The bytes end too early; at least this many are needed.
    NeedMore {
        /// Bytes needed in all.
        at_least: usize,
    },
    /// There are bytes after the end, or more than [`crate::FRAME_LEN_MAX`].
    TooLong,
    /// A version this crate does not speak.
    Version(u8),
    /// A type of frame that is unknown, or not the one asked for.
    Kind(u8),
    /// A suite this crate does not speak.
    Suite(u8),
    /// A field has a value it cannot have.
    Malformed(Field),
}

/// The field of [`ParseError::Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// Bits that must be zero are not.
    Reserved,
    /// A full counter is used where there is none.
    Wide,
    /// A device id is empty, too long, or has a character it may not have.
    DeviceId,
    /// A generation is 0 where a join must have made one.
    Generation,
    /// The kind of time is unknown.
    Time,
    /// The quality of time is unknown.
    Quality,
    /// A bundle slot is above 15.
    Slot,
    /// The padding does not end in its marker.
    Padding,
    /// The reset reason is unknown.
    Reset,
    /// An update, or what a device says of one, contradicts itself.
    Update,
    /// A piece of a model: none of it is asked for.
    Piece,
    /// Stored ranges are out of order, overlap, or are too many.
    Ranges,
    /// A stored join state contradicts itself.
    Join,
    /// A COSE_Encrypt0 is none of the template's.
    Template,
}

/// The buffer has no room for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferTooSmall {
    /// Bytes needed.
    pub need: usize,
}

/// Why a frame was not sealed. All of these are mistakes of the caller, not of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The buffer has no room for header, content and tag.
    BufferTooSmall {
        /// Bytes needed.
        need: usize,
    },
    /// The content is longer than [`crate::CONTENT_LEN_MAX`].
    ContentTooLong,
    /// The key is for the other direction or for another suite.
    WrongKey,
    /// The header's counter is not the one the frame is bound to.
    WrongCounter,
    /// A data frame needs a bundle's fingerprint, and no other frame may have one.
    WrongBundle,
}

impl From<BufferTooSmall> for SealError {
    fn from(e: BufferTooSmall) -> Self {
        Self::BufferTooSmall { need: e.need }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame does not open")
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedMore { at_least } => write!(f, "cut short: at least {at_least} bytes are needed"),
            Self::TooLong => f.write_str("longer than it can be"),
            Self::Version(n) => write!(f, "wire version {n} is not spoken here"),
            Self::Kind(n) => write!(f, "frame type {n} is unknown or not expected here"),
            Self::Suite(n) => write!(f, "suite {n} is not spoken here"),
            Self::Malformed(field) => write!(f, "a field is malformed: {field:?}"),
        }
    }
}

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the buffer is too small: {} bytes are needed", self.need)
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { need } => write!(f, "the buffer is too small: {need} bytes are needed"),
            Self::ContentTooLong => write!(f, "the content exceeds {} bytes", crate::CONTENT_LEN_MAX),
            Self::WrongKey => f.write_str("the key is for the other direction or another suite"),
            Self::WrongCounter => f.write_str("the header's counter is not the one to be sealed with"),
            Self::WrongBundle => f.write_str("a data frame needs a fingerprint, and only a data frame"),
        }
    }
}

impl core::error::Error for OpenError {}
impl core::error::Error for ParseError {}
impl core::error::Error for BufferTooSmall {}
impl core::error::Error for SealError {}
