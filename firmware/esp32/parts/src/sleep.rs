//! Deep sleep between samples: what a board keeps in the memory that stays on, and what each start is for.
//!
//! Most starts take a sample and end: no radio, no flash. When a window's samples are together one start opens the node, gives
//! it all of them with their own times, and switches the radio on. Times are milliseconds of the chip's RTC, which goes on
//! through sleep and resets; node and outbox see one uptime.
//!
//! ```text
//! kept     tag 16 │ period_ms u32 │ n_wanted u16 │ n u16 │ due_at u64 │ retry_at u64 │ n_failed u8 │ flags u8
//!          unix offset i64 │ sample … │ CRC-32 of all before it, u32                         (little-endian)
//! sample   at u64 │ temperature, humidity, pressure i32, hundredths; -2³¹: missing
//! ```

use alloc::vec::Vec;

use kinglet_codec::Decimal;
use kinglet_node::Reading;

use crate::backoff;
use crate::owner::TAG_LEN;
use crate::sensor::Sample;

/// Samples that are kept at most: then they go to flash, whatever the window's length.
pub const SAMPLES_MAX: usize = 128;
/// Bytes that have to stay on.
pub const KEPT_LEN: usize = HEAD_LEN + SAMPLES_MAX * SAMPLE_LEN + 4;

const HEAD_LEN: usize = TAG_LEN + 4 + 2 + 2 + 8 + 8 + 1 + 1 + 8;
const SAMPLE_LEN: usize = 8 + 3 * 4;
const MISSING: i32 = i32::MIN;
/// Nobody has answered for so long: the radio goes off, what waits is sent another time.
const QUIET_MS: u64 = 30_000;
/// After a start by hand the board stays awake at least so long: who wants to give it something else has that time.
const SETTLE_MS: u64 = 60_000;
/// Between sessions that leave windows behind.
const RETRY_MIN_MS: u64 = 5 * 60_000;
const RETRY_MAX_MS: u64 = 60 * 60_000;
/// A sleep that is shorter costs more than it saves.
const SLEEP_MIN_MS: u64 = 500;

const _: () = assert!(KEPT_LEN < 4096, "it has to fit beside what else lies in 8 KiB of RTC memory");

/// What is kept through sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose samples these are.
    tag: [u8; TAG_LEN],
    period_ms: u32,
    /// So many samples are a window.
    n_wanted: u16,
    samples: Vec<(u64, Sample)>,
    /// The next sample's time.
    due_at: u64,
    /// No radio before this.
    retry_at: u64,
    /// Sessions in a row that left windows behind.
    n_failed: u8,
    /// Windows wait in the outbox.
    waiting: bool,
    /// The next start sleeps at once: a session ends by a reset, so that the radio is off for certain.
    sleep_first: bool,
    /// Unix milliseconds at time 0, if a session has learned it.
    unix_offset: Option<i64>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sleep until then.
    Sleep(u64),
    /// Give the samples to the node and leave the radio off: the server was not reached lately.
    Store,
    /// Give the samples to the node and send.
    Send,
}

/// How a session stands.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// When it began.
    pub began: u64,
    /// When the server was last heard; `began` before that.
    pub heard: u64,
    /// A request is under way, or a bundle is being fetched.
    pub is_busy: bool,
    /// Windows in the outbox.
    pub n_waiting: usize,
    /// The node wants to send something now.
    pub is_due: bool,
    /// The radio is on.
    pub has_radio: bool,
    /// The chip was started by hand or by its supply, not by its own alarm.
    pub by_hand: bool,
}

impl Kept {
    /// Nothing yet.
    pub fn new(tag: [u8; TAG_LEN]) -> Self {
        Self {
            tag,
            period_ms: 0,
            n_wanted: 0,
            samples: Vec::new(),
            due_at: 0,
            retry_at: 0,
            n_failed: 0,
            waiting: false,
            sleep_first: false,
            unix_offset: None,
        }
    }

    /// What an earlier start has written, if it is whole, of this device, and of a time before `now`.
    pub fn read(bytes: &[u8; KEPT_LEN], tag: &[u8; TAG_LEN], now: u64) -> Option<Self> {
        let mut r = Reader(bytes);
        let mut kept = Self::new(r.take()?);
        kept.period_ms = u32::from_le_bytes(r.take()?);
        kept.n_wanted = u16::from_le_bytes(r.take()?);
        let n = usize::from(u16::from_le_bytes(r.take()?));
        kept.due_at = u64::from_le_bytes(r.take()?);
        kept.retry_at = u64::from_le_bytes(r.take()?);
        let [n_failed, flags] = r.take()?;
        let offset = i64::from_le_bytes(r.take()?);
        (kept.n_failed, kept.waiting, kept.sleep_first) = (n_failed, flags & 1 != 0, flags & 2 != 0);
        kept.unix_offset = (flags & 4 != 0).then_some(offset);
        if n > SAMPLES_MAX || kept.tag != *tag || kept.period_ms == 0 {
            return None;
        }
        for _ in 0..n {
            let at = u64::from_le_bytes(r.take()?);
            let mut reading = || Some(reading_of(i32::from_le_bytes(r.take()?)));
            let sample = Sample { temperature: reading()?, humidity: reading()?, pressure: reading()? };
            kept.samples.push((at, sample));
        }
        let whole = &bytes[..bytes.len() - r.0.len()];
        let is_whole = u32::from_le_bytes(r.take()?) == crc(whole);
        (is_whole && kept.samples.last().is_none_or(|(at, _)| *at <= now)).then_some(kept)
    }

