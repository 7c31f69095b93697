//! Walls on what each crate declares at its top.

use super::Project;
use crate::source::File;

const DEVICE: &[&str] = &["codec", "wire", "node"];

/// The device crates are `no_std` unless a feature or a test asks otherwise; the `no_std` stage proves it.
pub(super) fn no_std(project: &Project) -> Vec<String> {
    let declared = |file: &File| {
        file.text.contains("#![no_std]")
            || file.text.contains("#![cfg_attr(not(test), no_std)]")
            || file.text.contains("#![cfg_attr(not(any(test, feature = \"std\")), no_std)]")
    };
    roots(project)
        .filter(|(of, _)| DEVICE.contains(of))
        .filter(|(_, file)| !declared(file))
        .map(|(_, file)| format!("{} does not declare no_std", file.path))
        .collect()
}

/// `forbid(unsafe_code)` in every crate; `train` may say `deny` and excuse its vector kernels one by one.
pub(super) fn forbids_unsafe(project: &Project) -> Vec<String> {
    roots(project)
        .filter(|(of, file)| {
            let forbids = file.text.contains("#![forbid(unsafe_code)]");
            let denies = file.text.contains("#![deny(unsafe_code)]");
            !(forbids || (*of == "train" && denies))
        })
        .map(|(_, file)| format!("{} lacks #![forbid(unsafe_code)]", file.path))
        .collect()
}

/// Each crate takes the workspace's lints.
pub(super) fn lints(project: &Project) -> Vec<String> {
    project
        .files
        .iter()
        .filter(|f| {
            f.path == "xtask/Cargo.toml" || (f.path.starts_with("crates/") && f.path.ends_with("/Cargo.toml"))
        })
        .filter(|f| !f.text.contains("[lints]\nworkspace = true"))
        .map(|f| format!("{} lacks [lints] workspace = true", f.path))
        .collect()
}

/// `(crate folder, its lib.rs or main.rs)`.
fn roots(project: &Project) -> impl Iterator<Item = (&str, &File)> {
    project.files.iter().filter_map(|file| {
        let (of, rest) = file.path.strip_prefix("crates/")?.split_once('/')?;
        matches!(rest, "src/lib.rs" | "src/main.rs").then_some((of, file))
    })
}

#[cfg(test)]
mod tests {
    use super::super::of;
    use super::*;

    #[test]
    fn what_is_missing_is_seen() {
        assert_eq!(no_std(&of("crates/wire/src/lib.rs", "//! x\n")).len(), 1);
        assert_eq!(no_std(&of("crates/wire/src/lib.rs", "#![no_std]\n")).len(), 0);
        assert_eq!(no_std(&of("crates/server/src/lib.rs", "")).len(), 0);
        assert_eq!(forbids_unsafe(&of("crates/node/src/lib.rs", "#![deny(unsafe_code)]")).len(), 1);
        assert_eq!(forbids_unsafe(&of("crates/train/src/lib.rs", "#![deny(unsafe_code)]")).len(), 0);
        assert_eq!(lints(&of("crates/wire/Cargo.toml", "[package]")).len(), 1);
    }
}
