//! One sector: finding and writing its records. Every walk depends on nothing but the bytes.

use super::{CHUNK, CRC, KIND_SECTOR, MAGIC, RECORD_HEADER_LEN};
use crate::flash::{Flash, FlashError};
use crate::{SECTOR_LEN_MIN, SECTORS_MIN, WRITE_LEN_MAX};

/// How a region of flash is cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) sector_len: u32,
    pub(super) n_sectors: u32,
    /// Records start and end on multiples of this.
    pub(super) unit: u32,
}

/// What a walk through a sector found; `extent` leads to the next thing.
pub(super) struct Found {
    pub(super) offset: u32,
    pub(super) extent: u32,
    pub(super) kind: u8,
    pub(super) len: usize,
    pub(super) valid: bool,
}

impl Geometry {
    pub(super) fn of(flash: &mut dyn Flash) -> Result<Self, FlashError> {
        let (sector_len, n_sectors, write_len) = (flash.sector_len(), flash.n_sectors(), flash.write_len());
        let whole = write_len.is_power_of_two() && sector_len.is_multiple_of(write_len.max(4));
        let small = write_len as usize <= WRITE_LEN_MAX && sector_len.checked_mul(n_sectors).is_some();
        // A seal says in five bytes where its window stands.
        let small = small && n_sectors <= 1 << 16 && sector_len <= 1 << 24;
        let large = sector_len >= SECTOR_LEN_MIN && n_sectors >= SECTORS_MIN;
        let geometry = Self { sector_len, n_sectors, unit: write_len.max(4) };
        if whole && small && large { Ok(geometry) } else { Err(FlashError::OutOfRange) }
    }

    /// Bytes in flash of a record with `len` payload bytes.
    pub(super) fn extent(&self, len: usize) -> u32 {
        ((RECORD_HEADER_LEN + len) as u32).next_multiple_of(self.unit)
    }

    pub(super) fn sector_seq(&self, flash: &mut dyn Flash, sector: u32) -> Result<Option<u32>, FlashError> {
        let Some(found) = self.find_record(flash, sector, 0, self.unit)? else { return Ok(None) };
        if !found.valid || found.kind != KIND_SECTOR || found.len < 8 {
            return Ok(None);
        }
        let mut start = [0u8; 8];
        flash.read(sector * self.sector_len + RECORD_HEADER_LEN as u32, &mut start)?;
        let [m0, m1, m2, m3, seq @ ..] = start;
        Ok(([m0, m1, m2, m3] == MAGIC).then(|| u32::from_le_bytes(seq)))
    }

    /// The first thing that is not blank in `from..limit` of a sector. Bytes that are no record count as one
    /// unit, a record with a wrong CRC as what its header claims: the walk depends on nothing but the bytes.
    pub(super) fn find_record(
        &self,
        flash: &mut dyn Flash,
        sector: u32,
        from: u32,
        limit: u32,
    ) -> Result<Option<Found>, FlashError> {
        if from >= limit {
            return Ok(None);
        }
        let mut offset = from;
        let mut header = self.read_header(flash, sector, offset)?;
        if header == [0xFF; RECORD_HEADER_LEN] {
            let Some(written) = self.find_written(flash, sector, offset, limit)? else { return Ok(None) };
            offset = written / self.unit * self.unit;
            header = self.read_header(flash, sector, offset)?;
        }
        let [kind, len0, len1, check, crc @ ..] = header;
        let len = u16::from_le_bytes([len0, len1]);
        let extent = self.extent(usize::from(len));
        if kind == 0xFF || check != header_check(kind, len) || extent > self.sector_len - offset {
            return Ok(Some(Found { offset, extent: self.unit, kind, len: 0, valid: false }));
        }
        let payload_at = sector * self.sector_len + offset + RECORD_HEADER_LEN as u32;
        let valid = payload_crc(flash, kind, payload_at, len)? == u32::from_le_bytes(crc);
        Ok(Some(Found { offset, extent, kind, len: len.into(), valid }))
    }

