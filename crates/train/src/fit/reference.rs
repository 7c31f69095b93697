//! Windows coded after the one before: how such codes begin, learned, and what they bring, measured.

use std::ops::Range;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::learn::{ReferencePart, with_reference};
use kinglet_codec::{
    Grid, Model, Reference, Rung, TAIL_SAMPLES_MAX, Window, decode, decode_after, encode, encode_after,
    is_step, resolve,
};

use super::train::{FitError, FitOptions, rows_of};
use crate::nn::Rng;
use crate::recording::{Cut, Recording, Windows};

/// Weights of "refers" and "stands alone": most windows refer on a link that answers, and one that does not shall not pay
/// much for it.
const MARK: [f64; 2] = [0.85, 0.15];
/// How codes that refer begin before that is learned.
pub(super) const REFERRING: ReferencePart = ReferencePart { mark: MARK, head: [1.0; 4] };
/// Most rows the rungs' weights are counted on.
const ROWS_MAX: usize = 30_000;
/// Of the windows that could refer, those whose window before is not known to have arrived.
const LOSS: f64 = 0.05;

/// What references bring, on rows the model has not seen.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ReferenceSummary {
    /// Share of the windows whose window before was not known to have arrived when they were coded, drawn by a seed.
    pub loss: f64,
    /// Share of the windows that were coded after another.
    pub referring: f64,
    /// Mean bytes of a code.
    pub payload_bytes_mean: f64,
    /// Bits of code per reading.
    pub bits_per_value: f64,
}

/// The same bundle for windows that may be coded after the one before, and what that brings on the rows its own figures
/// were measured on; `None` if its kind of model cannot.
pub fn refer(
    bundle: &Bundle,
    recording: &Recording,
    options: &FitOptions,
) -> Result<Option<(Bundle, ReferenceSummary)>, FitError> {
    let split = options.split(recording.len());
    let train = split.train.start..split.train.end.min(split.train.start + ROWS_MAX);
    let grids = grids(&bundle.model());
    let rows = rows_of(recording, &grids, train, options.cut);
    let n_samples = samples_sent(&bundle.model());
    let windows: Vec<Given> = rows.windows(n_samples).map(Given::of).collect();
    let has_predict = bundle.model().has_predict();
    let mut head = REFERRING.head;
    for _ in 0..2 {
        let device = with_reference(bundle.device(), &ReferencePart { mark: MARK, head });
        let Ok(model) = Model::parse(&device) else { return Ok(None) };
        let seen = judge_after(&model, windows.iter().copied(), 0.0, options.seed);
        let n = seen.n_referring.max(1) as f64;
        let weight = |rung: usize| seen.rungs[rung] as f64 + 0.02 * n;
        head = [weight(0), weight(1), weight(2), seen.n_special as f64 + 0.02 * n];
        if !has_predict {
            head[2] = 1e-5 * n;
        }
    }
    let device = with_reference(bundle.device(), &ReferencePart { mark: MARK, head });
    let with = Bundle::new(bundle.name(), device, bundle.report().clone())?;
    let summary = evaluate_after(&with.model(), recording, split.test, options.cut, options.seed);
    Ok(Some((with, summary)))
}

/// Codes `rows` of `recording` with `model`, in windows as they are sent, each window after the one before if that is known to have arrived; chance,
/// drawn by `seed`, says that it is not in one of twenty cases.
pub fn evaluate_after(
    model: &Model<'_>,
    recording: &Recording,
    rows: Range<usize>,
    cut: Cut,
    seed: u64,
) -> ReferenceSummary {
    let windows = Windows::cut(recording, &grids(model), rows, samples_sent(model), cut);
    let mut end = None;
    let given = windows.iter().map(|w| {
        let follows = cut == Cut::ByRows || end == Some(w.row);
        end = Some(w.row + w.n_samples);
        Given { window: Window { steps: w.steps, off_grid: w.off_grid }, follows }
    });
    let judged = judge_after(model, given, LOSS, seed);
    let n_windows = judged.n_windows.max(1) as f64;
    ReferenceSummary {
        loss: LOSS,
        referring: judged.n_referring as f64 / n_windows,
        payload_bytes_mean: judged.n_bytes as f64 / n_windows,
        bits_per_value: 8.0 * judged.n_bytes as f64 / judged.n_values.max(1) as f64,
    }
}

