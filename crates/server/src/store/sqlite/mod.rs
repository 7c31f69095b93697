//! The embedded store: SQLite in WAL mode, fully synchronous, one writer thread, readers beside it.

mod accept;
mod access;
mod alerts;
mod backup;
mod checkpoint;
mod filing;
mod forget;
mod forward;
mod fresh;
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

use futures_util::future::try_join_all;
use rusqlite::{Connection, OpenFlags};

use crate::store::{
    AgeClock, Answer, Arrival, BundleRow, Census, Coverage, DayStats, DecodedMark, DeviceRow, Fingerprint,
    FrameId, JoinChange, KeyChange, LogPlace, Logged, NewDevice, OfferRow, Outcome, Place, RejectCount,
    SEED_SAMPLES_MAX, SeedRun, SeedSeries, Store, StoreError, TargetClaim, TargetRow, Totals, WindowRow,
};
pub use backup::{Checked, back_up, check, restore};
use checkpoint::Checkpoints;
use fresh::Fresh;
use memo::Memo;
use windows::Found;
use writer::Writer;

/// Reading connections that are kept open for the next reader.
const READERS_KEPT: usize = 4;
/// From how many windows on they are read by several readers.
const APART_MIN: usize = 128;

/// A [`Store`] in one SQLite file. Other processes may open the same file at the same time.
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Arc<Readers>,
    fresh: Arc<Fresh>,
}

impl SqliteStore {
    /// Opens the file, creating it and its directory, and brings it to the newest schema.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = || path.display().to_string();
        let failed = |why: String| StoreError::Open { path: shown(), why };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
        }
        let refused = |error| match named(path, error) {
            StoreError::Database(why) => failed(why),
            other => other,
        };
        let mut conn = connect(path, true).map_err(|e| refused(e.into()))?;
        schema::migrate(&mut conn).map_err(refused)?;
        let beside = connect(path, true).map_err(|e| refused(e.into()))?;
        let checkpoints = Checkpoints::start(&mut conn, beside).map_err(|e| refused(e.into()))?;
        let fresh = Arc::new(Fresh::default());
        let writer =
            Writer::start(conn, checkpoints, Arc::clone(&fresh)).map_err(|e| failed(e.to_string()))?;
        let path = path.to_path_buf();
        let readers = Arc::new(Readers { path: path.clone(), idle: Mutex::default() });
        Ok(Self { path, writer, readers, fresh })
    }

    fn read<T, F>(&self, todo: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || readers.read(todo));
            let answer = read.await.map_err(|e| StoreError::Database(e.to_string()))?;
            answer.map_err(|error| named(&self.path, error))
        })
    }

    /// Windows of one device lie apart in the file, since all devices append to it: read one after the other from a
    /// disk, each is waited for. So several readers wait at the same time.
    ///
    /// Each sees a state of its own. A window does not change but for its time, when its boot is dated: that one
    /// is then ordered as it was before or as it is after.
    async fn fetch_apart(&self, places: &[Found]) -> Result<Vec<WindowRow>, StoreError> {
        let parts = places.chunks(places.len().div_ceil(READERS_KEPT).max(1)).map(|part| {
            let part = part.to_vec();
            self.read(move |conn| windows::fetch(conn, &part))
        });
        Ok(try_join_all(parts).await?.concat())
    }

    fn write<T, F>(&self, todo: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: Fn(&Connection, &mut Memo) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move { self.writer.write(todo).await.map_err(|error| named(&self.path, error)) })
    }
}

impl Store for SqliteStore {
    fn accept(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Outcome>> {
        self.write(move |conn, memo| accept::accept(conn, memo, &arrivals))
    }

    fn count_rejects(&self, rejects: Vec<RejectCount>) -> Answer<'_, ()> {
        self.write(move |conn, _| stats::add_rejects(conn, &rejects))
    }

