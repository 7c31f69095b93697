//! The seed's own use: a reading through a small float encoder, its latent as JSON. This hides a reading from a casual
//! look and protects nothing: no key, no bound, no ack.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// What a layer does to its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// `max(0, x)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// A dense layer; weights `[n_out × n_in]`, as many biases as outputs.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Row after row.
    pub weights: &'static [f32],
    /// One per output.
    pub biases: &'static [f32],
    /// What is done to each sum.
    pub activation: Activation,
}

/// An encoder of one reading.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    /// The sensor's least and greatest reading, which become 0 and 1.
    pub range: (f32, f32),
    /// From the reading to the latent.
    pub layers: &'static [Layer],
}

impl Encoder {
    /// The latent of `value`, which is moved into the sensor's range first, as the seed's sketch does. `None` for what is
    /// no number.
    pub fn encode(&self, value: f32) -> Option<Vec<f32>> {
        if !value.is_finite() {
            return None;
        }
        let (lo, hi) = (f64::from(self.range.0), f64::from(self.range.1));
        let value = f64::from(value.clamp(self.range.0, self.range.1));
        let mut x = alloc::vec![((value - lo) / (hi - lo)) as f32];
        for layer in self.layers {
            x = layer.run(&x);
        }
        Some(x)
    }
}

impl Layer {
    fn run(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weights.chunks_exact(x.len().max(1));
        rows.zip(self.biases)
            .map(|(row, bias)| {
                let sum = row.iter().zip(x).fold(*bias, |sum, (w, x)| sum + w * x);
                match self.activation {
                    Activation::Linear => sum,
                    Activation::Relu => sum.max(0.0),
                    Activation::Tanh => libm::tanhf(sum),
                    Activation::Sigmoid => 1.0 / (1.0 + libm::expf(-sum)),
                }
            })
            .collect()
    }
}

/// The body of `POST /decode`: `{"latent_vector":[0.25,-1.5]}`.
pub fn body(latent: &[f32]) -> String {
    let mut text = String::from("{\"latent_vector\":[");
    for (n, value) in latent.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(text, "{}{value}", if n == 0 { "" } else { "," });
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_codec::seed::{self, Half, Numbers, SeedChannel, SeedModel, SeedParts, Shape};
    use std::boxed::Box;

    /// A network of random weights, as the host's library runs it and as the board does.
    fn both(activation: seed::Activation, ours: Activation, seed: u32) -> (SeedModel, Encoder) {
        let mut state = seed;
        let mut random = |n: usize| -> Vec<f32> {
            (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 23) as f32 - 1.0
                })
                .collect()
        };
        let mut half = |widths: [usize; 3]| {
            let layers = widths.windows(2).map(|pair| seed::Layer {
                shape: Shape::Dense { n_in: pair[0], n_out: pair[1] },
                activation,
                numbers: Numbers::Float { weights: random(pair[0] * pair[1]), bias: random(pair[1]) },
            });
            Half { layers: layers.collect(), input: None }
        };
        let (encoder, decoder) = (half([1, 16, 3]), half([3, 16, 1]));
        let layers: Vec<Layer> = encoder
            .layers
            .iter()
            .map(|layer| {
                let Numbers::Float { weights, bias } = &layer.numbers else { panic!("float") };
                Layer { weights: weights.clone().leak(), biases: bias.clone().leak(), activation: ours }
            })
            .collect();
        let parts = SeedParts {
            name: "x".into(),
            channels: std::vec![SeedChannel::temperature()],
            n_samples: 1,
            encoder: Some(encoder),
            decoder,
            report: serde_json::Value::Null,
        };
        let layers: &'static [Layer] = Box::leak(layers.into_boxed_slice());
        (SeedModel::new(parts).unwrap(), Encoder { range: (0.0, 50.0), layers })
    }

    #[test]
    fn computes_what_the_host_computes() {
        let pairs = [
            (seed::Activation::Linear, Activation::Linear),
            (seed::Activation::Relu, Activation::Relu),
            (seed::Activation::Tanh, Activation::Tanh),
            (seed::Activation::Sigmoid, Activation::Sigmoid),
        ];
        for (n, (theirs, ours)) in pairs.into_iter().enumerate() {
            let (model, encoder) = both(theirs, ours, n as u32 + 1);
            for tenth in 0..=500_u16 {
                let value = f32::from(tenth) / 10.0;
                let (want, got) = (model.encode(&[value]).unwrap(), encoder.encode(value).unwrap());
                let off = want.iter().zip(&got).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
                assert!(want.len() == got.len() && off <= 2e-6, "{ours:?} at {value}: {want:?} {got:?}");
            }
        }
    }

    #[test]
    fn readings_beyond_the_sensor_are_moved_into_its_range() {
        let (_, encoder) = both(seed::Activation::Tanh, Activation::Tanh, 9);
        assert_eq!(encoder.encode(-7.0), encoder.encode(0.0));
        assert_eq!(encoder.encode(99.0), encoder.encode(50.0));
        assert_eq!(encoder.encode(f32::NAN), None);
    }

    #[test]
    fn the_body_is_json_with_every_digit() {
        let latent = [0.1, -2.5e-7, 3.0];
        let said: serde_json::Value = serde_json::from_str(&body(&latent)).unwrap();
        let back: Vec<f32> =
            said["latent_vector"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        assert_eq!(back, latent);
    }
}
