//! Flash as the node sees it: sectors that are erased whole and programmed once.

mod mem;

pub use mem::MemFlash;

/// Why flash did not do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlashError {
    /// The driver reports a failure, or what was written does not read back.
    Failed,
    /// The address lies outside the region, or is not aligned.
    OutOfRange,
    /// The bytes to be programmed are not all erased.
    NotErased,
}

/// A region of NOR flash that belongs to the node alone.
///
/// Addresses start at 0 and count bytes inside the region. Erased bytes read `0xFF`. The node programs every
/// byte at most once between two erases (chips with ECC allow no more), in whole multiples of
/// [`Flash::write_len`], and never across a sector's end.
pub trait Flash {
    /// Bytes in a sector, the unit of erasing.
    fn sector_len(&self) -> u32;
    /// Sectors in the region.
    fn n_sectors(&self) -> u32;
    /// Bytes in the smallest unit that can be programmed: 1 to [`crate::WRITE_LEN_MAX`], a power of two.
    fn write_len(&self) -> u32;
    /// Fills `out` from `at`.
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), FlashError>;
    /// Programs erased bytes; when it returns, they are on the chip.
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError>;
    /// Erases the sector that starts at `at`.
    fn erase(&mut self, at: u32) -> Result<(), FlashError>;
}

impl<F: Flash + ?Sized> Flash for &mut F {
    fn sector_len(&self) -> u32 {
        (**self).sector_len()
    }
    fn n_sectors(&self) -> u32 {
        (**self).n_sectors()
    }
    fn write_len(&self) -> u32 {
        (**self).write_len()
    }
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), FlashError> {
        (**self).read(at, out)
    }
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
        (**self).program(at, bytes)
    }
    fn erase(&mut self, at: u32) -> Result<(), FlashError> {
        (**self).erase(at)
    }
}

impl core::fmt::Display for FlashError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Failed => "a read or write has failed",
            Self::OutOfRange => "an address or a length does not fit its sectors",
            Self::NotErased => "bytes to be written are not erased",
        })
    }
}

impl core::error::Error for FlashError {}
