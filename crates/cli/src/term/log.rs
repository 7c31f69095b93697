//! The log of a server: lines for people or JSON, on standard error, and no kind of line without an end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kinglet_server::config::{LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines from one place in the code that come at once, and then one in [`EVERY`].
const AT_ONCE: u32 = 50;
const EVERY: Duration = Duration::from_secs(1);
/// How often it is said what was left out.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// A log that has begun.
pub(crate) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    sparse: Sparse,
    said: Instant,
}

impl Log {
    /// Begins the log of this process.
    pub(crate) fn begin(format: LogFormat, level: LogLevel, ansi: bool) -> Self {
        let sparse = Sparse::default();
        let (level, handle) = reload::Layer::new(filter_of(level));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
        let lines = match format {
            LogFormat::Text => lines.with_ansi(ansi).boxed(),
            LogFormat::Json => {
                lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
            }
        };
        tracing_subscriber::registry().with(level).with(lines.with_filter(sparse.clone())).init();
        Self { level: handle, sparse, said: Instant::now() }
    }

    /// Writes another level from now on.
    pub(crate) fn set_level(&self, level: LogLevel) {
        // It fails only once there is no log any more.
        let _ = self.level.reload(filter_of(level));
    }

    /// To be called now and then: says how many lines were left out.
    pub(crate) fn tick(&mut self) {
        if self.said.elapsed() >= SAID_EVERY {
            self.said = Instant::now();
            for (place, n) in self.sparse.take_left_out() {
                tracing::warn!(n, place, "further lines from this place in the code were left out");
            }
        }
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

/// Lets few lines through from each place in the code. There are as many places as the code has, whatever comes in.
#[derive(Clone, Default)]
struct Sparse(Arc<Mutex<HashMap<&'static str, Place>>>);

/// One place in the code.
struct Place {
    /// Lines that may still come, and when this was counted.
    left: f64,
    at: Instant,
    left_out: u64,
}

impl Sparse {
    fn allows(&self, place: &'static str, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Place { left: f64::from(AT_ONCE), at: now, left_out: 0 };
        let place = places.entry(place).or_insert_with(fresh);
        let since = now.saturating_duration_since(place.at).as_secs_f64() / EVERY.as_secs_f64();
        (place.left, place.at) = ((place.left + since).min(f64::from(AT_ONCE)), now);
        let allows = place.left >= 1.0;
        if allows {
            place.left -= 1.0;
        } else {
            place.left_out += 1;
        }
        allows
    }

    fn take_left_out(&self) -> Vec<(&'static str, u64)> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.iter_mut().map(|(name, place)| (*name, std::mem::take(&mut place.left_out)));
        taken.filter(|(_, n)| *n > 0).collect()
    }
}

impl<S> Filter<S> for Sparse {
    fn enabled(&self, _: &tracing_core::Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &tracing_core::Event<'_>, _: &Context<'_, S>) -> bool {
        // Its name is file and line.
        self.allows(event.metadata().name(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_says_little_and_the_rest_is_counted() {
        let (sparse, t0) = (Sparse::default(), Instant::now());
        let said = |place, at| (0..1000).filter(|_| sparse.allows(place, at)).count();
        assert_eq!(said("event a.rs:1", t0), 50);
        assert_eq!(said("event a.rs:2", t0), 50, "another place is not concerned");
        assert_eq!(said("event a.rs:1", t0 + Duration::from_secs(3)), 3);
        let mut left_out = sparse.take_left_out();
        left_out.sort_unstable();
        assert_eq!(left_out, [("event a.rs:1", 1947), ("event a.rs:2", 950)]);
        assert_eq!(sparse.take_left_out(), []);
    }
}