    fn add_device(&self, device: NewDevice) -> Answer<'_, DeviceRow> {
        self.write(move |conn, _| registry::add_device(conn, &device))
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
        self.write(move |conn, memo| {
            memo.forget_standing();
            registry::revoke(conn, &id, t_ms)
        })
    }

    fn set_join_state(&self, change: JoinChange) -> Answer<'_, bool> {
        self.write(move |conn, _| accept::swap_join_state(conn, &change))
    }

    fn replace_keys(&self, changes: Vec<KeyChange>) -> Answer<'_, usize> {
        self.write(move |conn, _| registry::replace_keys(conn, &changes))
    }

    fn set_slot(&self, short_id: u32, slot: u8, fingerprint: Fingerprint) -> Answer<'_, ()> {
        self.write(move |conn, _| registry::set_slot(conn, short_id, slot, &fingerprint))
    }

    fn registry_epoch(&self) -> u64 {
        self.writer.epoch()
    }

    fn add_bundle(&self, bundle: BundleRow) -> Answer<'_, bool> {
        self.write(move |conn, _| registry::add_bundle(conn, &bundle))
    }

    fn bundle(&self, fingerprint: Fingerprint) -> Answer<'_, Option<BundleRow>> {
        self.read(move |conn| registry::bundle(conn, &fingerprint))
    }

    fn bundles(&self) -> Answer<'_, Vec<BundleRow>> {
        self.read(registry::bundles)
    }

    fn set_offer(&self, offer: OfferRow) -> Answer<'_, ()> {
        self.write(move |conn, _| registry::set_offer(conn, &offer))
    }

    fn withdraw_offers(&self, fingerprint: Fingerprint, device: Option<u32>) -> Answer<'_, u64> {
        self.write(move |conn, _| registry::withdraw_offers(conn, &fingerprint, device))
    }

    fn offers(&self) -> Answer<'_, Vec<OfferRow>> {
        self.read(registry::offers)
    }

    fn window(&self, short_id: u32, number: FrameId) -> Answer<'_, Option<WindowRow>> {
        // The writer knows the numbers of the tail by heart.
        self.write(move |conn, memo| windows::window(conn, memo, short_id, number))
    }

    fn windows(&self, short_id: u32, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        Box::pin(async move {
            let find = self.read(move |conn| {
                let places = windows::places(conn, short_id, from_ms, to_ms, limit)?;
                let rows = if places.len() < APART_MIN { windows::fetch(conn, &places)? } else { Vec::new() };
                Ok((places, rows))
            });
            match find.await? {
                (places, rows) if places.len() < APART_MIN => Ok(rows),
                (places, _) => self.fetch_apart(&places).await,
            }
        })
    }

    fn windows_after(
        &self,
        short_id: u32,
        after: Place,
        to_ms: i64,
        limit: u32,
    ) -> Answer<'_, Vec<WindowRow>> {
        self.read(move |conn| windows::after(conn, short_id, after, to_ms, limit))
    }

    fn latest_windows(&self, short_ids: Vec<u32>) -> Answer<'_, Vec<WindowRow>> {
        self.read(move |conn| windows::latest(conn, &short_ids))
    }

    fn undecoded(&self, after: Option<i64>, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        match self.fresh.take(after, limit) {
            Some(rows) => Box::pin(async { Ok(rows) }),
            None => Box::pin(async move {
                let version = self.fresh.version();
                let rows = self.read(move |conn| windows::undecoded(conn, after, limit)).await?;
                self.fresh.hand(&rows, version);
                Ok(rows)
            }),
        }
    }

    fn mark_decoded(&self, marks: Vec<DecodedMark>) -> Answer<'_, ()> {
        Box::pin(self.file(marks))
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
        self.write(move |conn, _| seed::add(conn, &runs, SEED_SAMPLES_MAX))
    }

    fn seed_series(&self) -> Answer<'_, Vec<SeedSeries>> {
        self.read(seed::series)
    }

    fn seed_samples(&self, device: &str, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<SeedRun>> {
        let device = device.to_owned();
        self.read(move |conn| seed::samples(conn, &device, from_ms, to_ms, limit))
    }

    fn forget(&self, before_ms: i64, limit: u32) -> Answer<'_, u64> {
        self.write(move |conn, _| forget::forget(conn, before_ms, limit))
    }

    fn age_clock(&self) -> Answer<'_, Option<AgeClock>> {
        self.read(forget::age_clock)
    }

    fn keep_age_clock(&self, clock: AgeClock) -> Answer<'_, ()> {
        self.write(move |conn, _| forget::keep_age_clock(conn, clock))
    }

    fn cap_last_seen(&self, now_ms: i64) -> Answer<'_, ()> {
        self.write(move |conn, _| stats::cap_last_seen(conn, now_ms))
    }

    fn clock_ms(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async { Ok(None) })
    }

    fn compact(&self) -> Answer<'_, bool> {
        self.write(|conn, _| forget::compact(conn))
    }

    fn stored_after(&self, after: LogPlace, limit: u32) -> Answer<'_, Vec<Logged>> {
        self.read(move |conn| windows::stored_after(conn, after, limit))
    }

    fn log_end(&self) -> Answer<'_, LogPlace> {
        self.read(forward::log_end)
    }

    fn claim_target(&self, claim: TargetClaim) -> Answer<'_, Option<TargetRow>> {
        self.write(move |conn, _| forward::claim(conn, &claim))
    }

    fn pass_target(&self, target: &str, owner: i64, to: LogPlace) -> Answer<'_, bool> {
        let target = target.to_owned();
        self.write(move |conn, _| forward::pass(conn, &target, owner, to))
    }

    fn release_target(&self, target: &str, owner: i64) -> Answer<'_, ()> {
        let target = target.to_owned();
        self.write(move |conn, _| forward::release(conn, &target, owner))
    }

    fn targets(&self) -> Answer<'_, Vec<TargetRow>> {
        self.read(forward::targets)
    }

    fn census(&self) -> Answer<'_, Census> {
        self.read(forward::census)
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
        // Of a new file only: room that retention frees can then be given back bit by bit.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -8192)?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    } else {
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", -2048)?;
    }
    Ok(conn)
}

/// An error that is about the file names it.
fn named(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { why, .. } => StoreError::Damaged { path: path.display().to_string(), why },
        other => other,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string();
        match error.sqlite_error_code() {
            // The second: its first page is gone.
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged { path: String::new(), why }
            }
            _ => Self::Database(why),
        }
    }
}
