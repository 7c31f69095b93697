//! What is kept, and the one door through which anything is accepted.
//!
//! A [`Store`] is a database behind one trait; `tests/store_contract.rs` is the same story told to each.
//! Every answer to a write leaves after the commit, never before.

mod access;
mod age;
mod alerts;
mod counted;
mod forward;
#[cfg(feature = "postgres")]
mod postgres;
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
pub use forward::{Census, LogPlace, Logged, TargetClaim, TargetRow};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresStore, PostgresTarget, TargetError, copy_to_postgres};
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

/// First 16 bytes of a bundle's identity.
pub type Fingerprint = [u8; 16];

/// Generation and counter of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Key generation.
    pub generation: u32,
    /// 48-bit counter.
    pub counter: u64,
}

/// An opened frame on its way into the store.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The device's short id.
    pub device: u32,
    /// Under which number the frame was sealed.
    pub sealed_as: FrameId,
    /// Under which number its content was first sealed; the same unless it was sealed again.
    pub origin: FrameId,
    /// The frame's authentication tag.
    pub tag: Vec<u8>,
    /// Bytes of the whole frame.
    pub frame_len: u32,
    /// When it came.
    pub t_arrival: i64,
    /// What it carries.
    pub content: Content,
    /// The join state that follows from this frame, if it is the first of its generation.
    pub confirm: Option<JoinChange>,
}

/// What an opened frame carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// A window's code.
    Window {
        /// Time of the first sample, as well as it is known.
        t_first: i64,
        /// How the time is known.
        t_quality: TimeQuality,
        /// Boot number and milliseconds since, if that is all the device knows of the time.
        uptime: Option<(u32, i64)>,
        /// The bundle it decodes with.
        bundle: Fingerprint,
        /// The code.
        code: Vec<u8>,
    },
    /// The device's report about itself, kept as it is.
    Status {
        /// Its opened body.
        body: Vec<u8>,
        /// Slot and bundle it names.
        slot: Option<(u8, Fingerprint)>,
        /// Windows the device says it had to give up since it was set up.
        windows_lost: Option<u64>,
        /// Unix time at uptime 0 of a boot: times of that boot's windows follow from it.
        sync: Option<BootSync>,
    },
}

/// When a boot began, in unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSync {
    /// The device's boot number.
    pub boot: u32,
    /// Unix time at uptime 0.
    pub t_boot: i64,
}

/// How the time of a window is known, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimeQuality {
    /// By the device's own clock, set within the last day.
    Clock = 0,
    /// By the device's own clock, set longer ago.
    Held = 1,
    /// From the device's uptime, after a status frame said when it booted.
    Boot = 2,
    /// Counted back from the arrival.
    Age = 3,
    /// The arrival stands for it.
    Arrival = 4,
    /// The arrival stands for it until a status frame says when the device booted.
    Uptime = 5,
}

impl TimeQuality {
    /// Reads the number a database keeps.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Clock,
            1 => Self::Held,
            2 => Self::Boot,
            3 => Self::Age,
            5 => Self::Uptime,
            _ => Self::Arrival,
        }
    }

    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Held => "held",
            Self::Boot => "boot",
            Self::Age => "age",
            Self::Arrival => "arrival",
            Self::Uptime => "uptime",
        }
    }
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the row decided.
    pub verdict: Verdict,
    /// What is received around the number it was sealed as, itself included; `None` if that is not received.
    pub span: Option<Span>,
}

/// Received counters of one generation: `base` and the `run - 1` after it, and of the 32 after those the ones
/// whose bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first counter of the run.
    pub base: u64,
    /// How many from there on.
    pub run: u16,
    /// Bit `i` stands for `base + run + i`.
    pub bitmap: u32,
}

/// What the row decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On disk now.
    Stored,
    /// Was on disk already, the same bytes: success.
    AlreadyStored,
    /// The number was used for other bytes: not kept, not acked.
    CounterReuse,
    /// Older than the gaps that are remembered: not kept, not acked, sealed anew after a join it is welcome.
    TooOld,
    /// The device was revoked meanwhile.
    Revoked,
    /// There is no such device any more.
    UnknownDevice,
}

/// A compare-and-swap of a device's join state.
#[derive(Clone, Debug)]
pub struct JoinChange {
    /// Whose.
    pub device: u32,
    /// The version the change was computed from.
    pub expected: u64,
    /// The new state, opaque.
    pub state: Vec<u8>,
}

/// A device key to be wrapped anew.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// Whose.
    pub device: u32,
    /// As it is kept now.
    pub wrapped_before: Vec<u8>,
    /// As it is to be kept.
    pub wrapped: Vec<u8>,
}

/// Where a window stands among those of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Time of the first sample.
    pub t_first: i64,
    /// Order of storing.
    pub row_id: i64,
}

