//! A frame's way in: header, device, keys, open, content, store, ack. Each step gives the next its value.

mod open;
mod refusal;

use std::sync::Arc;
use std::time::Instant;

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::Suite;
use kinglet_wire::lorawan;
use kinglet_wire::payload::{Ack, AckFlags, Millis};

use crate::core::Core;
use crate::limits::TooFast;
use crate::metrics;
use crate::offers::{Reported, refusal_word};
use crate::reference::LastCode;
use crate::registry::{Device, RegistryError};
use crate::store::{Arrival, FrameId, Outcome, Span, StoreError, Verdict};
use open::{Stop, TurnedAway};
pub use refusal::Refusal;

/// What a request with frames gets.
#[derive(Debug, Default)]
pub struct Answer {
    /// Sealed acks and hints, to be sent back.
    pub downlinks: Vec<Vec<u8>>,
    /// Frames that are on disk now, repeats included.
    pub n_stored: usize,
    /// Why the others are not.
    pub refused: Vec<Refusal>,
    /// Of each frame, in their order: why it was refused, or `None` if it is on disk.
    pub fates: Vec<Option<Refusal>>,
    /// What is on disk of links where acks are rare: whoever took it decides when to seal one.
    pub(crate) unacked: Vec<Unacked>,
}

/// A frame that is on disk and has no ack yet.
#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) device: Arc<Device>,
    pub(crate) generation_low: u8,
    pub(crate) id: FrameId,
    pub(crate) span: Option<Span>,
    pub(crate) is_window: bool,
    /// It was on disk before.
    pub(crate) is_repeat: bool,
}

/// What frames came by.
pub(crate) struct Via {
    /// How they are sealed there.
    pub(crate) suite: Suite,
    /// Whose they are, where the link says so.
    pub(crate) device: Option<Arc<Device>>,
    pub(crate) t_arrival: i64,
}

/// A frame that opened, and what the store is asked to keep of it.
struct Opened {
    arrival: Arrival,
    sender: Sender,
}

/// What is needed of a frame after its commit.
struct Sender {
    /// Its place among the frames that came with it.
    idx: usize,
    device: Arc<Device>,
    generation_low: u8,
    sealed_as: FrameId,
    t_arrival: i64,
    is_window: bool,
    suite: Suite,
    /// What the device's next window may refer to.
    refers_to: Option<LastCode>,
    /// The device's keys are to be read anew.
    changes_device: bool,
    /// What a status says of the device's bundle.
    says: Option<Reported>,
}

