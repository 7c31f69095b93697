//! Which counters of one (device, generation) have been received, in little memory and for ever.
//!
//! The row in the store decides while it exists; these ranges go on deciding after retention has deleted it.
//! Save them in the same transaction as the window.
//!
//! ```text
//! stored   version 1 │ closed below u48 │ n u16 │ n × (gap, more)      gap, more: LEB128, at most 7 bytes
//!          gap   first counter of the range - the lowest it could have
//!                (closed below for the first range, the end of the range before + 2 for the others)
//!          more  last counter - first counter
//! ```

use crate::counter::Counter;
use crate::cursor::{Reader, Writer};
use crate::payload::{Ack, AckFlags, Millis};
use crate::{BufferTooSmall, Field, ParseError};

/// Most ranges kept. An honest device leaves one gap per boot and per lost window.
pub const RANGES_MAX: usize = 256;
/// Most bytes [`ReceivedRanges::emit`] writes.
pub const RANGES_LEN_MAX: usize = 1 + 6 + 2 + RANGES_MAX * 14;

const STORED_VERSION: u8 = 1;

/// The counters received under one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRanges {
    // Ascending, with a gap between any two; those from `n` on are zero.
    ranges: [Range; RANGES_MAX],
    n: usize,
    closed_below: u64,
}

/// What the ranges know of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Never received: accept.
    New,
    /// Received before: it is stored, or was until retention deleted it. Success for the sender.
    Already,
    /// It lies below what [`RANGES_MAX`] ranges can remember. Do not accept the frame and do not ack it: ask
    /// for a join. The device then seals the window anew and names this counter as its origin; for an origin
    /// the row in the store decides, which is safe, since only the device itself can make such a frame.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Range {
    first: u64,
    last: u64,
}

impl Default for ReceivedRanges {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceivedRanges {
    /// Nothing received yet.
    pub const fn new() -> Self {
        Self { ranges: [Range { first: 0, last: 0 }; RANGES_MAX], n: 0, closed_below: 0 }
    }

    /// What is known of `counter`, without a change.
    pub fn check(&self, counter: Counter) -> Received {
        let c = counter.get();
        if c < self.closed_below {
            return Received::Closed;
        }
        match self.find(c) {
            Ok(_) => Received::Already,
            Err(_) => Received::New,
        }
    }

    /// Adds `counter`; says what was known of it before. Only [`Received::New`] changes anything.
    pub fn insert(&mut self, counter: Counter) -> Received {
        let c = counter.get();
        let known = self.check(counter);
        let Err(at) = self.find(c) else { return known };
        if known != Received::New {
            return known;
        }
        let ends_before = at > 0 && self.ranges[at - 1].last + 1 == c;
        let starts_after = at < self.n && c + 1 == self.ranges[at].first;
        match (ends_before, starts_after) {
            (true, true) => {
                self.ranges[at - 1].last = self.ranges[at].last;
                self.remove(at);
            }
            (true, false) => self.ranges[at - 1].last = c,
            (false, true) => self.ranges[at].first = c,
            (false, false) => self.add(at, Range { first: c, last: c }),
        }
        Received::New
    }

    /// The highest counter received; what [`crate::counter::ShortCounter::rebuild`] asks for.
    pub fn highest(&self) -> Option<Counter> {
        self.as_slice().last().map(|r| Counter::from_bits(r.last))
    }

    /// How many counters are known to be received (those below the closed mark not counted).
    pub fn n_received(&self) -> u64 {
        self.as_slice().iter().map(|r| r.last - r.first + 1).sum()
    }

    /// How many ranges they form.
    pub fn n_ranges(&self) -> usize {
        self.n
    }

