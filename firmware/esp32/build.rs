//! The linker's script, and for the seed's own use the encoder as constants.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo:rustc-link-arg-bins=-Tlinkall.x");
    }
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "seed")]
    seed::generate();
}

#[cfg(feature = "seed")]
mod seed {
    use kinglet_codec::seed::{Activation, Numbers, SeedModel, Shape};
    use std::fmt::Write as _;

    /// Writes `static ENCODER` for `include!`.
    pub fn generate() {
        println!("cargo:rerun-if-env-changed=KINGLET_SEED_BUNDLE");
        let path = std::env::var("KINGLET_SEED_BUNDLE").unwrap_or_else(|_| {
            panic!(
                "set KINGLET_SEED_BUNDLE to a bundle from `kinglet train --preset seed` (an absolute path)"
            )
        });
        println!("cargo:rerun-if-changed={path}");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let model = SeedModel::parse(&bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
        let encoder = model.encoder().unwrap_or_else(|| panic!("{path} only decodes: it holds no encoder"));
        assert!(
            model.input_len() == 1,
            "{path} encodes windows or several channels; the firmware sends one temperature"
        );
        let mut text = String::new();
        let mut layers = String::new();
        for (n, layer) in encoder.layers.iter().enumerate() {
            let (Shape::Dense { .. }, Numbers::Float { weights, bias }) = (&layer.shape, &layer.numbers)
            else {
                panic!("{path} has a convolution or int8 layers: train it without --conv and --int8");
            };
            let activation = match layer.activation {
                Activation::Linear => "Linear",
                Activation::Relu => "Relu",
                Activation::Tanh => "Tanh",
                Activation::Sigmoid => "Sigmoid",
            };
            let _ = writeln!(
                text,
                "static W{n}: [f32; {}] = {weights:?};\nstatic B{n}: [f32; {}] = {bias:?};",
                weights.len(),
                bias.len()
            );
            let _ = write!(
                layers,
                "Layer {{ weights: &W{n}, biases: &B{n}, activation: Activation::{activation} }}, "
            );
        }
        let (lo, hi) = model.channels()[0].range;
        let _ = writeln!(
            text,
            "static ENCODER: Encoder = Encoder {{ range: ({lo:?}, {hi:?}), layers: &[{layers}] }};"
        );
        let out = std::env::var("OUT_DIR").expect("cargo sets it");
        std::fs::write(std::path::Path::new(&out).join("encoder.rs"), text).expect("OUT_DIR can be written");
    }
}
