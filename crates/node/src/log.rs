//! A ring of flash sectors that records are appended to, and that survives a power cut at any write.
//!
//! ```text
//!   sector seq 7        sector seq 8        sector seq 9 (head)      spare
//!  ┌──┬───┬───┬────┐   ┌──┬────┬──┬───┐   ┌──┬───┬──────────────┐   ┌──────────────┐
//!  │H │rec│rec│rec │   │H │rec │r │rec│   │H │rec│   erased     │   │ old or erased│
//!  └──┴───┴───┴────┘   └──┴────┴──┴───┘   └──┴───┴──────────────┘   └──────────────┘
//!
//!  record: kind 1 · len 2 · check 1 · CRC-32 4 · payload len · erased bytes up to the unit of writing
//!  H:      a record whose payload is magic 4 · seq 4 · snapshot
//! ```
//!
//! Nothing is ever programmed twice, so chips with ECC are fine. One sector is always spare: a new sector takes
//! part in the ring from the instant its header is whole, and the header carries a *snapshot* of everything
//! that must outlive the sector that falls out at that same instant. A write that was cut leaves bytes that no
//! CRC covers; they are stepped over, and writing goes on behind them.

mod sector;

use self::sector::Geometry;
use crate::WRITE_LEN_MAX;
use crate::flash::{Flash, FlashError};

/// Bytes before a record's payload.
pub(crate) const RECORD_HEADER_LEN: usize = 8;
/// Bytes a buffer for [`Log::append`] needs beside the payload.
pub(crate) const RECORD_OVERHEAD: usize = RECORD_HEADER_LEN + WRITE_LEN_MAX;
/// Longest snapshot.
pub(crate) const SNAPSHOT_LEN_MAX: usize = 160;
/// Kind of a sector's first record; other kinds are the caller's.
const KIND_SECTOR: u8 = 1;
const MAGIC: [u8; 4] = *b"KGL1";
const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);
const CHUNK: usize = 64;

/// Where a record starts. Places are ordered as the records were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) seq: u32,
    pub(crate) offset: u32,
}

/// A record whose CRC was right when it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) kind: u8,
    pub(crate) len: usize,
}

/// The ring. It keeps positions only; every call gets the flash.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    geometry: Geometry,
    /// The sector being written: its place in the region and its number in the log.
    head: u32,
    head_seq: u32,
    /// Number of the oldest sector that belongs to the ring.
    tail_seq: u32,
    /// Where the next record starts in the head.
    end: u32,
}

impl Log {
    /// Finds the ring in `flash`; `None` if no sector of it was ever begun.
    pub(crate) fn recover(flash: &mut dyn Flash) -> Result<Option<Self>, FlashError> {
        let geometry = Geometry::of(flash)?;
        let mut newest = None;
        for sector in 0..geometry.n_sectors {
            if let Some(seq) = geometry.sector_seq(flash, sector)?
                && newest.is_none_or(|(best, _)| seq > best)
            {
                newest = Some((seq, sector));
            }
        }
        let Some((head_seq, head)) = newest else { return Ok(None) };
        let mut log = Self { geometry, head, head_seq, tail_seq: head_seq, end: geometry.sector_len };
        while log.n_linked() < geometry.n_sectors - 1 && log.tail_seq > 0 {
            let before = log.tail_seq - 1;
            if geometry.sector_seq(flash, log.sector_of(before))? != Some(before) {
                break;
            }
            log.tail_seq = before;
        }
        log.end = geometry.find_end(flash, head)?;
        Ok(Some(log))
    }

    /// Begins an empty ring; whatever the region held is gone.
    pub(crate) fn format(flash: &mut dyn Flash, snapshot: &[u8]) -> Result<Self, FlashError> {
        let geometry = Geometry::of(flash)?;
        for sector in 0..geometry.n_sectors {
            geometry.make_blank(flash, sector)?;
        }
        let head = geometry.n_sectors - 1;
        let mut log = Self { geometry, head, head_seq: 0, tail_seq: 1, end: geometry.sector_len };
        log.open_sector(flash, snapshot)?;
        Ok(log)
    }

    /// Longest payload a record may have.
    pub(crate) fn payload_len_max(&self) -> usize {
        let header = self.geometry.extent(8 + SNAPSHOT_LEN_MAX);
        (self.geometry.sector_len - header) as usize - RECORD_OVERHEAD
    }

