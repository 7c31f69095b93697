//! Frames in LoRaWAN payloads, through the user's network server.
//!
//! The network server says which device (its DevEUI is the device's id); the payload is expanded to the frame that was
//! sealed and goes the way of all frames. Sealed acks go back as downlinks, one for several frames (`spec/wire.md`,
//! section 12).

mod acks;
mod chirpstack;
pub(crate) mod config;
mod tts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Kind, kind_of};
use kinglet_wire::join::RequestFrame;
use kinglet_wire::keys::DeviceId;
use kinglet_wire::lorawan::{self, PAYLOAD_LEN_MAX, PORT, PORT_LONG};
use kinglet_wire::payload::{Ack, AckFlags, Millis};

pub use config::{LorawanConfig, NetworkServer};
pub(crate) use tts::webhook;

use crate::core::Core;
use crate::ingest::{IngestError, Refusal, Unacked, Via};
use crate::join::JoinRefused;
use crate::registry::Device;
use acks::Acks;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use {chirpstack::uplink as chirpstack_uplink, tts::uplink as tts_uplink};

/// A network server's word on when it heard a frame is believed for so long: webhooks come again for a while.
const BELIEVED_MS: i64 = 7 * 24 * 3600 * 1000;
/// Failed opens under one key, after which an 8-byte tag is worth no more tries.
const FAILED_MAX: u32 = 1 << 20;
/// Most bytes of an event: metadata of many gateways, and what a codec of the user's made of the payload.
pub(crate) const EVENT_LEN_MAX: usize = 256 << 10;

/// What a network server says it heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// The DevEUI, in lower case.
    pub(crate) id: DeviceId,
    pub(crate) port: u8,
    pub(crate) payload: Vec<u8>,
    /// When, in unix milliseconds.
    pub(crate) t_ms: Option<i64>,
}

/// What becomes of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// A payload for the device, for [`PORT`].
    pub(crate) downlink: Option<Vec<u8>>,
    /// Why it was not taken.
    pub(crate) refused: Option<&'static str>,
}

/// What the doors of LoRaWAN share.
#[derive(Default)]
pub(crate) struct Air {
    acks: Acks,
    /// Failed opens of (device, generation).
    failed: Mutex<HashMap<(u32, u32), u32>>,
}

impl Uplink {
    /// From the words of a network server; `None` if there is no frame of ours in it.
    fn new(dev_eui: &str, port: u8, payload: &str, time: Option<&str>) -> Option<Self> {
        use base64::Engine as _;
        // Other programs of the same device have other ports.
        if !matches!(port, PORT | PORT_LONG) || payload.len() > PAYLOAD_LEN_MAX.div_ceil(3) * 4 {
            return None;
        }
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).ok()?;
        let t_ms = time.and_then(|t| t.parse::<jiff::Timestamp>().ok()).map(|t| t.as_millisecond());
        Some(Self { id: id_of(dev_eui)?, port, payload, t_ms })
    }
}

/// The id of the device with this DevEUI: its 16 hexadecimal digits in lower case.
pub fn id_of(dev_eui: &str) -> Option<DeviceId> {
    let is_eui = dev_eui.len() == 16 && dev_eui.bytes().all(|b| b.is_ascii_hexdigit());
    if is_eui { DeviceId::new(&dev_eui.to_ascii_lowercase()) } else { None }
}

impl Core {
    /// Hears the configured brokers until the server stops.
    pub(crate) async fn listen_to_lorawan(self: Arc<Self>) {
        let sources = self.config.lorawan.iter().filter_map(|source| match &source.kind {
            NetworkServer::Chirpstack { broker, application } => {
                Some(chirpstack::listen(Arc::clone(&self), source, broker, application.as_deref()))
            }
            NetworkServer::Tts { .. } => None,
        });
        futures_util::future::join_all(sources).await;
    }

