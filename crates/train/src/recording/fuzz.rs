//! The door for files, as a plain function over bytes. It must return for every input; where the bytes are
//! accepted, it also checks that nothing was lost on the way.

// These are checks: a broken promise has to panic.
#![allow(clippy::unwrap_used)]

use super::{
    Bound, ChosenGrid, Cut, Duplicates, Quantum, ReadOptions, RecordedChannel, Recording, Understood,
    Windows, grid_for, read, write,
};

/// Reads bytes as a recording, with the usual options and with those that change most.
pub fn fuzz_csv(bytes: &[u8]) {
    let other = ReadOptions {
        period_ms: Some(60_000),
        timezone: Some("Europe/Berlin".into()),
        duplicates: Duplicates::Keep,
        values_max: 64,
        ..ReadOptions::default()
    };
    for options in [ReadOptions::default(), other] {
        match read(bytes, &options) {
            Ok((recording, understood)) => check(&recording, &understood, &options),
            // Every refusal says what to do next, and stays short enough for a terminal.
            Err(error) => assert!((20..4000).contains(&error.to_string().len()), "{error}"),
        }
    }
}

fn check(recording: &Recording, understood: &Understood, options: &ReadOptions) {
    let n_dropped: u64 = understood.dropped.iter().map(|d| d.rows).sum();
    assert_eq!(understood.rows_read, understood.rows_kept + n_dropped);
    assert_eq!(understood.rows_kept, recording.len() as u64);
    assert_eq!(understood.channels.len(), recording.channels().len());
    assert!(recording.times_ms().is_sorted() && recording.len() >= 2);
    if options.duplicates == Duplicates::Merge {
        assert!(recording.times_ms().is_sorted_by(|a, b| a < b));
    }
    let shown = understood.to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    check_copy(recording, options);
    for channel in recording.channels() {
        assert!((1..=32).contains(&channel.name.len()) && channel.unit.len() <= 16, "{channel:?}");
        let quantum = Quantum::find(&channel.values);
        for bound in [Bound::Lossless, Bound::PercentOfDeviation("1".parse().unwrap())] {
            let Ok(chosen) = grid_for(channel, 0..recording.len(), quantum.as_ref(), bound) else { continue };
            check_bound(channel, &chosen);
            for cut in [Cut::AtGaps, Cut::ByRows] {
                let windows = Windows::cut(recording, &[chosen.grid], 0..recording.len(), 4, cut);
                assert!(windows.iter().all(|w| (1..=4).contains(&w.n_samples)));
            }
        }
    }
}

/// A decoder may be `E` steps off: what rounding to the grid took must leave room for that.
fn check_bound(channel: &RecordedChannel, chosen: &ChosenGrid) {
    let ChosenGrid { grid, bound, step, .. } = chosen;
    let room = bound.at_scale(15) - i128::from(grid.bound_steps) * step.at_scale(15);
    for reading in channel.values.iter().flatten() {
        if let Some(on_grid) = grid.value(grid.quantise(reading).step) {
            let off = (reading.at_scale(15) - on_grid.at_scale(15)).abs();
            assert!(off <= room, "{} is off by {off}, {chosen:?}", channel.name);
        }
    }
}

/// What is written of a recording is read as the same times and values.
fn check_copy(recording: &Recording, options: &ReadOptions) {
    let mut file = Vec::new();
    write(recording, &mut file).unwrap();
    let options = ReadOptions { duplicates: options.duplicates, ..ReadOptions::default() };
    // A channel without a reading in the sample, or rows all at one time, may be refused; never misread.
    let Ok((copy, _)) = read(file.as_slice(), &options) else { return };
    assert_eq!(copy.times_ms(), recording.times_ms());
    for channel in copy.channels() {
        assert!(recording.channels().iter().any(|c| c.values == channel.values), "{}", channel.name);
    }
}
