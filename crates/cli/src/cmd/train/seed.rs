//! `kinglet train --preset seed`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kinglet_codec::seed::SeedChannel;
use kinglet_train::recording::{RecordedChannel, Understood};
use kinglet_train::seed::{
    self, Dropped, SeedOptions, SeedReport, SeedTrainError, SeedTrained, learning_curve_svg,
    reconstruction_svg,
};
use serde_json::json;

use crate::args::{Range, SeedTrainArgs, Source, TrainArgs};
use crate::failure::{Failure, Kind, Result, printable};
use crate::readings;
use crate::term::style::BOLD;
use crate::term::{Align, Out, Progress, Table, bytes};
use crate::{files, hex};

pub(super) fn run(args: &TrainArgs) -> Result {
    let mut out = Out::new(args.json);
    let mut options = options(args)?;
    let taken = take_readings(&mut out, args, &mut options)?;
    let path = args.out_path();
    let pictures = [beside(&path, "curve"), beside(&path, "reconstruction")];
    // Whoever waited for a training shall not lose it to a name that is taken.
    if let Some(taken) = [&path].into_iter().chain(&pictures).find(|p| p.is_file() && !args.force) {
        return Err(Failure::writing(taken.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    let started = Instant::now();
    let SeedTrained { model, report } = learn(&options)?;
    let seconds = started.elapsed().as_secs_f64();
    let file = model.emit();
    let access = files::Access::Usual;
    files::write(&path, &file, args.force, access)?;
    files::write(&pictures[0], learning_curve_svg(&report).as_bytes(), args.force, access)?;
    files::write(&pictures[1], reconstruction_svg(&report).as_bytes(), args.force, access)?;
    out.result(&json!({
        "out": path.display().to_string(), "name": model.name(), "identity": hex::emit(&model.identity()),
        "fingerprint": hex::emit(&model.fingerprint()), "seconds": seconds, "limit": options.limit(0),
        "pictures": pictures.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
        "understood": taken.understood, "dropped_missing": taken.dropped.missing,
        "dropped_out_of_range": taken.dropped.out_of_range, "report": report,
    }))?;
    show(&mut out, &report)?;
    out.line(format_args!(
        "\n{BOLD}{}{BOLD:#} written, {} in {seconds:.1} s, with {} and {}",
        path.display(),
        bytes(file.len() as u64),
        pictures[0].display(),
        pictures[1].display()
    ))?;
    Ok(out.line(
        "it hides readings from a casual look and protects nothing: `kinglet serve --help` says more",
    )?)
}

/// What a seed-mode report says, as words and a table.
pub(crate) fn show(out: &mut Out, report: &SeedReport) -> Result {
    out.line(format_args!(
        "{} windows taught, {} chose epoch {} of {}, {} it had not seen judged; {} steps",
        report.n_train,
        report.n_validation,
        report.best_epoch + 1,
        report.curve.len(),
        report.n_test,
        report.n_steps
    ))?;
    let mut table = Table::new(&[
        ("error", Align::Left),
        ("mean", Align::Right),
        ("max", Align::Right),
        ("at", Align::Right),
        ("unit", Align::Left),
    ]);
    let mut row = |what: String, mean: f32, max: f32, at: f32, unit: &str| {
        table.row([what, format!("{mean:.4}"), format!("{max:.4}"), format!("{at:.2}"), unit.into()]);
    };
    for test in &report.test {
        row(format!("{}, test readings", test.name), test.mean, test.max, test.max_at, &test.unit);
    }
    let unit = report.test.first().map_or("", |test| test.unit.as_str());
    if let Some(range) = &report.range {
        row("over the sensor's whole range".into(), range.mean, range.max, range.max_at, unit);
    }
    out.table(&table)?;
    if let Some(range) = report.range.as_ref().filter(|range| range.n_whole > 0) {
        out.line(format_args!(
            "whole degrees that come back as another: {} of {}",
            range.n_whole_wrong, range.n_whole
        ))?;
    }
    Ok(())
}

fn options(args: &TrainArgs) -> Result<SeedOptions> {
    let SeedTrainArgs { recipe, max_error, hidden, conv, activation, output_activation, int8, .. } =
        &args.of_seed;
    let default = SeedOptions::default();
    let path = args.out_path();
    let whole = |n: Option<u32>, default: usize| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    Ok(SeedOptions {
        name: path.file_stem().map_or_else(|| "seed".into(), |s| s.to_string_lossy().into_owned()),
        channels: channels(&[], &args.of_seed.range)?,
        n_samples: args.window.map_or(1, usize::from),
        latent: args.latent.map_or(default.latent, usize::from),
        hidden: hidden.as_ref().map_or(default.hidden, |hidden| hidden.0.clone()),
        conv: conv.clone(),
        activation: activation.unwrap_or(default.activation),
        output: *output_activation,
        recipe: recipe.unwrap_or_default(),
        n_steps: whole(args.of_seed.steps, default.n_steps),
        batch_len: whole(args.of_seed.batch, default.batch_len),
        seed: args.seed,
        max_error: *max_error,
        int8: *int8,
        ..SeedOptions::default()
    })
}

/// What was made of a recording.
#[derive(Default)]
struct Taken {
    understood: Option<Understood>,
    dropped: Dropped,
}

/// Puts a recording's readings and channels into the options; without one the seed's formula stays.
fn take_readings(out: &mut Out, args: &TrainArgs, options: &mut SeedOptions) -> Result<Taken> {
    if args.source() == Source::Generated {
        if args.reading != crate::args::ReadingArgs::default() {
            return Err(Failure::usage("--column and its like choose from a file, and there is none")
                .next("name a recording with --data FILE.csv, or leave them out"));
        }
        out.line("the seed's formula: 5000 readings of a slow swing over 0..50 °C, with noise\n")?;
        return Ok(Taken::default());
    }
    let readings = readings::load(&args.source(), &args.reading)?;
    super::say_what_was_understood(out, &readings)?;
    options.channels = channels(readings.recording.channels(), &args.of_seed.range)?;
    let named: Vec<SeedChannel> = options.channels.clone();
    let (values, dropped) = seed::readings_from(&readings.recording, &named).map_err(refused)?;
    if dropped != Dropped::default() {
        out.line(format_args!(
            "left out: {} samples with a missing reading, {} outside the sensor's range\n",
            dropped.missing, dropped.out_of_range
        ))?;
    }
    options.readings = Some(values);
    Ok(Taken { understood: readings.understood, dropped })
}

/// The channels of a recording with their sensors' ranges; without a recording the seed's one.
fn channels(recorded: &[RecordedChannel], ranges: &[Range]) -> Result<Vec<SeedChannel>> {
    if recorded.is_empty() {
        let mut one = SeedChannel::temperature();
        return match ranges {
            [] => Ok(vec![one]),
            [Range(lo, hi)] => {
                (one.range, one.decoded) = ((*lo, *hi), (*lo, *hi));
                Ok(vec![one])
            }
            _ => Ok(vec![one; ranges.len()]),
        };
    }
    if !ranges.is_empty() && ranges.len() != recorded.len() {
        return Err(Failure::usage(format_args!("{} ranges for {} channels", ranges.len(), recorded.len()))
            .next("give one --range per channel, in the order of --column"));
    }
    let channel = |(i, recorded): (usize, &RecordedChannel)| {
        let (name, unit) = (recorded.name.as_str(), unit_of(recorded));
        let usual = match (unit, name.to_lowercase()) {
            ("°C", _) => Some(Range(0.0, 50.0)),
            ("%", _) => Some(Range(0.0, 100.0)),
            ("", name) if name.contains("hum") => Some(Range(0.0, 100.0)),
            _ => None,
        };
        let Some(Range(lo, hi)) = ranges.get(i).copied().or(usual) else {
            return Err(Failure::usage(format_args!(
                "what can the sensor of `{}` measure?",
                printable(name)
            ))
            .why("the range belongs to the sensor, so it is not taken from the data")
            .next("say it with --range LO..HI, one per channel"));
        };
        Ok(SeedChannel::new(name, unit, lo, hi))
    };
    recorded.iter().enumerate().map(channel).collect()
}

/// The unit as the bundle has it: degrees Celsius in one spelling, and where a file names none for a temperature.
fn unit_of(recorded: &RecordedChannel) -> &str {
    match recorded.unit.as_str() {
        "C" | "c" | "degC" | "deg C" | "ºC" | "℃" | "celsius" | "Celsius" => "°C",
        "" if recorded.name.to_lowercase().contains("temp") => "°C",
        unit => unit,
    }
}

fn learn(options: &SeedOptions) -> Result<SeedTrained> {
    let bar = Progress::bar("learning");
    seed::train(options, &mut |progress| {
        bar.set(progress.step as f64 / progress.n_steps.max(1) as f64);
        bar.say(format!("learning, loss {:.1e}", progress.validation.unwrap_or(progress.loss)));
        ControlFlow::Continue(())
    })
    .map_err(refused)
}

fn refused(error: SeedTrainError) -> Failure {
    match error {
        SeedTrainError::TooInaccurate { max, at, limit, ref unit, .. } => {
            Failure::new(Kind::Promise, "the network is not good enough, nothing was written")
                .why(format_args!(
                    "a reading of {at:.2} {unit} comes back {max:.3} {unit} off, {limit} {unit} is accepted"
                ))
                .next("train longer (--steps 50000), try another --seed or wider --hidden, or accept it with a larger --max-error")
        }
        SeedTrainError::Setting(_) => Failure::usage("such a network cannot be trained")
            .why(error)
            .next("`kinglet train --help` shows what goes together"),
        SeedTrainError::NoColumn { .. }
        | SeedTrainError::Reading { .. }
        | SeedTrainError::TooFew { .. } => Failure::input("the readings cannot be used")
            .why(error)
            .next("see what the file holds with --json, choose --column and --range"),
        SeedTrainError::Model(_) => Failure::usage("such a network is no bundle")
            .why(error)
            .next("choose shorter names, fewer channels or smaller layers"),
        _ => Failure::new(Kind::Failure, "the training failed").why(error).next("try another --seed"),
    }
}

/// `NAME-what.svg` in the bundle's directory.
fn beside(path: &Path, what: &str) -> PathBuf {
    let stem = path.file_stem().map_or_else(|| "seed".into(), |s| s.to_string_lossy().into_owned());
    path.with_file_name(format!("{stem}-{what}.svg"))
}
