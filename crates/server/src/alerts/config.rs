//! `[[alert]]` in the configuration file.

use kinglet_codec::Decimal;
use serde::Deserialize;

use crate::config::Sections;
use crate::forward::{ForwardConfig, TargetKind};
use crate::readings::to_f64;

const SECTIONS: Sections = Sections { key: "alert", what: "rule" };
/// Longest pattern of device ids.
const PATTERN_LEN_MAX: usize = 64;
const MINUTE_MS: i64 = 60_000;

/// What the commented configuration says of alerts.
pub(crate) const EXAMPLES: &str = r#"
# What is to be noticed, as as many [[alert]] sections as needed (see docs/alerts.md). Alerts are on the dashboard and at
# /v1/alerts; `to` names the [[forward]] targets, of kind mqtt or webhook, that are told as well.
#
# [[alert]]
# kind = "silent"                     # a device does not come any more
# name = "silent"                     # names the rule, by default its kind: do not change it while something is raised
# device = "*"                        # which devices: `*` stands for any letters, `?` for one
# intervals = 4                       # not for so many times as long as it usually stays away
# after_minutes = 90                  # or instead: not for so long, whatever it is used to
# to = ["broker", "hook"]
#
# [[alert]]
# kind = "not_opened"                 # frames under a device's name do not open: a wrong key, or somebody else
# frames = 20
# within_minutes = 10
#
# [[alert]]
# kind = "counter_reuse"              # a device, or a copy of it, uses a number twice
#
# [[alert]]
# kind = "range"                      # readings outside of limits
# name = "frost"
# device = "garden-*"
# channel = "temperature"
# below = 2.0
# above = 35                          # one of the two is enough
# hysteresis = 0.5                    # so far inside of the limits it is over
# hold_minutes = 5                    # and not before so long: what comes and goes is not told each time
"#;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertConfig {
    /// Names it, and what it has raised.
    pub name: String,
    /// Which devices it is about, `*` and `?` as in file names.
    pub device: String,
    /// The targets that are told.
    pub to: Vec<String>,
    /// How long what it has raised stays so at least.
    pub hold_ms: i64,
    /// What it looks for.
    pub kind: AlertKind,
}

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// A device that does not come any more.
    Silent(Patience),
    /// Frames under a device's name that do not open.
    NotOpened {
        /// So many of them …
        n_frames: u32,
        /// … in so long.
        within_ms: i64,
    },
    /// A counter that was used for two frames.
    CounterReuse,
    /// Readings outside of limits.
    Range {
        /// Of which channel.
        channel: String,
        /// What is less is too little.
        below: Option<Decimal>,
        /// What is more is too much.
        above: Option<Decimal>,
        /// So far inside of the limits it is over.
        hysteresis: Decimal,
    },
}

/// How long a device may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// So many of its usual intervals.
    Intervals(u32),
    /// So long.
    Ms(i64),
}

impl AlertKind {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Silent(_) => "silent",
            Self::NotOpened { .. } => "not_opened",
            Self::CounterReuse => "counter_reuse",
            Self::Range { .. } => "range",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    kind: String,
    name: Option<String>,
    device: Option<String>,
    #[serde(default)]
    to: Vec<String>,
    hold_minutes: Option<u32>,
    intervals: Option<u32>,
    after_minutes: Option<u32>,
    frames: Option<u32>,
    within_minutes: Option<u32>,
    channel: Option<String>,
    below: Option<toml::Value>,
    above: Option<toml::Value>,
    hysteresis: Option<toml::Value>,
}

/// Reads all `[[alert]]` sections; the error says what to do.
pub(crate) fn parse(value: &toml::Value) -> Result<Vec<AlertConfig>, String> {
    SECTIONS.parse(value, Section::rule, |one: &AlertConfig| &one.name)
}

/// Refuses rules that tell somebody who cannot be told, and targets that are told nothing at all.
pub(crate) fn check(alerts: &[AlertConfig], targets: &[ForwardConfig]) -> Result<(), (&'static str, String)> {
    for rule in alerts {
        for name in &rule.to {
            let found = targets.iter().find(|target| target.name == *name);
            let why = match found.map(|target| &target.kind) {
                Some(TargetKind::Mqtt(_) | TargetKind::Webhook(_)) => continue,
                Some(TargetKind::Influx(_)) => "is an InfluxDB, which is told readings alone",
                None => "is the name of no [[forward]] section",
            };
            return Err(("alert", format!("rule `{}`: `{name}` in `to` {why}", rule.name)));
        }
    }
    let is_told = |target: &ForwardConfig| {
        target.kind.passes_readings() || alerts.iter().any(|rule| rule.to.contains(&target.name))
    };
    match targets.iter().find(|target| !is_told(target)) {
        Some(target) => {
            let why = "with format = \"none\", without home_assistant and in no alert's `to` there is nothing to pass on";
            Err(("forward", format!("target `{}`: {why}", target.name)))
        }
        None => Ok(()),
    }
}

