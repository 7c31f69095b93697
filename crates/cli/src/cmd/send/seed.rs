//! `kinglet send --preset seed`: what the seed's sketch does, on a computer with a disk.

use std::io::BufReader;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use kinglet_codec::seed::SeedModel;
use kinglet_train::recording::Recording;
use serde_json::json;

use super::{default_outbox, now_ms};
use crate::args::{SeedSendArgs, SendArgs, Source};
use crate::device::decode_link::{DecodeLink, Posted};
use crate::device::kept::{Kept, Waiting};
use crate::device::lines::{Line, Lines};
use crate::failure::{Failure, Kind, Result, printable};
use crate::term::Out;
use crate::term::style::{BOLD, HINT};
use crate::{files, host, readings};

/// Where the seed's server listens.
const SERVER: &str = "http://127.0.0.1:5000";
/// Windows that may wait; then the input is read no further, which loses nothing of it.
const WAITING_MAX: usize = 100_000;
/// First and longest pause after nobody answered.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Between two looks at input, network and Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);
/// Readings younger than this are sent as the sketch sends them, without an age.
const AGE_MIN_MS: i64 = 1000;

pub(super) fn run(args: &SendArgs) -> Result {
    let out = Out::new(args.json);
    let model = files::read_seed_bundle(&args.bundle)?;
    if model.encoder().is_none() {
        return Err(Failure::input(format_args!("{} only decodes", args.bundle.display()))
            .why("it was imported without the board's encoder")
            .next("import it again with --tflite encoder_model.tflite"));
    }
    let link = DecodeLink::new(args.server.as_deref().unwrap_or(SERVER), args.of_seed.device.as_deref())?;
    let input = Input::open(args, &model)?;
    let path = outbox(args)?;
    let kept = Kept::open(&path, model.input_len())?;
    let runtime = host::runtime()?;
    let stop = host::interrupt(&runtime);
    let mut sender = Sender {
        model,
        link,
        kept,
        input,
        out,
        how: args.of_seed.clone(),
        counts: Counts::default(),
        heard: Instant::now(),
        retry_at: Instant::now(),
        pause: RETRY.0,
        away: None,
    };
    let ended = sender.run(Duration::from_millis(args.patience), &stop);
    let Sender { kept, mut out, counts, link, away, .. } = sender;
    // Whatever happened: what waits is on disk.
    let waiting = kept.close()?;
    ended?;
    out.result(&json!({
        "server": link.url(), "sent": counts.sent, "refused": counts.refused, "waiting": waiting,
        "out_of_range": counts.out_of_range, "clipped": counts.clipped, "unreadable": counts.unreadable,
    }))?;
    out.line(format_args!(
        "{BOLD}{} sent{BOLD:#}, {} refused, {waiting} kept, {} left out as no readings, {} outside the sensor's range ({} clipped)",
        counts.sent, counts.refused, counts.unreadable, counts.out_of_range, counts.clipped
    ))?;
    match (counts.stopped.or(counts.last_refusal), waiting) {
        (Some(why), _) => Err(Failure::new(Kind::Refused, format_args!("{} refuses readings", link.url()))
            .why(why)
            .next(format_args!("mend that and run it again; {waiting} readings wait in {}", path.display()))),
        (None, 1..) => Err(Failure::new(Kind::Network, format_args!("{waiting} readings could not be sent"))
            .why(away.unwrap_or_else(|| "it was ended before".into()))
            .next(format_args!(
                "they wait in {}: run it again without DATA once the server is there",
                path.display()
            ))),
        _ => Ok(()),
    }
}

fn outbox(args: &SendArgs) -> Result<PathBuf> {
    if let Some(path) = &args.outbox {
        return Ok(path.clone());
    }
    let name = args.of_seed.device.as_deref().unwrap_or("seed");
    Ok(default_outbox(name)?.with_file_name(format!("{name}.kept")))
}

#[derive(Default)]
struct Counts {
    sent: u64,
    refused: u64,
    unreadable: u64,
    out_of_range: u64,
    clipped: u64,
    last_refusal: Option<String>,
    /// The server said no before it had said yes: nothing more is sent, everything is kept.
    stopped: Option<String>,
}

