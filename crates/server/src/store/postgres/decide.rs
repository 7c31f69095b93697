//! Whether a frame is new, decided in memory on what the transaction has locked and read.
//!
//! The rules are those of the embedded store (`sqlite/accept.rs`), and the contract test holds both to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{AckFlags, Millis};
use kinglet_wire::ranges::{Received, ReceivedRanges};

use super::accept::Number;
use super::number;
use crate::store::{
    Arrival, Content, Fingerprint, FrameId, JoinChange, Outcome, Span, StoreError, TimeQuality, Verdict,
    day_of,
};

/// What the database knows of the devices of a batch, and what the batch changes.
#[derive(Default)]
pub(super) struct Known<'a> {
    devices: HashMap<u32, Standing>,
    /// `None`: damaged.
    ranges: HashMap<(u32, u32), Option<Box<ReceivedRanges>>>,
    boots: HashMap<(u32, u32), i64>,
    tags: HashMap<Number, Vec<u8>>,
    contents: HashMap<Number, (Vec<u8>, Vec<u8>)>,
    /// Windows stored from a frame that was sealed again.
    again: BTreeSet<Number>,
    changes: Changes<'a>,
}

/// A device's row, as far as it matters here.
pub(super) struct Standing {
    pub(super) revoked: bool,
    /// Number of the frame its status came in, (-1, -1) for none.
    pub(super) status: (i64, i64),
    pub(super) join_version: u64,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Changes<'a> {
    pub(super) windows: Vec<NewWindow<'a>>,
    pub(super) others: Vec<&'a Arrival>,
    pub(super) received: Vec<((u32, u32), Box<ReceivedRanges>)>,
    /// The newest status of each device and the most windows it said it lost.
    pub(super) statuses: BTreeMap<u32, NewStatus<'a>>,
    pub(super) slots: BTreeMap<(u32, u8), Fingerprint>,
    pub(super) boots: BTreeMap<(u32, u32), i64>,
    pub(super) joins: Vec<&'a JoinChange>,
    pub(super) counted: BTreeMap<(u32, i32), Counted>,
    touched: BTreeSet<(u32, u32)>,
}

/// A window that is new.
pub(super) struct NewWindow<'a> {
    pub(super) arrival: &'a Arrival,
    pub(super) t_first: i64,
    pub(super) t_quality: TimeQuality,
    pub(super) uptime: Option<(u32, i64)>,
    pub(super) bundle: &'a Fingerprint,
    pub(super) code: &'a [u8],
}

/// A status that is newer than what was known.
pub(super) struct NewStatus<'a> {
    pub(super) body: &'a [u8],
    pub(super) id: FrameId,
    pub(super) windows_lost: i64,
}

/// Frames of a device and day that leave no row of a window behind; the others are counted by their rows.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) t_last: i64,
    pub(super) frames: i64,
    pub(super) bytes: i64,
    pub(super) duplicates: i64,
    pub(super) reused: i64,
}

impl<'a> Known<'a> {
    pub(super) fn device(&mut self, device: u32, standing: Standing) {
        self.devices.insert(device, standing);
    }

    /// The ranges of a generation as they are kept.
    pub(super) fn received(&mut self, device: u32, generation: u32, bytes: &[u8]) {
        self.ranges.insert((device, generation), ReceivedRanges::parse(bytes).ok().map(Box::new));
    }

    pub(super) fn boot(&mut self, device: u32, boot: u32, t_boot: i64) {
        self.boots.insert((device, boot), t_boot);
    }

    pub(super) fn tag(&mut self, number: Number, tag: Vec<u8>) {
        self.tags.insert(number, tag);
    }

    pub(super) fn content(&mut self, number: Number, bundle: Vec<u8>, code: Vec<u8>) {
        self.contents.insert(number, (bundle, code));
    }

    /// True if a frame's number is that of a window with the same content and another tag.
    pub(super) fn is_doubtful(&self, arrival: &Arrival) -> bool {
        let tag = self.tags.get(&(arrival.device, arrival.sealed_as));
        tag.is_some_and(|tag| *tag != arrival.tag) && self.has_content(arrival)
    }

    fn has_content(&self, arrival: &Arrival) -> bool {
        let Content::Window { bundle, code, .. } = &arrival.content else { return false };
        let stored = self.contents.get(&(arrival.device, arrival.sealed_as));
        stored.is_some_and(|(b, c)| b.as_slice() == bundle.as_slice() && c == code)
    }

