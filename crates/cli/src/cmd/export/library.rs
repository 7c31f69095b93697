//! A window codec's bundle as something to build a device from: an Arduino library, C sources, a Rust crate.

use std::fmt::Write;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{Model, TAIL_SAMPLES_MAX};

use super::sources::{ARDUINO, CMAKE, SOURCES};
use crate::hex;

/// A path inside the output folder, and its content.
pub(crate) type Written = (String, Vec<u8>);

/// A folder to be dropped into `libraries/` of the Arduino IDE.
pub(crate) fn arduino(bundle: &Bundle) -> Vec<Written> {
    with_bundle(bundle, &[SOURCES, ARDUINO])
}

/// Sources with a CMake file that is a component of ESP-IDF too.
pub(crate) fn c(bundle: &Bundle) -> Vec<Written> {
    with_bundle(bundle, &[SOURCES, CMAKE])
}

fn with_bundle(bundle: &Bundle, lists: &[&[super::sources::File]]) -> Vec<Written> {
    let files = lists.iter().flat_map(|list| list.iter());
    let mut written: Vec<Written> =
        files.map(|(name, content)| (name.to_string(), content.as_bytes().to_vec())).collect();
    written.push(("src/kinglet_bundle.h".into(), header(bundle).into_bytes()));
    // Only what this bundle has takes flash.
    let mask =
        bundle.model().sections().filter(|&n| n >= FIRST_OPTIONAL).fold(0_u32, |mask, n| mask | 1 << n);
    for (_, content) in written.iter_mut().filter(|(name, _)| name == PARTS) {
        let text = String::from_utf8_lossy(content).replace(EVERY_PART, &format!("KGL_PARTS {mask:#06x}"));
        *content = text.into_bytes();
    }
    written
}

/// Says which sections the C library reads, and how it says all.
const PARTS: &str = "src/kgl_parts.h";
const EVERY_PART: &str = "KGL_PARTS 0x1ff0";
/// The first section that a bundle may lack.
const FIRST_OPTIONAL: u8 = 4;

