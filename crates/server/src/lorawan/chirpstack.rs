//! ChirpStack 4 through the broker of its MQTT integration.
//!
//! Keys of events and commands: <https://www.chirpstack.io/docs/chirpstack/integrations/events.html> and
//! <https://www.chirpstack.io/docs/chirpstack/integrations/mqtt.html>.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::{
    AckMode, AsyncClient, ConnectionError, Event, EventLoop, Packet, Publish, PublishOptions, QoS,
    SubscribeReasonCode,
};
use serde::Deserialize;
use serde_json::json;

use super::{EVENT_LEN_MAX, LorawanConfig, PORT, Uplink, base64_of};
use crate::core::Core;
use crate::forward::{BrokerConfig, Trouble, said};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Between two lines of the log about the same trouble.
const REMINDER: Duration = Duration::from_secs(600);
/// Requests to the client's own loop; each event makes at most two.
const CAPACITY: usize = 512;
/// Events the broker sends before the first is confirmed.
const WINDOW: u16 = 64;

/// An `up` event, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpEvent {
    time: Option<String>,
    device_info: DeviceInfo,
    f_port: Option<u8>,
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceInfo {
    application_id: String,
    dev_eui: String,
}

/// The frame in an event, and the application it came through. `None` if there is none of ours.
pub(crate) fn uplink(event: &[u8]) -> Option<(Uplink, String)> {
    let event: UpEvent = serde_json::from_slice(event).ok()?;
    let DeviceInfo { application_id, dev_eui } = event.device_info;
    let uplink = Uplink::new(&dev_eui, event.f_port?, &event.data?, event.time.as_deref())?;
    Some((uplink, application_id))
}

/// Hears one broker until the server stops.
pub(super) async fn listen(
    core: Arc<Core>,
    source: &LorawanConfig,
    broker: &BrokerConfig,
    application: Option<&str>,
) {
    let mut stopping = core.stopping.subscribe();
    let (mut n_failed, mut told): (u32, Option<Instant>) = (0, None);
    loop {
        let begun = Instant::now();
        let trouble = tokio::select! {
            trouble = hear(&core, source, broker, application) => trouble,
            // An error is a sender that is gone, and that is an end too.
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        if begun.elapsed() > RETRY_MAX {
            n_failed = 0;
        }
        if told.is_none_or(|told| told.elapsed() > REMINDER) || n_failed == 0 {
            told = Some(Instant::now());
            tracing::warn!(source = %source.name, error = %trouble, "LoRaWAN devices are not heard until the broker can be reached");
        }
        let pause = RETRY_MIN.saturating_mul(1 << n_failed.min(16)).min(RETRY_MAX);
        n_failed += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// One connection, from its beginning to its end.
async fn hear(
    core: &Core,
    source: &LorawanConfig,
    broker: &BrokerConfig,
    application: Option<&str>,
) -> Trouble {
    match Hearing::begin(source, broker, application).await {
        Ok(mut hearing) => hearing.run(core, source).await,
        Err(trouble) => trouble,
    }
}

struct Hearing {
    client: AsyncClient,
    events: EventLoop,
}

impl Hearing {
    async fn begin(
        source: &LorawanConfig,
        broker: &BrokerConfig,
        application: Option<&str>,
    ) -> Result<Self, Trouble> {
        let failed = |e: &dyn std::fmt::Display| Trouble::Target(said(&e.to_string()));
        // A session of its own at each connection: what the broker brings meanwhile nobody has, its devices repeat. The name
        // is drawn too, so that servers that share a store do not take each other's place.
        let mut drawn = [0; 8];
        crate::vault::random(&mut drawn).map_err(|e| failed(&e))?;
        let client_id =
            drawn.iter().fold(format!("kinglet-{}-", source.name), |id, byte| format!("{id}{byte:02x}"));
        let mut options = broker.options(client_id)?;
        options.set_receive_maximum(Some(WINDOW));
        options.set_max_packet_size(Some(EVENT_LEN_MAX as u32));
        options.set_ack_mode(AckMode::Manual);
        let built = AsyncClient::builder(options).capacity(CAPACITY).try_build();
        let (client, events) = built.map_err(|e| failed(&e))?;
        // Each event goes to one of the servers that share the store.
        let filter = format!("$share/kinglet/application/{}/device/+/event/up", application.unwrap_or("+"));
        client.subscribe(filter, QoS::AtLeastOnce).await.map_err(|e| failed(&e))?;
        Ok(Self { client, events })
    }

    async fn run(&mut self, core: &Core, source: &LorawanConfig) -> Trouble {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::Publish(event))) => {
                    if let Err(trouble) = self.take(core, source, &event).await {
                        return trouble;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    match ack
                        .return_codes
                        .iter()
                        .find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                    {
                        Some(code) => {
                            return Trouble::Target(format!("the broker refuses the subscription: {code:?}"));
                        }
                        None => tracing::info!(source = %source.name, "LoRaWAN devices are heard"),
                    }
                }
                Ok(Event::Incoming(Packet::Disconnect(packet))) => {
                    return Trouble::Target(format!("the broker ends it: {:?}", packet.reason_code));
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    return Trouble::Target(format!("the broker refuses the login: {code:?}"));
                }
                Err(error) => return Trouble::Target(said(&error.to_string())),
            }
        }
    }

    /// Confirms an event when what it brought is stored, or never will be.
    async fn take(&mut self, core: &Core, source: &LorawanConfig, event: &Publish) -> Result<(), Trouble> {
        if let Some((uplink, application)) = uplink(&event.payload) {
            let reply = core.take_lorawan(&uplink, source.ack_every).await;
            let reply = reply.map_err(|e| Trouble::Target(format!("a frame could not be stored: {e}")))?;
            if let Some(why) = reply.refused {
                tracing::debug!(source = %source.name, device = %uplink.id, why, "frame turned away");
            }
            if let Some(payload) = reply.downlink {
                let (topic, body) = command(&application, uplink.id.as_str(), &payload)
                    .ok_or_else(|| Trouble::Target("an event names no application".into()))?;
                let options = PublishOptions::new(QoS::AtLeastOnce);
                let queued = self.client.try_publish(topic, body, options);
                queued.map_err(|e| Trouble::Target(said(&e.to_string())))?;
            }
        }
        self.client.try_ack(event).map_err(|e| Trouble::Target(said(&e.to_string())))
    }
}

