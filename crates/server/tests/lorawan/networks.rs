//! Network servers as far as Kinglet meets them: events with the documented keys, and queues of downlinks.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rumqttc::{AsyncClient, Broker, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{EUI, common};

pub(crate) const SECRET: &str = "not-for-the-log";
const API_KEY: &str = "NNSXS.NOTFORTHELOG";
const APPLICATION: &str = "17c82e96-be03-4f38-aef3-f83d48582d97";
const PUSH: &str = "/api/v3/as/applications/home/webhooks/kinglet/devices/cellar/down/push";

/// Either of them.
pub(crate) enum Network {
    Chirpstack(Chirpstack),
    Tts(Tts),
}

impl Network {
    /// What the server's configuration says of it.
    pub(crate) fn section(&self) -> String {
        match self {
            Self::Chirpstack(chirpstack) => chirpstack.section(),
            Self::Tts(tts) => tts.section(),
        }
    }

    /// The server is there, perhaps anew.
    pub(crate) fn server_is(&mut self, addr: SocketAddr) {
        if let Self::Tts(tts) = self {
            tts.server = Some(addr);
        }
    }

    /// Hands a payload to the server; gives the downlinks it has asked for so far.
    pub(crate) async fn uplink(&mut self, port: u8, payload: &[u8], t_ms: i64) -> Vec<Vec<u8>> {
        match self {
            Self::Chirpstack(chirpstack) => chirpstack.uplink(port, payload, t_ms).await,
            Self::Tts(tts) => tts.uplink(port, payload, t_ms).await,
        }
    }
}

fn iso(t_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(t_ms).unwrap().to_string()
}

