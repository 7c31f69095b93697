//! The real server, killed, cut from its power, on a full disk and on one that cannot be written, with a page of its
//! store damaged, and among crowds of slow and idle connections: what was acked is stored, once.
//!
//! Needs the binary, a shim and small disks: `cargo xtask faults` brings them. Without, each test says that it is skipped.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what went wrong by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod crowd;
#[path = "../mqtt_client/mod.rs"]
mod mqtt_client;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::{Device, T0, bundle, code, request};
use kinglet_server::store::SqliteStore;
use kinglet_server::{Config, Core, SystemClock};
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::Slot;
use kinglet_wire::keys::DeviceId;
use kinglet_wire::payload::Time;
use rusqlite::Connection;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const N_DEVICES: usize = 8;

/// A value the stage gives, or a word about what is missing.
fn given(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).map(PathBuf::from);
    if value.is_none() {
        eprintln!("skipped: {name} is not set; `cargo xtask faults` sets it");
    }
    value
}

fn rounds(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// A server's data directory, its devices, and what they were told.
struct Site {
    binary: PathBuf,
    data: PathBuf,
    devices: Vec<Lane>,
    env: Vec<(&'static str, PathBuf)>,
}

/// A device and the numbers of its windows.
struct Lane {
    device: Device,
    code: Arc<Vec<u8>>,
    next: u64,
    acked: BTreeSet<u64>,
}

impl Site {
    /// Registers the devices and lets them join.
    async fn new(binary: PathBuf, data: PathBuf) -> Self {
        let model = bundle("climate", 8);
        let code = Arc::new(code(&model, |i| [200 + i as i32, 50]));
        let mut site = Self { binary, data, devices: Vec::new(), env: Vec::new() };
        let config = Config::new(&site.data);
        let store = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
        let core = Core::new(config, store, Arc::new(SystemClock)).unwrap();
        let fingerprint = core.bundles.add(model.emit(), T0).await.unwrap().0.fingerprint();
        for n in 0..N_DEVICES {
            let id = format!("device-{n}");
            let (row, key) = core.registry.add(&id, "", T0).await.unwrap();
            let (id, short_id, slot) = (DeviceId::new(&id).unwrap(), row.short_id, Slot::new(0).unwrap());
            let device =
                Device { id, key, short_id, secret: None, generation: 0, next: 0, fingerprint, slot };
            site.devices.push(Lane { device, code: code.clone(), next: 1, acked: BTreeSet::new() });
        }
        core.store.close().await.unwrap();
        drop(core);
        // Its writer tidies up after the answer; the server is to be alone on the file.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (mut child, addr) = site.start().await;
        for lane in &mut site.devices {
            lane.device.join(addr, 1).await;
            let status = lane.device.status();
            assert_eq!(post(addr, &status).await.0, 200);
        }
        child.kill().await.unwrap();
        site
    }

    async fn start(&self) -> (Child, SocketAddr) {
        let (child, said) = self.start_with(&[]).await;
        (child, address(&said["url"]))
    }

    /// Starts with further flags; gives what it says of itself.
    async fn start_with(&self, flags: &[&str]) -> (Child, serde_json::Value) {
        let mut child = Command::new(&self.binary)
            .args(["serve", "--json", "--http", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .args(flags)
            .env("HOME", &self.data)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        (child, said)
    }

    /// All devices send, one frame at a time, until `end` is over and the server is gone.
    async fn load(&mut self, addr: SocketAddr, end: impl Future<Output = ()>) {
        let lanes = std::mem::take(&mut self.devices);
        let sending: Vec<_> = lanes.into_iter().map(|lane| tokio::spawn(lane.send(addr))).collect();
        end.await;
        for lane in sending {
            self.devices.push(lane.await.unwrap());
        }
    }

    /// Acked numbers that are not stored.
    fn lost(&self) -> Vec<(u32, u64)> {
        let stored = self.stored();
        let lane = |lane: &Lane| {
            let device = lane.device.short_id;
            let stored = stored.get(&device).cloned().unwrap_or_default();
            lane.acked.iter().filter(|n| !stored.contains_key(n)).map(|n| (device, *n)).collect::<Vec<_>>()
        };
        self.devices.iter().flat_map(lane).collect()
    }

    /// How often each number is stored, by device.
    fn stored(&self) -> BTreeMap<u32, BTreeMap<u64, u32>> {
        let conn = Connection::open(self.data.join("kinglet.db")).unwrap();
        let mut rows = conn.prepare("SELECT device, counter FROM window").unwrap();
        let mut stored = BTreeMap::<u32, BTreeMap<u64, u32>>::new();
        for row in rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap() {
            let (device, counter): (u32, u64) = row.unwrap();
            *stored.entry(device).or_default().entry(counter).or_default() += 1;
        }
        stored
    }

    fn n_acked(&self) -> usize {
        self.devices.iter().map(|lane| lane.acked.len()).sum()
    }

    /// Everything again, as devices would: each number is there once, and none besides.
    async fn settle(&mut self) {
        let (mut child, addr) = self.start().await;
        for lane in &mut self.devices {
            for n in 1..lane.next {
                assert!(lane.try_send(addr, n).await, "window {n}");
            }
        }
        child.kill().await.unwrap();
        let stored = self.stored();
        for lane in &self.devices {
            let expected: BTreeMap<u64, u32> = (1..lane.next).map(|n| (n, 1)).collect();
            assert_eq!(stored.get(&lane.device.short_id).cloned().unwrap_or_default(), expected);
        }
        kinglet_server::store::check(&self.data.join("kinglet.db")).unwrap();
    }
}

impl Lane {
    async fn send(mut self, addr: SocketAddr) -> Self {
        loop {
            let n = self.next;
            // First what the round before has left without an ack.
            if n > 1 && !self.acked.contains(&(n - 1)) && !self.try_send(addr, n - 1).await {
                return self;
            }
            self.next += 1;
            if !self.try_send(addr, n).await {
                return self;
            }
        }
    }

    async fn try_send(&mut self, addr: SocketAddr, n: u64) -> bool {
        let frame = self.device.window_as(n, Time::unix(T0 + n as i64 * 80_000), None, &self.code);
        let (status, body) = post(addr, &frame).await;
        // A kill may cut an answer short: what does not open is no ack.
        if status != 200 || body.len() != 22 + 19 + 16 {
            return false;
        }
        assert!(self.device.open_ack(&body).covers(Counter::new(n).unwrap()));
        self.acked.insert(n);
        true
    }
}

async fn post(addr: SocketAddr, frame: &[u8]) -> (u16, Vec<u8>) {
    let kind = [("content-type", "application/vnd.kinglet.frame")];
    let answer = request(addr, "POST", "/v1/frames", &kind, frame).await;
    (answer.status, answer.body)
}

/// Where a URL points to.
fn address(url: &serde_json::Value) -> SocketAddr {
    url.as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

/// Another instant each round, the same in each run (Weyl sequence).
fn instant(round: u64) -> Duration {
    Duration::from_micros(500 + round.wrapping_mul(0x9e37_79b9) % 60_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_instant_it_has_lost_nothing_acked_and_stored_nothing_twice() {
    let Some(binary) = given("KINGLET_TEST_BIN") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    let n_rounds = rounds("KINGLET_TEST_ROUNDS", 20);
    for round in 0..n_rounds {
        let (mut child, addr) = site.start().await;
        site.load(addr, async {
            tokio::time::sleep(instant(round)).await;
            child.kill().await.unwrap();
        })
        .await;
        assert_eq!(site.lost(), [], "after round {round}");
    }
    assert!(site.n_acked() as u64 > n_rounds, "{} acks in {n_rounds} rounds", site.n_acked());
    eprintln!("{n_rounds} kills, {} windows acked, none lost", site.n_acked());
    site.settle().await;
}

/// Rounds under the shim that forgets what was not synced; gives what was lost, until something was.
async fn power_cuts(site: &mut Site, dir: &Path, n_rounds: u64) -> Vec<(u32, u64)> {
    let trigger = dir.join("power-cut");
    for round in 0..n_rounds {
        let keep = if round % 2 == 0 { "0" } else { "50" };
        site.env.retain(|(name, _)| *name != "UNSYNCED_KEEP");
        site.env.push(("UNSYNCED_KEEP", keep.into()));
        let (mut child, addr) = site.start().await;
        site.load(addr, async {
            tokio::time::sleep(3 * instant(round)).await;
            std::fs::write(&trigger, "").unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
            assert!(ended.is_ok(), "the shim did not cut the power");
        })
        .await;
        std::fs::remove_file(&trigger).unwrap();
        let lost = site.lost();
        if !lost.is_empty() {
            return lost;
        }
    }
    Vec::new()
}

fn under_shim(site: &mut Site, dir: &Path, shim: PathBuf) {
    let data = std::fs::canonicalize(&site.data).unwrap();
    site.env =
        vec![("LD_PRELOAD", shim), ("UNSYNCED_DIR", data), ("UNSYNCED_TRIGGER", dir.join("power-cut"))];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_synced_is_gone_and_nothing_acked_is() {
    let (Some(binary), Some(shim)) = (given("KINGLET_TEST_BIN"), given("KINGLET_TEST_SHIM")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    under_shim(&mut site, dir.path(), shim);
    let n_rounds = rounds("KINGLET_TEST_CUTS", 10);
    assert_eq!(power_cuts(&mut site, dir.path(), n_rounds).await, []);
    assert!(site.n_acked() as u64 > n_rounds, "{} acks in {n_rounds} rounds", site.n_acked());
    eprintln!("{n_rounds} power cuts, {} windows acked, none lost", site.n_acked());
    site.env.clear();
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shim_finds_a_server_that_does_not_sync() {
    let (Some(binary), Some(shim)) = (given("KINGLET_TEST_BIN"), given("KINGLET_TEST_SHIM")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    under_shim(&mut site, dir.path(), shim);
    site.env.push(("UNSYNCED_IGNORE", "1".into()));
    let lost = power_cuts(&mut site, dir.path(), 5).await;
    assert!(!lost.is_empty(), "nothing was lost in 5 power cuts without a sync: the shim proves nothing");
    eprintln!("without syncs, {} of {} acked windows were lost", lost.len(), site.n_acked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_acks_nothing_and_goes_on_once_there_is_room() {
    let (Some(binary), Some(disk)) = (given("KINGLET_TEST_BIN"), given("KINGLET_TEST_SMALL_DISK")) else {
        return;
    };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let mut site = Site::new(binary, disk.join("data")).await;
    let (mut child, addr) = site.start().await;
    let n_before = site.n_acked();
    // Each lane ends with the first frame that is not acked.
    let full = tokio::time::timeout(Duration::from_secs(120), site.load(addr, async {})).await;
    assert!(full.is_ok(), "the disk does not become full");
    let n_full = site.n_acked();
    assert!(n_full > n_before);
    assert!(child.try_wait().unwrap().is_none(), "the server has ended");
    for lane in &mut site.devices {
        let n = lane.next - 1;
        // It may take one more that fits into what is left; it may not take one twice.
        let _ = lane.try_send(addr, n).await;
    }
    std::fs::remove_file(&ballast).unwrap();
    for lane in &mut site.devices {
        for n in [lane.next - 1, lane.next] {
            assert!(lane.try_send(addr, n).await, "not taken although there is room");
        }
        lane.next += 1;
    }
    child.kill().await.unwrap();
    assert_eq!(site.lost(), []);
    site.settle().await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_refused_by_name() {
    let (Some(binary), Some(disk)) = (given("KINGLET_TEST_BIN"), given("KINGLET_TEST_READ_ONLY")) else {
        return;
    };
    let data = disk.join("data");
    let ran = Command::new(binary)
        .args(["serve", "--http", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env("HOME", &disk)
        .stdin(Stdio::null())
        .output();
    let ran = tokio::time::timeout(Duration::from_secs(20), ran).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(6), "{said}");
    assert!(said.contains(&data.display().to_string()) && said.contains("--data"), "{said}");
}
