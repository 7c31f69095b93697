//! The end of the newest window: what the next one may be coded after, once its ack has come.
//!
//! It is in memory alone. After a reboot, and whenever windows pile up, there is none, and windows go out alone.

use kinglet_codec::{Model, TAIL_SAMPLES_MAX};

use crate::window::Base;

/// Samples that may be missing between a window and one that is coded after it.
const MISSED_MAX: u64 = 2;

/// Which window the tail is of; its values live in the caller's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail {
    n_values: usize,
    id: u32,
    /// When the sample after it is expected.
    next: Base,
    /// The (generation, counter) under which it was acked.
    acked: Option<(u32, u64)>,
}

impl Tail {
    /// Words in the caller's buffer.
    pub(crate) fn len_max(model: &Model<'_>) -> usize {
        if model.has_references() { TAIL_SAMPLES_MAX * model.channels() } else { 0 }
    }

    /// Keeps the end of window `id`, whose values a decoder reads as `read`, in `buf`.
    pub(crate) fn keep(&mut self, model: &Model<'_>, id: u32, first: Base, read: &[i32], buf: &mut [i32]) {
        let n_values = read.len().min(Self::len_max(model)).min(buf.len());
        buf[..n_values].copy_from_slice(&read[read.len() - n_values..]);
        let ms = u64::from(model.period_ms()) * (read.len() / model.channels()) as u64;
        *self = Self { n_values, id, next: first.after(ms), acked: None };
    }

    /// An ack has named window `id`, sealed under this number and none before.
    pub(crate) fn acked(&mut self, id: u32, generation: u32, counter: u64) {
        if self.n_values > 0 && self.id == id {
            self.acked = Some((generation, counter));
        }
    }

    /// The server has no use for it.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Values of the tail, and the distance from its window to one that begins at `first` and will be sealed under this
    /// number; `None` if the server is not known to have it, or if it is too far.
    pub(crate) fn reference(
        &self,
        model: &Model<'_>,
        first: Base,
        generation: u32,
        counter: u64,
    ) -> Option<(usize, u8)> {
        let (_, acked) = self.acked.filter(|(of, _)| *of == generation)?;
        let missed = self.next.distance(first)? <= MISSED_MAX * u64::from(model.period_ms());
        let distance = u8::try_from(counter.checked_sub(acked)?).ok()?;
        let is_near = missed && (1..=kinglet_codec::DISTANCE_MAX).contains(&distance);
        is_near.then_some((self.n_values, distance))
    }
}
