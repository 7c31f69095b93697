//! Int8 after training: ranges seen on typical windows, everything rounded once (Jacob et al. 2018).

use kinglet_codec::seed::{Activation, Affine, Half, Layer, Numbers};

use super::ExportError;

/// A float half rounded to int8. `inputs`: typical inputs `[n × n_in]`; `ends`: the input is 0..1 exactly.
///
/// Only linear and ReLU layers can be: a sigmoid's or tanh's integers are a table of their own in each runtime.
pub fn post_training(
    half: &Half,
    inputs: &[f32],
    ends: bool,
    name: &'static str,
) -> Result<Half, ExportError> {
    let Some(first) = half.layers.first() else { return Ok(half.clone()) };
    let mut x: Vec<Vec<f32>> = inputs.chunks_exact(first.shape.n_in()).map(<[f32]>::to_vec).collect();
    if x.is_empty() {
        return Err(ExportError::NoReadings);
    }
    let input = if ends { Affine { scale: 1.0 / 255.0, zero: -128 } } else { affine(&x) };
    let mut read = input;
    let mut layers = Vec::new();
    for (i, layer) in half.layers.iter().enumerate() {
        let refuse = |why| ExportError::Layer { layer: i, half: name, why };
        let Numbers::Float { weights, bias } = &layer.numbers else { return Err(ExportError::AlreadyInt8) };
        if !matches!(layer.activation, Activation::Linear | Activation::Relu) {
            return Err(refuse(
                "sigmoid and tanh are not rounded after training: train with int8, or with linear and ReLU layers",
            ));
        }
        x.iter_mut().for_each(|x| *x = layer.run(x));
        let mut output = affine(&x);
        let peak = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
        let weight_scale = if peak > 1e-30 { peak / 127.0 } else { 1.0 };
        // The kernels scale sums down, never up: a layer that hardly reaches anywhere gets coarser steps.
        let least = read.scale * weight_scale * 1.01;
        if output.scale < least {
            output = Affine { scale: least, zero: output.zero.clamp(-64, 64) };
        }
        let one = f64::from(read.scale) * f64::from(weight_scale);
        let most = f64::from(1 << 30);
        layers.push(Layer {
            shape: layer.shape,
            activation: layer.activation,
            numbers: Numbers::Int8 {
                weights: weights
                    .iter()
                    .map(|w| (w / weight_scale).round().clamp(-127.0, 127.0) as i8)
                    .collect(),
                bias: bias.iter().map(|b| (f64::from(*b) / one).round().clamp(-most, most) as i32).collect(),
                weight_scale,
                output,
            },
        });
        read = output;
    }
    Ok(Half { layers, input: Some(input) })
}

/// 256 steps from the least to the greatest of the values and zero.
fn affine(values: &[Vec<f32>]) -> Affine {
    let (lo, hi) = values.iter().flatten().fold((0f32, 0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let scale = ((hi - lo) / 255.0).max(1e-9);
    Affine { scale, zero: (-128.0 - lo / scale).round().clamp(-128.0, 127.0) as i8 }
}
