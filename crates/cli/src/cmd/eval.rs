//! `kinglet eval BUNDLE [DATA.csv]`.

use kinglet_train::fit::{self, Evaluation};
use kinglet_train::recording::Cut;

use crate::args::EvalArgs;
use crate::failure::{Failure, Kind, Result};
use crate::term::style::BOLD;
use crate::term::{Align, Out, Table, bytes};
use crate::{files, readings};

pub(crate) fn run(args: &EvalArgs) -> Result {
    let mut out = Out::new(args.json);
    let bundle = files::read_bundle(&args.bundle)?;
    let readings = readings::load_for(&bundle, &args.source(), &args.reading)?;
    let rows = 0..readings.recording.len();
    let evaluation = fit::evaluate(&bundle.model(), &readings.recording, rows, Cut::AtGaps)
        .map_err(|e| Failure::input("the recording cannot be judged with this bundle").why(e))?;
    out.result(&evaluation)?;
    out.line(format_args!("{BOLD}{}{BOLD:#} on {}", bundle.name(), readings.origin))?;
    show(&mut out, &evaluation)?;
    held(&evaluation)
}

/// The evaluation as tables.
pub(crate) fn show(out: &mut Out, evaluation: &Evaluation) -> Result {
    let e = evaluation;
    let mut channels = Table::new(&[
        ("channel", Align::Left),
        ("unit", Align::Left),
        ("bound", Align::Right),
        ("largest error", Align::Right),
        ("rms error", Align::Right),
    ]);
    for c in &e.channels {
        let bound = if c.bound == "0" { "lossless".into() } else { format!("±{}", c.bound) };
        let bound = if e.max_error_over_bound.is_none() { "none".into() } else { bound };
        channels.row([c.name.clone(), c.unit.clone(), bound, digits(c.max_error), digits(c.rms_error)]);
    }
    out.table(&channels)?;
    out.line("")?;
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right)]);
    let mut row = |name: &str, value: String| table.row([name.to_string(), value]);
    row("windows", e.windows.to_string());
    row("bytes per window, mean", format!("{:.2}", e.payload_bytes_mean));
    row("bytes per window, 95 % within", e.payload_bytes_p95.to_string());
    row("bytes per window, most", e.payload_bytes_max.to_string());
    row("bits per reading", format!("{:.3}", e.bits_per_value));
    row("largest error / bound", e.max_error_over_bound.map_or("no bound".into(), |x| format!("{x:.3}")));
    row("the device keeps", bytes(e.static_bytes as u64));
    row("RAM to encode", bytes(e.ram_bytes as u64));
    let r = &e.rungs;
    let shares = [
        ("hold", r.hold),
        ("context", r.context),
        ("predict", r.predict),
        ("latent", r.latent),
        ("raw", r.raw),
        ("fixed", r.fixed),
    ];
    for (name, share) in shares {
        if share > 0.0 {
            row(&format!("windows on rung `{name}`"), format!("{:.1} %", 100.0 * share));
        }
    }
    Ok(out.table(&table)?)
}

/// Every decoded reading lies within its bound, or the promise is broken.
pub(crate) fn held(evaluation: &Evaluation) -> Result {
    match evaluation.max_error_over_bound {
        Some(error) if error > 1.0 => {
            Err(Failure::new(Kind::Promise, "a decoded reading lies outside its bound")
                .why(format_args!("the largest error is {error:.4} bounds"))
                .next("this is a fault in Kinglet: please report it with the bundle and the recording"))
        }
        _ => Ok(()),
    }
}

/// Four significant digits.
fn digits(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return format!("{x}");
    }
    let places = (3 - x.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{x:.places$}")
}
