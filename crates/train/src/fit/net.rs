//! A trained autoencoder as the integers a device computes with.

use kinglet_codec::learn::{DensePart, NetPart};

use super::rows::Rows;
use crate::nn::QuantisedLayer;
use crate::nn::autoencoder::Half;

/// Fractional bits of the sums behind a latent.
const LATENT_Q: i32 = 4;
/// Fractional bits of a decoded value, in deviations.
const OUTPUT_Q: i32 = 12;

/// Mean and deviation of each channel, grid steps.
pub(crate) fn norms(rows: &Rows) -> Vec<(f64, f64)> {
    let norm = |idx: usize| {
        let (n, sum) = rows.channel(idx).fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + f64::from(x)));
        let mean = (sum / f64::max(n, 1.0)).round();
        let squares: f64 = rows.channel(idx).map(|x| (f64::from(x) - mean).powi(2)).sum();
        // A channel that never moves has no deviation; one step serves as well as any.
        (mean, (squares / f64::max(n, 1.0)).sqrt().max(0.5))
    };
    (0..rows.n_channels).map(norm).collect()
}

/// Full windows of `rows`, gaps filled and each channel normalised, `[n_windows × values]`; windows begin at
/// `n_phases` places so that more can be learned from few rows.
pub(crate) fn normalised(rows: &Rows, n_samples: usize, norms: &[(f64, f64)], n_phases: usize) -> Vec<f32> {
    let filled = rows.filled();
    let mut out = Vec::new();
    for phase in 0..n_phases {
        for window in filled.windows_from(n_samples, phase * n_samples / n_phases) {
            if window.len() == n_samples * rows.n_channels {
                let value = |(at, &x): (usize, &i32)| {
                    let (mean, deviation) = norms[at % norms.len()];
                    ((f64::from(x) - mean) / deviation) as f32
                };
                out.extend(window.iter().enumerate().map(value));
            }
        }
    }
    out
}

/// The integers of encoder and decoder.
pub(crate) fn net_part(encoder: &Half, decoder: &Half, norms: &[(f64, f64)]) -> NetPart {
    let n_hidden =
        [encoder, decoder].map(|half| half.front.as_ref().map_or(0, |front| front.layer.n_out as u8));
    let input_scale = pow2(i32::from(encoder.input_exponent));
    let norm = |&(mean, deviation): &(f64, f64)| {
        let to = input_scale / deviation * 65536.0;
        let from = deviation / pow2(OUTPUT_Q) * 65536.0;
        [
            mean as i32,
            to.round().min(f64::from(i32::MAX)) as i32,
            from.round().min(f64::from(i32::MAX)) as i32,
        ]
    };
    // A latent is rounded twice, each time half up: half of the first unit less, and both together round half up.
    let [a, b, c] = half_parts(encoder, LATENT_Q, -0.5);
    let [d, e, f] = half_parts(decoder, OUTPUT_Q, 0.0);
    let layers = [a, b, c, d, e, f];
    NetPart { n_latents: encoder.n_out() as u8, n_hidden, norms: norms.iter().map(norm).collect(), layers }
}

/// Linear, hidden and output layer; outputs with `out_q` fractional bits, each `more` of those units greater.
fn half_parts(half: &Half, out_q: i32, more: f64) -> [DensePart; 3] {
    let unit = pow2(-i32::from(half.input_exponent));
    let mut skip = half.skip.clone();
    skip.bias.iter_mut().for_each(|bias| *bias += (more * pow2(-out_q)) as f32);
    let linear = dense(&skip, unit, pow2(out_q));
    match &half.front {
        None => [linear, DensePart::default(), DensePart::default()],
        Some(front) => {
            let activation = pow2(i32::from(front.exponent));
            [linear, dense(&front.layer, unit, activation), dense(&front.back, 1.0 / activation, pow2(out_q))]
        }
    }
}

/// `out = (Σ w · x + bias) · mul >> shift` for inputs of `unit` each and outputs of `1 / out_scale` each.
pub(crate) fn dense(layer: &QuantisedLayer, unit: f64, out_scale: f64) -> DensePart {
    let out = |(&scale, &bias): (&f32, &f32)| {
        let sum_unit = f64::from(scale) * unit;
        let bias = (f64::from(bias) / sum_unit).round().clamp(-536_870_912.0, 536_870_912.0) as i32;
        let (mul, shift) = factor(sum_unit * out_scale);
        (bias, mul, shift)
    };
    DensePart {
        weights: layer.weights.iter().map(|&w| w as i8).collect(),
        outs: layer.scale.iter().zip(&layer.bias).map(out).collect(),
    }
}

/// `ratio` as `mul · 2^-shift` with as many bits as fit.
fn factor(ratio: f64) -> (u16, u8) {
    let mut shift = 1;
    while shift < 46 && ratio * pow2(i32::from(shift) + 1) < 65535.0 {
        shift += 1;
    }
    ((ratio * pow2(i32::from(shift))).round().clamp(0.0, 65535.0) as u16, shift)
}

pub(crate) fn pow2(exponent: i32) -> f64 {
    libm::exp2(f64::from(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_is_the_nearest_integer() {
        let skip = QuantisedLayer {
            n_in: 1,
            n_out: 1,
            weights: vec![1],
            scale: vec![0.013],
            bias: vec![0.2],
            bits: 8,
        };
        let half = Half { input_exponent: 0, input_range: vec![(-8191, 8191)], skip, front: None };
        let layer = &net_part(&half, &half, &[(0.0, 1.0)]).layers[0];
        let (bias, mul, shift) = layer.outs[0];
        for x in -8191..=8191 {
            // As a device computes it.
            let sum = i64::from(x + bias) * i64::from(mul);
            let latent = (((sum + (1 << (shift - 1))) >> shift) + 8) >> 4;
            let exact = f64::from(x) * 0.013 + 0.2;
            // The bias is a whole number of 0.013.
            assert!((latent as f64 - exact).abs() < 0.507, "{x}: {latent}, {exact}");
        }
    }

    #[test]
    fn factors_are_close() {
        for ratio in [1e-9, 3.3e-5, 0.02, 0.5, 1.0, 7.7, 900.0] {
            let (mul, shift) = factor(ratio);
            let close = f64::from(mul) * pow2(-i32::from(shift));
            assert!((close / ratio - 1.0).abs() < 1e-4, "{ratio}: {mul} >> {shift}");
        }
    }
}
