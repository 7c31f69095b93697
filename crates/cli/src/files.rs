//! Files in and out: read with a limit, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kinglet_codec::bundle::{BUNDLE_LEN_MAX, Bundle};
use kinglet_codec::seed::{self, SeedModel};

use crate::failure::{Failure, Result};

/// Largest file of codes or frame that is read.
const FILE_LEN_MAX: u64 = 1 << 30;

/// Reads a file of at most 1 GiB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, FILE_LEN_MAX)
}

/// Reads a bundle; anything else is refused by name.
pub(crate) fn read_bundle(path: &Path) -> Result<Bundle> {
    let bytes = read_up_to(path, BUNDLE_LEN_MAX as u64)?;
    Bundle::parse(&bytes).map_err(|e| {
        Failure::input(format_args!("{} is not a bundle", path.display()))
            .why(e)
            .next("name a file written by `kinglet train` or `kinglet bundles export`")
    })
}

/// Reads a seed-mode bundle; anything else is refused by name.
pub(crate) fn read_seed_bundle(path: &Path) -> Result<SeedModel> {
    let bytes = read_up_to(path, seed::FILE_LEN_MAX as u64)?;
    SeedModel::parse(&bytes).map_err(|e| {
        Failure::input(format_args!("{} is not a seed-mode bundle", path.display()))
            .why(e)
            .next("name a file written by `kinglet train --preset seed` or `kinglet import`")
    })
}

/// Reads a file of at most `len_max` bytes.
pub(crate) fn read_up_to(path: &Path, len_max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Failure::reading(path, &e))?;
    let mut bytes = Vec::new();
    file.take(len_max + 1).read_to_end(&mut bytes).map_err(|e| Failure::reading(path, &e))?;
    if bytes.len() as u64 > len_max {
        return Err(Failure::input(format_args!("{} is too large", path.display()))
            .why(format_args!("it has more than {len_max} bytes"))
            .next("name a smaller file"));
    }
    Ok(bytes)
}

/// Who may read a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever the umask lets.
    Usual,
    /// The owner alone: for keys.
    Owner,
}

/// Writes a file whole or not at all: into a neighbour first, which then takes the name.
///
/// An existing file is replaced only with `force`. A device such as `/dev/full` is written to directly.
pub(crate) fn write(path: &Path, bytes: &[u8], force: bool, access: Access) -> Result {
    let failed = |e: io::Error| Failure::writing(path.display(), &e);
    match fs::metadata(path) {
        Ok(existing) if !existing.is_file() => {
            let mut file = File::options().write(true).open(path).map_err(failed)?;
            return file.write_all(bytes).and_then(|()| file.flush()).map_err(failed);
        }
        Ok(_) if !force => {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists")));
        }
        _ => {}
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kinglet-");
    #[cfg(unix)]
    if access == Access::Usual {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(directory).map_err(|e| match e.kind() {
        // The name of the file in between says nothing to anybody.
        io::ErrorKind::NotFound => failed(io::Error::new(e.kind(), "there is no such directory")),
        _ => failed(e),
    })?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let done = if force { file.persist(path) } else { file.persist_noclobber(path) };
    done.map(drop).map_err(|e| failed(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn a_file_is_never_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"one", false, Access::Usual).unwrap();
        assert_eq!(write(&path, b"two", false, Access::Usual).unwrap_err().kind, Kind::Output);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true, Access::Usual).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no neighbour is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"secret", false, Access::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said() {
        let failure = write(Path::new("/dev/full"), b"x", true, Access::Usual).unwrap_err();
        assert_eq!(failure.kind, Kind::Output);
        assert!(failure.to_text().contains("room"), "{}", failure.to_text());
    }
}
