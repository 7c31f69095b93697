//! A server as small as it can be while keeping the promises a node relies on.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use kinglet_codec::{Model, decode, distance_of, resolve};
use kinglet_wire::Fingerprint;
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Down, Frame, Kind, ShortId, kind_of, low4};
use kinglet_wire::frame::{FrameRepr, Suite};
use kinglet_wire::join::{Accept, JoinState, RequestFrame};
use kinglet_wire::keys::{DeviceId, DeviceKey, GenerationSecret};
use kinglet_wire::lorawan::{STATIC_SHORT_ID, Uplink};
use kinglet_wire::payload::{Ack, AckFlags, Command, Data, Millis, Origin, Quality, Status, Time};
use kinglet_wire::ranges::ReceivedRanges;
use kinglet_wire::seal::{Binding, open, seal_content};

use crate::Link;

/// One stored window.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) time: Time,
    pub(super) quality: Quality,
    /// Values of the first channel.
    pub(super) values: Vec<i32>,
    /// All values, as decoded.
    steps: Vec<i32>,
    /// It came in a code that refers to an earlier window; one that stands alone is what is kept.
    pub(super) referred: bool,
    /// It came in a frame that was sealed again.
    again: bool,
    code: Vec<u8>,
    tag: Box<[u8]>,
}

/// What the server makes of one uplink.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These bytes go back.
    Downlink(Vec<u8>),
    /// It does not know these keys: an unauthenticated hint.
    JoinHint,
    /// Counted and dropped.
    Nothing,
}

pub(super) struct Server {
    pub(super) id: DeviceId,
    pub(super) key: DeviceKey,
    bundles: Vec<&'static [u8]>,
    joins: JoinState,
    received: BTreeMap<u32, ReceivedRanges>,
    pub(super) rows: BTreeMap<Origin, Row>,
    /// Frames of windows that were stored already.
    pub(super) n_duplicates: usize,
    slots: BTreeMap<u8, Fingerprint>,
    pub(super) statuses: Vec<Status>,
    down_counter: u32,
    run: [u8; 12],
    pub(super) n_joins: usize,
    /// Added to every ack.
    pub(super) flags: AckFlags,
    /// What carries the frames.
    pub(super) link: Link,
    /// Windows of LoRaWAN to each ack.
    pub(super) ack_every: usize,
    n_unacked: usize,
    /// Windows made with it are not taken.
    pub(super) refuses: Option<Fingerprint>,
    /// Windows that came before are gone, as after retention: nothing can refer to them.
    pub(super) has_no_past: bool,
    /// Frames whose reference was not there.
    pub(super) n_unknown: usize,
}

impl Server {
    pub(super) fn new(id: DeviceId, key: [u8; 32], bundles: Vec<&'static [u8]>) -> Self {
        Self {
            id,
            key: DeviceKey::from_bytes(key),
            bundles,
            joins: JoinState::new(),
            received: BTreeMap::new(),
            rows: BTreeMap::new(),
            n_duplicates: 0,
            slots: BTreeMap::new(),
            statuses: Vec::new(),
            down_counter: 0,
            run: [3; 12],
            n_joins: 0,
            flags: AckFlags::default(),
            link: Link::Ip,
            ack_every: 1,
            n_unacked: 0,
            refuses: None,
            has_no_past: false,
            n_unknown: 0,
        }
    }

    /// What came in a LoRaWAN payload, behind its port. Acks leave once in `ack_every` windows; a repeat brings one too.
    pub(super) fn handle_payload(&mut self, unix_ms: i64, bytes: &[u8]) -> Answer {
        let (&port, payload) = bytes.split_first().unwrap();
        if kind_of(payload) == Ok(Kind::JoinRequest) {
            return self.handle(unix_ms, payload);
        }
        let uplink = Uplink::parse(port, payload).unwrap();
        let is_static = self.link == Link::LorawanStatic;
        let (short_id, generation) = match self.joins.generation(uplink.generation_low()) {
            _ if is_static => (STATIC_SHORT_ID, 0),
            Some(grant) => (ShortId(77), grant.generation),
            None => return Answer::JoinHint,
        };
        let highest = self.received.get(&generation).and_then(ReceivedRanges::highest);
        let mut frame = vec![0; payload.len() + 12];
        let len = uplink.expand(short_id, highest, &mut frame).unwrap();
        let before = (self.n_duplicates, self.statuses.len());
        let answer = self.take(unix_ms, &frame[..len]);
        self.n_unacked += 1;
        let is_due = self.n_unacked >= self.ack_every || before != (self.n_duplicates, self.statuses.len());
        match answer {
            Answer::Downlink(_) if !is_due => Answer::Nothing,
            answer => {
                self.n_unacked = 0;
                answer
            }
        }
    }

