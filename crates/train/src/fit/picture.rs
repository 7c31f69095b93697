//! What a report shows of a bundle and its recording: numbers to draw from, no drawing.

use std::ops::Range;

use kinglet_codec::{Grid, Model, Window};

use super::evaluate::{bound_of, to_f64};
use super::judge::judge_windows;
use crate::recording::{Cut, Recording, Windows};

/// Numbers for a report.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Picture {
    /// Time of the first sample that was not learned from, Unix milliseconds.
    pub t_judged_ms: i64,
    /// First and last time, Unix milliseconds.
    pub t_range_ms: (i64, i64),
    /// Sampling period.
    pub period_ms: u32,
    /// Longest gaps first.
    pub gaps: Vec<GapShown>,
    /// Gaps in all.
    pub n_gaps: usize,
    /// Windows judged by, by the bytes of their code: `(bytes, windows)`, ascending.
    pub code_lens: Vec<(usize, usize)>,
    /// The channels.
    pub channels: Vec<ChannelPicture>,
}

/// A gap in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GapShown {
    /// Time of the sample before it.
    pub t_ms: i64,
    /// Its length.
    pub len_ms: i64,
}

/// A channel to be drawn.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChannelPicture {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The bound in its unit; 0 is lossless.
    pub bound: f64,
    /// Samples without a reading.
    pub missing: usize,
    /// The whole recording, thinned out: lowest and highest reading of each stretch of time.
    pub overview: Vec<Column>,
    /// Samples judged by, in the most restless part of them.
    pub stretch: Vec<SampleShown>,
    /// Errors of all readings judged by, decoded less measured, from minus one bound to one, in [`ERROR_BINS`] bins.
    pub errors: Vec<usize>,
    /// Readings that came back exactly.
    pub n_exact: usize,
}

/// Lowest and highest reading of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Column {
    /// When it begins.
    pub t_ms: i64,
    /// Lowest reading.
    pub low: f64,
    /// Highest reading.
    pub high: f64,
}

/// One reading and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SampleShown {
    /// When it was measured.
    pub t_ms: i64,
    /// What was measured.
    pub measured: Option<f64>,
    /// What a server reads.
    pub decoded: Option<f64>,
}

/// Bins of [`ChannelPicture::errors`].
pub const ERROR_BINS: usize = 41;
const COLUMNS: i64 = 480;
const STRETCH_LEN: usize = 192;
const GAPS_MAX: usize = 12;
/// Most samples that are decoded for the picture.
const JUDGED_MAX: usize = 60_000;

/// Draws up what `model` makes of `rows` of `recording`, which it has not seen. The recording has its channels.
pub fn picture(model: &Model<'_>, recording: &Recording, rows: Range<usize>, cut: Cut) -> Picture {
    let n_channels = model.channels();
    let grids: Vec<Grid> = (0..n_channels).map(|idx| model.channel(idx).grid).collect();
    let rows = rows.start.min(recording.len() - 1)..rows.end.min(recording.len());
    let judged = rows.start..rows.end.min(rows.start + JUDGED_MAX);
    let windows = Windows::cut(recording, &grids, judged.clone(), model.samples(), cut);
    let mut decoded = vec![None; judged.len() * n_channels];
    let given = windows.iter().map(|w| Window { steps: w.steps, off_grid: w.off_grid });
    let seen = judge_windows(model, given, |at, read| {
        let Some(window) = windows.get(at) else { return };
        let from = (window.row - judged.start) * n_channels;
        for (to, (at, &step)) in decoded[from..].iter_mut().zip(read.iter().enumerate()) {
            *to = grids[at % n_channels].value(step).map(to_f64);
        }
    });
    let mut lens: Vec<usize> = seen.code_lens.iter().map(|&n| n as usize).collect();
    lens.sort_unstable();
    let code_lens = lens.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect();
    let shown = restless(recording, judged.clone());
    let times = recording.times_ms();
    let mut gaps: Vec<GapShown> =
        recording.gaps().map(|gap| GapShown { t_ms: times[gap.row - 1], len_ms: gap.len_ms }).collect();
    let n_gaps = gaps.len();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.len_ms));
    gaps.truncate(GAPS_MAX);
    let channel = |idx: usize| {
        let of = |row: usize| decoded[(row - judged.start) * n_channels + idx];
        channel_picture(recording, idx, to_f64(bound_of(&grids[idx])), (judged.clone(), shown.clone()), &of)
    };
    Picture {
        t_judged_ms: times[rows.start],
        t_range_ms: (times[0], times[times.len() - 1]),
        period_ms: recording.period_ms(),
        gaps,
        n_gaps,
        code_lens,
        channels: (0..n_channels).map(channel).collect(),
    }
}

