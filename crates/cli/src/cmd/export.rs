//! `kinglet export`: a bundle as something to build a device from, a seed-mode bundle as files for other runtimes.

mod crates;
mod library;
mod seed_sketch;
mod sources;

use std::path::Path;

use kinglet_codec::bundle::{BUNDLE_LEN_MAX, Bundle, BundleError};

use kinglet_codec::seed::{Half, SeedModel};
use kinglet_train::export::{
    self, ExportError, Format as Numbers, decoder_tflite, encoder_header, encoder_tflite,
};
use serde_json::json;

use self::library::Written;
use crate::args::{ExportArgs, Format};
use crate::failure::{Failure, Result};
use crate::term::{Out, bytes};
use crate::{files, hex, readings};

/// Points over the sensor's range at which rounding is judged.
const N_JUDGED: usize = 1001;

pub(crate) fn run(args: &ExportArgs) -> Result {
    let bytes = files::read_up_to(&args.bundle, BUNDLE_LEN_MAX as u64)?;
    match Bundle::parse(&bytes) {
        Ok(bundle) => window_codec(args, &bundle),
        // What is neither is refused by the reader of seed-mode bundles, which says what it wanted.
        Err(BundleError::SeedMode | BundleError::Container(_)) => seed_mode(args),
        Err(_) => files::read_bundle(&args.bundle).map(drop),
    }
}

fn window_codec(args: &ExportArgs, bundle: &Bundle) -> Result {
    let mut out = Out::new(args.json);
    if args.post_training_quantisation || args.source().is_some() {
        return Err(Failure::usage("this bundle's networks are integers already")
            .why("--post-training-quantisation and --data are for seed-mode bundles")
            .next("leave them out"));
    }
    let (written, next) = match args.to {
        Format::Arduino => {
            let next =
                "an Arduino library: its folder belongs into `libraries/`, then open the example Sealed";
            (library::arduino(bundle), next)
        }
        Format::C => (library::c(bundle), "C99 sources: README.md says how to begin, with or without CMake"),
        Format::Rust => (
            library::rust(bundle),
            "a Rust crate with all it needs of Kinglet: name its folder as a path in Cargo.toml; README.md says the rest",
        ),
        Format::Tflite => {
            return Err(Failure::input("this bundle has no .tflite")
                .why("a window codec is more than its networks: range coder, tables, search")
                .next("export it --to arduino, c or rust"));
        }
    };
    write(&args.out, &written, args.force)?;
    out.result(&json!({
        "fingerprint": hex::emit(&bundle.fingerprint()),
        "files": written.iter().map(|(name, file)| json!({
            "path": args.out.join(name).display().to_string(), "bytes": file.len(),
        })).collect::<Vec<_>>(),
    }))?;
    let n_bytes = written.iter().map(|(_, file)| file.len() as u64).sum();
    out.line(format_args!("{} files written to {}, {}", written.len(), args.out.display(), bytes(n_bytes)))?;
    out.line(format_args!("{next}, of bundle {}", hex::emit(&bundle.fingerprint())))?;
    Ok(())
}

fn seed_mode(args: &ExportArgs) -> Result {
    let mut out = Out::new(args.json);
    let model = files::read_seed_bundle(&args.bundle)?;
    let typical = typical(args, &model)?;
    let numbers = match args.post_training_quantisation {
        true => Numbers::PostTraining { readings: &typical },
        false => Numbers::Own,
    };
    let (mut written, mut notes) = (Vec::new(), Vec::new());
    match args.to {
        Format::C => {
            let encoder = encoder_tflite(&model, numbers).map_err(refused)?;
            written.push(("encoder_model_data.h".into(), encoder_header(&model, &encoder).into_bytes()));
        }
        Format::Tflite => {
            let encoder = encoder_tflite(&model, numbers).map_err(refused)?;
            let (decoder, note) = decoder(&model, numbers)?;
            notes.extend(note);
            written
                .extend([("encoder_model.tflite".into(), encoder), ("decoder_model.tflite".into(), decoder)]);
        }
        Format::Arduino => {
            written = seed_sketch::tflm(&model, &encoder_tflite(&model, numbers).map_err(refused)?);
            match seed_sketch::plain(&model) {
                Some(plain) if !args.post_training_quantisation => written.extend(plain),
                _ => notes.push("the sketch with an encoder in plain C is for float dense layers; this one needs TensorFlow Lite Micro".into()),
            }
        }
        Format::Rust => {
            return Err(Failure::input("a seed-mode bundle has no crate")
                .why("its float encoder is no part of what a device compiles of kinglet-codec")
                .next("export it --to arduino or c"));
        }
    }
    if args.post_training_quantisation {
        notes.extend(judge(&model, numbers)?);
    }
    write(&args.out, &written, args.force)?;
    let int8 = model.is_int8() || args.post_training_quantisation;
    out.result(&json!({
        "fingerprint": hex::emit(&model.fingerprint()), "int8": int8,
        "post_training_quantisation": args.post_training_quantisation, "notes": notes,
        "files": written.iter().map(|(name, file)| json!({
            "path": args.out.join(name).display().to_string(), "bytes": file.len(),
        })).collect::<Vec<_>>(),
    }))?;
    for (name, file) in &written {
        let path = args.out.join(name);
        out.line(format_args!("{} written, {}", path.display(), bytes(file.len() as u64)))?;
    }
    for note in &notes {
        out.line(note)?;
    }
    let numbers = if int8 { "int8" } else { "float" };
    Ok(out.line(format_args!("{numbers}, of bundle {}", hex::emit(&model.fingerprint())))?)
}

