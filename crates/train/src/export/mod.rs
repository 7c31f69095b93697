//! A seed-mode model as files for other people's runtimes: `.tflite` for LiteRT and TensorFlow Lite Micro, and the
//! encoder as a C array for a sketch.
//!
//! FULLY_CONNECTED and CONV_2D with fused RELU, float or int8; in float also LOGISTIC and TANH behind a layer. Anything
//! else is refused with its reason. The window codec has no such files: its device code is `kinglet_codec` itself.

mod header;
mod post;
mod tflite;

use kinglet_codec::seed::{Half, SeedError, SeedModel};

pub use header::encoder_header;
pub use post::post_training;
pub use tflite::tflite;

/// In which numbers a model is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format<'a> {
    /// The model's own: float, or the int8 it was trained with.
    Own,
    /// A float model rounded to int8 after training, which costs accuracy that training with int8 keeps.
    PostTraining {
        /// Typical windows `[n × n_samples × n_channels]` in natural units, to see how far each layer reaches; empty for
        /// models of single readings, whose whole range is tried.
        readings: &'a [f32],
    },
}

/// Why a model cannot be written for another runtime.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model only decodes.
    #[error("this model has no encoder to export: import it together with its encoder's .tflite")]
    NoEncoder,
    /// A layer another runtime cannot be given.
    #[error("layer {layer} of the {half} cannot be exported: {why}")]
    Layer {
        /// 0-based.
        layer: usize,
        /// `encoder` or `decoder`.
        half: &'static str,
        /// The reason and what to do.
        why: &'static str,
    },
    /// A model that is int8 already.
    #[error(
        "this model was trained with int8, it is exported as it is: leave post-training quantisation away"
    )]
    AlreadyInt8,
    /// Nothing to see the layers' ranges by.
    #[error(
        "post-training quantisation of windows needs typical readings: give the recording the model was trained with"
    )]
    NoReadings,
    /// A reading the model refuses.
    #[error(transparent)]
    Reading(#[from] SeedError),
}

/// `encoder_model.tflite`: a window scaled to 0..1 in, its latent out.
pub fn encoder_tflite(model: &SeedModel, format: Format<'_>) -> Result<Vec<u8>, ExportError> {
    tflite(&encoder(model, format)?, "encoder", &described(model))
}

/// `decoder_model.tflite`: a latent in, a window scaled to 0..1 out.
pub fn decoder_tflite(model: &SeedModel, format: Format<'_>) -> Result<Vec<u8>, ExportError> {
    tflite(&decoder(model, format)?, "decoder", &described(model))
}

/// The encoder that [`encoder_tflite`] writes.
pub fn encoder(model: &SeedModel, format: Format<'_>) -> Result<Half, ExportError> {
    let encoder = model.encoder().ok_or(ExportError::NoEncoder)?;
    match format {
        Format::Own => Ok(encoder.clone()),
        Format::PostTraining { readings } => {
            post_training(encoder, &typical(model, readings)?, true, "encoder")
        }
    }
}

/// The decoder that [`decoder_tflite`] writes.
pub fn decoder(model: &SeedModel, format: Format<'_>) -> Result<Half, ExportError> {
    match format {
        Format::Own => Ok(model.decoder().clone()),
        Format::PostTraining { readings } => {
            let encoder = model.encoder().ok_or(ExportError::NoEncoder)?;
            let windows = typical(model, readings)?;
            let latents: Vec<f32> = windows
                .chunks_exact(model.input_len())
                .flat_map(|w| encoder.layers.iter().fold(w.to_vec(), |x, layer| layer.run(&x)))
                .collect();
            post_training(model.decoder(), &latents, false, "decoder")
        }
    }
}

/// Scaled windows to see the layers' ranges by.
fn typical(model: &SeedModel, readings: &[f32]) -> Result<Vec<f32>, ExportError> {
    if model.is_int8() {
        return Err(ExportError::AlreadyInt8);
    }
    if readings.is_empty() {
        if model.input_len() != 1 {
            return Err(ExportError::NoReadings);
        }
        return Ok((0..=1000).map(|i| i as f32 / 1000.0).collect());
    }
    let mut windows = Vec::with_capacity(readings.len());
    for window in readings.chunks(model.input_len()) {
        windows.extend(model.scaled(window)?);
    }
    Ok(windows)
}

fn described(model: &SeedModel) -> String {
    format!("kinglet {}", hex(&model.fingerprint()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