fn channel_picture(
    recording: &Recording,
    idx: usize,
    bound: f64,
    (judged, shown): (Range<usize>, Range<usize>),
    decoded: &dyn Fn(usize) -> Option<f64>,
) -> ChannelPicture {
    let channel = &recording.channels()[idx];
    let reading = |row: usize| channel.values.get(row).map(to_f64);
    let mut errors = vec![0; ERROR_BINS];
    let mut n_exact = 0;
    for (measured, decoded) in judged.filter_map(|row| Some((reading(row)?, decoded(row)?))) {
        let error = decoded - measured;
        n_exact += usize::from(error.abs() < 1e-9);
        let place = if bound > 0.0 { (error / bound).clamp(-1.0, 1.0) } else { 0.0 };
        errors[((place + 1.0) / 2.0 * (ERROR_BINS - 1) as f64).round() as usize] += 1;
    }
    ChannelPicture {
        name: channel.name.clone(),
        unit: channel.unit.clone(),
        bound,
        missing: (0..recording.len()).filter(|&row| channel.values.get(row).is_none()).count(),
        overview: overview(recording, &reading),
        stretch: shown
            .map(|row| SampleShown {
                t_ms: recording.times_ms()[row],
                measured: reading(row),
                decoded: decoded(row),
            })
            .collect(),
        errors,
        n_exact,
    }
}

fn overview(recording: &Recording, reading: &dyn Fn(usize) -> Option<f64>) -> Vec<Column> {
    let times = recording.times_ms();
    let (first, last) = (times[0], times[times.len() - 1]);
    let width = ((last - first) / COLUMNS).max(1);
    let mut columns: Vec<Column> = Vec::new();
    for (row, &t_ms) in times.iter().enumerate() {
        let Some(value) = reading(row) else { continue };
        let begins = first + (t_ms - first) / width * width;
        match columns.last_mut() {
            Some(column) if column.t_ms == begins => {
                (column.low, column.high) = (column.low.min(value), column.high.max(value));
            }
            _ => columns.push(Column { t_ms: begins, low: value, high: value }),
        }
    }
    columns
}

/// The stretch in which readings move most, by channels' own measure: what is hardest is worth looking at.
fn restless(recording: &Recording, rows: Range<usize>) -> Range<usize> {
    let len = STRETCH_LEN.min(rows.len());
    let mut moves = vec![0.0; rows.len()];
    for channel in recording.channels() {
        let step = |row: usize| {
            let (a, b) = (channel.values.get(row.checked_sub(1)?)?, channel.values.get(row)?);
            Some((to_f64(b) - to_f64(a)).abs())
        };
        let steps: Vec<f64> = rows.clone().map(|row| step(row).unwrap_or(0.0)).collect();
        let mean = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
        moves.iter_mut().zip(&steps).for_each(|(sum, step)| *sum += (step / mean.max(1e-12)).min(8.0));
    }
    let mut sum: f64 = moves[..len].iter().sum();
    let (mut best, mut most) = (0, sum);
    for from in 1..=moves.len() - len {
        sum += moves[from + len - 1] - moves[from - 1];
        if sum > most {
            (best, most) = (from, sum);
        }
    }
    rows.start + best..rows.start + best + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::climate::{ClimateOptions, generate};
    use crate::fit::{Effort, FitOptions, train};
    use crate::recording::{Bound, Split};

    fn drawn(bound: &str, rows: usize) -> Picture {
        let recording = generate(&ClimateOptions { rows, ..ClimateOptions::default() }).unwrap();
        let options = FitOptions {
            bounds: Bound::parse_list(bound).unwrap(),
            effort: Effort::Fast,
            n_latents: Some(0),
            ..FitOptions::default()
        };
        let trained = train(&recording, &options, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        let test = Split::by_time(rows, 70).test;
        picture(&trained.bundle.model(), &recording, test, Cut::AtGaps)
    }

    #[test]
    fn what_is_drawn_keeps_its_bound_and_counts_everything() {
        let picture = drawn("0.3,1", 3000);
        assert_eq!(picture.channels.len(), 2);
        for channel in &picture.channels {
            let n_missing = channel.stretch.iter().filter(|s| s.measured.is_none()).count();
            assert_eq!(channel.stretch.len(), STRETCH_LEN);
            assert!(channel.errors.iter().sum::<usize>() + n_missing > 850);
            assert!(channel.n_exact > 0 && channel.overview.len() as i64 <= COLUMNS + 1);
            for sample in &channel.stretch {
                let (Some(a), Some(b)) = (sample.measured, sample.decoded) else { continue };
                assert!((a - b).abs() <= channel.bound + 1e-9, "{sample:?}");
            }
        }
        assert!(picture.code_lens.is_sorted_by_key(|(len, _)| *len));
        assert!(picture.code_lens.iter().map(|(_, n)| n).sum::<usize>() >= 900 / 32);
    }

    #[test]
    fn without_a_bound_every_error_is_none() {
        let channel = drawn("lossless", 600).channels.remove(0);
        assert_eq!(channel.bound, 0.0);
        assert_eq!(channel.errors[ERROR_BINS / 2], channel.n_exact);
    }
}
