//! Logging in and out.

use std::net::IpAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Secret, checked_name};
use crate::core::Core;
use crate::store::{SecretHash, SessionRow, StoreError};
use crate::vault::VaultError;

/// A session in use is written down so often at most.
pub(super) const SEEN_EVERY_MS: i64 = 60_000;

/// Why a login was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginRefused {
    /// No such user, or not this password: it is not said which.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many failures.
    #[error("too many attempts: try again in {} seconds", wait.as_secs() + 1)]
    TooMany {
        /// How long to wait.
        wait: Duration,
    },
    /// Too many at the door.
    #[error("too many people log in at this moment: try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionTimes {
    pub(crate) idle_ms: i64,
    pub(crate) max_ms: i64,
}

impl SessionTimes {
    /// False once it was not used for too long, or is too old. A clock that was set back ends nothing.
    pub(super) fn holds(self, session: &SessionRow, now_ms: i64) -> bool {
        now_ms.saturating_sub(session.t_seen) < self.idle_ms
            && now_ms.saturating_sub(session.t_created) < self.max_ms
    }
}

impl Core {
    pub(crate) fn session_times(&self) -> SessionTimes {
        let config = self.current();
        SessionTimes {
            idle_ms: i64::from(config.session_idle_hours) * 3_600_000,
            max_ms: i64::from(config.session_max_days) * 86_400_000,
        }
    }

    /// Begins a session for somebody with the right password.
    pub(crate) async fn log_in(
        &self,
        name: &str,
        password: Zeroizing<String>,
        from: IpAddr,
    ) -> Result<Secret, LoginRefused> {
        // What is no name is tried as one, so that it takes as long.
        let name = checked_name(name).unwrap_or_default();
        let access = &self.access;
        access.attempts.begin(from, &name).map_err(|wait| LoginRefused::TooMany { wait })?;
        let user = self.store.user(&name).await?;
        let hash = user.as_ref().map(|user| user.password.clone());
        let is_right = access.hashing.verify(password, hash).await.map_err(|_| LoginRefused::Busy)?;
        let (true, Some(user)) = (is_right, user) else {
            // The name is not said: it may be a password in the wrong field.
            tracing::warn!(%from, "a login failed");
            return Err(LoginRefused::Wrong);
        };
        access.attempts.succeeded(from, &name);
        let now_ms = self.clock.now_ms();
        let times = self.session_times();
        self.store.forget_sessions(now_ms - times.max_ms + 1, now_ms - times.idle_ms + 1).await?;
        let secret = Secret::random()?;
        let session =
            SessionRow { secret: secret.hash(), user: user.name, t_created: now_ms, t_seen: now_ms };
        if !self.store.begin_session(session, user.password).await? {
            return Err(LoginRefused::Wrong);
        }
        tracing::info!(user = name, %from, "logged in");
        Ok(secret)
    }

    /// Ends a session.
    pub(crate) async fn log_out(&self, session: SecretHash) -> Result<(), StoreError> {
        self.store.end_session(session).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_either_time() {
        let times = SessionTimes { idle_ms: 10, max_ms: 100 };
        let check = |t_created, t_seen, now_ms, holds| {
            let session = SessionRow { secret: SecretHash([0; 32]), user: String::new(), t_created, t_seen };
            assert_eq!(times.holds(&session, now_ms), holds, "{t_created} {t_seen} {now_ms}");
        };
        check(0, 0, 9, true);
        check(0, 0, 10, false);
        check(0, 95, 99, true);
        check(0, 95, 100, false);
        check(50, 50, 0, true);
        check(i64::MIN, i64::MIN, i64::MAX, false);
    }
}
