//! One target: reads on from its place, sends, files what was confirmed, waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::config::{ForwardConfig, TargetKind};
use super::influx::Influx;
use super::lease::Lease;
use super::mqtt::Mqtt;
use super::webhook::Webhook;
use super::{Delivery, Parcel, TargetCounts, Trouble};
use crate::alerts::AlertConfig;
use crate::core::Core;
use crate::metrics;
use crate::pace::{Meter, Pace};
use crate::readings::decode_all;
use crate::store::{AlertRow, AlertStep, LogPlace, WindowRow};

/// From an arrival to the look at the store: under load many windows go together.
const BREATH: Duration = Duration::from_millis(100);
/// How often it looks without being woken: another server may have stored something.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it asks whether another server has let go of the target.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Waits after failures, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long the end of a delivery is waited for when the worker is to end.
const LAST: Duration = Duration::from_secs(3);
/// Between two lines of the log about the same trouble.
const REMINDER: Duration = Duration::from_secs(600);
/// Words of alerts at once, and in a minute: that a thousand devices are silent is no reason to be flooded.
const WORDS: u32 = 16;
const WORDS_PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Worker {
    core: Arc<Core>,
    name: String,
    lease: Lease,
    target: Target,
    /// Readings go there, and words of alerts.
    passes_readings: bool,
    is_told: bool,
    begun: Instant,
    words: Meter,
    counts: Arc<TargetCounts>,
    failing: Failing,
}

enum Target {
    Mqtt(Box<Mqtt>),
    Influx(Influx),
    Webhook(Webhook),
}

/// What a round has brought.
enum Round {
    /// There may be more at once.
    More,
    /// Everything is passed on.
    Done,
    /// Another server does it.
    Elsewhere,
}

