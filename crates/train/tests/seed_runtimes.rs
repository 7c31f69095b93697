//! Exported files in other people's runtimes: LiteRT and TensorFlow Lite Micro, 10,000 inputs each.
//!
//! Looks for a Python with the wheels `ai-edge-litert` and `tflite-micro` in `KINGLET_VENV_PYTHON`, else in
//! `target/venv`; without one the test says so and ends.
#![allow(clippy::print_stdout, reason = "a test says why it skips")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use kinglet_codec::seed::{Activation, Half, SeedChannel, SeedModel};
use kinglet_train::export::{Format, decoder, encoder, encoder_header, encoder_tflite, tflite};
use kinglet_train::nn::Rng;
use kinglet_train::seed::{SeedConv, SeedOptions, train};

const N: usize = 10_000;

#[test]
fn every_exported_file_computes_the_same_in_litert_and_tflm() {
    let Some(python) = python() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed_runtimes");
    std::fs::create_dir_all(&folder).unwrap();
    let mut cases = Cases { folder: folder.clone(), list: Vec::new(), rng: Rng::new(11) };

    let quick = SeedOptions { n_steps: 5000, max_error: Some(25.0), ..SeedOptions::default() };
    let float = trained(&quick);
    cases.both("float", &float, Format::Own);
    let linear = trained(&SeedOptions { output: Some(Activation::Linear), ..quick.clone() });
    cases.both("post", &linear, Format::PostTraining { readings: &[] });
    cases.both("int8", &trained(&SeedOptions { int8: true, ..quick.clone() }), Format::Own);

    let windows = windows(&quick);
    cases.both("conv", &trained(&windows), Format::Own);
    let integers = SeedOptions { int8: true, activation: Activation::Relu, ..windows };
    cases.both("conv_int8", &trained(&integers), Format::Own);

    std::fs::write(folder.join("cases.json"), serde_json::to_vec(&cases.list).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtimes/check_tflite.py");
    let out = Command::new(python).arg(script).arg(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}");
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(said.matches(": ok").count(), 20, "{said}");
}

#[test]
fn the_header_is_c_and_cpp_and_holds_the_file() {
    let model = trained(&SeedOptions { n_steps: 500, max_error: Some(50.0), ..SeedOptions::default() });
    let file = encoder_tflite(&model, Format::Own).unwrap();
    let header = encoder_header(&model, &file);
    let array = header.split_once("g_encoder_model_data[").unwrap().1;
    let bytes: Vec<u8> = array
        .split(['{', '}'])
        .nth(1)
        .unwrap()
        .split(',')
        .filter_map(|b| u8::from_str_radix(b.trim().strip_prefix("0x")?, 16).ok())
        .collect();
    assert_eq!(bytes, file);
    let fingerprint: String = model.fingerprint().iter().map(|b| format!("{b:02x}")).collect();
    assert!(header.contains(&format!("KINGLET_FINGERPRINT \"{fingerprint}\"")));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed_header");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("encoder_model_data.h"), &header).unwrap();
    let user = "#include \"encoder_model_data.h\"\n#include \"encoder_model_data.h\"\n\
                int main(void) { const void *p = exported_models_tflite_encoder_model_tflite; \
                return ((unsigned long)p % 16) || g_encoder_model_data[4] != 'T' || \
                sizeof g_encoder_model_data != g_encoder_model_data_len || KINGLET_HI_0 != 50.0f; }\n";
    for (compiler, name) in [("cc", "user.c"), ("c++", "user.cpp")] {
        std::fs::write(folder.join(name), user).unwrap();
        let program = folder.join(format!("{name}.bin"));
        let built = Command::new(compiler)
            .args(["-Wall", "-Werror", "-o"])
            .arg(&program)
            .arg(folder.join(name))
            .output();
        let Ok(built) = built else {
            println!("skipped: there is no {compiler} here");
            continue;
        };
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        assert_eq!(Command::new(program).status().unwrap().code(), Some(0), "{compiler}");
    }
}

fn trained(options: &SeedOptions) -> SeedModel {
    train(options, &mut |_| ControlFlow::Continue(())).unwrap().model
}

/// Two channels, eight samples, a convolution, tanh behind it.
fn windows(quick: &SeedOptions) -> SeedOptions {
    let mut rng = Rng::new(5);
    let mut readings = Vec::new();
    for i in 0..3000 {
        let day = (i as f32 * 0.02).sin();
        readings.extend([20.0 + 5.0 * day + 0.2 * rng.uniform(), 50.0 - 20.0 * day + rng.uniform()]);
    }
    SeedOptions {
        channels: vec![SeedChannel::temperature(), SeedChannel::new("humidity", "%", 0.0, 100.0)],
        readings: Some(readings),
        n_samples: 8,
        latent: 6,
        hidden: vec![24],
        conv: vec![SeedConv { channels: 6, kernel: 3, stride: 2 }],
        activation: Activation::Tanh,
        max_error: Some(100.0),
        ..quick.clone()
    }
}

struct Cases {
    folder: PathBuf,
    list: Vec<serde_json::Value>,
    rng: Rng,
}

impl Cases {
    fn both(&mut self, name: &str, model: &SeedModel, format: Format<'_>) {
        let (e, d) = (encoder(model, format).unwrap(), decoder(model, format).unwrap());
        self.half(&format!("{name}_encoder"), &e, "encoder", (0.0, 1.0));
        self.half(&format!("{name}_decoder"), &d, "decoder", (-4.0, 4.0));
    }

    fn half(&mut self, name: &str, half: &Half, which: &'static str, (lo, hi): (f32, f32)) {
        let file = tflite(half, which, "test").unwrap();
        let n_in = half.layers[0].shape.n_in();
        let n_out = half.layers.last().unwrap().shape.n_out();
        let (mut input, mut output) = (Vec::new(), Vec::new());
        for _ in 0..N {
            let x: Vec<f32> = (0..n_in).map(|_| lo + (hi - lo) * self.rng.uniform()).collect();
            match half.input {
                None => {
                    input.extend(x.iter().flat_map(|v| v.to_le_bytes()));
                    let y = half.layers.iter().fold(x, |x, layer| layer.run(&x));
                    output.extend(y.iter().flat_map(|v| v.to_le_bytes()));
                }
                Some(_) => {
                    // Every int8 there is, whatever the network was trained on.
                    let q: Vec<i8> = (0..n_in).map(|_| self.rng.next_u64() as i8).collect();
                    input.extend(q.iter().map(|&v| v as u8));
                    output.extend(half.run_int8(&q).unwrap().iter().map(|&v| v as u8));
                }
            }
        }
        for (extension, bytes) in [("tflite", &file), ("in", &input), ("out", &output)] {
            std::fs::write(self.folder.join(format!("{name}.{extension}")), bytes).unwrap();
        }
        let steps = 4 * half.layers.len();
        let int8 = half.input.is_some();
        self.list.push(
            serde_json::json!({"name": name, "int8": int8, "n_in": n_in, "n_out": n_out, "steps": steps}),
        );
    }
}

/// A Python that has both runtimes.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = std::env::var_os("KINGLET_VENV_PYTHON").map(PathBuf::from);
    let python = python.unwrap_or_else(|| root.join("target/venv/bin/python"));
    let has = Command::new(&python).args(["-c", "import ai_edge_litert, tflite_micro, numpy"]).output();
    if has.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    println!(
        "skipped: {} has no LiteRT and TFLM. Make one: python3 -m venv target/venv && \
         target/venv/bin/pip install ai-edge-litert tflite-micro numpy, or set KINGLET_VENV_PYTHON",
        python.display()
    );
    None
}
