//! Which networks the predict rung gets, if any.

use kinglet_codec::learn::{BUDGET_VALUES_MAX, Lags, Parts, PredictPart};
use kinglet_codec::{Model, Window};

use super::judge::{Judgement, judge_windows};
use super::learn::{Choice, Effort, LearnError, Setup, bar, head_weights};
use super::predict::{Epochs, LearnedPredict, Size, learn_predict};
use super::rows::Rows;
use super::work::Work;

/// Steps of a network's trial, and of the training of the best, as parts of the effort's.
const SHORT: f64 = 0.5;
const LONG: f64 = 2.0;
/// Places at which held-out rows are cut into windows.
pub(super) const N_CUTS: usize = 4;
/// From one seed to the next that is tried; large, so that `--seed 2` tries others than `--seed 1`.
const SEED_STEP: u64 = 1_000_003;

/// The predict rung, if held-out rows say it pays: then learned once more on all of `rows`, for `parts`.
pub(super) fn predict_if_it_pays(
    setup: &Setup,
    choice: &Choice,
    parts: &Parts,
    rows: &Rows,
    fit_rows: &Rows,
    held_out: &Rows,
    work: &mut Work<'_>,
) -> Result<Option<PredictPart>, LearnError> {
    let mut best: Option<Found> = None;
    let mut attempt =
        |size: Size, setup: &Setup, work: &mut Work<'_>| -> Result<Option<(Size, Setup)>, LearnError> {
            let told = &mut work.inside("training the network")?;
            let learned = learn_predict(setup, &choice.parts, size, fit_rows, Some(held_out), &[], told)?;
            if let Some(LearnedPredict { part, epochs }) = learned {
                let (bytes, static_len) = judged_with(choice, &part, held_out)?;
                let fits = static_len <= setup.static_len_max;
                if fits && best.as_ref().is_none_or(|best| bytes < best.bytes) {
                    best = Some(Found { bytes, part, size, setup: setup.clone(), epochs });
                }
            }
            Ok(best.as_ref().map(|best| (best.size, best.setup.clone())))
        };
    let mut leader = None;
    let sizes = sizes_tried(setup, fit_rows.len());
    let n_tried = sizes.len() as u64 * n_seeds(setup);
    for (size, setup) in sizes.iter().flat_map(|&size| seeded(setup).map(move |setup| (size, setup))) {
        // Short trainings say which size and seed is worth a long one; the only one there is needs none.
        let steps = if n_tried == 1 { 1.0 } else { SHORT };
        leader = attempt(Size { steps, ..size }, &setup, work)?;
    }
    if let Some((size, setup)) = leader.filter(|_| n_tried > 1) {
        attempt(Size { steps: LONG, ..size }, &setup, work)?;
    }
    let Some(found) = best else { return Ok(None) };
    let budgeted = budgeted(choice, &found, fit_rows, held_out, work)?;
    let (bytes, n_windows) = judged(&choice.parts, held_out)?;
    let fewest = budgeted.as_ref().map_or(found.bytes, |(bytes, _)| found.bytes.min(*bytes));
    if (fewest as f64) >= bar(bytes, n_windows) {
        return Ok(None);
    }
    let mut again = |parts: &Parts, epochs: &[[usize; 2]]| -> Result<Option<PredictPart>, LearnError> {
        let told = &mut work.inside("training the network")?;
        let learned = learn_predict(&found.setup, parts, found.size, rows, None, epochs, told)?;
        Ok(learned.map(|learned| learned.part))
    };
    let plain = again(parts, &found.epochs)?;
    match budgeted.filter(|(bytes, _)| *bytes < found.bytes) {
        Some((_, epochs)) => again(&Parts { predict: plain, ..parts.clone() }, &epochs),
        None => Ok(plain),
    }
}

/// True if an encoder can keep what networks say of a window.
pub(super) fn may_be_budgeted(setup: &Setup) -> bool {
    usize::from(setup.n_samples) * setup.channels.len() <= BUDGET_VALUES_MAX
}

/// Networks like those found that are told what their codes have left: bytes of the held-out rows, and epochs.
fn budgeted(
    choice: &Choice,
    found: &Found,
    fit_rows: &Rows,
    held_out: &Rows,
    work: &mut Work<'_>,
) -> Result<Option<(u64, Epochs)>, LearnError> {
    if !may_be_budgeted(&found.setup) || choice.parts.expected.is_some() {
        return Ok(None);
    }
    let told = &mut work.inside("training the network")?;
    let with = Parts { predict: Some(found.part.clone()), ..choice.parts.clone() };
    let learned = learn_predict(&found.setup, &with, found.size, fit_rows, Some(held_out), &[], told)?;
    let Some(LearnedPredict { part, epochs }) = learned else { return Ok(None) };
    let (bytes, static_len) = judged_with(choice, &part, held_out)?;
    Ok((static_len <= found.setup.static_len_max).then_some((bytes, epochs)))
}

/// Networks that were tried.
struct Found {
    /// With them, of the held-out rows.
    bytes: u64,
    part: PredictPart,
    size: Size,
    setup: Setup,
    epochs: Epochs,
}

/// Bytes that the choice makes of the held-out rows when it has networks too, and those a device keeps.
fn judged_with(choice: &Choice, predict: &PredictPart, held_out: &Rows) -> Result<(u64, usize), LearnError> {
    let mut with = Parts { predict: Some(predict.clone()), ..choice.parts.clone() };
    with.head = head_weights(&Judgement::equal(), &with);
    Ok((judged(&with, held_out)?.0, with.emit().len()))
}

/// Bytes and windows of the held-out rows, cut at several places: where they are cut is chance.
pub(super) fn judged(parts: &Parts, held_out: &Rows) -> Result<(u64, usize), LearnError> {
    let device = parts.emit();
    let model = Model::parse(&device)?;
    let (mut bytes, mut n_windows) = (0, 0);
    for cut in 0..N_CUTS {
        let windows = held_out.windows_from(model.samples(), cut * model.samples() / N_CUTS);
        let seen = judge_windows(&model, windows.map(|steps| Window { steps, off_grid: false }), |_, _| ());
        (bytes, n_windows) = (bytes + seen.bytes(), n_windows + seen.n_windows);
    }
    Ok((bytes, n_windows))
}

/// The same setup with each seed that is tried: chance makes better and worse networks, and rows held back pick.
pub(super) fn seeded(setup: &Setup) -> impl Iterator<Item = Setup> + '_ {
    (0..n_seeds(setup)).map(|i| Setup { seed: setup.seed.wrapping_add(i * SEED_STEP), ..setup.clone() })
}

pub(super) fn n_seeds(setup: &Setup) -> u64 {
    match setup.effort {
        Effort::Fast => 1,
        Effort::Normal => 2,
        Effort::High => 4,
    }
}

/// Sizes of networks to try.
pub(super) fn sizes_tried(setup: &Setup, n_rows: usize) -> Vec<Size> {
    let size = |own, other, n_hidden| Size { lags: Lags { own, other }, n_hidden, steps: SHORT };
    match (setup.effort, n_rows < 5000 || setup.channels.len() > 4) {
        (Effort::Fast, true) => vec![size(8, 3, 8)],
        (Effort::Fast, false) => vec![size(8, 3, 16)],
        (_, true) => vec![size(8, 3, 8), size(8, 2, 16)],
        (Effort::Normal, false) => vec![size(8, 3, 16), size(16, 2, 24)],
        (Effort::High, false) => vec![size(8, 3, 16), size(16, 2, 24), size(16, 3, 32)],
    }
}