fn typical(args: &ExportArgs, model: &SeedModel) -> Result<Vec<f32>> {
    let Some(source) = args.source() else { return Ok(Vec::new()) };
    let mut how = args.reading.clone();
    if how.channels.is_empty() {
        how.channels = model.channels().iter().map(|c| c.name.clone()).collect();
    }
    let readings = readings::load(&source, &how)?;
    let (mut values, _) = kinglet_train::seed::readings_from(&readings.recording, model.channels())
        .map_err(|e| Failure::input(format_args!("{} cannot be used", readings.origin)).why(e))?;
    values.truncate(values.len() / model.input_len() * model.input_len());
    Ok(values)
}

/// The decoder, in float with a reason where only the encoder can be rounded.
fn decoder(model: &SeedModel, numbers: Numbers<'_>) -> Result<(Vec<u8>, Option<String>)> {
    match (decoder_tflite(model, numbers), numbers) {
        (Ok(file), _) => Ok((file, None)),
        (Err(why @ ExportError::Layer { .. }), Numbers::PostTraining { .. }) => {
            let file = decoder_tflite(model, Numbers::Own).map_err(refused)?;
            Ok((file, Some(format!("the decoder stays float: {why}"))))
        }
        (Err(why), _) => Err(refused(why)),
    }
}

/// What rounding after training costs over the sensor's range, with the bundle's own decoder; for single readings.
fn judge(model: &SeedModel, numbers: Numbers<'_>) -> Result<Option<String>> {
    let rounded = export::encoder(model, numbers).map_err(refused)?;
    if model.input_len() != 1 {
        return Ok(None);
    }
    let channel = &model.channels()[0];
    let (lo, hi) = channel.range;
    let (mut sum, mut most) = (0f32, 0f32);
    for i in 0..N_JUDGED {
        let value = (lo + (hi - lo) * i as f32 / (N_JUDGED - 1) as f32).clamp(lo, hi);
        let again = encode(&rounded, model, value).and_then(|z| Some(model.decode(&z).ok()?[0]));
        let error = again.map_or(f32::INFINITY, |again| (again - value).abs());
        (sum, most) = (sum + error, most.max(error));
    }
    let (mean, unit) = (sum / N_JUDGED as f32, &channel.unit);
    Ok(Some(format!(
        "post-training quantisation of the encoder: over {lo}..{hi} {unit} readings come back {mean:.3} {unit} off on average, \
         {most:.3} {unit} at most, with the bundle's own decoder"
    )))
}

fn encode(rounded: &Half, model: &SeedModel, value: f32) -> Option<Vec<f32>> {
    let (input, output) = (rounded.input?, rounded.output()?);
    let q: Vec<i8> = model.scaled(&[value]).ok()?.iter().map(|&v| input.quantise(v)).collect();
    Some(rounded.run_int8(&q)?.iter().map(|&q| output.dequantise(q)).collect())
}

/// All files or, if one of the names is taken, none.
fn write(dir: &Path, written: &[Written], force: bool) -> Result {
    std::fs::create_dir_all(dir).map_err(|e| Failure::writing(dir.display(), &e))?;
    if let Some((taken, _)) = written.iter().find(|(name, _)| dir.join(name).exists() && !force) {
        let e = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the file exists");
        return Err(Failure::writing(dir.join(taken).display(), &e));
    }
    for (name, file) in written {
        let path = dir.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Failure::writing(folder.display(), &e))?;
        }
        files::write(&path, file, force, files::Access::Usual)?;
    }
    Ok(())
}

fn refused(error: ExportError) -> Failure {
    let next = match error {
        ExportError::Layer { .. } => "train with `--activation relu` and, for int8, `--int8`",
        ExportError::NoEncoder => "import it again with --tflite",
        ExportError::AlreadyInt8 => "leave --post-training-quantisation out",
        ExportError::NoReadings => "name them with --data FILE.csv",
        _ => "check the readings' range",
    };
    Failure::input("this bundle cannot be exported like that").why(error).next(next)
}
