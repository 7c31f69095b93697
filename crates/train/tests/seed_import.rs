//! The seed's files come over with Keras's own answers, and hostile ones are refused.
//!
//! `fixtures/seed` was made by its `make.py`; `answers.json` there holds what Keras, LiteRT and scikit-learn said.
#![allow(clippy::print_stdout, reason = "a test says why it skips")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use kinglet_codec::seed::{SeedChannel, SeedModel};
use kinglet_train::import::{ImportError, Imported, Sources, import};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/seed");
    std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn channels(n: usize) -> Vec<SeedChannel> {
    let all = [SeedChannel::temperature(), SeedChannel::new("pressure", "hPa", 850.0, 1150.0)];
    all[..n].to_vec()
}

fn come_over(keras: &[u8], scaler: &[u8], tflite: Option<&[u8]>, n: usize) -> Result<Imported, ImportError> {
    import("porch", channels(n), &Sources { keras, scaler, tflite })
}

fn dense(keras: &[u8], scaler: &[u8]) -> Result<Imported, ImportError> {
    come_over(keras, scaler, None, 1)
}

fn rows(answers: &serde_json::Value, what: &str) -> Vec<Vec<f32>> {
    serde_json::from_value(answers[what].clone()).unwrap()
}

/// Keras's answers within 1e-5 of the scale, LiteRT's latents within 2e-6.
fn check(name: &str, n: usize) {
    let answers: serde_json::Value = serde_json::from_slice(&fixture("answers.json")).unwrap();
    let answers = &answers[name];
    let (keras, scaler) =
        (fixture(&format!("{name}_decoder.keras")), fixture(&format!("{name}_scaler.joblib")));
    let tflite = fixture(&format!("{name}_encoder.tflite"));
    let decoder = come_over(&keras, &scaler, None, n).unwrap();
    assert!(decoder.round_trip.is_none() && decoder.model.encoder().is_none());
    let model = decoder.model;
    for ((code, values), scaled) in
        rows(answers, "codes").iter().zip(rows(answers, "values")).zip(rows(answers, "scaled"))
    {
        let ours = model.decode(code).unwrap();
        for (((ours, theirs), scaled), c) in ours.iter().zip(&values).zip(&scaled).zip(model.channels()) {
            let span = c.decoded.1 - c.decoded.0;
            // float32 on the scale of the values themselves cannot say less than its own step.
            let step = theirs.abs() * f32::EPSILON / span;
            assert!(((ours - theirs) / span).abs() <= 1e-5 + step, "{ours} {theirs}");
            assert!(((ours - c.decoded.0) / span - scaled).abs() <= 1e-5 + step * 2.0, "{ours} {scaled}");
        }
    }
    let whole = come_over(&keras, &scaler, Some(&tflite), n).unwrap();
    assert_eq!(whole.round_trip.is_some(), n == 1);
    let bundle = SeedModel::parse(&whole.model.emit()).unwrap();
    assert_eq!((bundle.identity(), bundle.name()), (whole.model.identity(), "porch"));
    for (input, latent) in rows(answers, "inputs").iter().zip(rows(answers, "latents")) {
        let first = bundle.encoder().unwrap();
        // A standard scaler is folded into the encoder: the way in is natural units, through the same map.
        let x: Vec<f32> = if n == 1 {
            input.clone()
        } else {
            let natural = input.iter().zip(bundle.channels());
            let natural: Vec<f32> =
                natural.map(|(x, c)| c.decoded.0 + x * (c.decoded.1 - c.decoded.0)).collect();
            bundle.scaled(&natural).unwrap()
        };
        let ours = first.layers.iter().fold(x, |x, layer| layer.run(&x));
        let limit = if n == 1 { 2e-6 } else { 1e-4 };
        for (ours, theirs) in ours.iter().zip(&latent) {
            assert!((ours - theirs).abs() <= limit * theirs.abs().max(1.0), "{ours} {theirs}");
        }
    }
}

#[test]
fn a_minmax_system_gives_kerass_answers() {
    check("dense", 1);
}

#[test]
fn a_standard_system_of_two_channels_gives_kerass_answers() {
    check("pair", 2);
}

