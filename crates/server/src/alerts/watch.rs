//! The one who looks: takes what is new, asks each kind of rule, raises and clears what they say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::config::{AlertConfig, AlertKind};
use super::range::Ranges;
use super::refused::Refused;
use super::silence::Silence;
use crate::core::Core;
use crate::forward::Lease;
use crate::metrics;
use crate::registry::RegistryError;
use crate::store::{AlertChange, AlertRow, NewAlert, StoreError};
use crate::vault::VaultError;

/// The name of this work beside that of targets, none of which can have it.
const WORK: &str = "$alerts";
/// From an arrival to the look at it: under load many windows share one.
const BREATH: Duration = Duration::from_millis(200);
/// How often it looks without being woken.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it asks whether another server has let go.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Between two lines of the log about the same trouble.
const REMINDER: Duration = Duration::from_secs(600);
/// Most alerts that are raised at once; more are counted, and raised once there is room.
const RAISED_MAX: usize = 10_000;
/// Cleared alerts that are kept, and how often older ones are taken away.
const KEPT: u32 = 10_000;
const TIDY: Duration = Duration::from_secs(600);
/// Alerts read at once when it begins.
const PAGE: u32 = 1000;

/// What an alert is about: the rule by its place in the configuration, the device, the channel or nothing.
pub(super) type Key = (usize, u32, String);

pub(super) struct Watch {
    core: Arc<Core>,
    rules: Arc<[AlertConfig]>,
    lease: Lease,
    /// What it remembers, while it holds the lease.
    memory: Option<Memory>,
    said: Option<Instant>,
}

struct Memory {
    raised: Raised,
    silence: Silence,
    refused: Refused,
    ranges: Ranges,
    /// When devices and refused frames were last looked at.
    looked: Option<Instant>,
    tidied: Instant,
}

/// What is raised now, as the store has it.
pub(super) struct Raised {
    rules: Arc<[AlertConfig]>,
    open: HashMap<Key, Open>,
    changes: Vec<AlertChange>,
    n_left_out: u64,
}

#[derive(Clone, Copy)]
struct Open {
    id: i64,
    t_raised: i64,
}