/// Failures in a row.
#[derive(Default)]
struct Failing {
    n: u32,
    said: Option<Instant>,
    refusal_said: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        core: Arc<Core>,
        config: &ForwardConfig,
        alerts: &[AlertConfig],
    ) -> Result<Self, Trouble> {
        let lease = Lease::new(&config.name, config.history).map_err(|e| Trouble::Target(e.to_string()))?;
        let target = match &config.kind {
            TargetKind::Mqtt(mqtt) => Target::Mqtt(Box::new(Mqtt::new(mqtt, &config.name))),
            TargetKind::Influx(influx) => Target::Influx(Influx::new(influx)?),
            TargetKind::Webhook(webhook) => Target::Webhook(Webhook::new(webhook)?),
        };
        let (name, passes_readings) = (config.name.clone(), config.kind.passes_readings());
        let is_told = alerts.iter().any(|rule| rule.to.contains(&name));
        let counts = core.forwarded.of(&name);
        let (begun, words, failing) = (Instant::now(), Meter::default(), Failing::default());
        Ok(Self { core, name, lease, target, passes_readings, is_told, begun, words, counts, failing })
    }

    /// Runs until it is to end.
    pub(super) async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let mut stored = self.core.stored.subscribe();
        while !*ending.borrow() {
            stored.borrow_and_update();
            let last = async {
                // An error is a sender that is gone, and that is an end too.
                let _ = ending.wait_for(|ending| *ending).await;
                tokio::time::sleep(LAST).await;
            };
            let round = tokio::select! {
                round = self.round() => round,
                () = last => break,
            };
            let pause = match round {
                Ok(Round::More) => continue,
                Ok(Round::Done) => PATIENCE,
                Ok(Round::Elsewhere) => ELSEWHERE,
                Err(trouble) => self.fails(&trouble),
            };
            let is_done = pause == PATIENCE;
            let woken = async {
                match is_done && stored.changed().await.is_ok() {
                    true => tokio::time::sleep(BREATH).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = woken => {}
                () = self.target.idle() => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
        self.target.close().await;
        self.lease.release(&self.core).await;
    }

    async fn round(&mut self) -> Result<Round, Trouble> {
        let Some(at) = self.hold().await? else { return Ok(Round::Elsewhere) };
        let is_more = self.tell().await?;
        let limit = self.target.windows();
        let rows = self.core.store.stored_after(at, limit).await?;
        let Some((end, _)) = rows.last() else {
            self.target.keep().await?;
            self.works();
            return Ok(if is_more { Round::More } else { Round::Done });
        };
        let end = *end;
        let (is_full, n_rows) = (rows.len() == limit as usize, rows.len());
        // Where nothing is passed on the place moves all the same: what comes later begins with what comes then.
        let parcels = if self.passes_readings { self.pack(rows).await? } else { Vec::new() };
        let Delivery { n_done, n_refused, refusal, trouble } =
            self.target.deliver(&self.core, &parcels).await;
        // What does not decode counts as done with what stands before it.
        let to = match parcels.get(..n_done).and_then(<[Parcel]>::last) {
            _ if n_done == parcels.len() => Some(end),
            last => last.map(|parcel| parcel.at),
        };
        if let Some(to) = to {
            if !self.lease.pass(&self.core, to).await? {
                return Ok(Round::Elsewhere);
            }
            metrics::add(&self.counts.passed, (n_done - n_refused) as u64);
            metrics::add(&self.counts.refused, n_refused as u64);
            if n_done == parcels.len() && self.passes_readings {
                metrics::add(&self.counts.flawed, (n_rows - n_done) as u64);
            }
        }
        self.note_refusal(n_refused, refusal);
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.works();
        Ok(if is_full || is_more { Round::More } else { Round::Done })
    }

    /// The place it stands at, if it has the target or gets it now.
    async fn hold(&mut self) -> Result<Option<LogPlace>, Trouble> {
        let was_held = self.lease.is_held();
        let at = self.lease.hold(&self.core).await?;
        if was_held && at.is_none() {
            self.target.close().await;
        }
        if let Some(n) = self.lease.lost().filter(|_| self.passes_readings) {
            tracing::warn!(target = %self.name, n, "retention has deleted windows before they could be passed on");
        }
        Ok(at)
    }

    /// Tells the target what alerts say. Before readings: there are few, and somebody waits for them. True if there may be
    /// more at once.
    async fn tell(&mut self) -> Result<bool, Trouble> {
        if !self.is_told {
            return Ok(false);
        }
        let mut due = self.core.store.due_alerts(&self.name, WORDS).await?;
        let is_full = due.len() == WORDS as usize;
        let now_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let pace = Pace::new(WORDS_PER_MINUTE, MINUTE, MINUTE);
        let n_now = due.iter().take_while(|_| self.words.take(pace, now_ns, 1).is_ok()).count();
        due.truncate(n_now);
        if due.is_empty() {
            return Ok(false);
        }
        let Delivery { n_done, n_refused, refusal, trouble } = self.target.tell(&due).await;
        let told = due.iter().take(n_done).map(|(step, row)| (*step, row.id)).collect();
        self.core.store.alerts_told(&self.name, told).await?;
        metrics::add(&self.counts.alerts, (n_done - n_refused) as u64);
        metrics::add(&self.counts.alerts_refused, n_refused as u64);
        self.note_refusal(n_refused, refusal);
        trouble.map_or(Ok(is_full), Err)
    }

    fn note_refusal(&mut self, n_refused: usize, refusal: Option<String>) {
        if let Some(why) = refusal
            && self.failing.refusal_said.is_none_or(|said| said.elapsed() > REMINDER)
        {
            self.failing.refusal_said = Some(Instant::now());
            tracing::warn!(target = %self.name, n_refused, why, "the target refuses what it is sent; it is left out there");
        }
    }

    /// Decodes; what has no device any more or does not decode is left out.
    async fn pack(&self, rows: Vec<(LogPlace, WindowRow)>) -> Result<Vec<Parcel>, Trouble> {
        let (places, rows): (Vec<LogPlace>, Vec<WindowRow>) = rows.into_iter().unzip();
        let mut parcels = Vec::with_capacity(rows.len());
        for ((row, decoded), at) in decode_all(&self.core.bundles, rows).await?.into_iter().zip(places) {
            let Ok(readings) = decoded else { continue };
            let found = self.core.registry.find(row.device).await;
            let device = match found.map_err(|e| Trouble::Target(e.to_string()))? {
                Some(device) => Arc::from(device.id.as_str()),
                None => continue,
            };
            let (short_id, origin, t_arrival) = (row.device, row.origin, row.t_arrival);
            parcels.push(Parcel { at, short_id, device, origin, t_arrival, readings });
        }
        Ok(parcels)
    }

    /// Says it, now and then, and how long to wait.
    fn fails(&mut self, trouble: &Trouble) -> Duration {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        if self.failing.said.is_none_or(|said| said.elapsed() > REMINDER) {
            self.failing.said = Some(Instant::now());
            tracing::warn!(target = %self.name, error = %trouble, "readings wait in the store until they can be passed on");
        }
        let pause = RETRY_MIN.saturating_mul(1 << self.failing.n.min(16)).min(RETRY_MAX);
        self.failing.n += 1;
        pause
    }

    fn works(&mut self) {
        if self.failing.n > 0 {
            tracing::info!(target = %self.name, attempts = self.failing.n, "the target takes readings again");
            (self.failing.n, self.failing.said) = (0, None);
        }
    }
}

impl Target {
    /// Most windows at once: what is in memory, and what is sent again at worst.
    fn windows(&self) -> u32 {
        match self {
            Self::Mqtt(_) => 64,
            Self::Influx(_) => 256,
            Self::Webhook(_) => 16,
        }
    }

    async fn deliver(&mut self, core: &Core, parcels: &[Parcel]) -> Delivery {
        match self {
            _ if parcels.is_empty() => Delivery::all(0),
            Self::Mqtt(mqtt) => mqtt.deliver(core, parcels).await,
            Self::Influx(influx) => influx.deliver(parcels).await,
            Self::Webhook(webhook) => webhook.deliver(parcels).await,
        }
    }

    /// Says what has happened to alerts.
    async fn tell(&mut self, due: &[(AlertStep, AlertRow)]) -> Delivery {
        match self {
            Self::Mqtt(mqtt) => mqtt.tell(due).await,
            Self::Webhook(webhook) => webhook.tell(due).await,
            // The configuration names none for alerts.
            Self::Influx(_) => Delivery::all(due.len()),
        }
    }

    /// Connects where the connection itself says something.
    async fn keep(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Mqtt(mqtt) => mqtt.keep().await,
            Self::Influx(_) | Self::Webhook(_) => Ok(()),
        }
    }

    /// Keeps a connection alive that has nothing to do; ends when it is lost.
    async fn idle(&mut self) {
        match self {
            Self::Mqtt(mqtt) => mqtt.idle().await,
            Self::Influx(_) | Self::Webhook(_) => std::future::pending().await,
        }
    }

    async fn close(&mut self) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.close().await;
        }
    }
}
