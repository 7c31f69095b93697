//! What a board is given once, over its serial port, and keeps in flash: who it is, how to reach the server, what is
//! wired to it, and its bundle's model.
//!
//! One record with one CRC: a board has all of it or nothing. [`Slots`] keeps it so that a power cut leaves the old or
//! the new record, and [`Line`] and [`Receiver`] bring it over a serial port.
//!
//! ```text
//! record   "KGP1" │ field … │ CRC-32 of all before it, u32
//! field    tag u8 │ len u16 │ bytes                                    (little-endian, each tag at most once)
//! tag      1 id │ 2 key, 32 │ 3 Wi-Fi name │ 4 Wi-Fi password │ 5 server │ 6 sensor │ 7 model │ 8 key of updates, 32
//!          9 sleeps between samples, 1 byte: 1 │ 10 SHA-256 of the server's certificate, 32
//! ```
//!
//! A tag this version does not know refuses the record: a setting that would be passed over in silence is worse.

mod serial;
mod slots;

pub use serial::{DATA_LEN_MAX, LINE_LEN_MAX, Line, Receiver, Refusal, Reply};
pub use slots::Slots;

use crate::Identity;
use kinglet_wire::keys::{DeviceId, DeviceKey, SECRET_LEN};
use kinglet_wire::update::UpdateKey;
use zeroize::Zeroize;

/// Longest record, in bytes.
pub const RECORD_LEN_MAX: usize = 60 * 1024;
/// Longest name of a Wi-Fi network, in bytes.
pub const SSID_LEN_MAX: usize = 32;
/// Longest Wi-Fi password, in bytes.
pub const PASSWORD_LEN_MAX: usize = 64;
/// Longest server address, in bytes.
pub const SERVER_LEN_MAX: usize = 128;
/// Longest description of a sensor, in bytes.
pub const SENSOR_LEN_MAX: usize = 64;

const MAGIC: [u8; 4] = *b"KGP1";
pub(crate) const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);
const CRC_LEN: usize = 4;

const TAG_ID: u8 = 1;
const TAG_KEY: u8 = 2;
const TAG_SSID: u8 = 3;
const TAG_PASSWORD: u8 = 4;
const TAG_SERVER: u8 = 5;
const TAG_SENSOR: u8 = 6;
const TAG_MODEL: u8 = 7;
const TAG_UPDATE_KEY: u8 = 8;
const TAG_SLEEP: u8 = 9;
const TAG_PIN: u8 = 10;
const TAG_MAX: usize = TAG_PIN as usize;
const SLEEPS: &[u8] = &[1];

/// What a board is given. Nothing is asked for here: firmware knows what it cannot do without. No `Debug`: it holds
/// a key and a password.
#[derive(Default)]
pub struct Given<'a> {
    /// The device's id.
    pub id: Option<DeviceId>,
    /// The device's key.
    pub key: Option<DeviceKey>,
    /// Name of the Wi-Fi network; empty for none.
    pub ssid: &'a str,
    /// Its password; empty for an open network.
    pub password: &'a str,
    /// The server, as `http://192.0.2.7:8470`.
    pub server: &'a str,
    /// What is wired to which pins, as firmware reads it.
    pub sensor: &'a str,
    /// The device's part of a bundle ([`kinglet_codec::Model::parse`]).
    pub model: &'a [u8],
    /// Whose updates of it the board takes; `None` for nobody's.
    pub update_key: Option<UpdateKey>,
    /// The board sleeps between samples.
    pub sleeps: bool,
    /// SHA-256 of the one certificate the board believes; `None` where no TLS is spoken.
    pub pin: Option<[u8; 32]>,
}

/// Why bytes are no record, or a record cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvisionError {
    /// Not a record of this version.
    Magic,
    /// Bytes were damaged or cut on their way.
    Checksum,
    /// A setting this version does not know, or one that stands there twice.
    Setting(u8),
    /// A setting that is too long or is none.
    Value(u8),
    /// The record is longer than [`RECORD_LEN_MAX`], or than the buffer for it.
    TooLong,
}

impl<'a> Given<'a> {
    /// Who the board is, if it was given both parts of that.
    pub fn identity(&self) -> Option<Identity> {
        let key = DeviceKey::from_bytes(*self.key.as_ref()?.expose_secret());
        Some(Identity { id: self.id?, key })
    }

    /// Bytes of the record.
    pub fn record_len(&self) -> usize {
        let fields: usize = self.fields().iter().flatten().map(|(_, value)| 3 + value.len()).sum();
        MAGIC.len() + fields + CRC_LEN
    }

