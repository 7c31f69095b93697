//! Readings on their way to others: a broker, Home Assistant, InfluxDB, a webhook.
//!
//! The store is the outbox. For each target it keeps one place in the order of storing, moved on after the target has
//! confirmed what lies before it; windows are read from there and decoded as for any other reader. So a dead target
//! costs a row, nothing is copied, and ingest never waits: it does not know of targets. What was sent and not yet
//! filed as confirmed is sent again (at least once); each window has an id by which whoever minds can tell. What alerts
//! have to say goes the same way; of that the store has a row for each target until it has confirmed it.

mod broker;
mod config;
mod homeassistant;
mod http;
mod influx;
mod lease;
mod mqtt;
mod payload;
mod secret;
mod webhook;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use config::{BrokerConfig, Format, ForwardConfig, InfluxConfig, MqttConfig, TargetKind, WebhookConfig};
pub(crate) use config::{EXAMPLES, address, parse};
pub(crate) use http::{Answer, Poster};
pub(crate) use lease::Lease;
pub use secret::SecretSource;

use crate::config::Config;
use crate::core::Core;
use crate::readings::Readings;
use crate::store::{FrameId, LogPlace, StoreError};
use worker::Worker;

/// Counts of one target since this server started.
#[derive(Debug, Default)]
pub struct TargetCounts {
    /// Windows the target has confirmed.
    pub passed: AtomicU64,
    /// Windows the target will never take, and said so.
    pub refused: AtomicU64,
    /// Windows that do not decode.
    pub flawed: AtomicU64,
    /// Attempts that failed and are repeated.
    pub failures: AtomicU64,
    /// Words of alerts it has confirmed.
    pub alerts: AtomicU64,
    /// Words of alerts it will never take.
    pub alerts_refused: AtomicU64,
}

/// A window on its way.
struct Parcel {
    at: LogPlace,
    short_id: u32,
    device: Arc<str>,
    origin: FrameId,
    t_arrival: i64,
    readings: Readings,
}

impl Parcel {
    /// Unlike that of any other window of its device.
    fn window_id(&self) -> String {
        format!("{}-{}", self.origin.generation, self.origin.counter)
    }
}

/// What became of some parcels.
struct Delivery {
    /// Parcels from the first on that need not be sent again.
    n_done: usize,
    /// Of those, the ones the target will never take.
    n_refused: usize,
    /// What it said of the last of them.
    refusal: Option<String>,
    /// Why it went no further.
    trouble: Option<Trouble>,
}

/// Why a delivery is to be repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target cannot be reached, or cannot take it now.
    #[error("{0}")]
    Target(String),
}

impl From<crate::trust::Distrust> for Trouble {
    fn from(why: crate::trust::Distrust) -> Self {
        Self::Target(why.to_string())
    }
}

impl Delivery {
    fn all(n_done: usize) -> Self {
        Self { n_done, n_refused: 0, refusal: None, trouble: None }
    }

    /// One more need not be sent again.
    fn add(&mut self, answer: http::Answer) {
        self.n_done += 1;
        if let http::Answer::Refused(why) = answer {
            self.n_refused += 1;
            self.refusal = Some(why);
        }
    }

    fn none(trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..Self::all(0) }
    }
}

/// Text from a target, fit for one line of a log.
pub(crate) fn said(text: &str) -> String {
    crate::config::shorten(text).replace('\n', " ")
}

impl Core {
    /// Passes on what is stored until the server stops.
    pub(crate) async fn pass_on(self: Arc<Self>) {
        let part = |config: &Config| (config.forward.clone(), config.alerts.clone());
        self.hold_to(part, |config, ending| {
            let workers: Vec<_> = config
                .forward
                .iter()
                .filter_map(|target| match Worker::new(Arc::clone(&self), target, &config.alerts) {
                    Ok(worker) => Some(worker.run(ending.clone())),
                    Err(error) => {
                        tracing::error!(target = %target.name, %error, "nothing is passed on to this target");
                        None
                    }
                })
                .collect();
            async {
                futures_util::future::join_all(workers).await;
            }
        })
        .await;
    }
}
