//! Secrets that machines make: 256 random bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::store::SecretHash;
use crate::vault::{VaultError, random};

/// What tokens begin with, so that those who look for secrets in the wrong places know one when they see it.
const TOKEN_PREFIX: &str = "kinglet_";
/// 32 bytes in base64url.
const TEXT_LEN: usize = 43;

/// 256 random bits that let somebody in.
pub(crate) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut bits = Zeroizing::new([0; 32]);
        random(bits.as_mut_slice())?;
        Ok(Self(bits))
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(*self.0).into())
    }

    /// As a program brings it.
    pub(crate) fn as_token(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{TOKEN_PREFIX}{}", *self.as_text()))
    }

    pub(crate) fn from_token(token: &[u8]) -> Option<Self> {
        Self::from_text(token.strip_prefix(TOKEN_PREFIX.as_bytes())?)
    }

    /// As it stands in a cookie.
    pub(crate) fn as_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut bits = Zeroizing::new([0; 32]);
        let n = URL_SAFE_NO_PAD.decode_slice(text, bits.as_mut_slice()).ok()?;
        (n == 32).then_some(Self(bits))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_went_and_shows_itself_to_nobody() {
        let secret = Secret::random().unwrap();
        let (token, text) = (secret.as_token(), secret.as_text());
        assert_eq!(Secret::from_token(token.as_bytes()).unwrap().hash(), secret.hash());
        assert_eq!(Secret::from_text(text.as_bytes()).unwrap().hash(), secret.hash());
        assert_ne!(Secret::random().unwrap().hash(), secret.hash());
        let shown = format!("{secret:?} {:?}", secret.hash());
        assert_eq!(shown, "Secret(…) SecretHash(…)");
        for len in 0..token.len() {
            assert!(Secret::from_token(&token.as_bytes()[..len]).is_none(), "{len}");
        }
        for other in [&b"kinglet_"[..], &[b'='; 51], &[0xff; 43], &[b'A'; 44], b"KINGLET_"] {
            assert!(Secret::from_token(other).is_none());
        }
    }
}
