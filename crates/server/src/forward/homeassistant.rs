//! Home Assistant's device discovery: one retained message per device that says what it measures, and live values as
//! states. Old readings are for the store: Home Assistant takes every state for one of now.
//!
//! Keys as in <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};

use super::{Parcel, Trouble};
use crate::core::Core;
use crate::habits::{ARRIVALS, interval_ms};
use crate::readings::{ChannelInfo, Readings, Value, to_f64};

/// How often it is looked whether a device's interval has changed.
const RECHECK: Duration = Duration::from_secs(600);
const EXPIRE_MIN_S: i64 = 60;
const EXPIRE_MAX_S: i64 = 7 * 86_400;

/// A message for the broker.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) body: Vec<u8>,
    pub(super) retain: bool,
}

/// What is new for Home Assistant.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What devices measure. Home Assistant listens for states only after it has read this.
    pub(super) introductions: Vec<Message>,
    /// Values of now.
    pub(super) states: Vec<Message>,
}

pub(super) struct HomeAssistant {
    prefix: String,
    topic: String,
    known: HashMap<u32, Known>,
}

/// What Home Assistant was told of a device.
struct Known {
    announced: Option<String>,
    checked: Instant,
    expire_s: i64,
    /// The longest of its windows so far: a first one may be short.
    span_ms: i64,
    /// Time of the state it shows.
    t_state: i64,
}

impl HomeAssistant {
    pub(super) fn new(prefix: &str, topic: &str) -> Self {
        Self { prefix: prefix.into(), topic: topic.into(), known: HashMap::new() }
    }

    /// After a new connection: the broker may have forgotten what it was told to retain.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// What these windows change on Home Assistant's pages: of each device its last values, if they are of now.
    pub(super) async fn news(&mut self, core: &Core, parcels: &[Parcel]) -> Result<News, Trouble> {
        let mut newest = HashMap::<u32, &Parcel>::new();
        for parcel in parcels {
            let entry = newest.entry(parcel.short_id).or_insert(parcel);
            if t_last(&parcel.readings) >= t_last(&entry.readings) {
                *entry = parcel;
            }
        }
        let mut news = News::default();
        for parcel in parcels.iter().filter(|p| newest.get(&p.short_id).is_some_and(|n| n.at == p.at)) {
            let span_ms = parcel.readings.extent().span_ms;
            let is_due = |known: &Known| known.checked.elapsed() > RECHECK || span_ms > known.span_ms;
            if self.known.get(&parcel.short_id).is_none_or(is_due) {
                news.introductions.extend(self.announce(core, parcel).await?);
            }
            let Some(known) = self.known.get_mut(&parcel.short_id) else { continue };
            let t_state = t_last(&parcel.readings);
            let is_live = core.clock.now_ms().saturating_sub(t_state) <= known.expire_s.saturating_mul(1000);
            if is_live && t_state > known.t_state {
                known.t_state = t_state;
                let topic = format!("{}/{}/state", self.topic, parcel.device);
                news.states.push(Message { topic, body: state(&parcel.readings), retain: false });
            }
        }
        Ok(news)
    }

    /// The discovery message, if it is not the one that was sent last.
    async fn announce(&mut self, core: &Core, parcel: &Parcel) -> Result<Option<Message>, Trouble> {
        let rows = core.store.windows(parcel.short_id, 0, i64::MAX, ARRIVALS).await?;
        let longest_ms = self.known.get(&parcel.short_id).map_or(0, |known| known.span_ms);
        let span_ms = parcel.readings.extent().span_ms.max(longest_ms);
        let expire_s = expire_after_s(rows.iter().map(|row| row.t_arrival).collect(), span_ms);
        let row = core.store.device_by_short_id(parcel.short_id).await?;
        let name = row.map(|row| row.name).filter(|name| !name.is_empty());
        let name = name.as_deref().unwrap_or(&parcel.device);
        let text =
            discovery(&self.topic, &parcel.device, name, &parcel.readings.channels, expire_s).to_string();
        let checked = Instant::now();
        let known = self.known.entry(parcel.short_id).or_insert(Known {
            announced: None,
            checked,
            expire_s,
            span_ms,
            t_state: i64::MIN,
        });
        (known.checked, known.expire_s, known.span_ms) = (checked, expire_s, span_ms);
        if known.announced.as_ref() == Some(&text) {
            return Ok(None);
        }
        let topic = format!("{}/device/{}/config", self.prefix, node_id(&parcel.device));
        known.announced = Some(text.clone());
        Ok(Some(Message { topic, body: text.into_bytes(), retain: true }))
    }
}

