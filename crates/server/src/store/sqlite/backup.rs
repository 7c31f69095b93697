//! A copy of the embedded store while it is written to, and back.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::named;
use crate::store::{FrameId, StoreError};

/// How every file of SQLite begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Pages copied between two looks at the progress.
const STEP: i32 = 2048;

/// What a store's file was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its schema.
    pub schema: i64,
    /// Devices.
    pub n_devices: u64,
    /// Windows, each with the checksum it was stored with.
    pub n_windows: u64,
}

/// Copies the store at `from` into the new file `to`, as it is at this instant, and checks the copy. The server
/// may run and store meanwhile. `progress` hears how much is copied, in 0..=1.
pub fn back_up(from: &Path, to: &Path, mut progress: impl FnMut(f64)) -> Result<Checked, StoreError> {
    let aside = aside(to)?;
    let mut copy = || -> Result<Checked, StoreError> {
        let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|e| open_failed(from, &e.to_string()))?;
        // One view from the first page to the last: without it each commit of the server begins the copy anew.
        source
            .execute_batch("BEGIN; SELECT COUNT(*) FROM sqlite_schema;")
            .map_err(|e| named(from, e.into()))?;
        let mut target = Connection::open(&aside)?;
        {
            let backup = Backup::new(&source, &mut target)?;
            while backup.step(STEP).map_err(|e| named(from, e.into()))? != StepResult::Done {
                let done = backup.progress();
                progress(1.0 - f64::from(done.remaining) / f64::from(done.pagecount.max(1)));
            }
        }
        // One file, without a log beside it.
        target.pragma_update(None, "journal_mode", "DELETE")?;
        target.close().map_err(|(_, e)| e)?;
        // Whatever is wrong with the copy is wrong with what was copied.
        check(&aside).map_err(|error| named(from, error))
    };
    finish(copy(), &aside, to)
}

/// Checks the backup `from` and puts it where a server finds it. There must be no store yet.
pub fn restore(from: &Path, to: &Path) -> Result<Checked, StoreError> {
    for taken in [to.to_path_buf(), beside(to, "-wal"), beside(to, "-shm")] {
        if taken.exists() {
            return Err(open_failed(
                &taken,
                "it exists already, and nothing is overwritten: move it away first",
            ));
        }
    }
    let mut begin = [0; MAGIC.len()];
    let has_begun = File::open(from).and_then(|mut file| file.read_exact(&mut begin));
    if has_begun.is_err() || begin != *MAGIC {
        let why = match has_begun {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => e.to_string(),
            _ => "it is no backup: name a file written by `kinglet backup`".into(),
        };
        return Err(open_failed(from, &why));
    }
    check(from)?;
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(|e| open_failed(dir, &e.to_string()))?;
    }
    let aside = aside(to)?;
    let copied =
        fs::copy(from, &aside).map_err(|e| open_failed(&aside, &e.to_string())).and_then(|_| check(&aside));
    finish(copied, &aside, to)
}

/// Reads all of a file: its structure, and each window against its checksum.
pub fn check(path: &Path) -> Result<Checked, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| open_failed(path, &e.to_string()))?;
    check_all(&conn).map_err(|error| match error {
        StoreError::Database(why) => open_failed(path, &why),
        other => named(path, other),
    })
}

fn check_all(conn: &Connection) -> Result<Checked, StoreError> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(StoreError::Damaged { path: String::new(), why: found });
    }
    let schema: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = super::schema::known();
    if schema > known {
        return Err(StoreError::TooNew { found: schema, known });
    }
    if schema == 0 {
        return Err(StoreError::Database("it is no store of Kinglet".into()));
    }
    let mut windows =
        conn.prepare("SELECT device, generation, counter, bundle, tag, code, crc FROM window")?;
    let mut rows = windows.query([])?;
    let mut n_windows = 0;
    while let Some(row) = rows.next()? {
        let (device, origin) = (row.get(0)?, FrameId { generation: row.get(1)?, counter: row.get(2)? });
        let part = |idx: usize| row.get_ref(idx)?.as_blob().map_err(rusqlite::Error::from);
        if crate::store::row_crc(device, origin, part(3)?, part(4)?, part(5)?) != row.get::<_, u32>(6)? {
            let why =
                format!("window {} of device {device} has not the bytes it was stored with", origin.counter);
            return Err(StoreError::Damaged { path: String::new(), why });
        }
        n_windows += 1;
    }
    let n_devices = conn.query_row("SELECT COUNT(*) FROM device", [], |row| row.get(0))?;
    Ok(Checked { schema, n_devices, n_windows })
}

/// Puts a good copy in its place, on disk for certain; a bad one leaves nothing behind.
fn finish(copied: Result<Checked, StoreError>, aside: &Path, to: &Path) -> Result<Checked, StoreError> {
    let placed = copied.and_then(|checked| {
        let place = || {
            File::open(aside)?.sync_all()?;
            // Fails if somebody was quicker: nothing is overwritten.
            fs::hard_link(aside, to)?;
            fs::remove_file(aside)?;
            match to.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                Some(dir) => File::open(dir)?.sync_all(),
                None => File::open(".")?.sync_all(),
            }
        };
        place().map_err(|e: std::io::Error| open_failed(to, &e.to_string()))?;
        Ok(checked)
    });
    if placed.is_err() {
        // What is left of the copy; it may never have been there.
        let _ = fs::remove_file(aside);
    }
    placed
}

/// An empty file beside `to` that only its owner reads: it will hold readings.
fn aside(to: &Path) -> Result<PathBuf, StoreError> {
    let aside = beside(to, &format!(".{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&aside).map_err(|e| open_failed(&aside, &e.to_string()))?;
    Ok(aside)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn open_failed(path: &Path, why: &str) -> StoreError {
    StoreError::Copy { path: path.display().to_string(), why: why.into() }
}
