//! A record in flash: two slots, of which the newer whole one counts.

use super::{CRC, RECORD_LEN_MAX};
use crate::WRITE_LEN_MAX;
use crate::flash::{Flash, FlashError};

const MAGIC: [u8; 4] = *b"KGS1";
/// Room for the header, in whole units of writing: magic, number, length, CRC of the record, CRC of these.
const HEADER_LEN: usize = WRITE_LEN_MAX;
const CHUNK: usize = 64;

/// A record in flash, replaced whole: written beside the old one, which is erased once the new one is complete.
///
/// ```text
/// slot     header, 32: magic "KGS1", number u32, len u32, CRC-32 of the record, CRC-32 of these 16 │ record
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// The slot that counts, if one does.
    newest: Option<Found>,
    writing: Option<Writing>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    slot: u32,
    number: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Writing {
    slot: u32,
    len: usize,
    /// Bytes taken so far; those that fill no unit of writing yet wait in `rest`.
    have: usize,
    rest: [u8; WRITE_LEN_MAX],
}

impl Slots {
    /// Finds the record, and finishes what a power cut left undone: of two whole records the older is erased.
    pub fn open(flash: &mut dyn Flash) -> Result<Self, FlashError> {
        let found = [find(flash, 0)?, find(flash, 1)?];
        let newest = found.into_iter().flatten().max_by_key(|found| found.number);
        if let [Some(_), Some(_)] = found
            && let Some(newest) = newest
        {
            erase_slot(flash, 1 - newest.slot)?;
        }
        Ok(Self { newest, writing: None })
    }

    /// Bytes of the record; `None` if there is none.
    pub fn record_len(&self) -> Option<usize> {
        self.newest.map(|found| found.len)
    }

    /// Reads the record into the front of `out`.
    pub fn read(&self, flash: &mut dyn Flash, out: &mut [u8]) -> Result<Option<usize>, FlashError> {
        let Some(Found { slot, len, .. }) = self.newest else { return Ok(None) };
        let out = out.get_mut(..len).ok_or(FlashError::OutOfRange)?;
        let at = slot_len(flash) * slot + HEADER_LEN as u32;
        flash.read(at, out)?;
        Ok(Some(len))
    }

    /// Begins a record of `len` bytes in the slot that does not count; one that was begun before is given up.
    pub fn begin(&mut self, flash: &mut dyn Flash, len: usize) -> Result<(), FlashError> {
        self.writing = None;
        if len == 0 || len > RECORD_LEN_MAX || HEADER_LEN + len > slot_len(flash) as usize {
            return Err(FlashError::OutOfRange);
        }
        let slot = self.newest.map_or(0, |found| 1 - found.slot);
        erase_slot(flash, slot)?;
        self.writing = Some(Writing { slot, len, have: 0, rest: [0xFF; WRITE_LEN_MAX] });
        Ok(())
    }

    /// Bytes of the record taken so far and in all; `None` if none was begun.
    pub fn progress(&self) -> Option<(usize, usize)> {
        self.writing.map(|writing| (writing.have, writing.len))
    }

    /// Takes the record's next bytes.
    pub fn push(&mut self, flash: &mut dyn Flash, bytes: &[u8]) -> Result<(), FlashError> {
        let Some(mut writing) = self.writing else { return Err(FlashError::OutOfRange) };
        if bytes.len() > writing.len - writing.have {
            return Err(FlashError::OutOfRange);
        }
        // Whatever fails from here on, this slot is begun anew.
        self.writing = None;
        let unit = (flash.write_len() as usize).clamp(1, WRITE_LEN_MAX);
        for &byte in bytes {
            writing.rest[writing.have % unit] = byte;
            writing.have += 1;
            if writing.have.is_multiple_of(unit) {
                writing.program(flash, unit, writing.have - unit)?;
            } else if writing.have == writing.len {
                writing.program(flash, unit, writing.have / unit * unit)?;
            }
        }
        self.writing = Some(writing);
        Ok(())
    }

    /// Ends the record: reads it back and makes it the one that counts. `Ok(false)` if bytes are missing, or do not
    /// end with the CRC-32 of those before.
    pub fn finish(&mut self, flash: &mut dyn Flash) -> Result<bool, FlashError> {
        let Some(writing) = self.writing.take().filter(|writing| writing.have == writing.len) else {
            return Ok(false);
        };
        let Writing { slot, len, .. } = writing;
        let at = slot_len(flash) * slot + HEADER_LEN as u32;
        // A record ends with the CRC of what stands before it.
        let (Some(body_len), mut stored) = (len.checked_sub(4), [0; 4]) else { return Ok(false) };
        flash.read(at + body_len as u32, &mut stored)?;
        if checksum(flash, at, body_len)? != u32::from_le_bytes(stored) {
            return Ok(false);
        }
        let number = self.newest.map_or(1, |found| found.number.wrapping_add(1));
        let mut header = [0xFF; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&number.to_le_bytes());
        header[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        header[12..16].copy_from_slice(&checksum(flash, at, len)?.to_le_bytes());
        let crc = CRC.checksum(&header[..16]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        let start = slot_len(flash) * slot;
        flash.program(start, &header)?;
        // From here on the new record counts; the old one holds a key and goes.
        let old = self.newest.replace(Found { slot, number, len });
        if let Some(old) = old {
            erase_slot(flash, old.slot)?;
        }
        Ok(true)
    }
}

impl Writing {
    /// Programs the unit that begins at byte `from` of the record.
    fn program(&mut self, flash: &mut dyn Flash, unit: usize, from: usize) -> Result<(), FlashError> {
        let at = slot_len(flash) * self.slot + (HEADER_LEN + from) as u32;
        flash.program(at, &self.rest[..unit])?;
        self.rest = [0xFF; WRITE_LEN_MAX];
        Ok(())
    }
}

fn find(flash: &mut dyn Flash, slot: u32) -> Result<Option<Found>, FlashError> {
    let mut header = [0; HEADER_LEN];
    let start = slot_len(flash) * slot;
    flash.read(start, &mut header)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (number, len) = (word(4), word(8) as usize);
    let fits = len <= RECORD_LEN_MAX && HEADER_LEN + len <= slot_len(flash) as usize;
    if header[..4] != MAGIC || CRC.checksum(&header[..16]) != word(16) || !fits {
        return Ok(None);
    }
    let is_whole = checksum(flash, start + HEADER_LEN as u32, len)? == word(12);
    Ok(is_whole.then_some(Found { slot, number, len }))
}

fn checksum(flash: &mut dyn Flash, at: u32, len: usize) -> Result<u32, FlashError> {
    let mut digest = CRC.digest();
    let mut chunk = [0; CHUNK];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(CHUNK);
        flash.read(at + done as u32, &mut chunk[..n])?;
        digest.update(&chunk[..n]);
        done += n;
    }
    Ok(digest.finalize())
}

/// Each slot takes half of the region.
fn slot_len(flash: &mut dyn Flash) -> u32 {
    flash.n_sectors() / 2 * flash.sector_len()
}

fn erase_slot(flash: &mut dyn Flash, slot: u32) -> Result<(), FlashError> {
    let (len, sector_len) = (slot_len(flash), flash.sector_len());
    // The header's sector first: without it the rest means nothing.
    for sector in 0..len / sector_len {
        flash.erase(len * slot + sector * sector_len)?;
    }
    Ok(())
}
