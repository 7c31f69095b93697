//! MQTT: sealed frames stored and acked per second; how long an ack takes at half load; what connected devices weigh. Against,
//! in the same run: mosquitto with QoS 1 and no storage; what only answers, with as many bytes, but opens and stores nothing;
//! the bare store taking the same rows.
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
mod measure;
#[path = "measure/peers.rs"]
mod peers;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Device, Rig, T0};
use measure::{bare_store, cpu_s, memory_mb, sync_ms};
use peers::{Answering, Input, Mosquitto, packet, text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const N_ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const CODE: [u8; 100] = [0x5a; 100];

/// Devices, frames in flight of each, and frames prepared for each.
#[derive(Clone, Copy)]
struct Shape {
    n_devices: usize,
    in_flight: usize,
    n_frames: usize,
}

const MANY: Shape = Shape { n_devices: 256, in_flight: 1, n_frames: 900 };
const FEW: Shape = Shape { n_devices: 16, in_flight: 20, n_frames: 48_000 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    match args[..] {
        ["load", addr, path, in_flight, rate] => {
            load(addr.parse().expect("an address"), Path::new(path), number(in_flight), number(rate) as u64);
        }
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
        let dir = tempfile::tempdir().expect("a place");
        let rig = mqtt_rig(dir.path()).await;
        let lanes = dir.path().join("lanes");
        prepare(&rig, &lanes, shape).await;
        let (begun, wall) = (cpu_s(), Instant::now());
        let Load { rate, n, p50, p99 } = run_load(rig.mqtt_addrs[0].expect("MQTT"), &lanes, shape, rate).await;
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
        let (mut ours, mut theirs, mut answering, mut bare) = (0.0, 0.0, 0.0, 0.0);
        runtime().block_on(async {
            for round in 0..N_ROUNDS {
                let dir = tempfile::tempdir().expect("a place");
                let rig = mqtt_rig(dir.path()).await;
                let lanes = dir.path().join("lanes");
                prepare(&rig, &lanes, shape).await;
                let rate_at = async |addr| run_load(addr, &lanes, shape, 0.0).await.rate;
                let broker_rate = match &broker {
                    Some(broker) => rate_at(broker.addr).await,
                    None => 0.0,
                };
                let answering_rate = rate_at(Answering::start(down_len(&rig).await).await.addr).await;
                let begun = cpu_s();
                let Load { rate, n, .. } = run_load(rig.mqtt_addrs[0].expect("MQTT"), &lanes, shape, 0.0).await;
                let cpu_us = 1e6 * (cpu_s() - begun) / n;
                let store_rate = bare_store(shape.n_devices, shape.in_flight, &CODE, ROUND).await;
                println!(
                    "  round {round}: mosquitto {broker_rate:>7.0} /s, only answering \
                     {answering_rate:>7.0} /s, stored and acked {rate:>7.0} /s ({cpu_us:.0} us CPU each), bare store {store_rate:>7.0} /s"
                );
                (ours, theirs, bare) = (ours + rate, theirs + broker_rate, bare + store_rate);
                answering += answering_rate;
                rig.stop().await;
            }
            let n = N_ROUNDS as f64;
            let of_broker = match theirs > 0.0 {
                true => format!("{:.2} of mosquitto (at least 1 wanted), ", ours / theirs),
                false => String::new(),
            };
            println!(
                "  {:.0} /s: {of_broker}{:.2} of only answering, {:.0} % of the bare store (60 % wanted for 16 x 20)",
                ours / n, ours / answering, 100.0 * ours / bare
            );
            let dir = tempfile::tempdir().expect("a place");
            let rig = mqtt_rig(dir.path()).await;
            let lanes = dir.path().join("lanes");
            prepare(&rig, &lanes, shape).await;
            let half = ours / n / 2.0;
            let Load { rate, p50, p99, .. } =
                run_load(rig.mqtt_addrs[0].expect("MQTT"), &lanes, shape, half).await;
            println!("  at half load ({rate:.0} /s): PUBACK after {p50:.1} ms (median), {p99:.1} ms (99 %; under 50 ms wanted)");
            rig.stop().await;
        });
    }
    println!("the disk under it: {:.2} ms for 4 kB written and synced (median of 200)", sync_ms());
}

/// Bytes of a sealed ack.
async fn down_len(rig: &Rig) -> usize {
    let mut device = rig.ready_device("measured").await;
    let frame = device.window(T0, &CODE);
    let answer = rig.core.ingest(&[&frame]).await.expect("it is stored");
    answer.downlinks.first().map_or(0, Vec::len)
}

async fn mqtt_rig(dir: &Path) -> Rig {
    Rig::start_with(dir, |config| config.mqtt = Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await
}

/// CONNECT and SUBSCRIBE of a device.
fn hello(device: &Device) -> Vec<u8> {
    let id = device.id.as_bytes();
    let password = device.key.access_token(&device.id).password();
    let connect = [&b"\0\x04MQTT\x04\xc2\x02\x58"[..], &text(id), &text(id), &text(&password)].concat();
    let down = format!("kinglet/{}/down", device.id);
    let subscribe = [&b"\0\x01"[..], &text(down.as_bytes()), b"\0"].concat();
    [packet(0x10, &connect), packet(0x82, &subscribe)].concat()
}

/// Writes what each device will say to a file: blocks with their length before them, the first of each its hello.
async fn prepare(rig: &Rig, path: &Path, shape: Shape) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut put = |block: &[u8]| {
        file.write_all(&(block.len() as u32).to_be_bytes()).expect("room");
        file.write_all(block).expect("room");
    };
    put(&(shape.n_frames as u32).to_be_bytes());
    for n in 0..shape.n_devices {
        let mut device = rig.ready_device(&format!("device-{n}")).await;
        put(&hello(&device));
        let topic = text(format!("kinglet/{}/up", device.id).as_bytes());
        for i in 0..shape.n_frames {
            let id = (i % usize::from(u16::MAX)) as u16 + 1;
            let frame = device.window(T0 + i as i64 * 1000, &CODE);
            put(&packet(0x32, &[&topic[..], &id.to_be_bytes(), &frame].concat()));
        }
    }
    file.flush().expect("room");
    // Or the server's syncs wait for these bytes.
    file.get_ref().sync_all().expect("a disk");
}

/// Frames acked, per second and altogether, and milliseconds to the PUBACK: median and 99 %.
struct Load {
    rate: f64,
    n: f64,
    p50: f64,
    p99: f64,
}

/// `rate` 0: as many as it takes.
async fn run_load(addr: SocketAddr, lanes: &Path, shape: Shape, rate: f64) -> Load {
    let out = tokio::process::Command::new(std::env::current_exe().expect("this file"))
        .args(["load", &addr.to_string(), &lanes.display().to_string()])
        .args([shape.in_flight.to_string(), (rate as u64).to_string()])
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout);
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [rate, n, p50, p99] = numbers[..] else { panic!("{said}{}", String::from_utf8_lossy(&out.stderr)) };
    Load { rate, n, p50, p99 }
}

fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut blocks, mut rest) = (Vec::new(), bytes);
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
        blocks.push(block);
        rest = behind;
    }
    blocks
}

/// Publishes on all lanes until the time is over; prints what [`run_load`] reads.
fn load(addr: SocketAddr, path: &Path, in_flight: usize, rate: u64) {
    let bytes: &'static [u8] = std::fs::read(path).expect("the lanes").leak();
    let blocks = blocks(bytes);
    let n_frames = u32::from_be_bytes(blocks[0].try_into().expect("a number")) as usize;
    let lanes: Vec<Vec<&'static [u8]>> = blocks[1..].chunks(n_frames + 1).map(<[_]>::to_vec).collect();
    let pause = match rate {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(lanes.len() as f64 / rate as f64),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (n, begun, mut waits) = runtime.block_on(async {
        let mut open = Vec::new();
        for lane in lanes {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            stream.write_all(lane[0]).await.expect("the server reads");
            let mut input = Input::default();
            // CONNACK and SUBACK.
            for _ in 0..2 {
                input.next(&mut stream).await;
            }
            open.push((stream, input, lane));
        }
        let begun = Instant::now();
        let n_open = open.len();
        let lanes = open.into_iter().enumerate().map(|(n, (stream, input, lane))| {
            let first = begun + pause.mul_f64(n as f64 / n_open as f64);
            tokio::spawn(send_all(stream, input, lane, in_flight, (begun, first, pause)))
        });
        let mut waits = Vec::new();
        for lane in lanes.collect::<Vec<_>>() {
            waits.extend(lane.await.expect("a lane"));
        }
        (waits.len(), begun, waits)
    });
    let seconds = begun.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{} {n} {} {}", n as f64 / seconds, at(0.5), at(0.99));
}

/// How long each frame waited for its PUBACK.
async fn send_all(
    mut stream: TcpStream,
    mut input: Input,
    lane: Vec<&'static [u8]>,
    in_flight: usize,
    (begun, mut due, pause): (Instant, Instant, Duration),
) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(lane.len());
    let mut sent = std::collections::VecDeque::new();
    let mut frames = lane[1..].iter();
    loop {
        let mut out = Vec::new();
        while sent.len() < in_flight && begun.elapsed() < ROUND && (pause.is_zero() || Instant::now() >= due)
        {
            let Some(frame) = frames.next() else { break };
            out.extend_from_slice(frame);
            // Of paced frames the wait counts from when they were due.
            sent.push_back(if pause.is_zero() { Instant::now() } else { due });
            due += pause;
        }
        stream.write_all(&out).await.expect("the server reads");
        if sent.is_empty() {
            if begun.elapsed() >= ROUND || frames.len() == 0 {
                return waits;
            }
            tokio::time::sleep_until(due.into()).await;
            continue;
        }
        let first = match pause.is_zero() || sent.len() == in_flight || begun.elapsed() >= ROUND {
            true => input.next(&mut stream).await,
            false => tokio::select! {
                first = input.next(&mut stream) => first,
                () = tokio::time::sleep_until(due.into()) => continue,
            },
        };
        let mut first = Some(first);
        while let Some(kind) = first {
            if kind == 0x40 {
                waits.push(sent.pop_front().expect("a frame was sent").elapsed());
            }
            first = input.ready().map(|packet| packet.first);
        }
    }
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut open = Vec::new();
        for hello in blocks(&bytes) {
            let Ok(mut stream) = TcpStream::connect(addr).await else { break };
            stream.write_all(hello).await.expect("the server reads");
            let mut input = Input::default();
            if input.next(&mut stream).await == 0x20 {
                open.push(stream);
            }
        }
        println!("{}", open.len());
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
    });
}
