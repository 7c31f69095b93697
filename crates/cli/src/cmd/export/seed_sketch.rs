//! A seed-mode bundle's sketches: its encoder as plain C in a header, and for TensorFlow Lite Micro.

use std::fmt::Write;

use kinglet_codec::seed::{Activation, Half, Layer, Numbers, SeedModel, Shape};
use kinglet_train::export::encoder_header;

use super::library::{Written, tame};
use super::sources::{SEED, SEED_TFLM};
use crate::hex;

/// `Seed/`: the sketch with the encoder in plain C; `None` if it has layers that are not float and dense.
pub(super) fn plain(model: &SeedModel) -> Option<Vec<Written>> {
    let header = header(model, &layers(model.encoder()?)?);
    Some(vec![file("Seed/Seed.ino", SEED), file("Seed/seed_encoder.h", &header)])
}

/// `SeedTflm/`: the same sketch with TensorFlow Lite Micro around `encoder`, a .tflite file.
pub(super) fn tflm(model: &SeedModel, encoder: &[u8]) -> Vec<Written> {
    vec![
        file("SeedTflm/SeedTflm.ino", SEED),
        file("SeedTflm/seed_encoder.h", SEED_TFLM),
        file("SeedTflm/encoder_model_data.h", &encoder_header(model, encoder)),
    ]
}

fn file(name: &str, content: &str) -> Written {
    (name.into(), content.as_bytes().to_vec())
}

fn header(model: &SeedModel, layers: &[Dense<'_>]) -> String {
    let widest = layers.iter().map(|l| l.n_in.max(l.n_out)).max().unwrap_or(1);
    let mut text = format!(
        "/*\n * The encoder of \"{}\", written by `kinglet export`: float, dense, no library needed.\n * Fingerprint {}; only \
         this bundle's decoder reads its latents. It hides a reading from who does not look\n * closely, and protects nothing.\n */\n\
         #ifndef SEED_ENCODER_H\n#define SEED_ENCODER_H\n\n#include <math.h>\n#include <stdbool.h>\n#include <stddef.h>\n\n\
         #define SEED_INPUTS {}\n#define SEED_LATENTS {}\n#define SEED_WIDEST {widest}\n\n",
        tame(model.name()),
        hex::emit(&model.fingerprint()),
        model.input_len(),
        model.latent_len(),
    );
    let ranges = model.channels().iter().flat_map(|c| [c.range.0, c.range.1]);
    array(&mut text, "seed_ranges", ranges);
    for (n, layer) in layers.iter().enumerate() {
        array(&mut text, &format!("seed_weights_{n}"), layer.weights.iter().copied());
        array(&mut text, &format!("seed_biases_{n}"), layer.bias.iter().copied());
    }
    text.push_str(LAYER);
    text.push_str(ENCODE_HEAD);
    let n_channels = model.channels().len();
    let _ = writeln!(
        text,
        "    for (i = 0; i < SEED_INPUTS; i++) {{\n        float low = seed_ranges[2 * (i % {n_channels})], high = \
         seed_ranges[2 * (i % {n_channels}) + 1];\n        if (!(values[i] >= low && values[i] <= high)) {{\n            \
         return false;\n        }}\n        a[i] = (values[i] - low) / (high - low);\n    }}"
    );
    for (n, layer) in layers.iter().enumerate() {
        let (from, to) = if n % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let _ = writeln!(
            text,
            "    seed_layer(seed_weights_{n}, seed_biases_{n}, {}, {}, {}, {from}, {to});",
            layer.n_in, layer.n_out, layer.activation
        );
    }
    let last = if layers.len().is_multiple_of(2) { "a" } else { "b" };
    let _ = write!(
        text,
        "    for (i = 0; i < SEED_LATENTS; i++) {{\n        latents[i] = {last}[i];\n    }}\n    return true;\n}}\n\n#endif\n"
    );
    text
}

struct Dense<'a> {
    n_in: usize,
    n_out: usize,
    activation: char,
    weights: &'a [f32],
    bias: &'a [f32],
}

/// `None` if some layer is not a float dense one.
fn layers(encoder: &Half) -> Option<Vec<Dense<'_>>> {
    encoder.layers.iter().map(dense).collect()
}

fn dense(layer: &Layer) -> Option<Dense<'_>> {
    let (Shape::Dense { n_in, n_out }, Numbers::Float { weights, bias }) = (layer.shape, &layer.numbers)
    else {
        return None;
    };
    let activation = match layer.activation {
        Activation::Linear => '0',
        Activation::Relu => '1',
        Activation::Tanh => '2',
        Activation::Sigmoid => '3',
    };
    Some(Dense { n_in, n_out, activation, weights, bias })
}

fn array(text: &mut String, name: &str, values: impl Iterator<Item = f32>) {
    let _ = write!(text, "static const float {name}[] = {{");
    for (n, value) in values.enumerate() {
        text.push_str(if n % 8 == 0 { "\n    " } else { " " });
        // The shortest digits that read back as the same number.
        let _ = write!(text, "{value:?}f,");
    }
    text.push_str("\n};\n\n");
}

const LAYER: &str = "/* activation: 0 none, 1 ReLU, 2 tanh, 3 sigmoid */
static inline void seed_layer(const float *weights, const float *biases, size_t n_in, size_t n_out, int activation,
                              const float *in, float *out) {
    size_t i, j;
    for (i = 0; i < n_out; i++) {
        float sum = biases[i];
        for (j = 0; j < n_in; j++) {
            sum += weights[i * n_in + j] * in[j];
        }
        if (activation == 1) {
            sum = sum > 0.0f ? sum : 0.0f;
        } else if (activation == 2) {
            sum = tanhf(sum);
        } else if (activation == 3) {
            sum = 1.0f / (1.0f + expf(-sum));
        }
        out[i] = sum;
    }
}

";

const ENCODE_HEAD: &str =
    "/* Readings in the sensor's own units; false if one is beyond the range the model knows, or is none. */
static inline bool seed_encode(const float *values, float *latents) {
    float a[SEED_WIDEST], b[SEED_WIDEST];
    size_t i;
";
