//! Recordings cut into windows of grid steps, and split into a part to learn from and one to judge by.

use std::ops::Range;

use kinglet_codec::{Grid, MISSING};

use super::series::Recording;

/// Below this period stamps in whole milliseconds are too coarse to hold samples against a clock.
const STEADY_PERIOD_MS: u32 = 20;

/// Rows to learn from, and the later rows to judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The first rows.
    pub train: Range<usize>,
    /// The rest.
    pub test: Range<usize>,
}

impl Split {
    /// The first `train_percent` of the first `n_rows` rows to learn from. 70 is the usual figure.
    pub fn by_time(n_rows: usize, train_percent: usize) -> Self {
        let middle = (n_rows as u128 * train_percent.min(100) as u128 / 100) as usize;
        Self { train: 0..middle, test: middle..n_rows }
    }
}

/// Where a window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As a device does: when it is full, at a gap, and where a sample's own time is more than half a period
    /// from the time the window would give it. Missing readings stay missing.
    AtGaps,
    /// For figures that compare coders: by rows alone, whole windows only, and a missing reading repeats the
    /// last one (before the first: the first).
    ByRows,
}

/// Windows of one recording, one after the other.
#[derive(Clone, Debug)]
pub struct Windows {
    n_channels: usize,
    steps: Vec<i32>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    row: usize,
    n_samples: usize,
    start: usize,
    t_first_ms: i64,
    off_grid: bool,
}

/// One window of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutWindow<'a> {
    /// `[samples × channels]` grid steps, sample-major.
    pub steps: &'a [i32],
    /// Samples.
    pub n_samples: usize,
    /// The recording's row of its first sample.
    pub row: usize,
    /// Time of its first sample, Unix milliseconds.
    pub t_first_ms: i64,
    /// True if a reading lies beside its grid.
    pub off_grid: bool,
}

impl Windows {
    /// Cuts `rows` of a recording into windows of at most `n_samples` (at least 1).
    ///
    /// `grids`: one per channel of the recording, in its order; further channels are left out.
    pub fn cut(
        recording: &Recording,
        grids: &[Grid],
        rows: Range<usize>,
        n_samples: usize,
        cut: Cut,
    ) -> Self {
        let (n_samples, end) = (n_samples.max(1), rows.end.min(recording.len()));
        let mut windows = Self {
            n_channels: grids.len().min(recording.channels().len()),
            steps: Vec::new(),
            spans: Vec::new(),
        };
        windows.steps.reserve(end.saturating_sub(rows.start) * windows.n_channels);
        let mut last = match cut {
            Cut::AtGaps => Vec::new(),
            Cut::ByRows => windows.first_known(recording, grids, rows.start..end),
        };
        for row in rows.start..end {
            let is_done = match windows.spans.last() {
                None => true,
                Some(span) => {
                    span.n_samples == n_samples || (cut == Cut::AtGaps && is_cut(recording, *span, row))
                }
            };
            if is_done {
                let (start, t_first_ms) = (windows.steps.len(), recording.times_ms()[row]);
                windows.spans.push(Span { row, n_samples: 0, start, t_first_ms, off_grid: false });
            }
            let off_grid = windows.push_sample(recording, grids, row, &mut last);
            if let Some(span) = windows.spans.last_mut() {
                span.n_samples += 1;
                span.off_grid |= off_grid;
            }
        }
        if cut == Cut::ByRows {
            windows.spans.pop_if(|span| span.n_samples < n_samples);
        }
        windows
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Channels per sample.
    pub fn n_channels(&self) -> usize {
        self.n_channels
    }

    /// Samples in all windows.
    pub fn n_samples(&self) -> usize {
        self.spans.iter().map(|s| s.n_samples).sum()
    }

    /// Window `idx`.
    pub fn get(&self, idx: usize) -> Option<CutWindow<'_>> {
        let &Span { row, n_samples, start, t_first_ms, off_grid } = self.spans.get(idx)?;
        let steps = &self.steps[start..start + n_samples * self.n_channels];
        Some(CutWindow { steps, n_samples, row, t_first_ms, off_grid })
    }

