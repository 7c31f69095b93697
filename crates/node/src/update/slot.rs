//! One slot of two: what is in it, how far it has come, and what became of it.
//!
//! ```text
//! slot    half of the region: head, marks, up to a whole sector │ model
//! head    magic "KGU1" │ base fingerprint 16 │ serial u32 │ model length u32 │ identity 32 │ CRC-32 of these 60, u32
//! mark    32 bytes, erased or set: whole │ accepted │ refused │ 8 boots │ one for each sector of the slot that is filled
//! ```
//!
//! Each byte is programmed once between two erases. A mark that a power cut has torn counts as set where it says what was
//! decided already (accepted, refused, a boot), and makes the model be fetched anew where it says that bytes are there.

use kinglet_wire::Fingerprint;
use kinglet_wire::payload::UpdateRefused;
use kinglet_wire::update::Update;
use sha2::{Digest, Sha256};

use super::BOOTS_MAX;
use crate::WRITE_LEN_MAX;
use crate::flash::{Flash, FlashError};
use crate::provision::CRC;

const MAGIC: [u8; 4] = *b"KGU1";
const HEAD_LEN: usize = 64;
const MARK_LEN: usize = WRITE_LEN_MAX;
/// Marks before those of filled sectors.
const N_MARKS: u32 = 3 + BOOTS_MAX;
const CHUNK: usize = 64;

/// What stands in a slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    at: u32,
    pub(super) base: Fingerprint,
    pub(super) update: Update,
    pub(super) is_whole: bool,
    pub(super) is_accepted: bool,
    pub(super) refused: Option<UpdateRefused>,
    pub(super) n_boots: u32,
}

/// What is written down once.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// All bytes are there and are those that were signed.
    Whole,
    /// A window made with it was acknowledged.
    Accepted,
    /// It is not used again.
    Refused(UpdateRefused),
    /// A start on trial, the so-manyth.
    Boot(u32),
}

/// Where the next bytes of a model go.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    slot: u32,
    have: u32,
    /// Bytes that fill no unit of writing yet.
    rest: [u8; WRITE_LEN_MAX],
    len: u32,
}

/// Sizes that follow from the region.
struct Sizes {
    slot: u32,
    sector: u32,
    head: u32,
}

impl Sizes {
    fn of(flash: &dyn Flash) -> Self {
        let (sector, n_sectors) = (flash.sector_len(), flash.n_sectors() / 2);
        let head =
            (HEAD_LEN as u32 + (N_MARKS + n_sectors) * MARK_LEN as u32).next_multiple_of(sector.max(1));
        Self { slot: n_sectors * sector, sector, head }
    }
}

/// Bytes of the longest model a slot has room for.
pub(super) fn room(flash: &dyn Flash) -> u32 {
    let Sizes { slot, head, .. } = Sizes::of(flash);
    slot.saturating_sub(head)
}

/// Reads a slot; `None` if nothing that was begun stands in it.
pub(super) fn find(flash: &mut dyn Flash, idx: u32) -> Result<Option<Slot>, FlashError> {
    let at = Sizes::of(flash).slot * idx;
    let mut head = [0; HEAD_LEN];
    if room(flash) == 0 {
        return Ok(None);
    }
    flash.read(at, &mut head)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != MAGIC || CRC.checksum(&head[..HEAD_LEN - 4]) != word(HEAD_LEN - 4) {
        return Ok(None);
    }
    let (mut base, mut identity) = ([0; 16], [0; 32]);
    base.copy_from_slice(&head[4..20]);
    identity.copy_from_slice(&head[28..60]);
    let update = Update { serial: word(20), model_len: word(24), identity };
    if update.model_len == 0 || update.model_len > room(flash) {
        return Ok(None);
    }
    let mut slot = Slot { at, base, update, is_whole: false, is_accepted: false, refused: None, n_boots: 0 };
    slot.is_whole = is_set(&slot.read_mark(flash, 0)?);
    slot.is_accepted = slot.is_whole && !is_erased(&slot.read_mark(flash, 1)?);
    let refused = slot.read_mark(flash, 2)?;
    if !is_erased(&refused) {
        let number = refused[0];
        slot.refused = Some(UpdateRefused::from_number(number).unwrap_or(UpdateRefused::NotAccepted));
    }
    while slot.n_boots < BOOTS_MAX && !is_erased(&slot.read_mark(flash, 3 + slot.n_boots)?) {
        slot.n_boots += 1;
    }
    Ok(Some(slot))
}

