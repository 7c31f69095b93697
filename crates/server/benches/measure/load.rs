//! The load of MQTT: devices that publish sealed frames with QoS 1, in a process of its own, the same for all that is measured.
//!
//! One thread, one write and one read a frame, so that what shares the processors with it has as much of them as can be.
// Each bench uses its own part of this.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::{Device, Rig, T0};
use crate::packets::{Input, PUBACK, PUBLISH_QOS0, PUBLISH_QOS1, packet, text};

pub(crate) const ROUND: Duration = Duration::from_secs(3);
/// How long acks may stay out before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a paced load looks what is due.
const STEP: Duration = Duration::from_millis(1);
/// Room for what comes on a connection.
const ROOM: usize = 16 << 10;
pub(crate) const CODE: [u8; 100] = [0x5a; 100];

/// Devices, frames in flight of each, and frames prepared for each.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) n_devices: usize,
    pub(crate) in_flight: usize,
    pub(crate) n_frames: usize,
}

/// Who is spoken to, and how.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    /// Device by device in turn.
    pub(crate) addrs: &'a [SocketAddr],
    /// Frames a second; 0: as many as it takes.
    pub(crate) rate: f64,
    /// Whether somebody also subscribes to what all devices publish, and throws it away.
    pub(crate) heard: bool,
}

impl<'a> To<'a> {
    pub(crate) fn all_it_takes(addrs: &'a [SocketAddr]) -> Self {
        Self { addrs, rate: 0.0, heard: false }
    }
}

/// Frames acked per second and altogether, milliseconds to the PUBACK (median and 99 %), and frames that were heard.
pub(crate) struct Load {
    pub(crate) rate: f64,
    pub(crate) n: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) n_heard: f64,
}

/// Runs [`publish`] in a process of its own: this program with `load` and the arguments.
pub(crate) async fn run_load(to: To<'_>, lanes: &Path, in_flight: usize) -> Load {
    let addrs: Vec<_> = to.addrs.iter().map(SocketAddr::to_string).collect();
    let out = tokio::process::Command::new(std::env::current_exe().expect("this file"))
        .args(["load", &addrs.join(","), &lanes.display().to_string(), &in_flight.to_string()])
        .args([(to.rate as u64).to_string(), u8::from(to.heard).to_string()])
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout);
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [rate, n, p50, p99, n_heard] = numbers[..] else {
        panic!("{said}{}", String::from_utf8_lossy(&out.stderr))
    };
    Load { rate, n, p50, p99, n_heard }
}

/// CONNECT and SUBSCRIBE of a device.
pub(crate) fn hello(device: &Device) -> Vec<u8> {
    let id = device.id.as_bytes();
    let password = device.key.access_token(&device.id).password();
    let connect = [&b"\0\x04MQTT\x04\xc2\x02\x58"[..], &text(id), &text(id), &text(&password)].concat();
    let down = format!("kinglet/{}/down", device.id);
    [packet(0x10, &connect), subscribe(&down)].concat()
}

fn subscribe(topic: &str) -> Vec<u8> {
    packet(0x82, &[&b"\0\x01"[..], &text(topic.as_bytes()), b"\0"].concat())
}

/// Writes what each device will say to a file: blocks with their length before them, the first of each its hello.
pub(crate) async fn prepare(rig: &Rig, path: &Path, shape: Shape) {
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
            put(&packet(PUBLISH_QOS1, &[&topic[..], &id.to_be_bytes(), &frame].concat()));
        }
    }
    file.flush().expect("room");
    // Or the server's syncs wait for these bytes.
    file.get_ref().sync_all().expect("a disk");
}

/// CONNECT and SUBSCRIBE of somebody a broker does not ask who it is.
fn listener_hello() -> Vec<u8> {
    let connect = [&b"\0\x04MQTT\x04\x02\x02\x58"[..], &text(b"listener")].concat();
    [packet(0x10, &connect), subscribe("kinglet/+/up")].concat()
}

pub(crate) fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut blocks, mut rest) = (Vec::new(), bytes);
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
        blocks.push(block);
        rest = behind;
    }
    blocks
}

