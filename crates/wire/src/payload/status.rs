//! The content of a status frame: the first after a boot and after a bundle switch.
//!
//! ```text
//! flags 1 │ slot 1 │ reset 1 │ boot u16 │ uptime ms u48 │ windows lost u32 │ fingerprint 16
//!        │ unix ms u48, if flag 0 │ battery mV u16, if flag 1
//!
//! flags   unix time 1 (bit 0) │ battery 1 (bit 1) │ quality 2 (bits 2–3) │ reserved 4
//! ```

use super::data::Quality;
use super::{Content, Millis};
use crate::cursor::{Reader, Writer};
use crate::frame::Slot;
use crate::{BufferTooSmall, Field, Fingerprint, ParseError};

/// The content of a status frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The slot of the device's present bundle.
    pub slot: Slot,
    /// That bundle's fingerprint.
    pub fingerprint: Fingerprint,
    /// Windows dropped from a full outbox since the device was provisioned, wraps at 2^32.
    pub windows_lost: u32,
    /// Number of this boot, wraps at 2^16.
    pub boot: u16,
    /// Why it booted.
    pub reset: Reset,
    /// Time since the boot, at the same instant as [`Status::unix`].
    pub uptime: Millis,
    /// Unix time, if the device has a clock that was set. With `uptime` it dates the earlier frames of this boot.
    pub unix: Option<Millis>,
    /// How far to trust it.
    pub quality: Quality,
    /// Battery voltage in millivolts, if the device measures it.
    pub battery_mv: Option<u16>,
}

/// Why a device booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Reset {
    /// It does not know.
    #[default]
    Unknown = 0,
    /// Power came on.
    PowerOn = 1,
    /// Somebody pressed reset.
    Pin = 2,
    /// Its software asked for it.
    Software = 3,
    /// A watchdog barked.
    Watchdog = 4,
    /// The supply sagged.
    Brownout = 5,
    /// Its software failed.
    Panic = 6,
    /// It woke from a sleep that kept no memory.
    Sleep = 7,
}

const UNIX: u8 = 1 << 0;
const BATTERY: u8 = 1 << 1;
const RESERVED: u8 = 0xf0;
const FIXED_LEN: usize = 1 + 1 + 1 + 2 + 6 + 4 + 16;

impl Status {
    /// Reads what [`Content::emit`] wrote.
    pub fn parse(content: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(content);
        let flags = r.u8()?;
        if flags & RESERVED != 0 {
            return Err(ParseError::Malformed(Field::Reserved));
        }
        let status = Self {
            quality: Quality::from_bits((flags >> 2) & 3)?,
            slot: Slot::new(r.u8()?).ok_or(ParseError::Malformed(Field::Slot))?,
            reset: Reset::from_bits(r.u8()?)?,
            boot: r.u16()?,
            uptime: Millis::from_bits(r.u48()?),
            windows_lost: r.u32()?,
            fingerprint: r.array()?,
            unix: if flags & UNIX != 0 { Some(Millis::from_bits(r.u48()?)) } else { None },
            battery_mv: if flags & BATTERY != 0 { Some(r.u16()?) } else { None },
        };
        r.end()?;
        Ok(status)
    }
}

impl Content for Status {
    fn len(&self) -> usize {
        FIXED_LEN + self.unix.map_or(0, |_| 6) + self.battery_mv.map_or(0, |_| 2)
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.len())?;
        let unix = self.unix.map_or(0, |_| UNIX);
        let battery = self.battery_mv.map_or(0, |_| BATTERY);
        w.u8(unix | battery | (self.quality as u8) << 2);
        w.u8(self.slot.get());
        w.u8(self.reset as u8);
        w.u16(self.boot);
        w.u48(self.uptime.bits());
        w.u32(self.windows_lost);
        w.put(&self.fingerprint);
        if let Some(unix) = self.unix {
            w.u48(unix.bits());
        }
        if let Some(mv) = self.battery_mv {
            w.u16(mv);
        }
        Ok(w.end())
    }
}

impl Reset {
    fn from_bits(bits: u8) -> Result<Self, ParseError> {
        Ok(match bits {
            0 => Self::Unknown,
            1 => Self::PowerOn,
            2 => Self::Pin,
            3 => Self::Software,
            4 => Self::Watchdog,
            5 => Self::Brownout,
            6 => Self::Panic,
            7 => Self::Sleep,
            _ => return Err(ParseError::Malformed(Field::Reset)),
        })
    }
}
