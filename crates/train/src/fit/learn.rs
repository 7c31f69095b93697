//! The order of steps in learning a model.

use std::ops::ControlFlow;

use kinglet_codec::Model;
use kinglet_codec::learn::{CountPart, Lattice, Outline, Parts};

use super::context::{count, is_bounded, tables};
use super::counts::{count_outlines, count_rows, find_counts};
use super::expected::expect;
use super::first::{Shaping, learn_first};
use super::fixed::learn_fixed;
use super::judge::{Judgement, judge};
use super::latent::learn_latent;
use super::networks::{N_CUTS, judged, may_be_budgeted, n_seeds, predict_if_it_pays, seeded, sizes_tried};
use super::rows::Rows;
use super::train::FitProgress;
use super::work::Work;

/// How long learning may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effort {
    /// Seconds; for a first look.
    Fast,
    /// The default.
    #[default]
    Normal,
    /// Worth it for a fleet.
    High,
}

/// What is to be learned.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Samples in a full window.
    pub n_samples: u16,
    /// Sampling period.
    pub period_ms: u32,
    /// Longest wait of a sample for its window.
    pub max_delay_ms: u32,
    /// Names, units, grids and ranges.
    pub channels: Vec<Outline>,
    /// How long it may take.
    pub effort: Effort,
    /// Most context tables.
    pub n_tables_max: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Latents of the autoencoder; `None`: chosen by validation, none if it does not pay.
    pub n_latents: Option<usize>,
    /// The autoencoder alone, full windows in exactly so many bytes.
    pub fixed_bytes: Option<usize>,
    /// Most bytes a device may have to keep.
    pub static_len_max: usize,
    /// Windows may be coded after earlier ones: networks are trained on such.
    pub references: bool,
}

impl Setup {
    /// Samples in a window whose first one has waited as long as it may.
    pub fn samples_sent(&self) -> usize {
        let in_time = self.max_delay_ms / self.period_ms.max(1) + 1;
        usize::from(self.n_samples).min(in_time as usize)
    }
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// Fewer samples than make two windows.
    #[error("{have} samples are too few to learn from: give at least {need}")]
    TooFewRows {
        /// Samples given.
        have: usize,
        /// Samples needed.
        need: usize,
    },
    /// The parts do not make a model.
    #[error("the parts learned do not make a model: {0}")]
    Model(#[from] kinglet_codec::ModelError),
    /// The autoencoder of a fixed size could not be learned.
    #[error("no autoencoder of this size: {0}")]
    Fixed(String),
    /// The caller has had enough.
    #[error("stopped before it was done; nothing was written")]
    Cancelled,
}

/// A learned model.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Its parts.
    pub parts: Parts,
    /// The divisor of the lattice that won: steps are `(2E + 1) / divisor`.
    pub divisor: f64,
}

/// Divisors of the lattice that are tried.
const DIVISORS: [f64; 5] = [1.0, 1.5, 2.0, 3.0, 4.0];
/// Widths of the kernel that smooths first values, in deviations, that are tried.
const SPREADS: [f64; 3] = [0.03, 0.15, 0.5];
/// What a comb leaves between its teeth: tried with every spread, and beside it with the best.
const BETWEEN: f64 = 0.15;
const BETWEEN_OTHERS: [f64; 3] = [1.0, 0.4, 0.03];
/// Rungs, by their place in the order of heads, on which a window may be expected: hold and context.
const EXPECTED_HEADS: [u8; 2] = [0, 1];
/// An expected window has to bring the bytes down to this share to be carried.
const EXPECTING_PAYS: f64 = 0.995;
/// Most rows the rungs' weights are counted on.
const HEAD_ROWS_MAX: usize = 30_000;
/// The latent rung has to save this share of the bytes to be carried.
const LATENT_PAYS: f64 = 0.01;
/// Share of the rows that tables are counted on while choices are made; the rest decides.
const FIT_SHARE: f64 = 0.8;

