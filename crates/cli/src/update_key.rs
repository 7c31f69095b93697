//! Keys of updates as people keep them: a file that signs, and a line that verifies.

use std::path::Path;

use kinglet_wire::update::{SigningKey, UPDATE_KEY_LEN, UpdateKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::{Failure, Result};
use crate::{files, hex};

const SECRET: &str = "kinglet-signing-key:";
const PUBLIC: &str = "ed25519:";
/// Longest file of a key.
const FILE_LEN_MAX: u64 = 1024;

/// The line that verifies: `ed25519:` and 64 hexadecimal digits.
pub(crate) fn to_text(key: &UpdateKey) -> String {
    format!("{PUBLIC}{}", hex::emit(key.as_bytes()))
}

/// Reads that line.
pub(crate) fn parse(text: &str) -> Option<UpdateKey> {
    let bytes = hex::parse(text.trim().strip_prefix(PUBLIC)?)?;
    Some(UpdateKey::from_bytes(bytes.try_into().ok()?))
}

/// A new key.
pub(crate) fn generate() -> Result<SigningKey> {
    let mut seed = [0; UPDATE_KEY_LEN];
    getrandom::fill(&mut seed)
        .map_err(|e| Failure::new(crate::failure::Kind::Failure, "no random numbers").why(e))?;
    let key = SigningKey::from_bytes(seed);
    seed.zeroize();
    Ok(key)
}

/// What the file that signs holds.
pub(crate) fn secret_text(key: &SigningKey) -> Zeroizing<String> {
    let digits = Zeroizing::new(hex::emit(key.expose_secret()));
    Zeroizing::new(format!("{SECRET}{}\n", digits.as_str()))
}

/// Reads the file that signs; the reason never shows the key.
pub(crate) fn read_secret(path: &Path) -> Result<SigningKey> {
    let bytes = Zeroizing::new(files::read_up_to(path, FILE_LEN_MAX)?);
    let digits = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().strip_prefix(SECRET));
    let seed = digits.and_then(hex::parse).map(Zeroizing::new);
    let mut seed: [u8; UPDATE_KEY_LEN] = seed
        .and_then(|seed| seed.as_slice().try_into().ok())
        .ok_or_else(|| not_a_key(path, "name the file written by `kinglet bundles keygen`"))?;
    let key = SigningKey::from_bytes(seed);
    seed.zeroize();
    Ok(key)
}

/// Reads the file that verifies.
pub(crate) fn read_public(path: &Path) -> Result<UpdateKey> {
    let bytes = files::read_up_to(path, FILE_LEN_MAX)?;
    let key = std::str::from_utf8(&bytes).ok().and_then(parse);
    key.ok_or_else(|| {
        not_a_key(
            path,
            "name the .pub file written by `kinglet bundles keygen`: the other never leaves its place",
        )
    })
}

fn not_a_key(path: &Path, next: &str) -> Failure {
    Failure::input(format_args!("{} holds no such key", path.display())).next(next)
}