    /// Yesterday's backup comes back: no join, no slot, no row of today.
    pub(super) fn forget_keys(&mut self) {
        self.joins = JoinState::new();
        self.received.clear();
        self.slots.clear();
        self.run[0] += 1;
        self.down_counter = 0;
    }

    pub(super) fn handle(&mut self, unix_ms: i64, bytes: &[u8]) -> Answer {
        match kind_of(bytes) {
            Ok(Kind::JoinRequest) => self.join(unix_ms, bytes),
            Ok(Kind::Data | Kind::Status) => self.take(unix_ms, bytes),
            _ => Answer::Nothing,
        }
    }

    fn join(&mut self, unix_ms: i64, bytes: &[u8]) -> Answer {
        let key = self.key.join_key(&self.id);
        let Ok(request) = RequestFrame::parse(bytes).unwrap().open(&key) else { return Answer::Nothing };
        self.n_joins += 1;
        let nonce = [self.n_joins as u8; 16];
        let joined = self.joins.handle_request(&request, &nonce, Millis::saturating(unix_ms)).unwrap();
        let accept = Accept { suite: Suite::AesCcm16, short_id: ShortId(77), grant: joined.grant() };
        let mut out = vec![0; 128];
        let len = accept.emit(&key, &mut out).unwrap();
        out.truncate(len);
        Answer::Downlink(out)
    }

    fn take(&mut self, unix_ms: i64, bytes: &[u8]) -> Answer {
        let mut bytes = bytes.to_vec();
        let suite = self.link.suite();
        let frame = Frame::checked_on(&bytes, suite).unwrap();
        let is_static = self.link == Link::LorawanStatic;
        let (short_id, generation, secret) = match self.joins.generation(frame.generation_low()) {
            _ if is_static => (STATIC_SHORT_ID, 0, self.key.static_secret(&self.id)),
            Some(grant) => (ShortId(77), grant.generation, grant.secret(&self.key, &self.id)),
            None => return Answer::JoinHint,
        };
        assert_eq!(frame.short_id(), short_id);
        let ranges = self.received.entry(generation).or_default();
        let counter = frame.counter().rebuild(ranges.highest());
        let (kind, tag, slot) = (frame.kind(), Box::from(frame.tag()), frame.slot().get());
        let fingerprint = self.slots.get(&slot).copied();
        if kind == Kind::Data && (fingerprint.is_none() || fingerprint == self.refuses) {
            return Answer::Nothing;
        }
        let bundle = if kind == Kind::Data { fingerprint.as_ref() } else { None };
        let bound = Binding { id: &self.id, counter, bundle };
        let Ok(content) = open(&secret.up(suite), &bound, &mut bytes) else { return Answer::JoinHint };
        self.joins.confirm(generation);
        if kind == Kind::Status {
            let status = Status::parse(content).unwrap();
            self.slots.insert(status.slot.get(), status.fingerprint);
            self.statuses.push(status);
        } else {
            let data = Data::parse(content).unwrap();
            let own = Origin { generation, counter };
            let origin = data.origin.unwrap_or(own);
            match self.row(&data, own, &fingerprint.unwrap(), tag) {
                None => {
                    self.n_unknown += 1;
                    let ack = Ack::time_only(Millis::saturating(unix_ms), AckFlags::REFERENCE_UNKNOWN);
                    return self.answer(&secret, generation, &ack);
                }
                Some(new) => match self.rows.get(&origin) {
                    Some(row) => {
                        let same = (row.tag == new.tag || row.again || data.origin.is_some())
                            && row.code == new.code;
                        assert!(same, "counter {counter:?} was used twice");
                        self.n_duplicates += 1;
                    }
                    None => _ = self.rows.insert(origin, new),
                },
            }
        }
        let ranges = self.received.get_mut(&generation).unwrap();
        ranges.insert(counter);
        let ack = ranges.ack_around(counter, Millis::saturating(unix_ms), self.flags).unwrap();
        self.answer(&secret, generation, &ack)
    }