/// A device to be added.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The id people use.
    pub id: String,
    /// A name for the dashboard, may be empty.
    pub name: String,
    /// The device key, wrapped under the master key.
    pub wrapped_key: Vec<u8>,
    /// Its first join state, opaque.
    pub join_state: Vec<u8>,
    /// Now.
    pub t_created: i64,
}

/// A device as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// The id in its frames.
    pub short_id: u32,
    /// The id people use.
    pub id: String,
    /// A name for the dashboard, may be empty.
    pub name: String,
    /// The device key, wrapped under the master key.
    pub wrapped_key: Vec<u8>,
    /// Opaque join state and its version.
    pub join_state: Vec<u8>,
    /// Grows with each change of the join state.
    pub join_version: u64,
    /// When it was added.
    pub t_created: i64,
    /// When it was revoked, if it was.
    pub t_revoked: Option<i64>,
    /// When a frame of it was last accepted.
    pub t_last_seen: Option<i64>,
    /// The last status body it sent.
    pub status: Option<Vec<u8>>,
    /// Windows the device says it had to give up.
    pub windows_lost: u64,
    /// Which bundle each slot means.
    pub slots: Vec<(u8, Fingerprint)>,
    /// The highest counter received in each generation.
    pub highest: Vec<FrameId>,
}

/// A bundle as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRow {
    /// First 16 bytes of its identity.
    pub fingerprint: Fingerprint,
    /// The name people gave it.
    pub name: String,
    /// The file; empty in lists.
    pub bytes: Vec<u8>,
    /// When it was added.
    pub t_added: i64,
}

/// A bundle that is offered, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferRow {
    /// To which device, by its short id; 0 for a share of all.
    pub device: u32,
    /// Which bundle.
    pub fingerprint: Fingerprint,
    /// To so many in a hundred.
    pub percent: u8,
    /// The signed update, as the wire has it.
    pub update: Vec<u8>,
    /// Since when.
    pub t_offered: i64,
}

/// A window as it is kept: the opened code and what it takes to decode it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// Order of storing.
    pub row_id: i64,
    /// The device's short id.
    pub device: u32,
    /// Under which number it was first sealed.
    pub origin: FrameId,
    /// Time of the first sample.
    pub t_first: i64,
    /// When it came.
    pub t_arrival: i64,
    /// How the time is known.
    pub t_quality: TimeQuality,
    /// The bundle it decodes with.
    pub bundle: Fingerprint,
    /// The code.
    pub code: Vec<u8>,
    /// Bytes of the whole frame it came in.
    pub frame_len: u32,
    /// Samples in it, once the background pass knows.
    pub n_samples: Option<u32>,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

/// Why a stored window cannot be shown. It is kept all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The code is no code of its bundle.
    Malformed = 1,
    /// The bundle is not in the store.
    BundleMissing = 2,
    /// The row's checksum does not match: the disk gave back other bytes.
    Damaged = 3,
}

impl Flaw {
    /// Reads the number a database keeps; 0 is no flaw.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Malformed),
            2 => Some(Self::BundleMissing),
            3 => Some(Self::Damaged),
            _ => None,
        }
    }
}

/// What the background pass found out about a window.
#[derive(Clone, Copy, Debug)]
pub struct DecodedMark {
    /// Which window.
    pub row_id: i64,
    /// Its device.
    pub device: u32,
    /// Samples in it, or what is wrong.
    pub found: Result<Extent, Flaw>,
}

/// How much a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Samples.
    pub n_samples: u32,
    /// Numbers among its values: readings that are not missing.
    pub n_readings: u32,
    /// Samples × period.
    pub span_ms: i64,
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory or file cannot be used.
    #[error("cannot open the store at {path}: {why}; choose another place with --data DIR")]
    Open {
        /// Where.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A copy of the store cannot be made or used.
    #[error("{path}: {why}")]
    Copy {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The shared database cannot be used.
    #[error(
        "cannot use the PostgreSQL store at {server}: {why}; see that it runs and that this user may connect and \
         create tables"
    )]
    Unreachable {
        /// Host and database.
        server: String,
        /// What it or the system said.
        why: String,
    },
    /// Written by a newer version.
    #[error("the store has schema {found}, this version knows up to {known}: use a newer kinglet")]
    TooNew {
        /// Version of the file.
        found: i64,
        /// Newest version this code knows.
        known: i64,
    },
    /// The id is taken.
    #[error(
        "device `{0}` exists already: choose another id (ids are not used twice, even after a revocation)"
    )]
    Exists(String),
    /// The database refused, for instance because the disk is full.
    #[error("the store could not do it: {0}")]
    Database(String),
    /// The embedded store's file is not what was written.
    #[error(
        "{path} is damaged ({why}): stop the server, keep that file and the ones beside it, check the disk, and bring \
         the last backup back with `kinglet restore`"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// What SQLite said.
        why: String,
    },
    /// The store is closed.
    #[error("the store is closing; try again once the server is back")]
    Closed,
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
