//! Codes waiting for their ack, in flash; and the key and counters they are sealed with.
//!
//! A window is appended when it is cut, gets a *seal* record before its first byte leaves, and is done with when
//! a *mark* record says so. Windows are sealed in the order they were cut, at most [`IN_FLIGHT_MAX`] wait for
//! their ack at once, and never more than [`SPAN`] lie between the oldest of them and the newest: so one mark of
//! 16 bytes says all there is to know about which windows are done, and any sector may fall out of the ring
//! without copying anything.
//!
//! When the ring is full, the oldest sector's windows go to make room for new ones. One sector is kept for seals
//! and marks alone, and these are shorter than windows: so emptying a full outbox costs none of its windows.

mod in_flight;
mod records;
mod recover;

pub(crate) use in_flight::InFlight;

use kinglet_wire::Fingerprint;
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{ShortId, Slot};
use kinglet_wire::keys::{DeviceId, DeviceKey, GenerationSecret};
use kinglet_wire::payload::Ack;
use zeroize::Zeroize;

use crate::clock::{Boot, Clock, Stamp};
use crate::flash::{Flash, FlashError};
use crate::log::{Log, Place, RECORD_HEADER_LEN, RECORD_OVERHEAD};
use crate::record::{
    AFTER_HEAD_LEN, After, Header, KIND_MARK, MARK_LEN, Mark, SEAL_LEN_MAX, Seal, State, WINDOW_HEAD_LEN,
    WindowHead,
};
use crate::{COUNTERS_RESERVED, IN_FLIGHT_MAX, MARK_EVERY, SPAN};

/// Where the code stands in the buffer given to [`Outbox::push`].
pub(crate) const CODE_AT: usize = RECORD_HEADER_LEN + WINDOW_HEAD_LEN;
/// The same for a window with two codes, the one that refers first.
pub(crate) const CODES_AT: usize = CODE_AT + AFTER_HEAD_LEN;
/// Bytes that buffer has beside the code, or the codes.
pub(crate) const CODE_OVERHEAD: usize = WINDOW_HEAD_LEN + AFTER_HEAD_LEN + RECORD_OVERHEAD;

/// Sectors kept free of windows, for seals and marks.
const RESERVED_SECTORS: u32 = 1;

/// The outbox, as far as it must be in memory.
pub(crate) struct Outbox {
    log: Log,
    /// The bundle of the sector being written, and so of all new windows.
    slot: Slot,
    fingerprint: Fingerprint,
    state: State,
    next_counter: u64,
    /// The last dated boot before this one.
    dated_before: Option<(Boot, i64)>,
    mark: Mark,
    /// Windows done with since the mark in flash.
    n_unmarked: u32,
    next_id: u32,
    /// The first window that was never sealed: its id, and a place at or before it.
    unsent_id: u32,
    unsent: Place,
    in_flight: [Option<InFlight>; IN_FLIGHT_MAX],
    given_up: [Option<Fingerprint>; 2],
}

/// How a window is to be sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealWith {
    pub(crate) now: u64,
    pub(crate) clock: Clock,
    pub(crate) padding_class: u8,
    pub(crate) first_after_boot: bool,
}

/// All that makes the frame of one sealed window, except its code.
pub(crate) struct Loaded {
    pub(crate) seal: Seal,
    pub(crate) stamp: Stamp,
    pub(crate) slot: Slot,
    pub(crate) fingerprint: Fingerprint,
    /// Where in the buffer the code stands that is to be sent.
    pub(crate) code: core::ops::Range<usize>,
}

/// What an ack has let go of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Released {
    pub(crate) n_windows: usize,
    /// How many of them are made with the present bundle.
    pub(crate) n_present: u32,
    /// The latest first sending among them, and whether it was the only one: the ack is younger than that.
    pub(crate) sent: Option<(u64, bool)>,
    /// The newest of them and the counter it was sealed under, which was its first.
    pub(crate) newest: Option<(u32, u64)>,
}

