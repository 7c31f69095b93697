//! From what stands in flash to an outbox, whatever happened before.

use zeroize::Zeroize;

use super::{InFlight, Outbox};
use crate::flash::Flash;
use crate::log::{Log, Place, Record};
use crate::record::{
    Header, KIND_AFTER, KIND_MARK, KIND_SEAL, KIND_STATE, KIND_WINDOW, MARK_LEN, Mark, STATE_LEN, State,
};
use crate::{COUNTERS_RESERVED, COUNTERS_SKIPPED, IN_FLIGHT_MAX, OpenError, SPAN};
use kinglet_wire::Fingerprint;
use kinglet_wire::frame::Slot;

impl Outbox {
    /// Boots: finds the outbox in `flash` or begins one, for windows of the bundle with `fingerprint`.
    ///
    /// Counts the boot and reserves counters before it returns, in one write.
    pub(crate) fn open(flash: &mut dyn Flash, fingerprint: &Fingerprint) -> Result<Self, OpenError> {
        let Some(log) = Log::recover(flash)? else { return Self::begin(flash, fingerprint) };
        let mut outbox = Self::from_head(flash, log)?;
        outbox.replay_head(flash)?;
        outbox.find_sealed(flash)?;

        if outbox.log.is_doubtful(flash)? {
            outbox.state.counter_mark += COUNTERS_SKIPPED;
        }
        outbox.next_counter = outbox.state.counter_mark;
        outbox.dated_before = outbox.state.dated;
        outbox.state.counter_mark += COUNTERS_RESERVED;
        outbox.state.boot = outbox.state.boot.wrapping_add(1);
        if outbox.fingerprint == *fingerprint {
            outbox.write_state(flash)?;
        } else {
            outbox.slot = outbox.free_slot(flash, fingerprint)?;
            outbox.fingerprint = *fingerprint;
            // Windows of one sector share its bundle.
            outbox.open_sector(flash, 0)?;
        }
        Ok(outbox)
    }

    fn begin(flash: &mut dyn Flash, fingerprint: &Fingerprint) -> Result<Self, OpenError> {
        let state = State { boot: 1, ..State::new() };
        let (slot, mark) = (Slot::default(), Mark::default());
        let log = Log::format(flash, &Header::emit(slot, fingerprint, 0, &mark, &state))?;
        let header = Header { slot, fingerprint: *fingerprint, next_id: 0, mark, state };
        Ok(Self::of(log, header))
    }

    fn of(log: Log, header: Header) -> Self {
        let Header { slot, fingerprint, next_id, mark, state } = header;
        let unsent = Place { seq: log.tail_seq(), offset: 0 };
        Self {
            log,
            slot,
            fingerprint,
            next_counter: state.counter_mark,
            dated_before: state.dated,
            state,
            mark,
            n_unmarked: 0,
            next_id,
            unsent_id: mark.low,
            unsent,
            in_flight: [None; IN_FLIGHT_MAX],
            given_up: [None; 2],
        }
    }

    fn from_head(flash: &mut dyn Flash, log: Log) -> Result<Self, OpenError> {
        let mut bytes = [0; crate::log::SNAPSHOT_LEN_MAX];
        let len = log.snapshot(flash, log.head_seq(), &mut bytes)?;
        let header = Header::parse(&bytes[..len]);
        bytes.zeroize();
        let header = header.ok_or(OpenError::Foreign)?;
        let whole = header.next_id < u32::MAX / 2 && header.mark.low <= header.next_id;
        if whole && header.state.counter_mark < 1 << 49 {
            Ok(Self::of(log, header))
        } else {
            Err(OpenError::Foreign)
        }
    }

