//! `[[forward]]` in the configuration file.

use std::path::PathBuf;

use serde::Deserialize;
use ureq::http::Uri;

use super::secret::SecretSource;
use crate::config::Sections;

const SECTIONS: Sections = Sections { key: "forward", what: "target" };

/// What the commented configuration says of targets.
pub(crate) const EXAMPLES: &str = r#"
# Readings are passed on to as many targets as there are [[forward]] sections (see docs/forwarding.md). Each begins
# with what comes in from then on; with history = true it begins with what is stored already. Secrets are named by
# *_file or *_env, never written here.
#
# [[forward]]
# kind = "mqtt"                       # your own broker, MQTT 5
# name = "broker"                     # names the target in logs and metrics, and keeps its place: do not change it
# url = "mqtt://192.0.2.7:1883"       # or mqtts://
# user = "kinglet"
# password_file = "broker.password"   # or password_env = "BROKER_PASSWORD"
# ca_file = "ca.pem"                  # for mqtts and https; the public authorities if not given
# topic = "kinglet"                   # readings go to kinglet/DEVICE/readings
# format = "json"                     # or "senml" (RFC 8428), or "none", for Home Assistant or alerts alone
# home_assistant = true               # device discovery, and live values as states
# discovery_prefix = "homeassistant"
#
# [[forward]]
# kind = "influx"
# name = "influx"
# url = "http://127.0.0.1:8086"
# database = "kinglet"                # InfluxDB 1, with user and password_file if it asks for them
# org = "home"                        # InfluxDB 2: org, bucket and token_file instead
# bucket = "kinglet"
# token_file = "influx.token"         # or token_env
# measurement = "kinglet"
# history = true
#
# [[forward]]
# kind = "webhook"
# name = "hook"
# url = "https://example.org/readings"
# secret_file = "hook.secret"         # signs each body: Kinglet-Signature: sha256=…; or secret_env
# token_file = "hook.token"           # Authorization: Bearer …; or token_env
# format = "json"                     # or "senml", or "none", for alerts alone
"#;

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Names it in logs and metrics and keeps its place in the store.
    pub name: String,
    /// Begins with what is stored already.
    pub history: bool,
    /// What it is.
    pub kind: TargetKind,
}

/// The kinds of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// An MQTT 5 broker, Home Assistant's too.
    Mqtt(MqttConfig),
    /// InfluxDB 1 or 2.
    Influx(InfluxConfig),
    /// Anything that takes a POST.
    Webhook(WebhookConfig),
}

impl TargetKind {
    /// True unless only alerts are to go there.
    pub(crate) fn passes_readings(&self) -> bool {
        match self {
            Self::Mqtt(mqtt) => mqtt.format != Format::None || mqtt.discovery_prefix.is_some(),
            Self::Influx(_) => true,
            Self::Webhook(webhook) => webhook.format != Format::None,
        }
    }
}

/// How a window is written for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// A SenML pack (RFC 8428).
    Senml,
    /// Not at all.
    None,
}

/// How an MQTT 5 broker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// By TLS.
    pub tls: bool,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretSource>,
    /// Authorities that vouch for it; the public ones if not given.
    pub ca_file: Option<PathBuf>,
}

/// An MQTT 5 broker, and what is published there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// The broker.
    pub broker: BrokerConfig,
    /// First part of all topics.
    pub topic: String,
    /// How readings are written.
    pub format: Format,
    /// First part of the topics of Home Assistant's discovery, if that is on.
    pub discovery_prefix: Option<String>,
}

/// InfluxDB by its line protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxConfig {
    /// Where lines are posted, without secrets.
    pub write_url: String,
    /// User name (InfluxDB 1).
    pub user: Option<String>,
    /// Password (InfluxDB 1).
    pub password: Option<SecretSource>,
    /// Token (InfluxDB 2).
    pub token: Option<SecretSource>,
    /// Authorities that vouch for it; the public ones if not given.
    pub ca_file: Option<PathBuf>,
    /// Name of the measurement.
    pub measurement: String,
}

/// A POST per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// Signs each body.
    pub secret: Option<SecretSource>,
    /// Sent as a bearer token.
    pub token: Option<SecretSource>,
    /// Authorities that vouch for it; the public ones if not given.
    pub ca_file: Option<PathBuf>,
    /// How readings are written.
    pub format: Format,
}

/// A section as it is written; which settings belong to which kind is checked after.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    kind: String,
    name: Option<String>,
    url: String,
    #[serde(default)]
    history: bool,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    ca_file: Option<PathBuf>,
    topic: Option<String>,
    format: Option<Format>,
    home_assistant: Option<bool>,
    discovery_prefix: Option<String>,
    database: Option<String>,
    org: Option<String>,
    bucket: Option<String>,
    measurement: Option<String>,
}

/// Reads all `[[forward]]` sections; the error says what to do and repeats no value but names.
pub(crate) fn parse(value: &toml::Value) -> Result<Vec<ForwardConfig>, String> {
    SECTIONS.parse(value, Section::target, |one: &ForwardConfig| &one.name)
}