/// Publishes on all lanes until the time is over; prints what [`run_load`] reads. `args`: as that one gives them.
pub(crate) fn publish(args: &[&str]) {
    let [addrs, path, in_flight, rate, heard] = args else { panic!("{args:?}") };
    let addrs: Vec<SocketAddr> = addrs.split(',').map(|addr| addr.parse().expect("an address")).collect();
    let in_flight: usize = in_flight.parse().expect("a number");
    let rate: f64 = rate.parse().expect("a number");
    let bytes = std::fs::read(path).expect("the lanes");
    let blocks = blocks(&bytes);
    let n_frames = u32::from_be_bytes(blocks[0].try_into().expect("a number")) as usize;
    let lanes: Vec<&[&[u8]]> = blocks[1..].chunks(n_frames + 1).collect();
    let pause = if rate > 0.0 { Duration::from_secs_f64(lanes.len() as f64 / rate) } else { Duration::ZERO };

    let mut poll = Poll::new().expect("a poll");
    let mut listener = (*heard == "1").then(|| Lane::open(addrs[0], &listener_hello(), &[]));
    let mut lanes: Vec<Lane<'_>> = lanes
        .iter()
        .zip(addrs.iter().cycle())
        .map(|(lane, addr)| Lane::open(*addr, lane[0], &lane[1..]))
        .collect();
    let n_lanes = lanes.len();
    for (n, lane) in lanes.iter_mut().chain(&mut listener).enumerate() {
        poll.registry().register(&mut lane.stream, Token(n), Interest::READABLE).expect("it is watched");
    }

    let mut round = Round { begun: Instant::now(), in_flight, pause, n_out: 0, waits: Vec::new() };
    for (n, lane) in lanes.iter_mut().enumerate() {
        lane.due = round.begun + pause.mul_f64(n as f64 / n_lanes as f64);
        lane.say(&mut round);
    }
    let (mut events, mut n_heard) = (Events::with_capacity(1024), 0);
    while round.n_out > 0 || (!round.is_over() && lanes.iter().any(|lane| lane.frames.len() > 0)) {
        assert!(round.begun.elapsed() < ROUND + PATIENCE, "acks are missing");
        poll.poll(&mut events, Some(if pause.is_zero() { PATIENCE } else { STEP })).expect("a poll");
        for event in &events {
            let lane = lanes.get_mut(event.token().0).or(listener.as_mut()).expect("one of these");
            n_heard += lane.hear(&mut round);
            lane.say(&mut round);
        }
        if !pause.is_zero() {
            lanes.iter_mut().for_each(|lane| lane.say(&mut round));
        }
    }
    let seconds = round.begun.elapsed().as_secs_f64();
    let mut waits = round.waits;
    let n = waits.len();
    waits.sort_unstable();
    let at = |share: f64| waits[((n - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{} {n} {} {} {n_heard}", n as f64 / seconds, at(0.5), at(0.99));
}

/// What all lanes have in common.
struct Round {
    begun: Instant,
    in_flight: usize,
    /// Between two frames of a device.
    pause: Duration,
    /// Frames whose acks are out.
    n_out: usize,
    /// How long each frame waited for its PUBACK.
    waits: Vec<Duration>,
}

impl Round {
    fn is_over(&self) -> bool {
        self.begun.elapsed() >= ROUND
    }
}

/// A connection.
struct Lane<'a> {
    stream: TcpStream,
    input: Input,
    frames: std::slice::Iter<'a, &'a [u8]>,
    /// When the frames were sent whose acks are out, or were due if they are paced.
    sent: VecDeque<Instant>,
    due: Instant,
}

impl<'a> Lane<'a> {
    /// Says `hello` and waits for CONNACK and SUBACK; and its first frame and waits for the PUBACK, which is not measured: before
    /// that the server has to look the device up.
    fn open(addr: SocketAddr, hello: &[u8], frames: &'a [&'a [u8]]) -> Self {
        let mut stream = std::net::TcpStream::connect(addr).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.write_all(hello).expect("the server reads");
        let mut input = Input::new(ROOM);
        for _ in 0..2 {
            input.next(&mut stream);
        }
        let mut frames = frames.iter();
        if let Some(first) = frames.next() {
            stream.write_all(first).expect("the server reads");
            while input.next(&mut stream) != PUBACK {}
        }
        stream.set_nonblocking(true).expect("an option");
        let stream = TcpStream::from_std(stream);
        Self { stream, input, frames, sent: VecDeque::new(), due: Instant::now() }
    }

    /// Sends what is due and may be in flight.
    fn say(&mut self, round: &mut Round) {
        if self.sent.len() >= round.in_flight || self.frames.len() == 0 || round.is_over() {
            return;
        }
        let now = Instant::now();
        let mut out = Vec::new();
        while self.sent.len() < round.in_flight && (round.pause.is_zero() || now >= self.due) {
            let Some(frame) = self.frames.next() else { break };
            out.extend_from_slice(frame);
            self.sent.push_back(if round.pause.is_zero() { now } else { self.due });
            self.due += round.pause;
            round.n_out += 1;
        }
        if !out.is_empty() {
            let n = self.stream.write(&out).expect("the server reads");
            assert_eq!(n, out.len(), "so few frames in flight fit any buffer");
        }
    }

    /// Takes in what came; how many frames of others were among it.
    fn hear(&mut self, round: &mut Round) -> usize {
        let mut n_heard = 0;
        loop {
            let room = self.input.room();
            let n_room = room.len();
            let n = match self.stream.read(room) {
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return n_heard,
                Err(e) => panic!("{e}"),
            };
            assert!(n > 0, "the server has hung up");
            self.input.came(n);
            while let Some(packet) = self.input.ready() {
                match packet.first {
                    PUBACK => {
                        round.waits.push(self.sent.pop_front().expect("a frame was sent").elapsed());
                        round.n_out -= 1;
                    }
                    PUBLISH_QOS0 => n_heard += 1,
                    _ => {}
                }
            }
            if n < n_room {
                // The next bytes say so by an event.
                return n_heard;
            }
        }
    }
}
