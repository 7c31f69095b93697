//! A sealed frame on the wire: a view on its bytes, and what its header means.
//!
//! ```text
//! uplink    b0 b1 │ short id 4 │ counter 4 or 6 │ sealed content … │ tag 16 (suite 1: 8)
//! downlink  b0 b1 │ short id 4 │ server run 12 │ counter 4 │ sealed content … │ tag 16 (8)
//!
//! b0   version 2 │ type 3 │ suite 2 │ wide 1        (most significant bits first)
//! b1   low 4 bits of the generation │ bundle slot 4  (slot 0 except in data frames)
//! ```
//!
//! [`Frame::new_checked`] makes every accessor panic-free. All of the header is authenticated, none of it secret.

pub use crate::header::{Kind, ServerRun, ShortId, Slot, Suite, kind_of, kind_on, low4};

use crate::counter::{Counter, ShortCounter};
use crate::cursor::Writer;
use crate::keys::Direction;
use crate::{BufferTooSmall, DOWN_HEADER_LEN, FRAME_LEN_MAX, Field, ParseError};
use crate::{UP_HEADER_LEN, UP_HEADER_WIDE_LEN};

/// Header fields of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Up {
    /// How it is sealed.
    pub suite: Suite,
    /// Low 4 bits of the generation, `0..16`.
    pub generation_low: u8,
    /// Who sends it.
    pub short_id: ShortId,
    /// Its counter.
    pub counter: ShortCounter,
}

/// Header fields of a downlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Down {
    /// How it is sealed.
    pub suite: Suite,
    /// Low 4 bits of the generation, `0..16`.
    pub generation_low: u8,
    /// Who shall receive it.
    pub short_id: ShortId,
    /// The server process that sealed it.
    pub run: ServerRun,
    /// Counts the process's downlinks to all devices or to each; never repeats within (run, generation).
    pub counter: u32,
}

/// The header of a sealed frame. If one exists, it can be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameRepr {
    /// A coded window.
    Data {
        /// The bundle that made the code.
        slot: Slot,
        /// The rest.
        up: Up,
    },
    /// A status.
    Status {
        /// All fields.
        up: Up,
    },
    /// A command.
    Command {
        /// All fields.
        down: Down,
    },
    /// An ack.
    Ack {
        /// All fields.
        down: Down,
    },
}

/// A view on the bytes of a sealed frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<T: AsRef<[u8]>> {
    bytes: T,
}

impl Up {
    /// The header fields of an uplink under the (full) `generation`, with the counter in the form a device
    /// sends ([`ShortCounter::of`]).
    pub fn new(
        suite: Suite,
        generation: u32,
        short_id: ShortId,
        counter: Counter,
        first_after_boot: bool,
    ) -> Self {
        let counter = ShortCounter::of(counter, first_after_boot);
        Self { suite, generation_low: low4(generation), short_id, counter }
    }
}

impl Down {
    /// The header fields of a downlink under the (full) `generation`.
    pub fn new(suite: Suite, generation: u32, short_id: ShortId, run: ServerRun, counter: u32) -> Self {
        Self { suite, generation_low: low4(generation), short_id, run, counter }
    }
}

impl FrameRepr {
    /// What the bytes of a checked frame say.
    pub fn parse<T: AsRef<[u8]>>(frame: &Frame<T>) -> Self {
        let up = || Up {
            suite: frame.suite(),
            generation_low: frame.generation_low(),
            short_id: frame.short_id(),
            counter: frame.counter(),
        };
        let down = || Down {
            suite: frame.suite(),
            generation_low: frame.generation_low(),
            short_id: frame.short_id(),
            run: frame.run().unwrap_or_default(),
            counter: match frame.counter() {
                ShortCounter::Low(low) => low,
                ShortCounter::Full(full) => full.low(),
            },
        };
        match frame.kind() {
            Kind::Data => Self::Data { slot: frame.slot(), up: up() },
            Kind::Status => Self::Status { up: up() },
            Kind::Command => Self::Command { down: down() },
            _ => Self::Ack { down: down() },
        }
    }

    /// Writes the header to the front of `out`; gives its length.
    ///
    /// ```
    /// use kinglet_wire::{counter::Counter, frame::*};
    /// let up = Up::new(Suite::AesCcm16, 0x21, ShortId(0xc0ffee), Counter::from(300), false);
    /// let mut header = [0; 10];
    /// FrameRepr::Data { slot: Slot::new(3).unwrap(), up }.emit(&mut header).unwrap();
    /// assert_eq!(header, [0x40, 0x13, 0x00, 0xc0, 0xff, 0xee, 0x00, 0x00, 0x01, 0x2c]);
    /// ```
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.header_len())?;
        let slot = match self {
            Self::Data { slot, .. } => slot.get(),
            _ => 0,
        };
        match self {
            Self::Data { up, .. } | Self::Status { up } => {
                w.u8(self.kind().b0(up.suite, matches!(up.counter, ShortCounter::Full(_))));
                w.u8(up.generation_low << 4 | slot);
                w.u32(up.short_id.0);
                match up.counter {
                    ShortCounter::Low(low) => w.u32(low),
                    ShortCounter::Full(full) => w.u48(full.get()),
                }
            }
            Self::Command { down } | Self::Ack { down } => {
                w.u8(self.kind().b0(down.suite, false));
                w.u8(down.generation_low << 4);
                w.u32(down.short_id.0);
                w.put(&down.run);
                w.u32(down.counter);
            }
        }
        Ok(w.end())
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        match self {
            Self::Data { up, .. } | Self::Status { up } => match up.counter {
                ShortCounter::Low(_) => UP_HEADER_LEN,
                ShortCounter::Full(_) => UP_HEADER_WIDE_LEN,
            },
            Self::Command { .. } | Self::Ack { .. } => DOWN_HEADER_LEN,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Data { .. } => Kind::Data,
            Self::Status { .. } => Kind::Status,
            Self::Command { .. } => Kind::Command,
            Self::Ack { .. } => Kind::Ack,
        }
    }

    /// How it is sealed.
    pub fn suite(&self) -> Suite {
        match self {
            Self::Data { up, .. } | Self::Status { up } => up.suite,
            Self::Command { down } | Self::Ack { down } => down.suite,
        }
    }

    /// The counter as the header carries it.
    pub fn counter(&self) -> ShortCounter {
        match self {
            Self::Data { up, .. } | Self::Status { up } => up.counter,
            Self::Command { down } | Self::Ack { down } => ShortCounter::Low(down.counter),
        }
    }
}