#[test]
fn compressed_scalers_are_the_same_or_refused_by_name() {
    let keras = fixture("dense_decoder.keras");
    let plain = dense(&keras, &fixture("dense_scaler.joblib")).unwrap().model;
    for kind in ["zlib", "gzip"] {
        let other = dense(&keras, &fixture(&format!("scaler_{kind}.joblib"))).unwrap().model;
        assert_eq!(other.identity(), plain.identity(), "{kind}");
    }
    let refused = dense(&keras, &fixture("scaler_lzma.joblib")).unwrap_err();
    assert!(refused.to_string().contains("lzma"), "{refused}");
}

#[test]
fn an_encoder_of_another_training_is_noticed() {
    let (keras, scaler) = (fixture("dense_decoder.keras"), fixture("dense_scaler.joblib"));
    let error = come_over(&keras, &scaler, Some(&fixture("other_encoder.tflite")), 1).unwrap_err();
    let ImportError::Mismatch { mean, max } = error else { panic!("{error}") };
    assert!(mean > 2.0 && max > mean);
}

#[test]
fn other_layers_and_other_files_are_refused_with_the_next_step() {
    let (keras, scaler) = (fixture("dense_decoder.keras"), fixture("dense_scaler.joblib"));
    let conv = dense(&fixture("conv.keras"), &scaler).unwrap_err();
    assert!(matches!(&conv, ImportError::Layer { kind, .. } if kind == "Conv1D"), "{conv}");
    assert!(matches!(dense(&scaler, &scaler), Err(ImportError::Keras(_))));
    assert!(matches!(dense(&keras, &keras), Err(ImportError::Scaler(_))));
    assert!(matches!(dense(&keras, &fixture("pair_scaler.joblib")), Err(ImportError::Widths { .. })));
    assert!(matches!(come_over(&keras, &scaler, Some(&keras), 1), Err(ImportError::Tflite(_))));
    assert!(matches!(come_over(&keras, &scaler, None, 2), Err(ImportError::Widths { .. })));
    let large = vec![0; (8 << 20) + 1];
    assert!(matches!(dense(&keras, &large), Err(ImportError::TooLarge { .. })));
}

#[test]
fn hostile_pickles_are_refused_and_nothing_is_run() {
    let keras = fixture("dense_decoder.keras");
    let mark = Path::new(env!("CARGO_TARGET_TMPDIR")).join("was_run");
    let run = format!("touch {}", mark.display());
    let text = |t: &str| [&[0x8c, t.len() as u8][..], t.as_bytes()].concat();
    let system =
        [&b"\x80\x04"[..], &text("posix"), &text("system"), b"\x93", &text(&run), b"\x85R."].concat();
    let eval = b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.".to_vec();
    for bytes in [&system, &eval] {
        let refused = dense(&keras, bytes).unwrap_err();
        assert!(matches!(refused, ImportError::Hostile(_)), "{refused}");
    }
    assert!(!mark.exists());
    let refused = |bytes: &[u8]| dense(&keras, bytes).unwrap_err();
    // Bombs: marks, recalls, an array and a text that claim to be large, references to nothing.
    let protocol = b"\x80\x04".to_vec();
    refused(&[protocol.clone(), vec![b'('; 1 << 20]].concat());
    refused(&[protocol.clone(), b"N\x94".to_vec(), b"h\x00".repeat(1 << 19)].concat());
    refused(&[protocol.clone(), b"X\xff\xff\xff\xff".to_vec()].concat());
    refused(&[protocol.clone(), b"h\x07.".to_vec()].concat());
    refused(&[protocol, vec![b'}'; 1 << 20]].concat());
    let scaler = fixture("dense_scaler.joblib");
    let shape = scaler.windows(7).position(|w| w == b"\x8c\x05shape").unwrap() + 8;
    let mut large = scaler.clone();
    // `K 1` becomes `J 2147483647` in place of what follows.
    large.splice(shape..shape + 2, *b"J\xff\xff\xff\x7f");
    assert!(matches!(refused(&large), ImportError::Scaler(_)));
}

