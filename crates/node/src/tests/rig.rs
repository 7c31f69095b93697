//! One device, one server, a link between them, and time that runs as fast as it can.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use kinglet_codec::learn::{Outline, Parts, ReferencePart, with_reference};
use kinglet_codec::{Decimal, Grid, Model};
use kinglet_wire::frame::{Frame, Kind, kind_of};
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::lorawan::{Packer, expand_downlink, pack_downlink};

use super::server::{Answer, Server};
use super::twin::{Device, Twin};
use crate::{BufferLens, Buffers, Config, Downlink, Identity, MemFlash, NodeError, SampleTime};

pub(super) const PERIOD_MS: u64 = 1000;
const KEY: [u8; 32] = [5; 32];
/// Unix time at which the world begins.
pub(super) const EPOCH_MS: i64 = 1_790_000_000_000;

/// A lossless one-channel model: the value of a sample is its number.
pub(super) fn model_bytes(n_samples: u16, max_delay_ms: u32, name: &str) -> &'static [u8] {
    let grid = Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    let mut parts = Parts::untrained(n_samples, PERIOD_MS as u32, &[Outline::new(name, grid, (0, 1 << 20))]);
    parts.max_delay_ms = max_delay_ms;
    Box::leak(parts.emit().into_boxed_slice())
}

/// The same, its windows coded after the one before where that brings something.
pub(super) fn referring_model_bytes(n_samples: u16, name: &str) -> &'static [u8] {
    let part = ReferencePart { mark: [0.9, 0.1], head: [1.0, 1.0, 0.001, 1.0] };
    Box::leak(with_reference(model_bytes(n_samples, 60_000, name), &part).into_boxed_slice())
}

/// A small and quick generator; the same seed gives the same world.
#[derive(Clone)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        // splitmix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = self.next() as u8;
        }
    }
}

/// What the link does to frames, in percent and milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) delay_ms: u64,
    pub(super) jitter_ms: u64,
    /// Hints of the server reach the device.
    pub(super) hints: bool,
}

pub(super) const GOOD: Link = Link { loss: 0, duplicate: 0, delay_ms: 5, jitter_ms: 0, hints: true };
pub(super) const DOWN: Link = Link { loss: 100, ..GOOD };

enum Event {
    ToServer(Vec<u8>),
    ToDevice(Vec<u8>),
    Hint,
}

pub(super) struct Rig {
    pub(super) node: Option<Device>,
    twin: Option<Twin>,
    pub(super) flash: MemFlash<Vec<u8>>,
    pub(super) server: Server,
    pub(super) link: Link,
    pub(super) rng: Rng,
    pub(super) now: u64,
    booted_at: u64,
    model: &'static [u8],
    config: Config,
    /// In flight on the link, by time of arrival.
    events: BTreeMap<(u64, u64), Event>,
    n_events: u64,
    /// Every frame that ever left, by what must be unique.
    sniffed: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub(super) n_sent: usize,
    /// When each sample was taken.
    pub(super) taken: BTreeMap<i32, u64>,
    /// Samples that were in memory when the power went, or that the node refused aloud.
    pub(super) excused: BTreeSet<i32>,
    pub(super) n_reboots: usize,
    /// Values leap every 16 samples, so that windows are of many lengths; only where nothing reboots.
    pub(super) leaps: bool,
    /// Downlinks that arrive are kept in `downlinks`, for replays.
    pub(super) record_downlinks: bool,
    pub(super) downlinks: Vec<Vec<u8>>,
    /// How far off the device's clock may be.
    pub(super) clock_slack_ms: i64,
    /// When each boot began.
    boots: BTreeMap<u16, u64>,
    packer: Packer,
    /// The longest LoRaWAN payload of a device that has the time.
    pub(super) longest: usize,
}

