//! What the server is told: flags over environment over file over defaults.

mod error;
mod keys;
mod log;
mod reload;
mod sections;
mod sources;
mod store;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::alerts::{self, AlertConfig};
use crate::forward::{self, ForwardConfig};
use crate::lorawan::{self, LorawanConfig};
use crate::seed::{SeedConfig, SeedOverrides};
pub use error::ConfigError;
use keys::KEYS;
pub use log::{LogFormat, LogLevel};
pub use reload::Reloaded;
pub(crate) use sections::Sections;
pub use sources::default_data_dir;
pub use store::{StoreChoice, StoreFlag};

/// Everything that can be set. Each field is one key of the file and one `KINGLET_…` variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Directory of the store, the master key and the token.
    pub data: PathBuf,
    /// Where devices, bundles and windows are kept.
    pub store: StoreChoice,
    /// The master key, if it is not in the data directory: the one all servers of a store share.
    pub master_key_file: Option<PathBuf>,
    /// Days after which windows are deleted; 0 keeps them for good.
    pub retention_days: u32,
    /// Where HTTP is served. Port 0 takes a free one.
    pub http: SocketAddr,
    /// Where the same is served by TLS, if it is.
    pub https: Option<SocketAddr>,
    /// Where devices are served by MQTT, if they are.
    pub mqtt: Option<SocketAddr>,
    /// Where devices are served by MQTT over TLS, if they are.
    pub mqtts: Option<SocketAddr>,
    /// Where devices are served by CoAP over UDP, if they are.
    pub coap: Option<SocketAddr>,
    /// Most MQTT connections at once, on each address; further ones wait in the system's queue.
    pub mqtt_connections: usize,
    /// How long an MQTT client may promise to be silent, in seconds.
    pub mqtt_keep_alive_s: u16,
    /// The certificate and its key as PEM files; without them the server makes its own.
    pub tls_files: Option<TlsFiles>,
    /// How long a client may take to agree on TLS, and to log in by MQTT.
    pub handshake_timeout_ms: u64,
    /// Serves other machines although there are no users: whoever reaches the port reads everything.
    pub allow_remote_without_login: bool,
    /// Hours after which a session that was not used ends.
    pub session_idle_hours: u32,
    /// Days after which a session ends.
    pub session_max_days: u32,
    /// Gives `/metrics` to whoever asks.
    pub metrics_without_login: bool,
    /// Names, besides IP addresses and localhost, under which browsers may ask for the dashboard.
    pub hosts: Vec<String>,
    /// Frames taken in each second, of all devices; 0 for as many as come.
    pub frames_per_s: u32,
    /// Frames stored each second of one device; 0 for as many as it sends.
    pub device_frames_per_s: u32,
    /// Joins answered each second; 0 for as many as come.
    pub joins_per_s: u32,
    /// Largest body of `POST /v1/frames`.
    pub body_bytes: usize,
    /// Most frames in one request.
    pub frames_per_request: usize,
    /// Most connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send a request's header, and how long it may stay idle.
    pub header_timeout_ms: u64,
    /// How long a request may take from header to answer.
    pub request_timeout_ms: u64,
    /// How long requests under way may take to end at shutdown.
    pub drain_timeout_ms: u64,
    /// The least that is written to the log.
    pub log_level: LogLevel,
    /// How the log is written.
    pub log_format: LogFormat,
    /// The seed's own mode.
    pub seed: SeedConfig,
    /// Where readings are passed on to.
    pub forward: Vec<ForwardConfig>,
    /// What is to be noticed.
    pub alerts: Vec<AlertConfig>,
    /// Network servers through which LoRaWAN devices are heard.
    pub lorawan: Vec<LorawanConfig>,
}

/// A certificate somebody else has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, those that signed it behind it, as PEM.
    pub cert: PathBuf,
    /// Its private key as PEM.
    pub key: PathBuf,
}

/// What was set by flags; `None` was not.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config FILE`: a file that must exist.
    pub file: Option<PathBuf>,
    /// `--data DIR`.
    pub data: Option<PathBuf>,
    /// `--store URI`.
    pub store: Option<StoreFlag>,
    /// `--http ADDR`.
    pub http: Option<SocketAddr>,
    /// `--https ADDR`.
    pub https: Option<SocketAddr>,
    /// `--mqtt ADDR`.
    pub mqtt: Option<SocketAddr>,
    /// `--mqtts ADDR`.
    pub mqtts: Option<SocketAddr>,
    /// `--coap ADDR`.
    pub coap: Option<SocketAddr>,
    /// `--tls-cert FILE --tls-key FILE`.
    pub tls_files: Option<TlsFiles>,
    /// `--allow-remote-without-login`.
    pub allow_remote_without_login: Option<bool>,
    /// `--log-format FORMAT`.
    pub log_format: Option<LogFormat>,
    /// The seed's own mode.
    pub seed: SeedOverrides,
}

