//! Classical coders, implemented as well as we can, to measure ours by.
//!
//! Each learns from the rows a codec learns from, codes the same later windows alone, into whole bytes of a real range
//! coder with its shortest ending, and is read back: what is read lies within the bound of every value, or
//! [`YardstickError`] says so. Nothing codes the presence of missing values: they take the last one, here as in ours.

mod compare;
mod dpcm;
mod first;
#[cfg(feature = "general")]
mod general;
mod linear;
mod pieces;
mod sprintz;
mod tables;
mod transform;
mod walk;

pub use compare::Prepared;

use crate::fit::Rows;
use dpcm::{Dpcm, Params};
use pieces::{Ltc, Pmc, PmcAc, PmcParams};
use sprintz::Sprintz;
use tables::Tables;
use transform::{Directions, Kind, Transform};
use walk::{Price, Walk};

/// A classical coder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Yardstick {
    /// Like Sprintz: differences packed in blocks, no tables.
    Sprintz,
    /// Lightweight temporal compression: lines between knots, fixed widths.
    Ltc,
    /// Piecewise constant, fixed widths.
    Pmc,
    /// Piecewise constant, trained tables for lengths and differences, range coder.
    PmcAc,
    /// Discrete cosine transform of each channel, trained tables, a residual that keeps the bound.
    Dct,
    /// Karhunen–Loève transform of the window, trained tables, a residual that keeps the bound.
    Klt,
    /// Closed-loop differences from the last value, trained context tables, range coder.
    LastCtx,
    /// The same on a trained joint linear prediction.
    LpcCtx,
    /// zstd at level 19 with a dictionary of training windows.
    #[cfg(feature = "general")]
    Zstd,
    /// pcodec at its highest level.
    #[cfg(feature = "general")]
    Pcodec,
}

impl Yardstick {
    /// All of them.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "general")]
        Self::Zstd,
        #[cfg(feature = "general")]
        Self::Pcodec,
        Self::Sprintz,
        Self::Ltc,
        Self::Pmc,
        Self::PmcAc,
        Self::Dct,
        Self::Klt,
        Self::LastCtx,
        Self::LpcCtx,
    ];

    /// A compressor of anything rather than of signals.
    pub fn is_general(self) -> bool {
        #[cfg(feature = "general")]
        return matches!(self, Self::Zstd | Self::Pcodec);
        #[cfg(not(feature = "general"))]
        false
    }

    /// The name it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sprintz => "Sprintz",
            Self::Ltc => "LTC",
            Self::Pmc => "PMC",
            Self::PmcAc => "PMC+AC",
            Self::Dct => "DCT",
            Self::Klt => "KLT",
            Self::LastCtx => "last+ctx",
            Self::LpcCtx => "LPC+ctx",
            #[cfg(feature = "general")]
            Self::Zstd => "zstd+dict",
            #[cfg(feature = "general")]
            Self::Pcodec => "pcodec",
        }
    }
}

/// What is to be coded.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Rows to learn from, without missing values or breaks.
    pub train: &'a Rows,
    /// Later rows to judge by, likewise.
    pub test: &'a Rows,
    /// Bound of each channel in grid steps, `E`.
    pub bounds: &'a [i32],
    /// Samples in a window.
    pub n_samples: usize,
}

/// What a yardstick did.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Bytes of each window.
    pub code_lens: Vec<u32>,
    /// Bytes a device keeps: tables, weights.
    pub static_bytes: usize,
}

impl Figure {
    /// Bytes of all codes.
    pub fn bytes(&self) -> u64 {
        self.code_lens.iter().map(|&n| u64::from(n)).sum()
    }

    /// Mean bytes of a code.
    pub fn mean(&self) -> f64 {
        self.bytes() as f64 / self.code_lens.len().max(1) as f64
    }

    /// The code length 95 % of the windows do not exceed.
    pub fn p95(&self) -> u32 {
        let mut sorted = self.code_lens.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Bits of code per value, `values` of them in a window.
    pub fn bits_per_value(&self, values: usize) -> f64 {
        8.0 * self.mean() / values.max(1) as f64
    }
}

/// Why a yardstick gives no figure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum YardstickError {
    /// A value read back lies outside its bound: a fault of the yardstick.
    #[error("{yardstick:?} breaks the bound in window {window}: {read} for {truth}")]
    BoundBroken {
        /// The coder.
        yardstick: Yardstick,
        /// The window, counted from the first.
        window: usize,
        /// The value, in grid steps.
        truth: i32,
        /// What was read.
        read: i32,
    },
    /// A code could not be written or read back: a fault of the yardstick.
    #[error("{yardstick:?} cannot code window {window}")]
    NotCoded {
        /// The coder.
        yardstick: Yardstick,
        /// The window, counted from the first.
        window: usize,
    },
}

