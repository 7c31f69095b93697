//! How many values a core decodes and encodes a second, window after window and one window at a time.
//!
//! `cargo bench -p kinglet-train --bench speed`. Windows of 32 samples of a generated climate at three bounds, and of the ECG
//! recording if the folder that `KINGLET_RECORDINGS` names has it.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot run shall say so")]
#![allow(clippy::disallowed_methods, reason = "a bench looks at the clock and at files")]
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use kinglet_codec::{Grid, Model, Window, decode, encode};
use kinglet_train::climate::{ClimateOptions, generate};
use kinglet_train::fit::{FitOptions, train};
use kinglet_train::recording::{Bound, Cut, ReadOptions, Recording, Windows, read};

/// Values a second that one core of a server shall decode.
const WANTED: f64 = 1e6;
/// Values decoded for one figure, about.
const VALUES: usize = 4_000_000;

fn main() {
    println!(
        "{:24} {:>12} {:>10} {:>14} {:>12}  hold/context/predict/latent/raw",
        "", "decode /s", "of 1 M/s", "one window us", "encode /s"
    );
    let climate = generate(&ClimateOptions { rows: 20_000, ..ClimateOptions::default() }).unwrap();
    for bound in ["lossless", "1%", "0.25,1"] {
        measure("climate T+RH", &climate, bound);
    }
    match ecg() {
        Some(recording) => ["lossless", "5%"].iter().for_each(|bound| measure("ECG", &recording, bound)),
        None => println!("ECG left out: name a folder with ecg_mitbih100.csv in KINGLET_RECORDINGS"),
    }
}

fn ecg() -> Option<Recording> {
    let folder = PathBuf::from(std::env::var_os("KINGLET_RECORDINGS")?);
    let file = std::fs::File::open(folder.join("ecg_mitbih100.csv")).ok()?;
    Some(read(file, &ReadOptions::default()).unwrap().0)
}

fn measure(name: &str, recording: &Recording, bound: &str) {
    let bounds = Bound::parse_list(bound).unwrap();
    let options = FitOptions { bounds, rows_max: 40_000, cut: Cut::ByRows, ..FitOptions::default() };
    let trained = train(recording, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let rungs = trained.report.evaluation.rungs;
    let model = trained.bundle.model();
    let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
    let rows = recording.len().min(40_000);
    let windows = Windows::cut(recording, &grids, rows * 7 / 10..rows, model.samples(), Cut::ByRows);
    let n_values = windows.iter().map(|window| window.steps.len()).sum::<usize>();
    let mut room = vec![0; model.workspace_len()];

    let mut out = vec![0; model.code_len_max()];
    let mut codes = Vec::with_capacity(windows.len());
    let started = Instant::now();
    for window in windows.iter() {
        let window = Window { steps: window.steps, off_grid: window.off_grid };
        let n = encode(&model, window, &mut room, &mut out).unwrap().code_len;
        codes.push(out[..n].to_vec());
    }
    let encoded = n_values as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    let n_rounds = VALUES.div_ceil(n_values);
    for _ in 0..n_rounds {
        codes.iter().for_each(|code| decode_one(&model, code, &mut room));
    }
    let decoded = (n_rounds * n_values) as f64 / started.elapsed().as_secs_f64();

    // One at a time: another model's and another request's bytes lie in the caches when the next comes.
    let mut elsewhere = vec![1u8; 8 << 20];
    let mut times: Vec<f64> = codes
        .iter()
        .take(200)
        .map(|code| {
            elsewhere.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
            black_box(&elsewhere);
            let started = Instant::now();
            decode_one(&model, code, &mut room);
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{:24} {decoded:12.0} {:9.1}x {:14.1} {encoded:12.0}  {:.2}/{:.2}/{:.2}/{:.2}/{:.2}",
        format!("{name} {bound}"),
        decoded / WANTED,
        times[times.len() / 2],
        rungs.hold,
        rungs.context,
        rungs.predict,
        rungs.latent,
        rungs.raw,
    );
}

fn decode_one(model: &Model<'_>, code: &[u8], room: &mut [i32]) {
    let mut steps = [0; 1024];
    black_box(decode(model, black_box(code), room, &mut steps).unwrap());
}
