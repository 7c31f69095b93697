//! `kinglet train [DATA.csv]`.

mod compare;

use std::ops::ControlFlow;
use std::time::Instant;

use kinglet_train::fit::{self, FitError, FitOptions, Trained};
use kinglet_train::recording::Recording;
use serde_json::json;

use crate::args::TrainArgs;
use crate::failure::{Failure, Result};
use crate::readings::{self, Readings};
use crate::term::style::BOLD;
use crate::term::{Out, Progress, bytes};
use crate::{files, hex};

pub(crate) fn run(args: &TrainArgs) -> Result {
    let mut out = Out::new(args.json);
    let readings = match &args.device {
        Some(device) => readings::stored(device, args.data_dir.as_deref())?,
        None => readings::load(&args.source(), &args.reading)?,
    };
    say_what_was_understood(&mut out, &readings)?;
    let options = options(args);
    if let Some(variants) = &args.compare {
        return compare::run(&mut out, &readings.recording, &options, variants);
    }

    let path = args.out_path();
    // Whoever waited for a training shall not lose it to a name that is taken.
    if path.is_file() && !args.force {
        return Err(Failure::writing(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    let started = Instant::now();
    let Trained { bundle, report } = learn(&readings.recording, &options, &readings.origin)?;
    let seconds = started.elapsed().as_secs_f64();
    files::write(&path, &bundle.emit(), args.force, files::Access::Usual)?;
    out.result(&json!({
        "out": path.display().to_string(), "name": bundle.name(), "identity": hex::emit(&bundle.identity()),
        "fingerprint": hex::emit(&bundle.fingerprint()), "seconds": seconds,
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
    super::eval::held(&report.evaluation)
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

fn options(args: &TrainArgs) -> FitOptions {
    let name = args.out_path().file_stem().map(|s| s.to_string_lossy().into_owned());
    FitOptions {
        name: name.unwrap_or_else(|| "bundle".into()),
        n_samples: args.window,
        bounds: args.bound.clone(),
        max_delay_ms: Some(u32::try_from(args.max_delay).unwrap_or(u32::MAX)),
        seed: args.seed,
        n_latents: args.latent.map(usize::from),
        fixed_bytes: args.bytes.map(usize::from),
        ..FitOptions::default()
    }
}

/// Learns with a progress bar; `origin` names the recording in failures.
pub(crate) fn learn(recording: &Recording, options: &FitOptions, origin: &str) -> Result<Trained> {
    let bar = Progress::bar("learning");
    fit::train(recording, options, &mut |progress| {
        bar.set(f64::from(progress.done) / f64::from(progress.total.max(1)));
        bar.say(progress.stage.to_string());
        ControlFlow::Continue(())
    })
    .map_err(|e| refused(origin, e))
}

fn refused(origin: &str, error: FitError) -> Failure {
    match error {
        FitError::Bounds { .. } => Failure::usage("bounds and channels do not pair up")
            .why(error)
            .next("give one --bound for all channels, or one each, in the order of --channels"),
        FitError::WindowTooLarge { .. } => Failure::usage("such windows are too large")
            .why(error)
            .next("choose a smaller --window or fewer --channels"),
        error => Failure::input(format_args!("nothing could be learned from {origin}"))
            .why(error)
            .next("give another --bound, a smaller --window, other --channels, or a longer recording"),
    }
}
