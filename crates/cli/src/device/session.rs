//! One device and its link: what is due goes out, what comes back goes in.

use kinglet_codec::Model;
use kinglet_node::{
    BufferLens, Buffers, Config, Downlink, Flash, Identity, Node, NodeError, OpenError, Reading, SampleTime,
    Transmit, What,
};
use kinglet_train::nn::Rng;
use kinglet_wire::Fingerprint;

use super::air::{self, Air};
use super::link::{Account, Answer, Line, Link, LinkError};

/// Frames in one request.
const BATCH_MAX: usize = 64;

/// The memory a node works in.
pub(crate) struct Room {
    steps: Vec<i32>,
    workspace: Vec<i32>,
    code: Vec<u8>,
}

impl Room {
    pub(crate) fn new(model: &Model<'_>) -> Self {
        let lens = BufferLens::of(model);
        Self { steps: vec![0; lens.steps], workspace: vec![0; lens.workspace], code: vec![0; lens.code] }
    }
}

/// Where a device's random numbers come from.
pub(crate) enum Chance {
    /// The system: for devices with a key that matters.
    System,
    /// A seed: for devices that live as long as a simulation.
    Seeded(Rng),
}

impl Chance {
    fn fill(&mut self, out: &mut [u8]) {
        match self {
            // If the system has none, the node's join stays undone; zeros would be worse than nothing, so stop.
            Self::System => getrandom::fill(out).expect("the system gives no random numbers"),
            Self::Seeded(rng) => {
                for chunk in out.chunks_mut(8) {
                    chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }
}

/// A link that loses requests and answers, for tests of patience.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    share: f64,
    rng: Rng,
}

impl Loss {
    pub(crate) fn new(share: f64, seed: u64) -> Self {
        Self { share, rng: Rng::new(seed) }
    }

    fn strikes(&mut self) -> bool {
        f64::from(self.rng.uniform()) < self.share
    }
}

/// What has gone over the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples taken by the node.
    pub(crate) samples: u64,
    /// Frames sent, of every kind, repeats included.
    pub(crate) frames: u64,
    /// Bytes of those frames.
    pub(crate) frame_bytes: u64,
    /// Requests made.
    pub(crate) requests: u64,
    /// Requests or answers lost on the way, on purpose or not.
    pub(crate) lost: u64,
    /// Windows a sealed ack has named.
    pub(crate) acked: u64,
    /// Joins done.
    pub(crate) joins: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.frames += other.frames;
        self.frame_bytes += other.frame_bytes;
        self.requests += other.requests;
        self.lost += other.lost;
        self.acked += other.acked;
        self.joins += other.joins;
    }
}

/// How an exchange went.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// Nothing was due.
    Quiet,
    /// Something was sent and something came back.
    Done,
    /// Nothing came back.
    Lost(LinkError),
    /// The server was reached and took nothing.
    Refused(Answer),
}

/// A device in this process.
pub(crate) struct Session<'a, F> {
    node: Node<'a>,
    flash: F,
    chance: Chance,
    loss: Loss,
    buf: Vec<u8>,
    account: Account,
    /// Made when there is something to send for the first time.
    line: Option<Box<dyn Line>>,
    pub(crate) counts: Counts,
    config: Config,
    air: Option<Air<'a>>,
    /// What there is to tell people.
    news: Vec<String>,
}

impl<'a, F: Flash> Session<'a, F> {
    /// Boots the device. Jitter and join numbers come from `chance`: no seed may serve two boots.
    pub(crate) fn open(
        mut flash: F,
        identity: Identity,
        model: Model<'a>,
        room: &'a mut Room,
        config: Config,
        chance: Chance,
        loss: Loss,
    ) -> Result<Self, OpenError> {
        let buffers =
            Buffers { steps: &mut room.steps, workspace: &mut room.workspace, code: &mut room.code };
        let account = Account::of(&identity);
        let node = Node::open(&mut flash, identity, model, buffers, config)?;
        let buf = vec![0; node.frame_len_max()];
        let (counts, news) = (Counts::default(), Vec::new());
        Ok(Self { node, flash, chance, loss, buf, account, line: None, counts, config, air: None, news })
    }

    /// Lets the device take bundles over the air; it was opened with the model and the configuration of `air`.
    pub(crate) fn with_air(self, air: Option<Air<'a>>) -> Self {
        Self { air, ..self }
    }

    /// True while a bundle is being fetched.
    pub(crate) fn is_fetching(&self) -> bool {
        self.air.as_ref().is_some_and(Air::is_fetching)
    }

    /// True if the device uses the bundle of this fingerprint, and not on trial.
    pub(crate) fn keeps(&self, fingerprint: &Fingerprint) -> bool {
        let is_sure = self.air.as_ref().is_some_and(|air| !air.updates().state().is_trial);
        is_sure && self.node.model().fingerprint() == *fingerprint
    }

    /// What has happened to bundles since this was last asked.
    pub(crate) fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// Fetches the next piece of a bundle, if one is wanted, and changes to a bundle that is whole, or back from one that is
    /// not taken. True if there was something to do.
    pub(crate) fn look_after_bundles(&mut self, now: u64, link: &Link) -> Result<bool, NodeError> {
        let Some(air) = &mut self.air else { return Ok(false) };
        let mut is_busy = false;
        if let Some(wanted) = air.wanted(now) {
            let line = self.line.get_or_insert_with(|| link.line(&self.account));
            let piece = if self.loss.strikes() { None } else { line.fetch(&wanted).ok() };
            is_busy = piece.is_some();
            air.take(now, &wanted, piece)?;
        }
        let before = air.updates().state();
        if let Some(verdict) = self.node.trial() {
            air.judge(verdict)?;
        }
        let state = air.updates().state();
        if before.is_trial && !state.is_trial {
            self.news.push(format!("update {} is taken by the server and kept", state.serial));
        }
        self.node.set_update(state);
        if air.updates().is_restart_due() {
            is_busy = true;
            self.restart(now)?;
        }
        Ok(is_busy)
    }

