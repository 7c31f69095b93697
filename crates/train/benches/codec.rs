//! Bytes per window on real recordings: `cargo bench -p kinglet-train --bench codec [-- CASE]`.
//!
//! First 70 % of at most 40,000 rows train, the rest is coded in windows of 32 samples that decode alone; gaps are
//! ignored and missing values take the last one, so that figures compare with coders that know neither.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench prints, and stops at a broken file"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kinglet_train::fit::{FitOptions, train};
use kinglet_train::recording::{Bound, ColumnChoice, Cut, ReadOptions, Recording, read};

struct Case {
    name: &'static str,
    file: &'static str,
    channels: &'static str,
    bound: &'static str,
    /// Bits per value of the best entropy-coded classical coder, as measured once on the same split.
    classical: f64,
}

const ROOM: &str = "s1_temp_C,s2_temp_C,s3_temp_C,s4_temp_C";
const INDOOR: &str = "temperature_C,humidity_pct,co2_ppm";

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "room 4T lossless", file: "room_env.csv", channels: ROOM, bound: "lossless", classical: 1.24 },
    Case { name: "room 4T 0.1", file: "room_env.csv", channels: ROOM, bound: "0.1", classical: 0.21 },
    Case { name: "room CO2 lossless", file: "room_env.csv", channels: "s5_co2_ppm", bound: "lossless", classical: 0.70 },
    Case { name: "indoor T+RH+CO2 1%", file: "indoor_co2.csv", channels: INDOOR, bound: "1%", classical: 2.05 },
    Case { name: "indoor T 0.25", file: "indoor_co2.csv", channels: "temperature_C", bound: "0.25", classical: 0.27 },
    Case { name: "house kW+V 1%", file: "house_power.csv", channels: "active_kW,voltage_V", bound: "1%", classical: 4.48 },
    Case { name: "ECG lossless", file: "ecg_mitbih100.csv", channels: "MLII_adu,V5_adu", bound: "lossless", classical: 3.57 },
    Case { name: "ECG 5%", file: "ecg_mitbih100.csv", channels: "MLII_adu,V5_adu", bound: "5%", classical: 2.13 },
    Case { name: "valencia no2+o3 lossless", file: "air_valencia.csv", channels: "no2_ugm3,o3_ugm3", bound: "lossless", classical: 4.56 },
];

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let Some(folder) = recordings() else {
        println!("no recordings: put them into `recordings/` or name their folder in KINGLET_RECORDINGS");
        return;
    };
    println!(
        "{:26} {:>9} {:>9} {:>7} {:>6} {:>5} {:>6} {:>6} {:>5}  rungs hold/context/predict/latent/raw",
        "recording", "bits/val", "classical", "ratio", "mean B", "p95", "static", "max/E", "s"
    );
    for case in CASES.iter().filter(|c| c.name.contains(&filter)) {
        let started = Instant::now();
        let bounds = Bound::parse_list(case.bound).unwrap();
        let options = FitOptions { bounds, rows_max: 40_000, cut: Cut::ByRows, ..FitOptions::default() };
        let report =
            train(&load(&folder, case), &options, &mut |_| ControlFlow::Continue(())).unwrap().report;
        let judged = report.evaluation;
        let rungs = judged.rungs;
        println!(
            "{:26} {:9.3} {:9.2} {:+6.1}% {:6.2} {:5} {:6} {:6.2} {:5.1}  {:.2}/{:.2}/{:.2}/{:.2}/{:.2} m={}",
            case.name,
            judged.bits_per_value,
            case.classical,
            (judged.bits_per_value / case.classical - 1.0) * 100.0,
            judged.payload_bytes_mean,
            judged.payload_bytes_p95,
            judged.static_bytes,
            judged.max_error_over_bound.unwrap_or(f64::NAN),
            started.elapsed().as_secs_f64(),
            rungs.hold,
            rungs.context,
            rungs.predict,
            rungs.latent,
            rungs.raw,
            report.lattice_divisor,
        );
    }
}

fn recordings() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("KINGLET_RECORDINGS").map(PathBuf::from);
    let places = named.into_iter().chain([root.join("recordings"), root.join("../shared/data")]);
    places.into_iter().find(|place| place.is_dir())
}

fn load(folder: &Path, case: &Case) -> Recording {
    let file = std::fs::File::open(folder.join(case.file)).unwrap();
    let channels = case.channels.split(',').flat_map(ColumnChoice::parse_list).collect();
    read(file, &ReadOptions { channels: Some(channels), ..ReadOptions::default() }).unwrap().0
}
