//! Readings outside of limits.

use std::collections::HashMap;
use std::sync::Arc;

use kinglet_codec::Decimal;
use serde_json::json;

use super::config::{AlertConfig, AlertKind, fits};
use super::watch::{Key, Raised, Trouble};
use crate::core::Core;
use crate::http::iso;
use crate::readings::{ChannelInfo, Readings, Value, decode_all, to_f64};
use crate::store::LogPlace;

/// Windows looked at in one round.
const ROUND: u32 = 256;
/// What has lain in the store for longer alarms nobody: the server was away, or had no such rule.
const STALE_MS: i64 = 86_400_000;

pub(super) struct Ranges {
    rules: Arc<[AlertConfig]>,
    stand: HashMap<Key, Stand>,
}

/// Where a channel stands by a rule.
struct Stand {
    /// Time of the last window it was judged by.
    t_last: i64,
    /// It is back within the limits, hysteresis included.
    is_calm: bool,
}

/// How far it has come.
pub(super) struct End {
    pub(super) at: LogPlace,
    /// There may be more.
    pub(super) is_full: bool,
}

/// A reading that is outside, and the limit it is outside of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outside {
    value: Value,
    limit: Decimal,
    is_above: bool,
    /// How far.
    by: f64,
    t_ms: i64,
}

/// The limits of one rule.
struct Limits {
    below: Option<Decimal>,
    above: Option<Decimal>,
    hysteresis: f64,
}

impl Ranges {
    pub(super) fn new(rules: Arc<[AlertConfig]>) -> Self {
        Self { rules, stand: HashMap::new() }
    }

    /// Looks at what was stored since; nothing if there was nothing, or there is no such rule.
    pub(super) async fn judge(
        &mut self,
        core: &Core,
        at: LogPlace,
        raised: &mut Raised,
    ) -> Result<Option<End>, Trouble> {
        let is_range = |kind: &AlertKind| matches!(kind, AlertKind::Range { .. });
        if !self.rules.iter().any(|rule| is_range(&rule.kind)) {
            return Ok(None);
        }
        let rows = core.store.stored_after(at, ROUND).await?;
        let end = rows.last().map(|(at, _)| End { at: *at, is_full: rows.len() == ROUND as usize });
        let now_ms = core.clock.now_ms();
        let fresh = |row: &crate::store::WindowRow| now_ms.saturating_sub(row.t_arrival) <= STALE_MS;
        let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).filter(fresh).collect();
        for (row, decoded) in decode_all(&core.bundles, rows).await? {
            let Ok(readings) = decoded else { continue };
            let Some(device) = core.registry.find(row.device).await? else { continue };
            self.look_at(row.device, device.id.as_str(), &readings, now_ms, raised);
        }
        for key in raised.keys(is_range) {
            if self.stand.get(&key).is_some_and(|stand| stand.is_calm) {
                raised.clear(&key, now_ms);
            }
        }
        Ok(end)
    }

    fn look_at(&mut self, short_id: u32, id: &str, readings: &Readings, now_ms: i64, raised: &mut Raised) {
        for (idx, rule) in self.rules.iter().enumerate() {
            let AlertKind::Range { channel: name, below, above, hysteresis } = &rule.kind else { continue };
            let channels = readings.channels.iter().enumerate();
            let found = channels.clone().find(|(_, channel)| channel.name == *name);
            let Some((at, channel)) = found.filter(|_| fits(&rule.device, id)) else { continue };
            let key: Key = (idx, short_id, name.clone());
            let stand = self.stand.entry(key.clone()).or_insert(Stand { t_last: i64::MIN, is_calm: false });
            // One that was late says nothing of how it is now.
            if readings.t_first < stand.t_last {
                continue;
            }
            stand.t_last = readings.t_first;
            let limits = Limits { below: *below, above: *above, hysteresis: to_f64(*hysteresis) };
            let values = readings.samples().filter_map(|(t_ms, values)| Some((t_ms, *values.get(at)?)));
            let (worst, is_calm) = limits.judge(values, stand.is_calm);
            stand.is_calm = is_calm;
            if let Some(worst) = worst {
                raised.raise(key, now_ms, worst.said(channel), &worst.detail());
            }
        }
    }
}

