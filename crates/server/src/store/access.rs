//! What a store knows of people and programs that are let in. No secret is in it that would let anybody in: of
//! passwords, sessions and tokens it keeps hashes, and none of them is shown by `Debug`.

use std::fmt;
use std::str::FromStr;

use super::{Answer, StoreError};

/// The part of a store that knows who is let in; what holds of its writes is what holds of the others.
pub trait Accounts {
    /// Adds a user; false if the name is taken.
    fn add_user(&self, user: UserRow) -> Answer<'_, bool>;
    /// Replaces a user's password and ends all their sessions; false if there is no such user.
    fn set_password(&self, name: &str, password: PasswordHash) -> Answer<'_, bool>;
    /// Gives a user another role; false if there is no such user.
    fn set_role(&self, name: &str, role: Role) -> Answer<'_, bool>;
    /// Removes a user and all their sessions; false if there is no such user.
    fn remove_user(&self, name: &str) -> Answer<'_, bool>;
    /// One user.
    fn user(&self, name: &str) -> Answer<'_, Option<UserRow>>;
    /// All users, by name.
    fn users(&self) -> Answer<'_, Vec<UserRow>>;
    /// Keeps a token; false if the name is taken.
    fn add_token(&self, token: TokenRow) -> Answer<'_, bool>;
    /// Removes a token; false if there is none of that name.
    fn remove_token(&self, name: &str) -> Answer<'_, bool>;
    /// All tokens, by name.
    fn tokens(&self) -> Answer<'_, Vec<TokenRow>>;
    /// Begins a session, if its user still has the password that was checked; false if not.
    fn begin_session(&self, session: SessionRow, checked: PasswordHash) -> Answer<'_, bool>;
    /// Says that a session is in use.
    fn see_session(&self, secret: SecretHash, t_ms: i64) -> Answer<'_, ()>;
    /// Ends a session, if there is one.
    fn end_session(&self, secret: SecretHash) -> Answer<'_, ()>;
    /// Deletes sessions that are too old by either time; gives how many went.
    fn forget_sessions(&self, created_before_ms: i64, seen_before_ms: i64) -> Answer<'_, u64>;
    /// What there is to say of whoever brings this secret, if any.
    fn standing(&self, secret: Option<SecretHash>) -> Answer<'_, Standing>;
}

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees devices and readings.
    Viewer,
    /// Also adds and revokes devices, and adds bundles.
    Operator,
    /// Also adds and removes users and tokens.
    Admin,
}

impl Role {
    /// All of them, least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word for people and for the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| "a role is viewer, operator or admin".into())
    }
}

/// SHA-256 of 256 random bits: who reads it in a backup cannot find them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// A password's argon2id hash as a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// What they log in with, lower case.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The hash of their password.
    pub password: PasswordHash,
    /// When they were added, unix milliseconds.
    pub t_created: i64,
}

/// A program that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of what it brings.
    pub secret: SecretHash,
    /// When it was made, unix milliseconds.
    pub t_created: i64,
    /// From when on it is worth nothing; `None` never.
    pub t_expires: Option<i64>,
}

/// A browser in which somebody has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The hash of its cookie.
    pub secret: SecretHash,
    /// Who.
    pub user: String,
    /// When they logged in, unix milliseconds.
    pub t_created: i64,
    /// When they were last seen; a minute or so late.
    pub t_seen: i64,
}

/// What the store says of somebody at the door, all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// True if there is any user: then nobody is let in without a login.
    pub has_users: bool,
    /// The token of this secret.
    pub token: Option<TokenRow>,
    /// The session of this secret, and what its user may do.
    pub session: Option<(SessionRow, Role)>,
}

/// Reads the word a database keeps.
pub(super) fn role(word: &str) -> Result<Role, StoreError> {
    word.parse().map_err(|_| StoreError::Database("a role is none this version knows".into()))
}
