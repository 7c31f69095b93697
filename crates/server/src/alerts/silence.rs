//! Devices that do not come any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::config::{AlertConfig, AlertKind, Patience, fits};
use super::watch::{Key, Raised};
use crate::core::Core;
use crate::habits::{ARRIVALS, interval_ms};
use crate::store::{DeviceRow, StoreError};

/// Devices looked at in one round; the next round goes on behind them.
const PAGE: u32 = 256;
/// Less than this is no silence, however often a device is used to come.
const MIN_MS: i64 = 60_000;
/// If nobody at all was heard for so long before it begins, the server was away and not the devices.
const AWAY_MS: i64 = 300_000;
/// How long an interval counts that was learned.
const RELEARN: Duration = Duration::from_secs(3600);

/// Remembers how often devices are used to come.
pub(super) struct Silence {
    rules: Arc<[AlertConfig]>,
    after: u32,
    usual: HashMap<u32, (Option<i64>, Instant)>,
    /// Nobody could be heard before.
    t_listening: i64,
}

impl Silence {
    pub(super) async fn begin(core: &Core, rules: Arc<[AlertConfig]>) -> Result<Self, StoreError> {
        let is_needed = rules.iter().any(|rule| matches!(rule.kind, AlertKind::Silent(_)));
        let t_heard = if is_needed { last_heard(core).await? } else { i64::MIN };
        let now_ms = core.clock.now_ms();
        let was_away = now_ms.saturating_sub(t_heard) > AWAY_MS;
        let t_listening = if was_away { now_ms } else { i64::MIN };
        Ok(Self { rules, after: 0, usual: HashMap::new(), t_listening })
    }

    /// Looks at the next devices.
    pub(super) async fn judge(&mut self, core: &Core, raised: &mut Raised) -> Result<(), StoreError> {
        let rules: Vec<(usize, Patience, String)> = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(idx, rule)| match rule.kind {
                AlertKind::Silent(patience) => Some((idx, patience, rule.device.clone())),
                _ => None,
            })
            .collect();
        if rules.is_empty() {
            return Ok(());
        }
        let rows = core.store.devices(self.after, PAGE).await?;
        self.after = rows.last().filter(|_| rows.len() == PAGE as usize).map_or(0, |row| row.short_id);
        let now_ms = core.clock.now_ms();
        // Begun by a clock that was ahead.
        self.t_listening = self.t_listening.min(now_ms);
        for row in &rows {
            for (idx, patience, pattern) in &rules {
                let key: Key = (*idx, row.short_id, String::new());
                let is_raised = raised.is(&key);
                let silent = match fits(pattern, &row.id) {
                    true => self.silent(core, row, *patience, now_ms, is_raised).await?,
                    false => None,
                };
                match silent {
                    Some((t_seen, limit_ms)) if !is_raised => {
                        let said = format!("not heard for {}", span(now_ms.saturating_sub(t_seen)));
                        let detail =
                            json!({ "last_seen": crate::http::iso(t_seen), "patience_s": limit_ms / 1000 });
                        raised.raise(key, now_ms, said, &detail);
                    }
                    None if is_raised => raised.clear(&key, now_ms),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// When it was last heard, and how long it may be silent, if it is for longer.
    async fn silent(
        &mut self,
        core: &Core,
        row: &DeviceRow,
        patience: Patience,
        now_ms: i64,
        is_raised: bool,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        // One that never came is not silent: it is not there yet.
        let Some(t_seen) = row.t_last_seen.filter(|_| row.t_revoked.is_none()) else {
            self.usual.remove(&row.short_id);
            return Ok(None);
        };
        let silent_ms =
            now_ms.saturating_sub(t_seen.max(if is_raised { i64::MIN } else { self.t_listening }));
        if silent_ms <= MIN_MS {
            return Ok(None);
        }
        let limit_ms = match patience {
            Patience::Ms(ms) => Some(ms),
            Patience::Intervals(n) => {
                let limit = |usual: Option<i64>| usual.map(|ms| ms.saturating_mul(n.into()).max(MIN_MS));
                let known = self.usual.get(&row.short_id).filter(|(_, since)| since.elapsed() < RELEARN);
                match known.map(|(usual, _)| limit(*usual)) {
                    // What it is used to is looked at once more before anybody is alarmed.
                    Some(Some(ms)) if silent_ms <= ms || is_raised => Some(ms),
                    Some(None) => None,
                    _ => limit(self.learn(core, row.short_id).await?),
                }
            }
        };
        Ok(limit_ms.filter(|ms| silent_ms > *ms).map(|ms| (t_seen, ms)))
    }

    /// How long a device usually stays away; nothing of one that has sent no window.
    async fn learn(&mut self, core: &Core, short_id: u32) -> Result<Option<i64>, StoreError> {
        let rows = core.store.windows(short_id, 0, i64::MAX, ARRIVALS).await?;
        let mut span_ms = 0;
        for row in &rows {
            if let Some(bundle) = core.bundles.get(&row.bundle).await? {
                let model = bundle.model();
                let n_samples = row.n_samples.map_or(model.samples() as i64, i64::from);
                span_ms = span_ms.max(i64::from(model.period_ms()).saturating_mul(n_samples));
            }
        }
        let usual = interval_ms(rows.iter().map(|row| row.t_arrival).collect(), span_ms);
        let usual = Some(usual).filter(|ms| *ms > 0);
        self.usual.insert(short_id, (usual, Instant::now()));
        Ok(usual)
    }
}

/// When anybody was last heard.
async fn last_heard(core: &Core) -> Result<i64, StoreError> {
    let (mut t_heard, mut after) = (i64::MIN, 0);
    loop {
        let rows = core.store.devices(after, PAGE).await?;
        t_heard = rows.iter().filter_map(|row| row.t_last_seen).fold(t_heard, i64::max);
        match rows.last() {
            Some(last) if rows.len() == PAGE as usize => after = last.short_id,
            _ => return Ok(t_heard),
        }
    }
}

/// `14 min`, `3 h`.
fn span(ms: i64) -> String {
    match ms / 60_000 {
        n if n < 120 => format!("{n} min"),
        n if n < 48 * 60 => format!("{} h", n / 60),
        n => format!("{} days", n / (24 * 60)),
    }
}