impl Section {
    fn target(self) -> Result<ForwardConfig, String> {
        let name = self.name.clone().unwrap_or_else(|| self.kind.clone());
        SECTIONS.check_name(&name)?;
        self.check_settings().map_err(|why| format!("target `{name}`: {why}"))?;
        let history = self.history;
        let kind = match self.kind.as_str() {
            "mqtt" => self.mqtt().map(TargetKind::Mqtt),
            "influx" => self.influx().map(TargetKind::Influx),
            _ => self.webhook().map(TargetKind::Webhook),
        };
        Ok(ForwardConfig { history, kind: kind.map_err(|why| format!("target `{name}`: {why}"))?, name })
    }

    /// Refuses settings of other kinds: one that is ignored is a mistake nobody hears of.
    fn check_settings(&self) -> Result<(), String> {
        let kinds: [(&str, bool, &[&str]); 13] = [
            ("user", self.user.is_some(), &["mqtt", "influx"]),
            ("password_file", self.password_file.is_some(), &["mqtt", "influx"]),
            ("password_env", self.password_env.is_some(), &["mqtt", "influx"]),
            ("token_file", self.token_file.is_some(), &["influx", "webhook"]),
            ("token_env", self.token_env.is_some(), &["influx", "webhook"]),
            (
                "secret_file or secret_env",
                self.secret_file.is_some() || self.secret_env.is_some(),
                &["webhook"],
            ),
            ("topic", self.topic.is_some(), &["mqtt"]),
            ("format", self.format.is_some(), &["mqtt", "webhook"]),
            ("home_assistant", self.home_assistant.is_some(), &["mqtt"]),
            ("discovery_prefix", self.discovery_prefix.is_some(), &["mqtt"]),
            ("database", self.database.is_some(), &["influx"]),
            ("org or bucket", self.org.is_some() || self.bucket.is_some(), &["influx"]),
            ("measurement", self.measurement.is_some(), &["influx"]),
        ];
        if !["mqtt", "influx", "webhook"].contains(&self.kind.as_str()) {
            return Err("`kind` must be mqtt, influx or webhook".into());
        }
        match kinds.iter().find(|(_, is_set, kinds)| *is_set && !kinds.contains(&self.kind.as_str())) {
            Some((setting, ..)) => Err(format!("`{setting}` is no setting of kind {}", self.kind)),
            None => Ok(()),
        }
    }

    fn mqtt(self) -> Result<MqttConfig, String> {
        let password = SecretSource::one("password", self.password_file, self.password_env)?;
        let broker = BrokerConfig::new(&self.url, self.user, password, self.ca_file)?;
        let topic = self.topic.unwrap_or_else(|| "kinglet".into());
        let prefix = self.discovery_prefix.unwrap_or_else(|| "homeassistant".into());
        if ![&topic, &prefix].iter().all(|topic| is_topic(topic)) {
            return Err("a topic has 1 to 128 characters, none of them `+`, `#` or a control character, and begins and ends without `/` and `$`".into());
        }
        let discovery_prefix = self.home_assistant.unwrap_or(false).then_some(prefix);
        let format = self.format.unwrap_or_default();
        Ok(MqttConfig { broker, topic, format, discovery_prefix })
    }

    fn influx(self) -> Result<InfluxConfig, String> {
        address(&self.url, &["http", "https"])?;
        let base = self.url.trim_end_matches('/');
        let token = SecretSource::one("token", self.token_file, self.token_env)?;
        let password = SecretSource::one("password", self.password_file, self.password_env)?;
        let write_url = match (&self.database, &self.org, &self.bucket) {
            (Some(database), None, None) if token.is_none() => {
                format!("{base}/write?db={}&precision=ms", query_part(database))
            }
            (None, org, Some(bucket)) if token.is_some() && password.is_none() => {
                let org = org.as_ref().map(|org| format!("org={}&", query_part(org))).unwrap_or_default();
                format!("{base}/api/v2/write?{org}bucket={}&precision=ms", query_part(bucket))
            }
            _ => {
                return Err(
                    "say `database` for InfluxDB 1 (with user and password_file if it asks for them), or \
                            `org`, `bucket` and `token_file` for InfluxDB 2"
                        .into(),
                );
            }
        };
        if password.is_some() != self.user.is_some() {
            return Err("say both `user` and `password_file` (or password_env), or neither".into());
        }
        let measurement = self.measurement.unwrap_or_else(|| "kinglet".into());
        if measurement.is_empty()
            || measurement.starts_with(['_', '#'])
            || measurement.chars().any(char::is_control)
        {
            return Err(
                "`measurement` must be a name without control characters that begins with a letter".into()
            );
        }
        Ok(InfluxConfig { write_url, user: self.user, password, token, ca_file: self.ca_file, measurement })
    }