/// The features of the codec that a bundle needs.
fn features(model: &Model<'_>) -> String {
    let name = |section| match section {
        5 => Some("latent"),
        6 | 8 | 12 => Some("predict"),
        7 => Some("fixed"),
        9 => Some("counts"),
        10 => Some("expected"),
        11 => Some("references"),
        _ => None,
    };
    model.sections().filter_map(name).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// A `no_std` crate with the bundle inside, and the crates it needs.
pub(crate) fn rust(bundle: &Bundle) -> Vec<Written> {
    let model = bundle.model();
    let about = about(bundle, "//! ");
    let lib = format!(
        "{about}#![no_std]\n#![forbid(unsafe_code)]\n\npub use kinglet_codec as codec;\npub use kinglet_node as node;\n\
         pub use kinglet_wire as wire;\n\n\
         use kinglet_codec::{{Model, ModelError}};\n\n\
         /// Samples in a full window.\npub const SAMPLES: usize = {};\n\
         /// Channels of a sample.\npub const CHANNELS: usize = {};\n\
         /// Words the encoder works in.\npub const WORKSPACE_LEN: usize = {};\n\
         /// Bytes of the longest code.\npub const CODE_LEN_MAX: usize = {};\n\n\
         /// The bytes a device keeps.\npub static BUNDLE: &[u8] = include_bytes!(\"../bundle.bin\");\n\n\
         /// The model, checked.\npub fn model() -> Result<Model<'static>, ModelError> {{\n    Model::parse(BUNDLE)\n}}\n",
        model.samples(),
        model.channels(),
        model.workspace_len(),
        model.code_len_max(),
    );
    let manifest = format!(
        "[package]\nname = \"kinglet-bundle\"\ndescription = \"A Kinglet bundle, for a device\"\nversion = \"0.1.0\"\n\
         edition = \"2024\"\nrust-version = \"{}\"\npublish = false\n\n[dependencies]\n\
         # What this bundle has. Where others shall come over the air: features = [\"every-part\"].\n\
         kinglet-codec = {{ path = \"kinglet/codec\", default-features = false, features = [{}] }}\n\
         kinglet-node = {{ path = \"kinglet/node\" }}\nkinglet-wire = {{ path = \"kinglet/wire\" }}\n",
        env!("CARGO_PKG_RUST_VERSION"),
        features(&model),
    );
    let mut written = vec![
        ("Cargo.toml".into(), manifest.into_bytes()),
        ("README.md".into(), include_bytes!("rust/README.md").to_vec()),
        ("examples/encode.rs".into(), include_bytes!("rust/encode.rs").to_vec()),
        ("src/lib.rs".into(), lib.into_bytes()),
        ("bundle.bin".into(), bundle.device().to_vec()),
    ];
    written.extend(super::crates::write());
    written
}

/// The bundle as a C header.
fn header(bundle: &Bundle) -> String {
    let model = bundle.model();
    let (n_samples, n_channels) = (model.samples(), model.channels());
    let (tail_len, n_codes) =
        if model.has_references() { (TAIL_SAMPLES_MAX * n_channels, 2) } else { (0, 1) };
    let mut text = format!(
        "/*\n{} */\n#ifndef KINGLET_BUNDLE_H\n#define KINGLET_BUNDLE_H\n\n#include \"kgl_codec.h\"\n\n\
         #define KINGLET_N_SAMPLES {n_samples}\n#define KINGLET_N_CHANNELS {n_channels}\n\
         #define KINGLET_PERIOD_MS {}UL\n\
         /* Words of workspace and bytes of the longest code: what kgl_workspace_len and kgl_code_len_max give. */\n\
         #define KINGLET_WORKSPACE_LEN {}\n#define KINGLET_CODE_LEN_MAX {}\n\
         /* What a node keeps of samples and codes: as kgl_node_steps_len and, beside KGL_CODE_OVERHEAD, kgl_node_code_len. */\n\
         #define KINGLET_STEPS_LEN {}\n#define KINGLET_CODES_LEN_MAX {}\n#define KINGLET_BUNDLE_LEN {}UL\n\n\
         static const uint8_t kinglet_bundle[KINGLET_BUNDLE_LEN] KGL_PROGMEM = {{\n",
        about(bundle, " * "),
        model.period_ms(),
        model.workspace_len(),
        model.code_len_max(),
        n_samples * n_channels + tail_len,
        n_codes * model.code_len_max(),
        bundle.device().len(),
    );
    for row in bundle.device().chunks(20) {
        text.push_str("   ");
        for byte in row {
            // Writing into memory cannot fail.
            let _ = write!(text, " {byte},");
        }
        text.push('\n');
    }
    text.push_str("};\n\n#endif\n");
    text
}

/// What the bundle is, as comment lines.
fn about(bundle: &Bundle, lead: &str) -> String {
    let model = bundle.model();
    let mut text = format!(
        "{lead}The bundle \"{}\", written by `kinglet export`: one sample every {} ms, windows of {} samples.\n\
         {lead}Identity {}.\n{lead}Channels:\n",
        tame(bundle.name()),
        model.period_ms(),
        model.samples(),
        hex::emit(&bundle.identity()),
    );
    for (idx, line) in channels(&model).into_iter().enumerate() {
        let _ = writeln!(text, "{lead}  {idx} {line}");
    }
    text
}

fn channels(model: &Model<'_>) -> Vec<String> {
    let line = |idx| {
        let channel = model.channel(idx);
        let step = kinglet_codec::Decimal::new(channel.grid.quantum, channel.grid.scale);
        format!(
            "{} [{}], steps of {step}, bound {} steps",
            tame(channel.name),
            tame(channel.unit),
            channel.grid.bound_steps
        )
    };
    (0..model.channels()).map(line).collect()
}

/// Names come from a file: nothing in them may end a comment or a line.
pub(crate) fn tame(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || " .-_%°²³µ".contains(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_replaced_by_those_of_a_bundle() {
        let (_, parts) = SOURCES.iter().find(|(name, _)| *name == PARTS).expect("it is exported");
        assert_eq!(parts.matches(EVERY_PART).count(), 1);
    }

    #[test]
    fn names_cannot_end_a_comment() {
        assert_eq!(tame("a*/\n#include \"x\" °C"), "a????include ?x? °C");
    }
}
