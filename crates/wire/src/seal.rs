//! Sealing and opening a frame in place.
//!
//! The AAD is the `Enc_structure` of COSE_Encrypt0 (RFC 9052, section 5.3), filled in from a fixed template:
//!
//! ```text
//! 83 68 "Encrypt0"
//!    58 LL            protected headers, LL bytes:
//!       A4 01 18 1E          alg 30 (AES-CCM-16-128-128); of suite 1 0A: alg 10 (AES-CCM-16-64-128)
//!          04 58 II id       kid: the full device id, II bytes
//!          06 47 DD C48      partial IV: direction (0 up, 1 down), 48-bit counter
//!          3A 00010000 58 HH header    label -65537: the frame's header, HH bytes
//!    50 fingerprint   external AAD: of a data frame the bundle's fingerprint, else 40 (empty)
//! ```
//!
//! Lengths below 24 are CBOR's short form (`40 + n` without `58`). The nonce is the key's iv XOR the partial IV
//! padded to 13 bytes on the left, as RFC 9052 section 3.1 has it.

use ccm::aead::array::Array;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U8, U13, U16};
use zeroize::Zeroize;

use crate::cipher::Aes128;
use crate::counter::Counter;
use crate::frame::{Frame, FrameRepr, Kind, Suite};
use crate::keys::{DeviceId, Direction, ID_LEN_MAX, LinkKey, NONCE_LEN};
use crate::payload::Content;
use crate::{CONTENT_LEN_MAX, Fingerprint, HEADER_LEN_MAX, OpenError, SealError};

// By reference: round keys that are handed on are copied, and wiped in each place.
type Aes128Ccm<'c> = ccm::Ccm<&'c Aes128, U16, U13>;
type Aes128Ccm8<'c> = ccm::Ccm<&'c Aes128, U8, U13>;

/// What a frame is bound to beyond its own bytes: both ends know it, and it must be the same.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The device, whoever speaks.
    pub id: &'a DeviceId,
    /// The full counter.
    pub counter: Counter,
    /// The fingerprint of the bundle in the frame's slot for data frames, `None` for all others.
    pub bundle: Option<&'a Fingerprint>,
}

/// Seals in place the `content_len` bytes which stand in `buf` from `header.header_len()` on.
///
/// Writes the header before and the tag behind them; gives the length of the frame. Never seal two frames with
/// one key and one counter.
pub fn seal(
    key: &LinkKey,
    header: &FrameRepr,
    bound: &Binding<'_>,
    buf: &mut [u8],
    content_len: usize,
) -> Result<usize, SealError> {
    if content_len > CONTENT_LEN_MAX {
        return Err(SealError::ContentTooLong);
    }
    if key.direction() != header.kind().direction() || key.suite() != header.suite() {
        return Err(SealError::WrongKey);
    }
    if !header.counter().fits(bound.counter) {
        return Err(SealError::WrongCounter);
    }
    if bound.bundle.is_some() != (header.kind() == Kind::Data) {
        return Err(SealError::WrongBundle);
    }
    let suite = key.suite();
    let need = header.header_len() + content_len + suite.tag_len();
    let buf = buf.get_mut(..need).ok_or(SealError::BufferTooSmall { need })?;
    let header_len = header.emit(buf)?;
    let (header, rest) = buf.split_at_mut(header_len);
    let (content, tag) = rest.split_at_mut(content_len);
    let aad = Aad::new(header, key, bound);
    let nonce = nonce(key, bound.counter).into();
    // CCM refuses only content beyond 65,535 bytes.
    let too_long = |_| SealError::ContentTooLong;
    let cipher = Aes128::new(key.key().into());
    match suite {
        Suite::AesCcm16 => {
            let made = Aes128Ccm::from(&cipher)
                .encrypt_inout_detached(&nonce, aad.as_bytes(), content.into())
                .map_err(too_long)?;
            tag.copy_from_slice(&made);
        }
        Suite::AesCcm8 => {
            let made = Aes128Ccm8::from(&cipher)
                .encrypt_inout_detached(&nonce, aad.as_bytes(), content.into())
                .map_err(too_long)?;
            tag.copy_from_slice(&made);
        }
    }
    Ok(need)
}

/// Emits `content` into `buf` and seals it; gives the length of the frame.
pub fn seal_content(
    key: &LinkKey,
    header: &FrameRepr,
    bound: &Binding<'_>,
    content: &impl Content,
    buf: &mut [u8],
) -> Result<usize, SealError> {
    let (at, content_len) = (header.header_len(), content.len());
    let need = at + content_len + header.suite().tag_len();
    if buf.len() < need {
        return Err(SealError::BufferTooSmall { need });
    }
    content.emit(&mut buf[at..])?;
    seal(key, header, bound, buf, content_len)
}

