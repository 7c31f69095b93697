//! Regions of the chip's flash, found by the partition table.

use core::cell::RefCell;

use esp_bootloader_esp_idf::partitions::{PARTITION_TABLE_MAX_LEN, read_partition_table};
use esp_storage::{FlashStorage, FlashStorageError};
use kinglet_node::{Flash, FlashError};

/// The chip's flash, shared by whoever has a region in it. Nobody holds it across an `await`.
pub type Chip = RefCell<FlashStorage<'static>>;

/// One partition, as the node wants its flash.
#[derive(Clone, Copy)]
pub struct Region {
    chip: &'static Chip,
    at: u32,
    len: u32,
}

impl Region {
    /// The partition of this name; `None` if the table has none, or cannot be read.
    pub fn find(chip: &'static Chip, label: &str) -> Option<Self> {
        let mut buf = [0; PARTITION_TABLE_MAX_LEN];
        let mut flash = chip.borrow_mut();
        let table = read_partition_table(&mut flash, &mut buf).ok()?;
        let entry = table.iter().find(|entry| entry.label_as_str() == label)?;
        Some(Self { chip, at: entry.offset(), len: entry.len() })
    }

    /// Erases all of it.
    #[cfg(not(feature = "seed"))]
    pub fn erase_all(&self) -> Result<(), FlashError> {
        self.chip.borrow_mut().erase(self.at, self.at + self.len).map_err(failed)
    }

    fn place(&self, at: u32, len: usize) -> Result<u32, FlashError> {
        let end = u64::from(at) + len as u64;
        if end > self.len.into() { Err(FlashError::OutOfRange) } else { Ok(self.at + at) }
    }
}

impl Flash for Region {
    fn sector_len(&self) -> u32 {
        FlashStorage::SECTOR_SIZE
    }

    fn n_sectors(&self) -> u32 {
        self.len / FlashStorage::SECTOR_SIZE
    }

    fn write_len(&self) -> u32 {
        FlashStorage::WORD_SIZE
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), FlashError> {
        let at = self.place(at, out.len())?;
        self.chip.borrow_mut().read(at, out).map_err(failed)
    }

    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let start = self.place(at, bytes.len())?;
        self.chip.borrow_mut().write_nor(start, bytes).map_err(failed)?;
        // A cell that is worn out is noticed here rather than after the next boot.
        let mut back = [0; 64];
        for (n, chunk) in bytes.chunks(back.len()).enumerate() {
            let back = &mut back[..chunk.len()];
            self.read(at + (n * 64) as u32, back)?;
            if back != chunk {
                return Err(FlashError::Failed);
            }
        }
        Ok(())
    }

    fn erase(&mut self, at: u32) -> Result<(), FlashError> {
        let start = self.place(at, FlashStorage::SECTOR_SIZE as usize)?;
        self.chip.borrow_mut().erase(start, start + FlashStorage::SECTOR_SIZE).map_err(failed)
    }
}

fn failed(error: FlashStorageError) -> FlashError {
    match error {
        FlashStorageError::NotAligned | FlashStorageError::OutOfBounds => FlashError::OutOfRange,
        _ => FlashError::Failed,
    }
}
