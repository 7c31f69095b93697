//! An update of the bundle: what is said of it, and who signed that.
//!
//! ```text
//! update   version 1 │ serial u32 │ model length u32 │ identity 32 │ signature 64
//! ```
//!
//! The signature is Ed25519 (RFC 8032) over `b8("kinglet/1 update")` and the 41 bytes before it. It stands for the bytes
//! a device keeps, which may therefore come from anywhere and over any link. Whoever signs needs no server, and a server
//! needs no key that signs. Who makes two updates gives the later one the higher serial: no device goes back.

use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use zeroize::Zeroize;

use crate::cursor::{Reader, Writer};
use crate::{Field, Fingerprint, OpenError, ParseError};

/// Bytes of a signed update.
pub const UPDATE_LEN: usize = SAID_LEN + SIGNATURE_LEN;
/// Bytes of a key: of what signs, and of what verifies.
pub const UPDATE_KEY_LEN: usize = 32;

const SAID_LEN: usize = 1 + 4 + 4 + 32;
const SIGNATURE_LEN: usize = 64;
const VERSION: u8 = 1;
const LABEL: &[u8] = b"\x10kinglet/1 update";

/// What is said of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Grows from update to update; 1 or more.
    pub serial: u32,
    /// Bytes of the model, the part of a bundle that a device keeps.
    pub model_len: u32,
    /// SHA-256 of those bytes.
    pub identity: [u8; 32],
}

/// An update with its signature, which was not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedUpdate {
    said: Update,
    signature: [u8; SIGNATURE_LEN],
}

/// Verifies updates. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateKey([u8; UPDATE_KEY_LEN]);

/// Signs updates. It never leaves the machine on which bundles are signed.
pub struct SigningKey([u8; UPDATE_KEY_LEN]);

impl Update {
    /// What data frames made with it are bound to.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&self.identity[..16]);
        fingerprint
    }

    /// The bytes that are signed.
    fn said(&self) -> [u8; LABEL.len() + SAID_LEN] {
        let mut out = [0; LABEL.len() + SAID_LEN];
        let len = out.len();
        // The buffer has the length it asks for.
        if let Ok(mut w) = Writer::new(&mut out, len) {
            w.put(LABEL);
            w.u8(VERSION);
            w.u32(self.serial);
            w.u32(self.model_len);
            w.put(&self.identity);
        }
        out
    }
}

impl SignedUpdate {
    /// Reads what [`SignedUpdate::to_bytes`] wrote. Nothing of it can be trusted before [`SignedUpdate::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        match r.u8()? {
            VERSION => {}
            other => return Err(ParseError::Version(other)),
        }
        let said = Update { serial: r.u32()?, model_len: r.u32()?, identity: r.array()? };
        let signature = r.array()?;
        r.end()?;
        if said.serial == 0 || said.model_len == 0 {
            return Err(ParseError::Malformed(Field::Update));
        }
        Ok(Self { said, signature })
    }

    /// The bytes.
    pub fn to_bytes(&self) -> [u8; UPDATE_LEN] {
        let mut out = [0; UPDATE_LEN];
        out[..SAID_LEN].copy_from_slice(&self.said.said()[LABEL.len()..]);
        out[SAID_LEN..].copy_from_slice(&self.signature);
        out
    }

    /// What it says, whoever said so: for people, and for servers that pass it on.
    pub fn unverified(&self) -> &Update {
        &self.said
    }

    /// What it says, if `key` belongs to who signed it.
    pub fn verify(&self, key: &UpdateKey) -> Result<Update, OpenError> {
        let signature = Signature::new(self.signature);
        PublicKey::new(key.0).verify(self.said.said(), &signature).map_err(|_| OpenError)?;
        Ok(self.said)
    }
}

impl UpdateKey {
    /// A key from its bytes; a bad one verifies nothing.
    pub const fn from_bytes(bytes: [u8; UPDATE_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; UPDATE_KEY_LEN] {
        &self.0
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SigningKey {
    /// A key from 32 random bytes.
    pub const fn from_bytes(seed: [u8; UPDATE_KEY_LEN]) -> Self {
        Self(seed)
    }

    /// Those bytes, for the file they are kept in.
    pub const fn expose_secret(&self) -> &[u8; UPDATE_KEY_LEN] {
        &self.0
    }

    /// What devices verify with.
    pub fn public(&self) -> UpdateKey {
        UpdateKey(*KeyPair::from_seed(Seed::new(self.0)).pk)
    }

    /// Signs; the same update gives the same bytes.
    pub fn sign(&self, update: &Update) -> SignedUpdate {
        let pair = KeyPair::from_seed(Seed::new(self.0));
        let signature = *pair.sk.sign(update.said(), None);
        SignedUpdate { said: *update, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let mut out = [0; N];
        for (at, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        }
        out
    }

    fn signed() -> (SigningKey, Update, SignedUpdate) {
        let key = SigningKey::from_bytes([3; 32]);
        let update = Update { serial: 7, model_len: 4711, identity: [9; 32] };
        let signed = key.sign(&update);
        (key, update, signed)
    }

    /// RFC 8032, section 7.1, tests 1 and 2: the crate signs what the RFC says.
    #[test]
    fn the_signature_is_that_of_the_rfc() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &b""[..],
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &[0x72][..],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let key = SigningKey::from_bytes(hex(seed));
            assert_eq!(key.public().as_bytes(), &hex::<32>(public));
            let pair = KeyPair::from_seed(Seed::new(hex(seed)));
            assert_eq!(*pair.sk.sign(message, None), hex::<64>(signature));
        }
    }

    #[test]
    fn what_was_signed_is_read_and_verified() {
        let (key, update, signed) = signed();
        let read = SignedUpdate::parse(&signed.to_bytes()).unwrap();
        assert_eq!((read, *read.unverified()), (signed, update));
        assert_eq!(read.verify(&key.public()), Ok(update));
        assert_eq!(read.verify(&SigningKey::from_bytes([4; 32]).public()), Err(OpenError));
        assert_eq!(read.verify(&UpdateKey::from_bytes([0; 32])), Err(OpenError));
    }

    #[test]
    fn a_flip_of_any_bit_and_every_other_length_is_refused() {
        let (key, _, signed) = signed();
        let whole = signed.to_bytes();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = SignedUpdate::parse(&bytes);
            assert!(read.is_err() || read.unwrap().verify(&key.public()).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            let read = SignedUpdate::parse(&whole[..len]);
            assert!(matches!(read, Err(ParseError::NeedMore { .. })), "cut to {len}");
        }
        assert_eq!(SignedUpdate::parse(&[&whole[..], &[0]].concat()), Err(ParseError::TooLong));
    }
}