impl Rig {
    pub(super) fn new(seed: u64, n_sectors: u32, sector_len: u32, model: &'static [u8]) -> Self {
        let id = DeviceId::new("cellar").unwrap();
        Self {
            node: None,
            twin: Twin::start(),
            flash: MemFlash::new(vec![0xFF; (n_sectors * sector_len) as usize], sector_len, 4),
            server: Server::new(id, KEY, vec![model]),
            link: GOOD,
            rng: Rng(seed),
            now: 0,
            booted_at: 0,
            model,
            config: Config { retry_min_ms: 500, retry_max_ms: 20_000, ..Config::default() },
            events: BTreeMap::new(),
            n_events: 0,
            sniffed: BTreeMap::new(),
            n_sent: 0,
            taken: BTreeMap::new(),
            excused: BTreeSet::new(),
            n_reboots: 0,
            leaps: false,
            record_downlinks: false,
            downlinks: Vec::new(),
            clock_slack_ms: 20,
            boots: BTreeMap::new(),
            packer: Packer::new(),
            longest: 0,
        }
    }

    pub(super) fn use_model(&mut self, model: &'static [u8]) {
        self.model = model;
    }

    pub(super) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Uptime.
    pub(super) fn up(&self) -> u64 {
        self.now - self.booted_at
    }

    pub(super) fn unix(&self) -> i64 {
        EPOCH_MS + self.now as i64
    }

    /// Takes the device's supply away and gives it back, until it has booted.
    pub(super) fn reboot(&mut self) {
        if let Some(node) = self.node.take() {
            let n_open = node.stats().n_samples_open;
            let kept = self.taken.keys().rev().filter(|n| !self.excused.contains(n));
            let gone: Vec<_> = kept.take(n_open).copied().collect();
            self.excused.extend(gone);
            self.n_reboots += 1;
        }
        loop {
            if self.flash.is_dead() {
                self.flash.power_on();
            }
            self.now += 3;
            self.booted_at = self.now;
            self.packer = Packer::new();
            let model = Model::parse(self.model).unwrap();
            let need = BufferLens::of(&model);
            let buffers = Buffers {
                steps: Box::leak(vec![0; need.steps].into_boxed_slice()),
                workspace: Box::leak(vec![0; need.workspace].into_boxed_slice()),
                code: Box::leak(vec![0; need.code].into_boxed_slice()),
            };
            let identity = Identity { id: self.server.id, key: DeviceKey::from_bytes(KEY) };
            let twin = self.twin.as_ref();
            match Device::open(&mut self.flash, identity, model, buffers, self.config, twin) {
                Ok(node) => {
                    self.boots.insert(node.stats().boot as u16, self.booted_at);
                    self.node = Some(node);
                    return;
                }
                Err(error) => {
                    assert!(self.flash.is_dead(), "does not boot: {error:?}");
                    self.n_reboots += 1;
                }
            }
        }
    }

    /// Lets the world run for `ms`, sampling each period; a dead device reboots.
    pub(super) fn run(&mut self, ms: u64) {
        self.run_as(ms, true);
    }

    /// Lets the world run without new samples.
    pub(super) fn idle(&mut self, ms: u64) {
        self.run_as(ms, false);
    }

    fn run_as(&mut self, ms: u64, samples: bool) {
        let end = self.now + ms;
        let mut sample_at = self.now;
        while self.now < end {
            if self.node.is_none() || self.flash.is_dead() {
                self.reboot();
            }
            self.poll();
            let poll_at = self.node.as_ref().and_then(Device::poll_at).map(|at| self.booted_at + at);
            let arrival = self.events.keys().next().map(|(at, _)| *at);
            let sample = samples.then_some(sample_at);
            let next = [poll_at, arrival, sample, Some(end)].into_iter().flatten().min().unwrap_or(end);
            self.now = self.now.max(next.min(end));
            if sample.is_some_and(|at| at <= self.now) && self.now < end {
                self.sample();
                sample_at += PERIOD_MS;
            }
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= self.now
            {
                let event = entry.remove();
                self.arrive(event);
            }
            // A node that is due and sends nothing must not spin: its flash has failed, or it is a fault.
            if poll_at == Some(next) && next <= self.now {
                self.poll();
            }
        }
        // A boot in the last instant ends a little later.
        self.now = self.now.max(end);
    }

