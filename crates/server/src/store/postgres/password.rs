//! The password, from where every PostgreSQL client takes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use zeroize::Zeroizing;

use super::target::TargetError;

/// A password file longer than this is none.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The password for a server and user, if there is one.
pub(super) fn find(
    config: &Config,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Zeroizing<String>>, TargetError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(password) = set("PGPASSWORD") {
        let password =
            password.into_string().map_err(|_| TargetError::Password("PGPASSWORD is no text".into()))?;
        return Ok(Some(Zeroizing::new(password)));
    }
    let named = set("PGPASSFILE").map(PathBuf::from);
    let usual = || set("HOME").map(|home| Path::new(&home).join(".pgpass")).filter(|path| path.exists());
    let Some(path) = named.or_else(usual) else { return Ok(None) };
    let text = read(&path)?;
    Ok(look_up(&text, config))
}

fn read(path: &Path) -> Result<Zeroizing<String>, TargetError> {
    let shown = path.display();
    let failed = |why: String| TargetError::Password(format!("cannot use the password file {shown}: {why}"));
    let metadata = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(failed(format!("others can read it, run `chmod 600 {shown}`")));
        }
    }
    if metadata.len() > FILE_LEN_MAX {
        return Err(failed("it is too long".into()));
    }
    Ok(Zeroizing::new(std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?))
}

/// The first line that fits: `host:port:database:user:password`, `*` fits everything, `\` takes the next
/// character as it is.
fn look_up(text: &str, config: &Config) -> Option<Zeroizing<String>> {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        _ => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let wanted = [host.as_str(), &port, config.get_dbname().unwrap_or(user), user];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| match fields.as_slice() {
        [place @ .., password] if place.len() == 4 => {
            let fits = place.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
            fits.then(|| Zeroizing::new(password.clone()))
        }
        _ => None,
    })
}

/// The first four fields and the rest.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let is_last = fields.len() == 5;
        match (c, fields.last_mut()) {
            ('\\', Some(field)) => field.extend(chars.next()),
            (':', _) if !is_last => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, uri: &str) -> Option<String> {
        look_up(text, &uri.parse().unwrap()).map(|password| password.to_string())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let file = "# mine\nother:*:*:*:no\ndb:5433:readings:kinglet:a\\:b:c\n*:*:*:kinglet:any\nbad";
        assert_eq!(found(file, "postgres://kinglet@db:5433/readings").as_deref(), Some("a:b:c"));
        assert_eq!(found(file, "postgres://kinglet@db/readings").as_deref(), Some("any"));
        assert_eq!(found(file, "postgres://someone@db/readings"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_others_can_read_is_refused_by_name() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:hunter2\n").unwrap();
        let config: Config = "postgres://kinglet@db/r".parse().unwrap();
        let env = |name: &str| (name == "PGPASSFILE").then(|| path.clone().into_os_string());
        for (mode, good) in [(0o644, false), (0o600, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = find(&config, env);
            assert_eq!(found.is_ok_and(|password| password.is_some()), good, "{mode:o}");
        }
        let refused = find(&config, |name| (name == "PGPASSFILE").then(|| "/nowhere/pgpass".into()));
        assert!(refused.unwrap_err().to_string().contains("/nowhere/pgpass"));
    }
}
