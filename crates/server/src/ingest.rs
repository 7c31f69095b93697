//! A frame's way in: header, device, keys, open, content, store, ack. Each step gives the next its value.

mod refusal;

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, Kind, Slot, Suite};
use kinglet_wire::lorawan;
use kinglet_wire::payload::{Ack, AckFlags, Data, Millis, Quality, Status, Time};
use kinglet_wire::seal::{self, Binding};

use std::sync::Arc;
use std::time::Instant;

use crate::core::Core;
use crate::limits::TooFast;
use crate::metrics;
use crate::offers::{Reported, refusal_word};
use crate::reference::{Alone, LastCode};
use crate::registry::{Device, RegistryError};
use crate::store::{Arrival, BootSync, Content, FrameId, Outcome, Span, StoreError, TimeQuality, Verdict};

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

/// A frame that was turned away, and what the device is told.
struct TurnedAway {
    why: Refusal,
    device: u32,
    hint: Option<Vec<u8>>,
}

impl From<Refusal> for TurnedAway {
    fn from(why: Refusal) -> Self {
        Self { why, device: 0, hint: None }
    }
}

/// Refusals are for the peer, errors for the operator.
enum Stop {
    Away(TurnedAway),
    Failed(IngestError),
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

impl<T: Into<TurnedAway>> From<T> for Stop {
    fn from(away: T) -> Self {
        Self::Away(away.into())
    }
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

    /// From the bytes of a frame to what the store is asked to keep.
    async fn open(&self, bytes: &[u8], via: &Via) -> Result<Opened, Stop> {
        let (header, t_arrival) = (parse_header(bytes, via.suite)?, via.t_arrival);
        let device = match &via.device {
            Some(device) => Arc::clone(device),
            None => self.find_device(&header).await?,
        };
        self.limits.device(&device)?;
        match self.open_as(&device, &header, bytes, t_arrival).await {
            Err(Stop::Away(away)) => match self.registry.refresh(&device).await.map_err(failed)? {
                // Another process or request has changed the device since its keys were loaded.
                Some(device) => self.open_as(&device, &header, bytes, t_arrival).await,
                None => Err(Stop::Away(away)),
            },
            decided => decided,
        }
    }

    async fn open_as(
        &self,
        device: &Arc<Device>,
        header: &Header<'_>,
        bytes: &[u8],
        t_arrival: i64,
    ) -> Result<Opened, Stop> {
        let away = |why| TurnedAway { why, device: device.short_id, hint: None };
        if device.revoked {
            return Err(away(Refusal::Revoked).into());
        }
        let suite = header.suite();
        let generation =
            device.generation(header.generation_low(), suite).ok_or(away(Refusal::JoinRequired))?;
        // Counters in hints are spent on frames nobody has authenticated; acks go on after that (see `seal_ack`).
        let ask = |wish, why| {
            let ack = Ack::time_only(Millis::saturating(t_arrival), wish);
            TurnedAway { hint: generation.seal_ack(device, suite, &ack), ..away(why) }
        };
        let ask_status = |why| ask(AckFlags::STATUS_WANTED, why);
        let bundle = match header.kind() {
            Kind::Data => {
                let slot = usize::from(header.slot().get());
                Some(device.slots[slot].ok_or_else(|| ask_status(Refusal::UnknownSlot))?)
            }
            _ => None,
        };
        let counter = header.counter().rebuild(generation.highest());
        let bound = Binding { id: &device.id, counter, bundle: bundle.as_ref() };
        let mut opening = bytes.to_vec();
        let Ok(content) = seal::open(generation.up(suite), &bound, &mut opening) else {
            // Of a data frame the bundle may be the reason: the device may have switched unheard.
            let why = Refusal::NotOpened;
            return Err(if bundle.is_some() { ask_status(why) } else { away(why) }.into());
        };
        let sealed_as = FrameId { generation: generation.number, counter: counter.get() };
        let mut refers_to = None;
        let (origin, content) = match bundle {
            None => (sealed_as, read_status(content, t_arrival).ok_or(away(Refusal::BadContent))?),
            Some(bundle) => {
                let data = Data::parse(content).map_err(|_| away(Refusal::BadContent))?;
                let Some(known) = self.bundles.known(&bundle).await.map_err(failed)? else {
                    return Err(away(Refusal::UnknownBundle).into());
                };
                let origin =
                    data.origin.map(|o| FrameId { generation: o.generation, counter: o.counter.get() });
                let mut code = data.code.to_vec();
                // What is sealed again stands alone, and nothing refers to it.
                if origin.is_none() && known.has_references {
                    let model = known.bundle.model();
                    let alone = self.stand_alone(device.short_id, sealed_as, &model, &bundle, &code).await;
                    code = match alone.map_err(failed)? {
                        Alone::Code(code) => code,
                        Alone::Unknown => {
                            return Err(ask(AckFlags::REFERENCE_UNKNOWN, Refusal::UnknownReference).into());
                        }
                    };
                    refers_to = Some(LastCode { number: sealed_as, bundle, code: code.clone() });
                }
                (origin.unwrap_or(sealed_as), read_data(&data, code, bundle, t_arrival))
            }
        };
        let confirm = match generation.pending {
            true => self.registry.confirm(device, generation.number).await.map_err(failed)?,
            false => None,
        };
        let arrival = Arrival {
            device: device.short_id,
            sealed_as,
            origin,
            tag: header.tag().to_vec(),
            frame_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            t_arrival,
            content,
            confirm,
        };
        let sender = Sender {
            idx: 0,
            device: Arc::clone(device),
            generation_low: header.generation_low(),
            sealed_as,
            t_arrival,
            is_window: bundle.is_some(),
            suite,
            refers_to,
            changes_device: arrival.confirm.is_some() || matches!(arrival.content, Content::Status { .. }),
            says: match &arrival.content {
                Content::Status { body, .. } => Reported::of(Some(body)),
                Content::Window { .. } => None,
            },
        };
        Ok(Opened { arrival, sender })
    }