impl Limits {
    /// The reading farthest outside, and whether the last ones are calm.
    fn judge(
        &self,
        values: impl Iterator<Item = (i64, Value)>,
        mut is_calm: bool,
    ) -> (Option<Outside>, bool) {
        let mut worst: Option<Outside> = None;
        for (t_ms, value) in values {
            let number = match value {
                Value::Number(number) => to_f64(number),
                Value::Above => f64::INFINITY,
                Value::Below => f64::NEG_INFINITY,
                Value::Missing => continue,
            };
            let above = self.above.map(|limit| (limit, true, number - to_f64(limit)));
            let below = self.below.map(|limit| (limit, false, to_f64(limit) - number));
            let is_inside = |side: &(Decimal, bool, f64)| side.2 <= -self.hysteresis;
            let mut sides = [above, below].into_iter().flatten();
            match sides.clone().find(|(.., by)| *by > 0.0) {
                Some((limit, is_above, by)) => {
                    is_calm = false;
                    if worst.is_none_or(|worst| by > worst.by) {
                        worst = Some(Outside { value, limit, is_above, by, t_ms });
                    }
                }
                None => is_calm |= sides.all(|side| is_inside(&side)),
            }
        }
        (worst, is_calm)
    }
}

impl Outside {
    fn said(&self, channel: &ChannelInfo) -> String {
        let unit = if channel.unit.is_empty() { String::new() } else { format!(" {}", channel.unit) };
        let what = match self.value {
            Value::Number(number) => format!("{number}{unit}"),
            _ if self.is_above => "above all that can be said".into(),
            _ => "below all that can be said".into(),
        };
        let side = if self.is_above { "above" } else { "below" };
        format!("{} was {what}, {side} {}{unit}", channel.name, self.limit)
    }

    fn detail(&self) -> serde_json::Value {
        json!({
            "value": crate::http::readings::value_json(&self.value), "limit": to_f64(self.limit),
            "side": if self.is_above { "above" } else { "below" }, "t": iso(self.t_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], was_calm: bool, worst: Option<(&str, &str)>, is_calm: bool) {
        let limits = Limits { below: "2".parse().ok(), above: "30".parse().ok(), hysteresis: 1.0 };
        let value = |text: &&str| match *text {
            "-" => Value::Missing,
            "^" => Value::Above,
            "_" => Value::Below,
            number => Value::Number(number.parse().unwrap()),
        };
        let (found, calm) = limits.judge((0..).zip(values.iter().map(value)), was_calm);
        let found = found.map(|worst| (value(&&*worst.t_ms.to_string()), worst.value, worst.limit));
        let worst = worst.map(|(t, limit)| {
            let idx: usize = t.parse().unwrap();
            (value(&t), value(&values[idx]), limit.parse().unwrap())
        });
        assert_eq!((found, calm), (worst, is_calm), "{values:?}");
    }

    #[test]
    fn the_worst_reading_is_told_and_calm_is_well_inside() {
        check(&["20", "30", "2"], false, None, true);
        check(&["20", "30.1", "35", "31"], true, Some(("2", "30")), false);
        check(&["35", "20"], true, Some(("0", "30")), true);
        check(&["35", "29.5"], false, Some(("0", "30")), false);
        check(&["29.5", "2.5"], true, None, true);
        check(&["1", "-3", "31"], true, Some(("1", "2")), false);
        check(&["^"], false, Some(("0", "30")), false);
        check(&["_", "50"], false, Some(("0", "2")), false);
        check(&["-", "-"], false, None, false);
        check(&["-", "29"], false, None, true);
        check(&[], true, None, true);
    }
}