fn t_last(readings: &Readings) -> i64 {
    readings.samples().next_back().map_or(readings.t_first, |(t_ms, _)| t_ms)
}

fn discovery(topic: &str, device: &str, name: &str, channels: &[ChannelInfo], expire_s: i64) -> Json {
    let node = node_id(device);
    let mut components = Map::new();
    for (key, channel) in keys(channels).into_iter().zip(channels) {
        let mut sensor = json!({
            "p": "sensor",
            "name": channel.name,
            "unique_id": format!("{node}_{key}"),
            // The key has only letters, digits and `_`: what people call a channel is no part of a template.
            "value_template": format!("{{{{ value_json['{key}'] }}}}"),
            "state_class": "measurement",
            "suggested_display_precision": channel.digits,
            "expire_after": expire_s,
        });
        if !channel.unit.is_empty() {
            sensor["unit_of_measurement"] = channel.unit.as_str().into();
        }
        if let Some(class) = device_class(&channel.unit, &channel.name) {
            sensor["device_class"] = class.into();
        }
        components.insert(key, sensor);
    }
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "dev": { "ids": node, "name": name, "mf": "Kinglet", "sn": device },
        "o": { "name": "kinglet", "sw": version },
        "cmps": components,
        "state_topic": format!("{topic}/{device}/state"),
        "availability_topic": format!("{topic}/status"),
        "qos": 1,
    })
}

/// The last value of each channel in the window's last sample.
fn state(readings: &Readings) -> Vec<u8> {
    let last = readings.samples().next_back().map(|(_, values)| values).unwrap_or_default();
    let value = |value: &Value| match value {
        Value::Number(number) => to_f64(*number).into(),
        // Shown as unknown.
        _ => Json::Null,
    };
    let state: Map<String, Json> = keys(&readings.channels).into_iter().zip(last.iter().map(value)).collect();
    Json::from(state).to_string().into_bytes()
}

/// A key of small letters, digits and `_` for each channel, all different.
fn keys(channels: &[ChannelInfo]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::with_capacity(channels.len());
    for channel in channels {
        let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let slug: String = channel.name.chars().map(fits).collect();
        let mut key = if slug.is_empty() { "value".into() } else { slug.clone() };
        let mut n = 2;
        while keys.contains(&key) {
            key = format!("{slug}_{n}");
            n += 1;
        }
        keys.push(key);
    }
    keys
}

/// A device's id in letters, digits, `_` and `-`, unlike that of any other device.
fn node_id(device: &str) -> String {
    let escape = |c: char| match c {
        '_' => "__".into(),
        '.' => "_d".into(),
        ':' => "_c".into(),
        c => c.to_string(),
    };
    format!("kinglet_{}", device.chars().map(escape).collect::<String>())
}

/// Home Assistant's word for what is measured, where unit and name leave no doubt. Each takes the unit as it is.
fn device_class(unit: &str, name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    Some(match unit {
        "°C" | "°F" => "temperature",
        "%" if says(&["humid"]) || name == "rh" => "humidity",
        "%" if says(&["moist"]) => "moisture",
        "%" if says(&["batter"]) => "battery",
        "hPa" | "mbar" | "kPa" | "Pa" | "bar" | "psi" | "mmHg" | "inHg" => "pressure",
        "ppm" if says(&["co2", "co₂", "carbon dioxide", "carbon_dioxide"]) => "carbon_dioxide",
        "ppm" | "ppb" if says(&["voc"]) => "volatile_organic_compounds_parts",
        "lx" => "illuminance",
        "V" | "mV" => "voltage",
        "A" | "mA" => "current",
        "W" | "kW" => "power",
        "Hz" => "frequency",
        "W/m²" => "irradiance",
        "dBm" => "signal_strength",
        "km/h" | "m/s" if says(&["wind", "gust"]) => "wind_speed",
        _ => return None,
    })
}

