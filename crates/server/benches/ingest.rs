//! `POST /v1/frames`, one frame per request, against a bare axum echo of the same body in the same run; 16 frames per
//! request against the bare store taking the same rows; and what a server with 1,000 devices weighs.
//!
//! The load comes from a process of its own, the same for both: 256 devices, each with a connection of its own and
//! one request at a time on it. With `one`, `sixteen` or `weigh` behind `--` only that.
#![allow(clippy::print_stdout, reason = "a bench speaks to people")]

#[path = "../tests/arrivals/mod.rs"]
mod arrivals;
#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use common::{Rig, T0};
use measure::{bare_store, cpu_s, memory_mb, sync_ms};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const N_CONNECTIONS: usize = 256;
const N_ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// More than any round can send; a quarter of it where each has 16 frames.
const REQUESTS_PER_CONNECTION: usize = 3000;
const CODE: [u8; 100] = [0x5a; 100];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["load", addr, path] => load(addr.parse().expect("an address"), Path::new(path)),
        ["weigh"] => weigh(),
        // For a profiler: nothing but the server under load.
        ["frames"] => frames_alone(),
        ["one"] => compare(),
        ["sixteen"] => sixteen(),
        _ => {
            compare();
            sixteen();
            let weighed = Command::new(std::env::current_exe().expect("this file")).arg("weigh").output();
            print!("{}", String::from_utf8_lossy(&weighed.expect("it runs").stdout));
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    kinglet_server::runtime().expect("threads")
}

fn frames_alone() {
    runtime().block_on(async {
        let (_dir, rig, requests) = prepared(1).await;
        let (begun, wall) = (cpu_s(), Instant::now());
        let stored = measure(rig.addr, &requests).await;
        let cpu = cpu_s() - begun;
        println!(
            "frames stored and acked {stored:.0} /s, {:.1} us CPU each, {:.2} cores busy with serving",
            1e6 * cpu / (stored * ROUND.as_secs_f64()),
            cpu / wall.elapsed().as_secs_f64()
        );
        rig.stop().await;
    });
}

fn compare() {
    let (mut ours, mut bare) = (0.0, 0.0);
    runtime().block_on(async {
        for round in 0..N_ROUNDS {
            let (_dir, rig, requests) = prepared(1).await;
            // At its best: it has no store to leave a processor to.
            let serving = tokio::runtime::Runtime::new().expect("threads");
            let echo = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let echo_addr = echo.local_addr().expect("an address");
            echo.set_nonblocking(true).expect("an option");
            serving.spawn(async {
                let app = Router::new().route("/v1/frames", post(|body: Bytes| async { body }));
                let echo = tokio::net::TcpListener::from_std(echo).expect("a socket");
                axum::serve(echo, app).await
            });
            let begun = cpu_s();
            let echoed = measure(echo_addr, &requests).await;
            let between = cpu_s();
            let stored = measure(rig.addr, &requests).await;
            let ended = cpu_s();
            let us = |cpu: f64, rate: f64| 1e6 * cpu / (rate * ROUND.as_secs_f64());
            println!(
                "round {round}: echo {echoed:>7.0} /s ({:.0} us CPU each), frames stored and acked {stored:>7.0} /s ({:.0} us)",
                us(between - begun, echoed),
                us(ended - between, stored)
            );
            (bare, ours) = (bare + echoed, ours + stored);
            serving.shutdown_background();
            rig.stop().await;
        }
    });
    let n = N_ROUNDS as f64;
    println!(
        "echo {:.0} /s, POST /v1/frames {:.0} /s, ratio {:.0} % (at least 50 % wanted)",
        bare / n,
        ours / n,
        100.0 * ours / bare
    );
    println!("the disk under it: {:.2} ms for 4 kB written and synced (median of 200)", sync_ms());
}

/// Each connection's frames are in requests of 16, and so are the rows of the bare store.
fn sixteen() {
    const AT_ONCE: usize = 16;
    let (mut ours, mut bare) = (0.0, 0.0);
    runtime().block_on(async {
        for round in 0..N_ROUNDS {
            let (_dir, rig, requests) = prepared(AT_ONCE).await;
            let begun = cpu_s();
            let stored = AT_ONCE as f64 * measure(rig.addr, &requests).await;
            let cpu_us = 1e6 * (cpu_s() - begun) / (stored * ROUND.as_secs_f64());
            rig.stop().await;
            let rows = bare_store(N_CONNECTIONS, AT_ONCE, &CODE, ROUND).await;
            println!("round {round}: 16 frames a request {stored:>7.0} frames/s ({cpu_us:.0} us CPU each), bare store {rows:>7.0} rows/s");
            (ours, bare) = (ours + stored, bare + rows);
        }
    });
    let n = N_ROUNDS as f64;
    println!(
        "16 frames a request {:.0} /s, bare store {:.0} /s, ratio {:.0} % (at least 60 % wanted)",
        ours / n,
        bare / n,
        100.0 * ours / bare
    );
}

