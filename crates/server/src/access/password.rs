//! Passwords: argon2id (RFC 9106) with 19 MiB, two passes and one lane, the least OWASP's password storage cheat sheet
//! advises. That takes tens of milliseconds, so few are hashed at once and none on the threads that answer.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::AccessError;
use crate::store::PasswordHash;
use crate::vault::random;

/// How many bytes a password has.
pub const PASSWORD_LEN: RangeInclusive<usize> = 10..=256;

/// Hashed at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// How long somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a password is compared with where there is no such user, so that it takes as long: a hash with the same
/// parameters, of a password nobody has.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$a2luZ2xldG5vYm9keTAx$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

pub(super) struct Hashing {
    turns: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// Too many are being hashed.
pub(super) struct Busy;

impl Hashing {
    /// The hash of a new password.
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, AccessError> {
        if !PASSWORD_LEN.contains(&password.len()) {
            return Err(AccessError::BadPassword);
        }
        let failed = |why: String| AccessError::Hash(why);
        let turn = self.turn().await.map_err(|Busy| failed("too many at once, try again".into()))?;
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = hash_now(&password);
            drop(turn);
            hashed
        });
        hashed.await.map_err(|e| failed(e.to_string()))?
    }

    /// Whether this is the password behind the hash; as long where there is none.
    pub(super) async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<PasswordHash>,
    ) -> Result<bool, Busy> {
        let turn = self.turn().await?;
        let verified = tokio::task::spawn_blocking(move || {
            let known = hash.is_some();
            let hash = hash.map_or_else(|| NOBODY.to_owned(), |hash| hash.0);
            let is_right = argon2id().verify_password(password.as_bytes(), hash.as_str()).is_ok();
            drop(turn);
            is_right && known
        });
        verified.await.map_err(|_| Busy)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Busy> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        turn.await.ok().and_then(Result::ok).ok_or(Busy)
    }
}

fn hash_now(password: &str) -> Result<PasswordHash, AccessError> {
    let mut salt = [0; 16];
    random(&mut salt)?;
    let hash: argon2::password_hash::phc::PasswordHash = argon2id()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|e| AccessError::Hash(e.to_string()))?;
    Ok(PasswordHash(hash.to_string()))
}

fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.into())
    }

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let hashing = Hashing::default();
        let (a, b) = (
            hashing.hash(text("correct horse")).await.unwrap(),
            hashing.hash(text("correct horse")).await.unwrap(),
        );
        assert_ne!(a, b, "each has its salt");
        assert!(a.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", a.0);
        let check = async |password, hash: Option<&PasswordHash>| {
            hashing.verify(text(password), hash.cloned()).await.ok().unwrap()
        };
        assert!(check("correct horse", Some(&a)).await && check("correct horse", Some(&b)).await);
        for wrong in ["", "correct hors", "correct horse ", "Correct horse", "\0"] {
            assert!(!check(wrong, Some(&a)).await, "{wrong:?}");
        }
        assert!(!check("correct horse", None).await);
        assert!(!check("correct horse", Some(&PasswordHash("damaged".into()))).await);
        for bad in ["", "short", &"x".repeat(257)] {
            assert!(matches!(hashing.hash(text(bad)).await, Err(AccessError::BadPassword)));
        }
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let nobody = argon2::password_hash::phc::PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        let same = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(same, (Params::DEFAULT_M_COST, Params::DEFAULT_T_COST, Params::DEFAULT_P_COST));
        assert_eq!(nobody.algorithm, Algorithm::Argon2id.ident());
        assert!(nobody.hash.is_some_and(|hash| hash.len() == 32) && nobody.salt.is_some());
    }
}
