//! Exported Rust crates, built as somebody's firmware would: for a chip, and on this machine, where they encode.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Story, truth};
use crate::Result;
use crate::run;
use crate::stages::RV32;
use crate::stages::cargo::LONG;

/// Parts of the codec that a bundle may have; each is in one of the bundles below.
const PARTS: &[&str] = &["counts", "expected", "fixed", "latent", "predict", "references"];
/// Golden models: nearly every part at once, and the one that goes with no other.
const GOLDEN: &[&str] = &["v1_expected_counts", "v1_fixed"];
/// Windows of a recording that are compared.
const N_WINDOWS: usize = 12;

/// A firmware's manifest. The exported crate becomes a member of its workspace, as path dependencies do.
const FIRMWARE: &str = "[package]\nname = \"firmware\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
     kinglet-bundle = { path = \"bundle\" }\n\n[workspace]\n\n[profile.release]\nopt-level = \"z\"\npanic = \"abort\"\n";

pub(super) fn crates(story: &Story<'_>) -> Result<()> {
    story.ok(&["bundles", "export", "dht22"])?;
    let after = ["train", "room.csv", "--bound", "0.25,1", "--effort", "fast", "--references", "--no-report"];
    story.ok(&[&after[..], &["--out", "after.kinglet"]].concat())?;
    let mut features = String::new();
    for name in ["dht22", "after"] {
        features += &built(story, name, &recorded(story, name)?)?;
    }
    for name in GOLDEN {
        let vectors = story.context.root.join("vectors/codec").join(name);
        let (model, cases) = (read(&vectors.join("model.bin"))?, read(&vectors.join("cases.bin"))?);
        story.write(&format!("{name}.kinglet"), bundle(&model))?;
        features += &built(story, name, &golden(&cases, shape(&model)?)?)?;
    }
    match PARTS.iter().find(|part| !features.contains(&format!("\"{part}\""))) {
        Some(part) => Err(format!("none of the bundles has {part}: {features}")),
        None => Ok(()),
    }
}

/// Samples as lines, and the code of the window they fill, in hexadecimal.
type Windows = Vec<(String, String)>;

/// Exports a bundle, builds the crate, compares its codes; gives its manifest, which names its parts.
fn built(story: &Story<'_>, name: &str, windows: &Windows) -> Result<String> {
    let (context, bundle) = (story.context, format!("{name}.kinglet"));
    story.ok(&["export", &bundle, "--to", "rust", "--out", &format!("firmware-{name}/bundle")])?;
    let dir = story.dir.join(format!("firmware-{name}"));
    let write = |file: &str, bytes: &[u8]| {
        let path = dir.join(file);
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder.and_then(|()| std::fs::write(&path, bytes)).map_err(|e| format!("{}: {e}", path.display()))
    };
    write("Cargo.toml", FIRMWARE.as_bytes())?;
    write("src/lib.rs", b"#![no_std]\npub use kinglet_bundle::node::Node;\n")?;
    // The same releases of what we depend on as everywhere here: nothing is fetched for this.
    write("Cargo.lock", &read(&context.root.join("Cargo.lock"))?)?;
    let lines: String = windows.iter().map(|(samples, _)| samples.as_str()).collect();
    write("samples.txt", lines.as_bytes())?;
    for args in [&["--target", RV32][..], &["--package", "kinglet-bundle", "--example", "encode"]] {
        let args = [&["build", "--release"][..], args].concat();
        let ran = run::show(context, &mut run::cargo(context, &dir, &args), LONG)?;
        // A path dependency's warnings are its user's.
        if !ran.ok || ran.text.contains("warning:") {
            return Err(format!("{bundle} --to rust: cargo {} failed or warned", args.join(" ")));
        }
    }
    let samples = dir.join("samples.txt");
    let samples = std::fs::File::open(&samples).map_err(|e| format!("{}: {e}", samples.display()))?;
    let mut example = Command::new(context.target().join("release/examples/encode"));
    let said = run::stdout(example.stdin(samples))?;
    let expected: String = windows.iter().map(|(_, code)| format!("{code}\n")).collect();
    match windows.len() {
        0..3 => Err(format!("{bundle}: there are but {} windows to compare", windows.len())),
        _ if said != expected => {
            Err(format!("{bundle} --to rust: its codes are others than ours:\n{said}instead of\n{expected}"))
        }
        _ => Ok(String::from_utf8_lossy(&read(&dir.join("bundle/Cargo.toml"))?).into_owned()),
    }
}

/// Windows of a recording, with the codes that this program's `encode` makes of them.
fn recorded(story: &Story<'_>, name: &str) -> Result<Windows> {
    let said = story.ok(&["inspect", &format!("{name}.kinglet"), "--json"])?;
    let said: Value =
        serde_json::from_str(said.trim()).map_err(|e| format!("inspect --json: {e}: {said}"))?;
    let n_samples = said["samples"].as_u64().ok_or("inspect --json has no number samples")? as usize;
    let (mut csv, mut lines) = (String::from("time,temperature,humidity\n"), Vec::new());
    for row in 0..N_WINDOWS * n_samples {
        let cells =
            truth(row).map(|value| value.map_or(String::new(), |value| format!("{value:.1}"))).join(",");
        let _ = writeln!(csv, "{},{cells}", super::time(row));
        lines.push(format!("{cells}\n"));
    }
    story.write("whole.csv", csv)?;
    story.ok(&["encode", &format!("{name}.kinglet"), "whole.csv", "--out", "whole.codes", "--force"])?;
    let file = read(&story.dir.join("whole.codes"))?;
    // After 24 bytes of header, for each window its time (8), its length (2) and itself.
    let mut rest = Bytes(file.get(24..).unwrap_or_default());
    let mut codes = Vec::new();
    while !rest.0.is_empty() {
        rest.take(8)?;
        codes.push(rest.code()?);
    }
    Ok(lines.chunks(n_samples).map(<[String]>::concat).zip(codes).collect())
}

/// Cases of whole windows on the grid, as `vectors/codec/README.md` lays them out: all golden models have one of tenths
/// that begins at 0.
fn golden(cases: &[u8], (n_channels, n_samples): (usize, usize)) -> Result<Windows> {
    let (mut rest, mut windows) = (Bytes(cases), Vec::new());
    while !rest.0.is_empty() {
        let (off_grid, n) = (rest.take(1)?[0] != 0, rest.len()?);
        let (steps, _read, code) = (rest.take(4 * n)?, rest.take(4 * n)?, rest.code()?);
        let steps: Vec<i32> = steps.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        // A line says a number or that it is missing; readings out of all range have words of their own.
        let is_said = |step: &i32| *step == i32::MIN || step.unsigned_abs() < 1 << 26;
        if n == n_channels * n_samples && !off_grid && steps.iter().all(is_said) {
            let cell = |step: &i32| if *step == i32::MIN { String::new() } else { format!("{step}e-1") };
            let line = |sample: &[i32]| sample.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
            windows.push((steps.chunks(n_channels).map(line).collect(), code));
        }
    }
    Ok(windows)
}

/// Channels, and samples of a window, of a model: `spec/bundle.md`.
fn shape(model: &[u8]) -> Result<(usize, usize)> {
    let mut rest = Bytes(model);
    rest.take(9)?;
    Ok((usize::from(rest.take(1)?[0]), rest.len()?))
}

/// A model as a bundle file.
fn bundle(model: &[u8]) -> Vec<u8> {
    let report = br#"{"name":"golden","report":null}"#;
    let (n, all) = (model.len(), model.len() + report.len());
    let head = serde_json::json!({
        "__metadata__": {},
        "device": { "dtype": "U8", "shape": [n], "data_offsets": [0, n] },
        "report": { "dtype": "U8", "shape": [report.len()], "data_offsets": [n, all] },
    })
    .to_string();
    [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), model, report].concat()
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("a file ends in the middle of a case")?;
        self.0 = rest;
        Ok(taken)
    }

    fn len(&mut self) -> Result<usize> {
        self.take(2).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])))
    }

    fn code(&mut self) -> Result<String> {
        let len = self.len()?;
        Ok(self.take(len)?.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_windows_on_the_grid_are_taken() {
        let case = |off_grid, step: i32| {
            [&[off_grid, 1, 0][..], &step.to_le_bytes(), &[0; 4], &[2, 0, 0xab, 1]].concat()
        };
        let file = [case(0, 213), case(1, 213), case(0, i32::MAX), case(0, i32::MIN)].concat();
        let expected = [("213e-1\n", "ab01"), ("\n", "ab01")].map(|(line, code)| (line.into(), code.into()));
        assert_eq!(golden(&file, (1, 1)), Ok(expected.to_vec()));
        assert!(golden(&file, (1, 2)).is_ok_and(|windows| windows.is_empty()));
        assert!(golden(&file[..20], (1, 1)).is_err());
    }
}