/// Samples in a window whose first one has waited as long as it may.
fn samples_sent(model: &Model<'_>) -> usize {
    model.samples().min((model.max_delay_ms() / model.period_ms()) as usize + 1)
}

fn grids(model: &Model<'_>) -> Vec<Grid> {
    (0..model.channels()).map(|idx| model.channel(idx).grid).collect()
}

/// A window, and whether it follows on the one before it.
#[derive(Clone, Copy)]
struct Given<'w> {
    window: Window<'w>,
    follows: bool,
}

impl<'w> Given<'w> {
    fn of(steps: &'w [i32]) -> Self {
        Self { window: Window { steps, off_grid: false }, follows: true }
    }
}

#[derive(Default)]
struct JudgedAfter {
    n_windows: usize,
    n_values: usize,
    n_bytes: u64,
    n_referring: usize,
    /// Of those, short or with values that are no steps.
    n_special: usize,
    /// Of those that refer, on hold, context, predict.
    rungs: [usize; 3],
}

fn judge_after<'w>(
    model: &Model<'_>,
    windows: impl Iterator<Item = Given<'w>>,
    loss: f64,
    seed: u64,
) -> JudgedAfter {
    let n_channels = model.channels();
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; 2 * model.code_len_max()];
    let mut alone = vec![0; model.code_len_max()];
    let mut read = vec![0; model.samples() * n_channels];
    let mut tail: Vec<i32> = Vec::new();
    let (mut rng, mut all) = (Rng::new(seed), JudgedAfter::default());
    for Given { window, follows } in windows {
        let is_lost = f64::from(rng.uniform()) < loss;
        let reference = Reference { tail: &tail, distance: 1 };
        let referring = match follows && !is_lost {
            true => encode_after(model, reference, window, &mut workspace, &mut code).ok().flatten(),
            false => None,
        };
        let (code_len, n_samples) = if let Some(made) = referring {
            let (refers, rest) = code.split_at(made.code_len);
            let len = resolve(model, &tail, refers, &mut workspace, &mut read, &mut alone);
            assert_eq!(
                len.map(|len| &alone[..len]),
                Ok(&rest[..made.alone_len]),
                "both ends make the same code"
            );
            let decoded = decode_after(model, &tail, refers, &mut workspace, &mut read);
            all.n_referring += 1;
            let is_plain = window.steps.iter().all(|&x| is_step(x));
            all.n_special += usize::from(window.steps.len() < model.samples() * n_channels || !is_plain);
            all.rungs[match made.rung {
                Rung::Hold => 0,
                Rung::Context => 1,
                _ => 2,
            }] += 1;
            (made.code_len, decoded.map_or(0, |d| d.n_samples))
        } else {
            let Ok(made) = encode(model, window, &mut workspace, &mut code) else { continue };
            let decoded = decode(model, &code[..made.code_len], &mut workspace, &mut read);
            (made.code_len, decoded.map_or(0, |d| d.n_samples))
        };
        let read = &read[..n_samples * n_channels];
        assert_eq!(read.len(), window.steps.len(), "what was coded is read");
        for (at, (&x, &y)) in window.steps.iter().zip(read).enumerate() {
            let bound = model.channel(at % n_channels).grid.bound_steps as i32;
            assert!(x == y || is_step(x) && is_step(y) && (x - y).abs() <= bound, "the bound is kept");
            all.n_values += usize::from(is_step(x));
        }
        tail.clear();
        tail.extend(&read[read.len().saturating_sub(TAIL_SAMPLES_MAX * n_channels)..]);
        all.n_windows += 1;
        all.n_bytes += code_len as u64;
    }
    all
}
