//! The golden files as C arrays, because a bare chip has no files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::Result;

/// Most bytes of an array on an AVR, and a bit less.
const ARRAY_MAX: usize = 30_000;

/// One program's data.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The program that reads it.
    pub(super) test: &'static str,
}

/// Writes a header for each part of each folder of `vectors/codec`, for each folder of `vectors/reference`, one for
/// `vectors/wire`, and one for the program that needs no data.
pub(super) fn write(root: &Path, dir: &Path) -> Result<Vec<Header>> {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut headers = Vec::new();
    for folder in folders_of(&root.join("vectors/codec"))? {
        let kind = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (model, cases) = (read(&folder.join("model.bin"))?, read(&folder.join("cases.bin"))?);
        for (n, (part, n_cases)) in parts(&cases)?.into_iter().enumerate() {
            let name = format!("{kind}_{}", n + 1);
            let mut text = format!("#define NAME \"{name}\"\n#define N_CASES {n_cases}\n");
            array(&mut text, "MODEL", &model);
            array(&mut text, "CASES", part);
            headers.push(file(dir, name, text, "codec.c")?);
        }
    }
    for folder in folders_of(&root.join("vectors/reference"))? {
        let kind = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (model, cases) = (read(&folder.join("model.bin"))?, read(&folder.join("cases.bin"))?);
        let name = format!("reference_{kind}");
        let n_cases = n_referring(&cases)?;
        let mut text = format!("#define NAME \"{name}\"\n#define N_CASES {n_cases}\n");
        array(&mut text, "MODEL", &model);
        array(&mut text, "CASES", &cases);
        headers.push(file(dir, name, text, "after.c")?);
    }
    let mut text = String::new();
    for (array_name, file) in [
        ("ACCESS", "v1_access"),
        ("KEYS", "v1_keys"),
        ("FRAMES_PASS", "v1_frames_pass"),
        ("FRAMES_FAIL", "v1_frames_fail"),
        ("CONTENTS_PASS", "v1_contents_pass"),
        ("JOINS_PASS", "v1_joins_pass"),
        ("JOINS_FAIL", "v1_joins_fail"),
        ("LORAWAN_PASS", "v1_lorawan_pass"),
        ("LORAWAN_FAIL", "v1_lorawan_fail"),
    ] {
        let path = root.join("vectors/wire").join(file).with_extension("txt");
        let lines = String::from_utf8(read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        // What frames stand for in COSE is for hosts.
        let kept = lines.lines().filter(|l| !l.starts_with("cose") && !l.starts_with("aad"));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        array(&mut text, array_name, &[kept.as_bytes(), &[0]].concat());
    }
    headers.push(file(dir, "wire".into(), text, "wire.c")?);
    headers.push(file(dir, "dense".into(), String::new(), "dense.c")?);
    Ok(headers)
}

fn folders_of(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

/// How many cases there are in a file of `vectors/reference`: each three runs of values and two codes.
fn n_referring(cases: &[u8]) -> Result<usize> {
    let (mut at, mut n) = (0, 0);
    while at < cases.len() {
        at += 2;
        for width in [4, 4, 4, 1, 1] {
            let len = cases.get(at..at + 2).ok_or("vectors/reference: cases.bin is cut short")?;
            at += 2 + width * (usize::from(len[0]) | usize::from(len[1]) << 8);
        }
        n += 1;
    }
    Ok(n)
}

/// Cuts the cases into runs of at most [`ARRAY_MAX`] bytes, each with its number of cases.
fn parts(cases: &[u8]) -> Result<Vec<(&[u8], usize)>> {
    let cut_short = || "vectors/codec: cases.bin is cut short".to_string();
    let (mut parts, mut rest) = (Vec::new(), cases);
    let (mut end, mut n) = (0, 0);
    while end < rest.len() {
        let u16_at = |at: usize| {
            let bytes = rest.get(at..at + 2).ok_or_else(cut_short)?;
            Ok::<usize, String>(usize::from(bytes[0]) | usize::from(bytes[1]) << 8)
        };
        let code_at = end + 3 + 8 * u16_at(end + 1)?;
        let next = code_at + 2 + u16_at(code_at)?;
        if next > ARRAY_MAX {
            let (part, behind) = rest.split_at(end);
            parts.push((part, n));
            (rest, end, n) = (behind, 0, 0);
        } else {
            (end, n) = (next, n + 1);
        }
    }
    parts.push((rest, n));
    Ok(parts)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn array(text: &mut String, name: &str, bytes: &[u8]) {
    let _ = writeln!(
        text,
        "#define {name}_LEN {}UL\nstatic const uint8_t {name}[] KGL_PROGMEM = {{",
        bytes.len()
    );
    for row in bytes.chunks(24) {
        for byte in row {
            let _ = write!(text, "{byte},");
        }
        text.push('\n');
    }
    text.push_str("};\n");
}

fn file(dir: &Path, name: String, text: String, test: &'static str) -> Result<Header> {
    let path = dir.join(&name).with_extension("h");
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Header { name, path, test })
}