impl Outbox {
    /// Appends a window. Its code of `code_len` bytes stands in `buf` from [`CODE_AT`] on, its two codes, if it is one
    /// with `after`, from [`CODES_AT`] on; `buf` has [`CODE_OVERHEAD`] bytes beside. Gives the window's id.
    pub(crate) fn push(
        &mut self,
        flash: &mut dyn Flash,
        stamp: Stamp,
        n_samples: u16,
        after: Option<After>,
        buf: &mut [u8],
        code_len: usize,
    ) -> Result<u32, FlashError> {
        let head = WindowHead { id: self.next_id, stamp, n_samples, after };
        let len = head.len() + code_len;
        if len > self.log.payload_len_max() {
            return Err(FlashError::OutOfRange);
        }
        if !self.log.fits(len) {
            self.open_sector(flash, RESERVED_SECTORS)?;
        }
        head.emit(&mut buf[RECORD_HEADER_LEN..]);
        self.log.append(flash, head.kind(), buf, len)?;
        self.next_id += 1;
        Ok(head.id)
    }

    /// The counter that a window will be sealed under if it is cut now and nothing else is sent before; `None` if others
    /// wait that go first.
    pub(crate) fn counter_if_cut(&self) -> Option<u64> {
        let is_next = self.unsent_id == self.next_id && self.in_flight.iter().any(Option::is_none);
        is_next.then_some(self.next_counter)
    }

    /// The server cannot read codes that refer: what was sent so is sealed again, alone.
    pub(crate) fn refuse_references(&mut self) {
        for entry in self.in_flight.iter_mut().flatten().filter(|entry| entry.refers) {
            entry.is_refused = true;
            (entry.retry_at, entry.attempts) = (0, 0);
        }
    }

    /// Longest code a sector can take.
    pub(crate) fn code_len_max(&self) -> usize {
        self.log.payload_len_max() - WINDOW_HEAD_LEN
    }

    /// True if a sector can take a window with two codes of so many bytes together.
    pub(crate) fn fits_codes(&self, len: usize) -> bool {
        WINDOW_HEAD_LEN + AFTER_HEAD_LEN + len <= self.log.payload_len_max()
    }

    /// True if there is a window to seal and it may be in flight with the others.
    pub(crate) fn can_seal(&self) -> bool {
        let in_span = self.unsent_id - self.mark.low < SPAN;
        self.unsent_id < self.next_id && in_span && self.in_flight.iter().any(Option::is_none)
    }

    /// Takes the next window in flight: gives it a counter and writes both down. `None` if there is none after
    /// all.
    pub(crate) fn seal_next(
        &mut self,
        flash: &mut dyn Flash,
        with: SealWith,
    ) -> Result<Option<usize>, FlashError> {
        let counter = self.take_counter(flash)?.get();
        self.make_room(flash, SEAL_LEN_MAX)?;
        let Some((record, head)) = self.find_unsent(flash)? else { return Ok(None) };
        let Some(idx) = self.in_flight.iter().position(Option::is_none) else { return Ok(None) };
        let seal = Seal {
            id: head.id,
            window: record.place,
            generation: self.state.generation,
            counter,
            stamp: self.resolve(with, head.stamp),
            padding_class: with.padding_class,
            first_after_boot: with.first_after_boot,
            origin: None,
        };
        let place = self.append_seal(flash, &seal)?;
        self.in_flight[idx] = Some(InFlight::new(&seal, Some(&head), place, with.now, true));
        self.unsent = self.log.after(&record);
        self.unsent_id = head.id + 1;
        Ok(Some(idx))
    }

    /// Seals a window in flight again, under the present generation and alone; it keeps its origin. `None` if it has
    /// fallen out meanwhile.
    pub(crate) fn seal_again(
        &mut self,
        flash: &mut dyn Flash,
        idx: usize,
        with: SealWith,
    ) -> Result<Option<usize>, FlashError> {
        let counter = self.take_counter(flash)?.get();
        self.make_room(flash, SEAL_LEN_MAX)?;
        let Some((before, _, head)) = self.read_sealed(flash, idx)? else { return Ok(None) };
        let seal = Seal {
            generation: self.state.generation,
            counter,
            // A date that was found before is kept: the window's own record never had it.
            stamp: self.resolve(with, before.stamp.unwrap_or(head.stamp)).or(before.stamp),
            padding_class: with.padding_class,
            first_after_boot: with.first_after_boot,
            origin: before.origin.or(Some((before.generation, before.counter))),
            ..before
        };
        let place = self.append_seal(flash, &seal)?;
        self.in_flight[idx] = Some(InFlight::new(&seal, Some(&head), place, with.now, true));
        Ok(Some(idx))
    }

