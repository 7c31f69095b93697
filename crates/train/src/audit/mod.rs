//! What codes give away to somebody who listens and has no key.
//!
//! Whoever has the bundle reads every code: it is a public format. Measured here is what is left for somebody who has
//! neither bundle nor key: a known-plaintext attack with a few windows whose readings are known, the shape of the signal
//! from codes alone, codes that come again, and, for sealed frames, what their lengths say. The attacks are simple ones;
//! a better one may find more, so these figures are what leaks at least.
//!
//! The files, in the order to read them: `attack` (from known pairs to readings), `lengths` (sealed frames), `stats`.

mod attack;
mod lengths;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use kinglet_codec::seed::SeedModel;
use kinglet_codec::{Grid, Model, Window, encode, is_step};

pub use attack::{KnownPairs, Method};
pub use lengths::{LengthLeak, SealedShape};

use crate::fit::to_f64;
use crate::recording::{Cut, Recording, Windows};
use attack::Heard;
use stats::{pearson, principal, rank_correlation};

/// Readings across a sensor's range that a seed-mode model is tried on.
const SWEEP_POINTS: usize = 1001;
/// Most windows looked at: the first ones.
const WINDOWS_MAX: usize = 20_000;
/// Bytes of a code that make its place on a line.
const PLACE_LEN: usize = 6;
/// Bits of a code that an attack looks at.
const BITS: usize = 64;

/// How a bundle was tried.
#[derive(Clone, Copy, Debug)]
pub struct AuditOptions {
    /// Decides which windows are known to the attacker.
    pub seed: u64,
    /// Sealed frames around the codes.
    pub sealed: SealedShape,
}

/// What was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Audit {
    /// Codes that were heard: windows, or single readings in seed mode.
    pub codes: usize,
    /// Without a key, attacks on the recording.
    pub known: Vec<KnownPairs>,
    /// Without a key and without a known pair.
    pub shape: Vec<Shape>,
    /// Codes that come again.
    pub codebook: Codebook,
    /// Of a seed-mode model: attacks over the sensor's whole range.
    pub range: Option<RangeAudit>,
    /// Sealed: what lengths say, by padding. Empty in seed mode, which seals nothing.
    pub lengths: Vec<LengthLeak>,
}

/// How much of a channel's shape codes show by themselves.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shape {
    /// The channel.
    pub name: String,
    /// Correlation of the codes' place on a line with the window's mean, 0 to 1, sign and scale unknown.
    pub correlation: f64,
    /// The same of ranks.
    pub rank_correlation: f64,
}

/// Codes that come again say that readings came again.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Codebook {
    /// Different codes.
    pub distinct: usize,
    /// Share of codes that were heard before.
    pub share_heard_before: f64,
    /// Of those, share that stands for exactly the readings it stood for before.
    pub share_same_readings: f64,
}

/// A seed-mode model over its sensor's range.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RangeAudit {
    /// Mean error of who has the decoder.
    pub decoder_error_mean: Option<f64>,
    /// Known pairs, drawn anywhere in the range.
    pub known: Vec<KnownPairs>,
    /// The best single affine map of latents over the range: mean and largest error.
    pub affine_error_mean: f64,
    /// The largest.
    pub affine_error_max: f64,
    /// Correlation of the latents' place on a line with the reading.
    pub shape: Vec<Shape>,
}

/// Why nothing was measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Not enough to know some windows and to guess others.
    #[error("{have} windows without missing readings are too few: give a recording with at least {need}")]
    TooFew {
        /// Windows found.
        have: usize,
        /// Windows needed.
        need: usize,
    },
    /// Channels that do not pair up.
    #[error("the recording has {have} channels, the bundle {need}: name the bundle's with --channels")]
    Channels {
        /// Channels of the recording.
        have: usize,
        /// Channels of the bundle.
        need: usize,
    },
    /// A seed-mode model that only decodes has no codes to look at.
    #[error(
        "this seed-mode bundle has no encoder, so there are no codes to look at: import it with its encoder"
    )]
    NoEncoder,
}

/// A code's bytes, and what its readings are told apart by.
type Pair = (Vec<u8>, Vec<i32>);

/// Codes needed: some to know, some to guess.
const CODES_MIN: usize = 8;

/// Tries a window codec on a recording with its channels.
pub fn audit_windows(
    model: &Model<'_>,
    recording: &Recording,
    options: &AuditOptions,
) -> Result<Audit, AuditError> {
    let n_channels = model.channels();
    check_channels(recording, n_channels)?;
    let grids: Vec<Grid> = (0..n_channels).map(|idx| model.channel(idx).grid).collect();
    let windows = Windows::cut(recording, &grids, 0..recording.len(), model.samples(), Cut::AtGaps);
    let mut heard = Heard::default();
    let mut code_lens = Vec::new();
    let mut codes = Vec::new();
    let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    for window in windows.iter().filter(|w| w.n_samples == model.samples()) {
        let plain = window.steps.iter().all(|&x| is_step(x));
        let given = Window { steps: window.steps, off_grid: window.off_grid };
        let Ok(encoded) = encode(model, given, &mut workspace, &mut out) else { continue };
        if !plain || codes.len() == WINDOWS_MAX {
            continue;
        }
        let code = &out[..encoded.code_len];
        heard.push(place(code), bits(code), values(&grids, window.steps));
        code_lens.push(code.len());
        codes.push((code.to_vec(), window.steps.to_vec()));
    }
    check_codes(codes.len())?;
    let names: Vec<String> = (0..n_channels).map(|idx| model.channel(idx).name.to_string()).collect();
    Ok(Audit {
        codes: codes.len(),
        known: heard.attack(&names, options.seed),
        shape: shapes(&heard, &names),
        codebook: codebook(codes),
        range: None,
        lengths: lengths::leaks(&code_lens, &heard, n_channels, options.sealed),
    })
}

