//! Golden vectors: their files, how they are read, and how the version that introduced them wrote them.
//!
//! `KINGLET_WRITE_VECTORS=1 cargo test -p kinglet-wire vectors` writes files that are missing. It never changes
//! one that is there: they are kept for ever, and `compatibility` reads them.

mod contents;
mod frames;
mod joins;
mod lorawan;
mod pieces;
mod stored;
mod updates;

use std::fmt::Write;
use std::path::PathBuf;
use std::string::{String, ToString};

use super::*;

/// One case of a file: `key = value` lines; values are text or hex.
pub(super) struct Block(Vec<(String, String)>);

impl Block {
    pub(super) fn text(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(k, _)| k == key);
        &found.unwrap_or_else(|| panic!("no `{key}` in case {:?}", self.0.first())).1
    }

    pub(super) fn name(&self) -> &str {
        self.text("case")
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    pub(super) fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key);
        assert!(text.len().is_multiple_of(2) && text.is_ascii(), "`{key}` is not hex");
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(byte).collect()
    }

    pub(super) fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|_| panic!("`{key}` is not {N} bytes"))
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        let bytes = self.bytes(key);
        assert!(bytes.len() <= 8, "`{key}` is not a number");
        bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b))
    }
}

/// The cases of a file.
pub(super) fn read(name: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("vectors/wire/{name}: {e}"));
    let lines = |block: &str| {
        let lines = block.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        let pair = |line: &str| {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: no `=` in {line:?}"));
            (key.trim().to_string(), value.trim().to_string())
        };
        Block(lines.map(pair).collect())
    };
    let blocks: Vec<Block> = text.split("\n\n").map(lines).filter(|b| !b.0.is_empty()).collect();
    assert!(!blocks.is_empty(), "{name} has no cases");
    blocks
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/wire")).join(name)
}

#[test]
fn vectors_are_written_once() {
    let files = [
        ("v1_keys.txt", joins::keys()),
        ("v1_frames_pass.txt", frames::frames_pass()),
        ("v1_frames_fail.txt", frames::frames_fail()),
        ("v1_contents_pass.txt", contents::contents_pass()),
        ("v1_contents_fail.txt", contents::contents_fail()),
        ("v1_reference.txt", contents::reference()),
        ("v1_joins_pass.txt", joins::joins_pass()),
        ("v1_joins_fail.txt", joins::joins_fail()),
        ("v1_counters.txt", stored::counters()),
        ("v1_stored.txt", stored::stored()),
        ("v1_lorawan_pass.txt", lorawan::pass()),
        ("v1_lorawan_fail.txt", lorawan::fail()),
        ("v1_updates.txt", updates::updates()),
        ("v1_pieces.txt", pieces::pieces()),
    ];
    for (name, text) in files {
        if std::env::var_os("KINGLET_WRITE_VECTORS").is_some() && !path(name).exists() {
            std::fs::create_dir_all(path("")).unwrap();
            std::fs::write(path(name), &text).unwrap();
        }
        // As long as this crate writes version 1, what it writes is what it wrote then.
        let kept = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("vectors/wire/{name}: {e}"));
        assert!(kept == text, "vectors/wire/{name} is no longer what this crate writes");
    }
}

/// Builds the text of a file.
struct Text(String);

impl Text {
    fn new(about: &str) -> Self {
        Self(std::format!("# {about}\n"))
    }

    fn case(mut self, name: &str) -> Self {
        write!(self.0, "\ncase = {name}\n").unwrap();
        self
    }

    fn text(mut self, key: &str, value: &str) -> Self {
        writeln!(self.0, "{key} = {value}").unwrap();
        self
    }

    fn hex(self, key: &str, value: &[u8]) -> Self {
        let hex: String = value.iter().map(|b| std::format!("{b:02x}")).collect();
        self.text(key, &hex).trimmed()
    }

    fn trimmed(mut self) -> Self {
        if self.0.ends_with("= \n") {
            self.0.truncate(self.0.len() - 2);
            self.0.push('\n');
        }
        self
    }

    fn u48(self, key: &str, value: u64) -> Self {
        self.hex(key, &value.to_be_bytes()[2..])
    }
}