/// Erases a slot for another update, and writes down what is to come.
pub(super) fn begin(
    flash: &mut dyn Flash,
    idx: usize,
    base: &Fingerprint,
    update: Update,
) -> Result<Slot, FlashError> {
    let Sizes { slot: slot_len, sector, .. } = Sizes::of(flash);
    let at = slot_len * idx as u32;
    // The head's sector first: without it the rest means nothing.
    for n in 0..slot_len / sector {
        flash.erase(at + n * sector)?;
    }
    let mut head = [0; HEAD_LEN];
    head[..4].copy_from_slice(&MAGIC);
    head[4..20].copy_from_slice(base);
    head[20..24].copy_from_slice(&update.serial.to_le_bytes());
    head[24..28].copy_from_slice(&update.model_len.to_le_bytes());
    head[28..60].copy_from_slice(&update.identity);
    let crc = CRC.checksum(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    flash.program(at, &head)?;
    Ok(Slot { at, base: *base, update, is_whole: false, is_accepted: false, refused: None, n_boots: 0 })
}

impl Slot {
    /// True if its model may be used.
    pub(super) fn is_usable(&self) -> bool {
        self.is_whole && self.refused.is_none()
    }

    /// Reads the model.
    pub(super) fn read(&self, flash: &mut dyn Flash, out: &mut [u8]) -> Result<(), FlashError> {
        let at = self.at + Sizes::of(flash).head;
        flash.read(at, out)
    }

    /// SHA-256 of the model's bytes as flash gives them back.
    pub(super) fn identity(&self, flash: &mut dyn Flash) -> Result<[u8; 32], FlashError> {
        let mut digest = Sha256::new();
        let mut chunk = [0; CHUNK];
        let mut at = self.at + Sizes::of(flash).head;
        let end = at + self.update.model_len;
        while at < end {
            let n = (end - at).min(CHUNK as u32);
            flash.read(at, &mut chunk[..n as usize])?;
            digest.update(&chunk[..n as usize]);
            at += n;
        }
        Ok(digest.finalize().into())
    }

    /// Writes a mark down, unless it is there already; gives the slot with it.
    pub(super) fn mark(mut self, flash: &mut dyn Flash, mark: Mark) -> Result<Self, FlashError> {
        let (n, first) = match mark {
            Mark::Whole => (0, 0),
            Mark::Accepted => (1, 0),
            Mark::Refused(why) => (2, why as u8),
            Mark::Boot(n) => (3 + n, 0),
        };
        set_mark(flash, self.at, n, first)?;
        match mark {
            Mark::Whole => self.is_whole = true,
            Mark::Accepted => self.is_accepted = true,
            Mark::Refused(why) => self.refused = Some(why),
            Mark::Boot(n) => self.n_boots = n + 1,
        }
        Ok(self)
    }

    /// Goes on behind the sectors that are known to be filled; without one sure place, begins the slot anew.
    pub(super) fn resume(&self, flash: &mut dyn Flash) -> Result<Writer, FlashError> {
        let Sizes { slot, sector, head } = Sizes::of(flash);
        let Update { model_len, .. } = self.update;
        let writer = |have| Writer { slot: self.at, have, rest: [0xFF; WRITE_LEN_MAX], len: model_len };
        let (mut n, mut torn) = (0, !is_erased(&self.read_mark(flash, 0)?));
        while !torn && n < model_len.div_ceil(sector) {
            let mark = self.read_mark(flash, N_MARKS + n)?;
            if !is_set(&mark) {
                torn = !is_erased(&mark);
                break;
            }
            n += 1;
        }
        if torn || n == model_len.div_ceil(sector) {
            // It cannot be said what is there, or all is there and was not found to be right.
            begin(flash, (self.at / slot.max(1)) as usize, &self.base, self.update)?;
            return Ok(writer(0));
        }
        // What stands behind the last sure byte may be half written.
        let from = self.at + head + n * sector;
        let mut chunk = [0; CHUNK];
        let mut is_clean = true;
        for at in (from..from + sector).step_by(CHUNK) {
            flash.read(at, &mut chunk)?;
            is_clean &= chunk == [0xFF; CHUNK];
        }
        if !is_clean {
            flash.erase(from)?;
        }
        Ok(writer(n * sector))
    }

    fn read_mark(&self, flash: &mut dyn Flash, n: u32) -> Result<[u8; MARK_LEN], FlashError> {
        let mut mark = [0; MARK_LEN];
        flash.read(mark_at(self.at, n), &mut mark)?;
        Ok(mark)
    }
}

impl Writer {
    /// Bytes taken so far.
    pub(super) fn have(&self) -> u32 {
        self.have
    }

    /// Takes the next bytes; no more than are missing.
    pub(super) fn push(&mut self, flash: &mut dyn Flash, bytes: &[u8]) -> Result<(), FlashError> {
        let Sizes { sector, head, .. } = Sizes::of(flash);
        let unit = flash.write_len().clamp(1, WRITE_LEN_MAX as u32);
        let mut bytes = bytes;
        while let [first, behind @ ..] = bytes {
            let whole = (sector - self.have % sector).min(bytes.len() as u32) / unit * unit;
            if self.have.is_multiple_of(unit) && whole > 0 {
                // Most of it, up to the sector's end, as it came.
                let (units, behind) = bytes.split_at(whole as usize);
                flash.program(self.slot + head + self.have, units)?;
                self.have += whole;
                bytes = behind;
            } else {
                self.rest[(self.have % unit) as usize] = *first;
                self.have += 1;
                bytes = behind;
                if self.have.is_multiple_of(unit) || self.have == self.len {
                    let from = (self.have - 1) / unit * unit;
                    flash.program(self.slot + head + from, &self.rest[..unit as usize])?;
                    self.rest = [0xFF; WRITE_LEN_MAX];
                }
            }
            if self.have.is_multiple_of(sector) || self.have == self.len {
                set_mark(flash, self.slot, N_MARKS + (self.have - 1) / sector, 0)?;
            }
        }
        Ok(())
    }
}

fn mark_at(slot: u32, n: u32) -> u32 {
    slot + HEAD_LEN as u32 + n * MARK_LEN as u32
}

fn set_mark(flash: &mut dyn Flash, slot: u32, n: u32, first: u8) -> Result<(), FlashError> {
    let (at, mut mark) = (mark_at(slot, n), [0; MARK_LEN]);
    flash.read(at, &mut mark)?;
    if !is_erased(&mark) {
        return Ok(());
    }
    mark.fill(0);
    mark[0] = first;
    flash.program(at, &mark)
}

fn is_erased(mark: &[u8; MARK_LEN]) -> bool {
    *mark == [0xFF; MARK_LEN]
}

/// Written to its end.
fn is_set(mark: &[u8; MARK_LEN]) -> bool {
    *mark == [0; MARK_LEN]
}
