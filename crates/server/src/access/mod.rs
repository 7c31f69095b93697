//! Who is let in: people by a password, their browsers by a session, programs by a token.
//!
//! Secrets that machines make have 256 random bits and are kept as SHA-256; passwords, which people make, as argon2id.
//! Both are compared by looking up or verifying hashes, so no time says how much of a guess was right. The store holds
//! all of it, so that servers on one store agree, and a removal holds everywhere with its commit: nothing is remembered here
//! but how often somebody has tried.

mod attempts;
mod login;
mod password;
mod secret;

use std::sync::Arc;

use crate::core::Core;
use crate::store::{Role, SecretHash, Store, StoreError, TokenRow, UserRow};
use crate::vault::VaultError;
use attempts::Attempts;
pub use login::LoginRefused;
pub use password::PASSWORD_LEN;
pub(crate) use secret::Secret;
use zeroize::Zeroizing;

/// Longest name of a user or a token.
pub const NAME_LEN_MAX: usize = 64;

/// Users, sessions and tokens of a store.
pub struct Access {
    store: Arc<dyn Store>,
    attempts: Attempts,
    hashing: password::Hashing,
}

/// Why somebody cannot be added, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The name is none.
    #[error(
        "a name has 1 to {NAME_LEN_MAX} letters a–z, digits, `.`, `_`, `-` and `@`, and begins with a letter or digit"
    )]
    BadName,
    /// The password is too short or too long.
    #[error("a password has {} to {} bytes: take several words", PASSWORD_LEN.start(), PASSWORD_LEN.end())]
    BadPassword,
    /// The name is taken.
    #[error("there is a {0} of this name: choose another, or remove that one first")]
    Taken(&'static str),
    /// There is none of that name.
    #[error("there is no {0} of this name")]
    Unknown(&'static str),
    /// The hash cannot be made.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Access {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, attempts: Attempts::default(), hashing: password::Hashing::default() }
    }

    /// Adds a user.
    pub async fn add_user(
        &self,
        name: &str,
        role: Role,
        password: Zeroizing<String>,
        now_ms: i64,
    ) -> Result<(), AccessError> {
        let name = checked_name(name)?;
        let password = self.hashing.hash(password).await?;
        let user = UserRow { name, role, password, t_created: now_ms };
        if self.store.add_user(user).await? { Ok(()) } else { Err(AccessError::Taken("user")) }
    }

    /// Gives a user another password; whoever is logged in under the old one is no longer.
    pub async fn set_password(&self, name: &str, password: Zeroizing<String>) -> Result<(), AccessError> {
        let name = checked_name(name)?;
        let password = self.hashing.hash(password).await?;
        let known = self.store.set_password(&name, password).await?;
        if known { Ok(()) } else { Err(AccessError::Unknown("user")) }
    }

    /// Gives a user another role, which holds from the next request on.
    pub async fn set_role(&self, name: &str, role: Role) -> Result<(), AccessError> {
        let known = self.store.set_role(&checked_name(name)?, role).await?;
        if known { Ok(()) } else { Err(AccessError::Unknown("user")) }
    }

    /// Removes a user; they are logged out everywhere.
    pub async fn remove_user(&self, name: &str) -> Result<(), AccessError> {
        let known = self.store.remove_user(&checked_name(name)?).await?;
        if known { Ok(()) } else { Err(AccessError::Unknown("user")) }
    }

    /// Makes a token and gives it: nothing else ever shows it.
    pub async fn add_token(
        &self,
        name: &str,
        role: Role,
        t_expires: Option<i64>,
        now_ms: i64,
    ) -> Result<Zeroizing<String>, AccessError> {
        let secret = Secret::random()?;
        let name = checked_name(name)?;
        let token = TokenRow { name, role, secret: secret.hash(), t_created: now_ms, t_expires };
        match self.store.add_token(token).await? {
            true => Ok(secret.as_token()),
            false => Err(AccessError::Taken("token")),
        }
    }

    /// Revokes a token.
    pub async fn remove_token(&self, name: &str) -> Result<(), AccessError> {
        let known = self.store.remove_token(&checked_name(name)?).await?;
        if known { Ok(()) } else { Err(AccessError::Unknown("token")) }
    }
}

/// Lower case, so that nobody has to remember how a name was written.
fn checked_name(name: &str) -> Result<String, AccessError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > NAME_LEN_MAX || !begins_well || !name.chars().all(is_part) {
        return Err(AccessError::BadName);
    }
    Ok(name.to_ascii_lowercase())
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// Their name; empty for somebody unknown on a server without users.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) by: By,
}

