//! The seed's own mode: a dense autoencoder on plain readings, float latents, no key and no bound.
//!
//! A [`SeedModel`] is what `kinglet train --preset seed` makes, what a microcontroller runs as `.tflite`, and what
//! answers `POST /decode`. It hides a reading from a casual look and protects nothing: this is obfuscation. It shares
//! no code with the window codec, and neither reads the other's files. `spec/seed.md` says the file in bytes.
//!
//! Values are `[n_samples × n_channels]`, sample-major, in natural units. The encoder sees
//! `(value - lo) / (hi - lo)` of the sensor's own range, which is part of the model and never fitted to data.

mod error;
mod file;
mod int8;
mod layer;
#[cfg(test)]
mod tests;

use std::string::String;
use std::vec::Vec;

pub use error::SeedError;
pub use int8::{Affine, requantise};
pub use layer::{Activation, Layer, Numbers, Shape};

/// Largest seed bundle file that is read, bytes.
pub const FILE_LEN_MAX: usize = 8 << 20;
/// Most layers of one half.
pub const LAYERS_MAX: usize = 16;
/// Most numbers between two layers.
pub const WIDTH_MAX: usize = 1024;
/// Most weights and biases of a model.
pub const PARAMS_MAX: usize = 1 << 20;

/// One sensor signal.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedChannel {
    /// Name, at most 32 bytes of UTF-8.
    pub name: String,
    /// Unit, at most 16 bytes of UTF-8, may be empty.
    pub unit: String,
    /// The sensor's least and greatest reading: what the encoder scales to 0 and 1.
    pub range: (f32, f32),
    /// What 0 and 1 of the decoder's output mean. The same as `range`, except in models that came from elsewhere.
    pub decoded: (f32, f32),
}

impl SeedChannel {
    /// A channel whose decoder answers on the scale its encoder reads.
    pub fn new(name: &str, unit: &str, lo: f32, hi: f32) -> Self {
        Self { name: name.into(), unit: unit.into(), range: (lo, hi), decoded: (lo, hi) }
    }

    /// The seed's: `temperature`, 0..50 °C, a DHT11's range.
    pub fn temperature() -> Self {
        Self::new("temperature", "°C", 0.0, 50.0)
    }
}

/// One half of an autoencoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Half {
    /// Layers in order; either all float or all int8.
    pub layers: Vec<Layer>,
    /// How int8 layers read the half's input; `None` for float.
    pub input: Option<Affine>,
}

/// All that a [`SeedModel`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedParts {
    /// Name people give it; not part of the identity.
    pub name: String,
    /// Channels, 1..=16.
    pub channels: Vec<SeedChannel>,
    /// Samples in a window, 1..=256; the seed has 1.
    pub n_samples: usize,
    /// `None` in a model that came from a server which only decodes.
    pub encoder: Option<Half>,
    /// Latent to values.
    pub decoder: Half,
    /// What training measured; not part of the identity.
    pub report: serde_json::Value,
}

/// A checked seed-mode autoencoder.
#[derive(Clone, Debug)]
pub struct SeedModel {
    parts: SeedParts,
}

impl SeedModel {
    /// Checks the parts: limits, widths that follow each other, finite numbers.
    pub fn new(parts: SeedParts) -> Result<Self, SeedError> {
        file::check(&parts)?;
        Ok(Self { parts })
    }

    /// Reads a seed bundle file; a window codec's bundle is refused by name.
    pub fn parse(bytes: &[u8]) -> Result<Self, SeedError> {
        file::parse(bytes)
    }

    /// The model as file bytes: the same model gives the same bytes.
    pub fn emit(&self) -> Vec<u8> {
        file::emit(&self.parts)
    }

    /// Encodes one window of readings, `[n_samples × n_channels]` in natural units, into its latent.
    ///
    /// A reading outside its sensor's range is refused, because the seed's silent clipping loses it; who wants
    /// clipping calls [`Self::clip`] first. An int8 model computes with integers, bit for bit as TensorFlow Lite
    /// Micro does, and gives what they stand for.
    pub fn encode(&self, values: &[f32]) -> Result<Vec<f32>, SeedError> {
        let encoder = self.parts.encoder.as_ref().ok_or(SeedError::NoEncoder)?;
        run(encoder, self.scaled(values)?)
    }

