//! When the node asks for a join, and how often.

use kinglet_wire::join::Joining;
use kinglet_wire::keys::{JOIN_NONCE_LEN, JoinNonce};

use crate::backoff::{Random, delay_ms, up_to};
use crate::node::Config;

/// Wait after a hint before the next one counts; it doubles while hints keep coming.
const HINT_WAIT_MIN_MS: u64 = 30 * 1000;
const HINT_WAIT_MAX_MS: u64 = 3600 * 1000;

/// Asking for a join.
pub(crate) struct Join {
    state: State,
    /// Hints before this are ignored: anyone in the path can send them.
    hints_from: u64,
    hint_wait: u64,
}

enum State {
    Idle,
    /// To be asked for, after a random wait up to `spread_ms`.
    Wanted {
        at: u64,
        spread_ms: u32,
    },
    /// The same request is repeated until it is answered.
    Asking {
        joining: Joining,
        first_tx: Option<u64>,
        retry_at: u64,
        attempts: u8,
    },
}

impl Join {
    /// The node has keys.
    pub(crate) fn idle() -> Self {
        Self { state: State::Idle, hints_from: 0, hint_wait: HINT_WAIT_MIN_MS }
    }

    /// The node has none.
    pub(crate) fn wanted() -> Self {
        Self { state: State::Wanted { at: 0, spread_ms: 0 }, ..Self::idle() }
    }

    /// Somebody says that a join is needed.
    pub(crate) fn hint(&mut self, now: u64) {
        if !matches!(self.state, State::Idle) || now < self.hints_from {
            return;
        }
        // After a long quiet the next hint is believed as readily as the first.
        let was_quiet = now.saturating_sub(self.hints_from) >= 4 * self.hint_wait;
        self.hint_wait =
            if was_quiet { HINT_WAIT_MIN_MS } else { (2 * self.hint_wait).min(HINT_WAIT_MAX_MS) };
        self.hints_from = now.saturating_add(self.hint_wait);
        // A server that lost its memory hints at all its devices at once.
        self.state = State::Wanted { at: now, spread_ms: 1000 };
    }

    /// The node itself cannot go on without new keys.
    pub(crate) fn require(&mut self, now: u64) {
        if matches!(self.state, State::Idle) {
            self.state = State::Wanted { at: now, spread_ms: 0 };
        }
    }

    /// An authentic answer shows that the present keys work.
    pub(crate) fn not_needed(&mut self) {
        self.state = State::Idle;
    }

    /// A join has succeeded.
    pub(crate) fn done(&mut self) {
        self.state = State::Idle;
    }

    /// What was asked, and when first, if an answer can be expected.
    pub(crate) fn under_way(&self) -> Option<(Joining, u64)> {
        match &self.state {
            State::Asking { joining, first_tx: Some(first_tx), .. } => Some((*joining, *first_tx)),
            _ => None,
        }
    }

    pub(crate) fn poll_at(&self) -> Option<u64> {
        match self.state {
            State::Idle => None,
            State::Wanted { at, .. } => Some(at),
            State::Asking { retry_at, .. } => Some(retry_at),
        }
    }

    /// The link is up again.
    pub(crate) fn hurry(&mut self, now: u64) {
        if let State::Asking { retry_at, attempts, .. } = &mut self.state {
            (*retry_at, *attempts) = (now.min(*retry_at), 0);
        }
    }

    /// The request, if it is to be sent now.
    pub(crate) fn poll(
        &mut self,
        now: u64,
        config: &Config,
        random: &mut Random<'_>,
        begin: impl FnOnce(JoinNonce) -> Joining,
    ) -> Option<Joining> {
        if let State::Wanted { at, spread_ms } = self.state
            && at <= now
        {
            let mut nonce = [0; JOIN_NONCE_LEN];
            random(&mut nonce);
            let retry_at = now.saturating_add(up_to(spread_ms.into(), random));
            self.state = State::Asking { joining: begin(nonce), first_tx: None, retry_at, attempts: 0 };
        }
        match &mut self.state {
            State::Asking { joining, first_tx, retry_at, attempts } if *retry_at <= now => {
                first_tx.get_or_insert(now);
                *attempts = attempts.saturating_add(1);
                let delay = delay_ms(*attempts, config.retry_min_ms, config.retry_max_ms, random);
                *retry_at = now.saturating_add(delay);
                Some(*joining)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_hints_is_believed_less_and_less() {
        let mut join = Join::idle();
        let mut asked = std::vec::Vec::new();
        for now in (0..24 * 3600 * 1000).step_by(1000) {
            join.hint(now);
            if join.poll_at().is_some() {
                asked.push(now);
                join.done();
            }
        }
        assert_eq!(asked[..4], [0, 60_000, 180_000, 420_000]);
        assert!(asked.len() < 40, "{} joins in a day", asked.len());
        // After a quiet day the first one counts at once.
        join.hint(3 * 24 * 3600 * 1000);
        assert!(join.poll_at().is_some());
    }
}
