//! The codec's autoencoders: a linear skip beside one hidden layer, each way, begun from the Karhunen–Loève transform.
//!
//! [`train_fixed`] makes codes of exactly K bytes per window; [`train_bounded`] makes codes that, together with what
//! is left to send so that a bound is kept, cost few bits. Both train with the integers that a device will compute
//! with, and give them as plain [`Half`]s. Windows are `[n_windows × n]`, normalised by the caller.

mod bounded;
mod fixed;
mod half;
mod rate;
mod rounding;
#[cfg(test)]
mod tests;

pub use bounded::{BoundedAutoencoder, BoundedConfig, BoundedReport, train_bounded};
pub use fixed::{FixedAutoencoder, FixedConfig, FixedReport, train_fixed};
pub use half::{Front, Half, Hidden, Integers};

use super::NnError;
use crate::klt::KltError;

/// Why an autoencoder could not be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoencoderError {
    /// The transform to begin from could not be learned.
    #[error(transparent)]
    Klt(#[from] KltError),
    /// Training could not go on.
    #[error(transparent)]
    Training(#[from] NnError),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(&'static str),
}

/// How long and how hard to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Effort {
    /// Optimiser steps in all, at most.
    pub n_steps: usize,
    /// Windows per step.
    pub batch_len: usize,
    /// Step size at the start of each phase.
    pub learning_rate: f32,
    /// See [`super::FitConfig::weight_decay`].
    pub weight_decay: f32,
    /// Ends a phase after this part of it saw nothing better on the validation windows.
    pub patience: f64,
    /// First weights, orders, noise.
    pub seed: u64,
    /// The kernels' instruction set.
    pub isa: super::Isa,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            n_steps: 6000,
            batch_len: 128,
            learning_rate: 2e-3,
            weight_decay: 0.01,
            patience: 0.25,
            seed: 0,
            isa: super::Isa::detect(),
        }
    }
}

impl Effort {
    /// The part of the steps that belongs to one phase, as epochs over `n_windows`.
    fn phase(&self, part: f64, rate: f32, n_windows: usize) -> super::FitConfig {
        let steps_per_epoch = n_windows.div_ceil(self.batch_len.clamp(1, n_windows.max(1))).max(1);
        let n_epochs = ((self.n_steps as f64 * part) as usize).div_ceil(steps_per_epoch).max(1);
        super::FitConfig {
            n_epochs,
            batch_len: self.batch_len,
            learning_rate: self.learning_rate * rate,
            final_rate: 0.02,
            n_warmup_steps: 50.min(n_epochs * steps_per_epoch / 4),
            weight_decay: self.weight_decay,
            max_gradient: Some(10.0),
            patience: Some(((n_epochs as f64 * self.patience) as usize).max(4)),
            seed: self.seed ^ rate.to_bits() as u64,
            isa: self.isa,
            ..super::FitConfig::default()
        }
    }
}

/// Progress over several phases: shifts one phase's steps behind those of the phases before.
fn shifted<'a>(
    progress: &'a mut dyn FnMut(super::Progress) -> std::ops::ControlFlow<()>,
    before: usize,
    after: usize,
) -> impl FnMut(super::Progress) -> std::ops::ControlFlow<()> + 'a {
    move |p| progress(super::Progress { step: before + p.step, n_steps: before + p.n_steps + after, ..p })
}
