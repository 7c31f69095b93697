//! The first byte of every frame, and the small types a header is made of.

use crate::keys::Direction;
use crate::{ParseError, VERSION};

/// What a frame is. Three bits; 6 and 7 are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Device to server: a coded window.
    Data = 0,
    /// Device to server: bundle, boot and losses.
    Status = 1,
    /// Device to server: asks for a new generation ([`crate::join`]; not sealed, carries a MAC).
    JoinRequest = 2,
    /// Server to device: grants a new generation ([`crate::join`]; not sealed, carries a MAC).
    JoinAccept = 3,
    /// Server to device: something to do.
    Command = 4,
    /// Server to device: what is stored, and the time.
    Ack = 5,
}

/// Which algorithms seal a frame. Two bits; 2 (ChaCha20-Poly1305) is reserved, and refused like 3. A link speaks one
/// suite and refuses the others: nobody can talk two ends into a shorter tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128-CCM, 13-byte nonce, 16-byte tag; COSE algorithm 30.
    AesCcm16 = 0,
    /// AES-128-CCM, 13-byte nonce, 8-byte tag; COSE algorithm 10. In LoRaWAN payloads alone ([`crate::lorawan`]).
    AesCcm8 = 1,
}

/// A device's number on this server, handed out with the join. Finds the full id in one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub u32);

/// Names one of a device's 16 latest bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(u8);

/// 12 random bytes a server process draws once at its start. They keep the nonces of all processes apart.
pub type ServerRun = [u8; 12];

/// The kind of any frame, joins included: the first byte of every door. Refuses unknown versions, types, suites.
pub fn kind_of(bytes: &[u8]) -> Result<Kind, ParseError> {
    kind_on(bytes, Suite::AesCcm16)
}

/// As [`kind_of`], on a link that speaks `suite` and no other.
pub fn kind_on(bytes: &[u8], suite: Suite) -> Result<Kind, ParseError> {
    let &b0 = bytes.first().ok_or(ParseError::NeedMore { at_least: 1 })?;
    if b0 >> 6 != VERSION {
        return Err(ParseError::Version(b0 >> 6));
    }
    let kind = match (b0 >> 3) & 7 {
        0 => Kind::Data,
        1 => Kind::Status,
        2 => Kind::JoinRequest,
        3 => Kind::JoinAccept,
        4 => Kind::Command,
        5 => Kind::Ack,
        n => return Err(ParseError::Kind(n)),
    };
    match (b0 >> 1) & 3 {
        n if n == suite as u8 => Ok(kind),
        n => Err(ParseError::Suite(n)),
    }
}

/// The four bits of a generation that a header carries.
pub const fn low4(generation: u32) -> u8 {
    (generation & 15) as u8
}

impl Kind {
    /// Who sends it.
    pub fn direction(self) -> Direction {
        match self {
            Self::Data | Self::Status | Self::JoinRequest => Direction::Up,
            Self::JoinAccept | Self::Command | Self::Ack => Direction::Down,
        }
    }

    pub(crate) fn b0(self, suite: Suite, wide: bool) -> u8 {
        VERSION << 6 | (self as u8) << 3 | (suite as u8) << 1 | u8::from(wide)
    }
}

impl Suite {
    /// Bytes of the tag.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AesCcm16 => crate::TAG_LEN,
            Self::AesCcm8 => 8,
        }
    }

    /// Its number among COSE's algorithms (RFC 9053, table 6), in CBOR.
    pub(crate) const fn cose_alg(self) -> &'static [u8] {
        match self {
            Self::AesCcm16 => &[0x18, 30],
            Self::AesCcm8 => &[10],
        }
    }

    /// The suite of a frame with this first byte.
    pub(crate) fn of(b0: u8) -> Result<Self, ParseError> {
        match (b0 >> 1) & 3 {
            0 => Ok(Self::AesCcm16),
            1 => Ok(Self::AesCcm8),
            n => Err(ParseError::Suite(n)),
        }
    }
}

impl Slot {
    /// `None` above 15.
    pub const fn new(n: u8) -> Option<Self> {
        if n < 16 { Some(Self(n)) } else { None }
    }

    /// The number, below 16.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The low four bits.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }

    /// The slot of the next bundle, round robin.
    pub const fn next(self) -> Self {
        Self((self.0 + 1) % 16)
    }
}
