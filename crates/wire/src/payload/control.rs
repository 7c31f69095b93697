//! The contents of what a server sends: acks and commands.
//!
//! ```text
//! ack      flags 1 │ server time unix ms u48 │ base u48 │ run u16 │ bitmap u32
//! command  expires unix ms u48 │ last uplink u48 │ code 1 │ body …
//! ```

use super::{Content, Millis};
use crate::BufferTooSmall;
use crate::ParseError;
use crate::counter::Counter;
use crate::cursor::{Reader, Writer};

/// What the server has stored of one generation's frames, and the time.
///
/// It names each counter it acknowledges: `base` and the `run - 1` after it, and for each bit `i` of `bitmap`
/// (0 the least significant) the counter `base + run + i`. `run` 0 and no bits acknowledge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// Hints to the device.
    pub flags: AckFlags,
    /// The server's clock when it sealed this.
    pub server_time: Millis,
    /// The first counter of the run.
    pub base: Counter,
    /// How many counters from `base` on are stored.
    pub run: u16,
    /// Which of the 32 counters after the run are stored.
    pub bitmap: u32,
}

/// Hints to the device. Unknown bits are ignored and kept, so that a newer server can say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct AckFlags(pub u8);

/// Something the device shall do. Accepted once, see [`Command::is_due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Unix time after which it must not be done any more.
    pub expires: Millis,
    /// The highest uplink counter of this generation the server had stored when it made the command.
    pub last_uplink: Counter,
    /// What to do.
    pub code: u8,
    /// With what.
    pub body: &'a [u8],
}

impl AckFlags {
    /// The device shall join anew: its generation cannot go on.
    pub const JOIN_WANTED: Self = Self(1 << 0);
    /// The device shall send a status frame: its bundle is not known here.
    pub const STATUS_WANTED: Self = Self(1 << 1);

    /// Windows whose codes refer to an earlier one cannot be read here: the device shall send them alone.
    pub const REFERENCE_UNKNOWN: Self = Self(1 << 2);

    /// True if all of `flags` are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

impl Ack {
    /// Acknowledges nothing: time and hints only.
    pub fn time_only(server_time: Millis, flags: AckFlags) -> Self {
        Self { flags, server_time, base: Counter::default(), run: 0, bitmap: 0 }
    }

    /// True if this acknowledges `counter`.
    pub fn covers(&self, counter: Counter) -> bool {
        let Some(distance) = counter.get().checked_sub(self.base.get()) else { return false };
        match distance.checked_sub(self.run.into()) {
            None => true,
            Some(bit @ 0..32) => self.bitmap >> bit & 1 == 1,
            Some(_) => false,
        }
    }

    /// Reads what [`Content::emit`] wrote.
    pub fn parse(content: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(content);
        let ack = Self {
            flags: AckFlags(r.u8()?),
            server_time: Millis::from_bits(r.u48()?),
            base: Counter::from_bits(r.u48()?),
            run: r.u16()?,
            bitmap: r.u32()?,
        };
        r.end()?;
        Ok(ack)
    }
}

impl Content for Ack {
    fn len(&self) -> usize {
        19
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.len())?;
        w.u8(self.flags.0);
        w.u48(self.server_time.bits());
        w.u48(self.base.get());
        w.u16(self.run);
        w.u32(self.bitmap);
        Ok(w.end())
    }
}

/// How far behind the device's counter a command's `last_uplink` may lie when the device has no clock.
const BEHIND_MAX: u64 = 1024;

impl<'a> Command<'a> {
    /// [`Command::code`] of an update that is offered; the body is a [`crate::update::SignedUpdate`]. It may be done any
    /// number of times: the serial that is signed decides, and [`Command::is_due`] is asked with mark 0.
    pub const UPDATE: u8 = 1;

    /// True if a device shall do this now.
    ///
    /// `now`: the device's clock, if it was set. `mark`: the device's next counter at the time it did its last
    /// command under this generation, 0 if there was none. `next`: its next counter now.
    ///
    /// After doing a command the device keeps `next` as its new mark. The server makes a command after it has
    /// stored an uplink from past the mark, so each command, repeated or replayed, is done once, with no list of
    /// commands on either end; and a database restored from yesterday changes nothing about that.
    pub fn is_due(&self, now: Option<Millis>, mark: u64, next: Counter) -> bool {
        let last = self.last_uplink.get();
        let fresh = match now {
            Some(now) => now <= self.expires,
            None => next.get().saturating_sub(last) <= BEHIND_MAX,
        };
        fresh && last >= mark && last < next.get()
    }

    /// Reads what [`Content::emit`] wrote.
    pub fn parse(content: &'a [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(content);
        Ok(Self {
            expires: Millis::from_bits(r.u48()?),
            last_uplink: Counter::from_bits(r.u48()?),
            code: r.u8()?,
            body: r.rest(),
        })
    }
}

impl Content for Command<'_> {
    fn len(&self) -> usize {
        13 + self.body.len()
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.len())?;
        w.u48(self.expires.bits());
        w.u48(self.last_uplink.get());
        w.u8(self.code);
        w.put(self.body);
        Ok(w.end())
    }
}
