//! From samples to windows in the outbox.

use kinglet_codec::encode;
use kinglet_wire::payload::Millis;

use super::Node;
use crate::clock::Stamp;
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::CODE_AT;
use crate::window::{Base, Reading, SampleTime};

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
        let is_full = self.window.n_samples() == self.model.samples();
        if is_full || !self.window.continues(&self.model, at) {
            // The window stays as it is if flash fails; then this sample has no place.
            self.cut(flash).map_err(|_| NodeError::SampleRefused)?;
        }
        self.window.add(&self.model, self.now, at, readings, self.buffers.steps);
        let is_full = self.window.n_samples() == self.model.samples();
        if is_full || self.is_overdue() { self.cut(flash) } else { Ok(()) }
    }

    /// True if a sample has waited as long as it may.
    pub(super) fn is_overdue(&self) -> bool {
        self.window.deadline(&self.model).is_some_and(|at| at <= self.now)
    }

    /// Moves the open window into the outbox, in as many pieces as its code needs.
    pub(super) fn cut(&mut self, flash: &mut dyn Flash) -> Result<(), NodeError> {
        while self.window.n_samples() > 0 {
            let (n_samples, code_len) = self.encode_front()?;
            let stamp = self.clock.resolve(self.now, self.outbox.state().boot, None, self.stamp());
            let n_samples16 = u16::try_from(n_samples).unwrap_or(u16::MAX);
            self.outbox.push(flash, stamp, n_samples16, self.buffers.code, code_len)?;
            self.window.remove_front(&self.model, n_samples, self.buffers.steps);
        }
        Ok(())
    }

    /// Encodes as many samples from the front as fit a frame, halving. Gives their number and the code's length.
    fn encode_front(&mut self) -> Result<(usize, usize), NodeError> {
        let mut n_samples = self.window.n_samples();
        loop {
            let steps = &self.buffers.steps[..n_samples * self.model.channels()];
            let window = kinglet_codec::Window { steps, off_grid: self.window.off_grid() };
            let out = &mut self.buffers.code[CODE_AT..];
            let code_len = encode(&self.model, window, self.buffers.workspace, out)?.code_len;
            if code_len <= self.code_len_limit {
                return Ok((n_samples, code_len));
            }
            if n_samples == 1 {
                // It would never fit: better to lose this one than all that follow.
                self.window.remove_front(&self.model, 1, self.buffers.steps);
                return Err(NodeError::CodeTooLong { len: code_len, len_max: self.code_len_limit });
            }
            n_samples = n_samples.div_ceil(2);
        }
    }

    fn stamp(&self) -> Stamp {
        match self.window.first() {
            Base::Uptime(ms) => Stamp::Uptime { boot: self.outbox.state().boot, ms },
            Base::Unix(t_ms) => Stamp::Unix { t_ms, synced: true },
        }
    }
}
