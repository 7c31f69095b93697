//! What a server remembers of one device's joins.
//!
//! ```text
//! stored  version 1 │ highest u32 │ confirmed 0 or 1 │ [grant 42] │ n pending 1 │ n remembered 1 │ n × grant 42
//! grant   generation u32 │ device nonce 16 │ server nonce 16 │ unix ms u48
//! ```

use core::fmt;

use super::{Grant, Request};
use crate::cursor::{Reader, Writer};
use crate::frame::low4;
use crate::keys::JoinNonce;
use crate::payload::Millis;
use crate::{BufferTooSmall, Field, ParseError};

/// Most generations that wait for their first frame.
pub const PENDING_MAX: usize = 4;
/// How many answers are remembered, so that a repeated request gets the same one.
pub const REMEMBERED_MAX: usize = 64;
/// Most bytes [`JoinState::emit`] writes.
pub const JOIN_STATE_LEN_MAX: usize = HEAD_LEN + (1 + REMEMBERED_MAX) * GRANT_LEN;

const STORED_VERSION: u8 = 1;
const GRANT_LEN: usize = 4 + 16 + 16 + 6;
const HEAD_LEN: usize = 1 + 4 + 1 + 1 + 1;

// The four bits of a generation in a header tell the confirmed one and the pending ones apart.
const _: () = assert!(PENDING_MAX < 16 && PENDING_MAX <= REMEMBERED_MAX);

/// A server's side of one device's joins. Keep it with the device, and store it before the accept is sent.
///
/// A request replayed by somebody gets the answer it got before and changes nothing; one older than the
/// remembered 64 adds a pending generation that no frame can ever confirm, since its keys need the device key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JoinState {
    confirmed: Option<Grant>,
    highest: u32,
    remembered: Remembered,
    // The last ones of `remembered`, at most PENDING_MAX.
    n_pending: usize,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A new generation waits for its first frame: store the state, then send the accept.
    New(Grant),
    /// The request was answered before; the same answer again, and the state is as it was.
    Again(Grant),
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// There is no higher generation. The device needs a new key.
    Exhausted,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("all generations are used up: give the device a new key"),
        }
    }
}

impl core::error::Error for JoinError {}

impl Joined {
    /// What was granted.
    pub fn grant(&self) -> Grant {
        match self {
            Self::New(grant) | Self::Again(grant) => *grant,
        }
    }
}

impl JoinState {
    /// No join yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a request whose MAC was checked. `server_nonce`: 16 fresh random bytes.
    pub fn handle_request(
        &mut self,
        request: &Request,
        server_nonce: &JoinNonce,
        now: Millis,
    ) -> Result<Joined, JoinError> {
        if let Some(grant) = self.remembered.find(&request.device_nonce) {
            return Ok(Joined::Again(grant));
        }
        // The oldest pending one goes if there is no room; it must not keep its four bits from the new one.
        let n_kept = self.n_pending.min(PENDING_MAX - 1);
        let mut generation = self.highest.max(request.known);
        loop {
            generation = generation.checked_add(1).ok_or(JoinError::Exhausted)?;
            let taken = self.remembered.last(n_kept).iter().chain(&self.confirmed);
            if taken.into_iter().all(|g| low4(g.generation) != low4(generation)) {
                break;
            }
        }
        let grant =
            Grant { generation, device_nonce: request.device_nonce, server_nonce: *server_nonce, time: now };
        self.remembered.push(grant);
        self.n_pending = n_kept + 1;
        self.highest = generation;
        Ok(Joined::New(grant))
    }

    /// The one generation, confirmed or pending, that a header with these four bits can mean.
    pub fn generation(&self, generation_low: u8) -> Option<&Grant> {
        self.pending().iter().chain(&self.confirmed).find(|g| low4(g.generation) == generation_low)
    }