    /// Reads what the frame of window `idx` is made of, its code into `code`. A window that can no longer be
    /// read is given up as lost: `None`.
    pub(crate) fn load(
        &mut self,
        flash: &mut dyn Flash,
        idx: usize,
        code: &mut [u8],
    ) -> Result<Option<Loaded>, FlashError> {
        let Some((seal, record, head)) = self.read_sealed(flash, idx)? else { return Ok(None) };
        match self.read_header(flash, seal.window.seq)? {
            Some(header)
                if record.len <= code.len() + head.len()
                    && !self.given_up.contains(&Some(header.fingerprint)) =>
            {
                let len = self.log.read(flash, &record, head.len(), code)?;
                let alone_from = head.after.map_or(0, |after| usize::from(after.code_len)).min(len);
                let code = match seal.refers(&head) {
                    Some(_) => 0..alone_from,
                    None => alone_from..len,
                };
                let (slot, fingerprint) = (header.slot, header.fingerprint);
                let stamp = seal.stamp.unwrap_or(head.stamp);
                Ok(Some(Loaded { seal, stamp, slot, fingerprint, code }))
            }
            _ => {
                self.lose(idx);
                Ok(None)
            }
        }
    }

    /// Lets go of the windows in flight that `ack` names.
    pub(crate) fn release(&mut self, ack: &Ack) -> Released {
        let generation = self.state.generation;
        let mut released = Released::default();
        for slot in &mut self.in_flight {
            let Some(entry) = slot else { continue };
            if entry.generation == generation && Counter::new(entry.counter).is_some_and(|c| ack.covers(c)) {
                self.mark.set_done(entry.id);
                let sent = entry.first_tx().map(|at| (at, entry.last_tx() == Some(at)));
                released.sent = released.sent.max(sent);
                let named = (!entry.is_again).then_some((entry.id, entry.counter));
                released.newest = released.newest.max(named);
                released.n_windows += 1;
                released.n_present += u32::from(entry.is_present);
                *slot = None;
            }
        }
        self.n_unmarked += released.n_windows as u32;
        released
    }

    /// Writes down which windows are done with, once it is worth it. Until then a power cut has a few of them sent
    /// again, and the server knows them.
    pub(crate) fn save_mark(&mut self, flash: &mut dyn Flash) -> Result<(), FlashError> {
        let is_idle = self.in_flight.iter().all(Option::is_none);
        if self.n_unmarked == 0 || (self.n_unmarked < MARK_EVERY && !is_idle) {
            return Ok(());
        }
        if !self.log.fits(MARK_LEN) {
            // The new sector's header carries the mark.
            return self.open_sector(flash, 0);
        }
        let mut buf = [0; MARK_LEN + RECORD_OVERHEAD];
        self.mark.emit(&mut buf[RECORD_HEADER_LEN..]);
        self.log.append(flash, KIND_MARK, &mut buf, MARK_LEN)?;
        self.n_unmarked = 0;
        Ok(())
    }

    /// The next counter, reserved in flash before it is given out.
    pub(crate) fn take_counter(&mut self, flash: &mut dyn Flash) -> Result<Counter, FlashError> {
        if self.next_counter >= self.state.counter_mark {
            let before = self.state.counter_mark;
            self.state.counter_mark = self.next_counter + COUNTERS_RESERVED;
            if let Err(error) = self.write_state(flash) {
                self.state.counter_mark = before;
                return Err(error);
            }
        }
        let counter = Counter::new(self.next_counter).ok_or(FlashError::OutOfRange)?;
        self.next_counter += 1;
        Ok(counter)
    }

    /// Begins a new generation; counters start at 0.
    pub(crate) fn set_generation(
        &mut self,
        flash: &mut dyn Flash,
        generation: u32,
        short_id: ShortId,
        secret: GenerationSecret,
        dated: Option<(Boot, i64)>,
    ) -> Result<(), FlashError> {
        let boot = self.state.boot;
        let dated = dated.or(self.state.dated);
        let new = State { boot, generation, short_id, counter_mark: COUNTERS_RESERVED, dated, secret };
        let old = core::mem::replace(&mut self.state, new);
        if let Err(error) = self.write_state(flash) {
            self.state = old;
            return Err(error);
        }
        self.next_counter = 0;
        for entry in self.in_flight.iter_mut().flatten() {
            entry.retry_at = 0;
            entry.attempts = 0;
        }
        Ok(())
    }

