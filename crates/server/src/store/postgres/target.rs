//! Which database: a URI that holds no secret, and where its password comes from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::Tls;

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
    /// A way of TLS that is not spoken.
    #[error(
        "the store's URI asks for TLS in a way this version does not know: sslmode must be verify-full (with \
         sslrootcert=FILE for an authority of your own), require or disable, and sslrootcert goes with verify-full"
    )]
    SslMode,
    /// What TLS needs cannot be used.
    #[error("{0}")]
    Tls(String),
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
        let (plain, _) = split(text)?;
        let config: Config = plain.parse().map_err(|_| TargetError::Malformed)?;
        if config.get_password().is_some() {
            return Err(TargetError::HasPassword);
        }
        Ok(Self(text.into()))
    }
}

impl PostgresTarget {
    /// What the client needs, the password included.
    pub(super) fn config(&self) -> Result<(Config, Option<Tls>), TargetError> {
        let (plain, encryption) = split(&self.0)?;
        let mut config: Config = plain.parse().map_err(|_| TargetError::Malformed)?;
        let tls = match &encryption {
            Encryption::None => None,
            Encryption::Unchecked => Some(Tls::unchecked()),
            Encryption::Full { ca_file } => Some(Tls::full(ca_file.as_deref())),
        };
        let tls = tls.transpose().map_err(|e| TargetError::Tls(e.to_string()))?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
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
        Ok((config, tls))
    }
}

/// What a URI says of encryption.
#[derive(Debug, PartialEq, Eq)]
enum Encryption {
    None,
    /// Encrypted, whoever answers.
    Unchecked,
    /// Encrypted, and the certificate is the host's, signed by one in this file or by a public authority.
    Full {
        ca_file: Option<PathBuf>,
    },
}

/// The URI without its settings of TLS, and what they say: the client knows only some of them.
fn split(text: &str) -> Result<(String, Encryption), TargetError> {
    let Some((base, query)) = text.split_once('?') else { return Ok((text.into(), Encryption::None)) };
    let (mut mode, mut ca_file, mut rest) = (None, None, Vec::new());
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => {
                ca_file = Some(PathBuf::from(unescape(value).ok_or(TargetError::Malformed)?));
            }
            _ => rest.push(part),
        }
    }
    let plain = if rest.is_empty() { base.into() } else { format!("{base}?{}", rest.join("&")) };
    match (mode, ca_file) {
        // As before there was TLS: what may be without it is.
        (None | Some("disable" | "allow" | "prefer"), None) => Ok((plain, Encryption::None)),
        (Some("require"), None) => Ok((plain, Encryption::Unchecked)),
        (Some("verify-full"), ca_file) => Ok((plain, Encryption::Full { ca_file })),
        _ => Err(TargetError::SslMode),
    }
}

/// Percent-encoded text as it is meant.
fn unescape(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        rest = behind;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only what was parsed as host and database: parameters may hold anything.
        let parsed = split(&self.0).ok().and_then(|(plain, _)| plain.parse::<Config>().ok());
        let Some(config) = parsed else { return f.write_str("postgres") };
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
    }

    #[test]
    fn what_a_uri_says_of_tls() {
        let check = |query: &str, expected: Result<(&str, Encryption), TargetError>| {
            let found = split(&format!("postgres://db/r{query}"));
            assert_eq!(
                found,
                expected.map(|(plain, how)| (format!("postgres://db/r{plain}"), how)),
                "{query}"
            );
        };
        let full = |ca_file: Option<&str>| Encryption::Full { ca_file: ca_file.map(PathBuf::from) };
        check("", Ok(("", Encryption::None)));
        check("?sslmode=prefer&application_name=x", Ok(("?application_name=x", Encryption::None)));
        check("?sslmode=require", Ok(("", Encryption::Unchecked)));
        check("?sslmode=verify-full", Ok(("", full(None))));
        check("?sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-full", Ok(("", full(Some("/etc/ca.pem")))));
        for bad in [
            "?sslmode=verify-ca",
            "?sslmode=",
            "?sslrootcert=/ca.pem",
            "?sslmode=require&sslrootcert=/ca.pem",
        ] {
            check(bad, Err(TargetError::SslMode));
        }
        check("?sslmode=verify-full&sslrootcert=%2", Err(TargetError::Malformed));
        let target: PostgresTarget =
            "postgres://db/r?sslmode=verify-full&sslrootcert=/ca.pem".parse().unwrap();
        assert_eq!(target.to_string(), "postgres://db:5432/r");
        assert!(
            "postgres://k:hunter2@db/r?sslmode=require".parse::<PostgresTarget>()
                == Err(TargetError::HasPassword)
        );
    }
}
