//! How much is taken in: frames of all devices together, frames of each, joins.
//!
//! A device is charged for what was stored of it, after its commit. So nobody else can use up its share: neither by frames
//! under its name that do not open, nor by repeating what it has sent. What all send together is counted as it comes,
//! before anything is looked at: that limit protects the server and no device.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::ingest::Refusal;
use crate::metrics;
use crate::pace::{Meter, Pace};
use crate::registry::Device;

/// So much of a second's frames, or joins, may come at once.
const BURST: Duration = Duration::from_secs(10);
/// The same of one device, which brings what it has kept while the server was away.
const DEVICE_BURST: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// The meters of a server, and the rates they are held to.
#[derive(Debug)]
pub(crate) struct Limits {
    begun: Instant,
    /// When frames last came: those that are looked at later came with them, and a clock costs more than the rest of this.
    last_ns: AtomicU64,
    frames: Meter,
    joins: Meter,
    /// Nanoseconds each one costs: they may be changed while frames come.
    each_frame: AtomicU64,
    each_device_frame: AtomicU64,
    each_join: AtomicU64,
    /// Frames and joins that were too many.
    pub(crate) refused_frames: AtomicU64,
    pub(crate) refused_joins: AtomicU64,
}

/// More comes than the server may take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more comes than this server takes: keep it and repeat it in {} s", .wait.as_secs() + 1)]
pub struct TooFast {
    /// How long to wait.
    pub wait: Duration,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = Self {
            begun: Instant::now(),
            last_ns: AtomicU64::new(0),
            frames: Meter::default(),
            joins: Meter::default(),
            each_frame: AtomicU64::new(0),
            each_device_frame: AtomicU64::new(0),
            each_join: AtomicU64::new(0),
            refused_frames: AtomicU64::new(0),
            refused_joins: AtomicU64::new(0),
        };
        limits.set(config);
        limits
    }

    /// Holds to other rates from now on.
    pub(crate) fn set(&self, config: &Config) {
        let each = |n| Pace::new(n, SECOND, SECOND).each_ns();
        self.each_frame.store(each(config.frames_per_s), Ordering::Relaxed);
        self.each_device_frame.store(each(config.device_frames_per_s), Ordering::Relaxed);
        self.each_join.store(each(config.joins_per_s), Ordering::Relaxed);
    }

    /// Counts frames that have come, of whomever.
    pub(crate) fn frames(&self, n: usize) -> Result<(), TooFast> {
        let (pace, now_ns) = (pace(&self.each_frame, BURST), self.now_ns());
        self.last_ns.store(now_ns, Ordering::Relaxed);
        self.frames.take(pace, now_ns, n as u64).map_err(|wait| {
            metrics::add(&self.refused_frames, n as u64);
            TooFast { wait }
        })
    }

    /// Whether a device may store more, of what [`frames`](Self::frames) has counted.
    pub(crate) fn device(&self, device: &Device) -> Result<(), Refusal> {
        let pace = pace(&self.each_device_frame, DEVICE_BURST);
        device.meter.look(pace, self.last_ns.load(Ordering::Relaxed)).map_err(|_| {
            metrics::add(&self.refused_frames, 1);
            Refusal::TooManyFrames
        })
    }

    /// Charges a device for a frame that was stored.
    pub(crate) fn stored(&self, device: &Device) {
        let now_ns = self.last_ns.load(Ordering::Relaxed);
        device.meter.charge(pace(&self.each_device_frame, DEVICE_BURST), now_ns);
    }

    /// Counts a join that has come, of whomever.
    pub(crate) fn join(&self) -> Result<(), TooFast> {
        self.joins.take(pace(&self.each_join, BURST), self.now_ns(), 1).map_err(|wait| {
            metrics::add(&self.refused_joins, 1);
            TooFast { wait }
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn pace(each_ns: &AtomicU64, burst: Duration) -> Pace {
    Pace::of(each_ns.load(Ordering::Relaxed), burst)
}