/// Topic and body of a command that sends a payload.
fn command(application: &str, dev_eui: &str, payload: &[u8]) -> Option<(String, Vec<u8>)> {
    // It comes from outside and becomes a part of a topic.
    let is_id = (1..=64).contains(&application.len())
        && application.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let topic = format!("application/{application}/device/{dev_eui}/command/down");
    let body = json!({ "devEui": dev_eui, "confirmed": false, "fPort": PORT, "data": base64_of(payload) });
    is_id.then(|| (topic, body.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the keys of an `up` event of ChirpStack 4.
    fn event(port: &str, data: &str) -> Vec<u8> {
        let text = r#"{"deduplicationId":"d1a5ff49-0c0f-4f1c-8d6e-6e7f70d0a001","time":"2026-09-21T14:13:20.250+00:00",
            "deviceInfo":{"tenantId":"52f14cd4-c6f1-4fbd-8f87-4025e1d49242","tenantName":"Home","applicationId":"17c82e96-be03-4f38-aef3-f83d48582d97",
            "applicationName":"Cellar","deviceProfileId":"14855bf7-d10d-4aee-b618-ebfcb64dc7ad","deviceProfileName":"Sealed",
            "deviceName":"cellar","devEui":"0004A30B001C0530","tags":{"floor":"-1"}},"devAddr":"00189440","adr":true,"dr":0,"fCnt":7,
            "fPort":PORT,"confirmed":false,"data":"DATA","rxInfo":[{"gatewayId":"0016c001f153a14c","uplinkId":4217106255,"rssi":-107,"snr":-4.5,
            "location":{},"context":"E3OWOQ==","metadata":{"region_config_id":"eu868"}}],"txInfo":{"frequency":868100000,
            "modulation":{"lora":{"bandwidth":125000,"spreadingFactor":12,"codeRate":"CR_4_5"}}}}"#;
        text.replace("PORT", port).replace("DATA", data).into_bytes()
    }

    #[test]
    fn an_event_is_read_by_its_documented_keys() {
        let (uplink, application) = uplink(&event("21", "QhMBLBxO")).unwrap();
        assert_eq!(application, "17c82e96-be03-4f38-aef3-f83d48582d97");
        assert_eq!(
            (uplink.id.as_str(), uplink.port, uplink.t_ms),
            ("0004a30b001c0530", 21, Some(1_790_000_000_250))
        );
        assert_eq!(uplink.payload, [0x42, 0x13, 0x01, 0x2c, 0x1c, 0x4e]);
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        assert!(uplink(&event("1", "QhMBLBxO")).is_none());
        assert!(uplink(&event("21", "no base64!")).is_none());
        assert!(uplink(&event("21", &"QUFB".repeat(82))).is_none());
        assert!(uplink(b"{}").is_none() && uplink(b"").is_none() && uplink(&[b'['; 5000]).is_none());
    }

    #[test]
    fn a_downlink_goes_to_its_device() {
        let (topic, body) = command("17c82e96", "0004a30b001c0530", &[0x6a, 0x10]).unwrap();
        assert_eq!(topic, "application/17c82e96/device/0004a30b001c0530/command/down");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({ "devEui": "0004a30b001c0530", "confirmed": false, "fPort": 21, "data": "ahA=" })
        );
        assert!(command("a/b", "x", &[]).is_none() && command("", "x", &[]).is_none());
    }
}