/// Learns a model from `rows`.
pub fn learn(
    setup: &Setup,
    rows: &Rows,
    progress: &mut dyn FnMut(FitProgress) -> ControlFlow<()>,
) -> Result<Learned, LearnError> {
    let need = 2 * usize::from(setup.n_samples).max(2);
    if rows.len() < need {
        return Err(LearnError::TooFewRows { have: rows.len(), need });
    }
    let (fit_rows, held_out) = rows.split(FIT_SHARE, blocks(setup, rows));
    let counts = find_counts(rows, &setup.channels).filter(|_| setup.fixed_bytes.is_none());
    let (n_counts, n_trainings) = units(setup, fit_rows.len(), counts.is_some());
    let mut work = Work::new(n_counts, n_trainings, progress);
    let choice = choose_lattice(setup, &fit_rows, &held_out, &mut work)?;
    if let Some(counts) = counts {
        let in_counts = Setup { channels: count_outlines(&setup.channels, &counts), ..setup.clone() };
        let [fit_counted, held_counted] = [&fit_rows, &held_out].map(|rows| count_rows(rows, &counts));
        let choice_counted = choose_lattice(&in_counts, &fit_counted, &held_counted, &mut work)?;
        let with = with_counts(choice_counted.parts.clone(), setup, &counts);
        if bytes_of(&with, &held_out)? < choice.bytes {
            let rows = count_rows(rows, &counts);
            let Learned { parts, divisor } =
                learn_rungs(&in_counts, choice_counted, &rows, &fit_counted, &held_counted, &mut work)?;
            let parts = with_counts(parts, setup, &counts);
            Model::parse(&parts.emit())?;
            return Ok(Learned { parts, divisor });
        }
    }
    learn_rungs(setup, choice, rows, &fit_rows, &held_out, &mut work)
}

/// Parts that were learned in counts, as parts for grid steps.
fn with_counts(mut parts: Parts, setup: &Setup, counts: &[CountPart]) -> Parts {
    for (channel, outline) in parts.channels.iter_mut().zip(&setup.channels) {
        channel.grid = outline.grid;
    }
    Parts { counts: Some(counts.to_vec()), ..parts }
}

/// All that follows the choice of a lattice.
fn learn_rungs(
    setup: &Setup,
    choice: Choice,
    rows: &Rows,
    fit_rows: &Rows,
    held_out: &Rows,
    work: &mut Work<'_>,
) -> Result<Learned, LearnError> {
    work.begin("counting contexts")?;
    let mut parts = learn_tables(setup, rows, choice.divisor, choice.shaping, 5);
    // A code of a fixed size is never the empty one.
    if let Some(expected) = choice.parts.expected.as_ref().filter(|_| setup.fixed_bytes.is_none()) {
        parts.expected = expect(&parts, &bounds(setup), rows, expected.head);
    }
    if let Some(n_bytes) = setup.fixed_bytes {
        let told = &mut work.inside("training the autoencoder")?;
        parts.fixed = Some(learn_fixed(setup, rows, n_bytes, told)?);
    } else {
        parts.predict = predict_if_it_pays(setup, &choice, &parts, rows, fit_rows, held_out, work)?;
        let mut best = bar(choice.bytes, held_out.windows(usize::from(setup.n_samples)).count());
        let tried = latents_tried(setup);
        for (n_latents, setup) in tried.iter().flat_map(|&n| seeded(setup).map(move |setup| (n, setup))) {
            let told = &mut work.inside("training the autoencoder")?;
            let Some(latent) = learn_latent(&setup, &choice.parts, fit_rows, held_out, n_latents, told)?
            else {
                continue;
            };
            let mut with = Parts { latent: Some(latent), ..choice.parts.clone() };
            with.head = head_weights(&Judgement::equal(), &with);
            with.head = head_weights(&judge(&Model::parse(&with.emit())?, fit_rows), &with);
            let static_len = with.emit().len();
            let judged = bytes_of(&with, held_out)? as f64;
            let is_forced = setup.n_latents.is_some() && parts.latent.is_none();
            if static_len <= setup.static_len_max && (judged < best || is_forced) {
                best = judged;
                parts.latent = with.latent;
            }
        }
    }
    work.begin("choosing rungs")?;
    parts.head = choose_head(&parts, &rows.slice(0..rows.len().min(HEAD_ROWS_MAX)))?;
    Model::parse(&parts.emit())?;
    Ok(Learned { parts, divisor: choice.divisor })
}

