//! The autoencoder of the latent rung, learned.

use std::ops::ControlFlow;

use kinglet_codec::learn::{
    CLASSES_MAX, LatentPart, NetPart, Parts, RESIDUAL_CONTEXTS, SYMBOLS_MAX, Site, observe,
};
use kinglet_codec::{Model, Rung, Window};

use super::curve::{Step, Told};
use super::learn::{Effort, LearnError, Setup};
use super::net::{net_part, normalised, norms};
use super::rows::Rows;
use crate::nn::Progress;
use crate::nn::autoencoder::{self, BoundedConfig, Hidden, Integers, train_bounded};

/// Latents beyond this magnitude are cut; the residual says the rest.
const LATENT_LIMIT: i32 = 1023;
/// Step of a latent in steps of the residual: its error spreads over all values of a window.
const LATENT_STEP: f32 = 2.0;
/// Most values × hidden units an autoencoder of default size may have, so that it fits beside the tables.
const WEIGHTS_MAX: usize = 5000;

/// Learns the latent rung for `parts`, whose tables are learned already; `None` where there are too few full windows.
pub(crate) fn learn_latent(
    setup: &Setup,
    parts: &Parts,
    fit_rows: &Rows,
    held_out: &Rows,
    n_latents: usize,
    told: Told<'_>,
) -> Result<Option<LatentPart>, LearnError> {
    let n_samples = usize::from(setup.n_samples);
    let n = n_samples * fit_rows.n_channels;
    let norms = norms(fit_rows);
    let train = normalised(fit_rows, n_samples, &norms, 4);
    let validation = normalised(held_out, n_samples, &norms, 1);
    if train.len() < 40 * n || validation.len() < 4 * n || n_latents > n {
        return Ok(None);
    }
    let residual_steps: Vec<f32> = (0..n)
        .map(|at| {
            let idx = at % norms.len();
            let span = 2 * setup.channels[idx].grid.bound_steps + 1;
            (f64::from(span) / norms[idx].1) as f32
        })
        .collect();
    let mean_step = residual_steps.iter().sum::<f32>() / n as f32;
    let hidden = hidden_units(n, n_latents);
    let config = BoundedConfig {
        n_codes: n_latents,
        code_steps: vec![LATENT_STEP * mean_step],
        code_limit: LATENT_LIMIT,
        residual_steps,
        encoder: if hidden == 0 { Hidden::None } else { Hidden::Dense(hidden) },
        decoder_hidden: hidden,
        integers: Integers::default(),
        effort: effort(setup, [600, 2500, 12_000]),
    };
    let trained = match train_bounded(&train, &validation, n, &config, &mut steps(told)) {
        Ok(trained) => trained,
        Err(error) => return refused(error),
    };
    let net = net_part(&trained.encoder, &trained.decoder, &norms);
    Ok(Some(count_tables(parts, net, fit_rows, n_samples)))
}

/// A recording the autoencoder cannot be trained on has no latent rung; only cancelling is an error.
fn refused(error: autoencoder::AutoencoderError) -> Result<Option<LatentPart>, LearnError> {
    match error {
        autoencoder::AutoencoderError::Training(crate::nn::NnError::Cancelled) => Err(LearnError::Cancelled),
        _ => Ok(None),
    }
}

pub(super) fn hidden_units(n: usize, n_latents: usize) -> usize {
    (WEIGHTS_MAX / (2 * n)).clamp(4, 24).min(4 * n_latents.max(2))
}

/// Steps of low, normal and high effort.
pub(super) fn effort(setup: &Setup, [fast, normal, high]: [usize; 3]) -> autoencoder::Effort {
    let n_steps = match setup.effort {
        Effort::Fast => fast,
        Effort::Normal => normal,
        Effort::High => high,
    };
    autoencoder::Effort { n_steps, seed: setup.seed, ..autoencoder::Effort::default() }
}

pub(super) fn steps(told: Told<'_>) -> impl FnMut(Progress) -> ControlFlow<()> + '_ {
    move |p| told(Step::of(p, 0.0, 1.0))
}

/// Tables for the latents and residuals that the quantised autoencoder makes of `rows`.
fn count_tables(parts: &Parts, net: NetPart, rows: &Rows, n_samples: usize) -> LatentPart {
    let n_latents = usize::from(net.n_latents);
    let flat = |n: usize| (CLASSES_MAX as u8, vec![vec![1.0; 2 * CLASSES_MAX + 1]; n]);
    let first =
        LatentPart { net, latents: flat(n_latents), flag: [1.0, 1.0], residuals: flat(RESIDUAL_CONTEXTS) };
    let with = Parts { latent: Some(first.clone()), ..parts.clone() };
    let bytes = with.emit();
    let Ok(model) = Model::parse(&bytes) else { return first };
    let mut latents = vec![vec![0.0; SYMBOLS_MAX]; n_latents];
    let mut residuals = vec![vec![0.0; SYMBOLS_MAX]; RESIDUAL_CONTEXTS];
    let mut flag = [0.5, 0.5];
    let mut workspace = vec![0; model.workspace_len()];
    for steps in rows.windows_from(n_samples, 0).chain(rows.windows_from(n_samples, n_samples / 2)) {
        let window = Window { steps, off_grid: false };
        observe(&model, window, Rung::Latent, &mut workspace, &mut |site, sym| match site {
            Site::Latent(idx) => latents[idx][sym] += 1.0,
            Site::Residual(idx) => residuals[idx][sym] += 1.0,
            Site::ResidualFlag => flag[sym] += 1.0,
            _ => (),
        });
    }
    LatentPart { latents: trimmed(latents), flag, residuals: trimmed(residuals), ..first }
}

/// As many classes as were seen and two more, nothing impossible.
fn trimmed(mut tables: Vec<Vec<f64>>) -> (u8, Vec<Vec<f64>>) {
    let top = tables.iter().filter_map(|t| t.iter().rposition(|&n| n > 0.0)).max().unwrap_or(0);
    let n_classes = (top.div_ceil(2) + 2).clamp(2, CLASSES_MAX);
    for table in &mut tables {
        table.truncate(2 * n_classes + 1);
        let n: f64 = table.iter().sum();
        // Neighbours of what was seen are likely too: latents of new rows lie between and beyond.
        let seen = table.clone();
        for (sym, weight) in table.iter_mut().enumerate() {
            let near = |by: usize| {
                seen.get(sym + by).copied().unwrap_or(0.0) + sym.checked_sub(by).map_or(0.0, |s| seen[s])
            };
            *weight += 0.1 * near(2) + 0.05 * near(4) + (0.02 * n + 2.0) / (n_classes as f64 * 2.0);
        }
    }
    (n_classes as u8, tables)
}
