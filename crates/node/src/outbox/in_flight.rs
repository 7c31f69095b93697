//! One window between its seal and its ack.

use crate::log::Place;
use crate::record::{Seal, WindowHead};

/// No time at all: an `Option` would take as much again, 32 times.
const NEVER: u64 = u64::MAX;

/// A sealed window that waits for its ack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) id: u32,
    /// Where its seal record stands; that leads to the rest.
    pub(crate) seal: Place,
    pub(crate) generation: u32,
    pub(crate) counter: u64,
    /// When it shall be sent (again).
    pub(crate) retry_at: u64,
    /// Sealed by this boot: no answer to it can be older than its first sending.
    pub(crate) is_own: bool,
    first_tx: u64,
    last_tx: u64,
    pub(crate) attempts: u8,
    /// Sent by this boot, and made with its bundle.
    pub(crate) is_present: bool,
    /// It was sealed before under another number.
    pub(crate) is_again: bool,
    /// Its frame carries a code that refers to an earlier window.
    pub(crate) refers: bool,
    /// The server cannot read it: it is to be sealed again, alone.
    pub(crate) is_refused: bool,
}

impl InFlight {
    pub(crate) fn new(seal: &Seal, head: Option<&WindowHead>, place: Place, now: u64, is_own: bool) -> Self {
        let &Seal { id, generation, counter, .. } = seal;
        Self {
            id,
            seal: place,
            generation,
            counter,
            retry_at: now,
            is_own,
            first_tx: NEVER,
            last_tx: NEVER,
            attempts: 0,
            is_present: false,
            is_again: seal.origin.is_some(),
            refers: head.is_some_and(|head| seal.refers(head).is_some()),
            is_refused: false,
        }
    }

    /// When it was first sent, if this boot sealed it.
    pub(crate) fn first_tx(&self) -> Option<u64> {
        Some(self.first_tx).filter(|at| *at != NEVER)
    }

    /// When this boot last sent it.
    pub(crate) fn last_tx(&self) -> Option<u64> {
        Some(self.last_tx).filter(|at| *at != NEVER)
    }

    /// It goes out now, and again after `delay_ms` if no ack comes.
    pub(crate) fn sent(&mut self, now: u64, delay_ms: u64) {
        if self.is_own {
            self.first_tx = self.first_tx.min(now);
        }
        self.last_tx = now;
        self.retry_at = now.saturating_add(delay_ms);
    }
}
