//! `[[lorawan]]` in the configuration file: network servers that bring frames.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::Sections;
use crate::forward::{BrokerConfig, SecretSource, address};

const SECTIONS: Sections = Sections { key: "lorawan", what: "network server" };
const ACK_EVERY: u8 = 8;
/// One ack names a run and 32 frames behind it.
const ACK_EVERY_MAX: u8 = 32;

/// What the commented configuration says of them.
pub(crate) const EXAMPLES: &str = r#"
# LoRaWAN devices are heard through their network server (see docs/lorawan.md), one [[lorawan]] section each. Add such a
# device with `kinglet device add --dev-eui`.
#
# [[lorawan]]
# kind = "chirpstack"                 # ChirpStack 4: its MQTT broker
# name = "chirpstack"                 # names it in logs, and the client at the broker
# url = "mqtt://192.0.2.7:1883"       # or mqtts://
# user = "kinglet"
# password_file = "broker.password"   # or password_env
# ca_file = "ca.pem"                  # for mqtts; the public authorities if not given
# application = "17c82e96-be03-4f38-aef3-f83d48582d97"  # all applications if not given
# ack_every = 8                       # frames to a sealed ack, 1 to 32
#
# [[lorawan]]
# kind = "tts"                        # The Things Stack: a webhook to /v1/lorawan/tts
# name = "tts"
# url = "https://eu1.cloud.thethings.network"  # where downlinks are posted to
# secret_file = "tts.secret"          # what the webhook sends as Kinglet-Secret; or secret_env
# api_key_file = "tts.key"            # or api_key_env; the key the webhook sends along if not given
# ack_every = 8
"#;

/// A network server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LorawanConfig {
    /// Names it in logs.
    pub name: String,
    /// Data frames to one sealed ack.
    pub ack_every: usize,
    /// What it is.
    pub kind: NetworkServer,
}

/// The kinds of network servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkServer {
    /// ChirpStack 4, by the broker of its MQTT integration.
    Chirpstack {
        /// The broker.
        broker: BrokerConfig,
        /// The one application whose devices are heard; all if not given.
        application: Option<String>,
    },
    /// The Things Stack, by its webhooks.
    Tts {
        /// Where downlinks go: scheme and host, without a path.
        url: String,
        /// What its webhook is known by.
        secret: SecretSource,
        /// Lets downlinks in; the webhook's own if not given.
        api_key: Option<SecretSource>,
        /// Authorities that vouch for it; the public ones if not given.
        ca_file: Option<PathBuf>,
    },
}

/// A section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    kind: String,
    name: Option<String>,
    url: String,
    ack_every: Option<u8>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    ca_file: Option<PathBuf>,
    application: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    api_key_file: Option<PathBuf>,
    api_key_env: Option<String>,
}

/// Reads all `[[lorawan]]` sections; the error says what to do and repeats no value but names.
pub(crate) fn parse(value: &toml::Value) -> Result<Vec<LorawanConfig>, String> {
    SECTIONS.parse(value, Section::source, |one: &LorawanConfig| &one.name)
}

impl Section {
    fn source(self) -> Result<LorawanConfig, String> {
        let name = self.name.clone().unwrap_or_else(|| self.kind.clone());
        SECTIONS.check_name(&name)?;
        let ack_every = self.ack_every.unwrap_or(ACK_EVERY);
        if !(1..=ACK_EVERY_MAX).contains(&ack_every) {
            return Err(format!("`{name}`: `ack_every` must be a number from 1 to {ACK_EVERY_MAX}"));
        }
        let kind = match self.kind.as_str() {
            "chirpstack" => self.chirpstack(),
            "tts" => self.tts(),
            _ => Err("`kind` must be chirpstack or tts".into()),
        };
        let kind = kind.map_err(|why| format!("`{name}`: {why}"))?;
        Ok(LorawanConfig { name, ack_every: ack_every.into(), kind })
    }

    fn chirpstack(self) -> Result<NetworkServer, String> {
        let secret = SecretSource::one("secret", self.secret_file, self.secret_env)?;
        let api_key = SecretSource::one("api_key", self.api_key_file, self.api_key_env)?;
        if secret.is_some() || api_key.is_some() {
            return Err(
                "secrets and API keys are no settings of kind chirpstack: say `user` and `password_file`"
                    .into(),
            );
        }
        let password = SecretSource::one("password", self.password_file, self.password_env)?;
        let broker = BrokerConfig::new(&self.url, self.user, password, self.ca_file)?;
        let is_id = |id: &String| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if self.application.as_ref().is_some_and(|id| !is_id(id)) {
            return Err("`application` must be the application's id: letters, digits and `-`".into());
        }
        Ok(NetworkServer::Chirpstack { broker, application: self.application })
    }

    fn tts(self) -> Result<NetworkServer, String> {
        let (_, uri) = address(&self.url, &["http", "https"])?;
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err("`url` must be the cluster's address without a path, such as https://eu1.cloud.thethings.network".into());
        }
        let password = SecretSource::one("password", self.password_file, self.password_env)?;
        if self.user.is_some() || password.is_some() || self.application.is_some() {
            return Err(
                "user, password and application are no settings of kind tts: say `secret_file`".into()
            );
        }
        let secret = SecretSource::one("secret", self.secret_file, self.secret_env)?;
        let secret =
            secret.ok_or("say `secret_file` or `secret_env`: what the webhook sends as Kinglet-Secret")?;
        let api_key = SecretSource::one("api_key", self.api_key_file, self.api_key_env)?;
        Ok(NetworkServer::Tts {
            url: self.url.trim_end_matches('/').into(),
            secret,
            api_key,
            ca_file: self.ca_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<LorawanConfig>, String> {
        let table: toml::Table = text.parse().unwrap();
        parse(&table["lorawan"])
    }

    fn check_refused(section: &str, said: &str) {
        let why = read(&format!("[[lorawan]]\n{section}")).unwrap_err();
        assert!(why.contains(said) && !why.contains("hunter2"), "{section:?} gave {why:?}");
    }

    #[test]
    fn each_example_is_a_section() {
        let is_setting = |line: &&str| line.starts_with('[') || line.split(' ').nth(1) == Some("=");
        let active = EXAMPLES.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting);
        let sources = read(&active.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["chirpstack", "tts"]);
        assert!(sources.iter().all(|s| s.ack_every == 8));
    }

    #[test]
    fn refuses_with_the_next_step() {
        check_refused("kind = 'chirpstack'\nurl = 'http://x'", "mqtt://HOST or mqtts://HOST");
        check_refused("kind = 'chirpstack'\nurl = 'mqtt://k:hunter2@x'", "no user and no password");
        check_refused("kind = 'chirpstack'\nurl = 'mqtt://x'\nack_every = 33", "from 1 to 32");
        check_refused(
            "kind = 'chirpstack'\nurl = 'mqtt://x'\napplication = 'a/#'",
            "letters, digits and `-`",
        );
        check_refused("kind = 'chirpstack'\nurl = 'mqtt://x'\nsecret = 'hunter2'", "unknown field `secret`");
        check_refused("kind = 'tts'\nurl = 'https://x'", "secret_file");
        check_refused("kind = 'tts'\nurl = 'https://x/api'\nsecret_env = 'A'", "without a path");
        check_refused("kind = 'helium'\nurl = 'https://x'", "chirpstack or tts");
    }
}
