//! `kinglet audit BUNDLE [DATA.csv]`: what is given away without a key.

use kinglet_codec::bundle::{Bundle, BundleError};
use kinglet_codec::seed::SeedModel;
use kinglet_train::audit::{
    Audit, AuditError, AuditOptions, KnownPairs, Method, SealedShape, Shape, audit_seed, audit_windows,
};
use kinglet_train::recording::Recording;
use serde_json::json;

use crate::args::{AuditArgs, Source};
use crate::failure::{Failure, Result};
use crate::files;
use crate::readings::{self, Readings};
use crate::term::style::BOLD;
use crate::term::{Align, Out, Table};

pub(crate) fn run(args: &AuditArgs) -> Result {
    let mut out = Out::new(args.json);
    match read(args)? {
        Codec::Window(bundle) => {
            let readings = readings::load_for(&bundle, &args.source(), &args.reading)?;
            let model = bundle.model();
            let found = audit_windows(&model, &readings.recording, &options(args, model.period_ms()));
            let found = found.map_err(|e| refused(&readings.origin, &e))?;
            out.result(&json(bundle.name(), "window", &found))?;
            let units: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).unit).collect();
            say(&mut out, bundle.name(), &readings.origin, &found, &units)
        }
        Codec::Seed(model) => {
            let readings = for_seed(args, &model)?;
            let found = audit_seed(&model, &readings.recording, &options(args, 10_000));
            let found = found.map_err(|e| refused(&readings.origin, &e))?;
            out.result(&json(model.name(), "seed", &found))?;
            let units: Vec<&str> = model.channels().iter().map(|c| c.unit.as_str()).collect();
            say(&mut out, model.name(), &readings.origin, &found, &units)
        }
    }
}

enum Codec {
    Window(Bundle),
    Seed(SeedModel),
}

fn read(args: &AuditArgs) -> Result<Codec> {
    let path = &args.bundle;
    let bytes = files::read(path)?;
    let not_one = |why: String| {
        Failure::input(format_args!("{} is not a bundle", path.display()))
            .why(why)
            .next("name a file written by `kinglet train` or `kinglet bundles export`")
    };
    match Bundle::parse(&bytes) {
        Ok(bundle) => Ok(Codec::Window(bundle)),
        Err(BundleError::SeedMode) => {
            SeedModel::parse(&bytes).map(Codec::Seed).map_err(|e| not_one(e.to_string()))
        }
        Err(e) => Err(not_one(e.to_string())),
    }
}

fn options(args: &AuditArgs, period_ms: u32) -> AuditOptions {
    let outer_len = kinglet_wire::FRAME_OVERHEAD;
    let head_len = super::train::frame_overhead(period_ms) - outer_len;
    AuditOptions { seed: args.seed, sealed: SealedShape { outer_len, head_len } }
}

/// Readings for a seed-mode model: its channels by name where there are more, else all there are.
fn for_seed(args: &AuditArgs, model: &SeedModel) -> Result<Readings> {
    let mut readings = readings::load(&args.source(), &args.reading)?;
    let recording = &readings.recording;
    let n_channels = model.channels().len();
    if recording.channels().len() == n_channels {
        return Ok(readings);
    }
    let named = model.channels().iter().map(|c| {
        let same = |have: &&kinglet_train::recording::RecordedChannel| {
            have.name.to_lowercase().starts_with(&c.name.to_lowercase())
        };
        recording.channels().iter().find(same).cloned()
    });
    if let Some(channels) = named.collect::<Option<Vec<_>>>()
        && let Ok(chosen) = Recording::new(recording.times_ms().to_vec(), channels, recording.period_ms())
    {
        readings.recording = chosen;
        return Ok(readings);
    }
    let need: Vec<&str> = model.channels().iter().map(|c| c.name.as_str()).collect();
    let next = match args.source() {
        Source::Generated => "name a recording",
        _ => "choose its columns with --channels",
    };
    Err(Failure::input(format_args!("bundle \"{}\" does not fit {}", model.name(), readings.origin))
        .why(format_args!("it has the channels {}", need.join(", ")))
        .next(next))
}

fn refused(origin: &str, error: &AuditError) -> Failure {
    Failure::input(format_args!("nothing can be measured on {origin}"))
        .why(error)
        .next("give a longer recording, or choose the bundle's channels with --channels")
}

fn json(name: &str, mode: &str, found: &Audit) -> serde_json::Value {
    json!({
        "bundle": name, "mode": mode, "codes": found.codes, "known": found.known, "shape": found.shape,
        "codebook": found.codebook, "range": found.range, "lengths": found.lengths,
    })
}

