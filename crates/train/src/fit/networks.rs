//! Which networks the predict rung gets, if any.

use kinglet_codec::Model;
use kinglet_codec::learn::{Lags, Parts, PredictPart};

use super::judge::{Judgement, judge};
use super::learn::{Choice, Effort, LearnError, Setup, bar, head_weights};
use super::predict::{LearnedPredict, Size, learn_predict};
use super::rows::Rows;
use super::work::Work;

/// Steps of a network's trial, and of the training of the best, as parts of the effort's.
const SHORT: f64 = 0.5;
const LONG: f64 = 2.0;
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
                let (bytes, static_len) = judged_with(choice, part, held_out)?;
                let fits = static_len <= setup.static_len_max;
                if fits && best.as_ref().is_none_or(|best| bytes < best.bytes) {
                    best = Some(Found { bytes, size, setup: setup.clone(), epochs });
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
    let n_windows = held_out.windows(usize::from(setup.n_samples)).count();
    let pays = |found: &Found| (found.bytes as f64) < bar(choice.bytes, n_windows);
    let Some(found) = best.filter(pays) else { return Ok(None) };
    let told = &mut work.inside("training the network")?;
    let again = learn_predict(&found.setup, parts, found.size, rows, None, &found.epochs, told)?;
    Ok(again.map(|learned| learned.part))
}

/// Networks that were tried.
struct Found {
    /// With them, of the held-out rows.
    bytes: u64,
    size: Size,
    setup: Setup,
    epochs: Vec<[usize; 2]>,
}

/// Bytes that the choice makes of the held-out rows when it has networks too, and those a device keeps.
fn judged_with(choice: &Choice, predict: PredictPart, held_out: &Rows) -> Result<(u64, usize), LearnError> {
    let mut with = Parts { predict: Some(predict), ..choice.parts.clone() };
    with.head = head_weights(&Judgement::equal(), &with);
    let device = with.emit();
    Ok((judge(&Model::parse(&device)?, held_out).bytes(), device.len()))
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
