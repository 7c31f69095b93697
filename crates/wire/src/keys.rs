//! The key schedule: HKDF-SHA-256 (RFC 5869), every field of every `info` of fixed length or led by its length.
//!
//! ```text
//! PRK               = Extract(salt = "kinglet/1", ikm = device key)
//! join key          = Expand(PRK, b8("join") b8(id), 32)
//! generation secret = Expand(PRK, b8("generation") u32(g) b8(id) device nonce 16  server nonce 16, 32)
//! static secret     = Expand(PRK, b8("static") b8(id), 32)          one-way links: generation 0
//! access token      = Expand(PRK, b8("access") b8(id), 32)          the password at a broker
//! up key, iv        = Expand(secret, b8("up") b8("key" | "iv") u8(suite), 16 | 13)
//! down key, iv      = Expand(secret, b8("down") b8("key" | "iv") u8(suite) server run 12, 16 | 13)
//! ```
//!
//! `b8(x)` is one byte of length, then `x`; numbers are big-endian. Secrets are wiped when dropped and have
//! neither `Debug` nor `Display` nor `Clone`.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use core::fmt;

use crate::frame::{ServerRun, Suite};
use crate::{Field, OpenError, ParseError, TAG_LEN};

/// Bytes of a device key, a join key, a generation secret.
pub const SECRET_LEN: usize = 32;
/// Bytes of an AES-128 key.
pub const KEY_LEN: usize = 16;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 13;
/// Bytes of the random numbers both ends put into a join.
pub const JOIN_NONCE_LEN: usize = 16;
/// Most bytes of a device id.
pub const ID_LEN_MAX: usize = 32;

const SALT: &[u8] = b"kinglet/1";

/// A random number one end puts into a join; never used twice.
pub type JoinNonce = [u8; JOIN_NONCE_LEN];

/// A device's full id: 1 to 32 of `A–Z a–z 0–9 . _ : -`, the first a letter or digit.
///
/// So it is safe as it stands in a topic, a path, a log line and a file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    // Unused bytes are zero, so the derived comparisons hold.
    bytes: [u8; ID_LEN_MAX],
    len: u8,
}

/// A device's key: 32 random bytes, given to it when it was provisioned.
pub struct DeviceKey([u8; SECRET_LEN]);

/// Authenticates joins.
pub struct JoinKey([u8; SECRET_LEN]);

/// What lets a device in where a transport asks for a password (MQTT). It opens and seals nothing: whoever reads it
/// on the way can speak in the device's name, but not a frame that is taken.
pub struct AccessToken([u8; SECRET_LEN]);

/// What both ends hold after a join; makes the keys of one generation.
pub struct GenerationSecret([u8; SECRET_LEN]);

/// Seals and opens frames of one direction under one generation.
pub struct LinkKey {
    direction: Direction,
    suite: Suite,
    key: [u8; KEY_LEN],
    iv: [u8; NONCE_LEN],
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The device.
    Up = 0,
    /// The server.
    Down = 1,
}