    fn answer(&mut self, secret: &GenerationSecret, generation: u32, ack: &Ack) -> Answer {
        let suite = self.link.suite();
        let short_id = if self.link == Link::LorawanStatic { STATIC_SHORT_ID } else { ShortId(77) };
        let header =
            FrameRepr::Ack { down: Down::new(suite, generation, short_id, self.run, self.down_counter) };
        let bound = Binding { id: &self.id, counter: Counter::from(self.down_counter), bundle: None };
        self.down_counter += 1;
        let mut out = vec![0; 128];
        let len = seal_content(&secret.down(suite, &self.run), &header, &bound, ack, &mut out).unwrap();
        out.truncate(len);
        assert_eq!(low4(generation), Frame::checked_on(&out[..], suite).unwrap().generation_low());
        Answer::Downlink(out)
    }

    /// A command with this body, for the generation in use.
    pub(super) fn command(&mut self, code: u8, expires_ms: i64, body: &[u8]) -> Vec<u8> {
        let grant = *self.joins.confirmed().expect("the device has joined");
        let secret = grant.secret(&self.key, &self.id);
        let last_uplink = self.received[&grant.generation].highest().unwrap();
        let command = Command { expires: Millis::saturating(expires_ms), last_uplink, code, body };
        let down = Down::new(self.link.suite(), grant.generation, ShortId(77), self.run, self.down_counter);
        let bound = Binding { id: &self.id, counter: Counter::from(self.down_counter), bundle: None };
        self.down_counter += 1;
        let mut out = vec![0; 256];
        let key = secret.down(self.link.suite(), &self.run);
        let len = seal_content(&key, &FrameRepr::Command { down }, &bound, &command, &mut out).unwrap();
        out.truncate(len);
        out
    }

    /// What is kept of a window; `None` if its code refers to one that is not there.
    fn row(&self, data: &Data<'_>, own: Origin, fingerprint: &Fingerprint, tag: Box<[u8]>) -> Option<Row> {
        let models = self.bundles.iter().map(|bytes| Model::parse(bytes).unwrap());
        let model = models.into_iter().find(|m| m.fingerprint() == *fingerprint).unwrap();
        let mut workspace = vec![0; model.workspace_len()];
        let mut steps = vec![0; model.samples() * model.channels()];
        let (mut code, mut referred) = (data.code.to_vec(), false);
        if let Some(distance) = distance_of(&model, data.code) {
            assert_eq!(data.origin, None, "what is sealed again stands alone");
            let counter = Counter::new(own.counter.get().checked_sub(distance.into())?)?;
            let of = Origin { counter, ..own };
            let tail = &self.rows.get(&of).filter(|_| !self.has_no_past)?.steps;
            code = vec![0; model.code_len_max()];
            let len = resolve(&model, tail, data.code, &mut workspace, &mut steps, &mut code).unwrap();
            code.truncate(len);
            referred = true;
        }
        let decoded = decode(&model, &code, &mut workspace, &mut steps).unwrap();
        steps.truncate(decoded.n_samples * model.channels());
        let values = steps.chunks(model.channels()).take(decoded.n_samples).map(|sample| sample[0]).collect();
        let again = data.origin.is_some();
        Some(Row { time: data.time, quality: data.quality, values, steps, referred, again, code, tag })
    }

    /// Every value stored, and how often.
    pub(super) fn values(&self) -> BTreeMap<i32, usize> {
        let mut counts = BTreeMap::new();
        for value in self.rows.values().flat_map(|row| &row.values) {
            *counts.entry(*value).or_insert(0) += 1;
        }
        counts
    }

    /// When each stored value was sampled: exact time of the frame, or of its boot's status.
    pub(super) fn times(&self, period_ms: i64) -> BTreeMap<i32, Option<i64>> {
        let mut times = BTreeMap::new();
        for row in self.rows.values() {
            let first = match row.time {
                Time::Uptime { boot, uptime } => self.boot_at(boot).map(|at| at + uptime.get()),
                time => time.t_ms(0),
            };
            for (i, value) in row.values.iter().enumerate() {
                times.insert(*value, first.map(|t| t + i as i64 * period_ms));
            }
        }
        times
    }

    fn boot_at(&self, boot: u16) -> Option<i64> {
        let of = self.statuses.iter().filter(|status| status.boot == boot);
        of.rev().find_map(|status| Some(status.unix?.get() - status.uptime.get()))
    }
}
