//! Codes that refer to an earlier window, turned into ones that stand alone before they are stored.
//!
//! So no stored window leans on another: retention, export, backup and readers know nothing of references. A window is
//! only acked if it could be read; where the earlier one is not here the device is told to send this one alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kinglet_codec::{Model, TAIL_SAMPLES_MAX, decode, distance_of, resolve};

use crate::core::Core;
use crate::store::{Fingerprint, FrameId, StoreError};

/// Devices whose last window is remembered.
const DEVICES_MAX: usize = 100_000;

/// What a code that came is to be stored as.
pub(crate) enum Alone {
    /// As this.
    Code(Vec<u8>),
    /// The window it refers to is not here.
    Unknown,
}

impl Core {
    /// The code of a frame with this number as one that stands alone. What cannot be read at all stays as it is: it is kept
    /// and flagged like any other.
    pub(crate) async fn stand_alone(
        &self,
        device: u32,
        sealed_as: FrameId,
        model: &Model<'_>,
        bundle: &Fingerprint,
        code: &[u8],
    ) -> Result<Alone, StoreError> {
        let Some(distance) = distance_of(model, code) else { return Ok(Alone::Code(code.to_vec())) };
        let Some(counter) = sealed_as.counter.checked_sub(distance.into()) else { return Ok(Alone::Unknown) };
        let number = FrameId { counter, ..sealed_as };
        let earlier = match self.recent.find(device, number, bundle) {
            Some(code) => Some(code),
            None => {
                let row = self.store.window(device, number).await?;
                row.filter(|row| row.bundle == *bundle && row.flaw.is_none()).map(|row| row.code)
            }
        };
        let mut workspace = vec![0; model.workspace_len()];
        let mut steps = vec![0; model.samples() * model.channels()];
        let read = earlier.and_then(|code| decode(model, &code, &mut workspace, &mut steps).ok());
        let Some(read) = read else { return Ok(Alone::Unknown) };
        let n_tail = read.n_samples.min(TAIL_SAMPLES_MAX) * model.channels();
        let tail = steps[read.n_samples * model.channels() - n_tail..][..n_tail].to_vec();
        let mut alone = vec![0; model.code_len_max()];
        Ok(Alone::Code(match resolve(model, &tail, code, &mut workspace, &mut steps, &mut alone) {
            Ok(len) => {
                alone.truncate(len);
                alone
            }
            Err(_) => code.to_vec(),
        }))
    }
}

/// The last window stored of each device whose windows may refer, in memory: most refer to the one before.
#[derive(Default)]
pub(crate) struct Recent {
    codes: Mutex<HashMap<u32, LastCode>>,
}

/// A stored code, under its number.
pub(crate) struct LastCode {
    pub(crate) number: FrameId,
    pub(crate) bundle: Fingerprint,
    pub(crate) code: Vec<u8>,
}

impl Recent {
    /// To be told of a window once it is on disk.
    pub(crate) fn remember(&self, device: u32, last: LastCode) {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= DEVICES_MAX && !codes.contains_key(&device) {
            codes.clear();
        }
        // What comes late is not what the next will refer to.
        if codes.get(&device).is_none_or(|newest| newest.number <= last.number) {
            codes.insert(device, last);
        }
    }

    fn find(&self, device: u32, number: FrameId, bundle: &Fingerprint) -> Option<Vec<u8>> {
        let codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = codes.get(&device).filter(|last| last.number == number && last.bundle == *bundle);
        last.map(|last| last.code.clone())
    }
}
