//! A bundle on a recording: bytes, and errors against the very numbers the sensor gave.

use std::ops::Range;

use kinglet_codec::{Decimal, Grid, Model, Window};

use super::judge::{Judgement, judge_windows};
use super::train::FitError;
use crate::recording::{Cut, Recording, Windows};

/// What a bundle does with a recording.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Evaluation {
    /// Windows coded.
    pub windows: usize,
    /// Readings coded, missing ones not counted.
    pub values: usize,
    /// Bits of code per reading.
    pub bits_per_value: f64,
    /// Mean bytes of a code.
    pub payload_bytes_mean: f64,
    /// The code length 95 % of the windows do not exceed.
    pub payload_bytes_p95: u32,
    /// Bytes of the longest code.
    pub payload_bytes_max: u32,
    /// Largest error in units of the channel's bound; 1 or less: the bound held. Null where a bundle has none.
    pub max_error_over_bound: Option<f64>,
    /// Bytes a device keeps.
    pub static_bytes: usize,
    /// Bytes of memory a device needs to encode: workspace, window and code.
    pub ram_bytes: usize,
    /// Share of the windows each rung won.
    pub rungs: RungShares,
    /// Each channel.
    pub channels: Vec<ChannelEvaluation>,
}

/// Shares of windows, adding up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[allow(missing_docs, reason = "named as the rungs are")]
pub struct RungShares {
    pub hold: f64,
    pub context: f64,
    pub predict: f64,
    pub latent: f64,
    pub raw: f64,
    pub fixed: f64,
}

/// One channel of an [`Evaluation`].
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChannelEvaluation {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The bound in its unit, as the grid keeps it; 0 is lossless.
    pub bound: String,
    /// Largest error in its unit.
    pub max_error: f64,
    /// Root of the mean squared error in its unit.
    pub rms_error: f64,
    /// Readings that lay beside a grid which leaves no room for that.
    pub off_grid: usize,
}

/// Codes `rows` of `recording` with `model` and compares every reading with what a decoder reads.
///
/// The recording has the model's channels, in the model's order.
pub fn evaluate(
    model: &Model<'_>,
    recording: &Recording,
    rows: Range<usize>,
    cut: Cut,
) -> Result<Evaluation, FitError> {
    evaluate_as(model, recording, rows, cut, model.samples())
}

/// The same in windows of at most `n_samples`, as a device cuts them that may not wait for a full one.
pub(crate) fn evaluate_as(
    model: &Model<'_>,
    recording: &Recording,
    rows: Range<usize>,
    cut: Cut,
    n_samples: usize,
) -> Result<Evaluation, FitError> {
    let n_channels = model.channels();
    if recording.channels().len() != n_channels {
        return Err(FitError::Channels { have: recording.channels().len(), need: n_channels });
    }
    let grids: Vec<Grid> = (0..n_channels).map(|idx| model.channel(idx).grid).collect();
    let windows = Windows::cut(recording, &grids, rows, n_samples, cut);
    let mut errors = vec![Errors::default(); n_channels];
    let given = windows.iter().map(|w| Window { steps: w.steps, off_grid: w.off_grid });
    let judged = judge_windows(model, given, |at, read| {
        let Some(window) = windows.get(at) else { return };
        for (at, &step) in read.iter().enumerate() {
            let (row, idx) = (window.row + at / n_channels, at % n_channels);
            // Where a missing reading was filled in there is nothing to compare with.
            let Some(truth) = recording.channels()[idx].values.get(row) else { continue };
            errors[idx].add(&grids[idx], truth, step);
        }
    });
    Ok(summary(model, &judged, &errors, &grids))
}

