//! Bytes per window on real recordings, beside every classical coder:
//! `cargo bench -p kinglet-train --bench codec [-- [CASE] [--classical | --ours] [--fast]]`.
//!
//! First 70 % of at most 40,000 rows train, the rest is coded in windows that decode alone; gaps are ignored and missing
//! values take the last one, for all coders alike. The second line of a case is a bundle for windows that may be coded after
//! the one before; of one in twenty, drawn by a seed, the device has not heard that it arrived. The last lines say what
//! is saved over the best classical coder whose tables fit 20 kB. `--classical` leaves ours out, `--ours` the others; `--fast` learns
//! with less effort; `--fixed` measures windows of a fixed size, cut at gaps, instead.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench prints, and stops at a broken file"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kinglet_train::fit::{Effort, FitOptions, train};
use kinglet_train::recording::{Bound, ColumnChoice, Cut, ReadOptions, Recording, read};
use kinglet_train::yardstick::{Prepared, Yardstick};

struct Case {
    name: &'static str,
    file: &'static str,
    channels: &'static str,
    /// Bounds of its own, beside lossless, 1 % and 5 %, and the samples of a window.
    own: &'static [(&'static str, u16)],
}

const ROOM: &str = "s1_temp_C,s2_temp_C,s3_temp_C,s4_temp_C";
const INDOOR: &str = "temperature_C,humidity_pct,co2_ppm";

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "room 4T", file: "room_env.csv", channels: ROOM, own: &[("0.1", 32)] },
    Case { name: "room CO2", file: "room_env.csv", channels: "s5_co2_ppm", own: &[] },
    Case { name: "indoor T+RH+CO2", file: "indoor_co2.csv", channels: INDOOR, own: &[] },
    Case { name: "indoor T", file: "indoor_co2.csv", channels: "temperature_C", own: &[("0.25", 32), ("0.25", 128)] },
    Case { name: "house kW+V", file: "house_power.csv", channels: "active_kW,voltage_V", own: &[] },
    Case { name: "ECG", file: "ecg_mitbih100.csv", channels: "MLII_adu,V5_adu", own: &[] },
    Case { name: "valencia no2+o3", file: "air_valencia.csv", channels: "no2_ugm3,o3_ugm3", own: &[] },
];

