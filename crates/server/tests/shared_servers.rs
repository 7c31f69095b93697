//! Three real servers on one PostgreSQL, devices that hop between them by HTTP and by MQTT; two servers and then the database
//! are killed under load.
//!
//! Needs a database and the binary: `cargo xtask postgres` brings both.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what went wrong by panicking")]

mod common;
mod mqtt_client;
mod postgres;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Device, T0, bundle, code, request};
use kinglet_server::config::StoreChoice;
use kinglet_server::store::day_of;
use kinglet_server::{Clock, Config, Core, SystemClock};
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::Slot;
use kinglet_wire::keys::DeviceId;
use mqtt_client::{Client, Login, Said, Version};
use postgres::Schema;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const BINARY: &str = "KINGLET_TEST_BIN";
/// A command that kills the database and starts it again.
const RESTART: &str = "KINGLET_TEST_POSTGRES_RESTART";
const N_DEVICES: u64 = 24;
const N_WINDOWS: u64 = 150;

/// A server process and how to start it again.
struct Server {
    binary: PathBuf,
    uri: String,
    dir: PathBuf,
    master: PathBuf,
    addr: SocketAddr,
    /// Where it is served by MQTT.
    mqtt: SocketAddr,
    child: Child,
}

impl Server {
    async fn start(binary: &Path, uri: &str, dir: PathBuf, master: &Path, addrs: [SocketAddr; 2]) -> Self {
        let mut child = Command::new(binary)
            .args(["serve", "--json", "--store", uri, "--http", &addrs[0].to_string()])
            .args(["--mqtt", &addrs[1].to_string(), "--data"])
            .arg(&dir)
            .env("KINGLET_MASTER_KEY_FILE", master)
            .env("HOME", &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let of = |url: &serde_json::Value| url.as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        let (addr, mqtt) = (of(&said["url"]), of(&said["mqtt"]));
        Self { binary: binary.into(), uri: uri.into(), dir, master: master.into(), addr, mqtt, child }
    }

    /// `kill -9`, and a new process where the old one was.
    async fn replace(&mut self) {
        self.child.kill().await.unwrap();
        let dir = self.dir.clone();
        let (binary, uri, master) = (self.binary.clone(), self.uri.clone(), self.master.clone());
        *self = Self::start(&binary, &uri, dir, &master, [self.addr, self.mqtt]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_missing_and_nothing_is_stored_twice() {
    let Some(schema) = Schema::new("three_servers").await else { return };
    let Some(binary) = std::env::var_os(BINARY).map(PathBuf::from) else {
        eprintln!("skipped: {BINARY} names no kinglet");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = schema.open().await;
    let mut config = Config::new(dir.path().join("admin"));
    config.store = schema.uri.parse::<StoreChoice>().unwrap();
    let core = Core::new(config, store.clone(), Arc::new(SystemClock)).unwrap();
    let model = bundle("climate", 8);
    let fingerprint = core.bundles.add(model.emit(), T0).await.unwrap().0.fingerprint();
    let master = dir.path().join("admin/master.key");
    let any = "127.0.0.1:0".parse().unwrap();
    let mut servers = Vec::new();
    for n in 0..3 {
        let data = dir.path().join(format!("server-{n}"));
        servers.push(Server::start(&binary, &schema.uri, data, &master, [any; 2]).await);
    }
    let addrs: Arc<[SocketAddr]> = servers.iter().map(|server| server.addr).collect();

    let mut devices = Vec::new();
    for n in 0..N_DEVICES {
        let id = format!("device-{n}");
        let (row, key) = core.registry.add(&id, "", T0).await.unwrap();
        let mut device = Device {
            id: DeviceId::new(&id).unwrap(),
            key,
            short_id: row.short_id,
            secret: None,
            generation: 0,
            next: 0,
            fingerprint,
            slot: Slot::new(0).unwrap(),
        };
        // The join is answered by one server, the status that confirms it goes to another.
        device.join(addrs[n as usize % 3], 1).await;
        let status = device.status();
        assert_eq!(post(addrs[(n as usize + 1) % 3], &status).await.0, 200);
        devices.push(device);
    }
    watch_from_everywhere(&addrs, &mut devices[0], &code(&model, |i| [200 + i as i32, 50])).await;
    let mqtt: Arc<[SocketAddr]> = servers.iter().map(|server| server.mqtt).collect();
    hop_by_mqtt(&mqtt, &mut devices[0], &code(&model, |i| [205 + i as i32, 45])).await;
    let first = devices[0].next;

    let code = Arc::new(code(&model, |i| [210 - i as i32, 40]));
    let [n_acked, n_twice, n_taken] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
    let mut loads = Vec::new();
    for (n, device) in devices.into_iter().enumerate() {
        let from = if n == 0 { first } else { 1 };
        let load = Load { device, addrs: addrs.clone(), code: code.clone(), seed: n as u64 + 1 };
        loads.push(if n % 3 == 2 {
            let load = Load { addrs: mqtt.clone(), ..load };
            tokio::spawn(load.run_by_mqtt(n_acked.clone(), n_taken.clone()))
        } else {
            tokio::spawn(load.run(from, n_acked.clone(), n_twice.clone()))
        });
    }
    let total = N_DEVICES * N_WINDOWS;
    for (server, share) in [(1, 4), (2, 2)] {
        while n_acked.load(Ordering::Relaxed) < total / share {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        servers[server].replace().await;
    }
    // Then the database stands still for a while, and after that it is the one that is killed.
    let pause = "BEGIN; LOCK TABLE device IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1); COMMIT";
    schema.client.batch_execute(pause).await.unwrap();
    if let Some(restart) = std::env::var_os(RESTART) {
        while n_acked.load(Ordering::Relaxed) < total * 3 / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ran = Command::new("sh")
            .arg("-c")
            .arg(restart)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await;
        assert!(ran.unwrap().success());
    }
    let mut acked = Vec::new();
    for load in loads {
        acked.push(load.await.unwrap());
    }
    for (device, from) in &acked {
        let windows = store.windows(device.short_id, 0, i64::MAX, 100_000).await.unwrap();
        let mut counters: Vec<_> = windows.iter().map(|window| window.origin.counter).collect();
        counters.sort_unstable();
        assert_eq!(counters, (1..from + N_WINDOWS).collect::<Vec<_>>(), "{}", device.id);
    }
    let day = day_of(SystemClock.now_ms());
    let totals = store.totals(None).await.unwrap();
    let n_twice = n_twice.load(Ordering::Relaxed);
    assert!(totals.windows >= total && totals.duplicates >= n_twice, "{totals:?}, {n_twice} acked twice");
    assert!(n_twice > total / 10, "only {n_twice} of {total} windows went out twice");
    let refused = store.rejects(day - 1, day + 1).await.unwrap();
    assert!(refused.iter().all(|reject| reject.reason != "counter_reuse"), "{refused:?}");
    // Of the hops by MQTT a third led to the server where the session was still open.
    let n_taken = n_taken.load(Ordering::Relaxed);
    assert!(n_taken > N_DEVICES * N_WINDOWS / 5 / 20, "only {n_taken} sessions were taken over");
    revoked_everywhere(&core, &addrs, &mqtt, &acked[0].0, acked[0].1 + N_WINDOWS, &code).await;
}

/// A window that one server stores is seen live on all.
async fn watch_from_everywhere(addrs: &[SocketAddr], device: &mut Device, code: &[u8]) {
    let mut streams = Vec::new();
    for addr in addrs {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let ask = format!("GET /v1/live HTTP/1.1\r\nhost: {addr}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        // The header: from here on the stream hears everything.
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        streams.push(stream);
    }
    let now_ms = SystemClock.now_ms();
    let window = device.window(now_ms, code);
    assert_eq!(post(addrs[0], &window).await.0, 200);
    for (n, stream) in streams.iter_mut().enumerate() {
        let seen = async {
            let mut text = String::new();
            let mut bytes = [0; 4096];
            while !text.contains("event: readings") || !text.contains(&now_ms.to_string()) {
                let len = stream.read(&mut bytes).await.unwrap();
                assert!(len > 0, "the stream of server {n} ended");
                text += &String::from_utf8_lossy(&bytes[..len]);
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), seen).await;
        assert!(seen.is_ok(), "server {n} does not show what server 0 has stored");
    }
}

/// A device whose session moves from server to server, as a balancer moves it: whoever hears a frame answers it, on the
/// connection it came by, whether another has stored it before or not.
async fn hop_by_mqtt(addrs: &[SocketAddr], device: &mut Device, code: &[u8]) {
    let [up, down] = ["up", "down"].map(|last| format!("kinglet/{}/{last}", device.id));
    let mut clients = sessions(addrs, device).await;
    for client in &mut clients {
        assert_eq!(client.subscribe(&[&down]).await, [0]);
    }
    for turn in 0..9_u16 {
        let (n, counter) = (usize::from(turn) % 3, device.next);
        let frame = device.window(T0 + counter as i64 * 80_000, code);
        // First to one, then, as if the ack was lost with the connection, to the next.
        for client in [n, (n + 1) % 3] {
            clients[client].publish(&up, turn + 1, &frame).await;
            let said = clients[client].next_n(2).await;
            assert!(said.contains(&Said::Acked(turn + 1, 0)), "{said:?}");
            let ack = said.iter().find_map(|said| match said {
                Said::Message(topic, ack) if *topic == down => Some(ack),
                _ => None,
            });
            assert!(device.open_ack(ack.unwrap()).covers(Counter::new(counter).unwrap()));
        }
    }
}

/// The same session on each server.
async fn sessions(addrs: &[SocketAddr], device: &Device) -> Vec<Client> {
    let mut clients = Vec::new();
    for addr in addrs {
        clients.push(Client::welcome(*addr, Login::new(Version::V5, &device.id, &device.key)).await);
    }
    clients
}

/// Hears up to `n` answers and keeps the ids of what is stored; gives the last word of a session that ends before.
async fn acks(client: &mut Client, stored: &mut Vec<u16>, n: usize) -> Option<Said> {
    for _ in 0..n {
        match client.next().await {
            Said::Acked(id, 0) => stored.push(id),
            Said::Acked(..) | Said::Message(..) => {}
            end => return Some(end),
        }
    }
    None
}

async fn revoked_everywhere(
    core: &Core,
    addrs: &[SocketAddr],
    mqtt: &[SocketAddr],
    device: &Device,
    next: u64,
    code: &[u8],
) {
    let clients = sessions(mqtt, device).await;
    core.registry.revoke(device.id.as_str(), T0).await.unwrap();
    let frame = |counter| device.window_as(counter, kinglet_wire::payload::Time::unix(T0), None, code);
    for (addr, counter) in addrs.iter().zip(next..) {
        let (status, body) = post(*addr, &frame(counter)).await;
        assert!(status != 200 && String::from_utf8_lossy(&body).contains("revoked"), "{addr}: {status}");
    }
    // Sessions that were open end with the first frame, on whichever server.
    for mut client in clients {
        client.publish(&format!("kinglet/{}/up", device.id), 1, &frame(next)).await;
        assert_eq!(client.next_n(2).await, [Said::Acked(1, 0x87), Said::Parted(0x87)]);
    }
}

/// One device: each window to a server chosen anew, neighbours out of order, some to two servers at once, until
/// each is acked by somebody.
struct Load {
    device: Device,
    addrs: Arc<[SocketAddr]>,
    code: Arc<Vec<u8>>,
    seed: u64,
}

impl Load {
    async fn run(mut self, from: u64, n_acked: Arc<AtomicU64>, n_twice: Arc<AtomicU64>) -> (Device, u64) {
        let mut next = from;
        while next < from + N_WINDOWS {
            let mut group: Vec<u64> = (next..(next + 5).min(from + N_WINDOWS)).collect();
            next += group.len() as u64;
            let turn = self.random(group.len());
            group.rotate_left(turn);
            while !group.is_empty() {
                let mut sends = Vec::new();
                for counter in &group {
                    let time = kinglet_wire::payload::Time::unix(T0 + *counter as i64 * 80_000);
                    let frame = self.device.window_as(*counter, time, None, &self.code);
                    let n = self.random(3);
                    sends.push((*counter, self.addrs[n], frame.clone()));
                    if self.random(3) == 0 {
                        sends.push((*counter, self.addrs[(n + 1) % 3], frame));
                    }
                }
                let posted = sends.iter().map(|(_, addr, frame)| post(*addr, frame));
                let answers = futures_util::future::join_all(posted).await;
                for ((counter, ..), (status, body)) in sends.iter().zip(answers) {
                    // A kill may cut an answer short: what does not open is no ack.
                    if status == 200 && body.len() == 22 + 19 + 16 {
                        assert!(self.device.open_ack(&body).covers(Counter::new(*counter).unwrap()));
                        // Both copies of a window that went out twice are acked.
                        let count = if group.contains(counter) { &n_acked } else { &n_twice };
                        count.fetch_add(1, Ordering::Relaxed);
                        group.retain(|waiting| waiting != counter);
                    }
                }
            }
        }
        (self.device, from)
    }

    /// The same by MQTT, in sessions of one client id: windows are under way in one when the device turns up on a server
    /// chosen anew, which may be the same, and sends them there again.
    async fn run_by_mqtt(mut self, n_acked: Arc<AtomicU64>, n_taken: Arc<AtomicU64>) -> (Device, u64) {
        let up = format!("kinglet/{}/up", self.device.id);
        let mut before: Option<(usize, Client)> = None;
        for next in (1..=N_WINDOWS).step_by(5) {
            let mut group: Vec<u64> = (next..next + 5).collect();
            while !group.is_empty() {
                let frame = |counter: &u64| {
                    let time = kinglet_wire::payload::Time::unix(T0 + *counter as i64 * 80_000);
                    (*counter as u16, self.device.window_as(*counter, time, None, &self.code))
                };
                let frames: Vec<_> = group.iter().map(frame).collect();
                if let Some((_, client)) = &mut before {
                    for (id, frame) in &frames {
                        client.publish(&up, *id, frame).await;
                    }
                }
                let n = self.random(3);
                let login = Login::new(Version::V5, &self.device.id, &self.device.key);
                let Some(mut client) = Client::welcome_if_any(self.addrs[n], login).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                for (id, frame) in &frames {
                    client.publish(&up, *id, frame).await;
                }
                let mut acked = Vec::new();
                if let Some((_, mut taken)) = before.take().filter(|(there, _)| *there == n) {
                    let end = acks(&mut taken, &mut acked, usize::MAX).await;
                    // It may have ended before: its server was killed, or had to say that the store failed.
                    n_taken.fetch_add(u64::from(end == Some(Said::Parted(0x8E))), Ordering::Relaxed);
                }
                if acks(&mut client, &mut acked, group.len()).await.is_none() {
                    before = Some((n, client));
                }
                let waiting = group.len();
                group.retain(|counter| !acked.contains(&(*counter as u16)));
                n_acked.fetch_add((waiting - group.len()) as u64, Ordering::Relaxed);
            }
        }
        (self.device, 1)
    }

    /// Below `n`, by a seed (xorshift).
    fn random(&mut self, n: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as usize % n
    }
}

async fn post(addr: SocketAddr, frame: &[u8]) -> (u16, Vec<u8>) {
    let kind = [("content-type", "application/vnd.kinglet.frame")];
    let answer = request(addr, "POST", "/v1/frames", &kind, frame).await;
    (answer.status, answer.body)
}
