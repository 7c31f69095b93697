//! Many devices at once, on a few threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kinglet_node::{MemFlash, NodeError};
use kinglet_train::recording::Recording;

use super::feed::{Feed, readings};
use super::link::{Answer, Link};
use super::session::{Counts, Exchange, Session};

/// How long a thread sleeps when nothing is due.
const TICK: Duration = Duration::from_millis(2);

/// A device of the fleet, and everything it has measured.
pub(crate) struct Member<'a> {
    pub(crate) short_id: u32,
    pub(crate) session: Session<'a, MemFlash<Vec<u8>>>,
    pub(crate) feed: Feed<'a>,
    pub(crate) recording: &'a Recording,
    /// Time and row of every sample it took.
    pub(crate) truth: Vec<(i64, usize)>,
}

/// When readings come and when it ends.
pub(crate) struct Pace {
    pub(crate) started: Instant,
    /// Time of the first samples, unix milliseconds.
    pub(crate) t_first_ms: i64,
    /// How much faster sample time runs than time on the wall.
    pub(crate) speed: f64,
    /// Unix milliseconds at `started`: no sample is said to come from the future.
    pub(crate) wall_ms: i64,
    /// New readings come for this long.
    pub(crate) length: Option<Duration>,
    /// How long the outboxes may take to empty after that.
    pub(crate) drain: Duration,
}

/// What is told while it runs.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) samples: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    /// Raised to end it early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// Why a fleet stopped.
#[derive(Debug)]
pub(crate) enum FleetError {
    /// A node failed: a fault in Kinglet.
    Node(NodeError),
    /// The server refuses for good.
    Refused(Answer),
}

impl From<NodeError> for FleetError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl Pace {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sample time: it runs ahead until it has caught up with the clock on the wall.
    fn t_ms(&self, now: u64) -> i64 {
        let fast = self.t_first_ms.saturating_add((now as f64 * self.speed) as i64);
        fast.min(self.wall_ms.saturating_add_unsigned(now))
    }

    fn is_over(&self, now: u64, live: &Live) -> bool {
        let length = self.length.map_or(u64::MAX, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        now >= length || live.stop.load(Ordering::Relaxed)
    }
}

/// How often `show` is called.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Runs the fleet on `n_threads` threads until it is over and, as far as patience goes, everything is acked.
pub(crate) fn run(
    members: &mut [Member<'_>],
    n_threads: usize,
    link: &Link,
    pace: &Pace,
    live: &Live,
    show: &mut dyn FnMut(&Live),
) -> Result<Counts, FleetError> {
    let per_thread = members.len().div_ceil(n_threads.max(1)).max(1);
    let mut total = Counts::default();
    std::thread::scope(|scope| {
        let share = |part| scope.spawn(move || run_part(part, link, pace, live));
        let threads: Vec<_> = members.chunks_mut(per_thread).map(share).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(SHOW_EVERY);
            show(live);
        }
        for thread in threads {
            // A panic of a thread is a fault of ours and goes on here.
            match thread.join() {
                Ok(done) => total += done?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(total)
    })
}

fn run_part(members: &mut [Member<'_>], link: &Link, pace: &Pace, live: &Live) -> Result<Counts, FleetError> {
    let done = drive(members, link, pace, live);
    if done.is_err() {
        // The others need not go on either.
        live.stop.store(true, Ordering::Relaxed);
    }
    done?;
    let mut total = Counts::default();
    members.iter().for_each(|member| total += member.session.counts);
    Ok(total)
}

fn drive(members: &mut [Member<'_>], link: &Link, pace: &Pace, live: &Live) -> Result<(), FleetError> {
    while !pace.is_over(pace.now(), live) {
        let mut is_idle = true;
        for member in &mut *members {
            // Time is asked for each: a slow answer to one is no lie about the next.
            let now = pace.now();
            is_idle &= !member.measure(now, pace, live)?;
            is_idle &= !member.speak(now, link, live)?;
        }
        if is_idle {
            std::thread::sleep(TICK);
        }
    }
    let drain_until = Instant::now() + pace.drain;
    for member in &mut *members {
        member.session.flush(pace.now())?;
    }
    while Instant::now() < drain_until && members.iter().any(Member::waits) {
        let mut is_idle = true;
        for member in &mut *members {
            is_idle &= !member.speak(pace.now(), link, live)?;
        }
        if is_idle {
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

impl Member<'_> {
    fn waits(&self) -> bool {
        self.session.node().stats().n_windows_waiting > 0 || self.session.is_fetching()
    }

    /// Takes the samples that are due; true if there were any.
    fn measure(&mut self, now: u64, pace: &Pace, live: &Live) -> Result<bool, NodeError> {
        let t_now = pace.t_ms(now);
        let mut n = 0;
        while self.feed.next_t_ms() <= t_now && n < 1000 {
            let (t_ms, row) = self.feed.next();
            self.session.sample(now, t_ms, &readings(self.recording, row))?;
            self.truth.push((t_ms, row));
            n += 1;
            // Sample time runs ahead of the node's clock; so what may wait is counted here as well.
            let n_open = self.session.node().stats().n_samples_open;
            let oldest = self.truth.len().checked_sub(n_open).and_then(|at| self.truth.get(at));
            let may_wait_ms = i64::from(self.session.node().model().max_delay_ms());
            if oldest.is_some_and(|(t_first_ms, _)| t_ms - t_first_ms >= may_wait_ms) {
                self.session.flush(now)?;
            }
        }
        live.samples.fetch_add(n, Ordering::Relaxed);
        Ok(n > 0)
    }

    /// Exchanges what is due; true if there was anything.
    fn speak(&mut self, now: u64, link: &Link, live: &Live) -> Result<bool, FleetError> {
        let is_busy = self.session.look_after_bundles(now, link)?;
        if self.session.node().poll_at().is_none_or(|at| at > now) {
            return Ok(is_busy);
        }
        let before = self.session.counts;
        let exchange = self.session.exchange(now, link)?;
        let after = self.session.counts;
        live.acked.fetch_add(after.acked - before.acked, Ordering::Relaxed);
        live.frame_bytes.fetch_add(after.frame_bytes - before.frame_bytes, Ordering::Relaxed);
        match exchange {
            Exchange::Quiet => Ok(is_busy),
            // Trying again does not help against these; against all others it does.
            Exchange::Refused(answer)
                if ["revoked", "unknown_device", "unknown_bundle"]
                    .iter()
                    .any(|w| answer.is_refused_as(w)) =>
            {
                Err(FleetError::Refused(answer))
            }
            _ => Ok(true),
        }
    }
}
