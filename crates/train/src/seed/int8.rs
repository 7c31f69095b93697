//! Training with the integers a device computes with (Jacob et al. 2018): activations rounded to 256 steps, weights to
//! 255, gradients straight through.
//!
//! Steps inside the network are powers of two, because the trainer's quantisers are; the input and the output have
//! 255 steps from one end of the sensor's range to the other.

use kinglet_codec::seed::{Affine, Half, Layer, Numbers, SeedModel};

use super::network::{Network, Steps, model_of};
use super::options::SeedOptions;
use super::train::SeedTrainError;
use crate::nn::WeightScale;

/// The network's input and output: 0..1 in 255 steps.
const ENDS: Affine = Affine { scale: 1.0 / 255.0, zero: -128 };

/// Windows as a device's input tensor shows them.
pub(super) fn seen_by_device(windows: &[f32]) -> Vec<f32> {
    windows.iter().map(|&v| ENDS.dequantise(ENDS.quantise(v))).collect()
}

/// A network with quantisers, begun from a float one.
pub(super) struct Integers {
    pub(super) network: Network,
    steps: Vec<Steps>,
}

impl Integers {
    /// Finds each layer's range on `windows` and builds the network anew.
    pub(super) fn new(
        options: &SeedOptions,
        float: &Network,
        windows: &[f32],
    ) -> Result<Self, SeedTrainError> {
        let inner = &float.layers[..float.layers.len() - 1];
        let mut steps = Vec::new();
        for &(node, ..) in inner {
            let values = float.net.apply_node(windows, node, options.isa)?;
            steps.push(steps_for(&values));
        }
        let mut network = Network::new(options, 0, Some(&steps))?;
        network.net.params_mut().copy_from_slice(float.net.params());
        network.net.set_weight_bits(Some((8, WeightScale::PerTensor)));
        Ok(Self { network, steps })
    }

    /// The integer model as the weights stand.
    pub(super) fn model(&self, options: &SeedOptions) -> Result<SeedModel, SeedTrainError> {
        let n = self.network.n_encoder;
        let mut read = ENDS;
        let mut layers = Vec::new();
        for (i, &(node, shape, activation)) in self.network.layers.iter().enumerate() {
            let output = self.steps.get(i).map_or(ENDS, |s| s.affine());
            let rounded =
                self.network.net.quantised(node).ok_or(SeedTrainError::Setting("a layer is not rounded"))?;
            let weight_scale = rounded.scale.first().copied().unwrap_or(1.0);
            let one = f64::from(read.scale) * f64::from(weight_scale);
            let most = f64::from(1 << 30);
            let bias =
                rounded.bias.iter().map(|&b| libm::round(f64::from(b) / one).clamp(-most, most) as i32);
            layers.push(Layer {
                shape,
                activation,
                numbers: Numbers::Int8 {
                    weights: rounded.weights.iter().map(|&w| w as i8).collect(),
                    bias: bias.collect(),
                    weight_scale,
                    output,
                },
            });
            read = output;
        }
        let decoder = layers.split_off(n);
        let latent = self.steps.get(n - 1).map_or(ENDS, |s| s.affine());
        model_of(options, Half { layers, input: Some(ENDS) }, Half { layers: decoder, input: Some(latent) })
    }
}

impl Steps {
    /// Step `lo` is -128.
    fn affine(self) -> Affine {
        Affine {
            scale: libm::exp2f(-f32::from(self.exponent)),
            zero: (-128 - self.lo).clamp(-128, 127) as i8,
        }
    }
}

/// The finest power of two that holds `values` and zero in 256 steps, with a little room to move.
fn steps_for(values: &[f32]) -> Steps {
    let (lo, hi) = values.iter().fold((0.0f32, 0.0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let room = 0.02 * (hi - lo);
    let (lo, hi) = (if lo < 0.0 { lo - room } else { lo }, hi + room);
    for exponent in (-20..=20i8).rev() {
        let scale = libm::exp2f(f32::from(exponent));
        let first = libm::floorf(lo * scale);
        if libm::ceilf(hi * scale) - first <= 255.0 {
            return Steps { exponent, lo: first as i32 };
        }
    }
    Steps { exponent: -20, lo: -128 }
}
