//! What the server is told: flags over environment over file over defaults.

mod keys;
mod log;
mod reload;
mod sections;
mod store;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::alerts::{self, AlertConfig};
use crate::forward::{self, ForwardConfig};
use crate::lorawan::{self, LorawanConfig};
use crate::seed::{SeedConfig, SeedOverrides};
use keys::{KEYS, did_you_mean, nearest};
pub use log::{LogFormat, LogLevel};
pub use reload::Reloaded;
pub(crate) use sections::Sections;
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

/// Why the configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {why}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The file is no TOML.
    #[error("{path} is not valid TOML: {why}")]
    Syntax {
        /// Which file.
        path: String,
        /// Where and what.
        why: String,
    },
    /// There is no such key.
    #[error("{origin}: there is no setting `{key}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey {
        /// File or environment.
        origin: String,
        /// The key as written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// The value does not fit the key.
    #[error("{origin}: `{key}` must be {expected}, not `{found}`")]
    BadValue {
        /// File or environment.
        origin: String,
        /// The key.
        key: String,
        /// What would fit.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The store is none. What stands there is not repeated: it may hold a password.
    #[error("{origin}: {why}")]
    Store {
        /// File, environment or flag.
        origin: String,
        /// What to write instead.
        why: String,
    },
    /// A section of the file cannot be used.
    #[error("{origin}, [[{section}]]: {why}")]
    Section {
        /// Which file.
        origin: String,
        /// Which kind of section.
        section: &'static str,
        /// What to write instead.
        why: String,
    },
    /// Other machines would be served without a login.
    #[error(
        "{0} can be reached from other machines and there are no users: add one with `kinglet user add NAME`, use \
         127.0.0.1, or say allow_remote_without_login = true if everyone who reaches it may read everything"
    )]
    RemoteWithoutLogin(SocketAddr),
    /// One of the two files of a certificate is not named.
    #[error(
        "a certificate has two files: say both tls_cert and tls_key (--tls-cert and --tls-key), or neither"
    )]
    HalfACertificate,
    /// Neither a data directory nor a home is known.
    #[error("no data directory: neither XDG_DATA_HOME nor HOME is set; say where with --data DIR")]
    NoDataDir,
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

    /// Puts flags, environment, file and defaults together, in that order of precedence, and checks the whole.
    ///
    /// The file is `flags.file`, else `KINGLET_CONFIG`, else `$XDG_CONFIG_HOME/kinglet/server.toml` if it exists.
    pub fn load(
        flags: &Overrides,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let env = Environment::new(env);
        let mut config = Self::new(flags.data.clone().or_else(|| env.data_dir()).unwrap_or_default());
        let named = flags.file.clone().or_else(|| env.get("KINGLET_CONFIG").map(PathBuf::from));
        match (named, env.config_file()) {
            (Some(path), _) => config.apply_file(&path)?,
            (None, Some(path)) if path.exists() => config.apply_file(&path)?,
            _ => {}
        }
        config.apply_env(&env)?;
        if let Some(data) = &flags.data {
            config.data.clone_from(data);
        }
        if let Some(StoreFlag(store)) = &flags.store {
            let refused = |why| ConfigError::Store { origin: "--store".into(), why };
            config.store = store.clone().map_err(refused)?;
        }
        config.http = flags.http.unwrap_or(config.http);
        config.https = flags.https.or(config.https);
        config.mqtt = flags.mqtt.or(config.mqtt);
        config.mqtts = flags.mqtts.or(config.mqtts);
        config.coap = flags.coap.or(config.coap);
        config.tls_files = flags.tls_files.clone().or(config.tls_files.take());
        config.allow_remote_without_login =
            flags.allow_remote_without_login.unwrap_or(config.allow_remote_without_login);
        config.log_format = flags.log_format.unwrap_or(config.log_format);
        config.seed.apply(&flags.seed);
        config.check()?;
        Ok(config)
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

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: shown.clone(), why: e.to_string() })?;
        self.apply_text(&shown, &text)
    }

    /// Applies the text of a configuration file; `origin` names it in errors.
    pub fn apply_text(&mut self, origin: &str, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax {
            path: origin.into(),
            why: shorten(e.to_string().trim_end()),
        })?;
        let refused = |section| {
            move |why: String| ConfigError::Section { origin: origin.into(), section, why: shorten(&why) }
        };
        for (key, value) in &table {
            match key.as_str() {
                "forward" => self.forward = forward::parse(value).map_err(refused("forward"))?,
                "alert" => self.alerts = alerts::parse(value).map_err(refused("alert"))?,
                "lorawan" => self.lorawan = lorawan::config::parse(value).map_err(refused("lorawan"))?,
                _ => self.set(origin, key, &plain(value))?,
            }
        }
        alerts::check(&self.alerts, &self.forward).map_err(|(section, why)| refused(section)(why))
    }

    fn apply_env(&mut self, env: &Environment) -> Result<(), ConfigError> {
        for (name, value) in &env.vars {
            let Some(key) = name.strip_prefix("KINGLET_").map(str::to_lowercase) else { continue };
            let known = KEYS.iter().any(|k| k.name == key);
            // Other variables of that prefix belong to other commands; a near miss is a typing error.
            if known || nearest(&key).is_some() {
                self.set(&format!("environment variable {name}"), &key, value)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, origin: &str, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let suggestion = nearest(name).map(str::to_owned);
            return Err(ConfigError::UnknownKey { origin: origin.into(), key: shorten(name), suggestion });
        };
        if name == "store" {
            let refused = |why| ConfigError::Store { origin: origin.into(), why };
            self.store = value.parse().map_err(refused)?;
            return Ok(());
        }
        (key.set)(self, value).ok_or_else(|| ConfigError::BadValue {
            origin: origin.into(),
            key: name.into(),
            expected: key.expected,
            found: shorten(value),
        })
    }
}