    /// The keys of generation 0, as long as no join has made others. They are made anew at each boot; what flash keeps of
    /// them is their counter.
    pub(crate) fn use_static_keys(&mut self, key: &DeviceKey, id: &DeviceId) {
        if self.state.generation == 0 {
            self.state.secret = key.static_secret(id);
        }
    }

    /// Notes when this boot was, so that its windows keep their times through a reboot.
    pub(crate) fn set_dated(&mut self, flash: &mut dyn Flash, offset: i64) -> Result<(), FlashError> {
        let before = self.state.dated.replace((self.state.boot, offset));
        let written = self.write_state(flash);
        if written.is_err() {
            self.state.dated = before;
        }
        written
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// True if frames sealed from now on may carry their counter in full.
    pub(crate) fn may_be_wide(&self) -> bool {
        // Far more than can wait: windows that are sealed later get later counters.
        self.next_counter >= (1 << 31) - (1 << 24)
    }

    /// True once all 48 bits of counter are used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        Counter::new(self.next_counter).is_none()
    }

    pub(crate) fn bundle(&self) -> (Slot, &Fingerprint) {
        (self.slot, &self.fingerprint)
    }

    /// Windows of these bundles are for nobody: they count as lost when it is their turn.
    pub(crate) fn give_up(&mut self, bundles: [Option<Fingerprint>; 2]) {
        self.given_up = bundles;
    }

    pub(crate) fn next_counter(&self) -> u64 {
        self.next_counter
    }

    pub(crate) fn lost(&self) -> u32 {
        self.mark.lost
    }

    /// Windows cut and neither acked nor lost.
    pub(crate) fn n_waiting(&self) -> usize {
        let n_unsent = self.next_id - self.unsent_id;
        n_unsent as usize + self.in_flight.iter().flatten().count()
    }

    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (usize, &InFlight)> {
        self.in_flight.iter().enumerate().filter_map(|(idx, e)| Some((idx, e.as_ref()?)))
    }

    pub(crate) fn in_flight_mut(&mut self, idx: usize) -> Option<&mut InFlight> {
        self.in_flight.get_mut(idx)?.as_mut()
    }

    /// Makes room for a seal.
    fn make_room(&mut self, flash: &mut dyn Flash, len: usize) -> Result<(), FlashError> {
        if self.log.fits(len) { Ok(()) } else { self.open_sector(flash, 0) }
    }

    /// The header of the new sector is the commit: with it, what falls out of the ring is counted as lost.
    /// `n_kept_free`: sectors that shall hold no waiting windows, beside the spare.
    fn open_sector(&mut self, flash: &mut dyn Flash, n_kept_free: u32) -> Result<(), FlashError> {
        let mut mark = self.mark;
        let seq = self.log.head_seq().saturating_add(1);
        // The oldest sector whose windows may go on waiting.
        let floor = (seq + 2 + n_kept_free).saturating_sub(self.log.n_sectors());
        if floor > self.log.tail_seq() {
            let header = if floor < seq { self.read_header(flash, floor)? } else { None };
            mark.give_up_below(header.map_or(self.next_id, |header| header.next_id).min(self.next_id));
        }
        let mut header = Header::emit(self.slot, &self.fingerprint, self.next_id, &mark, &self.state);
        let opened = self.log.open_sector(flash, &header);
        header.zeroize();
        opened?;
        self.mark = mark;
        self.n_unmarked = 0;
        self.drop_done();
        Ok(())
    }

    fn drop_done(&mut self) {
        for entry in &mut self.in_flight {
            if entry.as_ref().is_some_and(|e| self.mark.is_done(e.id)) {
                *entry = None;
            }
        }
        if self.unsent_id < self.mark.low {
            self.unsent_id = self.mark.low;
        }
        self.unsent = self.unsent.max(Place { seq: self.log.tail_seq(), offset: 0 });
    }
}
