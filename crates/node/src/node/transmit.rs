//! What is sent, and when.

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{FrameRepr, Up};
use kinglet_wire::keys::LinkKey;
use kinglet_wire::payload::{Data, Millis, Origin, Status};
use kinglet_wire::seal::{Binding, seal_content};

use super::{Config, Link, Node, SILENCE_MS, Transmit, What};
use crate::backoff::{Random, delay_ms};
use crate::clock::Stamp;
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::{CODE_AT, InFlight, Loaded, SealWith};
use crate::window::is_whole_s;

impl Node<'_> {
    pub(super) fn transmit(
        &mut self,
        flash: &mut dyn Flash,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        let need = self.frame_len_max();
        if buf.len() < need {
            return Err(NodeError::BufferTooSmall { need });
        }
        if self.is_overdue() {
            self.cut(flash)?;
        }
        self.want_join_if_stuck();
        if let Some(transmit) = self.transmit_join(random, buf)? {
            return Ok(Some(transmit));
        }
        let Some(up) = self.up.take() else { return Ok(None) };
        let transmit = self.transmit_sealed(&up, flash, random, buf);
        self.up = Some(up);
        transmit
    }

    /// When there is something to send.
    pub(super) fn transmit_at(&self) -> Option<u64> {
        let join = self.join.poll_at();
        if self.up.is_none() || self.outbox.is_exhausted() {
            return join;
        }
        let status = self.status.poll_at(self.outbox.lost());
        let data = self.may_send_data().then(|| {
            let unsent = self.outbox.can_seal().then_some(0);
            let in_flight = self.outbox.in_flight().map(|(_, entry)| entry.retry_at);
            in_flight.chain(unsent).min()
        });
        [join, status, data.flatten()].into_iter().flatten().min()
    }

    /// Makes everything that waits due.
    pub(super) fn hurry(&mut self) {
        let now = self.now;
        self.join.hurry(now);
        self.status.hurry(now);
        for idx in 0..crate::IN_FLIGHT_MAX {
            if let Some(entry) = self.outbox.in_flight_mut(idx) {
                (entry.retry_at, entry.attempts) = (entry.retry_at.min(now), 0);
            }
        }
    }

    /// After an ack the link is known to work: what was sent long ago need not wait for its back-off.
    pub(super) fn hurry_stale(&mut self) {
        let (now, patience) = (self.now, u64::from(self.config.retry_min_ms));
        for idx in 0..crate::IN_FLIGHT_MAX {
            if let Some(entry) = self.outbox.in_flight_mut(idx)
                && entry.last_tx().is_none_or(|at| at.saturating_add(patience) <= now)
            {
                (entry.retry_at, entry.attempts) = (entry.retry_at.min(now), 0);
            }
        }
    }

    pub(super) fn put_off(&mut self, what: What) {
        let until = self.now.saturating_add(self.config.receipt_retry_ms.into());
        match what {
            What::Join => {}
            What::Status { counter } => self.status.put_off(counter, until),
            What::Data { counter } => {
                let generation = self.outbox.state().generation;
                let named = |(idx, e): (usize, &crate::outbox::InFlight)| {
                    (e.counter == counter && e.generation == generation).then_some(idx)
                };
                let idx = self.outbox.in_flight().find_map(named);
                if let Some(entry) = idx.and_then(|idx| self.outbox.in_flight_mut(idx)) {
                    entry.retry_at = entry.retry_at.max(until);
                }
            }
        }
    }

    fn want_join_if_stuck(&mut self) {
        let silence = SILENCE_MS.max(2 * u64::from(self.config.retry_max_ms));
        let silent = self.unheard_since.is_some_and(|at| self.now.saturating_sub(at) >= silence);
        if self.outbox.is_exhausted() && self.config.link != Link::LorawanStatic {
            self.join.require(self.now);
        } else if silent {
            self.unheard_since = None;
            self.want_join();
        }
    }

    /// Data waits for the answer to the first status: that brings the time, and with it shorter frames and sure
    /// dates. And while nobody answers, one small frame is repeated instead of many large ones.
    fn may_send_data(&self) -> bool {
        self.status.is_past_greeting()
    }

    fn transmit_join(
        &mut self,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        let known = self.outbox.state().generation;
        let fingerprint = *self.outbox.bundle().1;
        let Some(joining) = self.join.poll(self.now, &self.config, random, |nonce| {
            kinglet_wire::join::Joining::new(self.identity.id, nonce, known, fingerprint)
        }) else {
            return Ok(None);
        };
        let len =
            joining.emit(&self.join_key, buf).map_err(|e| NodeError::BufferTooSmall { need: e.need })?;
        Ok(Some(Transmit { len, what: What::Join }))
    }

    fn transmit_sealed(
        &mut self,
        up: &LinkKey,
        flash: &mut dyn Flash,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        if self.outbox.is_exhausted() {
            return Ok(None);
        }
        if self.status.poll_at(self.outbox.lost()).is_some_and(|at| at <= self.now) {
            return self.transmit_status(up, flash, random, buf).map(Some);
        }
        if !self.may_send_data() {
            return Ok(None);
        }
        // Each round sends a frame, or finds that a window is gone; there are not more windows than this.
        for _ in 0..=crate::IN_FLIGHT_MAX {
            let Some(idx) = self.next_in_flight(flash)? else { return Ok(None) };
            if let Some(transmit) = self.transmit_data(up, idx, flash, random, buf)? {
                return Ok(Some(transmit));
            }
        }
        Ok(None)
    }

    /// The window to send now, sealed: one that is due again, else the next one never sent.
    fn next_in_flight(&mut self, flash: &mut dyn Flash) -> Result<Option<usize>, NodeError> {
        let with = SealWith {
            now: self.now,
            clock: self.clock,
            padding_class: self.config.padding_class,
            first_after_boot: self.is_fresh,
        };
        let generation = self.outbox.state().generation;
        let due = self.outbox.in_flight().filter(|(_, entry)| entry.retry_at <= self.now);
        let is_good = |e: &InFlight| e.generation == generation && !e.is_refused;
        let first = due.min_by_key(|(_, entry)| (entry.retry_at, entry.id)).map(|(idx, e)| (idx, is_good(e)));
        let idx = match first {
            Some((idx, true)) => return Ok(Some(idx)),
            Some((idx, _)) => self.outbox.seal_again(flash, idx, with)?,
            None if self.outbox.can_seal() => self.outbox.seal_next(flash, with)?,
            None => None,
        };
        self.is_fresh &= idx.is_none();
        Ok(idx)
    }

    fn transmit_data(
        &mut self,
        up: &LinkKey,
        idx: usize,
        flash: &mut dyn Flash,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        let code = &mut self.buffers.code[CODE_AT..];
        let Some(loaded) = self.outbox.load(flash, idx, code)? else { return Ok(None) };
        let Loaded { seal, stamp, slot, fingerprint, code } = loaded;
        let Some(counter) = Counter::new(seal.counter) else { return Ok(None) };
        let (time, quality) = stamp.time(is_whole_s(&self.model));
        let data = Data {
            origin: seal.origin.and_then(|(generation, counter)| {
                Some(Origin { generation, counter: Counter::new(counter)? })
            }),
            ..Data::new(time, quality, &self.buffers.code[CODE_AT..][code])
        }
        .padded_to(seal.padding_class.into());
        let short_id = self.outbox.state().short_id;
        let header = FrameRepr::Data {
            slot,
            up: Up::new(up.suite(), seal.generation, short_id, counter, seal.first_after_boot),
        };
        let bound = Binding { id: &self.identity.id, counter, bundle: Some(&fingerprint) };
        let len = seal_content(up, &header, &bound, &data, buf)?;
        if matches!(stamp, Stamp::Uptime { .. }) {
            self.status.uptime_was_sent();
        }
        self.unheard_since.get_or_insert(self.now);
        let is_present = fingerprint == *self.outbox.bundle().1;
        if let Some(trial) = &mut self.trial
            && is_present
            && trial.data_sent()
        {
            self.status.want(self.now);
        }
        if let Some(entry) = self.outbox.in_flight_mut(idx) {
            entry.is_present = is_present;
            entry.attempts = entry.attempts.saturating_add(1);
            let Config { retry_min_ms, retry_max_ms, .. } = self.config;
            entry.sent(self.now, delay_ms(entry.attempts, retry_min_ms, retry_max_ms, random));
        }
        Ok(Some(Transmit { len, what: What::Data { counter: seal.counter } }))
    }

    /// A status is made anew each time, under a new counter.
    fn transmit_status(
        &mut self,
        up: &LinkKey,
        flash: &mut dyn Flash,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Transmit, NodeError> {
        let counter = self.outbox.take_counter(flash)?;
        let (slot, fingerprint) = self.outbox.bundle();
        let state = self.outbox.state();
        let windows_lost = self.outbox.lost();
        let status = Status {
            slot,
            fingerprint: *fingerprint,
            windows_lost,
            boot: state.boot as u16,
            reset: self.config.reset,
            uptime: Millis::saturating(i64::try_from(self.now).unwrap_or(i64::MAX)),
            unix: self.clock.unix(self.now).and_then(Millis::new),
            quality: self.clock.quality(self.now),
            // LoRaWAN has a word of its own for it, and a first status with both fits no slow data rate.
            battery_mv: self.battery_mv.filter(|_| self.config.link == Link::Ip),
            update: self.config.update,
            heap_free: self.heap_free,
        };
        let header = FrameRepr::Status {
            up: Up::new(up.suite(), state.generation, state.short_id, counter, self.is_fresh),
        };
        let bound = Binding { id: &self.identity.id, counter, bundle: None };
        let len = seal_content(up, &header, &bound, &status, buf)?;
        self.is_fresh = false;
        self.unheard_since.get_or_insert(self.now);
        self.status.sent(self.now, counter.get(), windows_lost, &self.config, random);
        if let Some(trial) = &mut self.trial {
            trial.status_sent(counter.get());
        }
        Ok(Transmit { len, what: What::Status { counter: counter.get() } })
    }
}
