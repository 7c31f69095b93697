//! Readings between their answer and the store: one write for many of them.
//!
//! The seed's protocol has no acknowledgement that means "stored", and its sketch would do nothing with one. So an
//! answer means decoded and taken; the next flush, a tenth of a second later, stores. What the store does not take
//! stays here, and when there is no more room, requests are told so.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinglet_codec::Decimal;
use kinglet_codec::seed::SeedModel;
use kinglet_wire::keys::DeviceId;
use tokio::sync::Notify;

use super::{Refused, SeedMode};
use crate::live::LiveWindow;
use crate::readings::{ChannelInfo, Readings, Value};
use crate::store::{RejectCount, SEED_NAMES_MAX, SeedRun, StoreError, TimeQuality, day_of};

/// Most numbers that wait for the store.
const QUEUE_MAX: usize = 200_000;
/// From the first reading to the flush that takes it.
const BREATH: Duration = Duration::from_millis(100);
/// How long a store that failed is left alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the log hears of refusals.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Newest readings of a flush that live streams are told of.
const LIVE_MAX: usize = 32;

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

struct Waiting {
    runs: HashMap<String, Run>,
    n_values: usize,
    names: HashSet<String>,
    refused: HashMap<&'static str, u64>,
    /// Refused since the log last heard of it, and when that was.
    unsaid: u64,
    said: Option<Instant>,
}

#[derive(Default)]
struct Run {
    times: Vec<i64>,
    values: Vec<f32>,
}

impl Queue {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let waiting = Waiting {
            runs: HashMap::new(),
            n_values: 0,
            names: names.collect(),
            refused: HashMap::new(),
            unsaid: 0,
            said: None,
        };
        Self { waiting: Mutex::new(waiting), arrived: Notify::new() }
    }

    /// Takes the samples of one window.
    pub(super) fn push(
        &self,
        device: &str,
        times: impl Iterator<Item = i64>,
        values: &[f32],
    ) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if waiting.n_values + values.len() > QUEUE_MAX {
            return Err(Refused::Busy);
        }
        if let Some(run) = waiting.runs.get_mut(device) {
            run.times.extend(times);
            run.values.extend(values);
            waiting.n_values += values.len();
            return Ok(());
        }
        if !waiting.names.contains(device) {
            if DeviceId::new(device).is_none() {
                return Err(Refused::BadName);
            }
            if waiting.names.len() >= SEED_NAMES_MAX {
                return Err(Refused::TooManyNames);
            }
            waiting.names.insert(device.into());
        }
        waiting.n_values += values.len();
        waiting.runs.insert(device.into(), Run { times: times.collect(), values: values.to_vec() });
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    pub(super) fn count(&self, word: &'static str) {
        let mut waiting = self.lock();
        *waiting.refused.entry(word).or_default() += 1;
        waiting.unsaid += 1;
        if waiting.unsaid == 1 {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeedMode {
    /// Stores what waits, again and again, until the server stops.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut stopping = self.core.stopping.subscribe();
        while !*stopping.borrow() {
            tokio::select! {
                () = self.queue.arrived.notified() => {}
                _ = stopping.changed() => {}
            }
            let mut pause = BREATH;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
                match self.flush().await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "decoded readings wait for the store"),
                }
                if *stopping.borrow() {
                    break;
                }
                pause = PATIENCE;
            }
        }
    }

    /// Stores what waits; what could not be stored waits on.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let (taken, rejects) = self.drain();
        if !rejects.is_empty() {
            // A count that is lost is no reading that is lost.
            let _ = self.core.store.count_rejects(rejects).await;
        }
        if taken.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.core.store.add_seed_samples(taken.clone()).await {
            self.put_back(taken);
            return Err(error);
        }
        if self.core.live.receiver_count() > 0 {
            taken.iter().for_each(|run| self.tell(run));
        }
        Ok(())
    }

    fn drain(&self) -> (Vec<SeedRun>, Vec<RejectCount>) {
        let mut waiting = self.queue.lock();
        waiting.n_values = 0;
        let bundle = self.model.fingerprint();
        let names = self.model.channels().iter().map(|c| (c.name.clone(), c.unit.clone()));
        let channels: Vec<_> = names.collect();
        let run = |(device, run): (String, Run)| SeedRun {
            device,
            bundle,
            channels: channels.clone(),
            times: run.times,
            values: run.values,
        };
        let runs = waiting.runs.drain().map(run).collect();
        let day = day_of(self.core.clock.now_ms());
        let reject =
            |(word, n): (&str, u64)| RejectCount { device: 0, day, reason: format!("decode_{word}"), n };
        let rejects = waiting.refused.drain().map(reject).collect();
        if waiting.unsaid > 0 && waiting.said.is_none_or(|said| said.elapsed() >= LOG_EVERY) {
            tracing::warn!(
                refused = waiting.unsaid,
                "POST /decode refused requests; the dashboard counts why"
            );
            (waiting.unsaid, waiting.said) = (0, Some(Instant::now()));
        }
        (runs, rejects)
    }

    fn put_back(&self, runs: Vec<SeedRun>) {
        let mut waiting = self.queue.lock();
        for mut run in runs {
            waiting.n_values += run.values.len();
            let kept = waiting.runs.entry(run.device).or_default();
            run.times.append(&mut kept.times);
            run.values.append(&mut kept.values);
            *kept = Run { times: run.times, values: run.values };
        }
    }

    fn tell(&self, run: &SeedRun) {
        let channels = shown(&self.model);
        let samples = run.times.iter().zip(run.values.chunks_exact(channels.len()));
        for (&t_first, values) in samples.skip(run.times.len().saturating_sub(LIVE_MAX)) {
            let readings = Readings {
                channels: Arc::clone(&channels),
                t_first,
                period_ms: 0,
                t_quality: TimeQuality::Arrival,
                values: values.iter().map(|v| number(*v)).collect(),
            };
            // Nobody may be listening any more; that is fine.
            let _ = self.core.live.send(Arc::new(LiveWindow {
                device: run.device.clone(),
                short_id: 0,
                readings,
            }));
        }
    }
}

/// Channels for those who watch. There is no bound: nothing says how far a value may lie from what was measured.
fn shown(model: &SeedModel) -> Arc<[ChannelInfo]> {
    let channel = |c: &kinglet_codec::seed::SeedChannel| ChannelInfo {
        name: c.name.clone(),
        unit: c.unit.clone(),
        bound: Decimal::default(),
        digits: 2,
    };
    model.channels().iter().map(channel).collect()
}

/// Hundredths, as in the answer.
pub(crate) fn number(value: f32) -> Value {
    let hundredths = (f64::from(value) * 100.0).round();
    if hundredths.abs() < 1e15 { Value::Number(Decimal::new(hundredths as i64, 2)) } else { Value::Missing }
}
