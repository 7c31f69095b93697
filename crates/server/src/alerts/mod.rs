//! What is to be noticed: devices that do not come, frames that do not open, counters used twice, readings outside limits.
//!
//! One server at a time looks (`watch`), on its lease in the store; what it finds is raised and cleared by rows of which
//! the database lets each be raised once at a time. In the same transaction each target named comes to be owed a word of it,
//! and is told by the worker that passes readings on to it ([`forward`](crate::forward)). Taking frames in knows of none of it.

mod config;
mod range;
mod refused;
mod silence;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

pub use config::{AlertConfig, AlertKind, Patience};
pub(crate) use config::{EXAMPLES, check, parse};

use crate::config::Config;
use crate::core::Core;
use crate::http::iso;
use crate::store::{AlertRow, AlertStep};

/// Alerts of one rule since this server started.
#[derive(Debug, Default)]
pub struct AlertCounts {
    /// That it raised.
    pub raised: AtomicU64,
    /// That it cleared.
    pub cleared: AtomicU64,
}

/// An alert as others read it, as it was at this step.
pub fn alert_json(row: &AlertRow, step: AlertStep) -> Value {
    let alert = &row.alert;
    let cleared = row.t_cleared.filter(|_| step == AlertStep::Cleared);
    json!({
        "alert": row.id, "state": step.word(), "rule": alert.rule, "kind": alert.kind, "device": row.device_id,
        "channel": (!alert.channel.is_empty()).then_some(&alert.channel),
        "raised": iso(alert.t_raised), "cleared": cleared.map(iso), "text": alert.said,
        "detail": serde_json::from_str::<Value>(&alert.detail).unwrap_or_default(),
    })
}

impl Core {
    /// Looks for what the rules say until the server stops.
    pub(crate) async fn be_alert(self: Arc<Self>) {
        let mut has_looked = false;
        let work = |config: Arc<Config>, ending| {
            // What was raised by rules that have been taken away is cleared.
            has_looked |= !config.alerts.is_empty();
            let rules = has_looked.then(|| config.alerts.clone().into());
            Arc::clone(&self).look(rules, ending)
        };
        self.hold_to(|config| config.alerts.clone(), work).await;
    }

    async fn look(self: Arc<Self>, rules: Option<Arc<[AlertConfig]>>, ending: Receiver<bool>) {
        match rules.map(|rules| watch::Watch::new(self, rules)) {
            Some(Ok(watch)) => watch.run(ending).await,
            Some(Err(error)) => tracing::error!(%error, "nothing is looked for, and no alert raised"),
            None => {}
        }
    }
}