    /// What a board does by a reset.
    fn restart(&mut self, now: u64) -> Result<(), NodeError> {
        self.node.flush(now, &mut self.flash)?;
        let unix_ms = self.node.unix_time(now);
        let Some(air) = &mut self.air else { return Ok(()) };
        air.reopen()?;
        let model = air.model()?;
        let room: &'a mut Room = Box::leak(Box::new(Room::new(&model)));
        let buffers =
            Buffers { steps: &mut room.steps, workspace: &mut room.workspace, code: &mut room.code };
        let config = air.config(Config { reset: kinglet_wire::payload::Reset::Software, ..self.config });
        let state = air.updates().state();
        match self.node.restart(&mut self.flash, model, buffers, config) {
            Ok(()) => {}
            // Windows of very many bundles wait: it is tried again when some have gone.
            Err(OpenError::Flash(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
        }
        self.buf = vec![0; self.node.frame_len_max()];
        if let Some(unix_ms) = unix_ms {
            self.node.set_unix_time(now, &mut self.flash, unix_ms)?;
        }
        self.news.push(match state.refused {
            Some((serial, why)) if !state.is_trial => {
                format!("back from update {serial}: {}", air::words(why))
            }
            _ => format!("update {} is whole and on trial", state.serial),
        });
        Ok(())
    }

    pub(crate) fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// Takes one sample that comes with its time.
    pub(crate) fn sample(&mut self, now: u64, t_ms: i64, readings: &[Reading]) -> Result<(), NodeError> {
        self.node.handle_sample(now, &mut self.flash, SampleTime::Unix(t_ms), readings)?;
        self.counts.samples += 1;
        Ok(())
    }

    /// Cuts the window being filled.
    pub(crate) fn flush(&mut self, now: u64) -> Result<(), NodeError> {
        self.node.flush(now, &mut self.flash)
    }

    /// The device knows what time it is.
    pub(crate) fn set_unix_time(&mut self, now: u64, unix_ms: i64) -> Result<(), NodeError> {
        self.node.set_unix_time(now, &mut self.flash, unix_ms)
    }

    /// Brings all that is due to the server in one request, and takes its answer.
    pub(crate) fn exchange(&mut self, now: u64, link: &Link) -> Result<Exchange, NodeError> {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut is_join = false;
        while frames.len() < BATCH_MAX {
            let Some(Transmit { len, what }) = self.poll_transmit(now)? else { break };
            frames.push(self.buf[..len].to_vec());
            is_join = what == What::Join;
            // A status tells the server what later frames mean, so it goes alone; so does a join.
            if !matches!(what, What::Data { .. }) {
                break;
            }
        }
        if frames.is_empty() {
            return Ok(Exchange::Quiet);
        }
        self.counts.frames += frames.len() as u64;
        self.counts.frame_bytes += frames.iter().map(|f| f.len() as u64).sum::<u64>();
        let lost = |this: &mut Self, why: LinkError| {
            this.counts.lost += 1;
            Ok(Exchange::Lost(why))
        };
        if self.loss.strikes() {
            return lost(self, LinkError("lost on purpose".into()));
        }
        self.counts.requests += 1;
        let line = self.line.get_or_insert_with(|| link.line(&self.account));
        let answer = match is_join {
            true => line.join(&frames[0]),
            false => line.bring(&frames),
        };
        let answer = match answer {
            Err(error) => return lost(self, error),
            Ok(_) if self.loss.strikes() => return lost(self, LinkError("lost on purpose".into())),
            Ok(answer) => answer,
        };
        self.take_answer(now, answer)
    }

    fn poll_transmit(&mut self, now: u64) -> Result<Option<Transmit>, NodeError> {
        let chance = &mut self.chance;
        let mut random = |out: &mut [u8]| chance.fill(out);
        self.node.poll_transmit(now, &mut self.flash, &mut random, &mut self.buf)
    }

    fn take_answer(&mut self, now: u64, mut answer: Answer) -> Result<Exchange, NodeError> {
        for downlink in &mut answer.downlinks {
            let done = self.node.handle_downlink(now, &mut self.flash, downlink)?;
            if let Some(air) = &mut self.air {
                self.news.extend(air.handle(&done)?);
            }
            match done {
                Downlink::Acked { n_windows } => self.counts.acked += n_windows as u64,
                Downlink::Joined { .. } => self.counts.joins += 1,
                _ => {}
            }
        }
        if answer.is_refused_as("join_required") {
            self.node.handle_join_hint(now);
        }
        if answer.downlinks.is_empty() && answer.is_too_much() {
            // Not now is not never.
            self.counts.lost += 1;
            return Ok(Exchange::Lost(LinkError("the server takes no more for now".into())));
        }
        Ok(if answer.downlinks.is_empty() && answer.status >= 400 {
            Exchange::Refused(answer)
        } else {
            Exchange::Done
        })
    }
}