impl Section {
    fn rule(self) -> Result<AlertConfig, String> {
        let name = self.name.clone().unwrap_or_else(|| self.kind.clone());
        SECTIONS.check_name(&name)?;
        let named = |why: String| format!("rule `{name}`: {why}");
        self.check_settings().map_err(named)?;
        let device = self.device.clone().unwrap_or_else(|| "*".into());
        if device.is_empty() || device.len() > PATTERN_LEN_MAX {
            return Err(named(format!("`device` has 1 to {PATTERN_LEN_MAX} characters")));
        }
        // A device that comes is not silent, however short it was.
        let hold_default = if self.kind == "silent" { 0 } else { 5 };
        let hold_ms = minutes("hold_minutes", self.hold_minutes, hold_default, 0).map_err(named)?;
        let to = self.to.clone();
        let kind = self.kind().map_err(named)?;
        Ok(AlertConfig { name, device, to, hold_ms, kind })
    }

    /// Refuses settings of other kinds: one that is ignored is a mistake nobody hears of.
    fn check_settings(&self) -> Result<(), String> {
        let settings = [
            ("intervals", self.intervals.is_some(), "silent"),
            ("after_minutes", self.after_minutes.is_some(), "silent"),
            ("frames", self.frames.is_some(), "not_opened"),
            ("within_minutes", self.within_minutes.is_some(), "not_opened"),
            ("channel", self.channel.is_some(), "range"),
            ("below", self.below.is_some(), "range"),
            ("above", self.above.is_some(), "range"),
            ("hysteresis", self.hysteresis.is_some(), "range"),
        ];
        if !["silent", "not_opened", "counter_reuse", "range"].contains(&self.kind.as_str()) {
            return Err("`kind` must be silent, not_opened, counter_reuse or range".into());
        }
        match settings.iter().find(|(_, is_set, kind)| *is_set && *kind != self.kind) {
            Some((setting, ..)) => Err(format!("`{setting}` is no setting of kind {}", self.kind)),
            None if self.kind == "silent" && self.hold_minutes.is_some() => {
                Err("`hold_minutes` is no setting of kind silent: it is over when the device comes".into())
            }
            None => Ok(()),
        }
    }

    fn kind(self) -> Result<AlertKind, String> {
        Ok(match self.kind.as_str() {
            "silent" => AlertKind::Silent(match (self.intervals, self.after_minutes) {
                (Some(_), Some(_)) => return Err("say `intervals` or `after_minutes`, not both".into()),
                (None, Some(n)) => Patience::Ms(minutes("after_minutes", Some(n), 0, 1)?),
                (n, None) => Patience::Intervals(number("intervals", n, 4, 2)?),
            }),
            "not_opened" => AlertKind::NotOpened {
                n_frames: number("frames", self.frames, 20, 1)?,
                within_ms: minutes("within_minutes", self.within_minutes, 10, 1)?,
            },
            "counter_reuse" => AlertKind::CounterReuse,
            _ => self.range()?,
        })
    }

    fn range(self) -> Result<AlertKind, String> {
        let channel = self.channel.filter(|name| !name.is_empty());
        let channel = channel.ok_or("say which `channel` is to stay within limits")?;
        let (below, above) = (limit("below", self.below)?, limit("above", self.above)?);
        let hysteresis = limit("hysteresis", self.hysteresis)?.unwrap_or_default();
        if below.is_none() && above.is_none() {
            return Err("say the limits: `below`, `above` or both".into());
        }
        let inside = 2.0 * to_f64(hysteresis);
        if inside < 0.0 {
            return Err("`hysteresis` must be 0 or more".into());
        }
        if let (Some(below), Some(above)) = (below, above)
            && to_f64(above) - to_f64(below) < inside
        {
            return Err("between `below` and `above` twice the `hysteresis` must have room".into());
        }
        Ok(AlertKind::Range { channel, below, above, hysteresis })
    }
}

fn number(name: &str, n: Option<u32>, default: u32, min: u32) -> Result<u32, String> {
    let n = n.unwrap_or(default);
    if (min..=100_000).contains(&n) { Ok(n) } else { Err(format!("`{name}` must be from {min} to 100000")) }
}

fn minutes(name: &str, n: Option<u32>, default: u32, min: u32) -> Result<i64, String> {
    Ok(i64::from(number(name, n, default, min)?) * MINUTE_MS)
}

