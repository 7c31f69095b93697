//! Dense and convolution layers, float and int8, in plain loops.

use std::vec::Vec;

use super::int8::{self, Affine, Factor};

/// What a layer does to its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// `max(0, x)`.
    Relu,
    /// Hyperbolic tangent; float only.
    Tanh,
    /// `1 / (1 + exp(-x))`; float only.
    Sigmoid,
}

/// What a layer connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Every input to every output; weights `[n_out × n_in]`.
    Dense {
        /// Inputs.
        n_in: usize,
        /// Outputs.
        n_out: usize,
    },
    /// A convolution along steps without padding; weights `[channels_out × kernel × channels_in]`, data step-major.
    Conv1d {
        /// Steps of the input.
        n_steps: usize,
        /// Channels of the input.
        channels_in: usize,
        /// Channels made.
        channels_out: usize,
        /// Steps each output looks at, `1..=n_steps`.
        kernel: usize,
        /// Steps from one output to the next, at least 1.
        stride: usize,
    },
}

impl Shape {
    /// Numbers read.
    pub fn n_in(&self) -> usize {
        match *self {
            Self::Dense { n_in, .. } => n_in,
            Self::Conv1d { n_steps, channels_in, .. } => n_steps * channels_in,
        }
    }

    /// Numbers made.
    pub fn n_out(&self) -> usize {
        match *self {
            Self::Dense { n_out, .. } => n_out,
            Self::Conv1d { channels_out, .. } => self.n_steps_out() * channels_out,
        }
    }

    /// Steps made: 1 for a dense layer.
    pub fn n_steps_out(&self) -> usize {
        match *self {
            Self::Dense { .. } => 1,
            Self::Conv1d { n_steps, kernel, stride, .. } => (n_steps - kernel) / stride + 1,
        }
    }

    /// Rows of weights, as many as biases.
    pub fn n_rows(&self) -> usize {
        match *self {
            Self::Dense { n_out, .. } => n_out,
            Self::Conv1d { channels_out, .. } => channels_out,
        }
    }

    /// Weights in a row.
    pub fn row_len(&self) -> usize {
        match *self {
            Self::Dense { n_in, .. } => n_in,
            Self::Conv1d { channels_in, kernel, .. } => kernel * channels_in,
        }
    }

    /// Numbers from one step's inputs to the next's.
    fn hop(&self) -> usize {
        match *self {
            Self::Dense { .. } => 0,
            Self::Conv1d { channels_in, stride, .. } => channels_in * stride,
        }
    }
}

/// A layer's numbers; `weights` is `n_rows × row_len` of its [`Shape`], `bias` `n_rows`.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Real numbers.
    Float {
        /// Weights.
        weights: Vec<f32>,
        /// Biases.
        bias: Vec<f32>,
    },
    /// Integers, and what they stand for.
    Int8 {
        /// Weights; symmetric, within ±127.
        weights: Vec<i8>,
        /// Biases in steps of input scale × weight scale.
        bias: Vec<i32>,
        /// One step of a weight.
        weight_scale: f32,
        /// How the output is read.
        output: Affine,
    },
}

/// One layer: `activation(W x + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What it connects.
    pub shape: Shape,
    /// What it does to its sum.
    pub activation: Activation,
    /// Its weights and biases.
    pub numbers: Numbers,
}

impl Layer {
    /// Runs a float layer on `[n_in]` numbers: `[n_out]`. Sums in double; an int8 layer gives nothing.
    pub fn run(&self, x: &[f32]) -> Vec<f32> {
        let Numbers::Float { weights, bias } = &self.numbers else { return Vec::new() };
        let (row_len, hop) = (self.shape.row_len(), self.shape.hop());
        let mut y = Vec::with_capacity(self.shape.n_out());
        for t in 0..self.shape.n_steps_out() {
            let x = &x[t * hop..][..row_len];
            y.extend(weights.chunks_exact(row_len).zip(bias).map(|(row, &b)| {
                let dot: f64 = row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                self.activation.of(dot + f64::from(b)) as f32
            }));
        }
        y
    }

    /// Runs an int8 layer on `[n_in]` integers that `input` reads: `[n_out]`. A float layer gives nothing.
    pub fn run_int8(&self, x: &[i8], input: Affine) -> Vec<i8> {
        let Numbers::Int8 { weights, bias, weight_scale, output } = &self.numbers else { return Vec::new() };
        let (row_len, hop) = (self.shape.row_len(), self.shape.hop());
        let factor = Factor::of(&self.shape, input.scale, *weight_scale, output.scale);
        let (zero_in, zero_out) = (i32::from(input.zero), i32::from(output.zero));
        let lowest = if self.activation == Activation::Relu { zero_out } else { -128 };
        let mut y = Vec::with_capacity(self.shape.n_out());
        for t in 0..self.shape.n_steps_out() {
            let x = &x[t * hop..][..row_len];
            y.extend(weights.chunks_exact(row_len).zip(bias).map(|(row, &b)| {
                // 1024 products of at most 255 · 127 and a bias below 2³⁰: within 32 bits.
                let dot: i32 =
                    row.iter().zip(x).map(|(&w, &x)| i32::from(w) * (i32::from(x) - zero_in)).sum();
                (int8::scale(dot + b, factor) + zero_out).clamp(lowest, 127) as i8
            }));
        }
        y
    }
}

impl Activation {
    /// Applied to one sum; the same on every host.
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Linear => x,
            Self::Relu => {
                // NaN stays NaN, to be found at the end.
                if x > 0.0 || x.is_nan() { x } else { 0.0 }
            }
            Self::Tanh => libm::tanh(x),
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        }
    }
}
