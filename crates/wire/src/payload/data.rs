//! The content of a data frame: one coded window and its time.
//!
//! ```text
//! flags 1 │ time 0, 4, 6 or 8 │ origin 0 or 10 │ code … │ padding 80 00 …
//!
//! flags   time kind 3 (bits 0–2) │ quality 2 (bits 3–4) │ origin 1 (bit 5) │ padded 1 (bit 6) │ reserved 1
//! time    0 none │ 1 unix seconds u32 │ 2 unix ms u48 │ 3 boot u16, uptime ms u48 │ 4 age ms u32
//! origin  generation u32, counter u48
//! ```

use super::{Content, Millis};
use crate::counter::Counter;
use crate::cursor::{Reader, Writer};
use crate::{BufferTooSmall, Field, ParseError};

/// The content of a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// When the window's first sample was taken.
    pub time: Time,
    /// How far to trust [`Data::time`].
    pub quality: Quality,
    /// The first (generation, counter) this window was sealed under, if it is sealed again under a new one.
    pub origin: Option<Origin>,
    /// The code; may be empty.
    pub code: &'a [u8],
    /// Bytes of padding behind the code; 0 is none.
    pub padding_len: usize,
}

/// When the window's first sample was taken, as the device knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Time {
    /// Not at all: the time of arrival stands for it. Only for links that send once.
    Arrival,
    /// Whole seconds since 1970.
    UnixS(u32),
    /// Milliseconds since 1970.
    UnixMs(Millis),
    /// Milliseconds since a boot; a later status frame of the same boot says when that was.
    Uptime {
        /// Number of the boot, wraps at 2^16.
        boot: u16,
        /// Since then.
        uptime: Millis,
    },
    /// Milliseconds before the frame was sealed. Only for links that send once: a repeat would say it wrong.
    Age(u32),
}

/// How far a time can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Quality {
    /// The device does not know: its clock was never set.
    #[default]
    Unknown = 0,
    /// Its clock was set once, and has run alone for more than a day or through a sleep.
    Held = 1,
    /// Its clock was set within the last day.
    Synced = 2,
}

/// Where a window was first sealed. A window is stored once per origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The full generation.
    pub generation: u32,
    /// The counter under it.
    pub counter: Counter,
}

impl Time {
    /// Unix time in the fewest bytes that say it exactly; [`Time::Arrival`] for a time before 1970 or past 48 bits.
    pub fn unix(t_ms: i64) -> Self {
        let Some(ms) = Millis::new(t_ms) else { return Self::Arrival };
        match u32::try_from(t_ms / 1000) {
            Ok(s) if t_ms % 1000 == 0 => Self::UnixS(s),
            _ => Self::UnixMs(ms),
        }
    }

    /// Unix milliseconds of the window's first sample, where the frame alone (and its arrival) says it:
    /// `None` for [`Time::Uptime`].
    pub fn t_ms(self, t_arrival_ms: i64) -> Option<i64> {
        match self {
            Self::Arrival => Some(t_arrival_ms),
            Self::UnixS(s) => Some(i64::from(s) * 1000),
            Self::UnixMs(ms) => Some(ms.get()),
            Self::Uptime { .. } => None,
            Self::Age(ms) => Some(t_arrival_ms.saturating_sub(i64::from(ms))),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Arrival => 0,
            Self::UnixS(_) | Self::Age(_) => 4,
            Self::UnixMs(_) => 6,
            Self::Uptime { .. } => 8,
        }
    }
}

impl Quality {
    pub(super) fn from_bits(bits: u8) -> Result<Self, ParseError> {
        match bits {
            0 => Ok(Self::Unknown),
            1 => Ok(Self::Held),
            2 => Ok(Self::Synced),
            _ => Err(ParseError::Malformed(Field::Quality)),
        }
    }
}

const ORIGIN: u8 = 1 << 5;
const PADDED: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;
const ORIGIN_LEN: usize = 10;
const PAD_MARK: u8 = 0x80;

impl<'a> Data<'a> {
    /// A window sealed for the first time, not padded.
    pub fn new(time: Time, quality: Quality, code: &'a [u8]) -> Self {
        Self { time, quality, origin: None, code, padding_len: 0 }
    }

    /// Says where it was first sealed.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Pads the content to the next multiple of `class` bytes, at least one: lengths then say less.
    /// A class of 0 pads nothing.
    #[must_use]
    pub fn padded_to(self, class: usize) -> Self {
        let bare = Self { padding_len: 0, ..self }.len();
        let padding_len = match (bare + 1).checked_next_multiple_of(class) {
            Some(padded) if class > 0 => padded - bare,
            _ => 0,
        };
        Self { padding_len, ..self }
    }

    /// Reads what [`Content::emit`] wrote.
    pub fn parse(content: &'a [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(content);
        let flags = r.u8()?;
        if flags & RESERVED != 0 {
            return Err(ParseError::Malformed(Field::Reserved));
        }
        let quality = Quality::from_bits((flags >> 3) & 3)?;
        let time = match flags & 7 {
            0 => Time::Arrival,
            1 => Time::UnixS(r.u32()?),
            2 => Time::UnixMs(Millis::from_bits(r.u48()?)),
            3 => Time::Uptime { boot: r.u16()?, uptime: Millis::from_bits(r.u48()?) },
            4 => Time::Age(r.u32()?),
            _ => return Err(ParseError::Malformed(Field::Time)),
        };
        let origin = match flags & ORIGIN {
            0 => None,
            _ => Some(Origin { generation: r.u32()?, counter: Counter::from_bits(r.u48()?) }),
        };
        let rest = r.rest();
        let code = match flags & PADDED {
            0 => rest,
            _ => unpad(rest).ok_or(ParseError::Malformed(Field::Padding))?,
        };
        Ok(Self { time, quality, origin, code, padding_len: rest.len() - code.len() })
    }
}

impl Content for Data<'_> {
    fn len(&self) -> usize {
        let origin_len = if self.origin.is_some() { ORIGIN_LEN } else { 0 };
        1 + self.time.len() + origin_len + self.code.len() + self.padding_len
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.len())?;
        let origin = if self.origin.is_some() { ORIGIN } else { 0 };
        let padded = if self.padding_len > 0 { PADDED } else { 0 };
        let kind = match self.time {
            Time::Arrival => 0,
            Time::UnixS(_) => 1,
            Time::UnixMs(_) => 2,
            Time::Uptime { .. } => 3,
            Time::Age(_) => 4,
        };
        w.u8(kind | (self.quality as u8) << 3 | origin | padded);
        match self.time {
            Time::Arrival => {}
            Time::UnixS(s) => w.u32(s),
            Time::UnixMs(ms) => w.u48(ms.bits()),
            Time::Uptime { boot, uptime } => {
                w.u16(boot);
                w.u48(uptime.bits());
            }
            Time::Age(ms) => w.u32(ms),
        }
        if let Some(origin) = self.origin {
            w.u32(origin.generation);
            w.u48(origin.counter.get());
        }
        w.put(self.code);
        if self.padding_len > 0 {
            w.u8(PAD_MARK);
            w.zeros(self.padding_len - 1);
        }
        Ok(w.end())
    }
}

/// What stands before the marker and its zeros (ISO/IEC 7816-4 padding).
fn unpad(bytes: &[u8]) -> Option<&[u8]> {
    let mark = bytes.iter().rposition(|&b| b != 0)?;
    (bytes[mark] == PAD_MARK).then(|| &bytes[..mark])
}
