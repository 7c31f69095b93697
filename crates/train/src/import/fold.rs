//! Another scale at a network's input, taken into its first layer.

use kinglet_codec::seed::{Layer, Numbers, SeedChannel, Shape};

use super::ImportError;

/// The network was trained on `(value - mean) / scale`; afterwards it reads `(value - lo) / (hi - lo)`.
pub(super) fn into_first(
    layers: &mut [Layer],
    channels: &[SeedChannel],
    mean: &[f64],
    scale: &[f64],
) -> Result<(), ImportError> {
    let Some(Layer { shape: Shape::Dense { n_in, .. }, numbers: Numbers::Float { weights, bias }, .. }) =
        layers.first_mut()
    else {
        return Err(ImportError::Tflite("it has no first dense layer".into()));
    };
    if *n_in != channels.len() {
        return Err(ImportError::Tflite(format!(
            "it reads {n_in} values, the scaler has {}",
            channels.len()
        )));
    }
    for (row, b) in weights.chunks_exact_mut(*n_in).zip(bias) {
        let mut offset = 0.0;
        for (i, w) in row.iter_mut().enumerate() {
            let (lo, hi) = (f64::from(channels[i].range.0), f64::from(channels[i].range.1));
            offset += f64::from(*w) * (lo - mean[i]) / scale[i];
            *w = (f64::from(*w) * (hi - lo) / scale[i]) as f32;
        }
        *b = (f64::from(*b) + offset) as f32;
    }
    Ok(())
}