impl Visitor {
    /// Whether this is the user of this name.
    pub(crate) fn is(&self, user: &str) -> bool {
        matches!(self.by, By::Session(_)) && self.name.eq_ignore_ascii_case(user)
    }
}

/// By what somebody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// There are no users: whoever reaches the port may look.
    Nothing,
    /// The management token of the data directory.
    Owner,
    /// A token of the store.
    Token(SecretHash),
    /// A session: the cookie comes along with every request of a browser, whoever has made it ask.
    Session(SecretHash),
}

/// What somebody brings to the door.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Brought<'a> {
    Nothing,
    /// As it stands behind `Bearer`.
    Token(&'a [u8]),
    /// As it stands in the cookie.
    Session(&'a str),
}

impl Core {
    /// Who it is that brings this; `None` if nobody is let in by it.
    pub(crate) async fn visitor(&self, brought: Brought<'_>) -> Result<Option<Visitor>, StoreError> {
        match brought {
            Brought::Nothing => {
                let is_open = self.may_be_open() && !self.store.standing(None).await?.has_users;
                let nobody = Visitor { name: String::new(), role: Role::Viewer, by: By::Nothing };
                Ok(is_open.then_some(nobody))
            }
            Brought::Token(token) if self.vault.is_token(token) => {
                Ok(Some(Visitor { name: "owner".into(), role: Role::Admin, by: By::Owner }))
            }
            Brought::Token(token) => match Secret::from_token(token) {
                Some(secret) => self.by_token(secret.hash()).await,
                None => Ok(None),
            },
            Brought::Session(text) => match Secret::from_text(text.as_bytes()) {
                Some(secret) => self.by_session(secret.hash()).await,
                None => Ok(None),
            },
        }
    }

    async fn by_token(&self, secret: SecretHash) -> Result<Option<Visitor>, StoreError> {
        let Some(token) = self.store.standing(Some(secret)).await?.token else { return Ok(None) };
        let is_good = token.t_expires.is_none_or(|t| self.clock.now_ms() < t);
        Ok(is_good.then_some(Visitor { name: token.name, role: token.role, by: By::Token(secret) }))
    }

    async fn by_session(&self, secret: SecretHash) -> Result<Option<Visitor>, StoreError> {
        let Some((session, role)) = self.store.standing(Some(secret)).await?.session else { return Ok(None) };
        let now_ms = self.clock.now_ms();
        if !self.session_times().holds(&session, now_ms) {
            return Ok(None);
        }
        if now_ms - session.t_seen > login::SEEN_EVERY_MS {
            self.store.see_session(secret, now_ms).await?;
        }
        Ok(Some(Visitor { name: session.user, role, by: By::Session(secret) }))
    }

    /// Whether somebody who was let in a while ago still would be.
    pub(crate) async fn is_still_let_in(&self, visitor: &Visitor) -> bool {
        let now = match visitor.by {
            By::Owner => return true,
            By::Nothing => self.visitor(Brought::Nothing).await,
            By::Token(secret) => self.by_token(secret).await,
            // Watching is no sign of life: who only watches is logged out in the end.
            By::Session(secret) => {
                let standing = self.store.standing(Some(secret)).await;
                let now_ms = self.clock.now_ms();
                let holds = |(session, role)| {
                    let holds = self.session_times().holds(&session, now_ms);
                    holds.then_some(Visitor { name: session.user, role, by: visitor.by })
                };
                standing.map(|standing| standing.session.and_then(holds))
            }
        };
        // A store that does not answer now says nothing about them.
        now.map_or(true, |now| now.is_some())
    }

    /// Whether somebody who brings nothing may look while there are no users. On other machines only where the
    /// configuration says so: the last user's removal shall not open a server to the world.
    fn may_be_open(&self) -> bool {
        self.config.allow_remote_without_login || self.config.remote_addr().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_lower_case() {
        let check =
            |name: &str, is: Option<&str>| assert_eq!(checked_name(name).ok().as_deref(), is, "{name:?}");
        check("Anna.B-c_d@Home", Some("anna.b-c_d@home"));
        check("7", Some("7"));
        for bad in ["", "-x", ".x", "a b", "a\n", "é", "a/b", &"x".repeat(65)] {
            check(bad, None);
        }
    }
}
