//! From the bytes of a frame to what the store is asked to keep.

use std::sync::Arc;

use kinglet_wire::frame::{Frame, Kind, Slot, Suite};
use kinglet_wire::payload::{Ack, AckFlags, Data, Millis, Quality, Status, Time};
use kinglet_wire::seal::{self, Binding};

use super::{IngestError, Opened, Refusal, Sender, Via};
use crate::core::Core;
use crate::offers::Reported;
use crate::reference::{Alone, LastCode};
use crate::registry::Device;
use crate::store::{Arrival, BootSync, Content, FrameId, TimeQuality};

/// A frame that was turned away, and what the device is told.
pub(super) struct TurnedAway {
    pub(super) why: Refusal,
    pub(super) device: u32,
    pub(super) hint: Option<Vec<u8>>,
}

impl From<Refusal> for TurnedAway {
    fn from(why: Refusal) -> Self {
        Self { why, device: 0, hint: None }
    }
}

/// Refusals are for the peer, errors for the operator.
pub(super) enum Stop {
    Away(TurnedAway),
    Failed(IngestError),
}

impl<T: Into<TurnedAway>> From<T> for Stop {
    fn from(away: T) -> Self {
        Self::Away(away.into())
    }
}

impl Core {
    /// From the bytes of a frame to what the store is asked to keep.
    pub(super) async fn open(&self, bytes: &[u8], via: &Via) -> Result<Opened, Stop> {
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