    /// To be told when an uplink has opened under `generation`. If that was pending, it is confirmed and all
    /// others end; gives true if the state has changed and must be stored (with the frame's window).
    pub fn confirm(&mut self, generation: u32) -> bool {
        let Some(&grant) = self.pending().iter().find(|g| g.generation == generation) else { return false };
        self.confirmed = Some(grant);
        self.n_pending = 0;
        true
    }

    /// The generation in use.
    pub fn confirmed(&self) -> Option<&Grant> {
        self.confirmed.as_ref()
    }

    /// The generations that wait for their first frame, oldest first.
    pub fn pending(&self) -> &[Grant] {
        self.remembered.last(self.n_pending)
    }

    /// Bytes [`JoinState::emit`] writes.
    pub fn emit_len(&self) -> usize {
        HEAD_LEN + (usize::from(self.confirmed.is_some()) + self.remembered.n) * GRANT_LEN
    }

    /// Writes it for storing; gives the length. Nothing in it is secret.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.emit_len())?;
        w.u8(STORED_VERSION);
        w.u32(self.highest);
        w.u8(u8::from(self.confirmed.is_some()));
        if let Some(grant) = &self.confirmed {
            put_grant(&mut w, grant);
        }
        w.u8(self.n_pending as u8);
        w.u8(self.remembered.n as u8);
        for grant in self.remembered.as_slice() {
            put_grant(&mut w, grant);
        }
        Ok(w.end())
    }

    /// Reads what [`JoinState::emit`] wrote.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        const BAD: ParseError = ParseError::Malformed(Field::Join);
        let mut r = Reader::new(bytes);
        match r.u8()? {
            STORED_VERSION => {}
            n => return Err(ParseError::Version(n)),
        }
        let highest = r.u32()?;
        let confirmed = match r.u8()? {
            0 => None,
            1 => Some(take_grant(&mut r)?),
            _ => return Err(BAD),
        };
        let (n_pending, n) = (usize::from(r.u8()?), usize::from(r.u8()?));
        if n > REMEMBERED_MAX || n_pending > n.min(PENDING_MAX) {
            return Err(BAD);
        }
        let mut remembered = Remembered::default();
        for _ in 0..n {
            remembered.push(take_grant(&mut r)?);
        }
        r.end()?;
        let state = Self { confirmed, highest, remembered, n_pending };
        if state.holds_together() { Ok(state) } else { Err(BAD) }
    }

    fn holds_together(&self) -> bool {
        let all = || self.remembered.as_slice().iter().chain(&self.confirmed);
        let in_use = || self.pending().iter().chain(&self.confirmed);
        all().all(|g| (1..=self.highest).contains(&g.generation))
            && in_use().all(|a| in_use().filter(|b| low4(a.generation) == low4(b.generation)).count() == 1)
    }
}

/// The last answers, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    grants: [Grant; REMEMBERED_MAX],
    n: usize,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { grants: [Grant::default(); REMEMBERED_MAX], n: 0 }
    }
}

impl Remembered {
    fn as_slice(&self) -> &[Grant] {
        &self.grants[..self.n]
    }

    fn last(&self, n: usize) -> &[Grant] {
        &self.as_slice()[self.n - n..]
    }

    fn find(&self, device_nonce: &JoinNonce) -> Option<Grant> {
        self.as_slice().iter().rev().find(|g| g.device_nonce == *device_nonce).copied()
    }

    fn push(&mut self, grant: Grant) {
        if self.n == REMEMBERED_MAX {
            self.grants.copy_within(1.., 0);
            self.n -= 1;
        }
        self.grants[self.n] = grant;
        self.n += 1;
    }
}

fn put_grant(w: &mut Writer<'_>, grant: &Grant) {
    w.u32(grant.generation);
    w.put(&grant.device_nonce);
    w.put(&grant.server_nonce);
    w.u48(grant.time.bits());
}

fn take_grant(r: &mut Reader<'_>) -> Result<Grant, ParseError> {
    Ok(Grant {
        generation: r.u32()?,
        device_nonce: r.array()?,
        server_nonce: r.array()?,
        time: Millis::from_bits(r.u48()?),
    })
}
