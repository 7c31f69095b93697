//! `kinglet send` as a service: sensors that go on, a server that goes away and comes back, and a kill in the middle.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kinglet_codec::Grid;
use kinglet_codec::learn::{Outline, Parts};
use support::{Place, Running, serve};

const PERIOD_MS: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

/// Temperature in hundredths, lossless, humidity in tenths; 4 samples of 50 ms.
fn fast_bundle() -> Vec<u8> {
    let grid = |scale| Grid { scale, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    let outlines =
        [Outline::new("temp", grid(2), (-4000, 100_000)), Outline::new("humidity", grid(1), (0, 1000))];
    let device = Parts::untrained(4, PERIOD_MS, &outlines).emit();
    kinglet_codec::bundle::Bundle::new("fast", device, serde_json::json!({})).unwrap().emit()
}

/// A server with a device `porch`, whose key lies in `porch.key`.
fn place() -> (Place, Running, String) {
    let place = Place::new();
    place.file("b.kinglet", fast_bundle());
    let (server, url) = serve(&place, "127.0.0.1:0");
    let add = ["device", "add", "porch", "--data", "data", "--bundle", "b.kinglet", "--key-out", "porch.key"];
    place.run(&[&add[..], &["--server", &url]].concat()).ok();
    (place, server, url)
}

fn agent(place: &Place, more: &[&str]) -> Running {
    let send = [
        "send",
        "--key",
        "porch.key",
        "--bundle",
        "b.kinglet",
        "--outbox",
        "porch.outbox",
        "--patience",
        "20s",
    ];
    let mut command = place.command(&[&send[..], more].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(command.spawn().unwrap())
}

/// SIGTERM, then the exit code and what it printed.
fn stop(mut agent: Running) -> (i32, String) {
    let id = agent.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    end(&mut agent.0)
}

fn end(child: &mut Child) -> (i32, String) {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), out + &err)
}

/// Everything the server has: time to temperature in hundredths. Two rows of one time are two stored samples.
fn stored(url: &str) -> BTreeMap<String, i64> {
    let mut to = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let path = "/v1/devices/porch/readings?from=0&format=csv";
    write!(to, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut text = String::new();
    to.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if head.contains(" 404 ") {
        return BTreeMap::new();
    }
    assert!(head.contains(" 200 "), "{text}");
    let mut rows = BTreeMap::new();
    for line in body.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let hundredths = cells[1].parse::<f64>().map_or(i64::MIN, |v| (v * 100.0).round() as i64);
        // As text whole seconds would sort behind their fractions.
        let time = cells[0].trim_end_matches('Z');
        let time = if time.contains('.') { time.to_string() } else { format!("{time}.000") };
        assert_eq!(rows.insert(time, hundredths), None, "stored twice: {line}");
    }
    rows
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A folder as the kernel makes it, whose temperature is a counter: every reading is another number.
struct Sensor {
    n: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sensor {
    fn new(place: &Place) -> Self {
        let dir = place.path("iio/iio:device0");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("name"), "dht11@4\n").unwrap();
        std::fs::write(dir.join("in_humidityrelative_input"), "45000\n").unwrap();
        let (n, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&n), Arc::clone(&stop));
        let put = move |n: u64| {
            // Whole or not at all, as a kernel's file is.
            std::fs::write(dir.join("new"), format!("{}\n", n * 10)).unwrap();
            std::fs::rename(dir.join("new"), dir.join("in_temp_input")).unwrap();
        };
        put(0);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                put(counter.fetch_add(1, Ordering::Relaxed) + 1);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { n, stop, thread: Some(thread) }
    }

    fn now(&self) -> i64 {
        self.n.load(Ordering::Relaxed) as i64
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_sensor_goes_on_through_a_server_that_is_away_and_a_kill() {
    let (place, server, url) = place();
    let sensor = Sensor::new(&place);
    let iio = format!("--iio={}", place.path("iio").display());
    let args = [iio.as_str(), "--max-delay", "300ms"];

    let running = agent(&place, &args);
    wait_for("the first windows are stored", || stored(&url).len() >= 12);
    let before = stored(&url);
    // Away: what is measured meanwhile waits.
    let port = url.rsplit_once(':').unwrap().1.to_string();
    drop(server);
    let away_from = sensor.now();
    std::thread::sleep(Duration::from_millis(1_200));
    let away_to = sensor.now();
    // Killed while it waits: the outbox is on disk.
    drop(running);
    let (server, url) = serve(&place, &format!("127.0.0.1:{port}"));
    let running = agent(&place, &args);
    wait_for("it goes on", || stored(&url).len() >= before.len() + 30);
    let killed_at = stored(&url);
    // Killed while it sends, and started again.
    drop(running);
    let restarted_from = sensor.now();
    let running = agent(&place, &args);
    wait_for("it goes on once more", || stored(&url).values().any(|&v| v > restarted_from + 100));
    let (code, said) = stop(running);
    let stopped_at = sensor.now();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("wait in"), "everything was sent: {said}");

    let all = stored(&url);
    for (time, value) in before.iter().chain(&killed_at) {
        assert_eq!(all.get(time), Some(value), "what was acknowledged stays");
    }
    let values: Vec<i64> = all.values().copied().collect();
    assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "in the order they were measured: {values:?}");
    let n_away = values.iter().filter(|v| (away_from..=away_to).contains(v)).count();
    // 24 samples in 1.2 s; the last window may have been cut short by the kill, and machines stall.
    assert!(n_away >= 10, "{n_away} of those measured while the server was away");
    let last = *values.last().unwrap();
    assert!(stopped_at - last < 500, "stopped at {stopped_at}, last stored {last}");
    drop(server);
}

