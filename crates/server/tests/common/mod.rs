//! A real server on a real socket with a fake clock, and devices that speak to it.
// Each test file uses its own part of this, and none is a library.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kinglet_codec::bundle::Bundle;
use kinglet_codec::learn::{Outline, Parts, ReferencePart, with_reference};
use kinglet_codec::seed::{Activation, Half, Layer, Numbers, SeedChannel, SeedModel, SeedParts, Shape};
use kinglet_codec::{Decimal, Grid, Window, encode};
use kinglet_server::store::{SqliteStore, Store};
use kinglet_server::{Clock, Config, Core, Listeners, Tls, run_core};
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, ShortId, Slot, Suite, Up};
use kinglet_wire::join::Joining;
use kinglet_wire::keys::{DeviceId, DeviceKey, GenerationSecret};
use kinglet_wire::payload::{Ack, Data, Millis, Origin, Quality, Reset, Status, Time, UpdateState};
use kinglet_wire::seal::{Binding, open, seal_content};
use kinglet_wire::{FRAME_LEN_MAX, Fingerprint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const T0: i64 = 1_790_000_000_000;

/// A clock that stands where it was put.
pub struct FakeClock(AtomicI64);

impl FakeClock {
    pub fn set(&self, t_ms: i64) {
        self.0.store(t_ms, Ordering::SeqCst);
    }

    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A running server.
pub struct Rig {
    pub core: Arc<Core>,
    pub clock: Arc<FakeClock>,
    pub addr: SocketAddr,
    /// Where the same is served by TLS, if it is.
    pub https_addr: Option<SocketAddr>,
    pub tls: Option<Arc<Tls>>,
    /// Where MQTT is served, if it is: without and with TLS.
    pub mqtt_addrs: [Option<SocketAddr>; 2],
    /// Where CoAP is served, if it is.
    pub coap_addr: Option<SocketAddr>,
    /// Where `POST /decode` is answered, if it is.
    pub seed_addr: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Rig {
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| {}).await
    }

    pub async fn start_with(dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(dir);
        config.http.set_port(0);
        config.drain_timeout_ms = 2000;
        change(&mut config);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
        Self::start_on(config, store).await
    }

    /// The same on any store.
    pub async fn start_on(config: Config, store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(FakeClock(AtomicI64::new(T0)));
        let listeners = Listeners::bind(&config).await.unwrap();
        let (addr, seed_addr) = (listeners.http_addr().unwrap(), listeners.seed_addr());
        let (https_addr, tls) = (listeners.https_addr(), listeners.tls.clone());
        let (mqtt_addrs, coap_addr) = (listeners.mqtt_addrs(), listeners.coap_addr());
        let core = Arc::new(Core::new(config, store, clock.clone()).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&core);
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            run_core(serving, listeners, stopped).await.unwrap();
        });
        Self {
            core,
            clock,
            addr,
            https_addr,
            tls,
            mqtt_addrs,
            coap_addr,
            seed_addr,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// Answers `POST /decode` with this model, on a free port.
    pub async fn decoding(dir: &Path, parts: SeedParts, change: impl FnOnce(&mut Config)) -> Self {
        let path = dir.join("seed.kinglet");
        std::fs::write(&path, SeedModel::new(parts).unwrap().emit()).unwrap();
        Self::start_with(dir, |config| {
            config.seed.bundle = Some(path);
            config.seed.listen = "127.0.0.1:0".parse().unwrap();
            change(config);
        })
        .await
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
    }

    pub fn clock_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub async fn add_device(&self, id: &str) -> Device {
        let (row, key) = self.core.registry.add(id, "", T0).await.unwrap();
        Device::new(DeviceId::new(id).unwrap(), key, row.short_id)
    }

    pub async fn add_bundle(&self, bundle: &Bundle) -> Fingerprint {
        self.core.bundles.add(bundle.emit(), T0).await.unwrap().0.fingerprint()
    }

    /// A joined device whose bundle is known.
    pub async fn ready_device(&self, id: &str) -> Device {
        self.ready_device_with(id, &bundle("climate", 8)).await
    }

    /// The same with a bundle of its own.
    pub async fn ready_device_with(&self, id: &str, bundle: &Bundle) -> Device {
        let fingerprint = self.add_bundle(bundle).await;
        let mut device = self.add_device(id).await;
        device.fingerprint = fingerprint;
        device.join(self.addr, 1).await;
        let status = device.status();
        assert_eq!(self.post_frame(&status).await.status, 200);
        device
    }

    pub async fn post_frame(&self, frame: &[u8]) -> Response {
        request(self.addr, "POST", "/v1/frames", &[("content-type", "application/vnd.kinglet.frame")], frame)
            .await
    }

    pub async fn post_frames(&self, frames: &[Vec<u8>]) -> Response {
        let mut body = Vec::new();
        for frame in frames {
            body.extend((frame.len() as u16).to_be_bytes());
            body.extend(frame);
        }
        request(self.addr, "POST", "/v1/frames", &[("content-type", "application/vnd.kinglet.frames")], &body)
            .await
    }

    pub async fn get(&self, path: &str) -> Response {
        request(self.addr, "GET", path, &[], b"").await
    }

    pub async fn n_windows(&self, device: &Device) -> usize {
        self.core.store.windows(device.short_id, 0, i64::MAX, 100_000).await.unwrap().len()
    }

    /// Waits until the background pass has seen everything.
    pub async fn settle(&self) {
        for _ in 0..500 {
            if self.core.store.undecoded(None, 1).await.unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the background pass does not catch up");
    }
}

/// A device that does exactly what a test says, right or wrong.
pub struct Device {
    pub id: DeviceId,
    pub key: DeviceKey,
    pub short_id: u32,
    pub secret: Option<GenerationSecret>,
    pub generation: u32,
    pub next: u64,
    pub fingerprint: Fingerprint,
    pub slot: Slot,
}

impl Device {
    pub fn new(id: DeviceId, key: DeviceKey, short_id: u32) -> Self {
        let (fingerprint, slot) = ([0; 16], Slot::new(0).unwrap());
        Self { id, key, short_id, secret: None, generation: 0, next: 0, fingerprint, slot }
    }

    pub fn join_request(&self, nonce: u8) -> Vec<u8> {
        let joining = Joining::new(self.id, [nonce; 16], self.generation, self.fingerprint);
        let mut bytes = vec![0; 200];
        let len = joining.emit(&self.key.join_key(&self.id), &mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    pub async fn join(&mut self, addr: SocketAddr, nonce: u8) {
        let answer = request(addr, "POST", "/v1/join", &[], &self.join_request(nonce)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.take_accept(nonce, &answer.body);
    }

    pub fn take_accept(&mut self, nonce: u8, accept: &[u8]) {
        let joining = Joining::new(self.id, [nonce; 16], self.generation, self.fingerprint);
        let accept = joining.open(accept, &self.key.join_key(&self.id)).unwrap();
        self.secret = Some(accept.grant.secret(&self.key, &self.id));
        self.generation = accept.grant.generation;
        assert_eq!(accept.short_id.0, self.short_id);
        self.next = 0;
    }

    pub fn status(&mut self) -> Vec<u8> {
        self.status_with(None)
    }

    /// A status that says this of updates, under the next counter.
    pub fn status_with(&mut self, update: Option<UpdateState>) -> Vec<u8> {
        let status = Status {
            slot: self.slot,
            fingerprint: self.fingerprint,
            windows_lost: 0,
            boot: 1,
            reset: Reset::PowerOn,
            uptime: Millis::new(5000).unwrap(),
            unix: Millis::new(T0),
            quality: Quality::Synced,
            battery_mv: None,
            update,
            heap_free: None,
        };
        let counter = self.count();
        self.status_as(counter, &status)
    }

    pub fn status_as(&self, counter: u64, status: &Status) -> Vec<u8> {
        let counter = Counter::new(counter).unwrap();
        let up = self.up(counter);
        self.seal(&FrameRepr::Status { up }, counter, None, status)
    }

    /// A window of `code`, taken at `t_ms`, under the next counter.
    pub fn window(&mut self, t_ms: i64, code: &[u8]) -> Vec<u8> {
        let counter = self.count();
        self.window_as(counter, Time::unix(t_ms), None, code)
    }

    pub fn window_as(&self, counter: u64, time: Time, origin: Option<(u32, u64)>, code: &[u8]) -> Vec<u8> {
        let mut data = Data::new(time, Quality::Synced, code);
        data.origin = origin
            .map(|(generation, counter)| Origin { generation, counter: Counter::new(counter).unwrap() });
        let counter = Counter::new(counter).unwrap();
        let header = FrameRepr::Data { slot: self.slot, up: self.up(counter) };
        self.seal(&header, counter, Some(&self.fingerprint), &data)
    }

    /// Opens an ack that came back.
    pub fn open_ack(&self, bytes: &[u8]) -> Ack {
        let mut bytes = bytes.to_vec();
        let header = Frame::new_checked(bytes.as_slice()).unwrap();
        let FrameRepr::Ack { down } = FrameRepr::parse(&header) else { panic!("no ack") };
        let key = self.secret.as_ref().unwrap().down(Suite::AesCcm16, &down.run);
        let bound = Binding { id: &self.id, counter: Counter::from(down.counter), bundle: None };
        Ack::parse(open(&key, &bound, &mut bytes).unwrap()).unwrap()
    }

    pub fn count(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn up(&self, counter: Counter) -> Up {
        Up::new(Suite::AesCcm16, self.generation, ShortId(self.short_id), counter, false)
    }

    fn seal(
        &self,
        header: &FrameRepr,
        counter: Counter,
        bundle: Option<&Fingerprint>,
        content: &impl kinglet_wire::payload::Content,
    ) -> Vec<u8> {
        let key = self.secret.as_ref().unwrap().up(Suite::AesCcm16);
        let mut frame = vec![0; FRAME_LEN_MAX];
        let bound = Binding { id: &self.id, counter, bundle };
        let len = seal_content(&key, header, &bound, content, &mut frame).unwrap();
        frame.truncate(len);
        frame
    }
}

/// A bundle of temperature (0.1 °C, ± 0.2) and humidity (1 %, exact), ten seconds apart.
pub fn bundle(name: &str, n_samples: u16) -> Bundle {
    let grid = |scale, bound_steps| Grid { scale, origin: 0, quantum: 1, rounds: false, bound_steps };
    let outlines = [
        Outline { unit: "°C".into(), ..Outline::new("temperature", grid(1, 2), (-400, 800)) },
        Outline { unit: "%".into(), ..Outline::new("humidity", grid(0, 0), (0, 100)) },
    ];
    let parts = Parts::untrained(n_samples, 10_000, &outlines);
    Bundle::new(name, parts.emit(), serde_json::json!({})).unwrap()
}

/// The same, its windows coded after the one before where that brings something.
pub fn referring_bundle(name: &str, n_samples: u16) -> Bundle {
    let part = ReferencePart { mark: [0.9, 0.1], head: [1.0, 1.0, 0.001, 1.0] };
    let device = with_reference(bundle(name, n_samples).device(), &part);
    Bundle::new(name, device, serde_json::json!({})).unwrap()
}

/// The code of a full window of `bundle`.
pub fn code(bundle: &Bundle, sample: impl Fn(usize) -> [i32; 2]) -> Vec<u8> {
    let model = bundle.model();
    let steps: Vec<i32> = (0..model.samples()).flat_map(sample).collect();
    let mut out = vec![0; model.code_len_max()];
    let window = Window { steps: &steps, off_grid: false };
    let encoded = encode(&model, window, &mut vec![0; model.workspace_len()], &mut out).unwrap();
    out.truncate(encoded.code_len);
    out
}

/// A seed-mode model of 0..50 °C that comes back as it went: latent `(t / 25, 0.5 - t / 50)`.
pub fn seed_parts() -> SeedParts {
    let half = |n_in, n_out, weights: &[f32], bias: &[f32]| {
        let numbers = Numbers::Float { weights: weights.to_vec(), bias: bias.to_vec() };
        let layer = Layer { shape: Shape::Dense { n_in, n_out }, activation: Activation::Linear, numbers };
        Half { layers: vec![layer], input: None }
    };
    SeedParts {
        name: "porch".into(),
        channels: vec![SeedChannel::temperature()],
        n_samples: 1,
        encoder: Some(half(1, 2, &[2.0, -1.0], &[0.0, 0.5])),
        decoder: half(2, 1, &[0.5, 0.0], &[0.0]),
        report: serde_json::Value::Null,
    }
}

/// The latent of [`seed_parts`].
pub fn seed_latent(celsius: f64) -> [f64; 2] {
    [celsius / 25.0, 0.5 - celsius / 50.0]
}

pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().into())
    }
}

pub async fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += &format!("host: {addr}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    raw(addr, &[head.as_bytes(), b"\r\n", body].concat()).await
}

/// Sends bytes, right or wrong, and reads until the server closes.
pub async fn raw(addr: SocketAddr, bytes: &[u8]) -> Response {
    let Ok(mut stream) = TcpStream::connect(addr).await else {
        return Response { status: 0, head: String::new(), body: Vec::new() };
    };
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut body = answer.get(at + 4..).unwrap_or_default().to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Response { status, head, body }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = body.windows(2).position(|w| w == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
        whole.extend(&body[at + 2..at + 2 + len]);
        body = &body[at + 4 + len..];
    }
    whole
}
