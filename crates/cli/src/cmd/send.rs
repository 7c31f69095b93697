//! `kinglet send`: readings from a file or as they are measured, as a device would send them.

mod live;
mod seed;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use etcetera::BaseStrategy;
use kinglet_node::{Config, Identity, NodeError, OpenError};
use serde_json::json;

use self::live::{Ended, Live};
use super::crowd;
use crate::args::SendArgs;
use crate::device::air::Air;
use crate::device::feed;
use crate::device::file_flash::FileFlash;
use crate::device::link::{Answer, Link};
use crate::device::session::{Chance, Exchange, Loss, Room, Session};
use crate::device::trust::Trust;
use crate::failure::{Failure, Kind, Result};
use crate::provisioning::Provisioning;
use crate::readings::{self, Readings};
use crate::term::style::BOLD;
use crate::term::{Out, Progress, bytes};
use crate::{files, hex, host};

/// From here on the outbox is emptied before more readings go in.
const WINDOWS_HIGH: usize = 24;
/// Most windows put aside at all.
const WINDOWS_MAX: usize = 1000;
/// Bytes a waiting window takes in the outbox beside its code, at most.
const RECORDS_LEN: usize = 128;
/// Refusals that trying again does not change.
const FINAL: [&str; 5] =
    ["revoked", "unknown_device", "not_verified", "unknown_bundle", "generations_exhausted"];

