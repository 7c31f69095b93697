//! `kinglet bench [FILE]`: every classical coder beside ours.

use std::ops::ControlFlow;

use kinglet_train::fit::{self, FitOptions};
use kinglet_train::recording::Cut;
use kinglet_train::yardstick::{Figure, Prepared, Yardstick};
use serde::Serialize;

use super::train::refused;
use crate::args::BenchArgs;
use crate::failure::{Failure, Kind, Result};
use crate::readings;
use crate::term::style::BOLD;
use crate::term::{Align, Out, Progress, Table, bytes};

/// Most bytes a classical coder may keep to be compared with, as ours.
const STATIC_LEN_MAX: usize = 20 << 10;
/// Share of the time the classical coders take, roughly.
const CLASSICAL_SHARE: f64 = 0.2;

#[derive(Serialize)]
struct Report {
    recording: String,
    window: u16,
    values_per_window: usize,
    windows: usize,
    coders: Vec<Coder>,
    best_classical: String,
    saved_percent: f64,
    verdict: String,
}

#[derive(Serialize)]
struct Coder {
    name: String,
    /// `classical`, `general` (a compressor of anything), `rung` of ours alone, or `ladder`.
    kind: &'static str,
    payload_bytes_mean: f64,
    payload_bytes_p95: u32,
    bits_per_value: f64,
    static_bytes: usize,
}

pub(crate) fn run(args: &BenchArgs) -> Result {
    let mut out = Out::new(args.json);
    let readings = readings::load(&args.source(), &args.reading)?;
    let options = FitOptions {
        n_samples: args.window,
        bounds: args.bound.clone(),
        effort: args.effort.into(),
        rows_max: 40_000,
        cut: Cut::ByRows,
        ..FitOptions::default()
    };
    let bar = Progress::bar("preparing");
    let prepared = Prepared::new(&readings.recording, &options).map_err(|e| refused(&readings.origin, e))?;
    let values = prepared.values();
    let coder = |name: &str, kind, figure: &Figure| Coder {
        name: name.into(),
        kind,
        payload_bytes_mean: figure.mean(),
        payload_bytes_p95: figure.p95(),
        bits_per_value: figure.bits_per_value(values),
        static_bytes: figure.static_bytes,
    };
    // Ours first: it refuses what nobody can learn from.
    let trained = fit::train(&readings.recording, &options, &mut |progress| {
        let done = f64::from(progress.done) / f64::from(progress.total.max(1));
        bar.set((1.0 - CLASSICAL_SHARE) * done);
        bar.say(progress.stage.to_string());
        ControlFlow::Continue(())
    });
    let trained = trained.map_err(|e| refused(&readings.origin, e))?;
    let mut coders = Vec::new();
    for (at, &yardstick) in Yardstick::ALL.iter().enumerate() {
        bar.say(yardstick.name().to_string());
        bar.set(1.0 - CLASSICAL_SHARE * (1.0 - at as f64 / Yardstick::ALL.len() as f64));
        let figure = prepared.measure(yardstick).map_err(|e| {
            Failure::new(Kind::Promise, "a classical coder does not keep its bound")
                .why(e)
                .next("this is a fault in Kinglet: please report it with the recording")
        })?;
        coders.push(coder(
            yardstick.name(),
            if yardstick.is_general() { "general" } else { "classical" },
            &figure,
        ));
    }
    drop(bar);
    let model = trained.bundle.model();
    for (rung, figure) in prepared.rungs(&model) {
        coders.push(coder(&format!("{rung:?}").to_lowercase(), "rung", &figure));
    }
    let ours = &trained.report.evaluation;
    coders.push(Coder {
        name: "kinglet".into(),
        kind: "ladder",
        payload_bytes_mean: ours.payload_bytes_mean,
        payload_bytes_p95: ours.payload_bytes_p95,
        bits_per_value: 8.0 * ours.payload_bytes_mean / values as f64,
        static_bytes: ours.static_bytes,
    });
    let fits = |c: &&Coder| matches!(c.kind, "classical" | "general") && c.static_bytes <= STATIC_LEN_MAX;
    let best =
        coders.iter().filter(fits).min_by(|a, b| a.payload_bytes_mean.total_cmp(&b.payload_bytes_mean));
    let (best_classical, best_mean) =
        best.map_or((String::new(), f64::NAN), |c| (c.name.clone(), c.payload_bytes_mean));
    let saved_percent = 100.0 * (1.0 - ours.payload_bytes_mean / best_mean);
    let report = Report {
        recording: readings.origin.clone(),
        window: args.window,
        values_per_window: values,
        windows: ours.windows,
        verdict: verdict(saved_percent, ours.payload_bytes_mean, &best_classical, best_mean),
        coders,
        best_classical,
        saved_percent,
    };
    out.result(&report)?;
    show(&mut out, &report)?;
    super::eval::held(ours)
}

fn show(out: &mut Out, report: &Report) -> Result {
    out.line(format_args!(
        "{BOLD}{}{BOLD:#}: {} windows of {} samples, {} values each",
        report.recording, report.windows, report.window, report.values_per_window
    ))?;
    let mut table = Table::new(&[
        ("coder", Align::Left),
        ("", Align::Left),
        ("bytes, mean", Align::Right),
        ("95 % within", Align::Right),
        ("bits/value", Align::Right),
        ("device keeps", Align::Right),
    ]);
    for c in &report.coders {
        let kind = match c.kind {
            "rung" => "our rung alone",
            "ladder" => "our ladder",
            "general" => "general-purpose",
            kind => kind,
        };
        table.row([
            c.name.clone(),
            kind.to_string(),
            format!("{:.2}", c.payload_bytes_mean),
            c.payload_bytes_p95.to_string(),
            format!("{:.3}", c.bits_per_value),
            bytes(c.static_bytes as u64),
        ]);
    }
    out.table(&table)?;
    Ok(out.line(format_args!("\n{}", report.verdict))?)
}

/// In words, and plain where a classical coder does as well.
fn verdict(saved_percent: f64, ours: f64, classical: &str, theirs: f64) -> String {
    // Two bits a window, or one per cent: less is noise.
    let is_alike = (ours - theirs).abs() <= (0.01 * theirs).max(0.25);
    match () {
        () if !theirs.is_finite() => {
            "nothing to compare: the recording has no whole window to judge by".into()
        }
        () if is_alike => format!(
            "a classical coder is as good here: {classical} takes {theirs:.2} bytes a window, ours {ours:.2}"
        ),
        () if saved_percent > 0.0 => format!(
            "ours takes {saved_percent:.1} % fewer bytes than the best classical coder, {classical}: {ours:.2} against {theirs:.2} a window"
        ),
        () => format!(
            "a classical coder is better here: {classical} takes {theirs:.2} bytes a window, ours {ours:.2}, {:.1} % more",
            -saved_percent
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_who_won() {
        let check = |ours: f64, want: &str| {
            let said = verdict(100.0 * (1.0 - ours / 20.0), ours, "PMC+AC", 20.0);
            assert!(said.starts_with(want), "{said}");
        };
        check(15.0, "ours takes 25.0 % fewer");
        check(19.9, "a classical coder is as good");
        check(20.2, "a classical coder is as good");
        check(22.0, "a classical coder is better here");
        assert!(verdict(0.0, 0.0, "", f64::NAN).starts_with("nothing to compare"));
    }
}