impl Config {
    /// The defaults with this data directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            store: StoreChoice::Sqlite,
            master_key_file: None,
            retention_days: 0,
            http: SocketAddr::from(([127, 0, 0, 1], 8470)),
            https: None,
            mqtt: None,
            mqtts: None,
            coap: None,
            mqtt_connections: 16_384,
            mqtt_keep_alive_s: 1200,
            tls_files: None,
            handshake_timeout_ms: 10_000,
            allow_remote_without_login: false,
            session_idle_hours: 24,
            session_max_days: 30,
            metrics_without_login: false,
            hosts: Vec::new(),
            frames_per_s: 100_000,
            device_frames_per_s: 1000,
            joins_per_s: 1000,
            body_bytes: 1 << 20,
            frames_per_request: 1024,
            connections: 4096,
            header_timeout_ms: 30_000,
            request_timeout_ms: 30_000,
            drain_timeout_ms: 10_000,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            seed: SeedConfig::default(),
            forward: Vec::new(),
            alerts: Vec::new(),
            lorawan: Vec::new(),
        }
    }

    /// Refuses to serve everybody what nobody has to log in for.
    pub fn check_login(&self, has_users: bool) -> Result<(), ConfigError> {
        match self.remote_addr() {
            Some(addr) if !has_users && !self.allow_remote_without_login => {
                Err(ConfigError::RemoteWithoutLogin(addr))
            }
            _ => Ok(()),
        }
    }

    /// Where other machines may reach what is shown to people, if they may.
    pub(crate) fn remote_addr(&self) -> Option<SocketAddr> {
        let is_remote = |addr: &&SocketAddr| !addr.ip().to_canonical().is_loopback();
        [Some(&self.http), self.https.as_ref()].into_iter().flatten().find(is_remote).copied()
    }

    /// Refuses what says two things, or half of one.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.data.as_os_str().is_empty() {
            return Err(ConfigError::NoDataDir);
        }
        let is_half =
            |files: &TlsFiles| files.cert.as_os_str().is_empty() != files.key.as_os_str().is_empty();
        if self.tls_files.as_ref().is_some_and(is_half) {
            return Err(ConfigError::HalfACertificate);
        }
        Ok(())
    }

    /// A configuration file that says every key, what it means and its default, all commented out.
    pub fn commented_default() -> String {
        let defaults = Self::new("~/.local/share/kinglet");
        let mut text = String::from(
            "# Kinglet server. Flags override environment variables (KINGLET_HTTP, …), these override this file.\n",
        );
        for key in KEYS {
            let name = key.name;
            text.push_str(&format!("\n# {}\n#{name} = {}\n", key.help, defaults.value_of(name)));
        }
        text.push_str(forward::EXAMPLES);
        text.push_str(alerts::EXAMPLES);
        text.push_str(lorawan::config::EXAMPLES);
        text
    }

    /// Where the embedded store of this configuration lies.
    pub fn store_path(&self) -> PathBuf {
        self.data.join("kinglet.db")
    }

    fn set_tls_file(&mut self, which: fn(&mut TlsFiles) -> &mut PathBuf, path: &str) -> Option<()> {
        *which(self.tls_files.get_or_insert_default()) = path.into();
        self.tls_files = self.tls_files.take().filter(|files| *files != TlsFiles::default());
        Some(())
    }

    /// What stands in the file for a key.
    fn value_of(&self, key: &str) -> String {
        let path = |path: Option<&Path>| format!("{:?}", path.unwrap_or(Path::new("")).display().to_string());
        let addr =
            |addr: Option<SocketAddr>| format!("\"{}\"", addr.map_or(String::new(), |a| a.to_string()));
        let tls_file =
            |which: fn(&TlsFiles) -> &PathBuf| path(self.tls_files.as_ref().map(|f| which(f).as_path()));
        match key {
            "data" => path(Some(&self.data)),
            "store" => format!("{:?}", self.store.to_string()),
            "master_key_file" => path(self.master_key_file.as_deref()),
            "retention_days" => self.retention_days.to_string(),
            "http" => addr(Some(self.http)),
            "https" => addr(self.https),
            "mqtt" => addr(self.mqtt),
            "mqtts" => addr(self.mqtts),
            "coap" => addr(self.coap),
            "tls_cert" => tls_file(|files| &files.cert),
            "tls_key" => tls_file(|files| &files.key),
            "allow_remote_without_login" => self.allow_remote_without_login.to_string(),
            "session_idle_hours" => self.session_idle_hours.to_string(),
            "session_max_days" => self.session_max_days.to_string(),
            "metrics_without_login" => self.metrics_without_login.to_string(),
            "hosts" => format!("{:?}", self.hosts),
            "frames_per_s" => self.frames_per_s.to_string(),
            "device_frames_per_s" => self.device_frames_per_s.to_string(),
            "joins_per_s" => self.joins_per_s.to_string(),
            "body_bytes" => self.body_bytes.to_string(),
            "frames_per_request" => self.frames_per_request.to_string(),
            "connections" => self.connections.to_string(),
            "header_timeout_ms" => self.header_timeout_ms.to_string(),
            "request_timeout_ms" => self.request_timeout_ms.to_string(),
            "handshake_timeout_ms" => self.handshake_timeout_ms.to_string(),
            "mqtt_connections" => self.mqtt_connections.to_string(),
            "mqtt_keep_alive_s" => self.mqtt_keep_alive_s.to_string(),
            "log_level" => format!("{:?}", self.log_level.word()),
            "log_format" => format!("{:?}", self.log_format.word()),
            "seed_bundle" => path(self.seed.bundle.as_deref()),
            "seed_listen" => addr(Some(self.seed.listen)),
            "seed_device" => format!("{:?}", self.seed.device),
            "seed_plaintext_reply" => self.seed.plaintext_reply.to_string(),
            "seed_period_ms" => self.seed.period_ms.to_string(),
            _ => self.drain_timeout_ms.to_string(),
        }
    }
}

/// At most 200 characters, none of them a control character: safe in one line of a log.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
