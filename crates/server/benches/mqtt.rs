//! MQTT: sealed frames stored and acked per second; how long an ack takes at half load; what connected devices weigh. Against,
//! in the same run: mosquitto with QoS 1 and no storage, alone and with one subscriber that throws away what it hears; what only
//! answers, with as many bytes, but opens and stores nothing; the bare store taking the same rows.
//!
//! The load comes from a process of its own, the same for all of them: MQTT 3.1.1 with QoS 1, from 256 devices with one
//! frame in flight each, and from 16 with 20. To ours the devices also listen for their sealed acks.
//!
//! `cargo bench -p kinglet-server --bench mqtt`; with `many` or `few` behind `--` only that, with `weigh 10000` only what that many
//! devices weigh.
#![allow(clippy::print_stdout, reason = "a bench speaks to people")]

#[path = "../tests/arrivals/mod.rs"]
mod arrivals;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "measure/load.rs"]
mod load;
mod measure;
#[path = "measure/packets.rs"]
mod packets;
#[path = "measure/peers.rs"]
mod peers;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use common::{Device, Rig, T0};
use load::{CODE, Load, ROUND, Shape, To, hello, prepare, run_load};
use measure::{bare_store, cpu_s, memory_mb, sync_ms};
use packets::Input;
use peers::{Answering, Mosquitto};
use tokio::sync::Semaphore;

const N_ROUNDS: usize = 3;