    /// Takes the next sample now.
    pub(super) fn sample(&mut self) {
        let (n, now) = (self.next_value(), self.up());
        self.taken.insert(n, self.now);
        let Some(node) = self.node.as_mut() else { return };
        let reading = Some(Decimal::new(n.into(), 0));
        match node.handle_sample(now, &mut self.flash, SampleTime::Now, &[reading]) {
            Ok(()) => {}
            Err(NodeError::SampleRefused) => drop(self.excused.insert(n)),
            Err(error) => assert!(matches!(error, NodeError::Flash(_)), "{error:?}"),
        }
    }

    /// No two samples have the same.
    fn next_value(&self) -> i32 {
        let n = self.taken.len() as i32;
        if self.leaps { (n / 16 * 0x49E5 % 0x8000) * 16 + n % 16 } else { n }
    }

    /// Data frames that ever left.
    pub(super) fn data_frames(&self) -> impl Iterator<Item = &[u8]> {
        self.sniffed.values().map(Vec::as_slice).filter(|frame| kind_of(frame) == Ok(Kind::Data))
    }

    /// Takes a sample with a time of its own.
    pub(super) fn sample_at(&mut self, at: SampleTime) {
        let (n, now) = (self.taken.len() as i32, self.up());
        self.taken.insert(n, self.now);
        let node = self.node.as_mut().unwrap();
        node.handle_sample(now, &mut self.flash, at, &[Some(Decimal::new(n.into(), 0))]).unwrap();
    }

    pub(super) fn flush(&mut self) {
        let now = self.up();
        if let Some(node) = self.node.as_mut() {
            let _ = node.flush(now, &mut self.flash);
        }
    }

    /// Sends all that is due.
    pub(super) fn poll(&mut self) {
        let mut rng = Rng(self.rng.next());
        for _ in 0..1000 {
            let now = self.up();
            let Some(node) = self.node.as_mut() else { return };
            let mut buf = vec![0; node.frame_len_max()];
            match node.poll_transmit(now, &mut self.flash, &mut |out| rng.fill(out), &mut buf) {
                Ok(Some(transmit)) => {
                    buf.truncate(transmit.len);
                    self.sniff(&buf);
                    let bytes = self.pack(buf);
                    self.send(Event::ToServer, bytes);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(matches!(error, NodeError::Flash(_)), "{error:?}");
                    break;
                }
            }
        }
    }

    /// No counter seals two different frames, whatever became of the first.
    fn sniff(&mut self, frame: &[u8]) {
        self.n_sent += 1;
        if kind_of(frame) != Ok(Kind::JoinRequest) {
            let view = Frame::checked_on(frame, self.config.link.suite()).unwrap();
            let header = view.header();
            let key = (view.generation_low(), header[header.len() - 4..].to_vec());
            let before = self.sniffed.entry(key).or_insert_with(|| frame.to_vec());
            assert_eq!(before, frame, "two frames under one counter");
        }
    }

    /// Of a LoRaWAN device the payload, behind its port.
    fn pack(&mut self, frame: Vec<u8>) -> Vec<u8> {
        if self.config.link == crate::Link::Ip {
            return frame;
        }
        let mut payload = vec![0; frame.len() + 1];
        let (len, port) = self.packer.pack(&frame, &mut payload[1..]).unwrap();
        if kind_of(&frame) != Ok(Kind::JoinRequest) {
            self.longest = self.longest.max(len);
        }
        payload.truncate(1 + len);
        payload[0] = port;
        payload
    }

    fn send(&mut self, event: impl Fn(Vec<u8>) -> Event, bytes: Vec<u8>) {
        let n_copies = 1 + usize::from(self.rng.below(100) < self.link.duplicate);
        for _ in 0..n_copies {
            if self.rng.below(100) >= self.link.loss {
                let delay = self.link.delay_ms + self.rng.below(self.link.jitter_ms + 1);
                self.n_events += 1;
                self.events.insert((self.now + delay, self.n_events), event(bytes.clone()));
            }
        }
    }

