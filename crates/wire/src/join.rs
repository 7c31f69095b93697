//! Joins: how a device and a server agree on a new generation of keys.
//!
//! ```text
//! request  b0 │ id length 1 │ id 1–32 │ device nonce 16 │ known generation u32 │ fingerprint 16 │ MAC 16
//! accept   b0 │ 00 │ short id u32 │ device nonce 16 │ server nonce 16 │ generation u32 │ unix ms u48 │ MAC 16
//! ```
//!
//! The MAC is HMAC-SHA-256 under the join key over all bytes before it, cut to 16 bytes.

mod state;

pub use state::{JOIN_STATE_LEN_MAX, JoinError, JoinState, Joined, PENDING_MAX, REMEMBERED_MAX};

use crate::cursor::{Reader, Writer};
use crate::frame::{Kind, ShortId, Suite, kind_of};
use crate::keys::{DeviceId, DeviceKey, GenerationSecret, ID_LEN_MAX, JoinKey, JoinNonce};
use crate::payload::Millis;
use crate::{BufferTooSmall, Field, Fingerprint, OpenError, ParseError, TAG_LEN};

/// Bytes of an accept.
pub const ACCEPT_LEN: usize = 2 + 4 + 16 + 16 + 4 + 6 + TAG_LEN;
/// Most bytes of a request.
pub const REQUEST_LEN_MAX: usize = 2 + ID_LEN_MAX + 16 + 4 + 16 + TAG_LEN;

/// What a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How it wants to seal.
    pub suite: Suite,
    /// Who it is.
    pub id: DeviceId,
    /// Its random number for this join.
    pub device_nonce: JoinNonce,
    /// The highest generation it knows; 0 if none.
    pub known: u32,
    /// The bundle it holds; all zero if none.
    pub fingerprint: Fingerprint,
}

/// A request whose MAC was not yet checked: good for finding the device's key and for nothing else.
#[derive(Clone, Copy, Debug)]
pub struct RequestFrame<'a> {
    bytes: &'a [u8],
    claimed: Request,
}

/// What a server grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// How both shall seal.
    pub suite: Suite,
    /// The device's number here.
    pub short_id: ShortId,
    /// What was agreed on.
    pub grant: Grant,
}

/// One generation, as a join made it. No secret: the keys also need the device key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Grant {
    /// Its number, 1 or more.
    pub generation: u32,
    /// The device's random number.
    pub device_nonce: JoinNonce,
    /// The server's random number.
    pub server_nonce: JoinNonce,
    /// The server's clock when it granted this.
    pub time: Millis,
}

/// A device's side of one join: keep it until an accept opens, and repeat the same request until then.
#[derive(Clone, Copy, Debug)]
pub struct Joining {
    request: Request,
}

impl Grant {
    /// The secret of this generation.
    pub fn secret(&self, key: &DeviceKey, id: &DeviceId) -> GenerationSecret {
        key.generation_secret(id, self.generation, &self.device_nonce, &self.server_nonce)
    }
}

impl<'a> RequestFrame<'a> {
    /// Reads a request without believing it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        check_kind(bytes, Kind::JoinRequest)?;
        let mut r = Reader::new(bytes);
        let suite = Suite::of(r.u8()?)?;
        let id_len = usize::from(r.u8()?);
        if id_len > ID_LEN_MAX {
            return Err(ParseError::Malformed(Field::DeviceId));
        }
        let claimed = Request {
            suite,
            id: DeviceId::parse(r.take(id_len)?)?,
            device_nonce: r.array()?,
            known: r.u32()?,
            fingerprint: r.array()?,
        };
        r.take(TAG_LEN)?;
        r.end()?;
        Ok(Self { bytes, claimed })
    }

    /// Who it claims to be from.
    pub fn id(&self) -> &DeviceId {
        &self.claimed.id
    }

    /// Checks the MAC; the request is then the device's own (and maybe a replay, see [`JoinState`]).
    pub fn open(&self, key: &JoinKey) -> Result<Request, OpenError> {
        check_mac(self.bytes, key).map(|()| self.claimed)
    }
}

