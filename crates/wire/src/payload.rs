//! What stands inside a sealed frame, by type. All numbers are big-endian.
//!
//! A content is parsed only after its frame has opened, so a malformed one is a fault of the peer, not an attack
//! from the path; it is refused all the same.

mod control;
mod data;
mod status;

pub use control::{Ack, AckFlags, Command};
pub use data::{Data, Origin, Quality, Time};
pub use status::{Reset, Status, UpdateRefused, UpdateState};

use crate::BufferTooSmall;

/// Something that can be the content of a frame.
pub trait Content {
    /// Bytes it takes.
    fn len(&self) -> usize;

    /// True if it takes no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes it to the front of `out`; gives its length.
    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall>;
}

/// A time or a span in milliseconds that fits 48 bits: unix times from 1970 to the year 10889.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(u64);

impl Millis {
    /// The largest.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// `None` below 0 and from 2^48 on.
    pub const fn new(ms: i64) -> Option<Self> {
        if ms >= 0 && ms as u64 <= Self::MAX.0 { Some(Self(ms as u64)) } else { None }
    }

    /// The nearest that fits.
    pub const fn saturating(ms: i64) -> Self {
        match Self::new(ms) {
            Some(fits) => fits,
            None if ms < 0 => Self(0),
            None => Self::MAX,
        }
    }

    /// The milliseconds.
    pub const fn get(self) -> i64 {
        self.0 as i64
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(n: u64) -> Self {
        Self(n & Self::MAX.0)
    }
}