fn say(out: &mut Out, name: &str, origin: &str, found: &Audit, units: &[&str]) -> Result {
    out.line(format_args!(
        "{BOLD}{name}{BOLD:#} on {origin}: {} codes, heard by somebody with neither key nor bundle",
        found.codes
    ))?;
    out.line("whoever has the bundle reads all of them; only sealing keeps that out")?;

    out.line(format_args!("\n{BOLD}some readings known{BOLD:#}: mean error of a guess at any other"))?;
    say_known(out, &found.known, units)?;
    out.line(
        "`deaf` knows the same readings and hears no codes; what lies below it was given away by the codes",
    )?;
    if let Some(range) = &found.range {
        out.line(format_args!("\n{BOLD}the same over the sensor's whole range{BOLD:#}"))?;
        say_known(out, &range.known, units)?;
        let server =
            range.decoder_error_mean.map_or(String::new(), |e| format!("; the server itself is {e:.3} off"));
        out.line(format_args!(
            "one affine map reads the whole range to {:.4} {} on average and {:.4} at most{server}",
            range.affine_error_mean, units[0], range.affine_error_max
        ))?;
        say_shapes(out, &range.shape, "over the range, ")?;
    }

    out.line(format_args!(
        "\n{BOLD}nothing known{BOLD:#}: the curve's shape, its level and scale left open"
    ))?;
    say_shapes(out, &found.shape, "")?;
    let book = &found.codebook;
    out.line(format_args!(
        "{} different codes; {:.1} % were heard before, {:.1} % of these with exactly the same readings",
        book.distinct,
        100.0 * book.share_heard_before,
        100.0 * book.share_same_readings
    ))?;

    if found.lengths.is_empty() {
        return Ok(out.line(
            "\nthis mode seals nothing: codes can be heard, replayed and forged by anyone in the path",
        )?);
    }
    out.line(format_args!("\n{BOLD}sealed{BOLD:#}: nothing but lengths (and times) is left to hear"))?;
    let mut table = Table::new(&[
        ("padded to", Align::Right),
        ("bytes a frame", Align::Right),
        ("more", Align::Right),
        ("lengths", Align::Right),
        ("bits said", Align::Right),
        ("restless windows told", Align::Right),
        ("follows restlessness", Align::Right),
        ("follows level", Align::Right),
    ]);
    for leak in &found.lengths {
        table.row([
            if leak.padding_class == 0 { "nothing".into() } else { leak.padding_class.to_string() },
            format!("{:.1}", leak.frame_bytes_mean),
            format!("{:.0} %", leak.cost_percent),
            leak.distinct.to_string(),
            format!("{:.2}", leak.entropy_bits),
            leak.busy_auc.map_or("-".into(), |auc| format!("{auc:.2}")),
            format!("{:.2}", leak.restlessness_correlation),
            format!("{:.2}", leak.level_correlation),
        ]);
    }
    out.table(&table)?;
    out.line("`told`: chance that a window of the most restless tenth is the longer of two; 0.5 is a guess")?;
    Ok(out.line("`follows`: correlation of ranks, 0 to 1; `kinglet send --pad 16` pads so")?)
}

fn say_known(out: &mut Out, known: &[KnownPairs], units: &[&str]) -> Result {
    let mut table = Table::new(&[
        ("known", Align::Right),
        ("channel", Align::Left),
        ("error", Align::Right),
        ("deaf", Align::Right),
        ("unit", Align::Left),
        ("by", Align::Left),
    ]);
    for pairs in known {
        for (channel, unit) in pairs.channels.iter().zip(units) {
            table.row([
                pairs.pairs.to_string(),
                channel.name.clone(),
                format!("{:.4}", channel.error_mean),
                format!("{:.4}", channel.error_deaf),
                unit.to_string(),
                match channel.method {
                    Method::Mean => "the mean of what is known",
                    Method::Line | Method::Between => "a line through what is known",
                    Method::Affine => "an affine map",
                    Method::Nearest => "the nearest known code",
                }
                .to_string(),
            ]);
        }
    }
    Ok(out.table(&table)?)
}

fn say_shapes(out: &mut Out, shapes: &[Shape], over: &str) -> Result {
    for shape in shapes {
        out.line(format_args!(
            "{over}{}: codes follow it with correlation {:.4}, of ranks {:.4}",
            shape.name, shape.correlation, shape.rank_correlation
        ))?;
    }
    Ok(())
}
