//! `kinglet import`: the seed's exported files as a bundle.

use crate::args::ImportArgs;
use crate::failure::Result;

#[cfg(not(feature = "import"))]
pub(crate) fn run(args: &ImportArgs) -> Result {
    use crate::failure::Failure;
    Err(Failure::usage(format_args!("this kinglet cannot read {}", args.keras.display()))
        .why("it was built without the feature `import`")
        .next("build it again with `cargo install --path crates/cli --features import`"))
}

#[cfg(feature = "import")]
pub(crate) use with_feature::run;

#[cfg(feature = "import")]
mod with_feature {
    use std::path::Path;

    use kinglet_codec::seed::SeedChannel;
    use kinglet_train::import::{self, FILE_LEN_MAX, ImportError, Imported, Sources};
    use serde_json::json;

    use super::{ImportArgs, Result};
    use crate::args::Range;
    use crate::failure::{Failure, Kind};
    use crate::term::style::BOLD;
    use crate::term::{Out, bytes};
    use crate::{files, hex};

    pub(crate) fn run(args: &ImportArgs) -> Result {
        let mut out = Out::new(args.json);
        let channels = channels(args)?;
        let read = |path: &Path| files::read_up_to(path, FILE_LEN_MAX as u64);
        let (keras, scaler) = (read(&args.keras)?, read(&args.scaler)?);
        let tflite = args.tflite.as_deref().map(read).transpose()?;
        let sources = Sources { keras: &keras, scaler: &scaler, tflite: tflite.as_deref() };
        let name =
            args.out.file_stem().map_or_else(|| "imported".into(), |s| s.to_string_lossy().into_owned());
        let Imported { model, round_trip } = import::import(&name, channels, &sources).map_err(refused)?;
        let file = model.emit();
        files::write(&args.out, &file, args.force, files::Access::Usual)?;
        out.result(&json!({
            "out": args.out.display().to_string(), "identity": hex::emit(&model.identity()),
            "fingerprint": hex::emit(&model.fingerprint()), "encoder": model.encoder().is_some(),
            "mean_error": round_trip.map(|r| r.mean), "max_error": round_trip.map(|r| r.max),
            "max_error_at": round_trip.map(|r| r.max_at),
        }))?;
        match round_trip {
            Some(r) => out.line(format_args!(
                "encoder and decoder belong together: readings come back {:.3} off on average, {:.3} at most (at {:.2})",
                r.mean, r.max, r.max_at
            ))?,
            None if args.tflite.is_none() => out.line(
                "without --tflite nothing can be said about whether the boards' encoder belongs to this decoder",
            )?,
            None => {}
        }
        Ok(out.line(format_args!(
            "{BOLD}{}{BOLD:#} written, {}",
            args.out.display(),
            bytes(file.len() as u64)
        ))?)
    }

    fn channels(args: &ImportArgs) -> Result<Vec<SeedChannel>> {
        if args.range.len() != args.channels.len() {
            let counts = format!("{} ranges for {} channels", args.range.len(), args.channels.len());
            return Err(Failure::usage(counts).next("give one --range per channel"));
        }
        let one = |(text, Range(lo, hi)): (&String, &Range)| {
            let (name, unit) = match text.strip_suffix(']').and_then(|t| t.split_once('[')) {
                Some((name, unit)) => (name, unit),
                None => (text.as_str(), ""),
            };
            SeedChannel::new(name, unit, *lo, *hi)
        };
        Ok(args.channels.iter().zip(&args.range).map(one).collect())
    }

    fn refused(error: ImportError) -> Failure {
        match error {
            ImportError::Mismatch { mean, max } => Failure::new(
                Kind::Promise,
                "encoder and decoder were not trained together, nothing was written",
            )
            .why(format_args!(
                "over the sensor's range readings come back {mean:.2} off on average and {max:.2} at most"
            ))
            .next("export both from one training and put that encoder on the boards"),
            ImportError::Hostile(_) => {
                Failure::input("the scaler is not what it should be, nothing in it was run")
                    .why(error)
                    .next("find out where that file comes from")
            }
            error => Failure::input("these files cannot come over")
                .why(error)
                .next("give the files of one run of the seed's training script"),
        }
    }
}