pub(crate) fn run(args: &SendArgs) -> Result {
    // Without a key there is but the seed's protocol: clap has seen to that.
    let Some(key) = args.key.as_ref().filter(|_| args.of_seed.preset.is_none()) else {
        return seed::run(args);
    };
    let mut out = Out::new(args.json);
    let provisioning = Provisioning::read(key)?;
    let bundle = files::read_bundle(&args.bundle)?;
    let Some(url) = args.server.clone().or_else(|| provisioning.server.clone()) else {
        return Err(Failure::usage("no server is named")
            .why("the provisioning names none")
            .next("say --server http://HOST:8470"));
    };
    let link = Link::new(&url, &Trust::new(&args.trust, provisioning.pin)?)?;
    let readings =
        args.source().map(|source| readings::load_for(&bundle, &source, &args.reading)).transpose()?;
    let id = provisioning.id;
    let path = args.outbox.clone().map_or_else(|| default_outbox(id.as_str()), Ok)?;
    let flash = FileFlash::open(&path)?;
    let provisioned = bundle.model();
    let mut air = match provisioning.update_key {
        Some(key) => {
            let flash = FileFlash::open_bundles(&path.with_extension("bundles"))?;
            Some(Air::open(Box::new(flash), key, provisioned).map_err(|e| node_failed(e.into()))?)
        }
        None => None,
    };
    let model = match &mut air {
        Some(air) => air.model().map_err(|e| node_failed(e.into()))?,
        None => provisioned,
    };
    let mut memory = Room::new(&model);
    // Somebody waits for the end of a file; a service has time.
    let retry_max_ms = if readings.is_some() { 5_000 } else { 60_000 };
    let config =
        crowd::config(&bundle, args.frame, Config { retry_min_ms: 500, retry_max_ms, ..Config::default() });
    let config = air.as_ref().map_or(config, |air| air.config(config));
    let identity = Identity { id, key: provisioning.key };
    let session =
        Session::open(flash, identity, model, &mut memory, config, Chance::System, Loss::new(0.0, 0));
    let session = session.map_err(|e| not_opened(&path, e))?.with_air(air);

    let room = (FileFlash::LEN / 2 / (model.code_len_max() + RECORDS_LEN)).clamp(1, WINDOWS_MAX);
    let runtime = host::runtime()?;
    let stop = host::interrupt(&runtime);
    let patience = Duration::from_millis(args.patience);
    let mut sender = Sender {
        session,
        link,
        started: Instant::now(),
        heard: Instant::now(),
        patience,
        room,
        refused: None,
        last_loss: None,
    };
    let interrupted = || stop.load(std::sync::atomic::Ordering::Relaxed);
    sender.session.set_unix_time(0, now_ms()).map_err(node_failed)?;
    // From here on: what fails before has touched neither sensor nor pipe.
    let mut live = Live::start(args, &model)?;
    let mut ended = None;
    let rest = match (&readings, &mut live) {
        (Some(readings), _) => sender.take(readings, &interrupted)?,
        (None, Some(live)) => {
            out.line(format_args!("{id}: from {} to {url}, outbox {}", live.origin(), path.display()))?;
            if let Some(hint) = live.hint() {
                out.line(hint)?;
            }
            ended = Some(live.run(&mut sender, &mut out, &interrupted)?);
            0
        }
        (None, None) => 0,
    };
    sender.session.flush(sender.now()).map_err(node_failed)?;
    let was_stopped = matches!(ended, Some(Ended::Stopped));
    // Whoever stops a service wants what was measured to be sent, if it can be.
    sender.heard = Instant::now();
    let bar = Progress::line("sending");
    let gives_up = || !was_stopped && interrupted();
    sender.pump(0, &gives_up, |left| bar.say(format!("sending, {left} windows to go")))?;
    drop(bar);

    for news in sender.session.take_news() {
        out.line(news)?;
    }
    let waiting = sender.session.node().stats().n_windows_waiting;
    let counts = sender.session.counts;
    out.result(&json!({
        "device": id.as_str(), "server": sender.link.url(), "samples": counts.samples, "windows_acked": counts.acked,
        "windows_waiting": waiting, "samples_not_taken": rest, "frames": counts.frames,
        "frame_bytes": counts.frame_bytes, "joins": counts.joins, "outbox": path.display().to_string(),
        "bundle": hex::emit(&sender.session.node().model().fingerprint()),
    }))?;
    out.line(format_args!(
        "{BOLD}{id}{BOLD:#}: {} samples taken, {} windows stored on the server, {} in {} frames",
        counts.samples,
        counts.acked,
        bytes(counts.frame_bytes),
        counts.frames
    ))?;
    if let Some(answer) = sender.refused {
        let is_over = answer.is_refused_as("revoked");
        return Err(answer.to_failure(&sender.link).next(match waiting {
            0 => "mend that, and run it again".to_string(),
            _ if is_over => format!("{waiting} windows wait in {} and cannot be sent", path.display()),
            // With the file once more its readings would be stored twice.
            _ => format!(
                "{waiting} windows wait in {}: mend that, then run it again without DATA",
                path.display()
            ),
        }));
    }
    if let (Some(ended), Some(live)) = (ended, &live)
        && let Some(failure) = ended.failure(live.origin())
    {
        return Err(failure);
    }
    if was_stopped {
        // A service that was stopped has done what was asked; the next start sends the rest.
        return match waiting {
            0 => Ok(()),
            n => Ok(out.line(format_args!("{n} windows wait in {}", path.display()))?),
        };
    }
    if waiting + rest > 0 {
        let rest = if rest > 0 {
            format!("; the last {rest} samples of the file were not taken")
        } else {
            String::new()
        };
        return Err(Failure::new(Kind::Network, format_args!("{waiting} windows could not be sent"))
            .why(format_args!(
                "nothing was acknowledged by {} for {} s{}",
                sender.link.url(),
                patience.as_secs(),
                sender.last_loss.map(|why| format!(": {why}")).unwrap_or_default()
            ))
            .next(format_args!(
                "they wait in {}: run it again without DATA once the server is there{rest}",
                path.display()
            )));
    }
    Ok(())
}

struct Sender<'a> {
    session: Session<'a, FileFlash>,
    link: Link,
    started: Instant,
    /// When a sealed ack last named a window.
    heard: Instant,
    patience: Duration,
    /// Windows the outbox holds for certain: half of it, since records do not cross its sectors. Readings beyond
    /// them are not taken from the file, where they are safer than in an outbox that has to let go of the oldest.
    room: usize,
    /// The server said no for good.
    refused: Option<Answer>,
    /// Why nothing came back, the last time.
    last_loss: Option<String>,
}