/// In how many blocks the rows are split: each decides by a few windows at least.
fn blocks(setup: &Setup, rows: &Rows) -> usize {
    let n_windows = rows.len() / usize::from(setup.n_samples).max(1);
    (n_windows / 40).clamp(1, 5)
}

/// Bytes on the held-out rows below which another rung is worth its place: less by a share, and by more than chance
/// would make of a byte here and there.
pub(super) fn bar(bytes: u64, n_windows: usize) -> f64 {
    bytes as f64 * (1.0 - LATENT_PAYS) - (n_windows as f64).sqrt()
}

/// Held-out windows that say enough wherever they are cut.
const PLENTY_OF_WINDOWS: usize = 10;

/// Bytes of the held-out rows; fewer windows are cut at several places, and this is their mean.
fn bytes_of(parts: &Parts, held_out: &Rows) -> Result<u64, LearnError> {
    if held_out.len() >= PLENTY_OF_WINDOWS * usize::from(parts.n_samples) || !is_bounded(parts) {
        return Ok(judge(&Model::parse(&parts.emit())?, held_out).bytes());
    }
    let (bytes, _) = judged(parts, held_out)?;
    Ok(bytes.div_ceil(N_CUTS as u64))
}

/// What the held-out rows decided.
pub(super) struct Choice {
    pub(super) bytes: u64,
    divisor: f64,
    shaping: Shaping,
    pub(super) parts: Parts,
}

fn choose_lattice(
    setup: &Setup,
    fit_rows: &Rows,
    held_out: &Rows,
    work: &mut Work<'_>,
) -> Result<Choice, LearnError> {
    let mut best: Option<Choice> = None;
    for &divisor in divisors(setup) {
        let comb = if divisor.fract() == 0.0 { divisor as i32 } else { 1 };
        let mut here: Option<Choice> = None;
        let mut consider = |shaping: Shaping, work: &mut Work<'_>| -> Result<Shaping, LearnError> {
            work.begin("counting contexts")?;
            let parts = learn_tables(setup, fit_rows, divisor, shaping, 3);
            let plain = bytes_of(&parts, held_out)?;
            let mut offer = |bytes: u64, parts: Parts| {
                if here.as_ref().is_none_or(|here| bytes < here.bytes) {
                    here = Some(Choice { bytes, divisor, shaping, parts });
                }
            };
            for head in EXPECTED_HEADS {
                let with =
                    Parts { expected: expect(&parts, &bounds(setup), fit_rows, head), ..parts.clone() };
                let bytes = bytes_of(&with, held_out)?;
                if (bytes as f64) < EXPECTING_PAYS * plain as f64 {
                    offer(bytes, with);
                }
            }
            offer(plain, parts);
            Ok(here.as_ref().map_or(shaping, |here| here.shaping))
        };
        let mut shaping = Shaping::smooth(SPREADS[0]);
        for spread in SPREADS {
            let between = if comb > 1 { BETWEEN } else { 1.0 };
            shaping = consider(Shaping { spread, comb, between }, work)?;
        }
        for between in BETWEEN_OTHERS.into_iter().filter(|_| comb > 1) {
            consider(Shaping { between, ..shaping }, work)?;
        }
        if let Some(here) = here.filter(|here| best.as_ref().is_none_or(|best| here.bytes < best.bytes)) {
            best = Some(here);
        }
    }
    best.ok_or(LearnError::TooFewRows { have: 0, need: 1 })
}

/// Shapings that are tried with a divisor.
fn n_shapings(divisor: f64) -> usize {
    SPREADS.len() + if divisor.fract() == 0.0 && divisor > 1.0 { BETWEEN_OTHERS.len() } else { 0 }
}

fn divisors(setup: &Setup) -> &'static [f64] {
    let lossless = setup.channels.iter().all(|c| c.grid.bound_steps == 0);
    if lossless { &DIVISORS[..1] } else { &DIVISORS }
}

/// Numbers of latents to try.
fn latents_tried(setup: &Setup) -> Vec<usize> {
    match (setup.n_latents, setup.effort) {
        (Some(0), _) => Vec::new(),
        (Some(n), _) => vec![n],
        (None, Effort::Fast) => vec![4],
        (None, Effort::Normal) => vec![3, 8],
        (None, Effort::High) => vec![2, 4, 8, 12],
    }
}