struct Sender {
    model: SeedModel,
    link: DecodeLink,
    kept: Kept,
    input: Input,
    out: Out,
    how: SeedSendArgs,
    counts: Counts,
    /// When the server last answered.
    heard: Instant,
    retry_at: Instant,
    pause: Duration,
    /// Why nobody answers, while nobody does.
    away: Option<String>,
}

impl Sender {
    fn run(&mut self, patience: Duration, stop: &AtomicBool) -> Result {
        while !stop.load(Ordering::Relaxed) && self.counts.stopped.is_none() {
            let may_send = self.kept.len() > 0 && Instant::now() >= self.retry_at;
            // A file is read on only when what was read is sent: there its readings are as safe as with us.
            let room = if self.input.waits_for_us() { 1 } else { WAITING_MAX };
            if self.kept.len() < room {
                let wait = if may_send { Duration::ZERO } else { LOOK };
                match self.input.next(wait)? {
                    Next::Window(values) => self.take(values)?,
                    Next::Unreadable => self.counts.unreadable += 1,
                    Next::Nothing => {}
                    Next::End if self.kept.len() == 0 => return Ok(()),
                    Next::End if !may_send => std::thread::sleep(LOOK),
                    Next::End => {}
                }
            } else if !may_send {
                std::thread::sleep(LOOK);
            }
            if may_send {
                self.send()?;
            }
            if self.away.is_some() && self.input.may_be_left() && self.heard.elapsed() >= patience {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts a window aside to be sent; one the sensor cannot have measured is clipped knowingly or left out.
    fn take(&mut self, mut values: Vec<f32>) -> Result {
        let given = values.clone();
        let n = self.model.clip(&mut values);
        if n > 0 {
            self.counts.out_of_range += 1;
            if !self.how.clip {
                let text = format!(
                    "{} is outside the sensor's range: left out (--clip sends the end of the range)",
                    list(&given)
                );
                return Ok(self.out.line(format_args!("{HINT}{text}{HINT:#}"))?);
            }
            self.counts.clipped += 1;
        }
        self.kept.push(Waiting { t_ms: now_ms(), values, late: false });
        if self.away.is_some() { self.kept.save() } else { Ok(()) }
    }

    fn send(&mut self) -> Result {
        let Some(first) = self.kept.first() else { return Ok(()) };
        let latent = self.model.encode(&first.values).map_err(|e| {
            Failure::input("a kept reading does not fit this bundle").why(e).next("name another --outbox")
        })?;
        let age_ms = now_ms().saturating_sub(first.t_ms);
        let age = u64::try_from(age_ms).ok().filter(|_| first.late && age_ms >= AGE_MIN_MS);
        let shown = format!("{} -> {}", list(&first.values), list(&latent));
        match self.link.post(&latent, age) {
            Posted::Taken(answer) => {
                self.counts.sent += 1;
                self.answered()?;
                self.out.line(format_args!("{shown} -> {}", printable(&answer)))?;
                self.kept.pop()
            }
            Posted::Refused(why) if self.counts.sent == 0 => {
                self.out.line(format_args!("{shown} -> {why}"))?;
                self.counts.refused += 1;
                self.counts.stopped = Some(why);
                Ok(())
            }
            Posted::Refused(why) => {
                // Others were taken: it is this reading, and it must not hold up those behind it.
                self.out.line(format_args!("{shown} -> {why}"))?;
                self.counts.refused += 1;
                self.counts.last_refusal = Some(why);
                self.answered()?;
                self.kept.pop()
            }
            Posted::Away(why) => {
                if self.away.is_none() {
                    self.out.line(format_args!(
                        "{HINT}nobody answers ({}): readings are kept{HINT:#}",
                        printable(&why)
                    ))?;
                }
                self.away = Some(why);
                self.retry_at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(RETRY.1);
                self.kept.save()
            }
        }
    }

    fn answered(&mut self) -> Result {
        self.heard = Instant::now();
        self.pause = RETRY.0;
        if self.away.take().is_some() {
            self.out.line(format_args!("{HINT}the server is back{HINT:#}"))?;
        }
        Ok(())
    }
}

/// Where windows come from.
enum Input {
    /// Only what waits.
    None,
    /// A file that was read; its next row, and when it is due.
    File { recording: Recording, row: usize, n_samples: usize, every: Option<Duration>, due: Instant },
    /// Standard input, as it comes.
    Lines { lines: Receiver<Result<Line>>, window: Vec<f32>, input_len: usize, ended: bool },
}

enum Next {
    Window(Vec<f32>),
    Unreadable,
    Nothing,
    End,
}

impl Input {
    fn open(args: &SendArgs, model: &SeedModel) -> Result<Self> {
        let names: Vec<String> = match args.reading.channels.as_slice() {
            [] => model.channels().iter().map(|c| c.name.clone()).collect(),
            chosen if chosen.len() == model.channels().len() => chosen.to_vec(),
            chosen => {
                return Err(Failure::usage(format_args!(
                    "{} columns for {} channels",
                    chosen.len(),
                    model.channels().len()
                ))
                .next("name one --column per channel of the bundle"));
            }
        };
        match args.source() {
            None | Some(Source::Generated) => Ok(Self::None),
            Some(Source::Stdin) => {
                let (sender, lines) = sync_channel(64);
                // Ends with the input or with the process.
                std::thread::spawn(move || {
                    let mut input = Lines::new(BufReader::new(std::io::stdin()), names);
                    loop {
                        let line = match input.next() {
                            Ok(None) => return,
                            Ok(Some(line)) => Ok(line),
                            Err(e) => Err(Failure::input("standard input cannot be read").why(e)),
                        };
                        let last = !matches!(line, Ok(Line::Sample(_) | Line::Nothing | Line::Unreadable));
                        if sender.send(line).is_err() || last {
                            return;
                        }
                    }
                });
                Ok(Self::Lines { lines, window: Vec::new(), input_len: model.input_len(), ended: false })
            }
            Some(source) => {
                let mut how = args.reading.clone();
                how.channels = names;
                let recording = readings::load(&source, &how)?.recording;
                let every = args.of_seed.every.map(Duration::from_millis);
                Ok(Self::File { recording, row: 0, n_samples: model.n_samples(), every, due: Instant::now() })
            }
        }
    }

    /// True if it gives its readings whenever they are asked for.
    fn waits_for_us(&self) -> bool {
        matches!(self, Self::File { every: None, .. })
    }

    /// True if nothing new comes that would be lost by leaving.
    fn may_be_left(&self) -> bool {
        match self {
            Self::None => true,
            Self::Lines { ended, .. } => *ended,
            Self::File { recording, row, n_samples, every, .. } => {
                every.is_none() || row + n_samples > recording.len()
            }
        }
    }

    fn next(&mut self, wait: Duration) -> Result<Next> {
        match self {
            Self::None => Ok(Next::End),
            Self::File { recording, row, n_samples, every, due } => {
                if *row + *n_samples > recording.len() {
                    return Ok(Next::End);
                }
                if let Some(every) = every {
                    let left = due.saturating_duration_since(Instant::now());
                    if left > Duration::ZERO {
                        std::thread::sleep(left.min(wait));
                        return Ok(Next::Nothing);
                    }
                    *due += *every;
                }
                let rows = *row..*row + *n_samples;
                *row = rows.end;
                let values = rows.flat_map(|row| recording.channels().iter().map(move |c| c.values.get(row)));
                let real =
                    values.map(|v| v.map(|v| (v.mantissa() as f64 / 10f64.powi(v.scale().into())) as f32));
                Ok(real.collect::<Option<Vec<_>>>().map_or(Next::Unreadable, Next::Window))
            }
            Self::Lines { lines, window, input_len, ended } => match lines.recv_timeout(wait) {
                Ok(Ok(Line::Sample(sample))) => {
                    window.extend(sample);
                    let full = window.len() >= *input_len;
                    Ok(if full { Next::Window(std::mem::take(window)) } else { Next::Nothing })
                }
                Ok(Ok(Line::Nothing)) => Ok(Next::Nothing),
                Ok(Ok(Line::Unreadable)) => {
                    // A window has no gaps: it begins anew.
                    window.clear();
                    Ok(Next::Unreadable)
                }
                Ok(Ok(Line::Bad(why))) => {
                    Err(Failure::input("standard input has no readings for this bundle")
                        .why(why)
                        .next("name the columns with --column, by name or by number"))
                }
                Ok(Err(e)) => Err(e),
                Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
                Err(RecvTimeoutError::Disconnected) => {
                    *ended = true;
                    Ok(Next::End)
                }
            },
        }
    }
}

fn list(values: &[f32]) -> String {
    format!("[{}]", values.iter().map(f32::to_string).collect::<Vec<_>>().join(", "))
}