impl Request {
    /// Bytes [`Request::emit`] writes.
    pub fn emit_len(&self) -> usize {
        REQUEST_LEN_MAX - ID_LEN_MAX + self.id.as_bytes().len()
    }

    /// Writes the request with its MAC; gives its length.
    pub fn emit(&self, key: &JoinKey, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, self.emit_len())?;
        let id = self.id.as_bytes();
        w.u8(Kind::JoinRequest.b0(self.suite, false));
        w.u8(id.len() as u8);
        w.put(id);
        w.put(&self.device_nonce);
        w.u32(self.known);
        w.put(&self.fingerprint);
        let mac = key.mac(w.written());
        w.put(&mac);
        Ok(w.end())
    }
}

impl Accept {
    /// Writes the accept with its MAC; gives its length, [`ACCEPT_LEN`].
    pub fn emit(&self, key: &JoinKey, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut w = Writer::new(out, ACCEPT_LEN)?;
        w.u8(Kind::JoinAccept.b0(self.suite, false));
        w.u8(0);
        w.u32(self.short_id.0);
        w.put(&self.grant.device_nonce);
        w.put(&self.grant.server_nonce);
        w.u32(self.grant.generation);
        w.u48(self.grant.time.bits());
        let mac = key.mac(w.written());
        w.put(&mac);
        Ok(w.end())
    }

    /// Reads an accept and checks its MAC. A device uses [`Joining::open`], which also checks that it is the
    /// answer to its own request.
    pub fn open(bytes: &[u8], key: &JoinKey) -> Result<Self, OpenError> {
        let accept = Self::parse(bytes).map_err(|_| OpenError)?;
        check_mac(bytes, key).map(|()| accept)
    }

    fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        check_kind(bytes, Kind::JoinAccept)?;
        let mut r = Reader::new(bytes);
        let suite = Suite::of(r.u8()?)?;
        if r.u8()? != 0 {
            return Err(ParseError::Malformed(Field::Reserved));
        }
        let short_id = ShortId(r.u32()?);
        let (device_nonce, server_nonce) = (r.array()?, r.array()?);
        let generation = r.u32()?;
        if generation == 0 {
            return Err(ParseError::Malformed(Field::Generation));
        }
        let time = Millis::from_bits(r.u48()?);
        r.take(TAG_LEN)?;
        r.end()?;
        let grant = Grant { generation, device_nonce, server_nonce, time };
        Ok(Self { suite, short_id, grant })
    }
}

impl Joining {
    /// Begins a join. `device_nonce`: 16 fresh random bytes. `known`: the highest generation the device knows,
    /// 0 if none.
    pub fn new(id: DeviceId, device_nonce: JoinNonce, known: u32, fingerprint: Fingerprint) -> Self {
        Self { request: Request { suite: Suite::AesCcm16, id, device_nonce, known, fingerprint } }
    }

    /// The request; every repeat has the same bytes.
    pub fn emit(&self, key: &JoinKey, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        self.request.emit(key, out)
    }

    /// The request that is under way.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Opens the answer: authentic, to this request, and of a higher generation than any known.
    ///
    /// The time in it lies between the first sending of this request and now, however often it was repeated.
    pub fn open(&self, bytes: &[u8], key: &JoinKey) -> Result<Accept, OpenError> {
        let accept = Accept::open(bytes, key)?;
        let answers = accept.grant.device_nonce == self.request.device_nonce;
        let newer = accept.grant.generation > self.request.known;
        if answers && newer { Ok(accept) } else { Err(OpenError) }
    }
}

fn check_kind(bytes: &[u8], expected: Kind) -> Result<(), ParseError> {
    let kind = kind_of(bytes)?;
    if kind != expected {
        return Err(ParseError::Kind(kind as u8));
    }
    if bytes[0] & 1 == 1 {
        return Err(ParseError::Malformed(Field::Wide));
    }
    Ok(())
}

fn check_mac(bytes: &[u8], key: &JoinKey) -> Result<(), OpenError> {
    let (signed, mac) = bytes.split_last_chunk::<TAG_LEN>().ok_or(OpenError)?;
    key.verify(signed, mac)
}