    /// Writes the record to the front of `out`; gives its length.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, ProvisionError> {
        let len = self.record_len();
        if len > RECORD_LEN_MAX || out.len() < len {
            return Err(ProvisionError::TooLong);
        }
        out[..MAGIC.len()].copy_from_slice(&MAGIC);
        let mut at = MAGIC.len();
        for (tag, value) in self.fields().into_iter().flatten() {
            check_len(tag, value)?;
            out[at] = tag;
            // A record is shorter than 64 KiB, and so is each of its values.
            out[at + 1..at + 3].copy_from_slice(&(value.len() as u16).to_le_bytes());
            out[at + 3..at + 3 + value.len()].copy_from_slice(value);
            at += 3 + value.len();
        }
        let crc = CRC.checksum(&out[..at]);
        out[at..len].copy_from_slice(&crc.to_le_bytes());
        Ok(len)
    }

    /// Reads a record; `bytes` end with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ProvisionError> {
        if bytes.len() > RECORD_LEN_MAX {
            return Err(ProvisionError::TooLong);
        }
        let (body, crc) = bytes.split_last_chunk::<CRC_LEN>().ok_or(ProvisionError::Magic)?;
        let mut rest = body.strip_prefix(&MAGIC).ok_or(ProvisionError::Magic)?;
        if CRC.checksum(body) != u32::from_le_bytes(*crc) {
            return Err(ProvisionError::Checksum);
        }
        let mut given = Self::default();
        let mut seen = [false; TAG_MAX + 1];
        while let [tag, len0, len1, behind @ ..] = rest {
            let tag = *tag;
            let value;
            (value, rest) = behind
                .split_at_checked(u16::from_le_bytes([*len0, *len1]).into())
                .ok_or(ProvisionError::Value(tag))?;
            match seen.get_mut(usize::from(tag)) {
                Some(seen @ false) if tag > 0 => *seen = true,
                _ => return Err(ProvisionError::Setting(tag)),
            }
            check_len(tag, value)?;
            given.take(tag, value).ok_or(ProvisionError::Value(tag))?;
        }
        if rest.is_empty() { Ok(given) } else { Err(ProvisionError::Value(0)) }
    }

    fn take(&mut self, tag: u8, value: &'a [u8]) -> Option<()> {
        let text = || core::str::from_utf8(value).ok().filter(|text| !text.contains(char::is_control));
        match tag {
            TAG_ID => self.id = Some(DeviceId::new(text()?)?),
            TAG_KEY => {
                let mut key: [u8; SECRET_LEN] = value.try_into().ok()?;
                self.key = Some(DeviceKey::from_bytes(key));
                key.zeroize();
            }
            TAG_SSID => self.ssid = text()?,
            TAG_PASSWORD => self.password = text()?,
            TAG_SERVER => self.server = text()?,
            TAG_SENSOR => self.sensor = text()?,
            TAG_UPDATE_KEY => self.update_key = Some(UpdateKey::from_bytes(value.try_into().ok()?)),
            TAG_SLEEP => self.sleeps = (value == SLEEPS).then_some(true)?,
            TAG_PIN => self.pin = Some(value.try_into().ok()?),
            _ => self.model = value,
        }
        Some(())
    }

    fn fields(&self) -> [Option<(u8, &[u8])>; TAG_MAX] {
        let text = |tag, text: &'a str| (!text.is_empty()).then_some((tag, text.as_bytes()));
        [
            self.id.as_ref().map(|id| (TAG_ID, id.as_bytes())),
            self.key.as_ref().map(|key| (TAG_KEY, &key.expose_secret()[..])),
            text(TAG_SSID, self.ssid),
            text(TAG_PASSWORD, self.password),
            text(TAG_SERVER, self.server),
            text(TAG_SENSOR, self.sensor),
            (!self.model.is_empty()).then_some((TAG_MODEL, self.model)),
            self.update_key.as_ref().map(|key| (TAG_UPDATE_KEY, &key.as_bytes()[..])),
            self.sleeps.then_some((TAG_SLEEP, SLEEPS)),
            self.pin.as_ref().map(|pin| (TAG_PIN, &pin[..])),
        ]
    }
}

fn check_len(tag: u8, value: &[u8]) -> Result<(), ProvisionError> {
    let len_max = match tag {
        TAG_SSID => SSID_LEN_MAX,
        TAG_PASSWORD => PASSWORD_LEN_MAX,
        TAG_SERVER => SERVER_LEN_MAX,
        TAG_SENSOR => SENSOR_LEN_MAX,
        _ => RECORD_LEN_MAX,
    };
    if value.len() <= len_max { Ok(()) } else { Err(ProvisionError::Value(tag)) }
}

impl core::fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = |tag: u8| match tag {
            TAG_ID => "device id",
            TAG_KEY => "device key",
            TAG_SSID => "Wi-Fi name",
            TAG_PASSWORD => "Wi-Fi password",
            TAG_SERVER => "server address",
            TAG_SENSOR => "sensor",
            TAG_MODEL => "model",
            TAG_UPDATE_KEY => "key of updates",
            TAG_SLEEP => "sleep",
            TAG_PIN => "pin of the certificate",
            _ => "last setting",
        };
        match self {
            Self::Magic => f.write_str("not a provisioning of this version"),
            Self::Checksum => f.write_str("its checksum is wrong: bytes were lost on the way"),
            Self::Setting(tag) => write!(f, "setting {tag} is unknown or stands there twice"),
            Self::Value(tag) => write!(f, "its {} is too long or none", name(*tag)),
            Self::TooLong => write!(f, "it is longer than {RECORD_LEN_MAX} bytes"),
        }
    }
}

impl core::error::Error for ProvisionError {}

#[cfg(test)]
mod tests;