    fn webhook(self) -> Result<WebhookConfig, String> {
        address(&self.url, &["http", "https"])?;
        let format = self.format.unwrap_or_default();
        Ok(WebhookConfig {
            url: self.url,
            secret: SecretSource::one("secret", self.secret_file, self.secret_env)?,
            token: SecretSource::one("token", self.token_file, self.token_env)?,
            ca_file: self.ca_file,
            format,
        })
    }
}

impl BrokerConfig {
    /// From `mqtt://HOST` or `mqtts://HOST`, and what goes with it.
    pub(crate) fn new(
        url: &str,
        user: Option<String>,
        password: Option<SecretSource>,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        let (scheme, uri) = address(url, &["mqtt", "mqtts"])?;
        let tls = scheme == "mqtts";
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 8883 } else { 1883 });
        if password.is_some() && user.is_none() {
            return Err("a password needs a `user`".into());
        }
        Ok(Self { host, port, tls, user, password, ca_file })
    }
}

/// Scheme and parts of an address that holds no user and no password. Errors do not repeat it.
pub(crate) fn address(url: &str, schemes: &[&str]) -> Result<(String, Uri), String> {
    let wrong = || format!("`url` must be an address such as {}://HOST", schemes.join("://HOST or "));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().filter(|scheme| schemes.contains(scheme)).ok_or_else(wrong)?.to_owned();
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(
            "`url` holds no user and no password: say `user`, and name the secret's file or variable".into(),
        );
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok((scheme, uri))
}

fn is_topic(topic: &str) -> bool {
    (1..=128).contains(&topic.len())
        && !topic.starts_with(['/', '$'])
        && !topic.ends_with('/')
        && !topic.chars().any(|c| c.is_control() || c == '+' || c == '#')
}

/// Percent-encoded, everything but letters, digits and `-._~`.
fn query_part(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ForwardConfig>, String> {
        let table: toml::Table = text.parse().unwrap();
        parse(&table["forward"])
    }

    fn check_refused(section: &str, said: &str) {
        let why = read(&format!("[[forward]]\n{section}")).unwrap_err();
        assert!(why.contains(said) && !why.contains("hunter2"), "{section:?} gave {why:?}");
    }

    #[test]
    fn each_example_is_a_section() {
        let active: String =
            EXAMPLES.lines().filter_map(|line| line.strip_prefix("# ")).fold(String::new(), |text, line| {
                match line.starts_with('[') || line.contains(" = ") && line.contains('"') {
                    // InfluxDB is either the one or the other.
                    true if !line.starts_with("database") => text + line + "\n",
                    _ => text,
                }
            });
        let targets = read(&active).unwrap();
        assert_eq!(targets.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["broker", "influx", "hook"]);
        let TargetKind::Influx(influx) = &targets[1].kind else { panic!() };
        assert_eq!(
            influx.write_url,
            "http://127.0.0.1:8086/api/v2/write?org=home&bucket=kinglet&precision=ms"
        );
    }

    #[test]
    fn refuses_with_the_next_step() {
        check_refused("kind = 'mqtt'", "url");
        check_refused("kind = 'mqtt'\nurl = 'http://x'", "mqtt://HOST or mqtts://HOST");
        check_refused("kind = 'mqtt'\nurl = 'mqtt://kinglet:hunter2@x'", "no user and no password");
        check_refused("kind = 'webhook'\nurl = 'https://kinglet:hunter2@x/'", "no user and no password");
        check_refused("kind = 'mqtt'\nurl = 'mqtt://x'\npassword = 'hunter2'", "unknown field `password`");
        check_refused("kind = 'mqtt'\nurl = 'mqtt://x'\ntopic = 'a/#'", "a topic has");
        check_refused(
            "kind = 'mqtt'\nurl = 'mqtt://x'\ndatabase = 'd'",
            "`database` is no setting of kind mqtt",
        );
        check_refused("kind = 'influx'\nurl = 'http://x'", "say `database` for InfluxDB 1");
        check_refused("kind = 'kafka'\nurl = 'http://x'", "must be mqtt, influx or webhook");
        check_refused("kind = 'webhook'\nurl = 'http://x'\nname = 'a b'", "letters, digits");
        check_refused("kind = 'webhook'\nurl = 'http://x'\ntoken_file = 'a'\ntoken_env = 'b'", "not both");
        let twice = "[[forward]]\nkind = 'webhook'\nurl = 'http://x'\n".repeat(2);
        assert!(read(&twice).unwrap_err().contains("its own name"));
    }

    #[test]
    fn what_goes_into_an_address_is_encoded() {
        let section = "[[forward]]\nkind = 'influx'\nurl = 'http://x:1/'\ndatabase = 'a&b=c d'";
        let TargetKind::Influx(influx) = &read(section).unwrap()[0].kind else { panic!() };
        assert_eq!(influx.write_url, "http://x:1/write?db=a%26b%3Dc%20d&precision=ms");
    }
}
