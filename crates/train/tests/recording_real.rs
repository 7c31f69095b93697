//! Real recordings, where they are at hand: period and steps as their makers state them.
// Helpers of tests may do what tests may do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::path::PathBuf;

use kinglet_train::recording::{
    Bound, Cut, Duplicates, Quantum, ReadOptions, Split, Windows, grid_for, read,
};

/// The folder with real recordings: `KINGLET_RECORDINGS`.
fn folder() -> Option<PathBuf> {
    std::env::var_os("KINGLET_RECORDINGS").map(PathBuf::from).filter(|place| place.is_dir())
}

/// `want`: rows, period in ms, then per channel its name, unit and step; `-` for none, `a<b` for a step of
/// a that was b before it was rounded for print.
fn check(file: &str, want: &str) {
    let Some(path) = folder().map(|f| f.join(file)).filter(|p| p.is_file()) else {
        println!("skipped: no {file}; set KINGLET_RECORDINGS to a folder that has it");
        return;
    };
    let options = ReadOptions { duplicates: Duplicates::Keep, ..ReadOptions::default() };
    let (recording, understood) = read(File::open(&path).unwrap(), &options).unwrap();
    println!("{understood}");
    let mut got = format!("{} {}", recording.len(), recording.period_ms());
    for channel in recording.channels() {
        let step = match Quantum::find(&channel.values) {
            None => "-".into(),
            Some(Quantum { step, rounded_from: Some(from), .. }) => format!("{step}<{from}"),
            Some(q) if q.n_on_grid < q.n_readings => format!("{} ({:.4})", q.step, q.share()),
            Some(q) => q.step.to_string(),
        };
        got += &format!(" | {} {} {step}", channel.name, channel.unit);
    }
    assert_eq!(got, want, "{file}");
    for n_samples in [1, 32, 256] {
        every_reading_keeps_its_bound(&recording, n_samples);
    }
}

/// Grids for 1 %: a reading and what its window says differ by no more than the bound leaves after `E`.
fn every_reading_keeps_its_bound(recording: &kinglet_train::recording::Recording, n_samples: usize) {
    let split = Split::by_time(recording.len(), 70);
    let bound: Bound = "1%".parse().unwrap();
    let grids: Vec<_> = recording
        .channels()
        .iter()
        .map(|c| grid_for(c, split.train.clone(), Quantum::find(&c.values).as_ref(), bound).unwrap())
        .collect();
    let plain: Vec<_> = grids.iter().map(|g| g.grid).collect();
    let windows = Windows::cut(recording, &plain, split.test.clone(), n_samples, Cut::AtGaps);
    assert_eq!(windows.n_samples(), split.test.len());
    for window in windows.iter() {
        for (at, &step) in window.steps.iter().enumerate() {
            let (sample, channel) = (at / windows.n_channels(), at % windows.n_channels());
            let reading = recording.channels()[channel].values.get(window.row + sample);
            let decoded = plain[channel].value(step);
            assert_eq!(reading.is_some(), decoded.is_some());
            let (Some(reading), Some(decoded)) = (reading, decoded) else { continue };
            let at = |d: kinglet_codec::Decimal| d.at_scale(15);
            let room =
                at(grids[channel].bound) - i128::from(plain[channel].bound_steps) * at(grids[channel].step);
            assert!((at(reading) - at(decoded)).abs() <= room, "{reading} {decoded} {:?}", grids[channel]);
        }
    }
}

#[test]
fn dht22() {
    check("dht22_pi.csv", "672 60000 | temperature °C 0.1 | humidity % 0.1");
}

#[test]
fn room() {
    check(
        "room_env.csv",
        "10129 30600 | s1_temp °C 0.01<0.0625 | s2_temp °C 0.01<0.0625 | s3_temp °C 0.01<0.0625 | s4_temp °C 0.01<0.0625 \
         | s1_light lx 1 | s2_light lx 1 | s3_light lx 1 | s4_light lx 1 | s5_co2 ppm 5",
    );
}

#[test]
fn office() {
    check("indoor_co2.csv", "20560 60000 | temperature °C - | humidity % - | light lx - | co2 ppm -");
}

#[test]
fn house() {
    check(
        "house_power.csv",
        "15922 60000 | active kW 0.002 | reactive kvar 0.002 | voltage V 0.01 | current A 0.2",
    );
}

#[test]
fn city_air() {
    check(
        "air_valencia.csv",
        "26129 3600000 | pm25 µg/m³ 1 | pm10 µg/m³ 1 | no2 µg/m³ 1 | o3 µg/m³ 1 | co mg/m³ 0.1",
    );
}

#[test]
fn heart() {
    check("ecg_mitbih100.csv", "60000 3 | MLII adu 1 | V5 adu 1");
}