/// Tries a seed-mode model on a recording with its channels, and over its sensor's range.
pub fn audit_seed(
    model: &SeedModel,
    recording: &Recording,
    options: &AuditOptions,
) -> Result<Audit, AuditError> {
    let n_channels = model.channels().len();
    check_channels(recording, n_channels)?;
    if model.encoder().is_none() {
        return Err(AuditError::NoEncoder);
    }
    let rows =
        |row: usize| recording.channels().iter().map(move |c| c.values.get(row).map(|v| to_f64(v) as f32));
    let windows = (0..recording.len() / model.n_samples()).filter_map(|at| {
        let rows = (0..model.n_samples()).flat_map(|i| rows(at * model.n_samples() + i));
        rows.collect::<Option<Vec<f32>>>()
    });
    let (heard, codes) = latents(model, windows.take(WINDOWS_MAX));
    check_codes(codes.len())?;
    let names: Vec<String> = model.channels().iter().map(|c| c.name.clone()).collect();
    Ok(Audit {
        codes: codes.len(),
        known: heard.attack(&names, options.seed),
        shape: shapes(&heard, &names),
        codebook: codebook(codes),
        range: (model.input_len() == 1).then(|| audit_range(model, &names, options.seed)),
        lengths: Vec::new(),
    })
}

fn audit_range(model: &SeedModel, names: &[String], seed: u64) -> RangeAudit {
    let (lo, hi) = model.channels()[0].range;
    let at = |i: usize| lo + (hi - lo) * i as f32 / (SWEEP_POINTS - 1) as f32;
    let (heard, _) = latents(model, (0..SWEEP_POINTS).map(|i| vec![at(i)]));
    let decoded = (0..SWEEP_POINTS).filter_map(|i| {
        let value = model.decode(&model.encode(&[at(i)]).ok()?).ok()?;
        Some(f64::from((value[0] - at(i)).abs()))
    });
    let errors: Vec<f64> = decoded.collect();
    let affine = heard.affine_errors();
    RangeAudit {
        decoder_error_mean: (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64),
        known: heard.attack(names, seed),
        affine_error_mean: affine.iter().sum::<f64>() / affine.len().max(1) as f64,
        affine_error_max: affine.iter().copied().fold(0.0, f64::max),
        shape: shapes(&heard, names),
    }
}

/// What a seed-mode device says of windows; those outside its sensor's range are clipped as the seed does.
fn latents(model: &SeedModel, windows: impl Iterator<Item = Vec<f32>>) -> (Heard, Vec<Pair>) {
    let (mut heard, mut codes) = (Heard::default(), Vec::new());
    for mut window in windows {
        model.clip(&mut window);
        let Ok(latent) = model.encode(&window) else { continue };
        let bytes = latent.iter().flat_map(|x| x.to_le_bytes()).collect();
        codes.push((bytes, window.iter().map(|x| x.to_bits() as i32).collect()));
        let latent = latent.into_iter().map(f64::from).collect();
        heard.push(0.0, latent, window.into_iter().map(f64::from).collect());
    }
    // Nobody tells the attacker which direction matters, but where the codes lie does.
    let axis = principal(&heard.features);
    heard.places = heard.features.iter().map(|x| x.iter().zip(&axis).map(|(x, a)| x * a).sum()).collect();
    (heard, codes)
}

fn check_channels(recording: &Recording, need: usize) -> Result<(), AuditError> {
    let have = recording.channels().len();
    if have == need { Ok(()) } else { Err(AuditError::Channels { have, need }) }
}

fn check_codes(have: usize) -> Result<(), AuditError> {
    if have >= CODES_MIN { Ok(()) } else { Err(AuditError::TooFew { have, need: CODES_MIN }) }
}

/// A range coder's code is a place between 0 and 1, and what is said first decides most of it.
fn place(code: &[u8]) -> f64 {
    code.iter().take(PLACE_LEN).rev().fold(0.0, |place, &byte| (place + f64::from(byte)) / 256.0)
}

fn bits(code: &[u8]) -> Vec<f64> {
    let byte = |at: usize| code.get(at).copied().unwrap_or(0);
    let mut bits: Vec<f64> = (0..BITS).map(|i| f64::from(byte(i / 8) >> (7 - i % 8) & 1)).collect();
    bits.push(code.len() as f64);
    bits
}

fn values(grids: &[Grid], steps: &[i32]) -> Vec<f64> {
    let value = |(at, &step): (usize, &i32)| grids[at % grids.len()].value(step).map_or(0.0, to_f64);
    steps.iter().enumerate().map(value).collect()
}

fn shapes(heard: &Heard, names: &[String]) -> Vec<Shape> {
    let shape = |(idx, name): (usize, &String)| {
        let means = heard.means(idx, names.len());
        Shape {
            name: name.clone(),
            correlation: pearson(&heard.places, &means).abs(),
            rank_correlation: rank_correlation(&heard.places, &means).abs(),
        }
    };
    names.iter().enumerate().map(shape).collect()
}

fn codebook(codes: Vec<Pair>) -> Codebook {
    let n = codes.len().max(1);
    let (mut seen, mut pairs) = (HashSet::new(), HashSet::new());
    let (mut n_again, mut n_same) = (0, 0);
    for (code, steps) in codes {
        let is_same = !pairs.insert((code.clone(), steps));
        let is_again = !seen.insert(code);
        n_again += usize::from(is_again);
        n_same += usize::from(is_same);
    }
    Codebook {
        distinct: seen.len(),
        share_heard_before: n_again as f64 / n as f64,
        share_same_readings: if n_again > 0 { n_same as f64 / n_again as f64 } else { 0.0 },
    }
}