/// Measures `yardstick` on `task`.
pub fn measure(yardstick: Yardstick, task: &Task<'_>) -> Result<Figure, YardstickError> {
    let &Task { bounds, n_samples, .. } = task;
    match yardstick {
        Yardstick::Sprintz => {
            let make = |rows: &Rows, is_double| Sprintz::learn(rows, bounds, n_samples, is_double);
            judged(yardstick, task, best(task, &[false, true], make))
        }
        Yardstick::Ltc => {
            judged(yardstick, task, best(task, &[()], |rows, ()| Ltc::learn(rows, bounds, n_samples)))
        }
        Yardstick::Pmc => {
            judged(yardstick, task, best(task, &[()], |rows, ()| Pmc::learn(rows, bounds, n_samples)))
        }
        Yardstick::PmcAc => {
            let make = |rows: &Rows, p| PmcAc::learn(rows, bounds, n_samples, p);
            judged(yardstick, task, best(task, &pmc_params(bounds), make))
        }
        Yardstick::Dct | Yardstick::Klt => {
            let kind = if yardstick == Yardstick::Dct { Kind::Dct } else { Kind::Klt };
            // Directions from all training rows: they are the same for every step that is tried.
            let directions = Directions::learn(task.train, bounds, n_samples, kind);
            let make = |rows: &Rows, step| Transform::learn(&directions, rows, bounds, n_samples, step);
            judged(yardstick, task, best(task, &STEPS, make))
        }
        Yardstick::LastCtx | Yardstick::LpcCtx => {
            let is_linear = yardstick == Yardstick::LpcCtx;
            let make = |rows: &Rows, p| Dpcm::learn(rows, bounds, n_samples, is_linear, p);
            judged(yardstick, task, best(task, &dpcm_params(), make))
        }
        #[cfg(feature = "general")]
        Yardstick::Zstd => general::zstd(task),
        #[cfg(feature = "general")]
        Yardstick::Pcodec => general::pcodec(task),
    }
}

/// Quantiser steps of coefficients that are tried, in steps of the bound's quantiser.
const STEPS: [f32; 7] = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5];
/// Smoothing of first values that is tried, as for ours.
const SPREADS: [f64; 3] = [0.03, 0.15, 0.5];

fn pmc_params(bounds: &[i32]) -> Vec<PmcParams> {
    let divisors: &[f64] = if bounds.iter().all(|&e| e == 0) { &[1.0] } else { &[1.0, 1.5, 2.0, 3.0, 4.0] };
    let mut all = Vec::new();
    for &divisor in divisors {
        for is_pooled in [false, true] {
            all.extend(SPREADS.map(|spread| PmcParams { divisor, spread, is_pooled }));
        }
    }
    all
}

fn dpcm_params() -> Vec<Params> {
    let mut all = Vec::new();
    for has_phase in [false, true] {
        for is_pooled in [false, true] {
            all.extend(SPREADS.map(|spread| Params { spread, is_pooled, has_phase }));
        }
    }
    all
}

/// Places a training window may begin, in parts of a window.
const PASSES: usize = 4;
/// Share of the training rows that tables are counted on while choices are made; the rest decides.
const FIT_SHARE: f64 = 0.8;
/// Stretches of time that are split so.
const FIT_BLOCKS: usize = 4;

/// Whole windows, the first `skip` samples into each piece.
fn whole(rows: &Rows, n_samples: usize, skip: usize) -> impl Iterator<Item = &[i32]> {
    let n_values = n_samples * rows.n_channels;
    rows.windows_from(n_samples, skip).filter(move |w| w.len() == n_values)
}

/// A coder learned from `rows`.
fn learned<T: Walk>(walk: T, rows: &Rows, n_samples: usize) -> (T, Tables) {
    let windows = (0..PASSES).flat_map(|pass| whole(rows, n_samples, pass * n_samples / PASSES));
    let tables = Tables::learn(&walk, windows, PASSES);
    (walk, tables)
}

/// The coder of those that `params` make which needs the fewest bits on held-out training rows, learned from all.
fn best<P: Copy, T: Walk>(task: &Task<'_>, params: &[P], make: impl Fn(&Rows, P) -> T) -> (T, Tables) {
    let (fit, held_out) = task.train.split(FIT_SHARE, FIT_BLOCKS);
    let price = |p: P| {
        let (walk, tables) = learned(make(&fit, p), &fit, task.n_samples);
        let mut n_bytes = 0.0;
        for window in whole(&held_out, task.n_samples, 0) {
            let mut price = Price { tables: &tables, n_bits: 0.0 };
            let _ = walk.walk(&mut price, &mut window.to_vec());
            // On average an ending costs a little less than the bits to the next byte.
            n_bytes += (price.n_bits / 8.0).ceil();
        }
        n_bytes
    };
    let mut choice = (f64::INFINITY, params[0]);
    if params.len() > 1 {
        for &p in params {
            let n_bytes = price(p);
            if n_bytes < choice.0 {
                choice = (n_bytes, p);
            }
        }
    }
    learned(make(task.train, choice.1), task.train, task.n_samples)
}

/// Codes and reads back every test window.
fn judged<T: Walk>(
    yardstick: Yardstick,
    task: &Task<'_>,
    (walk, tables): (T, Tables),
) -> Result<Figure, YardstickError> {
    let n_channels = task.test.n_channels;
    let mut out = vec![0; 64 + 32 * task.n_samples * n_channels];
    let mut code_lens = Vec::new();
    for (window, truth) in whole(task.test, task.n_samples, 0).enumerate() {
        let mut told = truth.to_vec();
        let mut read = vec![0; truth.len()];
        let code_len = walk::encode(&walk, &tables, &mut told, &mut out);
        let read_back = code_len.and_then(|n| walk::decode(&walk, &tables, &out[..n], &mut read).map(|()| n));
        let code_len = read_back.map_err(|_| YardstickError::NotCoded { yardstick, window })?;
        for (at, (&truth, &read)) in truth.iter().zip(&read).enumerate() {
            if (truth - read).abs() > task.bounds[at % n_channels] || read != told[at] {
                return Err(YardstickError::BoundBroken { yardstick, window, truth, read });
            }
        }
        code_lens.push(code_len as u32);
    }
    Ok(Figure { code_lens, static_bytes: walk.static_len() + tables.static_len() })
}

#[cfg(test)]
mod tests;
