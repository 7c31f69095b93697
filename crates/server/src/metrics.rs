//! What is counted for those who watch over the server, since this process started.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ingest::Refusal;

/// Upper bounds of the buckets of commit times, in seconds, as they are written.
const BOUNDS: [(&str, f64); 12] = [
    ("0.0005", 0.0005),
    ("0.001", 0.001),
    ("0.0025", 0.0025),
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2.5", 2.5),
];

/// Counts of frames and commits.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) windows: AtomicU64,
    pub(crate) offers_told: AtomicU64,
    pub(crate) pieces: AtomicU64,
    pub(crate) updates_kept: AtomicU64,
    pub(crate) updates_refused: AtomicU64,
    /// How far the clock is ahead that retention does not believe.
    pub(crate) clock_ahead_ms: AtomicI64,
    refused: [AtomicU64; Refusal::ALL.len()],
    commits: [AtomicU64; BOUNDS.len() + 1],
    commit_us: AtomicU64,
}

impl Metrics {
    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(i) = Refusal::ALL.iter().position(|one| *one == why) {
            add(&self.refused[i], 1);
        }
    }

    /// Counts a transaction that took frames in.
    pub(crate) fn committed(&self, took: Duration) {
        let bucket =
            BOUNDS.iter().position(|(_, bound)| took.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
        add(&self.commits[bucket], 1);
        add(&self.commit_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes all of it.
    pub(crate) fn write(&self, out: &mut Exposition) {
        out.family("kinglet_frames_accepted_total", "counter", "Frames stored for the first time.");
        out.sample("kinglet_frames_accepted_total", &[], read(&self.accepted));
        out.family(
            "kinglet_frames_duplicate_total",
            "counter",
            "Frames that were stored already, acked again.",
        );
        out.sample("kinglet_frames_duplicate_total", &[], read(&self.duplicates));
        out.family("kinglet_frames_refused_total", "counter", "Frames turned away, by reason.");
        for (why, n) in Refusal::ALL.iter().zip(&self.refused) {
            out.sample("kinglet_frames_refused_total", &[("reason", why.word())], read(n));
        }
        out.family("kinglet_windows_stored_total", "counter", "Windows of readings stored.");
        out.sample("kinglet_windows_stored_total", &[], read(&self.windows));
        for (name, help, n) in [
            ("kinglet_offers_told_total", "Commands that tell a device of a bundle.", &self.offers_told),
            ("kinglet_bundle_pieces_total", "Pieces of offered bundles that were sent.", &self.pieces),
            ("kinglet_updates_kept_total", "Updates that devices keep, as they say.", &self.updates_kept),
            (
                "kinglet_updates_refused_total",
                "Updates that devices refuse or went back from.",
                &self.updates_refused,
            ),
        ] {
            out.family(name, "counter", help);
            out.sample(name, &[], read(n));
        }
        let name = "kinglet_commit_duration_seconds";
        out.family(name, "histogram", "From frames handed to the store to their commit.");
        let mut n = 0;
        for (i, commits) in self.commits.iter().enumerate() {
            n += read(commits);
            let bound = BOUNDS.get(i).map_or("+Inf", |(text, _)| text);
            out.sample("kinglet_commit_duration_seconds_bucket", &[("le", bound)], n);
        }
        out.sample("kinglet_commit_duration_seconds_sum", &[], read(&self.commit_us) as f64 / 1e6);
        out.sample("kinglet_commit_duration_seconds_count", &[], n);
    }
}

/// Counts of what the configuration names; they go on when the configuration is read anew.
#[derive(Debug, Default)]
pub(crate) struct ByName<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T: Default> ByName<T> {
    pub(crate) fn of(&self, name: &str) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.into()).or_default())
    }
}

pub(crate) fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// Begins a metric; its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_sums_and_labels_cannot_break_out() {
        let metrics = Metrics::default();
        for ms in [0, 1, 3, 9000] {
            metrics.committed(Duration::from_millis(ms));
        }
        metrics.refused(Refusal::TooOld);
        let mut out = Exposition::default();
        metrics.write(&mut out);
        out.sample("x", &[("a", "\"}\n\\"), ("b", "")], 1);
        let text = out.text();
        for line in [
            "kinglet_commit_duration_seconds_bucket{le=\"0.001\"} 2",
            "kinglet_commit_duration_seconds_bucket{le=\"2.5\"} 3",
            "kinglet_commit_duration_seconds_bucket{le=\"+Inf\"} 4",
            "kinglet_commit_duration_seconds_sum 9.004",
            "kinglet_commit_duration_seconds_count 4",
            "kinglet_frames_refused_total{reason=\"too_old\"} 1",
            "x{a=\"\\\"}\\n\\\\\",b=\"\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