mod field {
    use core::ops::Range;

    pub(super) const B1: usize = 1;
    pub(super) const SHORT_ID: Range<usize> = 2..6;
    pub(super) const UP_COUNTER: Range<usize> = 6..10;
    pub(super) const UP_COUNTER_WIDE: Range<usize> = 6..12;
    pub(super) const RUN: Range<usize> = 6..18;
    pub(super) const DOWN_COUNTER: Range<usize> = 18..22;
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks everything that can be checked without a key: version, type, suite, reserved bits, length.
    /// Joins are no sealed frames: they give [`ParseError::Kind`], see [`kind_of`].
    pub fn new_checked(bytes: T) -> Result<Self, ParseError> {
        Self::checked_on(bytes, Suite::AesCcm16)
    }

    /// As [`Frame::new_checked`], on a link that speaks `suite` and no other.
    pub fn checked_on(bytes: T, suite: Suite) -> Result<Self, ParseError> {
        let raw = bytes.as_ref();
        let kind = kind_on(raw, suite)?;
        if matches!(kind, Kind::JoinRequest | Kind::JoinAccept) {
            return Err(ParseError::Kind(kind as u8));
        }
        if raw.len() > FRAME_LEN_MAX {
            return Err(ParseError::TooLong);
        }
        let wide = raw[0] & 1 == 1;
        if wide && kind.direction() == Direction::Down {
            return Err(ParseError::Malformed(Field::Wide));
        }
        let at_least = header_len(kind, wide) + suite.tag_len();
        if raw.len() < at_least {
            return Err(ParseError::NeedMore { at_least });
        }
        if kind != Kind::Data && raw[field::B1] & 15 != 0 {
            return Err(ParseError::Malformed(Field::Reserved));
        }
        Ok(Self { bytes })
    }

    /// What it is; never a join.
    pub fn kind(&self) -> Kind {
        match (self.raw()[0] >> 3) & 7 {
            0 => Kind::Data,
            1 => Kind::Status,
            4 => Kind::Command,
            _ => Kind::Ack,
        }
    }

    /// How it is sealed.
    pub fn suite(&self) -> Suite {
        // `checked_on` has refused every other number.
        Suite::of(self.raw()[0]).unwrap_or(Suite::AesCcm16)
    }

    /// Low 4 bits of the generation.
    pub fn generation_low(&self) -> u8 {
        self.raw()[field::B1] >> 4
    }

    /// The bundle slot; 0 except in data frames.
    pub fn slot(&self) -> Slot {
        Slot::from_bits(self.raw()[field::B1])
    }

    /// The device.
    pub fn short_id(&self) -> ShortId {
        ShortId(be32(&self.raw()[field::SHORT_ID]))
    }

    /// The counter; rebuild it with [`ShortCounter::rebuild`]. A downlink's is complete.
    pub fn counter(&self) -> ShortCounter {
        let raw = self.raw();
        if self.kind().direction() == Direction::Down {
            return ShortCounter::Low(be32(&raw[field::DOWN_COUNTER]));
        }
        if !self.wide() {
            return ShortCounter::Low(be32(&raw[field::UP_COUNTER]));
        }
        let n = raw[field::UP_COUNTER_WIDE].iter().fold(0, |n, &b| n << 8 | u64::from(b));
        ShortCounter::Full(Counter::from_bits(n))
    }

    /// The server process of a downlink; `None` on uplinks.
    pub fn run(&self) -> Option<ServerRun> {
        match self.kind().direction() {
            Direction::Up => None,
            Direction::Down => self.raw()[field::RUN].try_into().ok(),
        }
    }

    /// The header's bytes.
    pub fn header(&self) -> &[u8] {
        &self.raw()[..self.header_len()]
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        header_len(self.kind(), self.wide())
    }

    /// The sealed content without its tag.
    pub fn sealed(&self) -> &[u8] {
        let raw = self.raw();
        &raw[self.header_len()..raw.len() - self.suite().tag_len()]
    }

    /// The tag. Two frames with one (device, generation, counter) and different tags are a counter used twice.
    pub fn tag(&self) -> &[u8] {
        let raw = self.raw();
        &raw[raw.len() - self.suite().tag_len()..]
    }

    /// The bytes back.
    pub fn into_inner(self) -> T {
        self.bytes
    }

    fn wide(&self) -> bool {
        self.raw()[0] & 1 == 1
    }

    fn raw(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn header_len(kind: Kind, wide: bool) -> usize {
    match (kind.direction(), wide) {
        (Direction::Up, false) => UP_HEADER_LEN,
        (Direction::Up, true) => UP_HEADER_WIDE_LEN,
        (Direction::Down, _) => DOWN_HEADER_LEN,
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, &b| n << 8 | u32::from(b))
}