impl DeviceId {
    /// `None` if the text is no device id.
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes()).ok()
    }

    /// Checks the bytes of a device id.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let fits = (1..=ID_LEN_MAX).contains(&text.len())
            && text[0].is_ascii_alphanumeric()
            && text.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b));
        if !fits {
            return Err(ParseError::Malformed(Field::DeviceId));
        }
        let mut bytes = [0; ID_LEN_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self { bytes, len: text.len() as u8 })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The id as bytes, 1 to 32.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl DeviceKey {
    /// Takes the key; wipe your own copy.
    pub fn from_bytes(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// The key itself, for those who store it.
    pub fn expose_secret(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// The key that authenticates this device's joins.
    pub fn join_key(&self, id: &DeviceId) -> JoinKey {
        let mut key = JoinKey([0; SECRET_LEN]);
        self.expand(&[&[4], b"join", &[id.len], id.as_bytes()], &mut key.0);
        key
    }

    /// The secret of `generation` (1 or more), made by the join with these nonces.
    pub fn generation_secret(
        &self,
        id: &DeviceId,
        generation: u32,
        device_nonce: &JoinNonce,
        server_nonce: &JoinNonce,
    ) -> GenerationSecret {
        let mut secret = GenerationSecret([0; SECRET_LEN]);
        let g = generation.to_be_bytes();
        let info: [&[u8]; 7] =
            [&[10], b"generation", &g, &[id.len], id.as_bytes(), device_nonce, server_nonce];
        self.expand(&info, &mut secret.0);
        secret
    }

    /// The secret of generation 0: for links that cannot answer, where no join is possible.
    pub fn static_secret(&self, id: &DeviceId) -> GenerationSecret {
        let mut secret = GenerationSecret([0; SECRET_LEN]);
        self.expand(&[&[6], b"static", &[id.len], id.as_bytes()], &mut secret.0);
        secret
    }

    /// What lets this device in where a transport asks for a password.
    pub fn access_token(&self, id: &DeviceId) -> AccessToken {
        let mut token = AccessToken([0; SECRET_LEN]);
        self.expand(&[&[6], b"access", &[id.len], id.as_bytes()], &mut token.0);
        token
    }

    fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        let (mut prk, hkdf) = Hkdf::<Sha256>::extract(Some(SALT), &self.0);
        prk.as_mut_slice().zeroize();
        expand(&hkdf, info, out);
    }
}

impl AccessToken {
    /// The token as a password: 64 hexadecimal digits, lower case.
    pub fn password(&self) -> [u8; 2 * SECRET_LEN] {
        let mut text = [0; 2 * SECRET_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(
                &[byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]),
            );
        }
        text
    }
}

impl GenerationSecret {
    /// Takes a stored secret; wipe your own copy.
    pub fn from_bytes(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// The secret itself, for those who store it.
    pub fn expose_secret(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// The key of what the device sends.
    pub fn up(&self, suite: Suite) -> LinkKey {
        self.link(Direction::Up, suite, &[])
    }

    /// The key of what the server process with these 12 random bytes sends.
    pub fn down(&self, suite: Suite, run: &ServerRun) -> LinkKey {
        self.link(Direction::Down, suite, run)
    }

    fn link(&self, direction: Direction, suite: Suite, run: &[u8]) -> LinkKey {
        let mut link = LinkKey { direction, suite, key: [0; KEY_LEN], iv: [0; NONCE_LEN] };
        // Rather stop than go on with a key of zeros, though neither this nor `expand` can fail.
        let hkdf = Hkdf::<Sha256>::from_prk(&self.0).expect("a secret has the length of a PRK");
        let label: &[u8] = match direction {
            Direction::Up => b"\x02up",
            Direction::Down => b"\x04down",
        };
        expand(&hkdf, &[label, b"\x03key", &[suite as u8], run], &mut link.key);
        expand(&hkdf, &[label, b"\x02iv", &[suite as u8], run], &mut link.iv);
        link
    }
}

impl LinkKey {
    /// Who speaks under this key.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The suite it is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    pub(crate) fn iv(&self) -> &[u8; NONCE_LEN] {
        &self.iv
    }
}

impl JoinKey {
    /// Takes a stored join key; wipe your own copy.
    pub fn from_bytes(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// The key itself, for those who store it.
    pub fn expose_secret(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// HMAC-SHA-256 over `bytes`, cut to its first 16 bytes.
    pub(crate) fn mac(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&self.hmac(bytes).finalize().into_bytes()[..TAG_LEN]);
        tag
    }

    /// Checks the MAC in constant time.
    pub(crate) fn verify(&self, bytes: &[u8], tag: &[u8; TAG_LEN]) -> Result<(), OpenError> {
        self.hmac(bytes).verify_truncated_left(tag).map_err(|_| OpenError)
    }

    fn hmac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        // HMAC fills its key up with zeros to one block of the hash (RFC 2104).
        let mut block = [0; 64];
        block[..SECRET_LEN].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&block).into());
        block.zeroize();
        mac.update(bytes);
        mac
    }
}

impl Drop for DeviceKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for JoinKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for AccessToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for GenerationSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for LinkKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

fn expand(hkdf: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    // HKDF-SHA-256 gives up to 8160 bytes.
    hkdf.expand_multi_info(info, out).expect("at most 32 bytes are asked for");
}
