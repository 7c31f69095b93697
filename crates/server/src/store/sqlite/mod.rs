//! The embedded store: SQLite in WAL mode, fully synchronous, one writer thread, readers beside it.

mod accept;
mod memo;
mod received;
mod registry;
mod schema;
mod seed;
mod stats;
mod windows;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::store::{
    Answer, Arrival, BundleRow, Coverage, DayStats, DecodedMark, DeviceRow, Fingerprint, JoinChange,
    NewDevice, Outcome, RejectCount, SEED_SAMPLES_MAX, SeedRun, SeedSeries, Store, StoreError, Totals,
    WindowRow,
};
use writer::Writer;

/// Reading connections that are kept open for the next reader.
const READERS_KEPT: usize = 4;

/// A [`Store`] in one SQLite file. Other processes may open the same file at the same time.
pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens the file, creating it and its directory, and brings it to the newest schema.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |why: String| StoreError::Open { path: path.display().to_string(), why };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
        }
        let mut conn = connect(path, true).map_err(|e| failed(e.to_string()))?;
        schema::migrate(&mut conn).map_err(|e| match e {
            StoreError::Database(why) => failed(why),
            other => other,
        })?;
        let writer = Writer::start(conn).map_err(|e| failed(e.to_string()))?;
        Ok(Self { writer, readers: Arc::new(Readers { path: path.to_path_buf(), idle: Mutex::default() }) })
    }

    fn read<T, F>(&self, todo: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || readers.read(todo));
            read.await.map_err(|e| StoreError::Database(e.to_string()))?
        })
    }
}

impl Store for SqliteStore {
    fn accept(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Outcome>> {
        self.writer.write(move |conn, memo| accept::accept(conn, memo, &arrivals))
    }

    fn count_rejects(&self, rejects: Vec<RejectCount>) -> Answer<'_, ()> {
        self.writer.write(move |conn, _| stats::add_rejects(conn, &rejects))
    }

    fn add_device(&self, device: NewDevice) -> Answer<'_, DeviceRow> {
        self.writer.write(move |conn, _| registry::add_device(conn, &device))
    }

    fn device(&self, id: &str) -> Answer<'_, Option<DeviceRow>> {
        let id = id.to_owned();
        self.read(move |conn| registry::device(conn, &id))
    }

    fn device_by_short_id(&self, short_id: u32) -> Answer<'_, Option<DeviceRow>> {
        self.read(move |conn| registry::device_by_short_id(conn, short_id))
    }

    fn devices(&self, after: u32, limit: u32) -> Answer<'_, Vec<DeviceRow>> {
        self.read(move |conn| registry::devices(conn, after, limit))
    }

    fn revoke_device(&self, id: &str, t_ms: i64) -> Answer<'_, bool> {
        let id = id.to_owned();
        self.writer.write(move |conn, memo| {
            memo.forget_standing();
            registry::revoke(conn, &id, t_ms)
        })
    }

    fn set_join_state(&self, change: JoinChange) -> Answer<'_, bool> {
        self.writer.write(move |conn, _| accept::swap_join_state(conn, &change))
    }

    fn set_slot(&self, short_id: u32, slot: u8, fingerprint: Fingerprint) -> Answer<'_, ()> {
        self.writer.write(move |conn, _| registry::set_slot(conn, short_id, slot, &fingerprint))
    }

    fn registry_epoch(&self) -> u64 {
        self.writer.epoch()
    }

    fn add_bundle(&self, bundle: BundleRow) -> Answer<'_, bool> {
        self.writer.write(move |conn, _| registry::add_bundle(conn, &bundle))
    }

    fn bundle(&self, fingerprint: Fingerprint) -> Answer<'_, Option<BundleRow>> {
        self.read(move |conn| registry::bundle(conn, &fingerprint))
    }

    fn bundles(&self) -> Answer<'_, Vec<BundleRow>> {
        self.read(registry::bundles)
    }

    fn windows(&self, short_id: u32, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        self.read(move |conn| windows::windows(conn, short_id, from_ms, to_ms, limit))
    }

    fn latest_windows(&self, short_ids: Vec<u32>) -> Answer<'_, Vec<WindowRow>> {
        self.read(move |conn| windows::latest(conn, &short_ids))
    }

    fn undecoded(&self, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        self.read(move |conn| windows::undecoded(conn, limit))
    }

    fn mark_decoded(&self, marks: Vec<DecodedMark>) -> Answer<'_, ()> {
        self.writer.write(move |conn, memo| windows::mark_decoded(conn, memo, &marks))
    }

    fn day_stats(&self, short_id: Option<u32>, from_day: i32, to_day: i32) -> Answer<'_, Vec<DayStats>> {
        self.read(move |conn| stats::day_stats(conn, short_id, from_day, to_day))
    }

    fn totals(&self, short_id: Option<u32>) -> Answer<'_, Totals> {
        self.read(move |conn| stats::totals(conn, short_id))
    }

    fn rejects(&self, from_day: i32, to_day: i32) -> Answer<'_, Vec<RejectCount>> {
        self.read(move |conn| stats::rejects(conn, from_day, to_day))
    }

    fn coverage(&self, short_id: u32, from_ms: i64, to_ms: i64) -> Answer<'_, Coverage> {
        self.read(move |conn| windows::coverage(conn, short_id, from_ms, to_ms))
    }

    fn add_seed_samples(&self, runs: Vec<SeedRun>) -> Answer<'_, ()> {
        self.writer.write(move |conn, _| seed::add(conn, &runs, SEED_SAMPLES_MAX))
    }

    fn seed_series(&self) -> Answer<'_, Vec<SeedSeries>> {
        self.read(seed::series)
    }

    fn seed_samples(&self, device: &str, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<SeedRun>> {
        let device = device.to_owned();
        self.read(move |conn| seed::samples(conn, &device, from_ms, to_ms, limit))
    }

    fn close(&self) -> Answer<'_, ()> {
        self.writer.close()
    }
}

/// Connections that only read, so that no question waits for the writer.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn read<T>(&self, todo: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => connect(&self.path, false)?,
        };
        // One question sees one state, however many statements it takes.
        let tx = conn.unchecked_transaction()?;
        let answer = todo(&tx);
        drop(tx);
        let mut idle = idle();
        if idle.len() < READERS_KEPT {
            idle.push(conn);
        }
        answer
    }
}

fn connect(path: &Path, write: bool) -> rusqlite::Result<Connection> {
    let mode = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(64);
    if write {
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -8192)?;
        // 8 MB of log between two checkpoints: windows share their pages, so there is little to copy, and a log
        // that is written over is synced in half the time that one takes which grows.
        conn.pragma_update(None, "wal_autocheckpoint", 2000)?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    } else {
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", -2048)?;
    }
    Ok(conn)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}
