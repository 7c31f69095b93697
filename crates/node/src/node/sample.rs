//! From samples to windows in the outbox.

use kinglet_codec::Front;
use kinglet_wire::payload::{Content, Data, Millis, Time};

use super::{Link, Node};
use crate::clock::Stamp;
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::CODE_AT;
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
        let steps = &self.buffers.steps[..self.window.n_samples() * self.model.channels()];
        let window = kinglet_codec::Window { steps, off_grid: self.window.off_grid() };
        let out = &mut self.buffers.code[CODE_AT..];
        let front = self.filling.cut(&self.model, window, len_max, self.buffers.workspace, out)?;
        self.push_front(flash, front, len_max)
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
        let stamp = self.clock.resolve(self.now, self.outbox.state().boot, None, self.stamp());
        let n_samples16 = u16::try_from(n_samples).unwrap_or(u16::MAX);
        self.outbox.push(flash, stamp, n_samples16, self.buffers.code, code_len)?;
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