    /// Writes it, for the next start.
    pub fn write(&self, bytes: &mut [u8; KEPT_LEN]) {
        let mut out = Vec::with_capacity(KEPT_LEN);
        out.extend_from_slice(&self.tag);
        out.extend_from_slice(&self.period_ms.to_le_bytes());
        out.extend_from_slice(&self.n_wanted.to_le_bytes());
        // At most SAMPLES_MAX.
        out.extend_from_slice(&(self.samples.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.due_at.to_le_bytes());
        out.extend_from_slice(&self.retry_at.to_le_bytes());
        let flags = [self.waiting, self.sleep_first, self.unix_offset.is_some()];
        let flags = flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        out.extend_from_slice(&[self.n_failed, flags]);
        out.extend_from_slice(&self.unix_offset.unwrap_or_default().to_le_bytes());
        for (at, sample) in &self.samples {
            out.extend_from_slice(&at.to_le_bytes());
            for reading in [sample.temperature, sample.humidity, sample.pressure] {
                out.extend_from_slice(&hundredths(reading).to_le_bytes());
            }
        }
        let crc = crc(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        bytes[..out.len()].copy_from_slice(&out);
    }

    /// The bundle in use has windows of so many samples, one every `period_ms`.
    pub fn fit(&mut self, period_ms: u32, n_samples: usize) {
        self.period_ms = period_ms;
        self.n_wanted = n_samples.clamp(1, SAMPLES_MAX) as u16;
    }

    /// True if it is known how often samples are taken.
    pub fn is_fitted(&self) -> bool {
        self.period_ms > 0
    }

    /// When the next sample is due.
    pub fn due_at(&self) -> u64 {
        self.due_at
    }

    /// True if a sample is to be taken.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.due_at
    }

    /// Takes the sample that was due. If nothing could be given to the node for very long, the oldest goes.
    pub fn take(&mut self, now: u64, sample: Sample) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.remove(0);
        }
        self.samples.push((now, sample));
        // On the period's own beat; one that was missed is missed.
        let period = u64::from(self.period_ms.max(1));
        let beat = if self.due_at == 0 { now } else { self.due_at };
        self.due_at = beat + (now.saturating_sub(beat) / period + 1) * period;
    }

    /// All samples, in order, for the node.
    pub fn drain(&mut self) -> Vec<(u64, Sample)> {
        core::mem::take(&mut self.samples)
    }

    /// What this start is for. One that is `by_hand` is to be seen on the server at once.
    pub fn next(&self, now: u64, by_hand: bool) -> Next {
        let is_full = self.samples.len() >= usize::from(self.n_wanted);
        if self.sleep_first {
            Next::Sleep(self.wake_at(now))
        } else if by_hand || (now >= self.retry_at && (is_full || self.waiting)) {
            Next::Send
        } else if is_full {
            Next::Store
        } else {
            Next::Sleep(self.wake_at(now))
        }
    }

    /// True if the reset that led here was the end of a session.
    pub fn sleeps_first(&self) -> bool {
        self.sleep_first
    }

    /// When to wake: for the next sample, or to send what waits.
    fn wake_at(&self, now: u64) -> u64 {
        let retry = if self.waiting { self.retry_at } else { u64::MAX };
        self.due_at.min(retry).max(now + SLEEP_MIN_MS)
    }

    /// True if the session has nothing left to do, or no hope to.
    pub fn is_over(&self, now: u64, session: &Session) -> bool {
        if session.by_hand && session.has_radio && now < session.began + SETTLE_MS {
            return false;
        }
        let is_done = session.n_waiting == 0 && !session.is_due && !session.is_busy;
        let is_hopeless = now >= session.heard.max(session.began) + QUIET_MS;
        !session.has_radio || is_done || is_hopeless
    }

    /// The session has ended so. `random`: any 32 random bits.
    pub fn ended(&mut self, now: u64, session: &Session, unix_ms: Option<i64>, random: u32) {
        self.waiting = session.n_waiting > 0;
        if session.has_radio {
            self.n_failed = if self.waiting { self.n_failed.saturating_add(1) } else { 0 };
            let n_before = u32::from(self.n_failed).saturating_sub(1);
            let wait = backoff::wait_ms(RETRY_MIN_MS, RETRY_MAX_MS, n_before, random);
            self.retry_at = if self.waiting { now + wait } else { 0 };
            self.sleep_first = true;
        }
        self.unix_offset = unix_ms.map(|unix| unix.saturating_sub_unsigned(now)).or(self.unix_offset);
    }

    /// The sleep a session ended for has begun: the next start is one like others.
    pub fn slept(&mut self) {
        self.sleep_first = false;
    }

    /// Unix milliseconds at `now`, as the last session knew it and the RTC has carried it on.
    pub fn unix_ms(&self, now: u64) -> Option<i64> {
        self.unix_offset.map(|offset| offset.saturating_add_unsigned(now))
    }
}

fn hundredths(reading: Reading) -> i32 {
    let value = reading.and_then(|value| i32::try_from(value.at_scale(2)).ok());
    value.unwrap_or(MISSING)
}

fn reading_of(hundredths: i32) -> Reading {
    (hundredths != MISSING).then(|| Decimal::new(hundredths.into(), 2))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }
}

/// CRC-32 as zip has it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests;