    /// Takes one frame from a network server; an error means that it was not decided and is to come again.
    pub(crate) async fn take_lorawan(&self, uplink: &Uplink, every: usize) -> Result<Reply, IngestError> {
        let Some(row) = self.store.device(uplink.id.as_str()).await? else {
            return Ok(self.turn_lorawan_away(0, Refusal::UnknownDevice));
        };
        if kind_of(&uplink.payload) == Ok(Kind::JoinRequest) {
            return self.join_lorawan(uplink).await;
        }
        let Ok(view) = lorawan::Uplink::parse(uplink.port, &uplink.payload) else {
            return Ok(self.turn_lorawan_away(row.short_id, Refusal::Malformed));
        };
        let low = view.generation_low();
        let Some(mut device) = self.registry.find(row.short_id).await? else { return Ok(Reply::default()) };
        if device.generation(low, lorawan::SUITE).is_none()
            && let Some(fresh) = self.registry.refresh(&device).await?
        {
            device = fresh;
        }
        let Some(generation) = device.generation(low, lorawan::SUITE) else {
            return Ok(self.turn_lorawan_away(row.short_id, Refusal::JoinRequired));
        };
        let under = (row.short_id, generation.number);
        if self.air.n_failed(under) >= FAILED_MAX {
            return Ok(self.turn_lorawan_away(row.short_id, Refusal::NotOpened));
        }
        let mut frame = [0; PAYLOAD_LEN_MAX + kinglet_wire::UP_HEADER_WIDE_LEN];
        let Ok(len) = view.expand(generation.short_id(&device), generation.highest(), &mut frame) else {
            return Ok(self.turn_lorawan_away(row.short_id, Refusal::Malformed));
        };
        let via = Via {
            suite: lorawan::SUITE,
            device: Some(Arc::clone(&device)),
            t_arrival: believed(uplink.t_ms, self.clock.now_ms()),
        };
        let answer = self.ingest_via(&[&frame[..len]], &via).await?;
        let refused = answer.fates.first().copied().flatten();
        if refused == Some(Refusal::NotOpened) {
            self.air.failed(under, &device);
        }
        let due = answer.unacked.first().and_then(|stored| self.seal_due(stored, every));
        let sealed = due.or_else(|| answer.downlinks.into_iter().next());
        Ok(Reply { downlink: sealed.and_then(packed), refused: refused.map(Refusal::word) })
    }

    async fn join_lorawan(&self, uplink: &Uplink) -> Result<Reply, IngestError> {
        let is_its_own = RequestFrame::parse(&uplink.payload).is_ok_and(|request| *request.id() == uplink.id);
        if !is_its_own {
            return Ok(self.turn_lorawan_away(0, Refusal::OtherDevice));
        }
        match self.join(&uplink.payload).await {
            Ok(accept) => Ok(Reply { downlink: packed(accept), refused: None }),
            Err(JoinRefused::Registry(error)) => Err(error.into()),
            Err(refused) => Ok(Reply { downlink: None, refused: Some(refused.word()) }),
        }
    }

    /// The ack that is due with this frame, if one is.
    fn seal_due(&self, stored: &Unacked, every: usize) -> Option<Vec<u8>> {
        let span = self.air.acks.note(stored, every)?;
        let generation = stored.device.generation(stored.generation_low, lorawan::SUITE)?;
        let ack = Ack {
            flags: AckFlags::default(),
            server_time: Millis::saturating(self.clock.now_ms()),
            base: Counter::new(span.base)?,
            run: span.run,
            bitmap: span.bitmap,
        };
        generation.seal_ack(&stored.device, lorawan::SUITE, &ack)
    }

    fn turn_lorawan_away(&self, device: u32, why: Refusal) -> Reply {
        self.rejects.add(device, Some(why), self.clock.now_ms());
        self.metrics.refused(why);
        Reply { downlink: None, refused: Some(why.word()) }
    }
}

impl Air {
    fn n_failed(&self, under: (u32, u32)) -> u32 {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get(&under).copied().unwrap_or(0)
    }

    fn failed(&self, under: (u32, u32), device: &Device) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let n = failed.entry(under).or_default();
        *n += 1;
        if *n == FAILED_MAX {
            tracing::error!(device = %device.id, n, "frames with short tags failed to open: nothing more is opened under these keys; let the device join, or give it a new key");
        }
    }
}

/// The network server's time, unless it is yet to come or too long ago.
fn believed(t_ms: Option<i64>, now_ms: i64) -> i64 {
    t_ms.filter(|t| (now_ms.saturating_sub(BELIEVED_MS)..=now_ms).contains(t)).unwrap_or(now_ms)
}

fn packed(frame: Vec<u8>) -> Option<Vec<u8>> {
    let mut payload = vec![0; frame.len()];
    let len = lorawan::pack_downlink(&frame, &mut payload).ok()?;
    payload.truncate(len);
    Some(payload)
}

fn base64_of(payload: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_is_the_servers_own() {
        let now = 1_790_000_000_000;
        for (said, taken) in
            [(now - 5_000, now - 5_000), (now + 1, now), (0, now), (now - BELIEVED_MS - 1, now)]
        {
            assert_eq!(believed(Some(said), now), taken);
        }
        assert_eq!(believed(None, now), now);
    }

    #[test]
    fn a_dev_eui_is_sixteen_digits() {
        assert_eq!(id_of("0004A30B001C0530").unwrap().as_str(), "0004a30b001c0530");
        for bad in ["", "0004A30B001C053", "0004A30B001C05300", "0004A30B001C053g", "00:04:A3:0B:00:1C:05"] {
            assert_eq!(id_of(bad), None, "{bad:?}");
        }
    }
}
