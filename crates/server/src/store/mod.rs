//! What is kept, and the one door through which anything is accepted.
//!
//! A [`Store`] is a database behind one trait; `tests/store_contract.rs` is the same story told to each.
//! Every answer to a write leaves after the commit, never before.

mod access;
mod age;
mod alerts;
mod counted;
mod error;
mod forward;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod seed;
mod sqlite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::{Config, StoreChoice};

pub use access::{Accounts, PasswordHash, Role, SecretHash, SessionRow, Standing, TokenRow, UserRow};
pub use age::AgeClock;
pub use alerts::{AlertChange, AlertRow, AlertStep, Alerts, NewAlert};
pub use counted::{Coverage, DayStats, RejectCount, Totals};
pub use error::StoreError;
pub use forward::{Census, LogPlace, Logged, TargetClaim, TargetRow};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresStore, PostgresTarget, TargetError, copy_to_postgres};
pub use rows::{
    Arrival, BootSync, BundleRow, Content, DecodedMark, DeviceRow, Extent, Fingerprint, Flaw, FrameId,
    JoinChange, KeyChange, NewDevice, OfferRow, Outcome, Place, Span, TimeQuality, Verdict, WindowRow,
};
pub use seed::{SEED_NAMES_MAX, SEED_SAMPLES_MAX, SeedRun, SeedSeries};
pub use sqlite::{Checked, SqliteStore, back_up, check, restore};

