//! The shared store: PostgreSQL, for any number of servers at once.
//!
//! Every server process is alike and keeps nothing that another needs. What makes that right:
//!
//! - Transactions run at READ COMMITTED, and every transaction that takes frames in locks the rows of their devices first
//!   (`accept.rs`). Each statement after that lock sees whatever the lock's last owner committed, so one device's
//!   counters are looked at and changed by one transaction at a time, on whichever server. A higher isolation
//!   level would answer the same with errors to repeat.
//! - The number of a window is its primary key: should the ranges ever know less than the rows, the row decides.
//! - A commit that was answered is on disk: `synchronous_commit` is never off on our connections.
//! - Changes to the registry are told by NOTIFY to all servers; what has to hold at once (a revocation) is read
//!   under the device's lock whatever a server remembers.

mod accept;
mod access;
mod age;
mod alerts;
mod conn;
mod copy;
mod decide;
mod forward;
mod keep;
mod password;
mod registry;
mod schema;
mod seed;
mod stats;
mod target;
mod tls;
mod windows;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use copy::copy_to_postgres;
pub use target::{PostgresTarget, TargetError};

use crate::store::{
    AgeClock, Answer, Arrival, BundleRow, Census, Coverage, DayStats, DecodedMark, DeviceRow, Fingerprint,
    FrameId, JoinChange, KeyChange, LogPlace, Logged, NewDevice, OfferRow, Outcome, Place, RejectCount,
    SEED_SAMPLES_MAX, SeedRun, SeedSeries, Store, StoreError, TargetClaim, TargetRow, Totals, WindowRow,
};
use conn::Pool;
use windows::Tail;
use writer::Writer;

/// How long a lost listener waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// A [`Store`] in a PostgreSQL database (or one schema of it), shared with other servers.
pub struct PostgresStore {
    pool: Arc<Pool>,
    writer: Writer,
    tail: Tail,
    epoch: Arc<AtomicU64>,
    closed: AtomicBool,
    listener: tokio::task::JoinHandle<()>,
}

impl PostgresStore {
    /// Connects, and brings the database to the newest schema.
    pub async fn open(target: &PostgresTarget) -> Result<Self, StoreError> {
        let pool = Arc::new(Pool::new(target.clone())?);
        let unreachable = |error: StoreError| match error {
            StoreError::Database(why) => StoreError::Unreachable { server: target.to_string(), why },
            other => other,
        };
        schema::migrate(&pool).await.map_err(unreachable)?;
        let at = windows::progress(&*pool.get().await?).await?;
        let epoch = Arc::new(AtomicU64::new(0));
        let listener = tokio::spawn(listen(Arc::clone(&pool), Arc::clone(&epoch)));
        let writer = Writer::start(&pool);
        Ok(Self { pool, writer, tail: Tail::at(at), epoch, closed: AtomicBool::new(false), listener })
    }

    /// Where changes go; closed when the store is.
    fn open_pool(&self) -> Result<&Pool, StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(&self.pool) }
    }
}

