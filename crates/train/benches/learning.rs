//! How long learning takes at each effort, and how much memory a million rows need.
//!
//! `cargo bench -p kinglet-train --bench learning [-- time|memory]`. The recordings are generated: what is measured is
//! work, not bytes per window. Peaks of memory come from `/proc`, so on Linux alone.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot run shall say so")]
#![allow(clippy::disallowed_methods, reason = "a bench looks at the clock and at /proc")]
#![allow(missing_docs, reason = "a program")]

use std::ops::ControlFlow;
use std::time::Instant;

use kinglet_train::climate::{ClimateOptions, Sensor, generate};
use kinglet_train::fit::{Effort, FitOptions, train};
use kinglet_train::recording::{Bound, Recording};

const BOUNDS: [&str; 3] = ["lossless", "1%", "0.25,1"];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    if wanted("time") {
        let recording = climate(20_000, Sensor::Dht22);
        for effort in [Effort::Fast, Effort::Normal, Effort::High] {
            for bound in BOUNDS {
                report("20,000 rows × 2 channels", &recording, bound, effort);
            }
        }
    }
    if wanted("memory") {
        for (rows, sensor) in [("× 2 channels", Sensor::Dht22), ("× 3 channels", Sensor::Bme280)] {
            let recording = climate(1_000_000, sensor);
            for bound in &BOUNDS[..2] {
                report(&format!("1,000,000 rows {rows}"), &recording, bound, Effort::Normal);
            }
        }
    }
}

fn climate(rows: usize, sensor: Sensor) -> Recording {
    generate(&ClimateOptions { sensor, rows, ..ClimateOptions::default() }).unwrap()
}

fn report(what: &str, recording: &Recording, bound: &str, effort: Effort) {
    let options = FitOptions { bounds: Bound::parse_list(bound).unwrap(), effort, ..FitOptions::default() };
    // Begins to count the peak anew; where that is not allowed, the peak is that of the process so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let started = Instant::now();
    let trained = train(recording, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    println!(
        "{what}, {bound:>8}, {effort:?}: {:6.1} s, {} at most, {:.3} bits per reading",
        started.elapsed().as_secs_f64(),
        peak().map_or("memory not known".into(), |mb| format!("{mb:.0} MB")),
        trained.report.evaluation.bits_per_value,
    );
}

/// The most memory that was resident, in MB.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}
