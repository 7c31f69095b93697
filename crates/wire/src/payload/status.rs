//! The content of a status frame: the first after a boot and after a bundle switch.
//!
//! ```text
//! flags 1 │ slot 1 │ reset 1 │ boot u16 │ uptime ms u48 │ windows lost u32 │ fingerprint 16
//!        │ unix ms u48, if flag 0 │ battery mV u16, if flag 1 │ update 9, if flag 5 │ heap u32, if flag 6
//!
//! flags   unix time 1 (bit 0) │ battery 1 (bit 1) │ quality 2 (bits 2–3) │ reserved (4) │ update (5) │ heap (6) │ reserved (7)
//! update  serial u32 │ refused serial u32 │ trial 1 (bit 7), why it was refused 7
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
    /// Where it stands with updates, if it takes any.
    pub update: Option<UpdateState>,
    /// Bytes of heap that are free, if the device has one.
    pub heap_free: Option<u32>,
}

/// Where a device stands with updates of its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct UpdateState {
    /// The serial of the bundle it uses; 0 for the one it was provisioned with.
    pub serial: u32,
    /// No frame made with that bundle has been acknowledged yet: the device may go back.
    pub is_trial: bool,
    /// The last update that it did not take, or went back from.
    pub refused: Option<(u32, UpdateRefused)>,
}

/// Why a device did not take an update, or went back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateRefused {
    /// Its signature is not by the key the device was given.
    Signature = 1,
    /// It is not newer than what the device has, or has refused.
    Older = 2,
    /// It is longer than the device has room for.
    TooLong = 3,
    /// It is no model this device's software reads.
    Model = 4,
    /// Its channels are not those of the bundle the device was provisioned with.
    Channels = 5,
    /// No frame made with it was acknowledged, though the server answered.
    NotAccepted = 6,
    /// The device started again and again before any such frame was acknowledged.
    Boots = 7,
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
const UPDATE: u8 = 1 << 5;
const HEAP: u8 = 1 << 6;
const RESERVED: u8 = 1 << 4 | 1 << 7;
const TRIAL: u8 = 1 << 7;
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
            update: if flags & UPDATE != 0 { Some(UpdateState::parse(&mut r)?) } else { None },
            heap_free: if flags & HEAP != 0 { Some(r.u32()?) } else { None },
        };
        r.end()?;
        Ok(status)
    }
}

impl Content for Status {
    fn len(&self) -> usize {
        FIXED_LEN
            + self.unix.map_or(0, |_| 6)
            + self.battery_mv.map_or(0, |_| 2)
            + self.update.map_or(0, |_| UpdateState::LEN)
            + self.heap_free.map_or(0, |_| 4)
    }

    fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.len())?;
        let unix = self.unix.map_or(0, |_| UNIX);
        let battery = self.battery_mv.map_or(0, |_| BATTERY);
        let update = self.update.map_or(0, |_| UPDATE);
        let heap = self.heap_free.map_or(0, |_| HEAP);
        w.u8(unix | battery | update | heap | (self.quality as u8) << 2);
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
        if let Some(update) = self.update {
            update.emit(&mut w);
        }
        if let Some(bytes) = self.heap_free {
            w.u32(bytes);
        }
        Ok(w.end())
    }
}

impl UpdateState {
    const LEN: usize = 4 + 4 + 1;

    fn parse(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (serial, refused, why) = (r.u32()?, r.u32()?, r.u8()?);
        let refused = match (refused, UpdateRefused::from_number(why & !TRIAL)) {
            (0, None) if why & !TRIAL == 0 => None,
            (1.., Some(why)) => Some((refused, why)),
            _ => return Err(ParseError::Malformed(Field::Update)),
        };
        Ok(Self { serial, is_trial: why & TRIAL != 0, refused })
    }

    fn emit(&self, w: &mut Writer<'_>) {
        let (refused, why) = self.refused.map_or((0, 0), |(serial, why)| (serial, why as u8));
        w.u32(self.serial);
        w.u32(refused);
        w.u8(why | if self.is_trial { TRIAL } else { 0 });
    }
}

impl UpdateRefused {
    /// The reason of this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Signature,
            2 => Self::Older,
            3 => Self::TooLong,
            4 => Self::Model,
            5 => Self::Channels,
            6 => Self::NotAccepted,
            7 => Self::Boots,
            _ => return None,
        })
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
