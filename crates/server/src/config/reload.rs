//! What of a configuration can change while the server runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::Config;
use super::keys::KEYS;
use crate::core::Core;

/// What a new configuration has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that hold from now on.
    pub changed: Vec<&'static str>,
    /// Keys that are as they were until the server is started anew.
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// Takes over what can change at any time. What is not named here was used up at the start: sockets, the store, the
    /// sizes and times that each connection was given.
    fn take_over(&mut self, new: &Self) {
        self.retention_days = new.retention_days;
        self.session_idle_hours = new.session_idle_hours;
        self.session_max_days = new.session_max_days;
        self.metrics_without_login = new.metrics_without_login;
        self.hosts.clone_from(&new.hosts);
        self.frames_per_s = new.frames_per_s;
        self.device_frames_per_s = new.device_frames_per_s;
        self.joins_per_s = new.joins_per_s;
        self.log_level = new.log_level;
        self.forward.clone_from(&new.forward);
        self.alerts.clone_from(&new.alerts);
    }

    fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let differs = |name: &&str| self.value_of(name) != other.value_of(name);
        let mut keys: Vec<_> = KEYS.iter().map(|key| key.name).filter(differs).collect();
        let sections = [
            ("forward", self.forward != other.forward),
            ("alert", self.alerts != other.alerts),
            ("lorawan", self.lorawan != other.lorawan),
        ];
        keys.extend(sections.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key));
        keys
    }
}

impl Core {
    /// Holds to what of this configuration can change while the server runs, from the next request on.
    pub fn reload(&self, new: &Config) -> Reloaded {
        let before = self.current();
        let mut next = Config::clone(&before);
        next.take_over(new);
        let told = Reloaded { changed: before.differs_in(&next), needs_restart: next.differs_in(new) };
        self.limits.set(&next);
        self.told.send_replace(Arc::new(next));
        told
    }

    /// Works until the server stops, and begins anew whenever the part of the configuration that the work hangs on has
    /// changed. `work` is to end once it reads `true`; if it ends before, it had nothing to do.
    pub(crate) async fn hold_to<P: PartialEq, W: Future<Output = ()>>(
        &self,
        part: impl Fn(&Config) -> P,
        mut work: impl FnMut(Arc<Config>, watch::Receiver<bool>) -> W,
    ) {
        let (mut stopping, mut told) = (self.stopping.subscribe(), self.told.subscribe());
        while !*stopping.borrow() {
            let config = Arc::clone(&told.borrow_and_update());
            let held = part(&config);
            let (end, ending) = watch::channel(false);
            let over = async {
                loop {
                    tokio::select! {
                        _ = stopping.wait_for(|stopping| *stopping) => break,
                        _ = told.changed() => if part(&told.borrow()) != held { break },
                    }
                }
                end.send_replace(true);
            };
            tokio::join!(work(config, ending), over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::store::SqliteStore;

    /// A value other than the default of each key.
    fn other(key: &str) -> &'static str {
        match key {
            "http" | "https" | "mqtt" | "mqtts" | "coap" | "seed_listen" => "127.0.0.1:7",
            "store" => "sqlite",
            "allow_remote_without_login" | "metrics_without_login" => "true",
            "seed_plaintext_reply" => "false",
            "log_level" => "debug",
            "log_format" => "json",
            "body_bytes" => "20000",
            "data" | "master_key_file" | "tls_cert" | "tls_key" | "seed_bundle" | "seed_device" | "hosts" => {
                "other"
            }
            _ => "17",
        }
    }

    #[test]
    fn every_key_holds_at_once_or_is_said_to_need_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path());
        let store = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
        let core = Core::new(config.clone(), store, Arc::new(SystemClock)).unwrap();
        let mut at_once = Vec::new();
        for key in KEYS.iter().filter(|key| key.name != "store") {
            let mut new = config.clone();
            assert!((key.set)(&mut new, other(key.name)).is_some(), "{}", key.name);
            assert_eq!(config.differs_in(&new), [key.name], "its value can be told from the default");
            let told = core.reload(&new);
            let all: Vec<_> = told.changed.iter().chain(&told.needs_restart).copied().collect();
            assert_eq!(all, [key.name]);
            assert_eq!(*core.current() == new, told.needs_restart.is_empty(), "{}", key.name);
            at_once.extend(told.changed);
            core.reload(&config);
            assert_eq!(*core.current(), config);
        }
        let expected = [
            "retention_days",
            "session_idle_hours",
            "session_max_days",
            "metrics_without_login",
            "hosts",
            "frames_per_s",
            "device_frames_per_s",
            "joins_per_s",
            "log_level",
        ];
        assert_eq!(at_once, expected);
        let mut new = config.clone();
        new.apply_text("x", "[[forward]]\nname = 'a'\nkind = 'webhook'\nurl = 'http://127.0.0.1:1/x'\n")
            .unwrap();
        new.apply_text("x", "[[alert]]\nkind = 'silent'\n").unwrap();
        let expected = Reloaded { changed: vec!["forward", "alert"], needs_restart: Vec::new() };
        assert_eq!(core.reload(&new), expected);
    }
}