/// A server in a place of its own, and the requests for it.
async fn prepared(at_once: usize) -> (tempfile::TempDir, Rig, PathBuf) {
    let dir = tempfile::tempdir().expect("a place");
    // As much as it can, not as much as it is told to take.
    let rig = Rig::start_with(dir.path(), |config| config.frames_per_s = 0).await;
    let requests = dir.path().join("requests");
    prepare(&rig, &requests, at_once).await;
    (dir, rig, requests)
}

/// Writes the requests of all connections to a file: each a device of its own, so many frames in a request.
async fn prepare(rig: &Rig, path: &Path, at_once: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let kind = if at_once == 1 { "frame" } else { "frames" };
    for n in 0..N_CONNECTIONS {
        let mut device = rig.ready_device(&format!("device-{n}")).await;
        for request in 0..REQUESTS_PER_CONNECTION.div_ceil(at_once.isqrt()) {
            let mut body = Vec::new();
            for i in request * at_once..(request + 1) * at_once {
                let frame = device.window(T0 + i as i64 * 1000, &CODE);
                if at_once > 1 {
                    body.extend((frame.len() as u16).to_be_bytes());
                }
                body.extend(frame);
            }
            let head = format!(
                "POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/vnd.kinglet.{kind}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let request = [head.as_bytes(), &body].concat();
            file.write_all(&(request.len() as u32).to_be_bytes()).expect("room");
            file.write_all(&request).expect("room");
        }
    }
    file.flush().expect("room");
    // Or the server's syncs wait for these bytes.
    file.get_ref().sync_all().expect("a disk");
}

async fn measure(addr: SocketAddr, requests: &Path) -> f64 {
    let out = tokio::process::Command::new(std::env::current_exe().expect("this file"))
        .args(["load", &addr.to_string(), &requests.display().to_string()])
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// Sends on all connections until the time is over; prints answers per second.
fn load(addr: SocketAddr, path: &Path) {
    let bytes = std::fs::read(path).expect("the requests");
    let mut requests = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (request, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
        requests.push(request);
        rest = behind;
    }
    let lanes: Vec<Vec<Vec<u8>>> = requests
        .chunks(requests.len() / N_CONNECTIONS)
        .map(|lane| lane.iter().map(|request| request.to_vec()).collect())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let begun = Instant::now();
    let n: usize = runtime.block_on(async {
        let lanes: Vec<_> = lanes.into_iter().map(|lane| tokio::spawn(send_all(addr, lane, begun))).collect();
        let mut n = 0;
        for lane in lanes {
            n += lane.await.expect("a lane");
        }
        n
    });
    println!("{}", n as f64 / begun.elapsed().as_secs_f64());
}

async fn send_all(addr: SocketAddr, lane: Vec<Vec<u8>>, begun: Instant) -> usize {
    let mut stream = tokio::net::TcpStream::connect(addr).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let mut buf = vec![0; 4096];
    for (n, request) in lane.iter().enumerate() {
        if begun.elapsed() > ROUND {
            return n;
        }
        stream.write_all(request).await.expect("the server reads");
        let mut len = 0;
        loop {
            let got = stream.read(&mut buf[len..]).await.expect("the server answers");
            assert!(got > 0, "the server has hung up");
            len += got;
            if is_whole(&buf[..len]) {
                break;
            }
        }
        assert!(buf.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buf[..len]));
    }
    panic!("more frames were needed than prepared");
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
    let body_len = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    answer.len() >= at + 4 + body_len.unwrap_or(0)
}

/// A server with 1,000 joined devices that have all spoken, and whose dashboard was looked at.
fn weigh() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().expect("a place");
        let rig = Rig::start(dir.path()).await;
        for n in 0..1000 {
            let mut device = rig.ready_device(&format!("device-{n}")).await;
            let frame = device.window(T0, &CODE);
            assert_eq!(rig.post_frame(&frame).await.status, 200);
        }
        rig.settle().await;
        assert_eq!(rig.get("/").await.status, 200);
        let (rss, peak) = memory_mb();
        println!("RSS with 1,000 devices {rss:.1} MB, at most {peak:.1} MB (under 64 MB wanted)");
        rig.stop().await;
    });
}