/// The server could not decide; nothing is acked and the device repeats.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum IngestError {
    /// The store failed.
    Store(#[from] StoreError),
    /// The registry failed.
    Registry(#[from] RegistryError),
    /// More comes than the server may take in.
    TooFast(#[from] TooFast),
}

impl Core {
    /// Takes frames in, all in one transaction, and acks what is on disk after it.
    pub async fn ingest(&self, frames: &[&[u8]]) -> Result<Answer, IngestError> {
        let via = Via { suite: Suite::AesCcm16, device: None, t_arrival: self.clock.now_ms() };
        self.ingest_via(frames, &via).await
    }

    /// As [`Core::ingest`], by another link than IP.
    pub(crate) async fn ingest_via(&self, frames: &[&[u8]], via: &Via) -> Result<Answer, IngestError> {
        self.limits.frames(frames.len())?;
        let t_arrival = via.t_arrival;
        let mut answer = Answer { fates: vec![None; frames.len()], ..Answer::default() };
        let (mut arrivals, mut senders) =
            (Vec::with_capacity(frames.len()), Vec::with_capacity(frames.len()));
        for (idx, frame) in frames.iter().enumerate() {
            match self.open(frame, via).await {
                Ok(Opened { arrival, sender }) => {
                    arrivals.push(arrival);
                    senders.push(Sender { idx, ..sender });
                }
                Err(Stop::Away(away)) => {
                    answer.fates[idx] = Some(away.why);
                    self.turn_away(&mut answer, away, t_arrival);
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        let begun = Instant::now();
        let outcomes = if arrivals.is_empty() { Vec::new() } else { self.store.accept(arrivals).await? };
        self.count(&senders, &outcomes, begun);
        self.acknowledge(&mut answer, &senders, &outcomes);
        answer.refused.iter().for_each(|why| self.metrics.refused(*why));
        // What is stored is acked, whether offers can be read or not.
        let is_offering = self.offers.all().await.is_ok_and(|offers| !offers.is_empty());
        let heard = if is_offering { self.heard(&senders, &outcomes) } else { Vec::new() };
        self.after_commit(frames, senders, &outcomes);
        if let Err(error) = self.tell_of_offers(&mut answer, heard).await {
            tracing::warn!(%error, "a device was not told of an offer");
        }
        Ok(answer)
    }

    /// The devices that have just said something.
    fn heard(&self, senders: &[Sender], outcomes: &[Outcome]) -> Vec<u32> {
        let is_stored = |outcome: &Outcome| refusal_of(outcome.verdict).is_none();
        let heard = senders.iter().zip(outcomes).filter(|(_, outcome)| is_stored(outcome));
        let mut heard: Vec<u32> = heard.map(|(one, _)| one.device.short_id).collect();
        heard.dedup();
        heard
    }

    /// Adds commands for devices to which another bundle than theirs is offered. They stand behind all acks.
    async fn tell_of_offers(&self, answer: &mut Answer, heard: Vec<u32>) -> Result<(), IngestError> {
        if heard.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        for short_id in heard {
            let Some(device) = self.registry.find(short_id).await? else { continue };
            let Some(reported) = device.reported.filter(|said| said.update.is_some()) else { continue };
            let id = device.id.as_str();
            let offer = self.offers.of(&self.bundles, short_id, id, &reported.fingerprint).await?;
            let Some(offer) = offer.filter(|offer| offer.is_open_for(&reported)) else { continue };
            if device.may_tell(now_ms)
                && let Some(sealed) = self.registry.seal_offer(short_id, &offer, now_ms).await?
            {
                metrics::add(&self.metrics.offers_told, 1);
                answer.downlinks.push(sealed);
            }
        }
        Ok(())
    }

    /// Seals as few acks as name everything that is on disk.
    fn acknowledge(&self, answer: &mut Answer, senders: &[Sender], outcomes: &[Outcome]) {
        let server_time = Millis::saturating(self.clock.now_ms());
        let mut acks: Vec<(u32, u32, Ack)> = Vec::new();
        for (one, outcome) in senders.iter().zip(outcomes) {
            let refused = refusal_of(outcome.verdict);
            answer.fates[one.idx] = refused;
            let Some(generation) = one.device.generation(one.generation_low, one.suite) else { continue };
            let FrameId { generation: g, counter } = one.sealed_as;
            let short_id = one.device.short_id;
            let wanted = match refused {
                None => AckFlags::default(),
                Some(Refusal::CounterReuse | Refusal::TooOld) => AckFlags::JOIN_WANTED,
                Some(_) => {
                    answer.refused.extend(refused);
                    continue;
                }
            };
            answer.refused.extend(refused);
            answer.n_stored += usize::from(refused.is_none());
            if refused.is_none() && one.suite == lorawan::SUITE {
                answer.unacked.push(Unacked {
                    device: Arc::clone(&one.device),
                    generation_low: one.generation_low,
                    id: one.sealed_as,
                    span: outcome.span,
                    is_window: one.is_window,
                    is_repeat: outcome.verdict == Verdict::AlreadyStored,
                });
                continue;
            }
            let mine = |(device, generation, _): &&(u32, u32, Ack)| (*device, *generation) == (short_id, g);
            let named = Counter::new(counter).is_some_and(|c| {
                acks.iter().filter(mine).any(|(_, _, ack)| ack.covers(c) && ack.flags == wanted)
            });
            if named {
                continue;
            }
            let ack = match outcome.span.and_then(|span| Some((Counter::new(span.base)?, span))) {
                Some((base, span)) => {
                    Ack { flags: wanted, server_time, base, run: span.run, bitmap: span.bitmap }
                }
                None => Ack::time_only(server_time, wanted),
            };
            match generation.seal_ack(&one.device, one.suite, &ack) {
                Some(sealed) => answer.downlinks.push(sealed),
                // The downlink counter is at its end; the next load of the keys begins a new run.
                None => self.registry.forget(short_id),
            }
            acks.push((short_id, g, ack));
        }
    }

    fn after_commit(&self, frames: &[&[u8]], senders: Vec<Sender>, outcomes: &[Outcome]) {
        for (one, outcome) in senders.into_iter().zip(outcomes) {
            let device = one.device.short_id;
            match outcome.verdict {
                Verdict::Stored => self.limits.stored(&one.device),
                Verdict::AlreadyStored => continue,
                Verdict::CounterReuse => {
                    tracing::warn!(device = %one.device.id, "a counter came twice with different bytes: join required");
                    continue;
                }
                Verdict::UnknownDevice | Verdict::Revoked | Verdict::TooOld => {
                    self.registry.forget(device);
                    self.rejects.add(device, refusal_of(outcome.verdict), one.t_arrival);
                    continue;
                }
            }
            if let Some(generation) = one.device.generation(one.generation_low, one.suite) {
                generation.saw(one.sealed_as.counter);
            }
            if let Some(said) = one.says.filter(|said| Some(*said) != one.device.reported) {
                self.count_update(&one.device, said);
            }
            if let Some(last) = one.refers_to {
                self.recent.remember(device, last);
            }
            if one.changes_device {
                // Keys of ended generations go, slots and times may have changed.
                self.registry.forget(device);
            }
            self.overheard.remember(device, frames[one.idx], one.t_arrival);
        }
        self.arrived.notify_one();
        if self.stored.receiver_count() > 0 {
            self.stored.send_replace(());
        }
    }

    fn count(&self, senders: &[Sender], outcomes: &[Outcome], begun: Instant) {
        if !outcomes.is_empty() {
            self.metrics.committed(begun.elapsed());
        }
        let (mut accepted, mut duplicates, mut windows) = (0, 0, 0);
        for (one, outcome) in senders.iter().zip(outcomes) {
            let is_new = outcome.verdict == Verdict::Stored;
            accepted += u64::from(is_new);
            windows += u64::from(is_new && one.is_window);
            duplicates += u64::from(outcome.verdict == Verdict::AlreadyStored);
        }
        metrics::add(&self.metrics.accepted, accepted);
        metrics::add(&self.metrics.duplicates, duplicates);
        metrics::add(&self.metrics.windows, windows);
    }

    /// Counts what became of an update, when a device first says so.
    fn count_update(&self, device: &Device, said: Reported) {
        let Some(update) = said.update else { return };
        let before = device.reported.and_then(|said| said.update).unwrap_or_default();
        let is_kept = update.serial > 0 && !update.is_trial;
        if is_kept && (before.serial != update.serial || before.is_trial) {
            metrics::add(&self.metrics.updates_kept, 1);
            tracing::info!(device = %device.id, serial = update.serial, "an update is in use");
        }
        if let Some((serial, why)) = update.refused.filter(|refused| before.refused != Some(*refused)) {
            metrics::add(&self.metrics.updates_refused, 1);
            tracing::warn!(device = %device.id, serial, why = refusal_word(why), "an update was refused");
        }
    }

    fn turn_away(&self, answer: &mut Answer, away: TurnedAway, t_arrival: i64) {
        self.rejects.add(away.device, Some(away.why), t_arrival);
        tracing::debug!(device = away.device, why = away.why.word(), "frame turned away");
        answer.refused.push(away.why);
        answer.downlinks.extend(away.hint);
    }
}

fn refusal_of(verdict: Verdict) -> Option<Refusal> {
    match verdict {
        Verdict::Stored | Verdict::AlreadyStored => None,
        Verdict::CounterReuse => Some(Refusal::CounterReuse),
        Verdict::TooOld => Some(Refusal::TooOld),
        Verdict::Revoked => Some(Refusal::Revoked),
        Verdict::UnknownDevice => Some(Refusal::UnknownDevice),
    }
}