/// Three visits of the device missed, to a whole number of minutes; by doublings, so that it rarely changes.
fn expire_after_s(arrivals: Vec<i64>, span_ms: i64) -> i64 {
    let wanted_s = interval_ms(arrivals, span_ms).saturating_mul(3) / 1000 + 1;
    let mut expire_s = EXPIRE_MIN_S;
    while expire_s < wanted_s && expire_s < EXPIRE_MAX_S {
        expire_s *= 2;
    }
    expire_s.min(EXPIRE_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::super::payload::tests::parcel;
    use super::*;

    fn told(device: &str, name: &str, channels: [(&str, &str); 2]) -> Json {
        discovery("kinglet", device, name, &parcel(device, channels).readings.channels, 480)
    }

    #[test]
    fn one_message_says_what_a_device_measures() {
        let expected = json!({
            "dev": { "ids": "kinglet_porch_d2", "name": "Porch", "mf": "Kinglet", "sn": "porch.2" },
            "o": { "name": "kinglet", "sw": env!("CARGO_PKG_VERSION") },
            "cmps": {
                "temperature": {
                    "p": "sensor", "name": "temperature", "unique_id": "kinglet_porch_d2_temperature",
                    "value_template": "{{ value_json['temperature'] }}", "state_class": "measurement",
                    "device_class": "temperature", "unit_of_measurement": "°C",
                    "suggested_display_precision": 1, "expire_after": 480,
                },
                "humidity": {
                    "p": "sensor", "name": "humidity", "unique_id": "kinglet_porch_d2_humidity",
                    "value_template": "{{ value_json['humidity'] }}", "state_class": "measurement",
                    "device_class": "humidity", "unit_of_measurement": "%",
                    "suggested_display_precision": 1, "expire_after": 480,
                },
            },
            "state_topic": "kinglet/porch.2/state",
            "availability_topic": "kinglet/status",
            "qos": 1,
        });
        assert_eq!(told("porch.2", "Porch", [("temperature", "°C"), ("humidity", "%")]), expected);
    }

    #[test]
    fn no_name_gets_into_a_template_or_an_id() {
        for name in ["'] }}{{ states('a') }}", "a b", "é\u{1F600}", "", "values", "\"}"] {
            let said = told("a:b._", name, [(name, name), (name, "")]);
            let cmps = said["cmps"].as_object().unwrap();
            assert_eq!(cmps.len(), 2);
            for (key, sensor) in cmps {
                assert!(
                    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
                    "{key}"
                );
                assert_eq!(sensor["value_template"], format!("{{{{ value_json['{key}'] }}}}"));
                assert_eq!(sensor["name"], name);
            }
            assert_eq!(said["dev"]["ids"], "kinglet_a_cb_d__");
        }
        assert_ne!(node_id("a_.b"), node_id("a._b"));
        assert_ne!(node_id("a_d"), node_id("a."));
    }

    #[test]
    fn classes_only_where_unit_and_name_tell() {
        let check = |unit, name, class| assert_eq!(device_class(unit, name), class, "{name} in {unit}");
        check("°C", "t1", Some("temperature"));
        check("%", "Relative humidity", Some("humidity"));
        check("%", "valve", None);
        check("ppm", "CO2", Some("carbon_dioxide"));
        check("ppm", "salt", None);
        check("hPa", "p", Some("pressure"));
        check("m/s", "speed", None);
        check("", "temperature", None);
    }

    #[test]
    fn states_expire_after_three_missed_visits() {
        let check = |arrivals: &[i64], span_ms, expected| {
            assert_eq!(expire_after_s(arrivals.to_vec(), span_ms), expected, "{arrivals:?}");
        };
        check(&[], 0, 60);
        check(&[5], 10_000, 60);
        check(&[5], 600_000, 1920);
        // Every ten minutes, two windows at a time, one visit missed.
        let t = |minutes: i64| minutes * 60_000;
        check(&[t(0), t(0) + 20, t(10), t(10) + 30, t(20), t(40), t(50)], 300_000, 1920);
        check(&[0, i64::MAX], 0, EXPIRE_MAX_S);
    }

    #[test]
    fn a_state_has_the_last_values() {
        let state: Json =
            serde_json::from_slice(&state(&parcel("a", [("t", "°C"), ("h", "%")]).readings)).unwrap();
        assert_eq!(state, json!({ "t": -3.0, "h": null }));
    }
}