    /// The head's header and records say what is true now.
    fn replay_head(&mut self, flash: &mut dyn Flash) -> Result<(), OpenError> {
        let mut at = Place { seq: self.log.head_seq(), offset: 0 };
        while let Some(record) = self.log.next(flash, at)? {
            at = self.log.after(&record);
            match record.kind {
                KIND_WINDOW | KIND_AFTER => {
                    let head = self.read_head(flash, &record)?;
                    self.next_id =
                        head.map_or(self.next_id, |head| self.next_id.max(head.id.saturating_add(1)));
                }
                KIND_MARK => {
                    let mut bytes = [0; MARK_LEN];
                    let len = self.log.read(flash, &record, 0, &mut bytes)?;
                    self.mark = Mark::parse(&bytes[..len]).ok_or(OpenError::Foreign)?;
                }
                KIND_STATE => {
                    let mut bytes = [0; STATE_LEN];
                    let len = self.log.read(flash, &record, 0, &mut bytes)?;
                    let state = State::parse(&bytes[..len]);
                    bytes.zeroize();
                    self.state = state.ok_or(OpenError::Foreign)?;
                }
                _ => {}
            }
        }
        let whole = self.mark.low <= self.next_id && self.next_id < u32::MAX / 2;
        if whole && self.state.counter_mark < 1 << 49 { Ok(()) } else { Err(OpenError::Foreign) }
    }

    /// Takes up again what was in flight.
    fn find_sealed(&mut self, flash: &mut dyn Flash) -> Result<(), OpenError> {
        let mut at = self.oldest_place(flash)?;
        self.unsent = at;
        self.unsent_id = self.mark.low + (u64::BITS - self.mark.released.leading_zeros());
        while let Some(record) = self.log.next(flash, at)? {
            at = self.log.after(&record);
            if record.kind == KIND_SEAL {
                self.take_up(flash, &record)?;
            }
        }
        self.unsent_id = self.unsent_id.min(self.next_id);
        // Sealed once, and the record of it rotted away: to seal it again could store it twice.
        for id in self.mark.low..self.unsent_id {
            if !self.mark.is_done(id) && !self.in_flight.iter().flatten().any(|e| e.id == id) {
                self.mark.lost = self.mark.lost.wrapping_add(1);
                self.mark.set_done(id);
            }
        }
        Ok(())
    }

    fn take_up(&mut self, flash: &mut dyn Flash, record: &Record) -> Result<(), OpenError> {
        let Some(seal) = self.parse_seal(flash, record)? else { return Ok(()) };
        let in_span = seal.id.checked_sub(self.mark.low).is_some_and(|n| n < SPAN);
        if !in_span || seal.id >= self.next_id {
            return Ok(());
        }
        self.unsent_id = self.unsent_id.max(seal.id + 1);
        let same = self.in_flight.iter().position(|e| e.as_ref().is_some_and(|e| e.id == seal.id));
        let idx = same.or_else(|| self.in_flight.iter().position(Option::is_none));
        if let (false, Some(idx)) = (self.mark.is_done(seal.id), idx) {
            let head = self.find_sealed_at(flash, record.place)?.map(|(_, _, head)| head);
            self.in_flight[idx] = Some(InFlight::new(&seal, head.as_ref(), record.place, 0, false));
        }
        Ok(())
    }

    /// The start of the sector that holds the oldest window not done with.
    fn oldest_place(&self, flash: &mut dyn Flash) -> Result<Place, OpenError> {
        let mut seq = self.log.head_seq();
        while seq > self.log.tail_seq() {
            if self.read_header(flash, seq)?.is_some_and(|header| header.next_id <= self.mark.low) {
                break;
            }
            seq -= 1;
        }
        Ok(Place { seq, offset: 0 })
    }

    /// The next slot, round robin, that no window still waiting belongs to.
    fn free_slot(&self, flash: &mut dyn Flash, fingerprint: &Fingerprint) -> Result<Slot, OpenError> {
        let mut taken = 0u16;
        for seq in self.oldest_place(flash)?.seq..=self.log.head_seq() {
            if let Some(header) = self.read_header(flash, seq)?
                && header.fingerprint != *fingerprint
            {
                taken |= 1 << header.slot.get();
            }
        }
        let mut slot = self.slot;
        for _ in 0..16 {
            slot = slot.next();
            if taken >> slot.get() & 1 == 0 {
                return Ok(slot);
            }
        }
        Err(OpenError::SlotsTaken)
    }
}
