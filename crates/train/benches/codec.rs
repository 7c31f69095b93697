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

use std::path::PathBuf;
use std::time::Instant;

use kinglet_codec::learn::Outline;
use kinglet_codec::{Decimal, Grid, Model};
use kinglet_train::fit::{Effort, Rows, Setup, judge, learn};
use kinglet_train::recording::{ColumnChoice, ReadOptions, read};

struct Case {
    name: &'static str,
    file: &'static str,
    /// Channel, its quantum (empty: none), and its bound (`5%` of the training deviation, or natural).
    channels: &'static [(&'static str, &'static str, &'static str)],
    /// Bits per value of the best entropy-coded classical coder, as measured once on the same split.
    classical: f64,
}

const CASES: &[Case] = &[
    Case {
        name: "room 4T lossless",
        file: "room_env.csv",
        channels: &[
            ("s1_temp_C", "0.01", "0"),
            ("s2_temp_C", "0.01", "0"),
            ("s3_temp_C", "0.01", "0"),
            ("s4_temp_C", "0.01", "0"),
        ],
        classical: 1.24,
    },
    Case {
        name: "room 4T 0.1",
        file: "room_env.csv",
        channels: &[
            ("s1_temp_C", "0.01", "0.1"),
            ("s2_temp_C", "0.01", "0.1"),
            ("s3_temp_C", "0.01", "0.1"),
            ("s4_temp_C", "0.01", "0.1"),
        ],
        classical: 0.21,
    },
    Case {
        name: "room CO2 lossless",
        file: "room_env.csv",
        channels: &[("s5_co2_ppm", "5", "0")],
        classical: 0.70,
    },
    Case {
        name: "indoor T+RH+CO2 1%",
        file: "indoor_co2.csv",
        channels: &[("temperature_C", "", "1%"), ("humidity_pct", "", "1%"), ("co2_ppm", "", "1%")],
        classical: 2.05,
    },
    Case {
        name: "indoor T 0.25",
        file: "indoor_co2.csv",
        channels: &[("temperature_C", "", "0.25")],
        classical: 0.27,
    },
    Case {
        name: "house kW+V 1%",
        file: "house_power.csv",
        channels: &[("active_kW", "0.002", "1%"), ("voltage_V", "0.01", "1%")],
        classical: 4.48,
    },
    Case {
        name: "ECG lossless",
        file: "ecg_mitbih100.csv",
        channels: &[("MLII_adu", "1", "0"), ("V5_adu", "1", "0")],
        classical: 3.57,
    },
    Case {
        name: "ECG 5%",
        file: "ecg_mitbih100.csv",
        channels: &[("MLII_adu", "1", "5%"), ("V5_adu", "1", "5%")],
        classical: 2.13,
    },
    Case {
        name: "valencia no2+o3 lossless",
        file: "air_valencia.csv",
        channels: &[("no2_ugm3", "1", "0"), ("o3_ugm3", "1", "0")],
        classical: 4.56,
    },
];

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let Some(folder) = recordings() else {
        println!("no recordings: put them into `recordings/` or name their folder in KINGLET_RECORDINGS");
        return;
    };
    println!(
        "{:26} {:>9} {:>9} {:>7} {:>6} {:>5} {:>6} {:>6} {:>5}  rungs hold/context/latent/raw",
        "recording", "bits/val", "classical", "ratio", "mean B", "p95", "static", "max/E", "s"
    );
    for case in CASES.iter().filter(|c| c.name.contains(&filter)) {
        let started = Instant::now();
        let (setup, train, test) = load(&folder, case);
        let learned = learn(&setup, &train).unwrap();
        let bytes = learned.parts.emit();
        let judged = judge(&Model::parse(&bytes).unwrap(), &test);
        let r = judged.rungs;
        println!(
            "{:26} {:9.3} {:9.2} {:+6.1}% {:6.2} {:5} {:6} {:6.2} {:5.1}  {}/{}/{}/{} m={}",
            case.name,
            judged.bits_per_value(),
            case.classical,
            (judged.bits_per_value() / case.classical - 1.0) * 100.0,
            judged.mean(),
            judged.p95(),
            bytes.len(),
            judged.max_error_over_bound,
            started.elapsed().as_secs_f64(),
            r[0],
            r[1],
            r[2],
            r[3],
            learned.divisor,
        );
    }
}

fn recordings() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("KINGLET_RECORDINGS").map(PathBuf::from);
    let places = named.into_iter().chain([root.join("recordings"), root.join("../shared/data")]);
    places.into_iter().find(|place| place.is_dir())
}

fn load(folder: &std::path::Path, case: &Case) -> (Setup, Rows, Rows) {
    let file = std::fs::File::open(folder.join(case.file)).unwrap();
    let columns = case.channels.iter().flat_map(|c| ColumnChoice::parse_list(c.0)).collect();
    let (recording, _) =
        read(file, &ReadOptions { channels: Some(columns), ..ReadOptions::default() }).unwrap();
    let n = recording.len().min(40_000);
    let n_train = n * 7 / 10;
    let mut outlines = Vec::new();
    let mut columns = Vec::new();
    for (channel, &(name, quantum, bound)) in recording.channels().iter().zip(case.channels) {
        let values: Vec<Decimal> = channel.values.iter().take(n).flatten().collect();
        let train: Vec<f64> = channel.values.iter().take(n_train).flatten().map(to_f64).collect();
        let bound: Decimal = match bound.strip_suffix('%') {
            Some(percent) => {
                format!("{:.6}", deviation(&train) * percent.parse::<f64>().unwrap() / 100.0).parse().unwrap()
            }
            None => bound.parse().unwrap(),
        };
        let quantum: Decimal = if quantum.is_empty() {
            format!("{:.8}", to_f64(bound) / 64.0).parse().unwrap()
        } else {
            quantum.parse().unwrap()
        };
        let scale = quantum.scale().max(values[0].scale()).max(bound.scale());
        let origin = values.iter().min().unwrap();
        let on_grid = quantum.mantissa() != 0 && case.channels.iter().any(|c| c.0 == name && !c.1.is_empty());
        let (b, q) = (bound.at_scale(scale), quantum.at_scale(scale));
        let bound_steps = if on_grid { b / q } else { (2 * b - q) / (2 * q) };
        let grid = Grid {
            scale,
            origin: origin.at_scale(scale) as i64,
            quantum: q as i64,
            bound_steps: bound_steps as u32,
        };
        let mut last = 0;
        let steps: Vec<i32> = channel
            .values
            .iter()
            .take(n)
            .map(|v| {
                last = v.map_or(last, |v| grid.quantise(v).step);
                last
            })
            .collect();
        let range = (*steps[..n_train].iter().min().unwrap(), *steps[..n_train].iter().max().unwrap());
        outlines.push(Outline::new(name, grid, range));
        columns.push(steps);
    }
    let steps = (0..n).flat_map(|t| columns.iter().map(move |c| c[t])).collect();
    let rows = Rows { n_channels: columns.len(), steps, breaks: Vec::new() };
    let (train, test) = (rows.slice(0..n_train), rows.slice(n_train..n));
    let setup = Setup {
        n_samples: 32,
        period_ms: recording.period_ms(),
        max_delay_ms: 3_600_000,
        channels: outlines,
        effort: Effort::Normal,
        n_tables_max: 32,
    };
    (setup, train, test)
}

fn to_f64(d: Decimal) -> f64 {
    d.mantissa() as f64 / 10f64.powi(i32::from(d.scale()))
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}