const MANY: Shape = Shape { n_devices: 256, in_flight: 1, n_frames: 1300 };
const FEW: Shape = Shape { n_devices: 16, in_flight: 20, n_frames: 48_000 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    match args[..] {
        ["load", ref args @ ..] => load::publish(args),
        ["hold", addr, path] => hold(addr.parse().expect("an address"), Path::new(path)),
        ["weigh", n] => weigh(number(n)),
        // For a profiler: nothing but the server under load.
        ["frames", "many"] => frames_alone(MANY, 0.0),
        ["frames", "few"] => frames_alone(FEW, 0.0),
        ["frames", "many", rate] => frames_alone(MANY, number(rate) as f64),
        ["frames", "few", rate] => frames_alone(FEW, number(rate) as f64),
        ["many"] => compare(&[MANY]),
        ["few"] => compare(&[FEW]),
        _ => compare(&[MANY, FEW]),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    kinglet_server::runtime().expect("threads")
}

fn frames_alone(shape: Shape, rate: f64) {
    runtime().block_on(async {
        let (_dir, rig, lanes) = prepared(shape).await;
        let (begun, wall) = (cpu_s(), Instant::now());
        let addr = [rig.mqtt_addrs[0].expect("MQTT")];
        let to = To { rate, ..To::all_it_takes(&addr) };
        let Load { rate, n, p50, p99, .. } = run_load(to, &lanes, shape.in_flight).await;
        let cpu = cpu_s() - begun;
        println!(
            "stored and acked {rate:.0} /s, {:.1} us CPU each, {:.2} cores busy; PUBACK after {p50:.1} ms (median), {p99:.1} ms (99 %)",
            1e6 * cpu / n,
            cpu / wall.elapsed().as_secs_f64()
        );
        rig.stop().await;
    });
}

fn compare(shapes: &[Shape]) {
    let broker = Mosquitto::start();
    if broker.is_none() {
        println!("mosquitto is not installed: no comparison with it (apt-get install mosquitto)");
    }
    for shape in shapes.iter().copied() {
        println!("{} devices x {} in flight", shape.n_devices, shape.in_flight);
        runtime().block_on(compare_by(shape, broker.as_ref()));
    }
    println!("the disk under it: {:.2} ms for 4 kB written and synced (median of 200)", sync_ms());
}

async fn compare_by(shape: Shape, broker: Option<&Mosquitto>) {
    let (mut ours, mut theirs, mut passing, mut answering, mut bare) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for round in 0..N_ROUNDS {
        let (_dir, rig, lanes) = prepared(shape).await;
        let load = async |addr, heard| {
            run_load(To { heard, ..To::all_it_takes(&[addr]) }, &lanes, shape.in_flight).await
        };
        let (mut broker_rate, mut passing_rate, mut passed) = (0.0, 0.0, 0.0);
        if let Some(broker) = broker {
            broker_rate = load(broker.addr, false).await.rate;
            let Load { rate, n, n_heard, .. } = load(broker.addr, true).await;
            (passing_rate, passed) = (rate, 100.0 * n_heard / n);
        }
        let answering_rate = load(Answering::start(down_len(&rig).await).await.addr, false).await.rate;
        let begun = cpu_s();
        let Load { rate, n, .. } = load(rig.mqtt_addrs[0].expect("MQTT"), false).await;
        let cpu_us = 1e6 * (cpu_s() - begun) / n;
        let store_rate = bare_store(shape.n_devices, shape.in_flight, &CODE, ROUND).await;
        println!(
            "  round {round}: mosquitto {broker_rate:>7.0} /s, and passing on {passing_rate:>7.0} /s ({passed:.0} % arrive), only answering \
             {answering_rate:>7.0} /s, stored and acked {rate:>7.0} /s ({cpu_us:.0} us CPU each), bare store {store_rate:>7.0} /s"
        );
        (ours, theirs, passing) = (ours + rate, theirs + broker_rate, passing + passing_rate);
        (answering, bare) = (answering + answering_rate, bare + store_rate);
        rig.stop().await;
    }
    let rate = ours / N_ROUNDS as f64;
    let of_broker = match theirs > 0.0 {
        true => format!(
            "{:.2} of mosquitto (at least 1 wanted), {:.2} of mosquitto with a subscriber, ",
            ours / theirs,
            ours / passing
        ),
        false => String::new(),
    };
    println!(
        "  {rate:.0} /s: {of_broker}{:.2} of only answering, {:.0} % of the bare store (60 % wanted for 16 x 20)",
        ours / answering,
        100.0 * ours / bare
    );
    let (_dir, rig, lanes) = prepared(shape).await;
    let addr = [rig.mqtt_addrs[0].expect("MQTT")];
    let to = To { rate: rate / 2.0, ..To::all_it_takes(&addr) };
    let Load { rate, p50, p99, .. } = run_load(to, &lanes, shape.in_flight).await;
    println!(
        "  at half load ({rate:.0} /s): PUBACK after {p50:.1} ms (median), {p99:.1} ms (99 %; under 50 ms wanted)"
    );
    rig.stop().await;
}

/// Bytes of a sealed ack.
async fn down_len(rig: &Rig) -> usize {
    let mut device = rig.ready_device("measured").await;
    let frame = device.window(T0, &CODE);
    let answer = rig.core.ingest(&[&frame]).await.expect("it is stored");
    answer.downlinks.first().map_or(0, Vec::len)
}

/// A server in a place of its own, and what the devices will say to it.
async fn prepared(shape: Shape) -> (tempfile::TempDir, Rig, PathBuf) {
    let dir = tempfile::tempdir().expect("a place");
    let rig = Rig::start_with(dir.path(), |config| {
        config.mqtt = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let lanes = dir.path().join("lanes");
    prepare(&rig, &lanes, shape).await;
    (dir, rig, lanes)
}

/// A server with `n` devices connected and silent.
fn weigh(n: usize) {
    runtime().block_on(async {
        let dir = tempfile::tempdir().expect("a place");
        let rig = Rig::start_with(dir.path(), |config| {
            config.mqtt = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
            config.mqtt_keep_alive_s = 3600;
        })
        .await;
        let before = memory_mb().0;
        let path = dir.path().join("hellos");
        let places = Arc::new(Semaphore::new(256));
        let mut adding = Vec::new();
        for i in 0..n {
            let (core, places) = (Arc::clone(&rig.core), Arc::clone(&places));
            adding.push(tokio::spawn(async move {
                let _place = places.acquire_owned().await;
                let id = format!("device-{i}");
                let (_, key) = core.registry.add(&id, "", T0).await.expect("room");
                let id = kinglet_wire::keys::DeviceId::new(&id).expect("an id");
                hello(&Device::new(id, key, 0))
            }));
        }
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        for hello in adding {
            let hello = hello.await.expect("a device");
            file.write_all(&(hello.len() as u32).to_be_bytes()).expect("room");
            file.write_all(&hello).expect("room");
        }
        file.flush().expect("room");
        drop(file);
        let registered = memory_mb().0;
        let mut holding = Command::new(std::env::current_exe().expect("this file"))
            .args(["hold", &rig.mqtt_addrs[0].expect("MQTT").to_string(), &path.display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(holding.stdout.take().expect("its output")),
            &mut line,
        )
        .expect("it says");
        let connected = memory_mb().0;
        println!("RSS {before:.1} MB, {n} devices registered {registered:.1} MB, {} connected {connected:.1} MB (under 256 MB wanted for 10,000)", line.trim());
        drop(holding.stdin.take());
        let _ = holding.wait();
        rig.stop().await;
    });
}

/// Connects everybody, says how many were let in, and holds them until its input ends.
fn hold(addr: SocketAddr, path: &Path) {
    let bytes = std::fs::read(path).expect("the hellos");
    let mut open = Vec::new();
    for hello in load::blocks(&bytes) {
        let Ok(mut stream) = std::net::TcpStream::connect(addr) else { break };
        stream.write_all(hello).expect("the server reads");
        if Input::new(512).next(&mut stream) == 0x20 {
            open.push(stream);
        }
    }
    println!("{}", open.len());
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
