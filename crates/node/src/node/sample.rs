//! From samples to windows in the outbox.

use kinglet_codec::{Front, Reference, Referring, encode_after};
use kinglet_wire::payload::{Content, Data, Millis, Time};

use super::{Link, Node};
use crate::clock::Stamp;
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::{CODE_AT, CODES_AT};
use crate::record::After;
use crate::window::{Base, Reading, SampleTime, is_whole_s};

impl Node<'_> {
    pub(super) fn take_sample(
        &mut self,
        flash: &mut dyn Flash,
        at: SampleTime,
        readings: &[Reading],
    ) -> Result<(), NodeError> {
        if readings.len() != self.model.channels() {
            return Err(NodeError::ChannelCount { expected: self.model.channels() });
        }
        let at = match at {
            SampleTime::Now => Base::Uptime(self.now),
            SampleTime::Unix(t_ms) if Millis::new(t_ms).is_some() => Base::Unix(t_ms),
            SampleTime::Unix(_) => return Err(NodeError::SampleTime),
        };
        if !self.window.continues(&self.model, at) {
            // The window stays as it is if flash fails; then this sample has no place.
            self.cut(flash).map_err(|_| NodeError::SampleRefused)?;
        }
        if self.is_full() {
            self.cut_front(flash).map_err(|_| NodeError::SampleRefused)?;
        }
        self.window.add(&self.model, self.now, at, readings, self.buffers.steps);
        if self.is_overdue() {
            self.cut(flash)
        } else if self.is_full() {
            self.cut_front(flash)
        } else {
            self.cut_filled(flash)
        }
    }

    fn is_full(&self) -> bool {
        self.window.n_samples() == self.model.samples()
    }

    /// True if a sample has waited as long as it may.
    pub(super) fn is_overdue(&self) -> bool {
        self.window.deadline(&self.model).is_some_and(|at| at <= self.now)
    }

    /// Moves the open window into the outbox, in as many pieces as its code needs.
    pub(super) fn cut(&mut self, flash: &mut dyn Flash) -> Result<(), NodeError> {
        while self.window.n_samples() > 0 {
            self.cut_front(flash)?;
        }
        Ok(())
    }

    /// Moves as many samples from the front as fit a frame into the outbox.
    fn cut_front(&mut self, flash: &mut dyn Flash) -> Result<(), NodeError> {
        let len_max = self.code_room();
        if self.cut_after(flash, len_max)? {
            return Ok(());
        }
        let steps = &self.buffers.steps[..self.window.n_samples() * self.model.channels()];
        let window = kinglet_codec::Window { steps, off_grid: self.window.off_grid() };
        let out = &mut self.buffers.code[CODE_AT..];
        let front = self.filling.cut(&self.model, window, len_max, self.buffers.workspace, out)?;
        self.push_front(flash, front, len_max)
    }

    /// Moves the whole open window into the outbox, coded after the one before; false if it cannot be, or if that brings
    /// nothing. The code that stands alone goes there too, for the case that the other cannot be read, and has to fit a
    /// frame as well. Where frames are to be filled it decides how much goes into them, so there windows stand alone.
    fn cut_after(&mut self, flash: &mut dyn Flash, len_max: usize) -> Result<bool, NodeError> {
        let generation = self.outbox.state().generation;
        let Some(counter) = self.outbox.counter_if_cut().filter(|_| self.config.fill_len == 0) else {
            return Ok(false);
        };
        let reference = self.tail.reference(&self.model, self.window.first(), generation, counter);
        let Some((n_tail, distance)) = reference else { return Ok(false) };
        let n_values = self.window.n_samples() * self.model.channels();
        let (steps, tail) = self.buffers.steps.split_at(self.model.samples() * self.model.channels());
        let window = kinglet_codec::Window { steps: &steps[..n_values], off_grid: self.window.off_grid() };
        let reference = Reference { tail: &tail[..n_tail], distance };
        let out = &mut self.buffers.code[CODES_AT..];
        let made = encode_after(&self.model, reference, window, self.buffers.workspace, out)?;
        let Some(Referring { code_len, alone_len, .. }) = made else { return Ok(false) };
        let (after_len, both) = (u16::try_from(code_len), code_len + alone_len);
        let (Ok(after_len), true) = (after_len, alone_len <= len_max && self.outbox.fits_codes(both)) else {
            return Ok(false);
        };
        let after = After { generation, counter, code_len: after_len };
        self.push_window(flash, self.window.n_samples(), Some(after), both)?;
        self.filling.restart();
        Ok(true)
    }

    /// Where frames are to be filled, and the open window fills one: moves that into the outbox.
    fn cut_filled(&mut self, flash: &mut dyn Flash) -> Result<(), NodeError> {
        while self.config.fill_len > 0 && self.window.n_samples() > 0 {
            let len_max = self.code_room();
            let steps = &self.buffers.steps[..self.window.n_samples() * self.model.channels()];
            let window = kinglet_codec::Window { steps, off_grid: self.window.off_grid() };
            let out = &mut self.buffers.code[CODE_AT..];
            let front =
                self.filling.sample_added(&self.model, window, len_max, self.buffers.workspace, out)?;
            let Some(front) = front else { break };
            self.push_front(flash, front, len_max)?;
        }
        Ok(())
    }

    /// Moves what was just encoded into the outbox.
    fn push_front(&mut self, flash: &mut dyn Flash, front: Front, len_max: usize) -> Result<(), NodeError> {
        let Front { n_samples, code_len } = front;
        if code_len > len_max {
            // It would never fit: better to lose this one than all that follow.
            self.window.remove_front(&self.model, n_samples, self.buffers.steps);
            return Err(NodeError::CodeTooLong { len: code_len, len_max });
        }
        self.push_window(flash, n_samples, None, code_len)
    }

    /// Moves `n_samples`, whose codes of `code_len` bytes stand in their buffer, into the outbox; the workspace begins with
    /// what a decoder will read.
    fn push_window(
        &mut self,
        flash: &mut dyn Flash,
        n_samples: usize,
        after: Option<After>,
        code_len: usize,
    ) -> Result<(), NodeError> {
        let stamp = self.clock.resolve(self.now, self.outbox.state().boot, None, self.stamp());
        let n_samples16 = u16::try_from(n_samples).unwrap_or(u16::MAX);
        let id = self.outbox.push(flash, stamp, n_samples16, after, self.buffers.code, code_len)?;
        let read = &self.buffers.workspace[..n_samples * self.model.channels()];
        let tail = &mut self.buffers.steps[self.model.samples() * self.model.channels()..];
        self.tail.keep(&self.model, id, self.window.first(), read, tail);
        self.window.remove_front(&self.model, n_samples, self.buffers.steps);
        Ok(())
    }

    /// Longest code the frame of the open window may have. The time in the frame is no longer than the one known
    /// now: a clock that is set stays set.
    fn code_room(&self) -> usize {
        if self.config.fill_len == 0 {
            return self.code_len_limit;
        }
        let link = self.config.link;
        let resealed = if link == Link::Lorawan { crate::RESEALED_LEN } else { 0 };
        let overhead = link.overhead(self.outbox.may_be_wide()) + resealed;
        let content_len = self.config.fill_len.saturating_sub(overhead);
        let content_len = match usize::from(self.config.padding_class) {
            0 => content_len,
            // At least one byte of padding, up to a multiple of the class.
            class => (content_len - content_len % class).saturating_sub(1),
        };
        let stamp = self.clock.resolve(self.now, self.outbox.state().boot, None, self.stamp());
        let (time, quality) = stamp.time(is_whole_s(&self.model));
        let time = match time {
            // A clock that is set better until the frame is sealed may move it off the whole second.
            Time::UnixS(_) if !is_whole_s(&self.model) => Time::UnixMs(Millis::saturating(0)),
            time => time,
        };
        let head_len = Data::new(time, quality, &[]).len();
        content_len.saturating_sub(head_len).min(self.code_len_limit)
    }

    fn stamp(&self) -> Stamp {
        match self.window.first() {
            Base::Uptime(ms) => Stamp::Uptime { boot: self.outbox.state().boot, ms },
            Base::Unix(t_ms) => Stamp::Unix { t_ms, synced: true },
        }
    }
}