fn summary(model: &Model<'_>, judged: &Judgement, errors: &[Errors], grids: &[Grid]) -> Evaluation {
    let channel = |(idx, (errors, grid)): (usize, (&Errors, &Grid))| ChannelEvaluation {
        name: model.channel(idx).name.to_string(),
        unit: model.channel(idx).unit.to_string(),
        bound: bound_of(grid).to_string(),
        max_error: errors.max,
        rms_error: (errors.sum_squared / errors.n.max(1) as f64).sqrt(),
        off_grid: errors.n_off_grid,
    };
    let share = |at: usize| judged.rungs[at] as f64 / judged.n_windows.max(1) as f64;
    let worst = errors.iter().map(|e| e.max_over_bound).fold(0.0, f64::max);
    Evaluation {
        windows: judged.n_windows,
        values: judged.n_values,
        bits_per_value: judged.bits_per_value(),
        payload_bytes_mean: judged.mean(),
        payload_bytes_p95: judged.p95(),
        payload_bytes_max: judged.code_lens.iter().copied().max().unwrap_or(0),
        max_error_over_bound: model.fixed_code_len().is_none().then_some(worst),
        static_bytes: model.bytes().len(),
        ram_bytes: ram_bytes(model),
        rungs: RungShares {
            hold: share(0),
            context: share(1),
            predict: share(2),
            latent: share(3),
            raw: share(4),
            fixed: share(5),
        },
        channels: errors.iter().zip(grids).enumerate().map(channel).collect(),
    }
}

/// Bytes of memory to encode: workspace, window, code.
fn ram_bytes(model: &Model<'_>) -> usize {
    4 * (model.workspace_len() + model.samples() * model.channels()) + model.code_len_max()
}

#[derive(Clone, Debug, Default)]
struct Errors {
    n: usize,
    n_off_grid: usize,
    max: f64,
    sum_squared: f64,
    max_over_bound: f64,
}

impl Errors {
    fn add(&mut self, grid: &Grid, truth: Decimal, step: i32) {
        let quantised = grid.quantise(truth);
        self.n_off_grid += usize::from(!quantised.exact);
        let Some(decoded) = grid.value(step) else {
            // Beyond the grid on both ends is the truth told; anything else is a reading lost.
            let told = quantised.step == step;
            self.max_over_bound = if told { self.max_over_bound } else { f64::INFINITY };
            return;
        };
        let error = (to_f64(truth) - to_f64(decoded)).abs();
        self.n += 1;
        self.max = self.max.max(error);
        self.sum_squared += error * error;
        self.max_over_bound = self.max_over_bound.max(error_over_bound(grid, truth, decoded));
    }
}

/// The bound a grid keeps for readings, in the channel's unit; 0 is lossless.
pub(crate) fn bound_of(grid: &Grid) -> Decimal {
    let half_steps = 2 * i64::from(grid.bound_steps) + i64::from(grid.rounds && grid.bound_steps > 0);
    Decimal::new(half_steps.saturating_mul(grid.quantum).saturating_mul(5), grid.scale + 1)
}

/// The distance of two values in units of the grid's bound, compared as decimals: 1 is just within.
///
/// Lossless means the step nearest to the reading: then the answer is 0, else infinite.
pub fn error_over_bound(grid: &Grid, truth: Decimal, decoded: Decimal) -> f64 {
    let bound = bound_of(grid);
    let scale = grid.scale.max(truth.scale()).max(decoded.scale()).max(bound.scale());
    let distance = (truth.at_scale(scale) - decoded.at_scale(scale)).abs();
    let quantum = Decimal::new(grid.quantum, grid.scale).at_scale(scale);
    match bound.at_scale(scale) {
        0 if 2 * distance <= quantum => 0.0,
        0 => f64::INFINITY,
        bound => distance as f64 / bound as f64,
    }
}

pub(crate) fn to_f64(value: Decimal) -> f64 {
    value.mantissa() as f64 / 10f64.powi(i32::from(value.scale()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { scale: 1, origin: 0, quantum: 2, bound_steps: 2, rounds: false };

    #[test]
    fn errors_are_counted_in_bounds() {
        let d = |text: &str| text.parse().unwrap();
        assert_eq!(error_over_bound(&GRID, d("20"), d("20.4")), 1.0);
        assert_eq!(error_over_bound(&GRID, d("-20"), d("-20.2")), 0.5);
        assert_eq!(error_over_bound(&Grid { rounds: true, ..GRID }, d("20"), d("20.5")), 1.0);
        assert_eq!(error_over_bound(&Grid { bound_steps: 0, ..GRID }, d("1"), d("1.1")), 0.0);
        assert_eq!(error_over_bound(&Grid { bound_steps: 0, ..GRID }, d("1"), d("1.2")), f64::INFINITY);
    }
}
