//! `kinglet send` as a service: samples go out as they are measured, until somebody stops it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kinglet_codec::Model;
use kinglet_node::NodeError;

use super::{FINAL, Sender, node_failed};
use crate::args::SendArgs;
use crate::device::sense::{self, Event, Kernel, Piped, Program, Sample, Source, Sysfs};
use crate::device::session::Exchange;
use crate::failure::{Failure, Kind, Result};
use crate::term::Out;

/// Between two looks at source, network and signals.
const LOOK: Duration = Duration::from_millis(20);
/// A server that is away is spoken of so often at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A source that was started.
pub(super) struct Live {
    events: Receiver<Event>,
    /// In words.
    origin: String,
    /// What is odd about what was asked for, if something is.
    hint: Option<String>,
    max_delay: Option<Duration>,
    /// When the oldest sample of the window being filled came in.
    oldest: Option<Instant>,
    complained: Option<Instant>,
    is_away: bool,
    lost: u32,
}

/// How it ended.
pub(super) enum Ended {
    /// Somebody stopped it.
    Stopped,
    /// The source has no more.
    Dry,
    /// The source broke off.
    Broken(String),
}

impl Live {
    /// Starts the source that was asked for; `None` if none of those that go on was.
    pub(super) fn start(args: &SendArgs, model: &Model<'_>) -> Result<Option<Self>> {
        let period = Duration::from_millis(model.period_ms().into());
        let every = args.of_seed.every.map_or(period, Duration::from_millis).max(Duration::from_millis(1));
        let is_sensor = args.live.iio.is_some() || args.live.w1.is_some() || args.live.command.is_some();
        if let Some(name) = args.reading.needs_all().filter(|_| is_sensor) {
            return Err(Failure::usage(format_args!("{name} says how a file is read, and this is a sensor")).next(
                format_args!(
                    "leave it out; a sensor is read every {} s, as the bundle says, unless --every says otherwise",
                    period.as_secs_f64()
                ),
            ));
        }
        let names = match args.reading.channels.as_slice() {
            [] => sense::channel_names(model),
            chosen if chosen.len() == model.channels() => chosen.to_vec(),
            chosen => {
                return Err(Failure::usage(format_args!("--channels names {} columns", chosen.len()))
                    .why(format_args!("the bundle has {} channels", model.channels()))
                    .next("name one for each, in the bundle's order"));
            }
        };
        let (origin, events) = if let Some(dir) = &args.live.iio {
            go(Sysfs::find(Kernel::Iio, dir, &names, every)?)
        } else if let Some(dir) = &args.live.w1 {
            go(Sysfs::find(Kernel::OneWire, dir, &names, every)?)
        } else if let Some(line) = &args.live.command {
            go(Program { line: line.clone(), every, n_channels: model.channels() })
        } else if args.is_piped_live() {
            let time_column = args.reading.time_column.clone();
            go(Piped { input: std::io::stdin(), wanted: names, time_column })
        } else if args.of_seed.every.is_some() || args.live.max_delay.is_some() {
            return Err(Failure::usage(
                "--every and --max-delay are for readings that come as they are measured",
            )
            .next("name a source: --iio, --w1, --command or -"));
        } else {
            return Ok(None);
        };
        let max_delay = args.live.max_delay.map(Duration::from_millis);
        // A window's times are those of a steady clock: a sample off the beat begins a new window.
        let is_off_beat = args.of_seed.every.is_some() && every != period;
        let hint = is_off_beat.then(|| {
            let (every, period) = (every.as_secs_f64(), period.as_secs_f64());
            format!(
                "the bundle was made for a sample every {period} s: at {every} s each sample is a window of its own, which costs \
                 bytes; train one on readings taken every {every} s"
            )
        });
        let none = None;
        Ok(Some(Self {
            events,
            origin,
            hint,
            max_delay,
            oldest: none,
            complained: none,
            is_away: false,
            lost: 0,
        }))
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Takes samples and sends windows until the source or somebody ends it.
    pub(super) fn run(
        &mut self,
        sender: &mut Sender<'_>,
        out: &mut Out,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Ended> {
        self.lost = sender.session.node().stats().windows_lost;
        loop {
            if interrupted() || sender.refused.is_some() {
                return Ok(Ended::Stopped);
            }
            let is_due = sender.session.node().poll_at().is_some_and(|at| at <= sender.now());
            match self.events.recv_timeout(if is_due { Duration::ZERO } else { LOOK }) {
                Ok(Event::Sample(sample)) => self.take(sender, out, &sample)?,
                Ok(Event::Trouble(why)) => self.complain(out, &why)?,
                Ok(Event::End(None)) | Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Dry),
                Ok(Event::End(Some(why))) => return Ok(Ended::Broken(why)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.max_delay.zip(self.oldest).is_some_and(|(limit, oldest)| oldest.elapsed() >= limit) {
                sender.session.flush(sender.now()).map_err(node_failed)?;
                self.oldest = None;
            }
            self.exchange(sender, out)?;
        }
    }

    fn take(&mut self, sender: &mut Sender<'_>, out: &mut Out, sample: &Sample) -> Result {
        match sender.session.sample(sender.now(), sample.t_ms, &sample.readings) {
            Ok(()) => {}
            // One bad stamp is no reason to end a service.
            Err(NodeError::SampleTime) => self.complain(out, "a sample's time is before 1970: left out")?,
            Err(e) => return Err(node_failed(e)),
        }
        let stats = sender.session.node().stats();
        match stats.n_samples_open {
            0 => self.oldest = None,
            1 => self.oldest = Some(Instant::now()),
            // Of a window that was cut in the middle the rest is younger than this: it goes out early, never late.
            _ => {}
        }
        if stats.windows_lost > self.lost {
            out.line(format_args!("the outbox is full: {} windows given up so far", stats.windows_lost))?;
            self.lost = stats.windows_lost;
        }
        Ok(())
    }

    fn exchange(&mut self, sender: &mut Sender<'_>, out: &mut Out) -> Result {
        let now = sender.now();
        sender.session.look_after_bundles(now, &sender.link).map_err(node_failed)?;
        for news in sender.session.take_news() {
            out.line(news)?;
        }
        if sender.session.node().poll_at().is_none_or(|at| at > now) {
            return Ok(());
        }
        match sender.session.exchange(now, &sender.link).map_err(node_failed)? {
            Exchange::Refused(answer) if FINAL.iter().any(|word| answer.is_refused_as(word)) => {
                sender.refused = Some(answer);
            }
            Exchange::Lost(why) => {
                self.is_away = true;
                let said = format!("{} does not answer: {}; windows wait on disk", sender.link.url(), why.0);
                sender.last_loss = Some(why.0);
                self.complain(out, &said)?;
            }
            Exchange::Done if std::mem::take(&mut self.is_away) => {
                out.line(format_args!("{} answers again", sender.link.url()))?;
                self.complained = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Says it, unless something was said just before: a sensor that fails all the time does not fill a disk.
    fn complain(&mut self, out: &mut Out, what: &str) -> Result {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            out.line(crate::failure::printable(what))?;
        }
        Ok(())
    }
}

impl Ended {
    /// What is to be said if the source should not have ended.
    pub(super) fn failure(self, origin: &str) -> Option<Failure> {
        let Self::Broken(why) = self else { return None };
        Some(
            Failure::new(Kind::Input, format_args!("{origin} cannot be read on"))
                .why(why)
                .next("what was measured before is sent or waits in the outbox; see `kinglet send --help`"),
        )
    }
}

fn go(source: impl Source) -> (String, Receiver<Event>) {
    (source.origin(), sense::start(source))
}
