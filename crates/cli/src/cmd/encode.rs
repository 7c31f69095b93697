//! `kinglet encode BUNDLE [DATA.csv]`.

use kinglet_codec::Window;
use serde_json::json;

use crate::args::EncodeArgs;
use crate::coder::Coder;
use crate::failure::Result;
use crate::term::{Out, bytes};
use crate::{codes, files, readings};

pub(crate) fn run(args: &EncodeArgs) -> Result {
    let bundle = files::read_bundle(&args.bundle)?;
    let readings = readings::load_for(&bundle, &args.source(), &args.reading)?;
    let mut coder = Coder::new(&bundle);
    let mut file = Vec::new();
    codes::emit_header(&bundle.fingerprint(), &mut file);
    let (mut n_windows, mut n_values, mut payload_bytes) = (0u64, 0u64, 0u64);
    for cut in readings::windows(&readings.recording, &bundle.model()).iter() {
        let (code, _) = coder.encode(Window { steps: cut.steps, off_grid: cut.off_grid })?;
        codes::emit(codes::CodeRecord { t_first_ms: cut.t_first_ms, code }, &mut file);
        n_windows += 1;
        n_values += cut.steps.len() as u64;
        payload_bytes += code.len() as u64;
    }
    let Some(path) = args.out() else {
        use std::io::Write;
        let mut stdout = std::io::stdout().lock();
        return Ok(stdout.write_all(&file).and_then(|()| stdout.flush())?);
    };
    files::write(&path, &file, args.force, files::Access::Usual)?;
    let mut out = Out::new(args.json);
    let bits = 8.0 * payload_bytes as f64 / n_values.max(1) as f64;
    out.result(&json!({
        "out": path.display().to_string(), "windows": n_windows, "values": n_values,
        "payload_bytes": payload_bytes, "file_bytes": file.len(), "bits_per_value": bits,
    }))?;
    out.line(format_args!(
        "{}: {n_windows} windows, {n_values} readings in {} of codes, {bits:.2} bits each",
        path.display(),
        bytes(payload_bytes)
    ))?;
    Ok(())
}
