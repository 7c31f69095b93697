//! What everything in the server shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, broadcast, watch};

use crate::access::Access;
use crate::alerts::AlertCounts;
use crate::bundles::Bundles;
use crate::config::Config;
use crate::forward::TargetCounts;
use crate::ingest::Refusal;
use crate::join::JoinLimit;
use crate::limits::Limits;
use crate::live::LiveWindow;
use crate::lorawan::Air;
use crate::metrics::{ByName, Metrics};
use crate::mqtt::Sessions;
use crate::offers::{Offer, Offers, Reported};
use crate::reference::Recent;
use crate::registry::Registry;
use crate::store::{DeviceRow, RejectCount, Store, StoreError, day_of};
use crate::vault::{Vault, VaultError};

/// Live events kept for slow readers; who lags further is told how many it missed.
const LIVE_KEPT: usize = 256;
/// Most live streams at once.
pub(crate) const LIVE_STREAMS_MAX: usize = 256;

/// Tells the time. The only clock of the server; tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// The server without its listeners: frames in, readings out.
pub struct Core {
    /// What it was told when it began.
    pub config: Config,
    /// The same with what was changed since.
    pub(crate) told: watch::Sender<Arc<Config>>,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// The devices.
    pub registry: Registry,
    /// The bundles.
    pub bundles: Bundles,
    /// The people and programs that are let in.
    pub access: Access,
    /// What devices are offered.
    pub offers: Offers,
    /// The time.
    pub clock: Arc<dyn Clock>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) rejects: Rejects,
    pub(crate) metrics: Metrics,
    pub(crate) overheard: Overheard,
    /// What windows most often refer to.
    pub(crate) recent: Recent,
    pub(crate) joins: JoinLimit,
    /// How much is taken in.
    pub(crate) limits: Limits,
    /// What LoRaWAN devices are to be told.
    pub(crate) air: Air,
    /// Who is connected by MQTT.
    pub(crate) sessions: Sessions,
    /// Wakes the background pass.
    pub(crate) arrived: Notify,
    /// Wakes those who pass on.
    pub(crate) stored: watch::Sender<()>,
    /// What was passed on, by target.
    pub(crate) forwarded: ByName<TargetCounts>,
    /// What was raised and cleared, by alert rule.
    pub(crate) alerted: ByName<AlertCounts>,
    pub(crate) live: broadcast::Sender<Arc<LiveWindow>>,
    pub(crate) live_streams: Arc<Semaphore>,
    /// True once the server is to stop.
    pub(crate) stopping: watch::Sender<bool>,
}

impl Core {
    /// Puts a server together on a store; opens the vault of the data directory.
    pub fn new(config: Config, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, VaultError> {
        let limits = Limits::new(&config);
        let vault = Arc::new(Vault::open(&config.data, config.master_key_file.as_deref())?);
        Ok(Self {
            registry: Registry::new(Arc::clone(&store), Arc::clone(&vault))?,
            bundles: Bundles::new(Arc::clone(&store)),
            access: Access::new(Arc::clone(&store)),
            offers: Offers::new(Arc::clone(&store)),
            store,
            forwarded: ByName::default(),
            alerted: ByName::default(),
            told: watch::channel(Arc::new(config.clone())).0,
            config,
            clock,
            vault,
            rejects: Rejects::default(),
            metrics: Metrics::default(),
            overheard: Overheard::default(),
            recent: Recent::default(),
            joins: JoinLimit::default(),
            limits,
            air: Air::default(),
            sessions: Sessions::default(),
            arrived: Notify::new(),
            stored: watch::channel(()).0,
            live: broadcast::channel(LIVE_KEPT).0,
            live_streams: Arc::new(Semaphore::new(LIVE_STREAMS_MAX)),
            stopping: watch::channel(false).0,
        })
    }
}

impl Core {
    /// What it is told now. Only what can change while it runs differs from [`config`](Self::config).
    pub(crate) fn current(&self) -> Arc<Config> {
        Arc::clone(&self.told.borrow())
    }

    /// What a device is offered, whether it needs it or not.
    pub async fn offer_to(&self, row: &DeviceRow) -> Result<Option<Offer>, StoreError> {
        let Some(said) = Reported::of(row.status.as_deref()) else { return Ok(None) };
        self.offers.of(&self.bundles, row.short_id, &row.id, &said.fingerprint).await
    }
}

/// Counts what is turned away, in memory until the next flush: a flood of bad frames writes little.
#[derive(Default)]
pub(crate) struct Rejects {
    counts: Mutex<HashMap<(u32, i32, Refusal), u64>>,
}

impl Rejects {
    /// Counts one; `device` 0 if none is known.
    pub(crate) fn add(&self, device: u32, why: Option<Refusal>, t_ms: i64) {
        if let Some(why) = why {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry((device, day_of(t_ms), why)).or_default() += 1;
        }
    }

    /// Writes the counts to the store; what does not arrive there is counted again next time.
    pub(crate) async fn flush(&self, store: &dyn Store) {
        let taken = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return;
        }
        let row = |(&(device, day, why), &n): (&(u32, i32, Refusal), &u64)| RejectCount {
            device,
            day,
            reason: why.word().into(),
            n,
        };
        if store.count_rejects(taken.iter().map(row).collect()).await.is_err() {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, n) in taken {
                *counts.entry(key).or_default() += n;
            }
        }
    }
}

/// A sealed frame and when it came.
pub(crate) type SealedAt = (Vec<u8>, i64);

/// The last sealed frame of each device as it came over the network, for the eavesdropper's view.
#[derive(Default)]
pub(crate) struct Overheard {
    frames: Mutex<HashMap<u32, SealedAt>>,
}

impl Overheard {
    pub(crate) fn remember(&self, device: u32, sealed: &[u8], t_ms: i64) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, t_kept) = frames.entry(device).or_default();
        kept.clear();
        kept.extend_from_slice(sealed);
        *t_kept = t_ms;
    }

    pub(crate) fn last(&self, device: u32) -> Option<SealedAt> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).get(&device).cloned()
    }
}