/// Bounds every case is measured at.
const BOUNDS: &[(&str, u16)] = &[("lossless", 32), ("1%", 32), ("5%", 32)];
/// Most bytes a device keeps.
const STATIC_LEN_MAX: usize = 20 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|a| !a.starts_with("--")).cloned().unwrap_or_default();
    let is_asked = |option: &str| arguments.iter().any(|a| a == option);
    let (is_ours_left_out, is_alone) = (is_asked("--classical"), is_asked("--ours"));
    let effort = if is_asked("--fast") { Effort::Fast } else { Effort::Normal };
    let yardsticks = if is_alone { &[][..] } else { Yardstick::ALL };
    let Some(folder) = recordings() else {
        println!("no recordings: name their folder in KINGLET_RECORDINGS");
        return;
    };
    if is_asked("--fixed") {
        return fixed(&folder, &filter, effort);
    }
    print!("{:30}", "bits per value");
    yardsticks.iter().for_each(|y| print!(" {:>8}", y.name()));
    println!("  {:>8} {:>7} {:>6} {:>4} {:>6} {:>5} rungs", "ours", "saved", "mean B", "p95", "static", "s");
    let mut saved: [Vec<[f64; 2]>; 2] = Default::default();
    let mut worst = Vec::new();
    for (case, &(bound, n_samples)) in
        CASES.iter().flat_map(|c| BOUNDS.iter().chain(c.own).map(move |b| (c, b)))
    {
        let name = format!("{} {bound} N={n_samples}", case.name);
        if !name.contains(&filter) {
            continue;
        }
        let recording = load(&folder, case);
        let bounds = Bound::parse_list(bound).unwrap();
        let options = FitOptions {
            bounds,
            n_samples,
            rows_max: 40_000,
            cut: Cut::ByRows,
            effort,
            ..FitOptions::default()
        };
        let prepared = match Prepared::new(&recording, &options) {
            Ok(prepared) => prepared,
            Err(why) => {
                println!("{name:30} not measured: {why}");
                continue;
            }
        };
        print!("{name:30}");
        let mut best = (f64::INFINITY, Yardstick::LastCtx);
        for &yardstick in yardsticks {
            let figure = prepared.measure(yardstick).unwrap();
            let bits = figure.bits_per_value(prepared.values());
            print!(" {bits:8.3}");
            if figure.static_bytes <= STATIC_LEN_MAX && bits < best.0 {
                best = (bits, yardstick);
            }
        }
        if is_ours_left_out {
            println!("  best {} {:.3}", best.1.name(), best.0);
            continue;
        }
        let started = Instant::now();
        let trained = train(&recording, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let report = &trained.report;
        let (ours, rungs) = (&report.evaluation, report.evaluation.rungs);
        let ratio = 1.0 - ours.bits_per_value / best.0;
        println!(
            "  {:8.3} {:+6.1}% {:6.2} {:4} {:6} {:5.1} {:.2}/{:.2}/{:.2}/{:.2}/{:.2} m={} best {}",
            ours.bits_per_value,
            100.0 * ratio,
            ours.payload_bytes_mean,
            ours.payload_bytes_p95,
            ours.static_bytes,
            started.elapsed().as_secs_f64(),
            rungs.hold,
            rungs.context,
            rungs.predict,
            rungs.latent,
            rungs.raw,
            report.lattice_divisor,
            best.1.name(),
        );
        // Networks for such windows are trained on such.
        let options = FitOptions { references: true, ..options.clone() };
        let trained = train(&recording, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let after = trained.report.references.unwrap();
        let ratio_after = 1.0 - after.bits_per_value / best.0;
        println!(
            "{:30}  {:8.3} {:+6.1}% {:6.2}   after the window before, {:.0} % not heard of; {:.2} refer",
            "",
            after.bits_per_value,
            100.0 * ratio_after,
            after.payload_bytes_mean,
            100.0 * after.loss,
            after.referring,
        );
        assert!(ours.max_error_over_bound.is_some_and(|e| e <= 1.0), "the bound is broken");
        if is_alone {
            continue;
        }
        saved[usize::from(best.0 <= 1.0)].push([ratio, ratio_after]);
        // One per cent or two bits a window, whichever is more.
        if ours.bits_per_value > (1.01 * best.0).max(best.0 + 2.0 / prepared.values() as f64) {
            worst.push(format!("{name} {:+.1}%", -100.0 * ratio));
        }
    }
    if is_ours_left_out || is_alone {
        return;
    }
    for (words, saved) in ["above 1 bit a value", "at most 1 bit a value"].iter().zip(&saved) {
        let [alone, after] =
            [0, 1].map(|of| 100.0 * saved.iter().map(|s| s[of]).sum::<f64>() / saved.len().max(1) as f64);
        println!(
            "where the best classical coder needs {words}: {alone:+.1}% saved, {after:+.1}% after the window before, mean of {}",
            saved.len()
        );
    }
    println!(
        "worse than 1 % and than 2 bits a window: {}",
        if worst.is_empty() { "none".into() } else { worst.join(", ") }
    );
}

/// Errors at a fixed size beside the transform's at the same, in deviations.
fn fixed(folder: &Path, filter: &str, effort: Effort) {
    println!("{:30} {:>3} {:>8} {:>8} {:>7} {:>6} {:>5}", "", "K", "ours", "KLT", "ratio", "static", "s");
    for (case, bytes) in CASES.iter().flat_map(|case| [4, 8, 16].map(|bytes| (case, bytes))) {
        if !case.channels.contains(',') || !case.name.contains(filter) {
            continue;
        }
        let options = FitOptions {
            bounds: Bound::parse_list("1%").unwrap(),
            fixed_bytes: Some(bytes),
            rows_max: 40_000,
            effort,
            ..FitOptions::default()
        };
        let started = Instant::now();
        let trained = train(&load(folder, case), &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let fixed = trained.report.fixed.unwrap();
        let klt = fixed.rms_klt.unwrap();
        println!(
            "{:30} {bytes:3} {:8.4} {klt:8.4} {:7.3} {:6} {:5.1}",
            case.name,
            fixed.rms,
            fixed.rms / klt,
            trained.bundle.device().len(),
            started.elapsed().as_secs_f64(),
        );
    }
}

fn recordings() -> Option<PathBuf> {
    std::env::var_os("KINGLET_RECORDINGS").map(PathBuf::from).filter(|place| place.is_dir())
}

fn load(folder: &Path, case: &Case) -> Recording {
    let file = std::fs::File::open(folder.join(case.file)).unwrap();
    let channels = case.channels.split(',').flat_map(ColumnChoice::parse_list).collect();
    read(file, &ReadOptions { channels: Some(channels), ..ReadOptions::default() }).unwrap().0
}