    /// An ack that covers `counter`, the run it lies in and the 32 counters after it. `None` if it is not received.
    pub fn ack_around(&self, counter: Counter, server_time: Millis, flags: AckFlags) -> Option<Ack> {
        const RUN_MAX: u64 = u16::MAX as u64;
        let c = counter.get();
        let range = self.ranges[self.find(c).ok()?];
        let base = range.first.max((c + 1).saturating_sub(RUN_MAX));
        let run = (range.last - base + 1).min(RUN_MAX);
        let bitmap = (0..32).fold(0, |bits, i| bits | u32::from(self.find(base + run + i).is_ok()) << i);
        Some(Ack { flags, server_time, base: Counter::from_bits(base), run: run as u16, bitmap })
    }

    /// Bytes [`ReceivedRanges::emit`] writes.
    pub fn emit_len(&self) -> usize {
        9 + self.steps().map(|(gap, more)| varint_len(gap) + varint_len(more)).sum::<usize>()
    }

    /// Writes it for storing; gives the length.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.emit_len())?;
        w.u8(STORED_VERSION);
        w.u48(self.closed_below);
        w.u16(self.n as u16);
        for (gap, more) in self.steps() {
            put_varint(&mut w, gap);
            put_varint(&mut w, more);
        }
        Ok(w.end())
    }

    /// Reads what [`ReceivedRanges::emit`] wrote.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        const BAD: ParseError = ParseError::Malformed(Field::Ranges);
        let mut r = Reader::new(bytes);
        match r.u8()? {
            STORED_VERSION => {}
            n => return Err(ParseError::Version(n)),
        }
        let mut read = Self::new();
        read.closed_below = r.u48()?;
        let n = usize::from(r.u16()?);
        if n > RANGES_MAX {
            return Err(BAD);
        }
        let mut lowest = read.closed_below;
        for _ in 0..n {
            let first = lowest + take_varint(&mut r)?;
            let last = first + take_varint(&mut r)?;
            if last > Counter::MAX.get() {
                return Err(BAD);
            }
            read.ranges[read.n] = Range { first, last };
            read.n += 1;
            lowest = last + 2;
        }
        r.end()?;
        Ok(read)
    }

    fn as_slice(&self) -> &[Range] {
        &self.ranges[..self.n]
    }

    /// The range `c` lies in, or the place where one for it would stand.
    fn find(&self, c: u64) -> Result<usize, usize> {
        let at = self.as_slice().partition_point(|r| r.last < c);
        if at < self.n && self.ranges[at].first <= c { Ok(at) } else { Err(at) }
    }

    fn add(&mut self, at: usize, range: Range) {
        if self.n < RANGES_MAX {
            self.ranges.copy_within(at..self.n, at + 1);
            self.ranges[at] = range;
            self.n += 1;
        } else if at == 0 {
            // The new range would be the lowest: it is the one to forget.
            self.closed_below = self.ranges[0].first;
        } else {
            self.ranges.copy_within(1..at, 0);
            self.ranges[at - 1] = range;
            self.closed_below = self.ranges[0].first;
        }
    }

    fn remove(&mut self, at: usize) {
        self.ranges.copy_within(at + 1..self.n, at);
        self.n -= 1;
        self.ranges[self.n] = Range::default();
    }

    /// The stored (gap, more) of each range.
    fn steps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut lowest = self.closed_below;
        self.as_slice().iter().map(move |r| {
            let step = (r.first - lowest, r.last - r.first);
            lowest = r.last + 2;
            step
        })
    }
}

fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(w: &mut Writer<'_>, mut n: u64) {
    while n >= 0x80 {
        w.u8(n as u8 | 0x80);
        n >>= 7;
    }
    w.u8(n as u8);
}

/// At most 7 bytes, so at most 49 bits: sums of a few of them cannot overflow.
fn take_varint(r: &mut Reader<'_>) -> Result<u64, ParseError> {
    let mut n = 0;
    for i in 0..7 {
        let byte = r.u8()?;
        n |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // A zero at the end would be a second way to write the same number.
            return if byte == 0 && i > 0 { Err(ParseError::Malformed(Field::Ranges)) } else { Ok(n) };
        }
    }
    Err(ParseError::Malformed(Field::Ranges))
}

#[cfg(test)]
mod tests;
