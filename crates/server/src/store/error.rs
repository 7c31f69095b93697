//! Why a store could not do what it was asked.

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory or file cannot be used.
    #[error("cannot open the store at {path}: {why}; choose another place with --data DIR")]
    Open {
        /// Where.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A copy of the store cannot be made or used.
    #[error("{path}: {why}")]
    Copy {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The shared database cannot be used.
    #[error(
        "cannot use the PostgreSQL store at {server}: {why}; see that it runs and that this user may connect and \
         create tables"
    )]
    Unreachable {
        /// Host and database.
        server: String,
        /// What it or the system said.
        why: String,
    },
    /// Written by a newer version.
    #[error("the store has schema {found}, this version knows up to {known}: use a newer kinglet")]
    TooNew {
        /// Version of the file.
        found: i64,
        /// Newest version this code knows.
        known: i64,
    },
    /// The id is taken.
    #[error(
        "device `{0}` exists already: choose another id (ids are not used twice, even after a revocation)"
    )]
    Exists(String),
    /// The database refused, for instance because the disk is full.
    #[error("the store could not do it: {0}")]
    Database(String),
    /// The embedded store's file is not what was written.
    #[error(
        "{path} is damaged ({why}): stop the server, keep that file and the ones beside it, check the disk, and bring \
         the last backup back with `kinglet restore`"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// What SQLite said.
        why: String,
    },
    /// The store is closed.
    #[error("the store is closing; try again once the server is back")]
    Closed,
}
