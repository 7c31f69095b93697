//! `kinglet inspect`: what a file or some bytes are, in words.

mod bundle;
mod frame;
mod seed;

use serde_json::json;

use crate::args::InspectArgs;
use crate::coder::{Coder, cell, rung_name};
use crate::failure::{Failure, Result, printable};
use crate::term::style::BOLD;
use crate::term::{Align, Out, Table, bytes, seconds, when};
use crate::{codes, files, hex};

pub(crate) fn run(args: &InspectArgs) -> Result {
    let mut out = Out::new(args.json);
    if let (Some(code), Some(path)) = (&args.code, &args.bundle) {
        return code_in_words(&mut out, &code.0, path);
    }
    if let Some(frame) = &args.hex {
        return frame::show(&mut out, &frame.0);
    }
    let Some(path) = &args.file else {
        return Err(Failure::usage("nothing to inspect").next("name a file, or give --hex"));
    };
    let file = files::read(path)?;
    if let Some((fingerprint, records)) = codes::parse_header(&file) {
        return codes_in_words(&mut out, &fingerprint, records);
    }
    match kinglet_codec::bundle::Bundle::parse(&file) {
        Ok(found) => return bundle::show(&mut out, &found),
        Err(kinglet_codec::bundle::BundleError::SeedMode) => {
            return seed::show(&mut out, &files::read_seed_bundle(path)?);
        }
        // What has a container's first bytes is a bundle that is damaged, and said so.
        Err(e) if file.get(8) == Some(&b'{') => {
            return Err(Failure::input(format_args!("{} is not a bundle", path.display()))
                .why(e)
                .next("take the file as it was written, or make it again with `kinglet train`"));
        }
        Err(_) => {}
    }
    let typed = std::str::from_utf8(&file).ok().and_then(hex::parse);
    frame::show(&mut out, typed.as_deref().unwrap_or(&file)).map_err(|_| {
        Failure::input(format_args!("{} is nothing Kinglet knows", path.display()))
            .why("it is no bundle, no file of codes and no frame")
            .next("a recording is looked at with `kinglet train FILE.csv`")
    })
}

fn codes_in_words(out: &mut Out, fingerprint: &[u8; 16], records: &[u8]) -> Result {
    let (mut n, mut n_bytes, mut longest, mut truncated) = (0u64, 0u64, 0, false);
    let mut span: Option<(i64, i64)> = None;
    for record in codes::records(records) {
        let Ok(record) = record else {
            truncated = true;
            break;
        };
        n += 1;
        n_bytes += record.code.len() as u64;
        longest = longest.max(record.code.len());
        let (first, last) = span.unwrap_or((i64::MAX, i64::MIN));
        span = Some((first.min(record.t_first_ms), last.max(record.t_first_ms)));
    }
    let mean = if n == 0 { 0.0 } else { n_bytes as f64 / n as f64 };
    out.result(&json!({
        "kind": "codes", "fingerprint": hex::emit(fingerprint), "windows": n, "payload_bytes": n_bytes,
        "payload_bytes_mean": mean, "payload_bytes_max": longest, "truncated": truncated,
        "t_first_ms": span.map(|s| s.0), "t_last_ms": span.map(|s| s.1),
    }))?;
    out.line(format_args!("{BOLD}A file of codes{BOLD:#} made with the bundle {}", hex::emit(fingerprint)))?;
    out.line(format_args!(
        "{n} windows, {} of codes: {mean:.1} bytes per window, {longest} at most",
        bytes(n_bytes)
    ))?;
    if let Some((first, last)) = span {
        out.line(format_args!("windows begin from {} to {}", when(first), when(last)))?;
    }
    if truncated {
        out.line("the file ends in the middle of a window: what comes before can be decoded")?;
    }
    Ok(())
}

fn code_in_words(out: &mut Out, code: &[u8], path: &std::path::Path) -> Result {
    let bundle = files::read_bundle(path)?;
    let mut coder = Coder::new(&bundle);
    let model = *coder.model();
    let (steps, rung) = coder.decode(code).map_err(|e| {
        Failure::input("these bytes are no code of this bundle")
            .why(format_args!("{e:?}"))
            .next("check that all of the code is there, and that it was made with this bundle")
    })?;
    let samples: Vec<Vec<String>> = steps
        .chunks(model.channels())
        .map(|sample| {
            sample.iter().enumerate().map(|(idx, &step)| cell(&model.channel(idx).grid, step)).collect()
        })
        .collect();
    let names: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).name).collect();
    out.result(&json!({
        "kind": "code", "bytes": code.len(), "rung": rung_name(rung), "samples": samples.len(),
        "channels": names, "values": samples,
    }))?;
    let (n, spacing) = (samples.len(), seconds(model.period_ms().into()));
    out.line(format_args!(
        "{BOLD}A code{BOLD:#} of {} bytes, made on the rung `{}`: {n} samples, one every {spacing}",
        code.len(),
        rung_name(rung)
    ))?;
    let columns: Vec<(String, Align)> = names.iter().map(|name| (printable(name), Align::Right)).collect();
    let columns: Vec<(&str, Align)> = [("#", Align::Right)]
        .into_iter()
        .chain(columns.iter().map(|(name, align)| (name.as_str(), *align)))
        .collect();
    let mut table = Table::new(&columns);
    for (idx, sample) in samples.iter().enumerate() {
        table.row([idx.to_string()].into_iter().chain(sample.iter().cloned()));
    }
    Ok(out.table(&table)?)
}
