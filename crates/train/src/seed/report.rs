//! What training measured.

use serde::Serialize;

use super::options::Recipe;

/// What training measured; JSON inside the bundle. Errors are absolute, in natural units.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedReport {
    /// How it was trained.
    pub recipe: Recipe,
    /// The seed of everything random.
    pub seed: u64,
    /// The instruction set: same name, same seed, same bits.
    pub isa: String,
    /// Whether the model computes with integers.
    pub int8: bool,
    /// Adam steps of all starts together.
    pub n_steps: usize,
    /// The epoch of `curve` that was kept.
    pub best_epoch: usize,
    /// Windows trained on, shifted twins among them.
    pub n_train: usize,
    /// Windows that chose the epoch.
    pub n_validation: usize,
    /// Windows that judged; nothing was chosen by them.
    pub n_test: usize,
    /// Error on the test windows, one entry per channel.
    pub test: Vec<ChannelError>,
    /// Error over the sensor's whole range; only for single readings of one channel.
    pub range: Option<RangeError>,
    /// Loss per epoch.
    pub curve: Vec<CurvePoint>,
    /// Test readings of the first channel beside what came back.
    pub picture: Vec<PicturePoint>,
}

/// Error of one channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelError {
    /// The channel.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Mean error.
    pub mean: f32,
    /// Largest error.
    pub max: f32,
    /// The reading that had it.
    pub max_at: f32,
}

/// Error over a sensor's whole range, 5,001 points.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeError {
    /// Mean error.
    pub mean: f32,
    /// Largest error.
    pub max: f32,
    /// The reading that had it.
    pub max_at: f32,
    /// Whole numbers in the range; 51 for a DHT11.
    pub n_whole: usize,
    /// Whole numbers that come back as another after rounding.
    pub n_whole_wrong: usize,
}

/// Mean squared error on the scale of 0..1 after one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// 0-based.
    pub epoch: usize,
    /// On the windows trained on, while training.
    pub train: f64,
    /// On the validation windows, after.
    pub validation: f64,
}

/// A reading and what came back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PicturePoint {
    /// 0-based position among the test readings.
    pub sample: usize,
    /// The reading.
    pub value: f32,
    /// Decoded from its latent.
    pub reconstructed: f32,
}
