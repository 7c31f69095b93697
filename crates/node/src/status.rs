//! When a status frame is due: first after a boot and a join, and when there is news in it.

use kinglet_wire::counter::Counter;
use kinglet_wire::payload::Ack;

use crate::backoff::{Random, delay_ms};
use crate::node::Config;

/// Status frames that merely bring news keep this distance.
const NEWS_EVERY_MS: u64 = 60 * 1000;

/// So many unanswered greetings, and data is sent all the same: eight minutes at the default back-off.
const GREETINGS_MAX: u8 = 8;

/// What is known about the last status frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusDue {
    /// One is to be sent, or sent and not acked.
    is_due: bool,
    /// It is the first after a boot or a join.
    is_greeting: bool,
    retry_at: u64,
    attempts: u8,
    /// Counter of the last one, and when it was sent.
    counter: Option<u64>,
    sent_at: u64,
    lost_sent: u32,
    lost_acked: u32,
    /// Frames of this boot said uptime; a status with a date is owed once there is one.
    is_date_owed: bool,
}

impl StatusDue {
    pub(crate) fn at_boot() -> Self {
        Self {
            is_due: true,
            is_greeting: true,
            retry_at: 0,
            attempts: 0,
            counter: None,
            sent_at: 0,
            lost_sent: 0,
            lost_acked: 0,
            is_date_owed: false,
        }
    }

    /// The first under new keys.
    pub(crate) fn greet(&mut self, now: u64) {
        *self = Self { retry_at: now, is_date_owed: self.is_date_owed, ..Self::at_boot() };
    }

    /// Somebody wants to hear one.
    pub(crate) fn want(&mut self, now: u64) {
        if !self.is_due {
            self.is_due = true;
            self.attempts = 0;
            self.retry_at = now.max(self.news_from());
        }
    }

    /// Something has changed that the server waits for.
    pub(crate) fn want_now(&mut self, now: u64) {
        (self.is_due, self.attempts, self.retry_at) = (true, 0, now);
    }

    pub(crate) fn uptime_was_sent(&mut self) {
        self.is_date_owed = true;
    }

    pub(crate) fn clock_was_set(&mut self, now: u64) {
        if core::mem::take(&mut self.is_date_owed) {
            self.is_due = true;
            self.attempts = 0;
            self.retry_at = now;
        }
    }

    /// When one is to be sent; `lost` as it is now.
    pub(crate) fn poll_at(&self, lost: u32) -> Option<u64> {
        match self.is_due {
            true => Some(self.retry_at),
            false => (lost != self.lost_acked).then(|| self.news_from()),
        }
    }

    pub(crate) fn sent(
        &mut self,
        now: u64,
        counter: u64,
        lost: u32,
        config: &Config,
        random: &mut Random<'_>,
    ) {
        if !self.is_due {
            (self.is_due, self.attempts) = (true, 0);
        }
        self.attempts = self.attempts.saturating_add(1);
        let delay = delay_ms(self.attempts, config.retry_min_ms, config.retry_max_ms, random);
        self.retry_at = now.saturating_add(delay);
        (self.counter, self.sent_at, self.lost_sent) = (Some(counter), now, lost);
    }

    /// If `ack` names the last one, it is done; gives when it was sent.
    pub(crate) fn acked(&mut self, ack: &Ack) -> Option<u64> {
        let counter = Counter::new(self.counter?)?;
        if !ack.covers(counter) {
            return None;
        }
        self.counter = None;
        (self.is_due, self.is_greeting, self.attempts) = (false, false, 0);
        self.lost_acked = self.lost_sent;
        Some(self.sent_at)
    }

    /// True once the server has answered the first one, or had many chances to do so.
    pub(crate) fn is_past_greeting(&self) -> bool {
        !self.is_greeting || self.attempts >= GREETINGS_MAX
    }

    /// The link says it delivered the one with `counter`. The greeting is not put off: data waits for it.
    pub(crate) fn put_off(&mut self, counter: u64, until: u64) {
        if self.counter == Some(counter) && !self.is_greeting {
            self.retry_at = self.retry_at.max(until);
        }
    }

    /// The link is up again.
    pub(crate) fn hurry(&mut self, now: u64) {
        if self.is_due {
            self.retry_at = self.retry_at.min(now);
        }
    }

    fn news_from(&self) -> u64 {
        if self.sent_at == 0 { 0 } else { self.sent_at.saturating_add(NEWS_EVERY_MS) }
    }
}