    /// The header at `offset`, filled up with erased bytes where the sector ends.
    pub(super) fn read_header(
        &self,
        flash: &mut dyn Flash,
        sector: u32,
        offset: u32,
    ) -> Result<[u8; RECORD_HEADER_LEN], FlashError> {
        let mut header = [0xFF; RECORD_HEADER_LEN];
        let room = ((self.sector_len - offset) as usize).min(RECORD_HEADER_LEN);
        flash.read(sector * self.sector_len + offset, &mut header[..room])?;
        Ok(header)
    }

    /// The first byte in `from..limit` that is not erased.
    pub(super) fn find_written(
        &self,
        flash: &mut dyn Flash,
        sector: u32,
        from: u32,
        limit: u32,
    ) -> Result<Option<u32>, FlashError> {
        let mut chunk = [0u8; CHUNK];
        let mut at = from;
        while at < limit {
            let n = ((limit - at) as usize).min(CHUNK);
            flash.read(sector * self.sector_len + at, &mut chunk[..n])?;
            if let Some(i) = chunk[..n].iter().position(|&b| b != 0xFF) {
                return Ok(Some(at + i as u32));
            }
            at += n as u32;
        }
        Ok(None)
    }

    /// Where the next record may start in a sector.
    pub(super) fn find_end(&self, flash: &mut dyn Flash, sector: u32) -> Result<u32, FlashError> {
        let mut end = 0;
        while let Some(found) = self.find_record(flash, sector, end, self.sector_len)? {
            end = found.offset + found.extent;
        }
        Ok(end)
    }

    pub(super) fn make_blank(&self, flash: &mut dyn Flash, sector: u32) -> Result<(), FlashError> {
        if self.find_written(flash, sector, 0, self.sector_len)?.is_some() {
            flash.erase(sector * self.sector_len)?;
            if self.find_written(flash, sector, 0, self.sector_len)?.is_some() {
                return Err(FlashError::Failed);
            }
        }
        Ok(())
    }

    /// Programs a record at `at` and reads it back. Gives its extent.
    pub(super) fn write_record(
        &self,
        flash: &mut dyn Flash,
        at: u32,
        kind: u8,
        buf: &mut [u8],
        len: usize,
    ) -> Result<u32, FlashError> {
        let len16 = u16::try_from(len).map_err(|_| FlashError::OutOfRange)?;
        let extent = self.extent(len);
        let record = buf.get_mut(..extent as usize).ok_or(FlashError::OutOfRange)?;
        let (header, payload) = record.split_at_mut(RECORD_HEADER_LEN);
        payload[len..].fill(0xFF);
        let mut digest = CRC.digest();
        digest.update(&[kind]);
        digest.update(&len16.to_le_bytes());
        digest.update(&payload[..len]);
        header[0] = kind;
        header[1..3].copy_from_slice(&len16.to_le_bytes());
        header[3] = header_check(kind, len16);
        header[4..].copy_from_slice(&digest.finalize().to_le_bytes());
        let written = flash.program(at, record);
        // A driver may report a failure after everything was written: the bytes decide.
        let mut chunk = [0u8; CHUNK];
        for (i, expected) in record.chunks(CHUNK).enumerate() {
            flash.read(at + (i * CHUNK) as u32, &mut chunk[..expected.len()])?;
            if chunk[..expected.len()] != *expected {
                return Err(written.err().unwrap_or(FlashError::Failed));
            }
        }
        Ok(extent)
    }
}

/// Keeps the walk from reading a payload on the word of bytes that are no header.
fn header_check(kind: u8, len: u16) -> u8 {
    let [len0, len1] = len.to_le_bytes();
    0xA6 ^ kind.rotate_left(3) ^ len0 ^ len1.rotate_left(5)
}

fn payload_crc(flash: &mut dyn Flash, kind: u8, at: u32, len: u16) -> Result<u32, FlashError> {
    let mut digest = CRC.digest();
    digest.update(&[kind]);
    digest.update(&len.to_le_bytes());
    let mut chunk = [0u8; CHUNK];
    let mut done = 0;
    while done < usize::from(len) {
        let n = (usize::from(len) - done).min(CHUNK);
        flash.read(at + done as u32, &mut chunk[..n])?;
        digest.update(&chunk[..n]);
        done += n;
    }
    Ok(digest.finalize())
}
