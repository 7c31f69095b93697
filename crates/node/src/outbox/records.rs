//! The outbox's records in the log: finding, reading and writing them.

use zeroize::Zeroize;

use super::{InFlight, Outbox, SealWith};
use crate::SPAN;
use crate::clock::Stamp;
use crate::flash::{Flash, FlashError};
use crate::log::{Place, RECORD_HEADER_LEN, RECORD_OVERHEAD, Record};
use crate::record::{
    AFTER_HEAD_LEN, HEADER_LEN, Header, KIND_SEAL, KIND_STATE, SEAL_LEN_MAX, STATE_LEN, Seal,
    WINDOW_HEAD_LEN, WindowHead, is_window,
};

impl Outbox {
    /// Finds the first window that was never sealed. Windows whose records rotted away are counted as lost.
    pub(super) fn find_unsent(
        &mut self,
        flash: &mut dyn Flash,
    ) -> Result<Option<(Record, WindowHead)>, FlashError> {
        while let Some(record) = self.log.next(flash, self.unsent)? {
            self.unsent = record.place;
            let head = if is_window(record.kind) { self.read_head(flash, &record)? } else { None };
            if let Some(head) = head.filter(|head| head.id >= self.unsent_id) {
                let reach = head.id.min(self.mark.low.saturating_add(SPAN));
                while self.unsent_id < reach {
                    self.mark.lost = self.mark.lost.wrapping_add(1);
                    self.mark.set_done(self.unsent_id);
                    self.unsent_id += 1;
                }
                return Ok((head.id == self.unsent_id && head.id < self.next_id).then_some((record, head)));
            }
            self.unsent = self.log.after(&record);
        }
        // Every window that could be read is sealed; the rest cannot be.
        while self.unsent_id < self.next_id.min(self.mark.low.saturating_add(SPAN)) {
            self.mark.lost = self.mark.lost.wrapping_add(1);
            self.mark.set_done(self.unsent_id);
            self.unsent_id += 1;
        }
        Ok(None)
    }

    pub(super) fn lose(&mut self, idx: usize) {
        if let Some(entry) = self.in_flight[idx].take() {
            self.mark.lost = self.mark.lost.wrapping_add(1);
            self.mark.set_done(entry.id);
        }
    }

    /// The better of what is known about when a window was, if there is better.
    pub(super) fn resolve(&self, with: SealWith, stamp: Stamp) -> Option<Stamp> {
        let better = with.clock.resolve(with.now, self.state.boot, self.dated_before, stamp);
        (better != stamp).then_some(better)
    }

    pub(super) fn append_seal(&mut self, flash: &mut dyn Flash, seal: &Seal) -> Result<Place, FlashError> {
        let mut buf = [0; SEAL_LEN_MAX + RECORD_OVERHEAD];
        let len = seal.emit(self.log.end().seq, &mut buf[RECORD_HEADER_LEN..]);
        self.log.append(flash, KIND_SEAL, &mut buf, len)
    }

    pub(super) fn write_state(&mut self, flash: &mut dyn Flash) -> Result<(), FlashError> {
        if !self.log.fits(STATE_LEN) {
            // The new sector's header carries the state.
            return self.open_sector(flash, 0);
        }
        let mut buf = [0; STATE_LEN + RECORD_OVERHEAD];
        self.state.emit(&mut buf[RECORD_HEADER_LEN..]);
        let written = self.log.append(flash, KIND_STATE, &mut buf, STATE_LEN);
        buf.zeroize();
        written.map(drop)
    }

    pub(super) fn read_head(
        &self,
        flash: &mut dyn Flash,
        record: &Record,
    ) -> Result<Option<WindowHead>, FlashError> {
        let mut bytes = [0; WINDOW_HEAD_LEN + AFTER_HEAD_LEN];
        let len = self.log.read(flash, record, 0, &mut bytes)?;
        Ok(WindowHead::parse(record.kind, &bytes[..len]))
    }

    /// The seal of a window in flight, the window's record and its head. One that rotted away is lost.
    pub(super) fn read_sealed(
        &mut self,
        flash: &mut dyn Flash,
        idx: usize,
    ) -> Result<Option<(Seal, Record, WindowHead)>, FlashError> {
        let Some(&InFlight { id, seal: place, .. }) = self.in_flight[idx].as_ref() else { return Ok(None) };
        let sealed =
            self.find_sealed_at(flash, place)?.filter(|(seal, _, head)| seal.id == id && head.id == id);
        if sealed.is_none() {
            self.lose(idx);
        }
        Ok(sealed)
    }

    pub(super) fn find_sealed_at(
        &self,
        flash: &mut dyn Flash,
        place: Place,
    ) -> Result<Option<(Seal, Record, WindowHead)>, FlashError> {
        let Some(record) = self.log.at(flash, place)?.filter(|r| r.kind == KIND_SEAL) else {
            return Ok(None);
        };
        let Some(seal) = self.parse_seal(flash, &record)? else { return Ok(None) };
        let window = self.log.at(flash, seal.window)?.filter(|r| is_window(r.kind));
        let Some(window) = window else { return Ok(None) };
        let head = self.read_head(flash, &window)?;
        Ok(head.map(|head| (seal, window, head)))
    }

    pub(super) fn parse_seal(
        &self,
        flash: &mut dyn Flash,
        record: &Record,
    ) -> Result<Option<Seal>, FlashError> {
        let mut bytes = [0; SEAL_LEN_MAX];
        let len = self.log.read(flash, record, 0, &mut bytes)?;
        Ok(Seal::parse(record.place.seq, &bytes[..len]))
    }

    pub(super) fn read_header(&self, flash: &mut dyn Flash, seq: u32) -> Result<Option<Header>, FlashError> {
        let mut bytes = [0; crate::log::SNAPSHOT_LEN_MAX];
        let len = self.log.snapshot(flash, seq, &mut bytes)?;
        let header = Header::parse(&bytes[..len.min(HEADER_LEN)]);
        bytes.zeroize();
        Ok(header)
    }
}
