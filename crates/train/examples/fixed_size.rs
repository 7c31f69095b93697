//! The fixed-size autoencoder beside the KLT on real recordings, at 4, 8 and 16 bytes per window of 32 samples.
//!
//! `cargo run --release -p kinglet-train --example fixed_size [-- STEPS [HIDDEN [SEED [FILE]]]]`. Recordings are
//! looked for in the folder that `KINGLET_RECORDINGS` names. The first 70 % of at most 40,000 rows train
//! (a fifth of it, in blocks, judges), the rest is tested in windows that do not overlap. Errors are root mean squares in
//! units of each channel's deviation.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use kinglet_train::klt::FixedKlt;
use kinglet_train::nn::autoencoder::{
    BoundedConfig, Effort, FixedConfig, Hidden, Integers, train_bounded, train_fixed,
};

const N_SAMPLES: usize = 32;

const RECORDINGS: [(&str, &[&str], f32); 4] = [
    ("room_env.csv", &["s1_temp_C", "s2_temp_C", "s3_temp_C", "s4_temp_C"], 0.1),
    ("indoor_co2.csv", &["temperature_C", "humidity_pct", "co2_ppm"], 0.05),
    ("ecg_mitbih100.csv", &["MLII_adu", "V5_adu"], 0.05),
    ("house_power.csv", &["active_kW", "voltage_V"], 0.05),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (n_steps, hidden, seed) = (number(0, 6000), number(1, 32), number(2, 1) as u64);
    let Some(folder) = recordings() else {
        println!("skipped: no recordings; set KINGLET_RECORDINGS to their folder");
        return;
    };
    println!("{n_steps} steps, {hidden} hidden units, seed {seed}");
    println!("recording            K |     KLT  KLT int     AE | AE/KLT | seconds");
    for (file, channels, bound) in
        RECORDINGS.iter().filter(|r| args.get(3).is_none_or(|f| r.0.starts_with(f.as_str())))
    {
        let rows = match read(&folder.join(file), channels) {
            Ok(rows) => rows,
            Err(why) => {
                println!("{file}: skipped: {why}");
                continue;
            }
        };
        let n = N_SAMPLES * channels.len();
        let (train, validation, test) = split(&rows, channels.len());
        let effort = Effort { n_steps, seed, ..Effort::default() };
        for n_bytes in [4, 8, 16] {
            let config = FixedConfig { effort: effort.clone(), ..FixedConfig::new(n_bytes, hidden, seed) };
            let begun = Instant::now();
            let ae = train_fixed(&train, &validation, n, &config, &mut |_| ControlFlow::Continue(()));
            let ae = ae.expect("the recording trains");
            let took = begun.elapsed().as_secs_f64();
            let both = [&train[..], &validation[..]].concat();
            let klt = FixedKlt::learn(&both, n, n_bytes, config.bits_max).expect("the recording has windows");
            let (klt, ours) = (klt.rms(&test), ae.rms(&test));
            let r = ae.report;
            println!(
                "{file:18} {n_bytes:3} | {klt:7.4}  {:7.4} {ours:6.4} | {:6.3} | {took:5.1}  validation {:.4} {:.4} {:.4}{} bits {:?}",
                r.rms_klt_integer / r.rms_klt,
                ours / klt,
                r.rms_klt,
                r.rms_klt_integer,
                r.rms,
                if r.is_klt { " (KLT ships)" } else { "" },
                ae.bits,
            );
        }
        // A bound of so many deviations, on a fine grid.
        let config = BoundedConfig {
            n_codes: 4 * channels.len(),
            code_steps: vec![3.0 * bound],
            code_limit: 1023,
            residual_steps: vec![2.0 * bound],
            encoder: Hidden::Dense(hidden),
            decoder_hidden: hidden,
            integers: Integers::default(),
            effort,
        };
        let begun = Instant::now();
        let ae = train_bounded(&train, &validation, n, &config, &mut |_| ControlFlow::Continue(()));
        let r = ae.expect("the recording trains").report;
        println!(
            "{file:18} bound {bound}: {:.1} code + {:.1} residual = {:.1} bits per window, KLT {:.1}; quiet {:.3}; {:.1} s{}",
            r.code_bits,
            r.residual_bits,
            r.code_bits + r.residual_bits,
            r.klt_bits,
            r.quiet,
            begun.elapsed().as_secs_f64(),
            if r.is_klt { " (KLT ships)" } else { "" },
        );
    }
}

fn recordings() -> Option<PathBuf> {
    std::env::var_os("KINGLET_RECORDINGS").map(PathBuf::from).filter(|place| place.is_dir())
}

/// The named columns, sample-major; a missing value takes the last.
fn read(path: &std::path::Path, channels: &[&str]) -> Result<Vec<f32>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or("").split(',').map(|c| c.trim().trim_matches('"')).collect();
    let find =
        |c: &&str| head.iter().position(|h| h == c).ok_or_else(|| format!("no column {c} in {head:?}"));
    let columns = channels.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut last = vec![0.0f32; channels.len()];
    let mut rows = Vec::new();
    for line in lines.take(40_000) {
        let cells: Vec<&str> = line.split(',').collect();
        for (last, &c) in last.iter_mut().zip(&columns) {
            if let Some(v) = cells.get(c).and_then(|v| v.trim().parse::<f32>().ok()).filter(|v| v.is_finite())
            {
                *last = v;
            }
        }
        rows.extend_from_slice(&last);
    }
    Ok(rows)
}

/// Normalised windows to train, to judge, to test.
fn split(rows: &[f32], n_channels: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let n_rows = rows.len() / n_channels;
    let n_train = n_rows * 7 / 10;
    let mut scaled = rows.to_vec();
    for c in 0..n_channels {
        let of = |r: usize| f64::from(rows[r * n_channels + c]);
        let mean = (0..n_train).map(of).sum::<f64>() / n_train as f64;
        let var = (0..n_train).map(|r| (of(r) - mean).powi(2)).sum::<f64>() / n_train as f64;
        let scale = 1.0 / var.sqrt().max(1e-9);
        scaled
            .iter_mut()
            .skip(c)
            .step_by(n_channels)
            .for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
    }
    let windows = |from: usize, to: usize, step: usize| -> Vec<f32> {
        let starts = (from..(to + 1).saturating_sub(N_SAMPLES)).step_by(step);
        starts.flat_map(|s| scaled[s * n_channels..(s + N_SAMPLES) * n_channels].iter().copied()).collect()
    };
    // Signals drift: judged by blocks from all over the training part, a whole window away from what trains.
    const BLOCK: usize = 15 * N_SAMPLES;
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for from in (0..n_train).step_by(BLOCK) {
        let middle = (from + BLOCK * 4 / 5).min(n_train);
        train.extend(windows(from, middle, 1));
        validation.extend(windows(middle, (from + BLOCK).min(n_train), 4));
    }
    (train, validation, windows(n_train, n_rows, N_SAMPLES))
}