    async fn find_device(&self, header: &Header<'_>) -> Result<Arc<Device>, Stop> {
        let found = self.registry.find(header.short_id().0).await.map_err(failed)?;
        Ok(found.ok_or(Refusal::UnknownDevice)?)
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

fn failed(error: impl Into<IngestError>) -> Stop {
    Stop::Failed(error.into())
}

type Header<'a> = Frame<&'a [u8]>;

fn parse_header(bytes: &[u8], suite: Suite) -> Result<Header<'_>, Refusal> {
    let frame = Frame::checked_on(bytes, suite).map_err(|_| match kinglet_wire::frame::kind_of(bytes) {
        Ok(Kind::JoinRequest | Kind::JoinAccept) => Refusal::WrongDirection,
        _ => Refusal::Malformed,
    })?;
    match frame.kind() {
        Kind::Data | Kind::Status => Ok(frame),
        _ => Err(Refusal::WrongDirection),
    }
}

fn read_status(content: &[u8], t_arrival: i64) -> Option<Content> {
    let status = Status::parse(content).ok()?;
    // A device without a clock is dated by the server's: the status was sealed just before it came.
    let now = status.unix.map_or(t_arrival, Millis::get);
    Some(Content::Status {
        body: content.to_vec(),
        slot: Some((Slot::get(status.slot), status.fingerprint)),
        windows_lost: Some(status.windows_lost.into()),
        sync: Some(BootSync { boot: status.boot.into(), t_boot: now.saturating_sub(status.uptime.get()) }),
    })
}

fn read_data(data: &Data<'_>, code: Vec<u8>, bundle: kinglet_wire::Fingerprint, t_arrival: i64) -> Content {
    let uptime = match data.time {
        Time::Uptime { boot, uptime } => Some((u32::from(boot), uptime.get())),
        _ => None,
    };
    let t_quality = match (data.time, data.quality) {
        (Time::UnixS(_) | Time::UnixMs(_), Quality::Synced) => TimeQuality::Clock,
        (Time::UnixS(_) | Time::UnixMs(_), _) => TimeQuality::Held,
        (Time::Uptime { .. }, _) => TimeQuality::Uptime,
        (Time::Age(_), _) => TimeQuality::Age,
        (Time::Arrival, _) => TimeQuality::Arrival,
    };
    let t_first = data.time.t_ms(t_arrival).unwrap_or(t_arrival);
    Content::Window { t_first, t_quality, uptime, bundle, code }
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
