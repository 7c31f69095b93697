//! The keys of the file, and what to say to one that is none.

use std::net::SocketAddr;
use std::path::PathBuf;

use kinglet_wire::keys::DeviceId;

use super::Config;

/// One key: its name, what it takes, how the commented file explains it, how it is set.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
    pub(super) help: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "data",
        expected: "a directory",
        help: "Directory of the store, the master key and the management token.",
        set: |c, v| (!v.is_empty()).then(|| c.data = PathBuf::from(v)),
    },
    Key {
        name: "store",
        expected: "sqlite, or postgres://USER@HOST/DATABASE with the password in PGPASSWORD or PGPASSFILE",
        help: "Where readings are kept: sqlite (in the data directory), or a PostgreSQL that many servers may share.",
        set: |c, v| v.parse().ok().map(|v| c.store = v),
    },
    Key {
        name: "master_key_file",
        expected: "a file",
        help: "The master key device keys are kept under, for servers that share a store. Empty: master.key in the data directory.",
        set: |c, v| {
            c.master_key_file = (!v.is_empty()).then(|| PathBuf::from(v));
            Some(())
        },
    },
    Key {
        name: "retention_days",
        expected: "a number of days from 0 to 36500",
        help: "Delete readings that are older, by their own time and by their arrival. 0 keeps them for good.",
        set: |c, v| number(v, 0, 36_500).map(|v| c.retention_days = v as u32),
    },
    Key {
        name: "http",
        expected: "an address such as 127.0.0.1:8470",
        help: "Where HTTP is served: devices, dashboard and API. Port 0 takes a free one.",
        set: |c, v| v.parse().ok().map(|v| c.http = v),
    },
    Key {
        name: "https",
        expected: "an address such as 0.0.0.0:8443, or nothing",
        help: "Where the same is served by TLS. Empty: it is not.",
        set: |c, v| optional(v).map(|v| c.https = v),
    },
    Key {
        name: "mqtt",
        expected: "an address such as 0.0.0.0:1883, or nothing",
        help: "Where devices are served by MQTT 3.1.1 and 5. Only devices can log in. Empty: they are not.",
        set: |c, v| optional(v).map(|v| c.mqtt = v),
    },
    Key {
        name: "mqtts",
        expected: "an address such as 0.0.0.0:8883, or nothing",
        help: "The same by TLS. Empty: it is not.",
        set: |c, v| optional(v).map(|v| c.mqtts = v),
    },
    Key {
        name: "coap",
        expected: "an address such as 0.0.0.0:5683, or nothing",
        help: "Where devices are served by CoAP over UDP. Empty: they are not.",
        set: |c, v| optional(v).map(|v| c.coap = v),
    },
    Key {
        name: "mqtt_connections",
        expected: "a number from 1 to 1000000",
        help: "Most MQTT connections at once, on each address; further ones wait.",
        set: |c, v| number(v, 1, 1_000_000).map(|v| c.mqtt_connections = v),
    },
    Key {
        name: "mqtt_keep_alive_s",
        expected: "seconds from 1 to 43200",
        help: "How long an MQTT client may promise to be silent; after half as much again it is gone.",
        set: |c, v| number(v, 1, 43_200).and_then(|v| v.try_into().ok()).map(|v| c.mqtt_keep_alive_s = v),
    },
    Key {
        name: "tls_cert",
        expected: "a file",
        help: "Your certificate as PEM, those that signed it behind it; read again when it changes. Empty: a self-made one.",
        set: |c, v| c.set_tls_file(|files| &mut files.cert, v),
    },
    Key {
        name: "tls_key",
        expected: "a file",
        help: "The certificate's private key as PEM.",
        set: |c, v| c.set_tls_file(|files| &mut files.key, v),
    },
    Key {
        name: "handshake_timeout_ms",
        expected: "milliseconds from 10 to 3600000",
        help: "How long a client may take to agree on TLS, and to log in by MQTT.",
        set: |c, v| number(v, 10, 3_600_000).map(|v| c.handshake_timeout_ms = v as u64),
    },
    Key {
        name: "allow_remote_without_login",
        expected: "true or false",
        help: "Serve other machines although there are no users: whoever reaches the port reads everything.",
        set: |c, v| v.parse().ok().map(|v| c.allow_remote_without_login = v),
    },
    Key {
        name: "session_idle_hours",
        expected: "hours from 1 to 8760",
        help: "A login that was not used for so long ends.",
        set: |c, v| number(v, 1, 8760).map(|v| c.session_idle_hours = v as u32),
    },
    Key {
        name: "session_max_days",
        expected: "days from 1 to 3650",
        help: "A login ends after so long, used or not.",
        set: |c, v| number(v, 1, 3650).map(|v| c.session_max_days = v as u32),
    },
    Key {
        name: "metrics_without_login",
        expected: "true or false",
        help: "Give /metrics to whoever asks; false: once there are users, to those with a token or a login.",
        set: |c, v| v.parse().ok().map(|v| c.metrics_without_login = v),
    },
    Key {
        name: "hosts",
        expected: "a list of host names",
        help: "Names under which browsers may ask for the dashboard, besides IP addresses and localhost.",
        set: |c, v| {
            c.hosts = v.split(',').map(str::trim).filter(|v| !v.is_empty()).map(str::to_lowercase).collect();
            c.hosts.iter().all(|host| is_host_name(host)).then_some(())
        },
    },
    Key {
        name: "frames_per_s",
        expected: "a number from 0 to 100000000",
        help: "Frames taken in each second, ten seconds' worth at once; what is more is told to come later. 0: no limit.",
        set: |c, v| number(v, 0, 100_000_000).map(|v| c.frames_per_s = v as u32),
    },
    Key {
        name: "device_frames_per_s",
        expected: "a number from 0 to 100000000",
        help: "The same of each device, a minute's worth at once; repeats are free. 0: no limit.",
        set: |c, v| number(v, 0, 100_000_000).map(|v| c.device_frames_per_s = v as u32),
    },
    Key {
        name: "joins_per_s",
        expected: "a number from 0 to 100000000",
        help: "Joins answered each second, ten seconds' worth at once. 0: no limit.",
        set: |c, v| number(v, 0, 100_000_000).map(|v| c.joins_per_s = v as u32),
    },
    Key {
        name: "body_bytes",
        expected: "a number of bytes from 16384 to 67108864",
        help: "Largest body of one request with frames.",
        set: |c, v| number(v, 16_384, 64 << 20).map(|v| c.body_bytes = v),
    },
    Key {
        name: "frames_per_request",
        expected: "a number from 1 to 65536",
        help: "Most frames in one request.",
        set: |c, v| number(v, 1, 65_536).map(|v| c.frames_per_request = v),
    },
    Key {
        name: "connections",
        expected: "a number from 1 to 1000000",
        help: "Most connections at once; further ones wait.",
        set: |c, v| number(v, 1, 1_000_000).map(|v| c.connections = v),
    },
    Key {
        name: "header_timeout_ms",
        expected: "milliseconds from 10 to 3600000",
        help: "How long a client may take to send a request's header, and how long it may stay idle.",
        set: |c, v| number(v, 10, 3_600_000).map(|v| c.header_timeout_ms = v as u64),
    },
    Key {
        name: "request_timeout_ms",
        expected: "milliseconds from 10 to 3600000",
        help: "How long a request may take from its header to the answer.",
        set: |c, v| number(v, 10, 3_600_000).map(|v| c.request_timeout_ms = v as u64),
    },
    Key {
        name: "drain_timeout_ms",
        expected: "milliseconds from 10 to 3600000",
        help: "How long requests under way may take to end when the server stops.",
        set: |c, v| number(v, 10, 3_600_000).map(|v| c.drain_timeout_ms = v as u64),
    },
    Key {
        name: "log_level",
        expected: "error, warn, info or debug",
        help: "The least that is written to the log.",
        set: |c, v| v.parse().ok().map(|v| c.log_level = v),
    },
    Key {
        name: "log_format",
        expected: "text or json",
        help: "How the log is written: for people, or one JSON object a line.",
        set: |c, v| v.parse().ok().map(|v| c.log_format = v),
    },
    Key {
        name: "seed_bundle",
        expected: "a file",
        help: "Answer POST /decode with this seed-mode bundle: obfuscation, for a trusted network. Empty: do not.",
        set: |c, v| {
            c.seed.bundle = (!v.is_empty()).then(|| PathBuf::from(v));
            Some(())
        },
    },
    Key {
        name: "seed_listen",
        expected: "an address such as 0.0.0.0:5000",
        help: "Where POST /decode is served, if it is: boards are on other machines.",
        set: |c, v| v.parse().ok().map(|v| c.seed.listen = v),
    },
    Key {
        name: "seed_device",
        expected: "a name of letters, digits, `-`, `_` and `.`",
        help: "Name such readings are kept under, unless the board asks for /decode?device=NAME.",
        set: |c, v| DeviceId::new(v).map(|_| c.seed.device = v.into()),
    },
    Key {
        name: "seed_plaintext_reply",
        expected: "true or false",
        help: "Answer with the reading, as the seed's sketch expects; false keeps it out of the answer.",
        set: |c, v| v.parse().ok().map(|v| c.seed.plaintext_reply = v),
    },
    Key {
        name: "seed_period_ms",
        expected: "milliseconds from 1 to 86400000",
        help: "Time from sample to sample, for seed-mode bundles whose windows have several.",
        set: |c, v| number(v, 1, 86_400_000).map(|v| c.seed.period_ms = v as u64),
    },
];

fn number(text: &str, min: usize, max: usize) -> Option<usize> {
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

/// An address, or nothing.
fn optional(text: &str) -> Option<Option<SocketAddr>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || format!("; there are {}", KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")),
        |near| format!(": did you mean `{near}`?"),
    )
}

/// The key that differs from `name` in at most two letters, or a third of them.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name: Vec<char> = name.chars().take(64).collect();
    let distance = |key: &Key| (edits(&name, key.name), key.name);
    let (edits, near) = KEYS.iter().map(distance).min()?;
    (edits <= 2.max(near.len() / 3)).then_some(near)
}

/// Levenshtein distance.
fn edits(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.chars().enumerate() {
            let cost = diagonal + usize::from(*ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