    /// True if a record of `len` payload bytes fits into the head.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.end + self.geometry.extent(len) <= self.geometry.sector_len
    }

    #[cfg(test)]
    /// The sector that falls out of the ring with the next [`Log::open_sector`], if one does.
    pub(crate) fn falls_next(&self) -> Option<u32> {
        (self.n_linked() >= self.geometry.n_sectors - 1).then_some(self.tail_seq)
    }

    /// Sectors in the region; one of them is always spare.
    pub(crate) fn n_sectors(&self) -> u32 {
        self.geometry.n_sectors
    }

    /// Number of the oldest sector.
    pub(crate) fn tail_seq(&self) -> u32 {
        self.tail_seq
    }

    /// Number of the sector being written.
    pub(crate) fn head_seq(&self) -> u32 {
        self.head_seq
    }

    /// True if the sector after the head holds bytes that are neither erased nor of the ring: a new sector
    /// that was cut short, or a head whose header rotted away. What the ring says may then be old.
    pub(crate) fn is_doubtful(&self, flash: &mut dyn Flash) -> Result<bool, FlashError> {
        let g = &self.geometry;
        let after = (self.head + 1) % g.n_sectors;
        let is_blank = g.find_written(flash, after, 0, g.sector_len)?.is_none();
        Ok(!is_blank && g.sector_seq(flash, after)?.is_none())
    }

    /// Where the next record will be written, if it fits.
    pub(crate) fn end(&self) -> Place {
        Place { seq: self.head_seq, offset: self.end }
    }

    /// Begins a new sector with `snapshot` in its header; the oldest may fall out of the ring.
    pub(crate) fn open_sector(&mut self, flash: &mut dyn Flash, snapshot: &[u8]) -> Result<(), FlashError> {
        debug_assert!(snapshot.len() <= SNAPSHOT_LEN_MAX);
        let g = self.geometry;
        let sector = (self.head + 1) % g.n_sectors;
        let seq = self.head_seq.checked_add(1).ok_or(FlashError::Failed)?;
        g.make_blank(flash, sector)?;
        let mut buf = [0u8; RECORD_OVERHEAD + 8 + SNAPSHOT_LEN_MAX];
        let payload = &mut buf[RECORD_HEADER_LEN..];
        payload[..4].copy_from_slice(&MAGIC);
        payload[4..8].copy_from_slice(&seq.to_le_bytes());
        payload[8..8 + snapshot.len()].copy_from_slice(snapshot);
        let len = g.write_record(flash, sector * g.sector_len, KIND_SECTOR, &mut buf, 8 + snapshot.len())?;
        (self.head, self.head_seq, self.end) = (sector, seq, len);
        self.tail_seq = self.tail_seq.max(seq.saturating_sub(g.n_sectors - 2));
        Ok(())
    }

    /// Appends a record of `kind` (2 or more). `buf` holds the payload from [`RECORD_HEADER_LEN`] on and has
    /// [`RECORD_OVERHEAD`] bytes beside it. The caller has seen that it [`Log::fits`].
    pub(crate) fn append(
        &mut self,
        flash: &mut dyn Flash,
        kind: u8,
        buf: &mut [u8],
        len: usize,
    ) -> Result<Place, FlashError> {
        if kind <= KIND_SECTOR || !self.fits(len) || buf.len() < len + RECORD_OVERHEAD {
            return Err(FlashError::OutOfRange);
        }
        let place = self.end();
        match self.geometry.write_record(flash, self.address(place), kind, buf, len) {
            Ok(extent) => {
                self.end += extent;
                Ok(place)
            }
            Err(error) => {
                // What the failed write left is skipped by the same rule recovery uses. If even reading
                // fails, the rest of this sector is given up.
                self.end = self.geometry.find_end(flash, self.head).unwrap_or(self.geometry.sector_len);
                Err(error)
            }
        }
    }

    /// The first whole record at or after `from`; sector headers are passed over.
    pub(crate) fn next(&self, flash: &mut dyn Flash, from: Place) -> Result<Option<Record>, FlashError> {
        let mut at = from.max(Place { seq: self.tail_seq, offset: 0 });
        while at.seq <= self.head_seq {
            let limit = if at.seq == self.head_seq { self.end } else { self.geometry.sector_len };
            let sector = self.sector_of(at.seq);
            while let Some(found) = self.geometry.find_record(flash, sector, at.offset, limit)? {
                at.offset = found.offset;
                if found.valid && found.kind != KIND_SECTOR {
                    return Ok(Some(Record { place: at, kind: found.kind, len: found.len }));
                }
                at.offset += found.extent;
            }
            if at.seq == self.head_seq {
                break;
            }
            at = Place { seq: at.seq + 1, offset: 0 };
        }
        Ok(None)
    }

    /// Where the record after `record` would start.
    pub(crate) fn after(&self, record: &Record) -> Place {
        let Place { seq, offset } = record.place;
        Place { seq, offset: offset + self.geometry.extent(record.len) }
    }

    /// The record at exactly `place`, if there is a whole one.
    pub(crate) fn at(&self, flash: &mut dyn Flash, place: Place) -> Result<Option<Record>, FlashError> {
        Ok(self.next(flash, place)?.filter(|record| record.place == place))
    }

    /// Reads payload bytes from `skip` on; short if the payload ends. Gives the bytes read.
    pub(crate) fn read(
        &self,
        flash: &mut dyn Flash,
        record: &Record,
        skip: usize,
        out: &mut [u8],
    ) -> Result<usize, FlashError> {
        let len = record.len.saturating_sub(skip).min(out.len());
        let at = self.address(record.place) + (RECORD_HEADER_LEN + skip) as u32;
        flash.read(at, &mut out[..len])?;
        Ok(len)
    }

    /// Reads the snapshot of sector `seq`, which is in the ring.
    pub(crate) fn snapshot(
        &self,
        flash: &mut dyn Flash,
        seq: u32,
        out: &mut [u8; SNAPSHOT_LEN_MAX],
    ) -> Result<usize, FlashError> {
        let sector = self.sector_of(seq);
        let g = &self.geometry;
        match g.find_record(flash, sector, 0, g.sector_len)? {
            Some(found) if found.valid && found.offset == 0 && found.kind == KIND_SECTOR => {
                let record = Record { place: Place { seq, offset: 0 }, kind: KIND_SECTOR, len: found.len };
                self.read(flash, &record, 8, out)
            }
            _ => Err(FlashError::Failed),
        }
    }

    fn n_linked(&self) -> u32 {
        self.head_seq - self.tail_seq + 1
    }

    fn sector_of(&self, seq: u32) -> u32 {
        let n = self.geometry.n_sectors;
        (self.head + n - (self.head_seq - seq) % n) % n
    }

    fn address(&self, place: Place) -> u32 {
        self.sector_of(place.seq) * self.geometry.sector_len + place.offset
    }
}

#[cfg(test)]
mod tests;
