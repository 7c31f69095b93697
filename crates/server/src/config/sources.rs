//! Where a configuration comes from: flags, environment, file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, nearest};
use super::{Config, ConfigError, Overrides, StoreFlag, shorten};
use crate::{alerts, forward, lorawan};

impl Config {
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