/// A real broker; ended when dropped.
pub(crate) struct Mosquitto {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    /// `None` if nobody says where the program is: `KINGLET_TEST_MOSQUITTO=mosquitto`.
    pub(crate) async fn start() -> Option<Self> {
        let program = std::env::var_os("KINGLET_TEST_MOSQUITTO")?;
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("mosquitto.conf");
        std::fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"),
        )
        .unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Self { child: command.spawn().unwrap(), port, _dir: dir };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(broker);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("mosquitto does not listen");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ChirpStack's side of its broker.
pub(crate) struct Chirpstack {
    client: AsyncClient,
    downlinks: mpsc::UnboundedReceiver<Vec<u8>>,
    port: u16,
    n: u32,
}

impl Chirpstack {
    pub(crate) async fn new(broker: &Mosquitto) -> Self {
        let options = MqttOptions::new("chirpstack", Broker::tcp("127.0.0.1", broker.port));
        let (client, mut events) = AsyncClient::builder(options).capacity(64).try_build().unwrap();
        client.subscribe("application/+/device/+/command/down", QoS::AtLeastOnce).await.unwrap();
        let (sender, downlinks) = mpsc::unbounded_channel();
        let (ready, subscribed) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(ready.take().map(|ready| ready.send(()))),
                    Event::Incoming(Packet::Publish(command)) => {
                        let body: Value = serde_json::from_slice(&command.payload).unwrap();
                        let id = EUI.to_lowercase();
                        let topic = format!("application/{APPLICATION}/device/{id}/command/down");
                        assert_eq!(command.topic, topic.as_bytes());
                        assert_eq!((&body["devEui"], &body["fPort"]), (&json!(id), &json!(21)));
                        let payload = BASE64.decode(body["data"].as_str().unwrap()).unwrap();
                        if sender.send(payload).is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        subscribed.await.unwrap();
        Self { client, downlinks, port: broker.port, n: 0 }
    }

    fn section(&self) -> String {
        let url = format!("mqtt://127.0.0.1:{}", self.port);
        format!("[[lorawan]]\nkind = 'chirpstack'\nurl = '{url}'\napplication = '{APPLICATION}'")
    }

    /// Keys: chirpstack.io/docs/chirpstack/integrations/events.html, `up`.
    async fn uplink(&mut self, port: u8, payload: &[u8], t_ms: i64) -> Vec<Vec<u8>> {
        self.n += 1;
        let event = json!({
            "deduplicationId": "d1a5ff49-0c0f-4f1c-8d6e-6e7f70d0a001",
            "time": iso(t_ms),
            "deviceInfo": {
                "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "Home",
                "applicationId": APPLICATION, "applicationName": "Cellar",
                "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad", "deviceProfileName": "Sealed",
                "deviceName": "cellar", "devEui": EUI.to_lowercase(), "tags": {},
            },
            "devAddr": "00189440", "adr": true, "dr": 0, "fCnt": self.n, "fPort": port, "confirmed": false,
            "data": BASE64.encode(payload),
            "rxInfo": [{ "gatewayId": "0016c001f153a14c", "uplinkId": 4217106255u32, "rssi": -107, "snr": -4.5, "context": "E3OWOQ==" }],
            "txInfo": { "frequency": 868_100_000, "modulation": { "lora": { "bandwidth": 125_000, "spreadingFactor": 12 } } },
        });
        let topic = format!("application/{APPLICATION}/device/{}/event/up", EUI.to_lowercase());
        let options = PublishOptions::new(QoS::AtLeastOnce);
        self.client.publish(topic, event.to_string(), options).await.unwrap();
        // What comes later waits for the next uplink, as on the air.
        let mut came = Vec::new();
        if let Ok(Some(first)) = tokio::time::timeout(Duration::from_millis(30), self.downlinks.recv()).await
        {
            came.push(first);
        }
        while let Ok(more) = self.downlinks.try_recv() {
            came.push(more);
        }
        came
    }
}

/// The Things Stack's side of a webhook.
pub(crate) struct Tts {
    server: Option<SocketAddr>,
    api: SocketAddr,
    pushed: Arc<Mutex<Vec<Vec<u8>>>>,
    secret_file: String,
}

impl Tts {
    pub(crate) async fn start(dir: &Path) -> Self {
        let secret_file = dir.join("tts.secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap();
        let pushed = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route(PUSH, post(push)).with_state(Arc::clone(&pushed));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { server: None, api, pushed, secret_file: secret_file.display().to_string() }
    }

    pub(crate) fn section(&self) -> String {
        format!(
            "[[lorawan]]\nkind = 'tts'\nurl = 'http://{}'\nsecret_file = '{}'",
            self.api, self.secret_file
        )
    }

    async fn uplink(&mut self, port: u8, payload: &[u8], t_ms: i64) -> Vec<Vec<u8>> {
        let push_url = format!("http://{}{PUSH}", self.api);
        let replace_url = push_url.replace("push", "replace");
        let headers = [
            ("content-type", "application/json"),
            ("kinglet-secret", SECRET),
            ("x-downlink-apikey", API_KEY),
            ("x-downlink-push", &push_url),
            ("x-downlink-replace", &replace_url),
            ("x-tts-domain", "eu1.cloud.thethings.network"),
        ];
        let body = tts_message(EUI, port, payload, t_ms);
        let answer =
            common::request(self.server.unwrap(), "POST", "/v1/lorawan/tts", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
        std::mem::take(&mut *self.pushed.lock().unwrap())
    }
}

/// Keys: thethingsindustries.com/docs/integrations/data-formats.
pub(crate) fn tts_message(dev_eui: &str, port: u8, payload: &[u8], t_ms: i64) -> String {
    json!({
        "end_device_ids": {
            "device_id": "cellar", "application_ids": { "application_id": "home" }, "dev_eui": dev_eui,
            "join_eui": "800000000000000C", "dev_addr": "00BCB929",
        },
        "correlation_ids": ["as:up:01"],
        "received_at": iso(t_ms + 200),
        "uplink_message": {
            "session_key_id": "AXBSH1Pk6Z0G166", "f_port": port, "f_cnt": 42, "frm_payload": BASE64.encode(payload),
            "rx_metadata": [{ "gateway_ids": { "gateway_id": "roof" }, "rssi": -35, "snr": 5.2 }],
            "settings": { "data_rate": { "lora": { "bandwidth": 125_000, "spreading_factor": 12 } } },
            "received_at": iso(t_ms),
        },
    })
    .to_string()
}

/// Keys: thethingsindustries.com/docs/integrations/webhooks/scheduling-downlinks.
async fn push(State(pushed): State<Arc<Mutex<Vec<Vec<u8>>>>>, headers: HeaderMap, body: String) {
    assert_eq!(headers["authorization"], format!("Bearer {API_KEY}"));
    let body: Value = serde_json::from_str(&body).unwrap();
    for downlink in body["downlinks"].as_array().unwrap() {
        assert_eq!(downlink["f_port"], 21);
        pushed.lock().unwrap().push(BASE64.decode(downlink["frm_payload"].as_str().unwrap()).unwrap());
    }
}