    /// Decodes a latent into values, `[n_samples × n_channels]` in natural units.
    ///
    /// Not clipped: a latent no encoder made may give a value outside the sensor's range.
    pub fn decode(&self, latent: &[f32]) -> Result<Vec<f32>, SeedError> {
        let expected = self.latent_len();
        if latent.len() != expected {
            return Err(SeedError::LatentLen { given: latent.len(), expected });
        }
        if let Some(idx) = latent.iter().position(|v| !v.is_finite()) {
            return Err(SeedError::NotFinite { idx });
        }
        let mut values = run(&self.parts.decoder, latent.to_vec())?;
        for (value, channel) in values.iter_mut().zip(self.parts.channels.iter().cycle()) {
            let (at_0, at_1) = (f64::from(channel.decoded.0), f64::from(channel.decoded.1));
            *value = (at_0 + f64::from(*value) * (at_1 - at_0)) as f32;
        }
        if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(SeedError::Overflow) }
    }

    /// Readings scaled to what the encoder sees, checked.
    pub fn scaled(&self, values: &[f32]) -> Result<Vec<f32>, SeedError> {
        let expected = self.input_len();
        if values.len() != expected {
            return Err(SeedError::InputLen { given: values.len(), expected });
        }
        let channels = self.parts.channels.iter().cycle();
        let scaled = values.iter().zip(channels).enumerate().map(|(idx, (&value, channel))| {
            let (lo, hi) = channel.range;
            if !value.is_finite() {
                return Err(SeedError::NotFinite { idx });
            }
            if value < lo || value > hi {
                return Err(SeedError::OutOfRange { idx, value, lo, hi });
            }
            Ok(((f64::from(value) - f64::from(lo)) / (f64::from(hi) - f64::from(lo))) as f32)
        });
        scaled.collect()
    }

    /// Moves readings outside their sensor's range to its end and says how many there were. NaN stays NaN.
    pub fn clip(&self, values: &mut [f32]) -> usize {
        let mut n_clipped = 0;
        for (value, channel) in values.iter_mut().zip(self.parts.channels.iter().cycle()) {
            let within = value.clamp(channel.range.0, channel.range.1);
            n_clipped += usize::from(within != *value && !value.is_nan());
            *value = within;
        }
        n_clipped
    }

    /// Numbers in a window: samples × channels.
    pub fn input_len(&self) -> usize {
        self.parts.n_samples * self.parts.channels.len()
    }

    /// Numbers in a latent.
    pub fn latent_len(&self) -> usize {
        self.parts.decoder.layers[0].shape.n_in()
    }

    /// The channels, in order.
    pub fn channels(&self) -> &[SeedChannel] {
        &self.parts.channels
    }

    /// Samples in a window.
    pub fn n_samples(&self) -> usize {
        self.parts.n_samples
    }

    /// Values to latent; `None` in a model that only decodes.
    pub fn encoder(&self) -> Option<&Half> {
        self.parts.encoder.as_ref()
    }

    /// Latent to values.
    pub fn decoder(&self) -> &Half {
        &self.parts.decoder
    }

    /// Whether the decoder (and with it the encoder) computes with int8.
    pub fn is_int8(&self) -> bool {
        self.parts.decoder.input.is_some()
    }

    /// The name people gave it.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// What training measured.
    pub fn report(&self) -> &serde_json::Value {
        &self.parts.report
    }

    /// The parts, for who changes name or report, or builds another model from it.
    pub fn into_parts(self) -> SeedParts {
        self.parts
    }

    /// SHA-256 of the canonical bytes: the outline and every weight, without name and report.
    pub fn identity(&self) -> [u8; 32] {
        file::identity(&self.parts)
    }

    /// The first 16 bytes of the identity.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut first = [0; 16];
        first.copy_from_slice(&self.identity()[..16]);
        first
    }
}

impl Half {
    /// Runs an int8 half on integers as a device does; `None` for a float half.
    ///
    /// `input`: int8 numbers as `self.input` reads them. Returns the last layer's int8 output.
    pub fn run_int8(&self, input: &[i8]) -> Option<Vec<i8>> {
        self.input?;
        let start = (input.to_vec(), self.input?);
        let (last, _) = self.layers.iter().try_fold(start, |(x, read), layer| {
            let Numbers::Int8 { output, .. } = &layer.numbers else { return None };
            Some((layer.run_int8(&x, read), *output))
        })?;
        Some(last)
    }

    /// How the half's int8 output is read; `None` for a float half.
    pub fn output(&self) -> Option<Affine> {
        match self.layers.last()?.numbers {
            Numbers::Int8 { output, .. } => Some(output),
            Numbers::Float { .. } => None,
        }
    }
}

fn run(half: &Half, x: Vec<f32>) -> Result<Vec<f32>, SeedError> {
    let y = match (half.input, half.output()) {
        (Some(input), Some(output)) => {
            let q: Vec<i8> = x.iter().map(|&v| input.quantise(v)).collect();
            half.run_int8(&q).unwrap_or_default().iter().map(|&q| output.dequantise(q)).collect()
        }
        _ => half.layers.iter().fold(x, |x, layer| layer.run(&x)),
    };
    if y.iter().all(|v: &f32| v.is_finite()) { Ok(y) } else { Err(SeedError::Overflow) }
}

/// The door for seed bundle files, as a plain function over bytes.
#[cfg(feature = "fuzz")]
pub fn fuzz_seed(bytes: &[u8]) {
    let Ok(model) = SeedModel::parse(bytes) else { return };
    let again = SeedModel::parse(&model.emit());
    assert_eq!(again.map(|m| m.identity()).ok(), Some(model.identity()));
    let middle: Vec<f32> = model.channels().iter().map(|c| 0.5 * c.range.0 + 0.5 * c.range.1).collect();
    let window = middle.repeat(model.n_samples());
    if let Ok(latent) = model.encode(&window) {
        let _ = model.decode(&latent);
    }
}
