//! `kinglet decode BUNDLE FILE.codes`.

use std::fmt::Write;

use crate::args::DecodeArgs;
use crate::coder::{Coder, cell};
use crate::failure::{Failure, Result, printable};
use crate::term::{Out, iso};
use crate::{codes, files, hex};

pub(crate) fn run(args: &DecodeArgs) -> Result {
    let bundle = files::read_bundle(&args.bundle)?;
    let file = files::read(&args.codes)?;
    let Some((fingerprint, records)) = codes::parse_header(&file) else {
        return Err(Failure::input(format_args!("{} holds no codes", args.codes.display()))
            .why("it does not begin as a file written by `kinglet encode` does")
            .next("name a file written by `kinglet encode`, or look at it with `kinglet inspect`"));
    };
    if fingerprint != bundle.fingerprint() {
        return Err(Failure::input(format_args!(
            "{} is not the bundle of these codes",
            args.bundle.display()
        ))
        .why(format_args!(
            "the codes were made with {}, this bundle is {} (\"{}\")",
            hex::emit(&fingerprint),
            hex::emit(&bundle.fingerprint()),
            bundle.name()
        ))
        .next(
            "name the bundle the codes were made with; `kinglet inspect FILE` shows a bundle's fingerprint",
        ));
    }

    let mut coder = Coder::new(&bundle);
    let mut csv = header(&coder);
    let mut stopped = None;
    for (idx, record) in codes::records(records).enumerate() {
        let decoded =
            record.map_err(|_| "the file ends in the middle of it".to_string()).and_then(|record| {
                rows(&mut coder, record, &mut csv)
                    .map_err(|e| format!("its bytes are no code of this bundle ({e:?})"))
            });
        if let Err(why) = decoded {
            stopped = Some((idx, why));
            break;
        }
    }
    // What could be read is written before it is said what could not.
    match args.out() {
        Some(path) => files::write(&path, csv.as_bytes(), args.force, files::Access::Usual)?,
        None => Out::new(false).raw(&csv)?,
    }
    match stopped {
        None => Ok(()),
        Some((idx, why)) => {
            Err(Failure::input(format_args!("{} is damaged at window {}", args.codes.display(), idx + 1))
                .why(why)
                .next(format_args!(
                    "the {idx} windows before it were decoded; encode the recording again for the rest"
                )))
        }
    }
}

/// `time` and the channels with their units.
fn header(coder: &Coder<'_>) -> String {
    let model = coder.model();
    let mut line = String::from("time");
    for idx in 0..model.channels() {
        let channel = model.channel(idx);
        let unit = if channel.unit.is_empty() { String::new() } else { format!(" ({})", channel.unit) };
        // Names come out of a file: none may break the CSV or the terminal.
        let name = printable(&format!("{}{unit}", channel.name)).replace('"', "'");
        let quoted = name.contains([',', ';', '\n']) || name.starts_with(['=', '+', '-', '@']);
        let _ = if quoted { write!(line, ",\"{name}\"") } else { write!(line, ",{name}") };
    }
    line.push('\n');
    line
}

fn rows(
    coder: &mut Coder<'_>,
    record: codes::CodeRecord<'_>,
    csv: &mut String,
) -> Result<(), kinglet_codec::DecodeError> {
    let model = *coder.model();
    let (steps, _) = coder.decode(record.code)?;
    for (row, sample) in steps.chunks(model.channels()).enumerate() {
        let t_ms = record.t_first_ms.saturating_add(i64::from(model.period_ms()) * row as i64);
        csv.push_str(&iso(t_ms));
        for (idx, &step) in sample.iter().enumerate() {
            csv.push(',');
            csv.push_str(&cell(&model.channel(idx).grid, step));
        }
        csv.push('\n');
    }
    Ok(())
}