impl Sender<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the readings into the outbox, emptying it on the way; gives the samples there was no room for.
    fn take(&mut self, readings: &Readings, interrupted: &dyn Fn() -> bool) -> Result<usize> {
        let recording = &readings.recording;
        let bar = Progress::bar("reading and sending");
        for (row, &t_ms) in recording.times_ms().iter().enumerate() {
            let waiting = self.session.node().stats().n_windows_waiting;
            if waiting >= WINDOWS_HIGH {
                self.pump(WINDOWS_HIGH / 2, interrupted, |_| {})?;
            }
            if self.session.node().stats().n_windows_waiting >= self.room || interrupted() {
                return Ok(recording.len() - row);
            }
            let now = self.now();
            match self.session.sample(now, t_ms, &feed::readings(recording, row)) {
                Ok(()) => {}
                Err(NodeError::SampleTime) => {
                    return Err(Failure::input(format_args!(
                        "sample {} of {} has no time that can be sent",
                        row + 1,
                        readings.origin
                    ))
                    .why("it is before 1970")
                    .next("give times since 1970; a file without times begins there by itself"));
                }
                Err(e) => return Err(node_failed(e)),
            }
            bar.set(row as f64 / recording.len() as f64);
        }
        Ok(0)
    }

    /// Exchanges frames until at most `n` windows wait, or patience or hope is at its end.
    fn pump(&mut self, n: usize, interrupted: &dyn Fn() -> bool, mut show: impl FnMut(usize)) -> Result {
        // At the end a bundle that is being fetched is fetched to its end.
        let has_work = |session: &Session<'_, _>| {
            session.node().stats().n_windows_waiting > n || (n == 0 && session.is_fetching())
        };
        while has_work(&self.session) && self.refused.is_none() && !interrupted() {
            if self.heard.elapsed() >= self.patience {
                return Ok(());
            }
            let now = self.now();
            let is_busy = self.session.look_after_bundles(now, &self.link).map_err(node_failed)?;
            if is_busy {
                self.heard = Instant::now();
            }
            if self.session.node().poll_at().is_none_or(|at| at > now) {
                if !is_busy {
                    std::thread::sleep(Duration::from_millis(5));
                }
                continue;
            }
            let acked = self.session.counts.acked;
            match self.session.exchange(now, &self.link).map_err(node_failed)? {
                Exchange::Refused(answer) if FINAL.iter().any(|word| answer.is_refused_as(word)) => {
                    self.refused = Some(answer);
                }
                Exchange::Lost(why) => self.last_loss = Some(why.0),
                _ if self.session.counts.acked > acked => self.heard = Instant::now(),
                _ => {}
            }
            show(self.session.node().stats().n_windows_waiting);
        }
        // The last ack may have ended a trial.
        let now = self.now();
        self.session.look_after_bundles(now, &self.link).map_err(node_failed)?;
        Ok(())
    }
}

/// The outbox of a name in the user's state directory.
fn default_outbox(id: &str) -> Result<PathBuf> {
    let dirs = etcetera::choose_base_strategy().map_err(|e| {
        Failure::usage("no place for the outbox is known").why(e).next("name one with --outbox FILE")
    })?;
    let base = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
    Ok(base.join("kinglet").join(format!("{id}.outbox")))
}

fn now_ms() -> i64 {
    use kinglet_server::Clock;
    kinglet_server::SystemClock.now_ms()
}

fn not_opened(path: &std::path::Path, error: OpenError) -> Failure {
    let next = match error {
        OpenError::Foreign => "name another file with --outbox; this one is left as it is",
        OpenError::SlotsTaken => "send what waits with the bundles it was made with first",
        _ => "check the disk it lies on",
    };
    Failure::input(format_args!("the outbox {} cannot be used", path.display())).why(error).next(next)
}

fn node_failed(error: NodeError) -> Failure {
    match error {
        NodeError::Flash(_) | NodeError::SampleRefused => {
            Failure::new(Kind::Output, "the outbox cannot be written")
                .why(error)
                .next("make room on its disk")
        }
        NodeError::CodeTooLong { .. } => {
            Failure::input("a sample does not fit a frame").why(error).next("choose a larger --fill")
        }
        error => Failure::new(Kind::Failure, "the device failed")
            .why(error)
            .next("please report this with the bundle"),
    }
}
