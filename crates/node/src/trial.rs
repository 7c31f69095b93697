//! Is what is made with another bundle taken? Decided by acks alone: silence says nothing about a bundle.

use kinglet_wire::counter::Counter;
use kinglet_wire::payload::Ack;

/// Frames made with the bundle that are sent, repeats included, before the server is asked whether it hears at all.
const FRAMES: u32 = 4;
/// So often it hears and takes none of them, and the bundle is given up.
const STRIKES: u32 = 4;

/// What became of a bundle on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A window made with it is stored.
    Accepted,
    /// The server acknowledges what the device says of itself, again and again, and none of its windows.
    NotAccepted,
}

/// A bundle on trial.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trial {
    /// Frames made with it since the server was last heard.
    n_sent: u32,
    /// The status that asks whether it hears.
    question: Option<u64>,
    n_strikes: u32,
    verdict: Option<Verdict>,
}

impl Trial {
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// A frame made with the bundle was sent. True if a status shall follow.
    pub(crate) fn data_sent(&mut self) -> bool {
        self.n_sent = self.n_sent.saturating_add(1);
        self.verdict.is_none() && self.n_sent >= FRAMES
    }

    /// A status was sent, under this counter.
    pub(crate) fn status_sent(&mut self, counter: u64) {
        self.question = (self.n_sent >= FRAMES).then_some(counter);
    }

    /// An ack came; it names so many windows made with the bundle for the first time.
    pub(crate) fn acked(&mut self, ack: &Ack, n_windows: u32) {
        let hears = self.question.and_then(Counter::new).is_some_and(|counter| ack.covers(counter));
        if self.verdict.is_some() {
        } else if n_windows > 0 {
            self.verdict = Some(Verdict::Accepted);
        } else if hears {
            (self.n_sent, self.question) = (0, None);
            self.n_strikes += 1;
            if self.n_strikes >= STRIKES {
                self.verdict = Some(Verdict::NotAccepted);
            }
        }
    }
}
