//! Which database, as it is typed.

/// Which database keeps what came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreChoice {
    /// SQLite, in the data directory.
    #[default]
    Sqlite,
    /// PostgreSQL, shared by any number of servers.
    #[cfg(feature = "postgres")]
    Postgres(crate::store::PostgresTarget),
}

impl std::str::FromStr for StoreChoice {
    type Err = String;

    /// `sqlite`, or a URI without a password; the error says what to do, and never repeats the text.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            #[cfg(feature = "postgres")]
            uri => uri.parse().map(Self::Postgres).map_err(|e: crate::store::TargetError| e.to_string()),
            #[cfg(not(feature = "postgres"))]
            _ => Err("this kinglet was built without PostgreSQL: say `sqlite`, or build it with --features postgres".into()),
        }
    }
}

/// A store as it was typed. Reading it never fails, so that no reader of command lines repeats a password that stands
/// where none belongs; [`Config::load`](super::Config::load) says what is wrong with it.
#[derive(Clone, Debug)]
pub struct StoreFlag(pub(super) Result<StoreChoice, String>);

impl std::str::FromStr for StoreFlag {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()))
    }
}

impl std::fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite => f.write_str("sqlite"),
            #[cfg(feature = "postgres")]
            Self::Postgres(target) => write!(f, "{target}"),
        }
    }
}
