//! Which database: a URI that holds no secret, and where its password comes from.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::password;

/// A `postgres://` URI without a password. The password is looked for where every PostgreSQL client looks:
/// `PGPASSWORD`, then the file `PGPASSFILE` names, then `~/.pgpass`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresTarget(String);

/// Why a text names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is no such URI. What it says is not repeated: it may hold a password.
    #[error("the store's URI is not one: write postgres://USER@HOST:PORT/DATABASE")]
    Malformed,
    /// A command line and a URI are seen by too many.
    #[error(
        "the store's URI holds a password: take it out, and put it into PGPASSWORD or into a file that PGPASSFILE \
         names (HOST:PORT:DATABASE:USER:PASSWORD, mode 600)"
    )]
    HasPassword,
    /// Encryption was asked for.
    #[error(
        "the store's URI asks for TLS, which this version does not speak to PostgreSQL: use a socket, the loopback \
         or a tunnel, and take sslmode out"
    )]
    NoTls,
    /// The password file cannot be used.
    #[error("{0}")]
    Password(String),
}

impl FromStr for PostgresTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(TargetError::Malformed);
        }
        let config: Config = text.parse().map_err(|_| TargetError::Malformed)?;
        if config.get_password().is_some() {
            return Err(TargetError::HasPassword);
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(TargetError::NoTls);
        }
        Ok(Self(text.into()))
    }
}

impl PostgresTarget {
    /// What the client needs, the password included.
    pub(super) fn config(&self) -> Result<Config, TargetError> {
        let mut config: Config = self.0.parse().map_err(|_| TargetError::Malformed)?;
        if let Some(password) = password::find(&config, |name| std::env::var_os(name))? {
            config.password(password.as_bytes());
        }
        if config.get_application_name().is_none() {
            config.application_name("kinglet");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // A database that has vanished without a word is noticed in about half a minute, also by who only listens.
        config.tcp_user_timeout(Duration::from_secs(30));
        config.keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        Ok(config)
    }
}

impl fmt::Display for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what was parsed as host and database: parameters may hold anything.
        let Ok(config) = self.0.parse::<Config>() else { return f.write_str("postgres") };
        match config.get_hosts().first() {
            Some(Host::Tcp(host)) => write!(f, "postgres://{host}")?,
            #[cfg(unix)]
            Some(Host::Unix(path)) => write!(f, "postgres://{}", path.display())?,
            None => f.write_str("postgres://")?,
        }
        if let Some(port) = config.get_ports().first() {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresTarget({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_uri_is_refused_and_never_repeated() {
        for text in [
            "postgres://kinglet:hunter2@db/readings",
            "postgres://kinglet@db/readings?password=hunter2",
            "postgres://kinglet:hunter2@db:port/readings",
            "mysql://kinglet:hunter2@db/readings",
        ] {
            let error = text.parse::<PostgresTarget>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let target: PostgresTarget = "postgres://kinglet@db:5433/readings?options=-cx%3Dy".parse().unwrap();
        assert_eq!(target.to_string(), "postgres://db:5433/readings");
        assert_eq!(format!("{target:?}"), "PostgresTarget(postgres://db:5433/readings)");
        assert_eq!("postgres://db/r?sslmode=require".parse::<PostgresTarget>(), Err(TargetError::NoTls));
    }
}
