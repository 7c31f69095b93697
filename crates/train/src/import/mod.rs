//! The seed's exported files as a model: Keras 3 decoder, scikit-learn scaler, and the board's `.tflite` encoder.
//!
//! Everything here reads bytes from elsewhere. Pickles are read as data and never run; archives and compressed files
//! are expanded to a limit; every size is checked before anything is allocated. The files in the order to read them:
//! `keras` (zip and HDF5), `scaler` over `pickle`, `tflite` over `flat`, `fold`.

mod flat;
mod fold;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod keras;
mod pickle;
mod scaler;
mod tflite;

use kinglet_codec::seed::{Half, SeedChannel, SeedError, SeedModel, SeedParts};

pub use scaler::Scaler;

/// Largest file that is read, and the most a compressed one may become, bytes.
pub const FILE_LEN_MAX: usize = 8 << 20;
/// A mean error of this part of the range, or more, means that two halves were not trained together.
const MISMATCH_PART: f32 = 0.04;

/// The seed's exported files.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `decoder_model.keras`.
    pub keras: &'a [u8],
    /// `scaler.joblib`.
    pub scaler: &'a [u8],
    /// `encoder_model.tflite`, float.
    pub tflite: Option<&'a [u8]>,
}

/// A model that came over.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model; without an encoder if none was given.
    pub model: SeedModel,
    /// Over the sensor's range, when both halves of a model of single readings are there.
    pub round_trip: Option<RoundTrip>,
}

/// What comes back of readings over the sensor's whole range, natural units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundTrip {
    /// Mean error.
    pub mean: f32,
    /// Largest error.
    pub max: f32,
    /// The reading that had it.
    pub max_at: f32,
}

/// Why files cannot come over.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// More than [`FILE_LEN_MAX`] bytes, perhaps after expansion.
    #[error(
        "the {file} is larger than {FILE_LEN_MAX} bytes, or becomes so when expanded: this is not what the seed's script exports"
    )]
    TooLarge {
        /// Which file.
        file: &'static str,
    },
    /// A Keras file that cannot be read.
    #[error(
        "the Keras file cannot be read ({0}): save the decoder with `model.save(\"decoder_model.keras\")` of Keras 3"
    )]
    Keras(String),
    /// A scaler that cannot be read.
    #[error("the scaler cannot be read ({0}): save a MinMaxScaler or StandardScaler with `joblib.dump`")]
    Scaler(String),
    /// A pickle that asks for something to be run. Nothing was.
    #[error(
        "the scaler's file names `{0}`, which no scaler needs: it was refused, nothing in it was run. Do not load it in Python either"
    )]
    Hostile(String),
    /// A `.tflite` that cannot be read.
    #[error(
        "the .tflite file cannot be read ({0}): give the float encoder of dense layers that the seed's script exports"
    )]
    Tflite(String),
    /// A layer that has no counterpart here.
    #[error(
        "layer `{layer}` is of kind {kind}, only Dense layers with linear, relu, tanh or sigmoid come over: train anew with `kinglet train --preset seed`"
    )]
    Layer {
        /// Its name.
        layer: String,
        /// Its kind.
        kind: String,
    },
    /// Scaler, decoder and channels disagree about how many values there are.
    #[error(
        "the decoder makes {decoder} values, the scaler has {scaler}, {channels} channels were named: give files that were exported together, and one channel per value"
    )]
    Widths {
        /// Values the decoder makes.
        decoder: usize,
        /// Values the scaler has.
        scaler: usize,
        /// Channels named.
        channels: usize,
    },
    /// Encoder and decoder of different trainings.
    #[error(
        "encoder and decoder were not trained together: over the sensor's range readings come back {mean:.2} off on average (at most {max:.2}). Export both from the same training, and put that encoder on the board"
    )]
    Mismatch {
        /// Mean error, natural units.
        mean: f32,
        /// Largest error.
        max: f32,
    },
    /// The parts are no model.
    #[error(transparent)]
    Model(#[from] SeedError),
}

/// Makes a model of the seed's files.
///
/// `channels`: one per value, their `range` as the board scales by (the seed's sketch: 0..50); what the decoder's
/// output means comes from the scaler. A board whose network was trained behind a StandardScaler is taken to scale
/// by it; this is folded into the encoder's first layer.
pub fn import(
    name: &str,
    channels: Vec<SeedChannel>,
    sources: &Sources<'_>,
) -> Result<Imported, ImportError> {
    let decoder = Half { layers: keras::layers(within(sources.keras, "Keras file")?)?, input: None };
    let scaler = scaler::read(within(sources.scaler, "scaler")?)?;
    let n = decoder.layers.last().map_or(0, |l| l.shape.n_out());
    if n != scaler.len() || n != channels.len() {
        return Err(ImportError::Widths { decoder: n, scaler: scaler.len(), channels: channels.len() });
    }
    let channels: Vec<SeedChannel> = channels
        .into_iter()
        .enumerate()
        .map(|(i, channel)| SeedChannel { decoded: scaler.decoded(i), ..channel })
        .collect();
    let encoder = match sources.tflite {
        None => None,
        Some(bytes) => {
            let mut layers = tflite::layers(within(bytes, ".tflite file")?)?;
            if let Scaler::Standard { mean, scale } = &scaler {
                fold::into_first(&mut layers, &channels, mean, scale)?;
            }
            Some(Half { layers, input: None })
        }
    };
    let has_encoder = encoder.is_some();
    let report = serde_json::json!({ "imported": { "scaler": scaler.name() } });
    let model =
        SeedModel::new(SeedParts { name: name.into(), channels, n_samples: 1, encoder, decoder, report })?;
    let round_trip = if has_encoder && n == 1 { Some(round_trip(&model)?) } else { None };
    match round_trip {
        Some(RoundTrip { mean, max, .. }) if mean.is_nan() || mean >= MISMATCH_PART * span(&model) => {
            Err(ImportError::Mismatch { mean, max })
        }
        _ => Ok(Imported { model, round_trip }),
    }
}

fn span(model: &SeedModel) -> f32 {
    let (lo, hi) = model.channels()[0].range;
    hi - lo
}

fn round_trip(model: &SeedModel) -> Result<RoundTrip, ImportError> {
    const N: usize = 501;
    let (lo, hi) = model.channels()[0].range;
    let mut all = RoundTrip { mean: 0.0, max: 0.0, max_at: lo };
    for i in 0..N {
        let value = (lo + (hi - lo) * i as f32 / (N - 1) as f32).clamp(lo, hi);
        let error = (model.decode(&model.encode(&[value])?)?[0] - value).abs();
        all.mean += error / N as f32;
        if error > all.max {
            (all.max, all.max_at) = (error, value);
        }
    }
    Ok(all)
}

fn within<'a>(bytes: &'a [u8], file: &'static str) -> Result<&'a [u8], ImportError> {
    if bytes.len() > FILE_LEN_MAX { Err(ImportError::TooLarge { file }) } else { Ok(bytes) }
}
