//! Options as a network of the trainer, and its weights as a model.

use kinglet_codec::seed::{Activation, Half, Layer, Numbers, SeedModel, SeedParts, Shape};

use super::options::{Recipe, SeedOptions};
use super::train::SeedTrainError;
use crate::nn::{self, Net, NetBuilder, NodeId, Rng};

/// Where a layer's output lies in steps of `2^-exponent`, from `lo` to `lo + 255`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steps {
    pub(super) exponent: i8,
    pub(super) lo: i32,
}

/// A network and where its layers are.
pub(super) struct Network {
    pub(super) net: Net,
    /// Encoder's layers, then the decoder's: node, shape, activation.
    pub(super) layers: Vec<(NodeId, Shape, Activation)>,
    pub(super) n_encoder: usize,
}

impl Network {
    /// Builds the network; `steps` puts a quantiser behind every layer but the last.
    pub(super) fn new(
        options: &SeedOptions,
        seed: u64,
        steps: Option<&[Steps]>,
    ) -> Result<Self, SeedTrainError> {
        let (mut b, mut at) = NetBuilder::new(options.input_len());
        let mut layers = Vec::new();
        let shapes = shapes(options)?;
        let n_encoder = options.conv.len() + options.hidden.len() + 1;
        for (i, &shape) in shapes.iter().enumerate() {
            let activation = if i + 1 == n_encoder {
                Activation::Linear
            } else if i + 1 == shapes.len() {
                options.output()
            } else {
                options.activation
            };
            let act = match activation {
                Activation::Linear => nn::Activation::Linear,
                Activation::Relu => nn::Activation::Relu,
                Activation::Tanh => nn::Activation::Tanh,
                Activation::Sigmoid => nn::Activation::Sigmoid,
            };
            at = match shape {
                Shape::Dense { n_out, .. } => b.dense(at, n_out, act),
                Shape::Conv1d { channels_in, channels_out, kernel, stride, .. } => {
                    let conv = nn::Conv1d { channels_in, channels_out, kernel, stride, padding: 0 };
                    b.conv1d(at, conv, act)
                }
            };
            layers.push((at, shape, activation));
            if let Some(&Steps { exponent, lo }) = steps.and_then(|s| s.get(i)) {
                at = b.fixed_point(at, exponent, lo, lo + 255);
            }
        }
        let mut this = Self { net: b.build(&[at], seed), layers, n_encoder };
        if options.recipe == Recipe::Ours {
            this.spread_kinks(seed);
        }
        Ok(this)
    }

    /// The float model as the weights stand.
    pub(super) fn model(&self, options: &SeedOptions) -> Result<SeedModel, SeedTrainError> {
        let layer = |&(node, shape, activation): &(NodeId, Shape, Activation)| Layer {
            shape,
            activation,
            numbers: Numbers::Float {
                weights: self.net.weights(node).to_vec(),
                bias: self.net.biases(node).to_vec(),
            },
        };
        let (encoder, decoder) = self.layers.split_at(self.n_encoder);
        let half = |layers: &[_]| Half { layers: layers.iter().map(layer).collect(), input: None };
        model_of(options, half(encoder), half(decoder))
    }

    /// Biases that put the kinks of the first hidden layer across the range and not all at its lower end, where
    /// Glorot's zero biases have them and a short training leaves them.
    fn spread_kinks(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ 0x6b69_6e6b);
        let (node, shape, activation) = self.layers[0];
        let Shape::Dense { n_in, n_out } = shape else { return };
        if activation == Activation::Linear {
            return;
        }
        for o in 0..n_out {
            let at = (o as f32 + rng.uniform()) / n_out as f32;
            let sum: f32 = self.net.weights(node)[o * n_in..][..n_in].iter().sum();
            self.net.biases_mut(node)[o] = -at * sum;
        }
    }
}

pub(super) fn model_of(
    options: &SeedOptions,
    encoder: Half,
    decoder: Half,
) -> Result<SeedModel, SeedTrainError> {
    Ok(SeedModel::new(SeedParts {
        name: options.name.clone(),
        channels: options.channels.clone(),
        n_samples: options.n_samples,
        encoder: Some(encoder),
        decoder,
        report: serde_json::Value::Null,
    })?)
}

fn shapes(options: &SeedOptions) -> Result<Vec<Shape>, SeedTrainError> {
    let mut shapes = options.conv_shapes()?;
    let mut n_in = shapes.last().map_or(options.input_len(), Shape::n_out);
    let back = options.hidden.iter().rev();
    let widths = options.hidden.iter().chain([&options.latent]).chain(back).copied();
    for n_out in widths.chain([options.input_len()]) {
        shapes.push(Shape::Dense { n_in, n_out });
        n_in = n_out;
    }
    Ok(shapes)
}
