//! The autoencoder alone in a fixed number of bytes, learned, and measured beside the transform.

use kinglet_codec::learn::{LATENTS_MAX, NetPart};
use kinglet_codec::{Model, Window};

use super::curve::{Step, Told};
use super::judge::judge_windows;
use super::latent::{effort, hidden_units, steps};
use super::learn::{LearnError, Setup};
use super::net::{net_part, normalised, norms};
use super::rows::Rows;
use crate::klt::{Basis, FixedKlt};
use crate::nn::autoencoder::{AutoencoderError, FixedConfig, Hidden, train_fixed};

/// Trainings of one autoencoder: two to judge, one to keep.
const TRAININGS: usize = 3;
/// Share of the transform's error that is better by more than chance.
const PAYS: f64 = 0.97;
/// How far codes reach where levels drift. Without drift that costs up to an eighth; what drifts wins a quarter and more.
const REACH: f64 = 2.0;
const REACH_PAYS: f64 = 0.85;
/// Most bits of a latent.
const BITS_MAX: u8 = 12;

/// Learns to say a window in `n_bytes`; the integers, and the bits of each latent.
///
/// First the transform is judged by held-out rows, with codes that reach as far as the windows it was learned from and with
/// codes that reach farther: what lies beyond is cut, and costs more than all the rest. Then the autoencoder, which begins
/// from the better one, is learned twice on a part of `rows` and judged by the rest: by pieces of all times, and by the last
/// piece, which shows what drift does. Only if it beats the transform clearly both times it is learned on all rows, for no
/// longer than helped where it was judged; else the transform itself is kept, in the same integers.
pub(crate) fn learn_fixed(
    setup: &Setup,
    rows: &Rows,
    n_bytes: usize,
    told: Told<'_>,
) -> Result<(NetPart, Vec<u8>), LearnError> {
    let n_samples = usize::from(setup.n_samples);
    let n = n_samples * rows.n_channels;
    let norms = norms(rows);
    let hidden = hidden_units(n, n_bytes);
    let mut config = FixedConfig {
        encoder: if hidden == 0 { Hidden::None } else { Hidden::Dense(hidden) },
        bits_max: BITS_MAX,
        effort: effort(setup, [2500, 10_000, 40_000]),
        ..FixedConfig::new(n_bytes, hidden, setup.seed)
    };
    let mut part = 0;
    let mut train = |train: &[f32], validation: &[f32], config: &FixedConfig| {
        let mut told = |step: Step| told(step.within(part, TRAININGS));
        let trained = train_fixed(train, validation, n, config, &mut steps(&mut told));
        part += 1;
        trained.map_err(|e| match e {
            AutoencoderError::Training(crate::nn::NnError::Cancelled) => LearnError::Cancelled,
            other => LearnError::Fixed(other.to_string()),
        })
    };
    let windows = |rows: &Rows, n_phases| normalised(rows, n_samples, &norms, n_phases);
    let parts = [5, 1].map(|n_blocks| {
        let (fit_rows, held_out) = rows.split(0.8, n_blocks);
        (windows(&fit_rows, 4), windows(&held_out, 1))
    });
    let is_enough = parts.iter().all(|(some, rest)| rest.len() >= 10 * n && some.len() >= 40 * n);
    if is_enough && reaching_pays(&parts, n, n_bytes) {
        config.reach = REACH;
    }
    let mut n_steps = if is_enough { config.effort.n_steps } else { 0 };
    for (some, rest) in &parts {
        if n_steps == 0 {
            break;
        }
        let report = train(some, rest, &config)?.report;
        let pays = !report.is_klt && report.rms < PAYS * report.rms_klt.min(report.rms_klt_integer);
        n_steps = if pays { n_steps.min(report.n_steps) } else { 0 };
    }
    config.effort.n_steps = n_steps;
    let all = windows(rows, 4);
    let trained = train(&all, &all, &config)?;
    if trained.bits.len() > LATENTS_MAX {
        let n_latents = trained.bits.len();
        return Err(LearnError::Fixed(format!(
            "{n_bytes} bytes need {n_latents} latents, at most {LATENTS_MAX} fit"
        )));
    }
    Ok((net_part(&trained.encoder, &trained.decoder, &norms), trained.bits))
}

/// Whether codes that reach farther are better by more than chance, over pieces of all times and the last piece together.
fn reaching_pays(parts: &[(Vec<f32>, Vec<f32>)], n: usize, n_bytes: usize) -> bool {
    let ratio = |(some, rest): &(Vec<f32>, Vec<f32>)| {
        let basis = Basis::learn(some, n).ok()?;
        let klt = |reach| FixedKlt::from_basis(basis.clone(), some, n_bytes, BITS_MAX, reach).ok();
        Some(klt(REACH)?.rms(rest) / klt(1.0)?.rms(rest))
    };
    parts.iter().try_fold(1.0, |product, part| Some(product * ratio(part)?)).is_some_and(|p| p < REACH_PAYS)
}

/// Root of the mean squared error in deviations of each channel, of `model` and of the transform at `n_bytes`, over the same
/// full windows of `test_rows`, gaps filled. The transform is learned on `train_rows` and computed in floating point; both
/// are read on the grid.
pub(crate) fn beside_klt(
    model: &Model<'_>,
    train_rows: &Rows,
    test_rows: &Rows,
    n_bytes: usize,
) -> (f64, Option<f64>) {
    let (norms, n_samples) = (norms(train_rows), model.samples());
    let n = n_samples * train_rows.n_channels;
    let normal = normalised(test_rows, n_samples, &norms, 1);
    let klt = FixedKlt::learn(&normalised(train_rows, n_samples, &norms, 4), n, n_bytes, BITS_MAX).ok();
    let filled = test_rows.filled();
    let windows: Vec<(&[i32], &[f32])> = filled
        .windows_from(n_samples, 0)
        .filter(|steps| steps.len() == n)
        .zip(normal.chunks_exact(n))
        .collect();
    let squares = |steps: &[i32], read: &dyn Fn(usize) -> f64| {
        let each = steps.iter().enumerate();
        each.map(|(at, &x)| ((f64::from(x) - read(at)) / norms[at % norms.len()].1).powi(2)).sum::<f64>()
    };
    let (mut ours, mut theirs) = (0.0, 0.0);
    let given = windows.iter().map(|&(steps, _)| Window { steps, off_grid: false });
    judge_windows(model, given, |nth, read| {
        let (steps, window) = windows[nth];
        ours += squares(steps, &|at| read.get(at).map_or(f64::INFINITY, |&y| f64::from(y)));
        if let Some(klt) = &klt {
            let (back, norm) = (klt.window(&klt.codes(window)), |at: usize| norms[at % norms.len()]);
            theirs += squares(steps, &|at| (f64::from(back[at]) * norm(at).1 + norm(at).0).round());
        }
    });
    let rms = |sum: f64| (sum / (n as f64 * windows.len().max(1) as f64)).sqrt();
    (rms(ours), klt.map(|_| rms(theirs)))
}
