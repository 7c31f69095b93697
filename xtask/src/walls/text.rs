//! Walls on files as text.

use super::Project;
use crate::source::{self, File};

/// Above this a file is mentioned, above the next it is a breach.
const LINES_WISH: usize = 400;
const LINES_MAX: usize = 600;

/// No source file beyond `LINES_MAX` lines, its tests not counted.
pub(super) fn long(project: &Project) -> Vec<String> {
    lengths(project)
        .filter(|(_, n)| *n > LINES_MAX)
        .map(|(file, n)| format!("{} has {n} lines without its tests; {LINES_MAX} is the most", file.path))
        .collect()
}

/// Files that should be looked at: do two reasons to change live there?
pub(super) fn longish(project: &Project) -> Vec<String> {
    lengths(project)
        .filter(|(_, n)| (LINES_WISH + 1..=LINES_MAX).contains(n))
        .map(|(file, n)| format!("{} has {n} lines without its tests", file.path))
        .collect()
}

/// No file names a place outside the tree; tests and benches may look for recordings beside it.
pub(super) fn outside(project: &Project) -> Vec<String> {
    // Spelled in parts so that this file does not break its own wall.
    let never = [concat!("/wo", "rk/"), concat!(".lib", "rary")];
    let beside = concat!("../sha", "red");
    let mut breaches = Vec::new();
    for file in &project.files {
        for (idx, line) in file.text.lines().enumerate() {
            let mut found: Vec<&str> = never.iter().copied().filter(|word| line.contains(word)).collect();
            if line.contains(beside) && !looks_for_recordings(&file.path) {
                found.push(beside);
            }
            breaches.extend(found.into_iter().map(|word| format!("{}:{}: {word}", file.path, idx + 1)));
        }
    }
    breaches
}

/// What is left for later is an issue, not a comment in the source.
pub(super) fn later(project: &Project) -> Vec<String> {
    // Spelled in parts so that this file does not break its own wall.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("To co", "me."),
        concat!("todo", "!("),
    ];
    let mut breaches = Vec::new();
    for file in project.files.iter().filter(|f| f.path.ends_with(".rs")) {
        for (idx, line) in file.text.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(*word));
            breaches.extend(found.map(|word| format!("{}:{}: {word}", file.path, idx + 1)));
        }
    }
    breaches
}

/// The stable runner and cargo-fuzz know the same doors.
pub(super) fn fuzz_targets(project: &Project) -> Vec<String> {
    let text = |path: &str| project.files.iter().find(|f| f.path == path).map(|f| f.text.as_str());
    let (Some(doors), Some(manifest)) = (text("xtask/tests/fuzz/doors.rs"), text("fuzz/Cargo.toml")) else {
        return vec!["xtask/tests/fuzz/doors.rs or fuzz/Cargo.toml is gone".into()];
    };
    let quoted = |line: &str| line.split('"').nth(1).map(String::from);
    let listed = |line: &str| line.trim().split_once(" => ").map(|(door, _)| door.to_string());
    let in_doors: Vec<String> = doors.lines().filter(|l| l.contains("::fuzz")).filter_map(listed).collect();
    let in_manifest: Vec<String> = manifest
        .lines()
        .filter(|l| l.starts_with("name = ") && !l.contains("kinglet-fuzz"))
        .filter_map(quoted)
        .collect();
    let mut breaches: Vec<String> = Vec::new();
    for door in in_doors.iter().filter(|d| !in_manifest.contains(d)) {
        breaches.push(format!("fuzz/Cargo.toml has no target {door}"));
    }
    for target in in_manifest.iter().filter(|t| !in_doors.contains(t)) {
        breaches.push(format!("xtask/tests/fuzz/doors.rs has no door {target}"));
    }
    let pairs = doors.lines().filter_map(|l| l.trim().trim_end_matches(',').split_once(" => "));
    for (door, function) in pairs.filter(|(_, function)| function.contains("::fuzz")) {
        let path = format!("fuzz/fuzz_targets/{door}.rs");
        if !text(&path).is_some_and(|target| target.contains(&format!(" {function}("))) {
            breaches.push(format!("{path} does not call {function}"));
        }
    }
    if in_doors.is_empty() {
        breaches.push("no doors are fuzzed".into());
    }
    breaches
}

fn looks_for_recordings(path: &str) -> bool {
    source::is_test(path) || ["/examples/", "bench", "recordings"].iter().any(|part| path.contains(part))
}

fn lengths(project: &Project) -> impl Iterator<Item = (&File, usize)> {
    let ours = |file: &&File| file.path.ends_with(".rs") && !source::is_test(&file.path);
    project.files.iter().filter(ours).map(|file| {
        let code = source::code(&file.text);
        (file, source::without_tests(&code).lines().count())
    })
}

#[cfg(test)]
mod tests {
    use super::super::of;
    use super::*;

    #[test]
    fn length_counts_without_tests() {
        let lines = "x;\n".repeat(601);
        assert_eq!(long(&of("crates/wire/src/a.rs", &lines)).len(), 1);
        assert_eq!(long(&of("crates/wire/tests/a.rs", &lines)).len(), 0);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{lines}}}\n");
        assert_eq!(long(&of("crates/wire/src/a.rs", &tests)).len(), 0);
        assert_eq!(longish(&of("crates/wire/src/a.rs", &"x;\n".repeat(401))).len(), 1);
    }

    #[test]
    fn places_outside_are_seen() {
        let check = |path: &str, text: &str| outside(&of(path, text)).len();
        assert_eq!(check("README.md", concat!("see /wo", "rk/main")), 1);
        assert_eq!(check("crates/train/src/lib.rs", concat!("\"../sha", "red/data\"")), 1);
        assert_eq!(check("crates/train/tests/recordings.rs", concat!("\"../sha", "red/data\"")), 0);
        assert_eq!(check("README.md", "a networked node"), 0);
    }

    #[test]
    fn what_is_left_for_later_is_seen() {
        assert_eq!(later(&of("crates/wire/src/a.rs", concat!("// TO", "DO: all of it"))).len(), 1);
        assert_eq!(later(&of("crates/wire/src/a.rs", "// what is to come")).len(), 0);
    }

    #[test]
    fn doors_and_targets_must_agree() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let project = |doors: &str, manifest: &str| Project {
            metadata: serde_json::Value::Null,
            files: vec![
                file("xtask/tests/fuzz/doors.rs", doors),
                file("fuzz/Cargo.toml", manifest),
                file("fuzz/fuzz_targets/wire_frame.rs", "|bytes| kinglet_wire::fuzz::fuzz_frame(bytes)"),
            ],
        };
        let both = "    wire_frame => kinglet_wire::fuzz::fuzz_frame,\n";
        assert!(fuzz_targets(&project(both, "name = \"wire_frame\"\n")).is_empty());
        assert_eq!(fuzz_targets(&project(both, "")).len(), 1);
        assert_eq!(fuzz_targets(&project(both, "name = \"wire_frame\"\nname = \"x\"\n")).len(), 1);
        let other = "    wire_frame => kinglet_wire::fuzz::fuzz_open,\n";
        assert_eq!(fuzz_targets(&project(other, "name = \"wire_frame\"\n")).len(), 1);
    }
}
