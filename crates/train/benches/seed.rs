//! The seed's workload, 25,000 Adam steps: CPU seconds, and errors over 0..50 °C for five seeds.
//!
//! `cargo bench -p kinglet-train --bench seed [-- ours|seed|int8]`; `benches/keras/compare.sh` runs the same workload in Keras.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, reason = "a program")]

use std::ops::ControlFlow;

use kinglet_train::seed::{Recipe, SeedOptions, SeedReport, SeedTrainError, train};

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let all = SeedOptions { max_error: Some(50.0), ..SeedOptions::default() };
    for (name, options) in [
        ("ours", all.clone()),
        ("seed", SeedOptions { recipe: Recipe::Seed, ..all.clone() }),
        ("int8", SeedOptions { int8: true, ..all }),
    ] {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            five(name, &options);
        }
    }
}

fn five(name: &str, options: &SeedOptions) {
    let (mut worst_mean, mut worst_max, mut seconds) = (0f32, 0f32, 0f64);
    for seed in 0..5 {
        let before = cpu_seconds();
        let trained = train(&SeedOptions { seed, ..options.clone() }, &mut |_| ControlFlow::Continue(()));
        let took = cpu_seconds() - before;
        let report: SeedReport = match trained {
            Ok(trained) => trained.report,
            Err(SeedTrainError::TooInaccurate { trained, .. }) => trained.report,
            Err(error) => {
                println!("{name} seed {seed}: {error}");
                continue;
            }
        };
        let Some(range) = &report.range else { continue };
        let kept = report.curve.get(report.best_epoch).map_or(f64::NAN, |p| p.validation);
        let last = report.curve.last().map_or(f64::NAN, |p| p.train);
        println!(
            "{name} seed {seed} on {}: {took:.3} CPU-s, {} steps, training loss {last:.2e}, validation {kept:.2e}, \
             0..50 °C mean {:.4} max {:.4} (at {:.2}), wrong whole degrees {} of {}",
            report.isa,
            report.n_steps,
            range.mean,
            range.max,
            range.max_at,
            range.n_whole_wrong,
            range.n_whole
        );
        worst_mean = worst_mean.max(range.mean);
        worst_max = worst_max.max(range.max);
        seconds += took / 5.0;
    }
    println!(
        "{name}: {seconds:.3} CPU-s on average, worst of five seeds mean {worst_mean:.4} / max {worst_max:.4} °C"
    );
}

/// CPU time of this thread where the system tells it (Linux), else time by the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|s| s.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()));
    nanos.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().map_or(0.0, |d| d.as_secs_f64()),
        |nanos| nanos * 1e-9,
    )
}