    pub(super) fn sealed_again(&mut self, number: Number) {
        self.again.insert(number);
    }

    /// Puts the number of a stored window into the ranges.
    pub(super) fn settle(&mut self, device: u32, id: FrameId) {
        self.insert(device, id);
    }

    /// Numbers of a frame that were received before: what is stored under them is to be read, for comparison.
    pub(super) fn to_compare(&self, arrival: &Arrival) -> Vec<Number> {
        let seen = |id: &FrameId| self.check(arrival.device, *id) != Some(Received::New);
        let resealed = (arrival.origin != arrival.sealed_as).then_some(arrival.origin);
        [Some(arrival.sealed_as), resealed]
            .into_iter()
            .flatten()
            .filter(seen)
            .map(|id| (arrival.device, id))
            .collect()
    }

    /// Decides about the frames of one request, in order; an error changes nothing.
    pub(super) fn decide_all(&mut self, arrivals: &'a [Arrival]) -> Result<Vec<Outcome>, StoreError> {
        let damaged = |arrival: &&Arrival| {
            [arrival.sealed_as, arrival.origin]
                .iter()
                .any(|id| matches!(self.ranges.get(&(arrival.device, id.generation)), Some(None)))
        };
        if let Some(arrival) = arrivals.iter().find(damaged) {
            return Err(StoreError::Database(format!(
                "the counters of device {} are damaged",
                arrival.device
            )));
        }
        let verdicts: Vec<Verdict> = arrivals
            .iter()
            .map(|arrival| {
                let verdict = self.decide(arrival);
                self.changes.count(arrival, verdict);
                verdict
            })
            .collect();
        let outcome = |(arrival, verdict): (&Arrival, Verdict)| {
            let acked = matches!(verdict, Verdict::Stored | Verdict::AlreadyStored);
            let span = acked.then(|| self.span(arrival.device, arrival.sealed_as)).flatten();
            Outcome { verdict, span }
        };
        Ok(arrivals.iter().zip(verdicts).map(outcome).collect())
    }

