//! Why a configuration cannot be used.

use std::net::SocketAddr;

use super::keys::did_you_mean;

/// Why the configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {why}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The file is no TOML.
    #[error("{path} is not valid TOML: {why}")]
    Syntax {
        /// Which file.
        path: String,
        /// Where and what.
        why: String,
    },
    /// There is no such key.
    #[error("{origin}: there is no setting `{key}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey {
        /// File or environment.
        origin: String,
        /// The key as written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// The value does not fit the key.
    #[error("{origin}: `{key}` must be {expected}, not `{found}`")]
    BadValue {
        /// File or environment.
        origin: String,
        /// The key.
        key: String,
        /// What would fit.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The store is none. What stands there is not repeated: it may hold a password.
    #[error("{origin}: {why}")]
    Store {
        /// File, environment or flag.
        origin: String,
        /// What to write instead.
        why: String,
    },
    /// A section of the file cannot be used.
    #[error("{origin}, [[{section}]]: {why}")]
    Section {
        /// Which file.
        origin: String,
        /// Which kind of section.
        section: &'static str,
        /// What to write instead.
        why: String,
    },
    /// Other machines would be served without a login.
    #[error(
        "{0} can be reached from other machines and there are no users: add one with `kinglet user add NAME`, use \
         127.0.0.1, or say allow_remote_without_login = true if everyone who reaches it may read everything"
    )]
    RemoteWithoutLogin(SocketAddr),
    /// One of the two files of a certificate is not named.
    #[error(
        "a certificate has two files: say both tls_cert and tls_key (--tls-cert and --tls-key), or neither"
    )]
    HalfACertificate,
    /// Neither a data directory nor a home is known.
    #[error("no data directory: neither XDG_DATA_HOME nor HOME is set; say where with --data DIR")]
    NoDataDir,
}
