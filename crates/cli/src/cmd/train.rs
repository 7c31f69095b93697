//! `kinglet train [DATA.csv]`.

mod compare;
mod seed;

use std::ops::ControlFlow;
use std::time::Instant;

use kinglet_train::fit::{
    self, FitError, FitOptions, FitProgress, FrameOptions, FrameSummary, LearnError, Trained,
};
use kinglet_train::recording::{Recording, Split};
use kinglet_train::yardstick::{Prepared, Yardstick};
use serde_json::json;

use crate::args::TrainArgs;
use crate::failure::{Failure, Result};
use crate::readings::{self, Readings};
use crate::report::{Report, Yard};
use crate::term::style::BOLD;
use crate::term::{Align, Out, Progress, Table, bytes, years};
use crate::{files, hex};

pub(crate) fn run(args: &TrainArgs) -> Result {
    if args.of_seed.preset.is_some() {
        return seed::run(args);
    }
    let mut out = Out::new(args.json);
    let readings = match &args.device {
        Some(device) => readings::stored(device, args.data_dir.as_deref())?,
        None => readings::load(&args.source(), &args.reading)?,
    };
    say_what_was_understood(&mut out, &readings)?;
    let mut options = options(args, &readings.recording);
    if args.window.is_none() && args.fill.is_some() {
        let bar = Progress::bar("a first look");
        let window = fit::window_for(&readings.recording, &options, &mut |progress| told(&bar, progress));
        options.n_samples = window.map_err(|e| refused(&readings.origin, e))?;
    }
    if let Some(variants) = &args.compare {
        return compare::run(&mut out, &readings.recording, &options, variants);
    }

    let path = args.out_path();
    // A device such as /dev/stdout has no neighbours.
    let has_neighbours = path.is_file() || !path.exists();
    let page = (has_neighbours && !args.no_report).then(|| path.with_extension("html"));
    // Whoever waited for a training shall not lose it to a name that is taken.
    if let Some(taken) = [Some(&path), page.as_ref()].into_iter().flatten().find(|p| p.is_file())
        && !args.force
    {
        return Err(Failure::writing(taken.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    let started = Instant::now();
    let trained = learn(&readings.recording, &options, &readings.origin)?;
    let seconds = started.elapsed().as_secs_f64();
    let Trained { bundle, report, .. } = &trained;
    files::write(&path, &bundle.emit(), args.force, files::Access::Usual)?;
    if let Some(page) = &page {
        let html = html(&readings, &options, &trained, seconds);
        files::write(page, html.as_bytes(), args.force, files::Access::Usual)?;
    }
    out.result(&json!({
        "out": path.display().to_string(), "name": bundle.name(), "identity": hex::emit(&bundle.identity()),
        "fingerprint": hex::emit(&bundle.fingerprint()), "seconds": seconds,
        "page": page.as_ref().map(|page| page.display().to_string()),
        "understood": readings.understood, "report": report,
    }))?;
    out.line(format_args!(
        "learned from {} samples, judged on {} later ones it had not seen",
        report.rows_train, report.rows_test
    ))?;
    out.line("")?;
    super::eval::show(&mut out, &report.evaluation)?;
    let (sent, full) = (&report.sent, bundle.model().samples());
    if sent.samples < full {
        let fill_ms = u64::from(bundle.model().period_ms()) * (full as u64 - 1);
        out.line(format_args!(
            "a reading waits at most {}: windows of {} samples go out, {:.1} bytes each; --max-delay {}m fills them",
            crate::term::seconds(sent.max_delay_ms.into()),
            sent.samples,
            sent.payload_bytes_mean,
            fill_ms.div_ceil(60_000),
        ))?;
    }
    if let Some(after) = &report.references {
        out.line(format_args!(
            "coded after the window before, of which one in {:.0} was not heard of: {:.1} bytes each as they are sent",
            1.0 / after.loss,
            after.payload_bytes_mean
        ))?;
    }
    if let Some(frames) = report.frames.first() {
        show_frames(&mut out, frames)?;
    }
    if let Some(fixed) = &report.fixed {
        let klt = fixed.rms_klt.map_or("not measured".into(), |rms| format!("{rms:.4} σ"));
        out.line(format_args!(
            "full windows in exactly {} bytes: rms error {:.4} σ, of the Karhunen–Loève transform at as many bytes {klt}",
            fixed.bytes, fixed.rms
        ))?;
    }
    out.line("")?;
    out.line(format_args!(
        "{BOLD}{}{BOLD:#} written, {} in {seconds:.1} s",
        path.display(),
        bytes(bundle.emit().len() as u64)
    ))?;
    if let Some(page) = &page {
        out.line(format_args!("{BOLD}{}{BOLD:#} shows all of it in a browser", page.display()))?;
    }
    super::eval::held(&report.evaluation)
}

/// The page about a training.
fn html(readings: &Readings, options: &FitOptions, trained: &Trained, seconds: f64) -> String {
    let Trained { bundle, report, curves } = trained;
    let (model, recording) = (bundle.model(), &readings.recording);
    let picture = fit::picture(&model, recording, options.split(recording.len()).test, options.cut);
    Report {
        name: bundle.name(),
        origin: &readings.origin,
        identity: hex::emit(&bundle.identity()),
        seconds,
        bundle_bytes: bundle.emit().len(),
        samples_per_window: model.samples(),
        max_delay_ms: model.max_delay_ms(),
        understood: readings.understood.as_ref(),
        report,
        picture: &picture,
        curves,
        yardsticks: &yardsticks(recording, options, trained),
        assumptions: kinglet_train::lora::ASSUMPTIONS,
    }
    .html()
}

/// What the frames asked for carry.
fn show_frames(out: &mut Out, frames: &FrameSummary) -> Result {
    let Some(fill_len) = frames.fill_len else { return Ok(()) };
    out.line("")?;
    out.line(format_args!(
        "{BOLD}frames of {fill_len} bytes{BOLD:#}: {:.1} samples each, {:.1} bytes of the frame used, {:.2} bytes per reading",
        frames.samples_mean, frames.frame_bytes_mean, frames.bytes_per_reading
    ))?;
    let cuts = &frames.cuts;
    out.line(format_args!(
        "cut because full {:.0} %, because a reading waited long enough {:.0} %, at the longest window {:.0} %, at a gap {:.0} %",
        100.0 * cuts.full,
        100.0 * cuts.delay,
        100.0 * cuts.window,
        100.0 * cuts.gap
    ))?;
    let mut table = Table::new(&[
        ("LoRa", Align::Left),
        ("airtime", Align::Right),
        ("frames/h at 1 %", Align::Right),
        ("years on 2 AA", Align::Right),
    ]);
    for at in &frames.lora {
        let sf = format!("SF{}", at.spreading_factor);
        if at.is_allowed {
            table.row([
                sf,
                format!("{:.1} ms", at.airtime_ms),
                format!("{:.0}", at.frames_per_hour_max),
                if at.is_within_duty_cycle { years(at.battery_years) } else { "too often".into() },
            ]);
        } else {
            table.row([sf, format!("at most {} B", at.payload_len_max), String::new(), String::new()]);
        }
    }
    out.table(&table)?;
    Ok(out.line(kinglet_train::lora::ASSUMPTIONS)?)
}

fn say_what_was_understood(out: &mut Out, readings: &Readings) -> Result {
    out.line(format_args!("{BOLD}{}{BOLD:#}", readings.origin))?;
    match &readings.understood {
        Some(understood) => out.line(understood.to_string().trim_end())?,
        None => {
            let names: Vec<&str> = readings.recording.channels().iter().map(|c| c.name.as_str()).collect();
            let (n, period) = (readings.recording.len(), i64::from(readings.recording.period_ms()));
            let period = crate::term::seconds(period);
            out.line(format_args!("{n} samples of {}, one every {period}", names.join(" and ")))?;
        }
    }
    Ok(out.line("")?)
}

fn options(args: &TrainArgs, recording: &Recording) -> FitOptions {
    let name = args.out_path().file_stem().map(|s| s.to_string_lossy().into_owned());
    FitOptions {
        name: name.unwrap_or_else(|| "bundle".into()),
        n_samples: args.window.unwrap_or(32),
        bounds: args.bound.clone(),
        max_delay_ms: Some(u32::try_from(args.max_delay).unwrap_or(u32::MAX)),
        seed: args.seed,
        effort: args.effort.into(),
        frame: FrameOptions { overhead: frame_overhead(recording.period_ms()), fill_len: args.fill },
        n_latents: args.latent.map(usize::from),
        fixed_bytes: args.bytes.map(usize::from),
        references: args.references,
        ..FitOptions::default()
    }
}

/// Learns with a progress bar; `origin` names the recording in failures.
pub(crate) fn learn(recording: &Recording, options: &FitOptions, origin: &str) -> Result<Trained> {
    let bar = Progress::bar("learning");
    fit::train(recording, options, &mut |progress| told(&bar, progress)).map_err(|e| refused(origin, e))
}

/// Most rows classical coders learn from and are judged by: their figures hardly change with more.
const YARD_ROWS: (usize, usize) = (28_000, 12_000);

/// Classical coders beside ours: the same bound, the same whole windows of rows nobody has learned from.
fn yardsticks(recording: &Recording, options: &FitOptions, trained: &Trained) -> Vec<Yard> {
    if options.fixed_bytes.is_some() {
        // Without a bound there is nothing to compare at.
        return Vec::new();
    }
    let split = options.split(recording.len());
    let rows = Split {
        train: split.test.start.saturating_sub(YARD_ROWS.0)..split.test.start,
        test: split.test.start..split.test.end.min(split.test.start + YARD_ROWS.1),
    };
    let model = trained.bundle.model();
    let prepared = Prepared::of_model(&model, recording, &rows);
    let whole = prepared.test.len() / model.samples() * model.samples();
    let judged = fit::judge(&model, &prepared.test.slice(0..whole));
    if judged.code_lens.is_empty() {
        return Vec::new();
    }
    let mean = |lens: &[u32]| lens.iter().map(|&n| f64::from(n)).sum::<f64>() / lens.len().max(1) as f64;
    let yard = |yardstick: &Yardstick| {
        let figure = prepared.measure(*yardstick).ok()?;
        Some(Yard { name: yardstick.name().into(), bytes_mean: mean(&figure.code_lens), is_ours: false })
    };
    let ours = Yard { name: "Kinglet".into(), bytes_mean: mean(&judged.code_lens), is_ours: true };
    let mut all: Vec<Yard> = Yardstick::ALL.iter().filter_map(yard).chain([ours]).collect();
    all.sort_by(|a, b| a.bytes_mean.total_cmp(&b.bytes_mean));
    all
}

fn told(bar: &Progress, progress: FitProgress) -> ControlFlow<()> {
    bar.set(f64::from(progress.done) / f64::from(progress.total.max(1)));
    bar.say(progress.stage.to_string());
    ControlFlow::Continue(())
}

/// Bytes of a data frame beside its code, from a device that knows the time: header, flags, time, tag.
pub(crate) fn frame_overhead(period_ms: u32) -> usize {
    let time_len = if period_ms >= 10_000 { 4 } else { 6 };
    kinglet_wire::FRAME_OVERHEAD + 1 + time_len
}

pub(crate) fn refused(origin: &str, error: FitError) -> Failure {
    match error {
        FitError::Bounds { .. } => Failure::usage("bounds and channels do not pair up")
            .why(error)
            .next("give one --bound for all channels, or one each, in the order of --channels"),
        FitError::WindowTooLarge { .. } => Failure::usage("such windows are too large")
            .why(error)
            .next("choose a smaller --window or fewer --channels"),
        FitError::FillTooShort { .. } => {
            Failure::usage("such frames are too short").why(error).next("choose a larger --fill")
        }
        FitError::Learn(LearnError::TooFewRows { have, need }) => {
            // The rows behind these only judge.
            let rows = (need * 10).div_ceil(7);
            Failure::input(format_args!("{origin} is too short to learn from"))
                .why(format_args!("the first 70 % of the rows teach: these are {have} samples, and {need} are needed"))
                .next(format_args!(
                    "record at least {rows} rows, better a week; until then begin with a starter: kinglet bundles"
                ))
        }
        error => Failure::input(format_args!("nothing could be learned from {origin}"))
            .why(error)
            .next("give another --bound, a smaller --window, other --channels, or a longer recording"),
    }
}
