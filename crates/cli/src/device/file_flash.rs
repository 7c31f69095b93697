//! A file that behaves as a device's flash: what `kinglet send` keeps its outbox and its counters in.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use kinglet_node::{Flash, FlashError};

use crate::failure::{Failure, Result};

const SECTOR_LEN: u32 = 4096;
/// 1 MiB: some ten thousand windows.
const N_SECTORS: u32 = 256;
/// 128 KiB: two bundles.
const N_SECTORS_BUNDLES: u32 = 32;

/// Flash in a file. Two processes sealing with the same counters would break the seal, so the file is locked
/// as long as it is open.
pub(crate) struct FileFlash {
    file: File,
    n_sectors: u32,
}

impl FileFlash {
    /// Bytes of the region.
    pub(crate) const LEN: usize = SECTOR_LEN as usize * N_SECTORS as usize;

    /// Opens the file, or makes it, all erased.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_of(path, N_SECTORS)
    }

    /// The same for the bundles that come over the air.
    pub(crate) fn open_bundles(path: &Path) -> Result<Self> {
        Self::open_of(path, N_SECTORS_BUNDLES)
    }

    fn open_of(path: &Path, n_sectors: u32) -> Result<Self> {
        let failed = |e: io::Error| Failure::writing(format_args!("the outbox {}", path.display()), &e);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            // It holds keys' counters and readings that nobody else has yet.
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::input(format_args!("the outbox {} is in use", path.display()))
                    .why("another `kinglet send` works on it, and a counter must never be used twice")
                    .next("wait until it is done, or give this device another --outbox and another key"));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let len = u64::from(SECTOR_LEN) * u64::from(n_sectors);
        let found = file.metadata().map_err(failed)?.len();
        if found == 0 {
            erase_all(&mut file, n_sectors).map_err(failed)?;
        } else if found != len {
            return Err(Failure::input(format_args!("{} is no outbox", path.display()))
                .why(format_args!("it has {found} bytes, an outbox {len}"))
                .next("name another file with --outbox; this one is left as it is"));
        }
        Ok(Self { file, n_sectors })
    }

    fn seek(&mut self, at: u32, len: usize) -> Result<(), FlashError> {
        let end = u64::from(at) + len as u64;
        if end > u64::from(SECTOR_LEN) * u64::from(self.n_sectors) {
            return Err(FlashError::OutOfRange);
        }
        self.file.seek(SeekFrom::Start(u64::from(at))).map(drop).map_err(|_| FlashError::Failed)
    }

    fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.seek(at, bytes.len())?;
        self.file.write_all(bytes).and_then(|()| self.file.sync_data()).map_err(|_| FlashError::Failed)
    }
}

/// Every byte erased, and on the disk.
fn erase_all(file: &mut File, n_sectors: u32) -> io::Result<()> {
    file.write_all(&vec![0xFF; SECTOR_LEN as usize * n_sectors as usize])?;
    file.sync_all()
}

impl Flash for FileFlash {
    fn sector_len(&self) -> u32 {
        SECTOR_LEN
    }

    fn n_sectors(&self) -> u32 {
        self.n_sectors
    }

    fn write_len(&self) -> u32 {
        1
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.seek(at, out.len())?;
        self.file.read_exact(out).map_err(|_| FlashError::Failed)
    }

    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut before = vec![0; bytes.len()];
        self.read(at, &mut before)?;
        if before.iter().any(|&b| b != 0xFF) {
            return Err(FlashError::NotErased);
        }
        self.put(at, bytes)
    }

    fn erase(&mut self, at: u32) -> Result<(), FlashError> {
        if !at.is_multiple_of(SECTOR_LEN) {
            return Err(FlashError::OutOfRange);
        }
        self.put(at, &[0xFF; SECTOR_LEN as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_flash_and_survives_being_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/porch.outbox");
        let mut flash = FileFlash::open(&path).unwrap();
        flash.program(4094, &[1, 2]).unwrap();
        assert_eq!(flash.program(4095, &[3]), Err(FlashError::NotErased));
        assert_eq!(flash.program(SECTOR_LEN * N_SECTORS - 1, &[1, 2]), Err(FlashError::OutOfRange));
        assert_eq!(flash.erase(5), Err(FlashError::OutOfRange));
        drop(flash);
        let mut flash = FileFlash::open(&path).unwrap();
        let mut read = [0; 4];
        flash.read(4092, &mut read).unwrap();
        assert_eq!(read, [0xFF, 0xFF, 1, 2]);
        flash.erase(0).unwrap();
        flash.program(4094, &[9]).unwrap();
    }

    #[test]
    fn one_sender_at_a_time_and_no_foreign_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let held = FileFlash::open(&path).unwrap();
        assert!(FileFlash::open(&path).is_err());
        drop(held);
        assert!(FileFlash::open(&path).is_ok());
        let other = dir.path().join("letter.txt");
        std::fs::write(&other, "dear").unwrap();
        assert!(FileFlash::open(&other).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"dear");
    }
}
