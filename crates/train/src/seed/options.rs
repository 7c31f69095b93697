//! What to train.

use kinglet_codec::seed::{Activation, SeedChannel, Shape};

use super::SeedTrainError;
use crate::nn::Isa;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// Several starts, a warm-up and a cosine to zero, the best epoch by validation, a test split never looked at.
    #[default]
    Ours,
    /// Keras's defaults as the seed's script uses them: Glorot uniform, Adam 1e-3, a new order every epoch, the last
    /// fifth for validation, the last epoch kept.
    Seed,
}

/// One convolution before the encoder's dense layers, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedConv {
    /// Channels made.
    pub channels: usize,
    /// Steps each output looks at.
    pub kernel: usize,
    /// Steps from one output to the next.
    pub stride: usize,
}

/// What to train; the default is the seed's network on the seed's data.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedOptions {
    /// Name for the bundle.
    pub name: String,
    /// Sensors, with their ranges.
    pub channels: Vec<SeedChannel>,
    /// Real readings `[n × channels]` in natural units, in order of time, finite and within range (see
    /// [`super::readings_from`]). `None`: the seed's formula, 5,000 readings of a day-like swing over 0..50 °C.
    pub readings: Option<Vec<f32>>,
    /// Samples in a window.
    pub n_samples: usize,
    /// Numbers in a latent.
    pub latent: usize,
    /// Hidden widths of the encoder; the decoder has them the other way round.
    pub hidden: Vec<usize>,
    /// Convolutions before them.
    pub conv: Vec<SeedConv>,
    /// Of every hidden layer.
    pub activation: Activation,
    /// Of the decoder's output; `None`: sigmoid, or linear with `int8`, whose integers end at the range by themselves.
    pub output: Option<Activation>,
    /// How to train.
    pub recipe: Recipe,
    /// Adam steps in all.
    pub n_steps: usize,
    /// Windows per step.
    pub batch_len: usize,
    /// First weights, orders, noise.
    pub seed: u64,
    /// Largest error that is accepted, in natural units; `None`: one hundredth of a channel's range (0.5 °C of 50).
    pub max_error: Option<f32>,
    /// Train with the integers a device computes with, and make an int8 model.
    pub int8: bool,
    /// The kernels' instruction set.
    pub isa: Isa,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self {
            name: "seed".into(),
            channels: vec![SeedChannel::temperature()],
            readings: None,
            n_samples: 1,
            latent: 2,
            hidden: vec![32, 16],
            conv: Vec::new(),
            activation: Activation::Relu,
            output: None,
            recipe: Recipe::Ours,
            n_steps: 25_000,
            batch_len: 32,
            seed: 0,
            max_error: None,
            int8: false,
            isa: Isa::detect(),
        }
    }
}

impl SeedOptions {
    /// Numbers in a window.
    pub fn input_len(&self) -> usize {
        self.n_samples * self.channels.len()
    }

    /// The decoder's last activation.
    pub fn output(&self) -> Activation {
        self.output.unwrap_or(if self.int8 { Activation::Linear } else { Activation::Sigmoid })
    }

    /// Largest accepted error of channel `idx`, natural units.
    pub fn limit(&self, idx: usize) -> f32 {
        let (lo, hi) = self.channels[idx].range;
        self.max_error.unwrap_or((hi - lo) / 100.0)
    }

    pub(super) fn check(&self) -> Result<(), SeedTrainError> {
        let bad = |why: &'static str| Err(SeedTrainError::Setting(why));
        if !(1..=16).contains(&self.channels.len()) || !(1..=256).contains(&self.n_samples) {
            return bad("a model has 1 to 16 channels and windows of 1 to 256 samples");
        }
        let finite =
            |c: &SeedChannel| c.range.0.is_finite() && c.range.1.is_finite() && c.range.0 < c.range.1;
        if !self.channels.iter().all(finite) {
            return bad("a sensor's range needs a least and a greater greatest reading");
        }
        let widths = self.hidden.iter().copied().chain([self.latent, self.input_len()]);
        if !widths.into_iter().all(|w| (1..=kinglet_codec::seed::WIDTH_MAX).contains(&w)) {
            return bad("windows, latents and hidden layers have 1 to 1024 numbers: choose smaller ones");
        }
        if self.hidden.len() + self.conv.len() + 1 > kinglet_codec::seed::LAYERS_MAX {
            return bad("a half has at most 16 layers: leave some out");
        }
        if self.n_steps == 0 || self.batch_len == 0 {
            return bad("training needs at least one step and one window per step");
        }
        if self.max_error.is_some_and(|e| e.is_nan() || e <= 0.0) {
            return bad("the largest accepted error must be above 0");
        }
        let integer = |a: Activation| matches!(a, Activation::Linear | Activation::Relu);
        if self.int8 && !(integer(self.activation) && self.output() == Activation::Linear) {
            return bad(
                "int8 networks have ReLU or linear layers and a linear output: choose these or train in float",
            );
        }
        if self.int8 && self.recipe == Recipe::Seed {
            return bad("the seed's recipe knows no int8: use the usual recipe");
        }
        if self.readings.is_none() && (self.input_len() != 1 || self.channels[0].range != (0.0, 50.0)) {
            return bad(
                "the seed's formula makes single temperatures of 0..50 °C: give readings for anything else",
            );
        }
        self.conv_shapes().map(|_| ())
    }

    /// The convolutions' shapes, checked.
    pub(super) fn conv_shapes(&self) -> Result<Vec<Shape>, SeedTrainError> {
        let (mut n_steps, mut channels_in) = (self.n_samples, self.channels.len());
        let mut shapes = Vec::new();
        for c in &self.conv {
            if c.kernel == 0 || c.kernel > n_steps || c.stride == 0 || c.channels == 0 {
                return Err(SeedTrainError::Setting(
                    "a convolution's kernel is longer than what it reads: give a longer window or a shorter kernel",
                ));
            }
            let shape = Shape::Conv1d {
                n_steps,
                channels_in,
                channels_out: c.channels,
                kernel: c.kernel,
                stride: c.stride,
            };
            if c.channels > kinglet_codec::seed::WIDTH_MAX || shape.n_out() > kinglet_codec::seed::WIDTH_MAX {
                return Err(SeedTrainError::Setting(
                    "a convolution makes more than 1024 numbers: give it fewer channels",
                ));
            }
            (n_steps, channels_in) = (shape.n_steps_out(), c.channels);
            shapes.push(shape);
        }
        Ok(shapes)
    }
}