/// How often tables are counted and networks trained.
fn units(setup: &Setup, n_rows: usize, is_counted: bool) -> (usize, usize) {
    let n_tried = latents_tried(setup).len() + sizes_tried(setup, n_rows).len();
    let n_last = if may_be_budgeted(setup) { 4 } else { 2 };
    let n_trainings =
        if setup.fixed_bytes.is_some() { 1 } else { n_tried * n_seeds(setup) as usize + n_last };
    let n_counts =
        divisors(setup).iter().map(|d| n_shapings(*d)).sum::<usize>() * (1 + usize::from(is_counted)) + 2;
    (n_counts, n_trainings)
}

/// The bounds of all channels in steps.
fn bounds(setup: &Setup) -> Vec<u32> {
    setup.channels.iter().map(|c| c.grid.bound_steps).collect()
}

/// Tables on the lattice of one divisor.
fn learn_tables(setup: &Setup, rows: &Rows, divisor: f64, shaping: Shaping, n_rounds: usize) -> Parts {
    let mut parts = Parts::untrained(setup.n_samples, setup.period_ms, &setup.channels);
    parts.max_delay_ms = setup.max_delay_ms;
    let lattices: Vec<Lattice> =
        setup.channels.iter().map(|c| lattice(c.grid.bound_steps, divisor)).collect();
    for (idx, channel) in parts.channels.iter_mut().enumerate() {
        channel.lattice = lattices[idx];
        channel.first = learn_first(rows, idx, &lattices, shaping);
    }
    let n_samples = usize::from(setup.n_samples);
    let n_rounds = if divisor == 1.0 { 1 } else { n_rounds };
    for round in 0..n_rounds {
        // Another place to begin in each round: windows may start anywhere.
        let skip = round * n_samples / n_rounds.max(1);
        let counts = count(&parts, rows, skip);
        if let Some(context) = tables(counts, setup.n_tables_max) {
            parts.context = Some(context);
        }
    }
    let seen = Model::parse(&parts.emit()).map(|model| judge(&model, rows)).unwrap_or_default();
    parts.head = head_weights(&seen, &parts);
    parts
}

fn lattice(bound_steps: u32, divisor: f64) -> Lattice {
    let span = 2 * bound_steps + 1;
    Lattice { step: ((f64::from(span) / divisor) as u32).max(1), phase: 0 }
}

/// Weights of the rungs that make the fewest bytes. Where one ends up depends on where one starts: a rung that costs
/// much is not used, and so seems not to be worth a cheap symbol. So two starts are tried.
fn choose_head(parts: &Parts, rows: &Rows) -> Result<[f64; 6], LearnError> {
    let mut with = parts.clone();
    let mut best = (u64::MAX, parts.head);
    for start in [head_weights(&Judgement::equal(), parts), parts.head] {
        with.head = start;
        for _ in 0..2 {
            let seen = judge(&Model::parse(&with.emit())?, rows);
            if seen.bytes() < best.0 {
                best = (seen.bytes(), with.head);
            }
            with.head = head_weights(&seen, parts);
        }
        let bytes = judge(&Model::parse(&with.emit())?, rows).bytes();
        if bytes < best.0 {
            best = (bytes, with.head);
        }
    }
    Ok(best.1)
}

/// Weights of the rungs as they were used, none that is there below a small share; "special" by what devices do.
pub(super) fn head_weights(seen: &Judgement, parts: &Parts) -> [f64; 6] {
    let n = seen.n_windows.max(1) as f64;
    // What is never said needs no room.
    let weight =
        |rung: usize, is_there: bool| if is_there { seen.rungs[rung] as f64 + 0.02 * n } else { 1e-5 * n };
    let (predict, latent) = (parts.predict.is_some(), parts.latent.is_some());
    // Devices that cut most windows early say so with most of them.
    let full_ms = u64::from(parts.n_samples - 1) * u64::from(parts.period_ms);
    let special = if u64::from(parts.max_delay_ms) < full_ms { 0.05 * n } else { 0.02 * n };
    [weight(0, true), weight(1, true), weight(2, predict), weight(3, latent), 0.02 * n, special]
}
