//! One target: reads on from its place, sends, files what was confirmed, waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::config::{ForwardConfig, TargetKind};
use super::influx::Influx;
use super::mqtt::Mqtt;
use super::webhook::Webhook;
use super::{Delivery, Parcel, TargetCounts, Trouble};
use crate::config::StoreChoice;
use crate::core::Core;
use crate::readings::Decoder;
use crate::store::{LogPlace, TargetClaim, WindowRow};

/// From an arrival to the look at the store: under load many windows go together.
const BREATH: Duration = Duration::from_millis(100);
/// How often it looks without being woken: another server may have stored something.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it asks whether another server has let go of the target.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Waits after failures, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Nobody else gets the target for so long after its holder has last asked. The embedded store has one server; what
/// died there is not waited for.
const LEASE: Duration = Duration::from_secs(30);
const LEASE_EMBEDDED: Duration = Duration::from_secs(1);
/// How often the holder looks for losses in the embedded store, where it need not ask for the target again.
const LOOK: Duration = Duration::from_secs(60);
/// How long the end of a delivery is waited for when the server stops.
const LAST: Duration = Duration::from_secs(3);
/// Between two lines of the log about the same trouble.
const REMINDER: Duration = Duration::from_secs(600);
/// Windows decoded before other tasks get their turn.
const TURN: usize = 64;

pub(super) struct Worker {
    core: Arc<Core>,
    name: String,
    history: bool,
    owner: i64,
    target: Target,
    counts: Arc<TargetCounts>,
    /// Where it stands, while it holds the target, and when it last asked for it.
    held: Option<(LogPlace, Instant)>,
    n_lost: u64,
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
        counts: Arc<TargetCounts>,
    ) -> Result<Self, Trouble> {
        let mut drawn = [0; 8];
        crate::vault::random(&mut drawn).map_err(|e| Trouble::Target(e.to_string()))?;
        let owner = i64::from_be_bytes(drawn) & i64::MAX | 1;
        let target = match &config.kind {
            TargetKind::Mqtt(mqtt) => Target::Mqtt(Box::new(Mqtt::new(mqtt, &config.name))),
            TargetKind::Influx(influx) => Target::Influx(Influx::new(influx)?),
            TargetKind::Webhook(webhook) => Target::Webhook(Webhook::new(webhook)?),
        };
        let (name, history, failing) = (config.name.clone(), config.history, Failing::default());
        Ok(Self { core, name, history, owner, target, counts, held: None, n_lost: 0, failing })
    }

    /// Runs until the server stops.
    pub(super) async fn run(mut self) {
        let mut stopping = self.core.stopping.subscribe();
        let mut stored = self.core.stored.subscribe();
        while !*stopping.borrow() {
            stored.borrow_and_update();
            let last = async {
                // An error is a sender that is gone, and that is an end too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
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
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        self.target.close().await;
        // If that fails the lease ends by itself.
        let _ = self.core.store.release_target(&self.name, self.owner).await;
    }

    async fn round(&mut self) -> Result<Round, Trouble> {
        let Some(at) = self.hold().await? else { return Ok(Round::Elsewhere) };
        let limit = self.target.windows();
        let rows = self.core.store.stored_after(at, limit).await?;
        let Some((end, _)) = rows.last() else {
            self.target.keep().await?;
            self.works();
            return Ok(Round::Done);
        };
        let end = *end;
        let (is_full, n_rows) = (rows.len() == limit as usize, rows.len());
        let parcels = self.pack(rows).await?;
        let Delivery { n_done, n_refused, refusal, trouble } =
            self.target.deliver(&self.core, &parcels).await;
        // What does not decode counts as done with what stands before it.
        let to = match parcels.get(..n_done).and_then(<[Parcel]>::last) {
            _ if n_done == parcels.len() => Some(end),
            last => last.map(|parcel| parcel.at),
        };
        if let Some(to) = to {
            if !self.core.store.pass_target(&self.name, self.owner, to).await? {
                self.held = None;
                return Ok(Round::Elsewhere);
            }
            self.held = self.held.map(|(_, since)| (to, since));
            let add =
                |count: &std::sync::atomic::AtomicU64, n: usize| count.fetch_add(n as u64, Ordering::Relaxed);
            add(&self.counts.passed, n_done - n_refused);
            add(&self.counts.refused, n_refused);
            if n_done == parcels.len() {
                add(&self.counts.flawed, n_rows - n_done);
            }
        }
        if let Some(why) = refusal
            && self.failing.refusal_said.is_none_or(|said| said.elapsed() > REMINDER)
        {
            self.failing.refusal_said = Some(Instant::now());
            tracing::warn!(target = %self.name, n_refused, why, "the target refuses windows; they are left out there");
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.works();
        Ok(if is_full { Round::More } else { Round::Done })
    }

    /// The place it stands at, if it has the target or gets it now.
    async fn hold(&mut self) -> Result<Option<LogPlace>, Trouble> {
        let is_shared = self.core.config.store != StoreChoice::Sqlite;
        if let Some((at, since)) = self.held {
            let is_due = since.elapsed() > if is_shared { LEASE / 3 } else { LOOK };
            if is_due && !is_shared {
                let rows = self.core.store.targets().await?;
                self.note_lost(rows.iter().find(|row| row.target == self.name).map_or(0, |row| row.n_lost));
                self.held = Some((at, Instant::now()));
            }
            if !is_due || !is_shared {
                return Ok(Some(at));
            }
        }
        let lease = if is_shared { LEASE } else { LEASE_EMBEDDED };
        let claim = TargetClaim {
            target: self.name.clone(),
            owner: self.owner,
            lease_ms: lease.as_millis() as i64,
            from_start: self.history,
        };
        let Some(row) = self.core.store.claim_target(claim).await? else {
            if self.held.take().is_some() {
                self.target.close().await;
            }
            return Ok(None);
        };
        self.note_lost(row.n_lost);
        self.held = Some((row.at, Instant::now()));
        Ok(Some(row.at))
    }

    fn note_lost(&mut self, n: u64) {
        if n > self.n_lost {
            self.n_lost = n;
            tracing::warn!(target = %self.name, n, "retention has deleted windows before they could be passed on");
        }
    }

    /// Decodes; what has no device any more or does not decode is left out.
    async fn pack(&self, rows: Vec<(LogPlace, WindowRow)>) -> Result<Vec<Parcel>, Trouble> {
        let (places, rows): (Vec<LogPlace>, Vec<WindowRow>) = rows.into_iter().unzip();
        let mut decoder = Decoder::new(&self.core.bundles);
        let mut parcels = Vec::with_capacity(rows.len());
        let mut places = places.into_iter();
        for turn in rows.chunks(TURN) {
            for ((row, decoded), at) in turn.iter().zip(decoder.decode_all(turn).await?).zip(&mut places) {
                let Ok(readings) = decoded else { continue };
                let found = self.core.registry.find(row.device).await;
                let device = match found.map_err(|e| Trouble::Target(e.to_string()))? {
                    Some(device) => Arc::from(device.id.as_str()),
                    None => continue,
                };
                let (short_id, origin, t_arrival) = (row.device, row.origin, row.t_arrival);
                parcels.push(Parcel { at, short_id, device, origin, t_arrival, readings });
            }
            tokio::task::yield_now().await;
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