    /// All windows in order of time.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CutWindow<'_>> {
        (0..self.len()).filter_map(|idx| self.get(idx)).collect::<Vec<_>>().into_iter()
    }

    /// Appends the steps of one row; true if a reading lies beside its grid. `last`, if not empty, fills in
    /// for what is missing.
    fn push_sample(&mut self, recording: &Recording, grids: &[Grid], row: usize, last: &mut [i32]) -> bool {
        let mut off_grid = false;
        for (idx, (channel, grid)) in recording.channels().iter().zip(grids).enumerate() {
            let step = match channel.values.get(row) {
                Some(reading) => {
                    let quantised = grid.quantise(reading);
                    off_grid |= !quantised.exact;
                    quantised.step
                }
                None => last.get(idx).copied().unwrap_or(MISSING),
            };
            if let Some(last) = last.get_mut(idx) {
                *last = step;
            }
            self.steps.push(step);
        }
        off_grid
    }

    /// Each channel's first reading in `rows`; step 0 if it has none.
    fn first_known(&self, recording: &Recording, grids: &[Grid], rows: Range<usize>) -> Vec<i32> {
        let channels = recording.channels().iter().zip(grids);
        let first = channels.map(|(channel, grid)| {
            let reading = rows.clone().find_map(|row| channel.values.get(row));
            reading.map_or(0, |reading| grid.quantise(reading).step)
        });
        first.collect()
    }
}

/// True if the sample in `row` does not belong to the window so far.
fn is_cut(recording: &Recording, span: Span, row: usize) -> bool {
    let (times_ms, period_ms) = (recording.times_ms(), i64::from(recording.period_ms()));
    let interval_ms = times_ms[row] - times_ms[row - 1];
    let due_ms = span.t_first_ms + span.n_samples as i64 * period_ms;
    let drifted = 2 * (times_ms[row] - due_ms).abs() > period_ms;
    2 * interval_ms > 3 * period_ms || (drifted && recording.period_ms() >= STEADY_PERIOD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::RecordedChannel;

    const ONES: Grid = Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false };

    /// `rows`: time in s and value, `_` for missing. `want`: windows as `time:steps`.
    fn check(rows: &str, cut: Cut, want: &str) {
        let rows: Vec<_> = rows.split_whitespace().map(|r| r.split_once('=').unwrap()).collect();
        let times_ms = rows.iter().map(|(t, _)| t.parse::<i64>().unwrap() * 1000).collect();
        let values = rows.iter().map(|(_, v)| v.parse().ok()).collect();
        let channel = RecordedChannel { name: "x".into(), unit: String::new(), values };
        let recording = Recording::new(times_ms, vec![channel], 10_000).unwrap();
        let windows = Windows::cut(&recording, &[ONES], 0..recording.len(), 3, cut);
        let shown = windows.iter().map(|w| {
            let steps = w.steps.iter().map(|&s| if s == MISSING { "_".into() } else { s.to_string() });
            let steps: Vec<String> = steps.collect();
            format!("{}:{}{}", w.t_first_ms / 1000, steps.join(","), if w.off_grid { "!" } else { "" })
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), want);
    }

    #[test]
    fn a_device_cuts_when_full_at_gaps_and_when_time_drifts() {
        check("0=1 10=2 20=3 30=4", Cut::AtGaps, "0:1,2,3 30:4");
        check("0=1 10=_ 30=3 40=4", Cut::AtGaps, "0:1,_ 30:3,4");
        check("0=1 13=2 26=3 36=4", Cut::AtGaps, "0:1,2 26:3,4");
        check("0=1 0=2 10=3", Cut::AtGaps, "0:1 0:2,3");
        check("0=1.5 10=2 20=3 30=4", Cut::AtGaps, "0:2,2,3! 30:4");
    }

    #[test]
    fn figures_cut_by_rows_and_repeat_what_is_missing() {
        check("0=_ 10=2 900=3 910=4 920=_ 930=5 940=6", Cut::ByRows, "0:2,2,3 910:4,4,5");
        check("0=1 10=2", Cut::ByRows, "");
    }

    #[test]
    fn the_split_is_by_time() {
        assert_eq!(Split::by_time(10, 70), Split { train: 0..7, test: 7..10 });
        assert_eq!(Split::by_time(1, 70), Split { train: 0..0, test: 0..1 });
        assert_eq!(Split::by_time(5, 100), Split { train: 0..5, test: 5..5 });
    }
}