#[test]
fn bombs_are_not_expanded_past_the_limit() {
    let keras = fixture("dense_decoder.keras");
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        zlib.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = zlib.finish().unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(dense(&keras, &bomb).unwrap_err(), ImportError::TooLarge { file: "scaler" });

    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let packed =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("config.json", packed).unwrap();
    for _ in 0..64 {
        archive.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = archive.finish().unwrap().into_inner();
    assert!(bomb.len() < 200_000);
    let refused = dense(&bomb, &fixture("dense_scaler.joblib")).unwrap_err();
    assert_eq!(refused, ImportError::TooLarge { file: "Keras file" });
}

#[test]
fn every_truncation_and_many_flipped_bits_are_survived() {
    let (keras, scaler) = (fixture("dense_decoder.keras"), fixture("dense_scaler.joblib"));
    let tflite = fixture("dense_encoder.tflite");
    for n in 0..scaler.len() {
        assert!(dense(&keras, &scaler[..n]).is_err(), "{n}");
    }
    for n in (0..keras.len()).step_by(97) {
        assert!(dense(&keras[..n], &scaler).is_err(), "{n}");
    }
    for n in 0..tflite.len() {
        let _ = come_over(&keras, &scaler, Some(&tflite[..n]), 1);
    }
    for at in 0..scaler.len() {
        let mut bad = scaler.clone();
        bad[at] ^= 1 << (at % 8);
        let _ = dense(&keras, &bad);
    }
    for at in 0..tflite.len() {
        let mut bad = tflite.clone();
        bad[at] ^= 1 << (at % 8);
        let _ = come_over(&keras, &scaler, Some(&bad), 1);
    }
    // The archive's checksum hides damage from the HDF5 reader: damage that before packing.
    let (config, weights) = unpacked(&keras);
    for at in (0..weights.len()).step_by(7) {
        let mut bad = weights.clone();
        bad[at] ^= 1 << (at % 8);
        let _ = dense(&packed(&config, &bad), &scaler);
    }
}

fn unpacked(keras: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut archive = zip::ZipArchive::new(Cursor::new(keras)).unwrap();
    let mut part = |name| {
        let mut content = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut content).unwrap();
        content
    };
    (part("config.json"), part("model.weights.h5"))
}

fn packed(config: &[u8], weights: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("config.json", config), ("model.weights.h5", weights)] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn the_seeds_own_files_come_over_where_they_are() {
    let named = std::env::var_os("KINGLET_RECORDINGS").map(|place| PathBuf::from(place).join("seed"));
    let Some(folder) = named.filter(|place| place.join("decoder_model.keras").exists()) else {
        println!("skipped: no folder `seed` with decoder_model.keras in KINGLET_RECORDINGS");
        return;
    };
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (keras, scaler) = (file("decoder_model.keras"), file("scaler.joblib"));
    let tflite = file("encoder_model.tflite");
    let imported = come_over(&keras, &scaler, Some(&tflite), 1);
    println!("{:?}", imported.as_ref().map(|i| i.round_trip));
    let trip = imported.unwrap().round_trip.unwrap();
    assert!(trip.mean < 1.0 && trip.max < 2.0, "{trip:?}");
}

/// Damage of every kind, thousands of times: the doors return, and refuse in words.
#[cfg(feature = "fuzz")]
#[test]
fn the_fuzz_doors_survive_what_grows_out_of_real_files() {
    use kinglet_train::import::fuzz;
    use kinglet_train::nn::Rng;
    let keras = fixture("dense_decoder.keras");
    let (config, weights) = unpacked(&keras);
    let mut rng = Rng::new(1);
    let scaler = fixture("pair_scaler.joblib");
    let tflite = fixture("pair_encoder.tflite");
    for _ in 0..600 {
        fuzz::fuzz_scaler(&damaged(&scaler, &mut rng));
        fuzz::fuzz_tflite(&damaged(&tflite, &mut rng));
        fuzz::fuzz_keras(&damaged(&keras, &mut rng));
        fuzz::fuzz_keras(&packed(&damaged(&config, &mut rng), &weights));
        fuzz::fuzz_keras(&packed(&config, &damaged(&weights, &mut rng)));
    }
}

/// A few bytes changed, a piece cut out or doubled.
#[cfg(feature = "fuzz")]
fn damaged(bytes: &[u8], rng: &mut kinglet_train::nn::Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let (a, n) = (rng.below(out.len().max(1)), rng.below(9));
        let b = (a + n).min(out.len());
        match rng.below(6) {
            0 => drop(out.drain(a..b)),
            1 => {
                let piece = out[a..b].to_vec();
                out.splice(a..a, piece);
            }
            2 => out[a..b].fill(0xff),
            3 => out[a..b].fill(0),
            _ => out[a..b].iter_mut().for_each(|v| *v ^= 1 << rng.below(8)),
        }
    }
    out
}
