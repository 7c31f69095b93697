//! Whether a latent comes from the encoder that belongs to the decoder.
//!
//! The encoder's latents of all readings of one channel form a curve. A latent of another training lies off it, so
//! what its decoded value is encoded to lies elsewhere. The seed answers such latents with plausible temperatures, 5 to
//! 37 °C wrong.

use kinglet_codec::seed::SeedModel;

/// Points of the curve that are measured.
const N: usize = 1001;
/// Part of the curve's extent that a latent may lie off it: an encoder rounded to int8 after training does.
const ROOM: f32 = 0.02;

pub(super) struct Curve {
    /// How far a latent may lie from what its value is encoded to.
    most: f32,
}

impl Curve {
    /// `None` for a model that only decodes, and for windows: those fill more than a curve.
    pub(super) fn measure(model: &SeedModel) -> Option<Self> {
        if model.input_len() != 1 {
            return None;
        }
        let (lo, hi) = model.channels()[0].range;
        let mut farthest = 0f32;
        let mut extent: Vec<(f32, f32)> = vec![(f32::INFINITY, f32::NEG_INFINITY); model.latent_len()];
        for i in 0..N {
            let value = (lo + (hi - lo) * i as f32 / (N - 1) as f32).clamp(lo, hi);
            let latent = model.encode(&[value]).ok()?;
            for (extent, z) in extent.iter_mut().zip(&latent) {
                *extent = (extent.0.min(*z), extent.1.max(*z));
            }
            farthest = farthest.max(distance(model, &latent, &model.decode(&latent).ok()?)?);
        }
        let extent = extent.iter().map(|(lo, hi)| (hi - lo) * (hi - lo)).sum::<f32>().sqrt();
        let most = 2.0 * farthest + ROOM * extent;
        most.is_finite().then_some(Self { most })
    }

    pub(super) fn holds(&self, model: &SeedModel, latent: &[f32], values: &[f32]) -> bool {
        distance(model, latent, values).is_some_and(|d| d <= self.most)
    }
}

/// From a latent to what its decoded value is encoded to.
fn distance(model: &SeedModel, latent: &[f32], values: &[f32]) -> Option<f32> {
    let mut values = values.to_vec();
    model.clip(&mut values);
    let again = model.encode(&values).ok()?;
    Some(again.iter().zip(latent).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt())
}