/// Opens a frame in place and gives its content, which lies inside `frame`.
///
/// If it does not open, the content's bytes are zero and nothing else has changed. Keep what you need of the
/// sealed bytes (the tag) before: opening writes over them.
pub fn open<'b>(key: &LinkKey, bound: &Binding<'_>, frame: &'b mut [u8]) -> Result<&'b mut [u8], OpenError> {
    let view = Frame::checked_on(&*frame, key.suite()).map_err(|_| OpenError)?;
    let fits = key.direction() == view.kind().direction()
        && view.counter().fits(bound.counter)
        && bound.bundle.is_some() == (view.kind() == Kind::Data);
    let (header_len, sealed_len) = (view.header_len(), view.sealed().len());
    let (header, rest) = frame.split_at_mut(header_len);
    let (content, tag) = rest.split_at_mut(sealed_len);
    if !fits {
        content.zeroize();
        return Err(OpenError);
    }
    let aad = Aad::new(header, key, bound);
    let nonce = nonce(key, bound.counter).into();
    if open_detached(key, &nonce, aad.as_bytes(), content, tag).is_none() {
        content.zeroize();
        return Err(OpenError);
    }
    Ok(content)
}

fn open_detached(
    key: &LinkKey,
    nonce: &Array<u8, U13>,
    aad: &[u8],
    content: &mut [u8],
    tag: &[u8],
) -> Option<()> {
    let cipher = Aes128::new(key.key().into());
    let content = content.into();
    let opened = match key.suite() {
        Suite::AesCcm16 => {
            let tag = tag.try_into().ok()?;
            Aes128Ccm::from(&cipher).decrypt_inout_detached(nonce, aad, content, tag)
        }
        Suite::AesCcm8 => {
            let tag = tag.try_into().ok()?;
            Aes128Ccm8::from(&cipher).decrypt_inout_detached(nonce, aad, content, tag)
        }
    };
    opened.ok()
}

/// Direction and 48-bit counter, as they stand in the partial IV.
pub(crate) fn partial_iv(direction: Direction, counter: Counter) -> [u8; 7] {
    let [_, _, a, b, c, d, e, f] = counter.get().to_be_bytes();
    [direction as u8, a, b, c, d, e, f]
}

pub(crate) fn nonce(key: &LinkKey, counter: Counter) -> [u8; NONCE_LEN] {
    let mut nonce = *key.iv();
    let partial = partial_iv(key.direction(), counter);
    for (n, p) in nonce[NONCE_LEN - partial.len()..].iter_mut().zip(partial) {
        *n ^= p;
    }
    nonce
}

const CONTEXT: &[u8] = b"\x83\x68Encrypt0";
/// Most bytes of the protected headers: map and alg, kid, partial IV, frame header.
pub(crate) const PROTECTED_LEN_MAX: usize = 4 + (3 + ID_LEN_MAX) + 9 + (5 + 1 + HEADER_LEN_MAX);
const AAD_LEN_MAX: usize = CONTEXT.len() + 2 + PROTECTED_LEN_MAX + 17;

// Above 23 bytes CBOR needs a second byte of length; a header never does.
const _: () = assert!(HEADER_LEN_MAX < 24);
const _: () = assert!(PROTECTED_LEN_MAX < 256);

/// The `Enc_structure` of one frame.
pub(crate) struct Aad {
    bytes: [u8; AAD_LEN_MAX],
    len: usize,
}

impl Aad {
    pub(crate) fn new(header: &[u8], key: &LinkKey, bound: &Binding<'_>) -> Self {
        let mut aad = Self { bytes: [0; AAD_LEN_MAX], len: 0 };
        aad.put(CONTEXT);
        // The protected headers have 31 bytes at least, so that their length takes two.
        aad.put(&[0x58, 0]);
        let at = aad.len;
        aad.put_protected(header, key.direction(), key.suite(), bound);
        aad.bytes[at - 1] = (aad.len - at) as u8;
        aad.put_bstr(bound.bundle.map_or(&[], |f| &f[..]));
        aad
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The protected headers of one frame, as a CBOR map.
    fn put_protected(&mut self, header: &[u8], direction: Direction, suite: Suite, bound: &Binding<'_>) {
        self.put(&[0xa4, 0x01]);
        self.put(suite.cose_alg());
        self.put(&[0x04]);
        self.put_bstr(bound.id.as_bytes());
        self.put(&[0x06]);
        self.put_bstr(&partial_iv(direction, bound.counter));
        self.put(&[0x3a, 0x00, 0x01, 0x00, 0x00]);
        self.put_bstr(header);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_bstr(&mut self, bytes: &[u8]) {
        let (head, head_len) = bstr_head(bytes.len());
        self.put(&head[..head_len]);
        self.put(bytes);
    }
}

/// The protected headers of one frame alone.
#[cfg(any(test, feature = "cose"))]
pub(crate) struct Protected(Aad);

#[cfg(any(test, feature = "cose"))]
impl Protected {
    pub(crate) fn new(header: &[u8], direction: Direction, suite: Suite, bound: &Binding<'_>) -> Self {
        let mut map = Aad { bytes: [0; AAD_LEN_MAX], len: 0 };
        map.put_protected(header, direction, suite, bound);
        Self(map)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The head of a CBOR byte string of up to 65,535 bytes, and how many bytes of it count.
pub(crate) fn bstr_head(len: usize) -> ([u8; 3], usize) {
    match len {
        0..=23 => ([0x40 | len as u8, 0, 0], 1),
        24..=255 => ([0x58, len as u8, 0], 2),
        _ => ([0x59, (len >> 8) as u8, len as u8], 3),
    }
}