/// Changes the epoch whenever another server, or this one, has changed the registry, and whenever it may have:
/// while the connection was lost nothing was heard.
async fn listen(pool: Arc<Pool>, epoch: Arc<AtomicU64>) {
    loop {
        let heard = || {
            epoch.fetch_add(1, Ordering::AcqRel);
        };
        if let Ok((_conn, mut notices)) = pool.listen().await {
            heard();
            while notices.recv().await.is_some() {
                heard();
            }
            heard();
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Store for PostgresStore {
    fn accept(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Outcome>> {
        self.writer.accept(arrivals)
    }

    fn count_rejects(&self, rejects: Vec<RejectCount>) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| stats::add_rejects(&conn, &rejects)) })
    }

    fn add_device(&self, device: NewDevice) -> Answer<'_, DeviceRow> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| registry::add_device(&conn, &device)) })
    }

    fn device(&self, id: &str) -> Answer<'_, Option<DeviceRow>> {
        let id = id.to_owned();
        Box::pin(async move { conn::read!(self.pool, |conn| registry::device(&conn, &id)) })
    }

    fn device_by_short_id(&self, short_id: u32) -> Answer<'_, Option<DeviceRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| registry::device_by_short_id(&conn, short_id)) })
    }

    fn devices(&self, after: u32, limit: u32) -> Answer<'_, Vec<DeviceRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| registry::devices(&conn, after, limit)) })
    }

    fn revoke_device(&self, id: &str, t_ms: i64) -> Answer<'_, bool> {
        let id = id.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| registry::revoke(&conn, &id, t_ms)) })
    }

    fn set_join_state(&self, change: JoinChange) -> Answer<'_, bool> {
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| registry::swap_join_state(&conn, &change)) },
        )
    }

    fn replace_keys(&self, changes: Vec<KeyChange>) -> Answer<'_, usize> {
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| registry::replace_keys(&conn, &changes)) },
        )
    }

    fn set_slot(&self, short_id: u32, slot: u8, fingerprint: Fingerprint) -> Answer<'_, ()> {
        Box::pin(async move {
            conn::write!(self.open_pool()?, |conn| registry::set_slot(&conn, short_id, slot, &fingerprint))
        })
    }

    fn registry_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn add_bundle(&self, bundle: BundleRow) -> Answer<'_, bool> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| registry::add_bundle(&conn, &bundle)) })
    }

    fn bundle(&self, fingerprint: Fingerprint) -> Answer<'_, Option<BundleRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| registry::bundle(&conn, &fingerprint)) })
    }

    fn bundles(&self) -> Answer<'_, Vec<BundleRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| registry::bundles(&conn)) })
    }

    fn set_offer(&self, offer: OfferRow) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| registry::set_offer(&conn, &offer)) })
    }

    fn withdraw_offers(&self, fingerprint: Fingerprint, device: Option<u32>) -> Answer<'_, u64> {
        Box::pin(async move {
            conn::write!(self.open_pool()?, |conn| registry::withdraw_offers(&conn, &fingerprint, device))
        })
    }

    fn offers(&self) -> Answer<'_, Vec<OfferRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| registry::offers(&conn)) })
    }

    fn window(&self, short_id: u32, number: FrameId) -> Answer<'_, Option<WindowRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| windows::window(&conn, short_id, number)) })
    }

    fn windows(&self, short_id: u32, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        Box::pin(async move {
            conn::read!(self.pool, |conn| windows::windows(&conn, short_id, from_ms, to_ms, limit))
        })
    }

    fn windows_after(
        &self,
        short_id: u32,
        after: Place,
        to_ms: i64,
        limit: u32,
    ) -> Answer<'_, Vec<WindowRow>> {
        Box::pin(async move {
            conn::read!(self.pool, |conn| windows::after(&conn, short_id, after, to_ms, limit))
        })
    }

    fn latest_windows(&self, short_ids: Vec<u32>) -> Answer<'_, Vec<WindowRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| windows::latest(&conn, &short_ids)) })
    }

    fn undecoded(&self, after: Option<i64>, limit: u32) -> Answer<'_, Vec<WindowRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| self.tail.next(&conn, after, limit)) })
    }

    fn mark_decoded(&self, marks: Vec<DecodedMark>) -> Answer<'_, ()> {
        Box::pin(async move {
            let found = self.tail.named(&marks);
            let filed: Result<(), StoreError> =
                conn::write!(self.open_pool()?, |conn| windows::file(&conn, &found));
            filed?;
            self.tail.move_on(&found);
            Ok(())
        })
    }

    fn day_stats(&self, short_id: Option<u32>, from_day: i32, to_day: i32) -> Answer<'_, Vec<DayStats>> {
        Box::pin(
            async move { conn::read!(self.pool, |conn| stats::day_stats(&conn, short_id, from_day, to_day)) },
        )
    }

    fn totals(&self, short_id: Option<u32>) -> Answer<'_, Totals> {
        Box::pin(async move { conn::read!(self.pool, |conn| stats::totals(&conn, short_id)) })
    }

    fn rejects(&self, from_day: i32, to_day: i32) -> Answer<'_, Vec<RejectCount>> {
        Box::pin(async move { conn::read!(self.pool, |conn| stats::rejects(&conn, from_day, to_day)) })
    }

    fn coverage(&self, short_id: u32, from_ms: i64, to_ms: i64) -> Answer<'_, Coverage> {
        Box::pin(
            async move { conn::read!(self.pool, |conn| windows::coverage(&conn, short_id, from_ms, to_ms)) },
        )
    }

    fn add_seed_samples(&self, runs: Vec<SeedRun>) -> Answer<'_, ()> {
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| seed::add(&conn, &runs, SEED_SAMPLES_MAX)) },
        )
    }

    fn seed_series(&self) -> Answer<'_, Vec<SeedSeries>> {
        Box::pin(async move { conn::read!(self.pool, |conn| seed::series(&conn)) })
    }

    fn seed_samples(&self, device: &str, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<SeedRun>> {
        let device = device.to_owned();
        Box::pin(async move {
            conn::read!(self.pool, |conn| seed::samples(&conn, &device, from_ms, to_ms, limit))
        })
    }

    fn forget(&self, before_ms: i64, limit: u32) -> Answer<'_, u64> {
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| windows::forget(&conn, before_ms, limit)) },
        )
    }

    fn age_clock(&self) -> Answer<'_, Option<AgeClock>> {
        Box::pin(async move { conn::read!(self.pool, |conn| age::age_clock(&conn)) })
    }

    fn keep_age_clock(&self, clock: AgeClock) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| age::keep_age_clock(&conn, clock)) })
    }

    fn cap_last_seen(&self, now_ms: i64) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| stats::cap_last_seen(&conn, now_ms)) })
    }

    fn clock_ms(&self) -> Answer<'_, Option<i64>> {
        Box::pin(async move { conn::read!(self.pool, |conn| age::clock_ms(&conn)) })
    }

    /// The database's own vacuum sees to that.
    fn compact(&self) -> Answer<'_, bool> {
        Box::pin(async { Ok(false) })
    }

    fn stored_after(&self, after: LogPlace, limit: u32) -> Answer<'_, Vec<Logged>> {
        Box::pin(async move { conn::read!(self.pool, |conn| windows::stored_after(&conn, after, limit)) })
    }

    fn log_end(&self) -> Answer<'_, LogPlace> {
        Box::pin(async move { conn::read!(self.pool, |conn| forward::log_end(&conn)) })
    }

    fn claim_target(&self, claim: TargetClaim) -> Answer<'_, Option<TargetRow>> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| forward::claim(&conn, &claim)) })
    }

    fn pass_target(&self, target: &str, owner: i64, to: LogPlace) -> Answer<'_, bool> {
        let target = target.to_owned();
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| forward::pass(&conn, &target, owner, to)) },
        )
    }

    fn release_target(&self, target: &str, owner: i64) -> Answer<'_, ()> {
        let target = target.to_owned();
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| forward::release(&conn, &target, owner)) },
        )
    }

    fn targets(&self) -> Answer<'_, Vec<TargetRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| forward::targets(&conn)) })
    }

    fn census(&self) -> Answer<'_, Census> {
        Box::pin(async move { conn::read!(self.pool, |conn| forward::census(&conn)) })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            self.listener.abort();
            self.writer.close().await;
            Ok(())
        })
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        // The server's own words where there are some; what it says of values stays in its log.
        let why = error.as_db_error().map(|db| format!("{} ({})", db.message(), db.code().code()));
        let source = || std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Database(why.unwrap_or_else(|| format!("{error}{}", source().unwrap_or_default())))
    }
}

/// A number of 32 bits, as a database keeps it.
fn short(number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::Database(format!("{number} is no number of 32 bits")))
}

/// A number as a database keeps it; anything larger never left this process.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Database("a fingerprint has not 16 bytes".into()))
}