    /// What is to be written for all that was decided.
    pub(super) fn into_changes(mut self) -> Changes<'a> {
        let touched = std::mem::take(&mut self.changes.touched);
        let received = touched.into_iter().filter_map(|key| Some((key, self.ranges.remove(&key)??)));
        self.changes.received = received.collect();
        self.changes
    }

    fn decide(&mut self, arrival: &'a Arrival) -> Verdict {
        let device = arrival.device;
        match self.devices.get(&device) {
            None => return Verdict::UnknownDevice,
            Some(standing) if standing.revoked => return Verdict::Revoked,
            Some(_) => {}
        }
        match self.check(device, arrival.sealed_as) {
            Some(Received::New) => {}
            Some(Received::Already) => {
                // No tag left: retention took the window, the counter still says it was stored.
                let tag = self.tags.get(&(device, arrival.sealed_as));
                let same = tag.is_none_or(|tag| *tag == arrival.tag) || self.is_overtaken(arrival);
                return if same { Verdict::AlreadyStored } else { Verdict::CounterReuse };
            }
            Some(Received::Closed) | None => return Verdict::TooOld,
        }
        let verdict = match &arrival.content {
            Content::Window { .. } => self.keep_window(arrival),
            Content::Status { .. } => self.keep_status(arrival),
        };
        if verdict == Verdict::CounterReuse {
            return verdict;
        }
        self.insert(device, arrival.sealed_as);
        self.insert(device, arrival.origin);
        if let Some(change) = &arrival.confirm {
            self.confirm(change);
        }
        verdict
    }

    /// True if the same window was stored from a frame that was sealed again, under this number as its origin: this is the
    /// first frame, which has come late.
    fn is_overtaken(&self, arrival: &Arrival) -> bool {
        self.again.contains(&(arrival.device, arrival.sealed_as)) && self.has_content(arrival)
    }

    fn keep_window(&mut self, arrival: &'a Arrival) -> Verdict {
        let Content::Window { t_first, t_quality, uptime, bundle, code } = &arrival.content else {
            return Verdict::CounterReuse;
        };
        let (device, origin) = (arrival.device, arrival.origin);
        if origin != arrival.sealed_as {
            let stored = self.contents.get(&(device, origin));
            let same = stored.map(|(b, c)| b.as_slice() == bundle.as_slice() && c == code);
            if same == Some(false) {
                return Verdict::CounterReuse;
            }
            self.remember_tag(arrival);
            if same == Some(true) || self.check(device, origin) == Some(Received::Already) {
                return Verdict::AlreadyStored;
            }
        }
        let t_boot = uptime.and_then(|(boot, _)| self.boots.get(&(device, boot)).copied());
        let dated = uptime.zip(t_boot).map(|((_, uptime), t_boot)| t_boot.saturating_add(uptime));
        let (t_first, t_quality) = dated.map_or((*t_first, *t_quality), |t| (t, TimeQuality::Boot));
        if origin != arrival.sealed_as {
            self.again.insert((device, origin));
        }
        self.tags.entry((device, origin)).or_insert_with(|| arrival.tag.clone());
        self.contents.insert((device, origin), (bundle.to_vec(), code.clone()));
        let window = NewWindow { arrival, t_first, t_quality, uptime: *uptime, bundle, code };
        self.changes.windows.push(window);
        Verdict::Stored
    }

    fn keep_status(&mut self, arrival: &'a Arrival) -> Verdict {
        let Content::Status { body, slot, windows_lost, sync } = &arrival.content else {
            return Verdict::CounterReuse;
        };
        self.remember_tag(arrival);
        let id = arrival.sealed_as;
        let place = (i64::from(id.generation), number(id.counter));
        let Some(standing) = self.devices.get_mut(&arrival.device).filter(|s| s.status < place) else {
            return Verdict::Stored;
        };
        standing.status = place;
        let changes = &mut self.changes;
        let lost = number(windows_lost.unwrap_or(0));
        let lost = changes.statuses.get(&arrival.device).map_or(lost, |s| s.windows_lost.max(lost));
        changes.statuses.insert(arrival.device, NewStatus { body, id, windows_lost: lost });
        if let Some((slot, fingerprint)) = slot {
            changes.slots.insert((arrival.device, *slot), *fingerprint);
        }
        if let Some(sync) = sync {
            changes.boots.insert((arrival.device, sync.boot), sync.t_boot);
            self.boots.insert((arrival.device, sync.boot), sync.t_boot);
        }
        Verdict::Stored
    }

    fn confirm(&mut self, change: &'a JoinChange) {
        // Another frame of the batch may have confirmed the same generation: then there is nothing to do.
        if let Some(standing) = self.devices.get_mut(&change.device)
            && standing.join_version == change.expected
        {
            standing.join_version += 1;
            self.changes.joins.push(change);
        }
    }

    fn remember_tag(&mut self, arrival: &'a Arrival) {
        self.tags.insert((arrival.device, arrival.sealed_as), arrival.tag.clone());
        self.changes.others.push(arrival);
    }

    /// What is known of a number; `None` if it is none, or if what was known is damaged.
    fn check(&self, device: u32, id: FrameId) -> Option<Received> {
        let counter = Counter::new(id.counter)?;
        match self.ranges.get(&(device, id.generation)) {
            None => Some(Received::New),
            Some(ranges) => Some(ranges.as_ref()?.check(counter)),
        }
    }

    fn insert(&mut self, device: u32, id: FrameId) {
        let Some(counter) = Counter::new(id.counter) else { return };
        let key = (device, id.generation);
        let ranges = self.ranges.entry(key).or_insert_with(|| Some(Box::default()));
        if ranges.as_mut().is_some_and(|ranges| ranges.insert(counter) == Received::New) {
            self.changes.touched.insert(key);
        }
    }

    /// What is received around a number.
    fn span(&self, device: u32, id: FrameId) -> Option<Span> {
        let ranges = self.ranges.get(&(device, id.generation))?.as_ref()?;
        let ack = ranges.ack_around(Counter::new(id.counter)?, Millis::default(), AckFlags::default())?;
        Some(Span { base: ack.base.get(), run: ack.run, bitmap: ack.bitmap })
    }
}

impl Changes<'_> {
    fn count(&mut self, arrival: &Arrival, verdict: Verdict) {
        let in_its_row = verdict == Verdict::Stored && matches!(arrival.content, Content::Window { .. });
        if in_its_row || matches!(verdict, Verdict::UnknownDevice | Verdict::Revoked | Verdict::TooOld) {
            return;
        }
        let entry = self.counted.entry((arrival.device, day_of(arrival.t_arrival))).or_default();
        if verdict == Verdict::CounterReuse {
            entry.reused += 1;
            return;
        }
        entry.t_last = entry.t_last.max(arrival.t_arrival);
        entry.frames += 1;
        entry.bytes += i64::from(arrival.frame_len);
        entry.duplicates += i64::from(verdict == Verdict::AlreadyStored);
    }
}
