//! `--compare`: variants side by side.

use std::time::Instant;

use kinglet_train::fit::{FitOptions, TrainReport};
use kinglet_train::recording::Recording;
use serde_json::json;

use crate::args::Variants;
use crate::failure::Result;
use crate::term::{Align, Out, Table};

pub(super) fn run(out: &mut Out, recording: &Recording, options: &FitOptions, variants: &Variants) -> Result {
    let mut table = Table::new(&[
        ("variant", Align::Left),
        ("B/window", Align::Right),
        ("95 %", Align::Right),
        ("bits/reading", Align::Right),
        ("error/bound", Align::Right),
        ("rms error", Align::Right),
        ("device B", Align::Right),
        ("RAM B", Align::Right),
        ("latent %", Align::Right),
        ("s", Align::Right),
    ]);
    let mut results = Vec::new();
    for (name, options) in list(options, variants) {
        let started = Instant::now();
        let report = super::learn(recording, &options, &name)?.report;
        let seconds = started.elapsed().as_secs_f64();
        table.row(row(&name, &report, seconds));
        results.push(json!({ "variant": name, "seconds": seconds, "report": report }));
    }
    out.result(&json!({ "variants": results }))?;
    Ok(out.table(&table)?)
}

fn row(name: &str, report: &TrainReport, seconds: f64) -> Vec<String> {
    let e = &report.evaluation;
    // One figure for all channels: the root mean square of errors in deviations of their channel.
    let relative: f64 = e
        .channels
        .iter()
        .zip(&report.channels)
        .map(|(e, c)| if c.deviation > 0.0 { (e.rms_error / c.deviation).powi(2) } else { 0.0 })
        .sum();
    let relative = (relative / e.channels.len().max(1) as f64).sqrt();
    vec![
        name.to_string(),
        format!("{:.2}", e.payload_bytes_mean),
        e.payload_bytes_p95.to_string(),
        format!("{:.3}", e.bits_per_value),
        e.max_error_over_bound.map_or("none".into(), |x| format!("{x:.3}")),
        format!("{relative:.4} σ"),
        e.static_bytes.to_string(),
        e.ram_bytes.to_string(),
        format!("{:.1}", 100.0 * (e.rungs.latent + e.rungs.fixed)),
        format!("{seconds:.1}"),
    ]
}

/// The options of each variant.
fn list(base: &FitOptions, variants: &Variants) -> Vec<(String, FitOptions)> {
    let with = |name: String, set: &dyn Fn(&mut FitOptions)| {
        let mut options = base.clone();
        set(&mut options);
        (name, options)
    };
    match variants {
        Variants::Latent(list) => {
            list.iter().map(|&n| with(format!("latent={n}"), &|o| o.n_latents = Some(n))).collect()
        }
        Variants::Window(list) => {
            let samples = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
            list.iter().map(|&n| with(format!("window={n}"), &|o| o.n_samples = samples(n))).collect()
        }
        Variants::Bound(list) => {
            list.iter().map(|b| with(format!("bound={b}"), &|o| o.bounds = vec![*b])).collect()
        }
        Variants::Bytes(list) => {
            list.iter().map(|&k| with(format!("bytes={k}"), &|o| o.fixed_bytes = Some(k))).collect()
        }
        Variants::Seed(list) => list.iter().map(|&s| with(format!("seed={s}"), &|o| o.seed = s)).collect(),
    }
}