/// What of the environment matters.
struct Environment {
    vars: BTreeMap<String, String>,
}

impl Environment {
    fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { vars: vars.into_iter().filter_map(text).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn data_dir(&self) -> Option<PathBuf> {
        let home = || self.get("HOME").map(|home| Path::new(home).join(".local/share"));
        Some(self.get("XDG_DATA_HOME").map(PathBuf::from).or_else(home)?.join("kinglet"))
    }

    fn config_file(&self) -> Option<PathBuf> {
        let home = || self.get("HOME").map(|home| Path::new(home).join(".config"));
        Some(self.get("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?.join("kinglet/server.toml"))
    }
}

/// The default data directory of an environment, for those who need it without a whole configuration.
pub fn default_data_dir(env: impl IntoIterator<Item = (OsString, OsString)>) -> Option<PathBuf> {
    Environment::new(env).data_dir()
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Boolean(yes) => yes.to_string(),
        other => format!("a {}", other.type_str()),
    }
}

/// At most 200 characters, none of them a control character: safe in one line of a log.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::new("/data");
        config.apply_text("server.toml", text)?;
        config.check()?;
        Ok(config)
    }

    fn check_refused(text: &str, said: &str) {
        let error = apply(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text:?} gave {error:?}");
    }

    fn load(flags: &Overrides, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(flags, env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))))
    }

    #[test]
    fn reads_every_key() {
        let config = apply("http = '127.0.0.1:0'\nhosts = ['Sensors.lan']\nbody_bytes = 20000").unwrap();
        assert_eq!((config.http.port(), config.body_bytes), (0, 20_000));
        assert_eq!(config.hosts, ["sensors.lan"]);
    }

    #[test]
    fn refuses_with_the_next_step() {
        check_refused("htp = '127.0.0.1:0'", "did you mean `http`?");
        check_refused("body_byte = 5", "did you mean `body_bytes`?");
        check_refused("colour = 'red'", "there are data, store, master_key_file, retention_days, http,");
        check_refused("http = 'nowhere'", "`http` must be an address such as 127.0.0.1:8470, not `nowhere`");
        check_refused("body_bytes = -1", "from 16384");
        check_refused("hosts = ['a b']", "list of host names");
        check_refused("http = ", "not valid TOML");
        check_refused("session_idle_hours = 0", "from 1");
        check_refused("tls_cert = 'a.pem'", "say both tls_cert and tls_key");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_password_in_the_stores_uri_is_refused_and_not_repeated() {
        let uri = "postgres://kinglet:hunter2@db/readings";
        let flags = Overrides { store: Some(uri.parse().unwrap()), ..Overrides::default() };
        let errors = [
            apply(&format!("store = '{uri}'")).unwrap_err(),
            load(&Overrides::default(), &[("HOME", "/h"), ("KINGLET_STORE", uri)]).unwrap_err(),
            load(&flags, &[("HOME", "/h")]).unwrap_err(),
        ];
        for error in errors {
            let said = format!("{error} {error:?} {flags:?}");
            assert!(said.contains("PGPASSFILE") && !said.contains("hunter2"), "{said}");
        }
        let config = apply("store = 'postgres://kinglet@db/readings'").unwrap();
        assert_eq!(config.store.to_string(), "postgres://db:5432/readings");
    }

    #[test]
    fn remote_only_with_a_login_or_in_so_many_words() {
        let check = |text: &str, without_users: bool| {
            let config = apply(text).unwrap();
            assert!(config.check_login(true).is_ok(), "{text}");
            assert_eq!(config.check_login(false).is_ok(), without_users, "{text}");
        };
        check("http = '0.0.0.0:80'", false);
        check("http = '[::]:80'", false);
        check("https = '0.0.0.0:443'", false);
        check("http = '0.0.0.0:80'\nallow_remote_without_login = true", true);
        check("http = '[::1]:80'", true);
        check("http = '[::ffff:127.0.0.1]:80'", true);
        let refused = apply("http = '0.0.0.0:80'").unwrap().check_login(false).unwrap_err().to_string();
        assert!(
            refused.contains("kinglet user add") && refused.contains("allow_remote_without_login = true")
        );
    }

    #[test]
    fn flags_over_environment_over_file_over_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.toml");
        std::fs::write(&file, "http = '127.0.0.1:1'\nbody_bytes = 20000\nconnections = 7").unwrap();
        let env = [("KINGLET_HTTP", "127.0.0.1:2"), ("KINGLET_BODY_BYTES", "30000"), ("HOME", "/home/x")];
        let flags = Overrides {
            file: Some(file),
            http: Some("127.0.0.1:3".parse().unwrap()),
            ..Overrides::default()
        };
        let config = load(&flags, &env).unwrap();
        assert_eq!((config.http.port(), config.body_bytes, config.connections), (3, 30_000, 7));
        assert_eq!(config.data, Path::new("/home/x/.local/share/kinglet"));
        assert_eq!(config.header_timeout_ms, 30_000);
    }

    #[test]
    fn environment_typing_errors_are_said_and_strangers_ignored() {
        let home = ("HOME", "/home/x");
        assert!(matches!(
            load(&Overrides::default(), &[home, ("KINGLET_HTPP", "x")]),
            Err(ConfigError::UnknownKey { suggestion: Some(s), .. }) if s == "http"
        ));
        assert!(load(&Overrides::default(), &[home, ("KINGLET_RECORDINGS", "x")]).is_ok());
        assert_eq!(load(&Overrides::default(), &[]), Err(ConfigError::NoDataDir));
        let missing = Overrides { file: Some("/nowhere/server.toml".into()), ..Overrides::default() };
        assert!(matches!(load(&missing, &[home]), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn the_commented_default_is_the_default() {
        let text = Config::commented_default();
        assert_eq!(apply(&text).unwrap(), Config::new("/data"));
        let active: String = text
            .replace("\n#", "\n")
            .lines()
            .filter(|l| !l.starts_with(' '))
            .fold(String::new(), |text, line| if line.starts_with('#') { text } else { text + line + "\n" });
        let expected = Config { data: "~/.local/share/kinglet".into(), ..Config::new("/data") };
        assert_eq!(apply(&active).unwrap(), expected);
    }
}
