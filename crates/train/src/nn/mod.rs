//! A small trainer for small networks: what a codec needs, and nothing else.
//!
//! A [`Net`] is a list of nodes in order of evaluation, made by a [`NetBuilder`]: dense and convolution layers,
//! sums of two paths (a linear skip beside a hidden layer), and quantisers that train as if they were not there
//! (straight-through, or noise). [`fit`] trains it with AdamW on any [`Loss`]. One thread, no allocation per step,
//! and the same seed on the same [`Isa`] gives the same bits.
//!
//! The files, in the order to read them: `graph` (what a network is), `pass` (values and gradients), `loss`, `fit`,
//! `quant` (weights as integers), `kernels` (the inner loops), `isa` (their dispatch), `math`, `rng`.

pub mod autoencoder;
mod fit;
mod graph;
#[allow(unsafe_code, reason = "calls functions compiled for instructions that were detected at run time")]
mod isa;
mod kernels;
mod loss;
mod math;
mod mixture;
mod pass;
mod quant;
mod rng;
#[cfg(test)]
mod tests;

pub use fit::{FitConfig, FitReport, Progress, Samples, evaluate, fit};
pub use graph::{Conv1d, Net, NetBuilder, NodeId};
pub use isa::Isa;
pub use kernels::{Activation, LANES, Lanes};
pub use loss::{Head, Huber, L1, Loss, LossView, Mse};
pub use mixture::{MIXTURE_OUTPUTS, MixtureLoss};
pub use pass::Pass;
pub use quant::{QuantisedLayer, WeightScale};
pub use rng::Rng;

/// Why training could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NnError {
    /// There is nothing to train on.
    #[error("no samples to train on: give at least one")]
    NoSamples,
    /// A slice's length is not a whole number of samples, or two do not match.
    #[error("data of {len} numbers does not fit samples of {width}: check the network's width")]
    Shape {
        /// Numbers given.
        len: usize,
        /// Numbers per sample expected.
        width: usize,
    },
    /// Loss or weights became infinite or not a number.
    #[error(
        "training diverged at step {step}: lower the learning rate, or check the data for extreme values"
    )]
    Diverged {
        /// The step that showed it.
        step: usize,
    },
    /// The progress callback asked to stop.
    #[error("training was cancelled")]
    Cancelled,
}