/// What a store gives back, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Registry, bundles, windows and what is counted about them.
///
/// A write is on disk when its answer is `Ok`. After an `Err` it may or may not be: repeating it is safe.
pub trait Store: Accounts + Alerts + Send + Sync + 'static {
    /// Takes frames in, in order, in one transaction; one outcome per arrival.
    fn accept(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Outcome>>;
    /// Adds to the counts of frames that were turned away.
    fn count_rejects(&self, rejects: Vec<RejectCount>) -> Answer<'_, ()>;

    /// Adds a device and hands out its short id; [`StoreError::Exists`] if the id is taken.
    fn add_device(&self, device: NewDevice) -> Answer<'_, DeviceRow>;
    /// One device by the id people gave it.
    fn device(&self, id: &str) -> Answer<'_, Option<DeviceRow>>;
    /// One device by the id in its frames.
    fn device_by_short_id(&self, short_id: u32) -> Answer<'_, Option<DeviceRow>>;
    /// Devices with a short id above `after`, in that order.
    fn devices(&self, after: u32, limit: u32) -> Answer<'_, Vec<DeviceRow>>;
    /// Revokes a device for good; false if there is none of that id.
    fn revoke_device(&self, id: &str, t_ms: i64) -> Answer<'_, bool>;
    /// Replaces the join state and with it the slot of the bundle that was named, if the state is still at
    /// version `expected`; false if another join came first.
    fn set_join_state(&self, change: JoinChange) -> Answer<'_, bool>;
    /// Replaces wrapped device keys that are still the ones named; gives how many were.
    fn replace_keys(&self, changes: Vec<KeyChange>) -> Answer<'_, usize>;
    /// Says which bundle a device means by a slot.
    fn set_slot(&self, short_id: u32, slot: u8, fingerprint: Fingerprint) -> Answer<'_, ()>;
    /// A number that changes whenever another process may have changed the registry.
    fn registry_epoch(&self) -> u64;

    /// Keeps a bundle; false if it was there already.
    fn add_bundle(&self, bundle: BundleRow) -> Answer<'_, bool>;
    /// A bundle's file by fingerprint.
    fn bundle(&self, fingerprint: Fingerprint) -> Answer<'_, Option<BundleRow>>;
    /// All bundles, newest first, without their bytes.
    fn bundles(&self) -> Answer<'_, Vec<BundleRow>>;

    /// Offers a bundle; an offer of the same bundle to the same device, or to all, is replaced.
    fn set_offer(&self, offer: OfferRow) -> Answer<'_, ()>;
    /// Ends the offers of a bundle: to one device (0: those to all), or every one; gives how many there were.
    fn withdraw_offers(&self, fingerprint: Fingerprint, device: Option<u32>) -> Answer<'_, u64>;
    /// All offers, the newest first.
    fn offers(&self) -> Answer<'_, Vec<OfferRow>>;

    /// The window that was first sealed under a number.
    fn window(&self, short_id: u32, number: FrameId) -> Answer<'_, Option<WindowRow>>;
    /// A device's windows that have samples in `from..to`, by time; at most `limit`, the newest of them.
    fn windows(&self, short_id: u32, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<WindowRow>>;
    /// A device's windows after a place in their order by time, and with a first sample before `to`; at most `limit`, the
    /// oldest of them.
    fn windows_after(
        &self,
        short_id: u32,
        after: Place,
        to_ms: i64,
        limit: u32,
    ) -> Answer<'_, Vec<WindowRow>>;
    /// The window with the latest time of each device asked for, if it has any.
    fn latest_windows(&self, short_ids: Vec<u32>) -> Answer<'_, Vec<WindowRow>>;
    /// Windows the background pass has recorded nothing of, in the order they were stored; after `after`, the last of those it
    /// was handed before, if it has yet to record those.
    fn undecoded(&self, after: Option<i64>, limit: u32) -> Answer<'_, Vec<WindowRow>>;
    /// Records what the background pass found in windows it was handed, all up to the last one named; of those
    /// that were looked at before, by another process maybe, nothing is recorded again.
    fn mark_decoded(&self, marks: Vec<DecodedMark>) -> Answer<'_, ()>;

    /// What was counted per device on the days `from..=to`; `None` means all devices.
    fn day_stats(&self, short_id: Option<u32>, from_day: i32, to_day: i32) -> Answer<'_, Vec<DayStats>>;
    /// Sums over everything ever counted, per device.
    fn totals(&self, short_id: Option<u32>) -> Answer<'_, Totals>;
    /// What was turned away on the days `from..=to`, by device (0: none known) and reason.
    fn rejects(&self, from_day: i32, to_day: i32) -> Answer<'_, Vec<RejectCount>>;
    /// Samples of a device with times in `from..to` and the time between windows nothing arrived for.
    fn coverage(&self, short_id: u32, from_ms: i64, to_ms: i64) -> Answer<'_, Coverage>;

    /// Appends samples of the seed's own mode; of a series with more than [`SEED_SAMPLES_MAX`] the oldest go.
    fn add_seed_samples(&self, runs: Vec<SeedRun>) -> Answer<'_, ()>;
    /// All series of the seed's own mode, by name, the latest heard first.
    fn seed_series(&self) -> Answer<'_, Vec<SeedSeries>>;
    /// Samples of a name with times in `from..to`, one run per bundle, by time; at most `limit` of each, the newest.
    fn seed_samples(&self, device: &str, from_ms: i64, to_ms: i64, limit: u32) -> Answer<'_, Vec<SeedRun>>;

    /// Deletes windows and seed-mode samples whose times, of the first sample and of the arrival, lie before
    /// `before_ms`, at most `limit` of each; gives how many went. What was received, and what was counted, stays known.
    fn forget(&self, before_ms: i64, limit: u32) -> Answer<'_, u64>;
    /// The clock retention goes by, as it was last kept; `None` in a store that has never had one, nor a window.
    fn age_clock(&self) -> Answer<'_, Option<AgeClock>>;
    /// Keeps it.
    fn keep_age_clock(&self, clock: AgeClock) -> Answer<'_, ()>;
    /// What was heard more than a minute after `now_ms`, by a clock that was ahead, was heard then: with it in the future,
    /// a device would not be silent before that has come.
    fn cap_last_seen(&self, now_ms: i64) -> Answer<'_, ()>;
    /// The system's time as all who share the store know it; `None` where that is the server's own.
    fn clock_ms(&self) -> Answer<'_, Option<i64>>;
    /// Gives back to the system some of the room that deleted rows have left; false if there was none to give.
    fn compact(&self) -> Answer<'_, bool>;

    /// Windows after a place in the order of storing, in that order; at most `limit`. A window that is given has none
    /// before it that comes to light later: a place is all one needs to remember to see each window.
    fn stored_after(&self, after: LogPlace, limit: u32) -> Answer<'_, Vec<Logged>>;
    /// The place that every window which comes to light from now on is after.
    fn log_end(&self) -> Answer<'_, LogPlace>;
    /// Takes a target, for one that asks again before the lease has ended; `None` while another has it.
    fn claim_target(&self, claim: TargetClaim) -> Answer<'_, Option<TargetRow>>;
    /// Says how far a target has confirmed; false if this owner no longer has it.
    fn pass_target(&self, target: &str, owner: i64, to: LogPlace) -> Answer<'_, bool>;
    /// Gives a target back.
    fn release_target(&self, target: &str, owner: i64) -> Answer<'_, ()>;
    /// All targets there ever were, by name.
    fn targets(&self) -> Answer<'_, Vec<TargetRow>>;
    /// Counts for those who watch over the server.
    fn census(&self) -> Answer<'_, Census>;

    /// Commits what is under way and stops taking writes.
    fn close(&self) -> Answer<'_, ()>;
}

/// Opens the store a configuration names, making what is not there yet.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &config.store {
        StoreChoice::Sqlite => Arc::new(SqliteStore::open(&config.store_path())?),
        #[cfg(feature = "postgres")]
        StoreChoice::Postgres(target) => Arc::new(PostgresStore::open(target).await?),
    })
}

/// What a window's row is worth, whatever the database checks by itself (SQLite has no checksum on its pages).
pub(crate) fn row_crc(device: u32, origin: FrameId, bundle: &[u8], tag: &[u8], code: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&device.to_be_bytes());
    crc = crc32c::crc32c_append(crc, &origin.generation.to_be_bytes());
    crc = crc32c::crc32c_append(crc, &origin.counter.to_be_bytes());
    for part in [bundle, tag, code] {
        crc = crc32c::crc32c_append(crc, &(part.len() as u64).to_be_bytes());
        crc = crc32c::crc32c_append(crc, part);
    }
    crc
}

/// Day (UTC) of a time.
pub fn day_of(t_ms: i64) -> i32 {
    i32::try_from(t_ms.div_euclid(86_400_000)).unwrap_or(if t_ms < 0 { i32::MIN } else { i32::MAX })
}