    fn arrive(&mut self, event: Event) {
        let now = self.up();
        match event {
            Event::ToServer(bytes) => match match self.config.link {
                crate::Link::Ip => self.server.handle(self.unix(), &bytes),
                _ => self.server.handle_payload(self.unix(), &bytes),
            } {
                Answer::Downlink(bytes) => {
                    let mut payload = vec![0; bytes.len()];
                    let payload = match self.config.link {
                        crate::Link::Ip => bytes,
                        _ => {
                            let len = pack_downlink(&bytes, &mut payload).unwrap();
                            payload.truncate(len);
                            payload
                        }
                    };
                    self.send(Event::ToDevice, payload);
                }
                Answer::JoinHint if self.link.hints => self.send(|_| Event::Hint, Vec::new()),
                Answer::JoinHint | Answer::Nothing => {}
            },
            Event::ToDevice(mut bytes) => {
                if self.record_downlinks {
                    self.downlinks.push(bytes.clone());
                }
                let Some(node) = self.node.as_mut() else { return };
                if self.config.link != crate::Link::Ip {
                    let short_id = node.short_id();
                    let mut frame = vec![0; bytes.len() + 4];
                    let len = expand_downlink(&bytes, short_id, &mut frame).unwrap();
                    frame.truncate(len);
                    bytes = frame;
                }
                match node.handle_downlink(now, &mut self.flash, &mut bytes) {
                    Ok(Downlink::Acked { .. }) => self.packer.heard(),
                    Ok(Downlink::Ignored(reason)) => {
                        assert_ne!(reason, crate::Ignored::Malformed, "an honest server's downlink");
                    }
                    Ok(_) => {}
                    Err(error) => assert!(matches!(error, NodeError::Flash(_)), "{error:?}"),
                }
            }
            Event::Hint => {
                if let Some(node) = self.node.as_mut() {
                    node.handle_join_hint(now);
                }
            }
        }
    }

    /// A downlink as from the link, whoever sent it.
    pub(super) fn deliver(&mut self, bytes: &[u8]) -> Downlink {
        let now = self.up();
        let node = self.node.as_mut().unwrap();
        node.handle_downlink(now, &mut self.flash, &mut bytes.to_vec()).unwrap()
    }

    /// Runs until nothing waits any more, over a good link.
    pub(super) fn drain(&mut self) {
        self.link = GOOD;
        for _ in 0..50 {
            self.flush();
            self.idle(30_000);
            let waits = |node: &Device| {
                let stats = node.stats();
                stats.n_windows_waiting + stats.n_samples_open > 0
            };
            if self.node.as_ref().is_some_and(|node| !waits(node)) && !self.flash.is_dead() {
                // The last status may say what was lost.
                return self.idle(120_000);
            }
        }
        panic!("still waiting: {:?}", self.node.as_ref().map(Device::stats));
    }

    pub(super) fn lost(&self) -> u32 {
        self.node.as_ref().map_or(0, |node| node.stats().windows_lost)
    }

    /// The promises: nothing stored twice, nothing lost but what is excused or said to be lost, times right.
    pub(super) fn check(&self) {
        let stored = self.server.values();
        let twice: Vec<_> = stored.iter().filter(|(_, n)| **n > 1).collect();
        assert!(twice.is_empty(), "stored twice: {twice:?}");
        let n_samples = Model::parse(self.model).unwrap().samples();
        let missing: Vec<_> =
            self.taken.keys().filter(|n| !stored.contains_key(n) && !self.excused.contains(n)).collect();
        let allowed = self.lost() as usize * n_samples;
        assert!(missing.len() <= allowed, "{} windows lost, samples missing: {missing:?}", self.lost());
        let told = self.server.statuses.last().map_or(0, |status| status.windows_lost);
        assert_eq!(told, self.lost(), "the last status says what was lost");
        for status in &self.server.statuses {
            let Some(unix) = status.unix else { continue };
            let off = unix.get() - status.uptime.get() - EPOCH_MS - self.boots[&status.boot] as i64;
            assert!(off.abs() <= self.clock_slack_ms, "boot {} dated {off} ms off: {status:?}", status.boot);
        }
        for (value, time) in self.server.times(PERIOD_MS as i64) {
            // A boot that ended before the clock was ever set cannot be dated.
            let Some(time) = time else { continue };
            let off = (time - EPOCH_MS) - self.taken[&value] as i64;
            let row = self.server.rows.values().find(|row| row.values.contains(&value));
            assert!(
                off.abs() <= PERIOD_MS as i64 / 2 + self.clock_slack_ms,
                "sample {value} is {off} ms off: {row:?}"
            );
        }
    }
}