/// Why a round could not be ended; the next one begins anew.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Trouble {
    Store(#[from] StoreError),
    Registry(#[from] RegistryError),
}

enum Round {
    More,
    Done,
    Elsewhere,
}

impl Watch {
    pub(super) fn new(core: Arc<Core>, rules: Arc<[AlertConfig]>) -> Result<Self, VaultError> {
        Ok(Self { core, rules, lease: Lease::new(WORK, false)?, memory: None, said: None })
    }

    /// Runs until it is to end.
    pub(super) async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let mut stored = self.core.stored.subscribe();
        while !*ending.borrow() {
            stored.borrow_and_update();
            let pause = match self.round().await {
                Ok(Round::More) => continue,
                Ok(Round::Done) => PATIENCE,
                Ok(Round::Elsewhere) => ELSEWHERE,
                Err(error) => {
                    // What it remembers may not be what the store has.
                    self.memory = None;
                    if self.said.is_none_or(|said| said.elapsed() > REMINDER) {
                        self.said = Some(Instant::now());
                        tracing::warn!(%error, "alerts wait");
                    }
                    PATIENCE
                }
            };
            let woken = async {
                match stored.changed().await {
                    Ok(()) => tokio::time::sleep(BREATH).await,
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = woken => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
        self.lease.release(&self.core).await;
    }

    async fn round(&mut self) -> Result<Round, Trouble> {
        let Some(at) = self.lease.hold(&self.core).await? else {
            self.memory = None;
            return Ok(Round::Elsewhere);
        };
        let memory = match &mut self.memory {
            Some(memory) => memory,
            none => none.insert(Memory::begin(&self.core, Arc::clone(&self.rules)).await?),
        };
        let core = &self.core;
        let end = memory.ranges.judge(core, at, &mut memory.raised).await?;
        let mut judged = Vec::new();
        // Under load it is woken more often than this is worth.
        if memory.looked.is_none_or(|looked| looked.elapsed() >= PATIENCE) {
            memory.looked = Some(Instant::now());
            judged = memory.refused.judge(core, &mut memory.raised).await?;
            memory.silence.judge(core, &mut memory.raised).await?;
        }
        memory.raised.commit(core).await?;
        // Only now: what was not committed is looked at again.
        if !judged.is_empty() {
            core.store.rejects_judged(judged).await?;
        }
        if memory.tidied.elapsed() > TIDY {
            memory.tidied = Instant::now();
            let n_untold = core.store.forget_alerts(KEPT).await?;
            if n_untold > 0 {
                tracing::warn!(n_untold, "words of old alerts were given up; their targets never took them");
            }
        }
        let Some(end) = end else { return Ok(Round::Done) };
        let is_mine = self.lease.pass(core, end.at).await?;
        Ok(match (is_mine, end.is_full) {
            (true, true) => Round::More,
            (true, false) => Round::Done,
            (false, _) => Round::Elsewhere,
        })
    }
}

impl Memory {
    async fn begin(core: &Core, rules: Arc<[AlertConfig]>) -> Result<Self, Trouble> {
        let raised = Raised::read(core, Arc::clone(&rules)).await?;
        Ok(Self {
            raised,
            silence: Silence::begin(core, Arc::clone(&rules)).await?,
            refused: Refused::new(Arc::clone(&rules), core.clock.now_ms()),
            ranges: Ranges::new(rules),
            looked: None,
            tidied: Instant::now(),
        })
    }
}

impl Raised {
    /// What is raised of rules that are no more is cleared, and nobody is told: who was to be is not known any more.
    async fn read(core: &Core, rules: Arc<[AlertConfig]>) -> Result<Self, StoreError> {
        let (mut open, mut changes, mut before) = (HashMap::new(), Vec::new(), i64::MAX);
        let now_ms = core.clock.now_ms();
        loop {
            let rows = core.store.alerts(before, PAGE, true).await?;
            for row in &rows {
                let is_of =
                    |rule: &AlertConfig| rule.name == row.alert.rule && rule.kind.word() == row.alert.kind;
                match rules.iter().position(is_of) {
                    Some(rule) => {
                        let key = (rule, row.alert.device, row.alert.channel.clone());
                        open.insert(key, Open { id: row.id, t_raised: row.alert.t_raised });
                    }
                    None => changes.push(AlertChange::Clear { id: row.id, t_ms: now_ms, to: Vec::new() }),
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE as usize => before = last.id,
                _ => return Ok(Self { rules, open, changes, n_left_out: 0 }),
            }
        }
    }

    pub(super) fn is(&self, key: &Key) -> bool {
        self.open.contains_key(key)
    }

    /// Those of some kind of rule.
    pub(super) fn keys(&self, of: impl Fn(&AlertKind) -> bool) -> Vec<Key> {
        let is_of = |key: &&Key| self.rules.get(key.0).is_some_and(|rule| of(&rule.kind));
        self.open.keys().filter(is_of).cloned().collect()
    }

    /// Raises what is not raised, with the next commit.
    pub(super) fn raise(&mut self, key: Key, now_ms: i64, said: String, detail: &serde_json::Value) {
        let Some(rule) = self.rules.get(key.0) else { return };
        if self.open.contains_key(&key) {
            return;
        }
        if self.open.len() >= RAISED_MAX {
            self.n_left_out += 1;
            return;
        }
        let (kind, device, channel) = (rule.kind.word().into(), key.1, key.2.clone());
        let (rule, to) = (rule.name.clone(), rule.to.clone());
        let alert =
            NewAlert { rule, kind, device, channel, said, detail: detail.to_string(), t_raised: now_ms };
        self.changes.push(AlertChange::Raise { alert, to });
        // Its number comes with the commit.
        self.open.insert(key, Open { id: 0, t_raised: now_ms });
    }

    /// Clears what is raised, with the next commit, if it has been for as long as its rule wants.
    pub(super) fn clear(&mut self, key: &Key, now_ms: i64) {
        let Some(rule) = self.rules.get(key.0) else { return };
        let Some(open) = self.open.get(key) else { return };
        // What is about to be raised is cleared in a later round.
        if open.id != 0 && now_ms.saturating_sub(open.t_raised) >= rule.hold_ms {
            self.changes.push(AlertChange::Clear { id: open.id, t_ms: now_ms, to: rule.to.clone() });
            self.open.remove(key);
        }
    }

    async fn commit(&mut self, core: &Core) -> Result<(), StoreError> {
        let n_left_out = std::mem::take(&mut self.n_left_out);
        if n_left_out > 0 {
            tracing::warn!(n_left_out, "more is wrong than can be raised at once");
        }
        if self.changes.is_empty() {
            return Ok(());
        }
        let n_wanted = self.changes.len();
        let changed = core.store.change_alerts(std::mem::take(&mut self.changes)).await?;
        for row in &changed {
            self.note(core, row);
        }
        if changed.len() < n_wanted {
            // Somebody else has changed something meanwhile: the store is right.
            let now = Self::read(core, Arc::clone(&self.rules)).await?;
            (self.open, self.changes) = (now.open, now.changes);
        }
        // Those who tell of it are woken.
        core.stored.send_replace(());
        Ok(())
    }

    fn note(&mut self, core: &Core, row: &AlertRow) {
        let alert = &row.alert;
        let Some(rule) = self.rules.iter().position(|rule| rule.name == alert.rule) else { return };
        let is_over = row.t_cleared.is_some();
        let counts = core.alerted.of(&alert.rule);
        metrics::add(if is_over { &counts.cleared } else { &counts.raised }, 1);
        let (rule_name, device) = (&alert.rule, &row.device_id);
        if is_over {
            tracing::info!(rule = %rule_name, %device, alert = row.id, "an alert is cleared");
            return;
        }
        tracing::warn!(rule = %rule_name, %device, alert = row.id, "an alert is raised");
        if let Some(open) = self.open.get_mut(&(rule, alert.device, alert.channel.clone())) {
            open.id = row.id;
        }
    }
}
