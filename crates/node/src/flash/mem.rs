//! Flash in memory that keeps NOR's rules and loses power when told to.

use super::{Flash, FlashError};

/// Flash in memory, for tests and for devices that exist only in a process.
///
/// It is stricter than a chip: programming a byte twice is an error instead of a silent AND. With
/// [`MemFlash::cut_after`] it fails like a chip whose supply goes away: in the middle of a write.
#[derive(Clone)]
pub struct MemFlash<B> {
    bytes: B,
    sector_len: u32,
    write_len: u32,
    /// Writes (programs and erases) until the power goes; `None` while nobody cuts it.
    until_cut: Option<u32>,
    /// Where in the last write the power goes, and what the half-written byte looks like.
    tear: u32,
    dead: bool,
    n_writes: u32,
    n_erases: u32,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> MemFlash<B> {
    /// Flash over `bytes`, as they are: whole sectors of `sector_len`, programmed in units of `write_len`.
    ///
    /// # Panics
    /// If either length is zero.
    pub fn new(bytes: B, sector_len: u32, write_len: u32) -> Self {
        assert!(sector_len > 0 && write_len > 0, "flash needs sectors and a unit of writing");
        let (until_cut, tear, dead) = (None, 0, false);
        Self { bytes, sector_len, write_len, until_cut, tear, dead, n_writes: 0, n_erases: 0 }
    }

    /// Lets `n` more writes succeed, then cuts the power in the middle of the next one; `tear` chooses where.
    /// From then on every call fails until [`MemFlash::power_on`].
    pub fn cut_after(&mut self, n: u32, tear: u32) {
        (self.until_cut, self.tear) = (Some(n), tear);
    }

    /// The supply is back; what was half written stays so.
    pub fn power_on(&mut self) {
        (self.until_cut, self.dead) = (None, false);
    }

    /// True once the power was cut.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    #[cfg(test)]
    /// The cut that is to come: writes until then, and where it tears.
    pub(crate) fn cut(&self) -> Option<(u32, u32)> {
        self.until_cut.map(|n| (n, self.tear))
    }

    /// Programs and erases so far.
    pub fn n_writes(&self) -> u32 {
        self.n_writes
    }

    /// Erases so far.
    pub fn n_erases(&self) -> u32 {
        self.n_erases
    }

    /// The raw bytes, for those who want to damage or keep them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut()
    }

    fn range(&self, at: u32, len: usize) -> Result<core::ops::Range<usize>, FlashError> {
        if self.dead {
            return Err(FlashError::Failed);
        }
        let start = at as usize;
        let end = start.checked_add(len).ok_or(FlashError::OutOfRange)?;
        if end > self.bytes.as_ref().len() { Err(FlashError::OutOfRange) } else { Ok(start..end) }
    }

    /// Counts one write; `Some(k)` if the power goes after `k` of its `len` bytes.
    fn torn_at(&mut self, len: usize) -> Option<usize> {
        self.n_writes += 1;
        match self.until_cut.as_mut() {
            Some(0) => {
                self.dead = true;
                Some(self.tear as usize % (len + 1))
            }
            Some(left) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Flash for MemFlash<B> {
    fn sector_len(&self) -> u32 {
        self.sector_len
    }

    fn n_sectors(&self) -> u32 {
        u32::try_from(self.bytes.as_ref().len()).unwrap_or(u32::MAX) / self.sector_len
    }

    fn write_len(&self) -> u32 {
        self.write_len
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), FlashError> {
        let range = self.range(at, out.len())?;
        out.copy_from_slice(&self.bytes.as_ref()[range]);
        Ok(())
    }

    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let range = self.range(at, bytes.len())?;
        if !at.is_multiple_of(self.write_len) || !bytes.len().is_multiple_of(self.write_len as usize) {
            return Err(FlashError::OutOfRange);
        }
        if self.bytes.as_ref()[range.clone()].iter().any(|&b| b != 0xFF) {
            return Err(FlashError::NotErased);
        }
        let torn = self.torn_at(bytes.len());
        let tear = self.tear;
        let target = &mut self.bytes.as_mut()[range];
        let Some(k) = torn else {
            target.copy_from_slice(bytes);
            return Ok(());
        };
        target[..k].copy_from_slice(&bytes[..k]);
        if k < bytes.len() {
            // Some of this byte's bits were already pulled to zero.
            target[k] = bytes[k] | (tear >> 8) as u8;
        }
        Err(FlashError::Failed)
    }

    fn erase(&mut self, at: u32) -> Result<(), FlashError> {
        let range = self.range(at, self.sector_len as usize)?;
        if !at.is_multiple_of(self.sector_len) {
            return Err(FlashError::OutOfRange);
        }
        let torn = self.torn_at(range.len());
        let tear = self.tear;
        self.n_erases += 1;
        let target = &mut self.bytes.as_mut()[range];
        let Some(k) = torn else {
            target.fill(0xFF);
            return Ok(());
        };
        // Erasing pulls bits up everywhere at once: a part is done, the rest is half way.
        target[..k].fill(0xFF);
        for (i, byte) in target[k..].iter_mut().enumerate() {
            if tear & 1 == 1 {
                *byte |= (tear >> (i % 24)) as u8;
            }
        }
        Err(FlashError::Failed)
    }
}
