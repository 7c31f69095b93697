//! A thousand connections that dribble and ten thousand that only listen take nothing from honest devices.
//!
//! The crowds come from a process of their own: this test binary once more, which then runs one of the two ignored tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinglet_server::store::SqliteStore;
use kinglet_server::{Config, Core, SystemClock};
use kinglet_wire::payload::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::common::T0;
use super::mqtt_client::{Client, Login, Said, Version};
use super::{Lane, Site, address, given};

const N_SLOW: usize = 1000;
const N_IDLE: usize = 10_000;
/// What an honest device waits for its ack at most.
const PATIENCE: Duration = Duration::from_secs(5);
const MB: f64 = 1e6;

/// The other process; it ends with its input.
struct Crowd(Child);

impl Crowd {
    /// Runs an ignored test there, and waits until it says that its crowd stands.
    async fn gather(test: &'static str, addrs: &[SocketAddr], file: &Path) -> Self {
        let addrs = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", test])
            .env("KINGLET_TEST_CROWD", addrs)
            .env("KINGLET_TEST_CROWD_FILE", file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let stands = move || said.lines().map_while(Result::ok).find(|line| line.starts_with("stands:"));
        let said = tokio::task::spawn_blocking(stands).await.unwrap();
        eprintln!("{test}: {}", said.expect("the crowd stands"));
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the other process: what it is to do, or nothing where the test is not run by another.
fn told() -> Option<(Vec<SocketAddr>, std::path::PathBuf)> {
    let addrs = std::env::var("KINGLET_TEST_CROWD").ok()?;
    let file = std::env::var_os("KINGLET_TEST_CROWD_FILE")?;
    Some((addrs.split(' ').map(|addr| addr.parse().unwrap()).collect(), file.into()))
}

/// Until the process that has started this one is through.
async fn stand() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
}

#[tokio::test]
#[ignore = "the crowd of another test"]
async fn dribble() {
    let Some((addrs, _)) = told() else { return };
    let open = Arc::new(Semaphore::new(0));
    let starts: [&'static [u8]; 3] = [
        b"POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ",
        b"POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n",
        b"\x10\x7f\0\x04MQTT\x04\xc2\x02\x58",
    ];
    for n in 0..N_SLOW {
        let start = starts[n % 3];
        let (addr, open) = (addrs[usize::from(n % 3 == 2)], open.clone());
        tokio::spawn(async move {
            let mut is_first = true;
            // Whoever is let go comes again.
            loop {
                let Ok(mut stream) = TcpStream::connect(addr).await else { continue };
                if is_first {
                    open.add_permits(1);
                }
                is_first = false;
                for byte in start.iter().chain(std::iter::repeat(&b'a')) {
                    // The server hangs up by what it sends, or does not send any more.
                    let wait = Duration::from_millis(200);
                    let gone = tokio::time::timeout(wait, stream.read(&mut [0])).await.is_ok();
                    if gone || stream.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
        });
    }
    let _ = open.acquire_many(N_SLOW as u32).await.unwrap();
    eprintln!("\nstands: {N_SLOW} connections dribble");
    stand().await;
}

#[tokio::test]
#[ignore = "the crowd of another test"]
async fn listen() {
    let Some((addrs, file)) = told() else { return };
    let logins = std::fs::read_to_string(file).unwrap();
    let mut all = Vec::new();
    for line in logins.lines() {
        let (id, token) = line.split_once(' ').unwrap();
        let login = Login {
            version: Version::V3,
            client_id: id.into(),
            username: Some(id.into()),
            password: Some(token.into()),
            keep_alive_s: 600,
            has_will: false,
        };
        let mut client = Client::welcome(addrs[0], login).await;
        assert_eq!(client.subscribe(&[&format!("kinglet/{id}/down")]).await, [0]);
        all.push(client);
    }
    eprintln!("\nstands: {} devices listen", all.len());
    stand().await;
}

/// Sends a window by HTTP; how long its ack took.
async fn by_http(lane: &mut Lane, addr: SocketAddr) -> Duration {
    let begun = Instant::now();
    let n = lane.next;
    lane.next += 1;
    let acked = tokio::time::timeout(PATIENCE, lane.try_send(addr, n)).await;
    assert_eq!(acked, Ok(true), "window {n} of device {}", lane.device.short_id);
    begun.elapsed()
}

/// The same on a connection that stands.
async fn by_mqtt(lane: &mut Lane, client: &mut Client) -> Duration {
    let begun = Instant::now();
    let n = lane.next;
    lane.next += 1;
    let frame = lane.device.window_as(n, Time::unix(T0 + n as i64 * 80_000), None, &lane.code);
    client.publish(&format!("kinglet/{}/up", lane.device.id), n as u16, &frame).await;
    let said = tokio::time::timeout(PATIENCE, client.next()).await;
    assert_eq!(said, Ok(Said::Acked(n as u16, 0)));
    lane.acked.insert(n);
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_that_dribble_keep_nobody_from_being_acked() {
    let Some(binary) = given("KINGLET_TEST_BIN") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    let (mut child, said) = site.start_with(&["--mqtt", "127.0.0.1:0"]).await;
    let (http, mqtt) = (address(&said["url"]), address(&said["mqtt"]));
    let lane = &mut site.devices[0];
    let mut before = Client::welcome(mqtt, Login::new(Version::V3, &lane.device.id, &lane.device.key)).await;
    let crowd = Crowd::gather("crowd::dribble", &[http, mqtt], dir.path()).await;
    let (begun, mut waits) = (Instant::now(), Vec::new());
    // Longer than anybody who has not logged in is borne with.
    while begun.elapsed() < Duration::from_secs(12) {
        waits.push(by_mqtt(&mut site.devices[0], &mut before).await);
        for lane in &mut site.devices[1..7] {
            waits.push(by_http(lane, http).await);
        }
        let lane = &mut site.devices[7];
        let mut fresh =
            Client::welcome(mqtt, Login::new(Version::V5, &lane.device.id, &lane.device.key)).await;
        waits.push(by_mqtt(lane, &mut fresh).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let most = waits.iter().max().unwrap().as_secs_f64() * 1e3;
    eprintln!(
        "{} windows acked beside {N_SLOW} slow connections, the slowest after {most:.0} ms",
        waits.len()
    );
    drop((crowd, before));
    child.kill().await.unwrap();
    assert_eq!(site.lost(), []);
    site.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_listen_weigh_little() {
    let Some(binary) = given("KINGLET_TEST_BIN") else { return };
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let n_files = files.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    if n_files < N_IDLE + 100 {
        eprintln!("skipped: {n_files} files may be open, {N_IDLE} connections need more: ulimit -n 20000");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(binary, dir.path().join("data")).await;
    let file = dir.path().join("logins");
    std::fs::write(&file, add_devices(&site.data).await).unwrap();
    let (mut child, said) = site.start_with(&["--mqtt", "127.0.0.1:0"]).await;
    let (http, mqtt) = (address(&said["url"]), address(&said["mqtt"]));
    let before = rss_mb(child.id().unwrap());
    let crowd = Crowd::gather("crowd::listen", &[mqtt], &file).await;
    for lane in &mut site.devices {
        by_http(lane, http).await;
    }
    let after = rss_mb(child.id().unwrap());
    eprintln!("RSS {before:.0} MB, with {N_IDLE} devices connected {after:.0} MB (under 256 MB wanted)");
    assert!(after < 256.0, "{after} MB");
    drop(crowd);
    child.kill().await.unwrap();
    assert_eq!(site.lost(), []);
}

/// Registers the crowd; gives a line for each: id and token.
async fn add_devices(data: &Path) -> Vec<u8> {
    let config = Config::new(data);
    let store = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
    let core = Arc::new(Core::new(config, store, Arc::new(SystemClock)).unwrap());
    let mut adding = Vec::new();
    for n in 0..N_IDLE {
        let core = core.clone();
        adding.push(tokio::spawn(async move {
            let id = format!("idle-{n}");
            let (_, key) = core.registry.add(&id, "", T0).await.unwrap();
            let id = kinglet_wire::keys::DeviceId::new(&id).unwrap();
            (id.to_string(), key.access_token(&id).password())
        }));
    }
    let mut lines = Vec::new();
    for added in adding {
        let (id, token) = added.await.unwrap();
        write!(lines, "{id} ").unwrap();
        lines.extend_from_slice(&token[..]);
        lines.push(b'\n');
    }
    core.store.close().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    lines
}

/// What a process keeps in memory.
fn rss_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kb.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / MB
}
