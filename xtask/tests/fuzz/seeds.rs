//! Where mutations start: the golden vectors, and files made for one door.

use std::path::{Path, PathBuf};

/// Longer files make mutation slow and tell a parser nothing new.
const LEN_MAX: u64 = 1 << 16;
/// The empty input and a few others that no vector holds.
const ALWAYS: &[&[u8]] = &[b"", b"\0", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"kinglet"];

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// Seeds of a door called `CRATE_WHAT`: `fuzz/seeds/CRATE_WHAT/*`, then `vectors/CRATE/**` as bytes and,
/// where a file is text, every hexadecimal number in it as bytes.
pub(crate) fn of(door: &str) -> Vec<Vec<u8>> {
    let root = root();
    let mut seeds: Vec<Vec<u8>> = ALWAYS.iter().map(|s| s.to_vec()).collect();
    let of_crate = match door.split('_').next() {
        // What the server and the node are given was framed by the wire.
        Some("server" | "node") => "wire",
        name => name.unwrap_or(door),
    };
    let fixtures = door.starts_with("train_import").then(|| root.join("crates/train/tests/fixtures"));
    for dir in
        [root.join("fuzz/seeds").join(door), root.join("vectors").join(of_crate)].into_iter().chain(fixtures)
    {
        for path in files(&dir) {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if let Ok(text) = std::str::from_utf8(&bytes) {
                seeds.extend(text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(unhex));
            }
            seeds.push(bytes);
        }
    }
    if door == "node_flash_image" {
        seeds.push(kinglet_node::fuzz::sample_flash_image());
    }
    if door == "node_provision" {
        seeds.extend(kinglet_node::fuzz::sample_provisions());
    }
    if door == "node_update" {
        seeds.push(kinglet_node::fuzz::sample_updates());
    }
    seeds.sort();
    seeds.dedup();
    seeds
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(path),
                Ok(meta) if meta.len() <= LEN_MAX => found.push(path),
                _ => {}
            }
        }
    }
    found
}

fn unhex(word: &str) -> Option<Vec<u8>> {
    if word.len() < 2 || word.len() % 2 == 1 {
        return None;
    }
    word.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
