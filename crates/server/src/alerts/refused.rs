//! Frames that were refused for what somebody should look at: they did not open, or their counter was used before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::config::{AlertConfig, AlertKind, fits};
use super::watch::{Key, Raised, Trouble};
use crate::core::Core;
use crate::ingest::Refusal;
use crate::store::{RejectCount, day_of};

/// Looks at which so many frames are remembered for each rule and device.
const LOOKS_MAX: usize = 1024;

pub(super) struct Refused {
    rules: Arc<[AlertConfig]>,
    /// Since when it looks.
    t_begun: i64,
    seen: HashMap<Key, Seen>,
}

/// What was lately refused of a device.
#[derive(Default)]
struct Seen {
    /// When it was looked, and how much was new.
    looks: VecDeque<(i64, u64)>,
    n: u64,
    t_last: i64,
}

impl Refused {
    pub(super) fn new(rules: Arc<[AlertConfig]>, now_ms: i64) -> Self {
        Self { rules, t_begun: now_ms, seen: HashMap::new() }
    }

    /// Looks at what has been refused since; gives what the store may take for looked at, once what is raised is committed.
    pub(super) async fn judge(
        &mut self,
        core: &Core,
        raised: &mut Raised,
    ) -> Result<Vec<RejectCount>, Trouble> {
        let rules = Arc::clone(&self.rules);
        let limits = |kind: &AlertKind| match kind {
            AlertKind::NotOpened { n_frames, within_ms } => {
                Some((Refusal::NotOpened, u64::from(*n_frames), *within_ms))
            }
            AlertKind::CounterReuse => Some((Refusal::CounterReuse, 1, 0)),
            _ => None,
        };
        if !rules.iter().any(|rule| limits(&rule.kind).is_some()) {
            return Ok(Vec::new());
        }
        let now_ms = core.clock.now_ms();
        // Yesterday's too: midnight may lie between a frame and the look at it.
        let news = core.store.unjudged_rejects(day_of(now_ms).saturating_sub(1)).await?;
        for row in news.iter().filter(|row| row.device != 0) {
            for (idx, rule) in rules.iter().enumerate() {
                let Some((why, n_frames, within_ms)) = limits(&rule.kind) else { continue };
                if row.reason != why.word() {
                    continue;
                }
                let Some(device) = core.registry.find(row.device).await? else { continue };
                if !fits(&rule.device, device.id.as_str()) {
                    continue;
                }
                let key: Key = (idx, row.device, String::new());
                let seen = self.seen.entry(key.clone()).or_default();
                seen.add(now_ms, row.n, within_ms);
                if seen.n >= n_frames {
                    let n = seen.n;
                    let frames = if n == 1 { "frame" } else { "frames" };
                    let (said, detail) = match why {
                        Refusal::CounterReuse => {
                            let said = match n {
                                1 => "a counter was used again for another frame".to_owned(),
                                n => format!("counters were used again for {n} other frames"),
                            };
                            (said, json!({ "frames": n }))
                        }
                        _ => (
                            format!(
                                "{n} {frames} within {} min did not open under its keys",
                                within_ms / 60_000
                            ),
                            json!({ "frames": n, "within_s": within_ms / 1000 }),
                        ),
                    };
                    raised.raise(key, now_ms, said, &detail);
                }
            }
        }
        self.calm_down(now_ms, raised, limits);
        Ok(news)
    }

    /// Clears what has not happened again for as long as its rule looks back.
    fn calm_down(
        &mut self,
        now_ms: i64,
        raised: &mut Raised,
        limits: impl Fn(&AlertKind) -> Option<(Refusal, u64, i64)>,
    ) {
        for key in raised.keys(|kind| limits(kind).is_some()) {
            let Some(rule) = self.rules.get(key.0) else { continue };
            let quiet_ms = limits(&rule.kind).map_or(0, |(.., within_ms)| within_ms).max(rule.hold_ms);
            let t_last = self.seen.get(&key).map_or(self.t_begun, |seen| seen.t_last);
            if now_ms.saturating_sub(t_last) >= quiet_ms {
                raised.clear(&key, now_ms);
            }
        }
        // Of what is over nothing needs to be remembered.
        let rules = &self.rules;
        self.seen.retain(|key, seen| {
            let within_ms = rules.get(key.0).and_then(|rule| limits(&rule.kind)).map_or(0, |(.., ms)| ms);
            raised.is(key) || now_ms.saturating_sub(seen.t_last) < within_ms
        });
    }
}

impl Seen {
    fn add(&mut self, now_ms: i64, n: u64, within_ms: i64) {
        self.looks.push_back((now_ms, n));
        self.n = self.n.saturating_add(n);
        self.t_last = now_ms;
        while let Some((t, n)) = self.looks.front().copied() {
            if self.looks.len() <= LOOKS_MAX && now_ms.saturating_sub(t) <= within_ms {
                break;
            }
            self.looks.pop_front();
            self.n = self.n.saturating_sub(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_recent_counts() {
        let mut seen = Seen::default();
        for (t, n, sum) in [(0, 5, 5), (600, 5, 10), (601, 1, 6), (2000, 3, 3)] {
            seen.add(t, n, 600);
            assert_eq!(seen.n, sum, "at {t}");
        }
    }
}