fn limit(name: &str, value: Option<toml::Value>) -> Result<Option<Decimal>, String> {
    let Some(value) = value else { return Ok(None) };
    let text = match value {
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Float(n) => n.to_string(),
        _ => String::new(),
    };
    text.parse().map(Some).map_err(|_| format!("`{name}` must be a number"))
}

/// Whether a pattern with `*` and `?` stands for this text. Takes steps in proportion to both lengths at most.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on if it does not fit: behind the last star, which then stands for one more byte.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut star {
                Some((behind, from)) => {
                    *from += 1;
                    (p, t) = (*behind, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::new("/data");
        config.apply_text("x", text).map(|()| config).map_err(|e| e.to_string())
    }

    fn check_refused(section: &str, said: &str) {
        let why = read(&format!("[[alert]]\n{section}")).unwrap_err();
        assert!(why.contains(said), "{section:?} gave {why:?}");
    }

    #[test]
    fn each_example_is_a_rule() {
        let targets = "[[forward]]\nkind = 'mqtt'\nname = 'broker'\nurl = 'mqtt://x'\nformat = 'none'\n\
                       [[forward]]\nkind = 'webhook'\nname = 'hook'\nurl = 'http://x'\nformat = 'none'\n";
        let active: String = EXAMPLES
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .filter(|line| !line.starts_with("after_minutes"))
            .fold(targets.to_owned(), |text, line| text + line + "\n");
        let rules = read(&active).unwrap().alerts;
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["silent", "not_opened", "counter_reuse", "frost"]);
        assert_eq!(
            (rules[0].kind.clone(), rules[3].hold_ms),
            (AlertKind::Silent(Patience::Intervals(4)), 300_000)
        );
        let (below, above) = ("2.0".parse().ok(), "35".parse().ok());
        let AlertKind::Range { below: found_below, above: found_above, .. } = rules[3].kind else { panic!() };
        assert_eq!((found_below.map(to_f64), found_above), (below.map(to_f64), above));
    }

    #[test]
    fn refuses_with_the_next_step() {
        check_refused("kind = 'fire'", "must be silent, not_opened, counter_reuse or range");
        check_refused("kind = 'silent'\nname = 'a b'", "letters, digits");
        check_refused("kind = 'silent'\nabove = 3", "`above` is no setting of kind silent");
        check_refused("kind = 'silent'\nintervals = 3\nafter_minutes = 3", "not both");
        check_refused("kind = 'silent'\nintervals = 1", "from 2 to 100000");
        check_refused("kind = 'silent'\nhold_minutes = 1", "over when the device comes");
        check_refused("kind = 'silent'\ndevice = ''", "`device` has 1 to 64");
        check_refused(
            "kind = 'silent'\nto = ['hook']",
            "`hook` in `to` is the name of no [[forward]] section",
        );
        check_refused("kind = 'range'\nabove = 3", "which `channel`");
        check_refused("kind = 'range'\nchannel = 't'", "say the limits");
        check_refused("kind = 'range'\nchannel = 't'\nabove = 'hot'", "`above` must be a number");
        check_refused("kind = 'range'\nchannel = 't'\nabove = nan", "`above` must be a number");
        check_refused("kind = 'range'\nchannel = 't'\nabove = 3\nhysteresis = -1", "0 or more");
        check_refused(
            "kind = 'range'\nchannel = 't'\nabove = 3\nbelow = 2\nhysteresis = 1",
            "must have room",
        );
        check_refused("kind = 'silent'\ncolour = 3", "unknown field `colour`");
        check_refused("kind = 'silent'\n[[alert]]\nkind = 'silent'", "its own name");
        let influx = "[[forward]]\nkind = 'influx'\nurl = 'http://x'\ndatabase = 'd'\n[[alert]]\nkind = 'silent'\nto = ['influx']";
        assert!(read(influx).unwrap_err().contains("told readings alone"));
        let nothing = "[[forward]]\nkind = 'webhook'\nurl = 'http://x'\nformat = 'none'";
        assert!(read(nothing).unwrap_err().contains("nothing to pass on"));
    }

    #[test]
    fn patterns_are_those_of_file_names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        };
        for (pattern, text) in
            [("*", "a"), ("*", ""), ("a*c", "abbc"), ("a*c*", "ac"), ("?-*", "a-"), ("a", "a")]
        {
            check(pattern, text, true);
        }
        for (pattern, text) in [("a", "b"), ("a", "ab"), ("?", ""), ("a*c", "acb"), ("*a", "ab"), ("", "a")] {
            check(pattern, text, false);
        }
        check(&"*a".repeat(32), &"a".repeat(31), false);
    }
}
