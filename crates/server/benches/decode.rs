//! `POST /decode` with the seed's network, readings stored, against a bare axum echo of the same body in the same run;
//! and what such a server weighs, alone in its process, with 1,000 idle connections and load.
//!
//! The load comes from a process of its own: 32 connections, one request at a time on each.
#![allow(clippy::print_stdout, reason = "a bench speaks to people")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use common::Rig;
use kinglet_codec::seed::{Activation, Half, Layer, Numbers, SeedChannel, SeedModel, SeedParts, Shape};
use kinglet_server::store::Store;

const N_CONNECTIONS: usize = 32;
const N_ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("load") => load(args[2].parse().expect("an address"), &args[3]),
        Some("serve") => runtime().block_on(serve()),
        _ => {
            runtime().block_on(compare());
            weigh();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn compare() {
    let model = SeedModel::new(parts()).expect("a model");
    let latent = model.encode(&[21.5]).expect("a latent");
    let body = format!("{{\"latent_vector\":[{},{}]}}", latent[0], latent[1]);
    let (mut bare, mut ours, mut n_sent, mut n_kept) = (0.0, 0.0, 0.0, 0);
    for round in 0..N_ROUNDS {
        let dir = tempfile::tempdir().expect("a place");
        let rig = Rig::decoding(dir.path(), parts(), |_| {}).await;
        let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let echo_addr = echo.local_addr().expect("an address");
        let app = Router::new().route("/decode", post(|body: Bytes| async { body }));
        let serving = tokio::spawn(async { axum::serve(echo, app).await });
        let echoed = measure(echo_addr, &body).await;
        let decoded = measure(rig.seed_addr.expect("it decodes"), &body).await;
        println!("round {round}: echo {echoed:>7.0} /s, decoded and stored {decoded:>7.0} /s");
        (bare, ours) = (bare + echoed, ours + decoded);
        serving.abort();
        rig.stop().await;
        let path = dir.path().join("kinglet.db");
        let store = kinglet_server::store::SqliteStore::open(&path).expect("the store");
        n_kept += store.seed_series().await.expect("the series")[0].n_samples;
        n_sent += decoded * ROUND.as_secs_f64();
    }
    let n = N_ROUNDS as f64;
    println!(
        "echo {:.0} /s, POST /decode {:.0} /s, ratio {:.0} % (at least 70 % wanted); of about {n_sent:.0} answered {n_kept} are stored",
        bare / n,
        ours / n,
        100.0 * ours / bare
    );
}

/// The seed's network with weights that nothing was learned by: as much work as with any.
fn parts() -> SeedParts {
    let mut state = 7u32;
    let mut weight = |n_in: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 16_777_216.0 - 0.5) * 2.0 / (n_in as f32).sqrt()
    };
    let mut half = |widths: &[usize], last: Activation| {
        let pairs = widths.windows(2).enumerate();
        let layers = pairs.map(|(i, w)| Layer {
            shape: Shape::Dense { n_in: w[0], n_out: w[1] },
            activation: if i + 2 == widths.len() { last } else { Activation::Relu },
            numbers: Numbers::Float {
                weights: (0..w[0] * w[1]).map(|_| weight(w[0])).collect(),
                bias: vec![0.1; w[1]],
            },
        });
        Half { layers: layers.collect(), input: None }
    };
    SeedParts {
        name: "bench".into(),
        channels: vec![SeedChannel::temperature()],
        n_samples: 1,
        encoder: Some(half(&[1, 32, 16, 2], Activation::Linear)),
        decoder: half(&[2, 16, 32, 1], Activation::Sigmoid),
        report: serde_json::Value::Null,
    }
}

async fn measure(addr: SocketAddr, body: &str) -> f64 {
    let out = tokio::process::Command::new(std::env::current_exe().expect("this file"))
        .args(["load", &addr.to_string(), body])
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// Sends on all connections until the time is over; prints answers per second.
fn load(addr: SocketAddr, body: &str) {
    let request = format!(
        "POST /decode HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    let n: usize = std::thread::scope(|scope| {
        let lanes: Vec<_> =
            (0..N_CONNECTIONS).map(|_| scope.spawn(|| send(addr, request.as_bytes(), begun))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane")).sum()
    });
    println!("{}", n as f64 / begun.elapsed().as_secs_f64());
}

fn send(addr: SocketAddr, request: &[u8], begun: Instant) -> usize {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let mut buf = vec![0; 4096];
    let mut n = 0;
    while begun.elapsed() < ROUND {
        stream.write_all(request).expect("the server reads");
        let mut len = 0;
        while !is_whole(&buf[..len]) {
            let got = stream.read(&mut buf[len..]).expect("the server answers");
            assert!(got > 0, "the server has hung up");
            len += got;
        }
        assert!(buf.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buf[..len]));
        n += 1;
    }
    n
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
    let body_len = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    answer.len() >= at + 4 + body_len.unwrap_or(0)
}

/// Serves until its input ends; prints the address.
async fn serve() {
    let dir = tempfile::tempdir().expect("a place");
    let rig = Rig::decoding(dir.path(), parts(), |_| {}).await;
    println!("{}", rig.seed_addr.expect("it decodes"));
    println!("{}", rig.addr);
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
    rig.stop().await;
}

fn weigh() {
    let exe = std::env::current_exe().expect("this file");
    let mut server = Command::new(&exe)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut said = BufReader::new(server.stdout.take().expect("its output")).lines();
    let mut address = || said.next().expect("an address").expect("text").parse::<SocketAddr>().expect("one");
    let (seed, pages) = (address(), address());
    let fresh = memory(server.id());
    let idle: Vec<_> = (0..1000).map(|_| TcpStream::connect(seed).expect("a connection")).collect();
    let model = SeedModel::new(parts()).expect("a model");
    let latent = model.encode(&[21.5]).expect("a latent");
    let body = format!("{{\"latent_vector\":[{},{}]}}", latent[0], latent[1]);
    let loaded = Command::new(&exe).args(["load", &seed.to_string(), &body]).output().expect("it runs");
    let rate = String::from_utf8_lossy(&loaded.stdout).trim().parse::<f64>().unwrap_or_default();
    let mut page = TcpStream::connect(pages).expect("a connection");
    page.write_all(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").expect("it reads");
    page.read_to_end(&mut Vec::new()).expect("it answers");
    match (fresh, memory(server.id())) {
        (Some((fresh, _)), Some((now, peak))) => println!(
            "RSS after the start {fresh:.1} MB; with 1,000 idle connections, {rate:.0} requests a second and the dashboard \
             looked at {now:.1} MB, at most {peak:.1} MB (under 32 MB wanted)"
        ),
        _ => println!("RSS: this system has no /proc/PID/status"),
    }
    drop(idle);
    drop(server.stdin.take());
    let _ = server.wait();
}

/// Resident and most ever resident, MB.
fn memory(pid: u32) -> Option<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mb = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1e3)
    };
    Some((mb("VmRSS")?, mb("VmHWM")?))
}
