//! A model before anything is learned: where training starts, and what tests can rely on.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::{CLASSES_MAX, ChannelPart, ContextPart, FirstPart, Lattice, Parts, RAW_CONTEXTS};
use crate::Grid;

/// Bins of an untrained first value.
const N_BINS: i32 = 64;

/// What is known of a channel before training.
#[derive(Clone, Debug)]
pub struct Outline {
    /// At most 32 bytes.
    pub name: String,
    /// At most 16 bytes.
    pub unit: String,
    /// Its grid and bound.
    pub grid: Grid,
    /// Lowest and highest step expected.
    pub range: (i32, i32),
}

impl Outline {
    /// A channel without a unit.
    pub fn new(name: &str, grid: Grid, range: (i32, i32)) -> Self {
        Self { name: name.to_string(), unit: String::new(), grid, range }
    }
}

impl Parts {
    /// Parts that code anything, small differences cheaper than large ones, on the bound's own lattice.
    pub fn untrained(n_samples: u16, period_ms: u32, outlines: &[Outline]) -> Self {
        let channels: Vec<_> =
            outlines.iter().enumerate().map(|(idx, outline)| channel(idx, outline)).collect();
        let n_classes = 24.min(CLASSES_MAX);
        // Two sided and geometric over the classes.
        let weights =
            (0..2 * n_classes + 1).map(|sym: usize| libm::exp2(-0.7 * sym.div_ceil(2) as f64)).collect();
        let context = ContextPart {
            n_classes: n_classes as u8,
            map: vec![0; RAW_CONTEXTS * channels.len()],
            tables: vec![weights],
        };
        Self {
            n_samples,
            period_ms,
            max_delay_ms: u32::from(n_samples).saturating_mul(period_ms),
            channels,
            head: [4.0, 8.0, 0.01, 0.01, 0.2, 0.1],
            context: Some(context),
            predict: None,
            latent: None,
            fixed: None,
            counts: None,
            expected: None,
            reference: None,
        }
    }
}

fn channel(idx: usize, outline: &Outline) -> ChannelPart {
    let (low, high) = outline.range;
    let span = 2 * outline.grid.bound_steps + 1;
    let lattice = Lattice { step: span, phase: 0 };
    let n_steps = (high - low) as u32 / span + 1;
    let bin_shift = (n_steps / N_BINS as u32).checked_ilog2().map_or(0, |n| n + 1);
    ChannelPart {
        name: outline.name.clone(),
        unit: outline.unit.clone(),
        grid: outline.grid,
        raw_base: low,
        raw_bits: (n_steps.ilog2() + 1) as u8,
        lattice,
        first: FirstPart {
            mean: low.midpoint(high),
            coefs: vec![0; idx],
            bin_first: -((N_BINS / 2) << bin_shift),
            bin_shift: bin_shift as u8,
            weights: [vec![1.0; N_BINS as usize], vec![0.5; 2]].concat(),
        },
    }
}