#[test]
fn a_command_is_asked_at_every_beat_and_its_failures_are_missing_readings() {
    let (place, server, url) = place();
    place.file("n", "0");
    let line = "n=$(($(cat n)+1)); echo $n > n; test $((n % 5)) = 3 && exit 1; echo 21.$((n % 10)),40";
    let running = agent(&place, &["--command", line, "--every", "50ms", "--max-delay", "200ms"]);
    wait_for("samples are stored", || stored(&url).len() >= 20);
    let (code, said) = stop(running);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ended with"), "{said}");
    let all = stored(&url);
    let n_missing = all.values().filter(|v| **v == i64::MIN).count();
    assert!(n_missing >= 3, "{all:?}");
    assert!(all.values().all(|v| *v == i64::MIN || (2100..=2190).contains(v)), "{all:?}");
    drop(server);
}

#[test]
fn lines_from_a_pipe_go_out_before_the_pipe_ends() {
    let (place, server, url) = place();
    let mut running = agent(&place, &["--max-delay", "200ms", "-"]);
    let mut pipe: ChildStdin = running.0.stdin.take().unwrap();
    pipe.write_all(b"time,temp,humidity\n1760000000.00,21.5,40\n1760000000.05,21.6,40\n").unwrap();
    wait_for("two lines are stored while the pipe is open", || stored(&url).len() == 2);
    pipe.write_all(b"1760000000.10,nan,41\nsoon,1,1\n1760000000.15,21.8,41\n").unwrap();
    drop(pipe);
    let (code, said) = end(&mut running.0);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stored(&url).into_values().collect::<Vec<_>>(), [2150, 2160, i64::MIN, 2180]);
    drop(server);
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_sent() {
    let place = Place::new();
    place.file("b.kinglet", fast_bundle());
    place.file("porch.key", format!("kinglet:porch?server=http%3A%2F%2F127.0.0.1%3A9#{}", "ab".repeat(32)));
    let refused = |more: &[&str], code: i32, words: &[&str]| {
        let send = ["send", "--key", "porch.key", "--bundle", "b.kinglet"];
        place.run(&[&send[..], more].concat()).fails(code, words);
    };
    std::fs::create_dir_all(place.path("empty")).unwrap();
    refused(&["--iio=empty"], 3, &["`temp`", "found: nothing", "next:"]);
    refused(&["--w1=nowhere"], 3, &["nowhere"]);
    refused(&["--every", "1s"], 2, &["--iio", "next:"]);
    refused(&["--iio=empty", "--command", "x"], 2, &["cannot be used with"]);
    refused(&["--command", "x", "--channels", "a,b,c"], 2, &["2 channels"]);
    refused(&["--command", "x", "--period", "1s"], 2, &["--period", "--every", "next:"]);
}
