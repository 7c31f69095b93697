//! The device's half of the Rust sources, inside this program: an exported crate needs neither a clone nor a registry that has us.

use super::library::Written;

/// A crate of ours as far as a device needs it.
struct Crate {
    name: &'static str,
    manifest: &'static str,
    files: &'static [super::sources::File],
}

macro_rules! carried {
    ($name:literal, $($file:literal),* $(,)?) => {
        Crate {
            name: $name,
            manifest: include_str!(concat!("../../../../", $name, "/Cargo.toml")),
            files: &[$(($file, include_str!(concat!("../../../../", $name, "/src/", $file)))),*],
        }
    };
}

/// What is built for hosts alone (bundle files, learning, the seed's mode), tests and fuzz functions stay here.
const CRATES: &[Crate] = &[
    carried!(
        "codec",
        "alphabet.rs",
        "context.rs",
        "counts.rs",
        "decimal.rs",
        "fill.rs",
        "first.rs",
        "fixed.rs",
        "freq.rs",
        "grid.rs",
        "hold.rs",
        "ladder.rs",
        "ladder/after.rs",
        "ladder/length.rs",
        "ladder/shortest.rs",
        "ladder/spending.rs",
        "latent.rs",
        "lib.rs",
        "model.rs",
        "net.rs",
        "parts.rs",
        "predict.rs",
        "predict/budget.rs",
        "predict/features.rs",
        "predict/gated.rs",
        "predict/mixture.rs",
        "predict/said.rs",
        "range.rs",
        "range/meter.rs",
        "raw.rs",
        "reference.rs",
        "search.rs",
        "shape.rs",
    ),
    carried!(
        "wire",
        "cipher.rs",
        "counter.rs",
        "cursor.rs",
        "error.rs",
        "frame.rs",
        "header.rs",
        "join.rs",
        "join/state.rs",
        "keys.rs",
        "lib.rs",
        "lorawan.rs",
        "payload.rs",
        "payload/control.rs",
        "payload/data.rs",
        "payload/status.rs",
        "piece.rs",
        "ranges.rs",
        "seal.rs",
        "update.rs",
    ),
    carried!(
        "node",
        "backoff.rs",
        "clock.rs",
        "error.rs",
        "flash.rs",
        "flash/mem.rs",
        "join.rs",
        "lib.rs",
        "log.rs",
        "log/sector.rs",
        "node.rs",
        "node/config.rs",
        "node/receive.rs",
        "node/said.rs",
        "node/sample.rs",
        "node/transmit.rs",
        "outbox.rs",
        "outbox/in_flight.rs",
        "outbox/records.rs",
        "outbox/recover.rs",
        "provision/mod.rs",
        "provision/serial.rs",
        "provision/slots.rs",
        "record.rs",
        "record/mark.rs",
        "status.rs",
        "tail.rs",
        "trial.rs",
        "update/mod.rs",
        "update/slot.rs",
        "window.rs",
    ),
];

/// Features of ours that need files which are not carried.
const HOST_FEATURES: &[&str] = &["bundle", "seed", "fuzz", "cose"];

/// The crates, each in a folder of its own below `kinglet/`.
pub(crate) fn write() -> impl Iterator<Item = Written> {
    CRATES.iter().flat_map(|one| {
        let at = |name: &str| format!("kinglet/{}/{name}", one.name);
        let files =
            one.files.iter().map(move |(name, text)| (at(&format!("src/{name}")), text.as_bytes().to_vec()));
        files.chain([(at("Cargo.toml"), manifest(one.manifest).into_bytes())])
    })
}

/// A manifest that leans on no workspace and names nothing that stays here.
fn manifest(ours: &str) -> String {
    let said = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("edition", "2024"),
        ("rust-version", env!("CARGO_PKG_RUST_VERSION")),
        ("license", env!("CARGO_PKG_LICENSE")),
    ];
    let (mut text, mut section) = (String::new(), "");
    for line in ours.lines() {
        section = if line.starts_with('[') { line } else { section };
        let key = line.split([' ', '.', '=']).next().unwrap_or_default();
        let kept = match section {
            "[package]" | "[dependencies]" => !line.contains("optional = true"),
            "[features]" => !HOST_FEATURES.contains(&key),
            _ => false,
        };
        // Comments stand above lines that may not be kept.
        if !kept || line.starts_with('#') {
            continue;
        }
        match said.iter().find(|(name, _)| line == format!("{name}.workspace = true")) {
            Some((name, value)) => text.push_str(&format!("{name} = \"{value}\"")),
            None if line.contains("{ workspace = true }") => {
                let folder = key.trim_start_matches("kinglet-");
                text.push_str(&format!("{key} = {{ path = \"../{folder}\", default-features = false }}"));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    // Their tests stayed with the vectors they read, and their sources still name what stayed here.
    text + "\n[lib]\ntest = false\ndoctest = false\n\n[lints.rust]\nunexpected_cfgs = \"allow\"\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every file that a device may compile is carried: a new one is missing from no export.
    #[test]
    fn no_file_is_forgotten() {
        let host = ["/tests/", "/tests.rs", "/fuzz.rs", "/cose.rs", "/bundle.rs", "/learn", "/seed"];
        for one in CRATES {
            let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(one.name).join("src");
            let (mut there, mut folders) = (Vec::new(), vec![src.clone()]);
            while let Some(folder) = folders.pop() {
                for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
                    if path.is_dir() {
                        folders.push(path);
                    } else if !host.iter().any(|part| format!("/{name}").contains(part)) {
                        there.push(name);
                    }
                }
            }
            there.sort();
            assert_eq!(there, one.files.iter().map(|file| file.0.to_owned()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_manifest_stands_alone() {
        for one in CRATES {
            let text = manifest(one.manifest);
            for word in ["workspace", "dev-dependencies", "optional", "safetensors", "fuzz"] {
                assert!(!text.contains(word), "{word} in {text}");
            }
            assert!(text.contains("[dependencies]\n") && text.contains("edition = \"2024\"\n"), "{text}");
        }
    }
}
