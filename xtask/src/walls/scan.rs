//! Walls on the code itself: words that must not occur in certain places.

use super::{Project, places};
use crate::source::{self, File};

/// Paths and macros that reach outside the process.
const IO: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "SystemTime::now",
    "Instant::now",
    "thread::sleep",
    "include_dir!",
];
const PRINT: &[&str] =
    &["print!", "println!", "eprint!", "eprintln!", "dbg!", "process::exit", "process::abort"];

/// The codec's bytes are made by integers alone: no float type, literal or cast in what a device compiles.
/// What only the host compiles (the bundle file, learning) is behind a feature and may use them. The `device`
/// stage looks for the same thing in the linked program.
pub(super) fn float(project: &Project) -> Vec<String> {
    let codec = || {
        project.files.iter().filter(|file| {
            file.path.starts_with("crates/codec/src/")
                && file.path.ends_with(".rs")
                && !source::is_test(&file.path)
        })
    };
    let host: Vec<String> = codec().flat_map(host_modules).collect();
    let on_path = |file: &&File| !host.iter().any(|stem| is_module(&file.path, stem));
    let find = |line: &str| float_word(line).map(|word| format!("float: {word}"));
    codec()
        .filter(on_path)
        .flat_map(|file| {
            let device = File { path: file.path.clone(), text: without_host_items(&file.text) };
            places(&device, "float", find)
        })
        .collect()
}

/// True for the attribute of an item that only the host compiles: a device takes no feature.
fn is_host_mark(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("#[cfg(") && line.contains("feature = \"") && !line.contains("not(")
}

/// Paths without `.rs` of the modules a file declares for the host only.
fn host_modules(file: &File) -> Vec<String> {
    let dir = match file.path.strip_suffix("/lib.rs").or(file.path.strip_suffix("/mod.rs")) {
        Some(dir) => dir,
        None => file.path.trim_end_matches(".rs"),
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| is_host_mark(pair[0])).filter_map(|pair| {
        let declaration = pair[1].strip_suffix(';')?;
        declaration.rsplit_once("mod ").map(|(_, name)| format!("{dir}/{name}"))
    });
    declared.collect()
}

fn is_module(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// `text` with the items that only the host compiles blanked, lines kept.
fn without_host_items(text: &str) -> String {
    let code = source::code(text);
    let mut depth = None::<usize>;
    let mut out = String::with_capacity(text.len());
    for (line, code) in text.lines().zip(code.lines()) {
        if depth.is_none() && is_host_mark(line) {
            depth = Some(0);
            out.push('\n');
            continue;
        }
        match depth {
            None => out.push_str(line),
            Some(before) => {
                let after = (before + code.matches(['(', '[', '{']).count())
                    .saturating_sub(code.matches([')', ']', '}']).count());
                // An item ends with its last brace or, outside of any bracket, with a semicolon or comma.
                let ended = after == 0 && code.trim_end().ends_with(['}', ';', ',']);
                depth = (!ended).then_some(after);
            }
        }
        out.push('\n');
    }
    out
}

/// `codec`, `wire`, `node` and `train` touch no file, socket, clock or environment: these are arguments.
pub(super) fn io(project: &Project) -> Vec<String> {
    let find = |line: &str| words(line, IO).map(|word| format!("IO: {word}"));
    sources_of(project, &["codec", "wire", "node", "train"])
        .flat_map(|file| places(file, "io", find))
        .collect()
}

/// Libraries return; only `cli` prints and exits.
pub(super) fn print(project: &Project) -> Vec<String> {
    let find = |line: &str| words(line, PRINT).map(|word| format!("prints or exits: {word}"));
    sources_of(project, &["codec", "wire", "node", "train", "server"])
        .flat_map(|file| places(file, "print", find))
        .collect()
}

/// A test that does not run must say why, or it is a test that cannot fail.
pub(super) fn ignored(project: &Project) -> Vec<String> {
    // Spelled in two parts so that this line is not one.
    let bare = concat!("#[ign", "ore]");
    let rust = project.files.iter().filter(|f| f.path.ends_with(".rs"));
    rust.flat_map(|file| {
        let lines = file.text.lines().enumerate().filter(|(_, line)| line.trim() == bare);
        lines
            .map(|(idx, _)| format!("{}:{}: ignored without a reason", file.path, idx + 1))
            .collect::<Vec<_>>()
    })
    .collect()
}

fn sources_of<'a>(project: &'a Project, crates: &'a [&str]) -> impl Iterator<Item = &'a File> {
    project.files.iter().filter(|file| {
        let src = file.path.strip_prefix("crates/").and_then(|p| p.split_once("/src/"));
        src.is_some_and(|(of, rest)| crates.contains(&of) && rest.ends_with(".rs"))
            && !source::is_test(&file.path)
    })
}

fn words<'a>(line: &str, of: &[&'a str]) -> Option<&'a str> {
    of.iter().copied().find(|word| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

/// The first float type or literal of a line of code.
fn float_word(line: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = ' ';
    let mut rest = line;
    while let Some(start) = rest.find(is_word) {
        if start > 0 {
            before = rest[..start].chars().next_back().unwrap_or(' ');
        }
        let word = &rest[start..];
        let len = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (token, after) = word.split_at(len);
        let number = token.starts_with(|c: char| c.is_ascii_digit());
        // `1.5` and `1.` but neither `0..n` nor `x.0.1` nor `1.max(2)`.
        let decimal = number
            && before != '.'
            && after.starts_with('.')
            && !after.starts_with("..")
            && !after[1..].starts_with(|c: char| c.is_alphabetic() || c == '_');
        let exponent =
            number && !token.starts_with("0x") && token.contains(['e', 'E']) && !token.contains(['u', 'i']);
        let typed = matches!(token, "f16" | "f32" | "f64" | "f128")
            || (number && !token.starts_with("0x") && token.contains('f'));
        if decimal || exponent || typed {
            return Some(token.into());
        }
        before = token.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::of;
    use super::*;

    #[test]
    fn floats_are_seen() {
        for line in [
            "x as f32",
            "let x: f64 = y;",
            "1.5",
            "let x = 2.;",
            "1e-3",
            "0.0f32",
            "3f64",
            "f32::MAX",
            "[f32; 3]",
        ] {
            assert!(float_word(line).is_some(), "{line}");
        }
    }

    #[test]
    fn integers_are_left_alone() {
        let lines = [
            "0..n",
            "x.0.1",
            "1.max(2)",
            "0xfe",
            "0x1f32",
            "let leaf32 = 1_u32;",
            "1usize",
            "buf64",
            "(a.0).1",
            "1_000",
        ];
        for line in lines {
            assert_eq!(float_word(line), None, "{line}");
        }
    }

    #[test]
    fn the_float_wall_has_its_bounds_and_its_excuse() {
        let check = |path: &str, text: &str| float(&of(path, text)).len();
        assert_eq!(check("crates/codec/src/rans.rs", "let p: f32 = x;"), 1);
        assert_eq!(check("crates/codec/src/rans.rs", "let p = x; // f32 would drift"), 0);
        let host = "#[cfg(feature = \"bundle\")]\npub fn emit(\n  w: &[f64],\n) {\n  if a { b }\n  1.5\n}\n";
        assert_eq!(check("crates/codec/src/freq.rs", host), 0);
        assert_eq!(check("crates/codec/src/freq.rs", &format!("{host}let p: f32 = x;")), 1);
        assert_eq!(check("crates/train/src/net.rs", "let p: f32 = x;"), 0);
        assert_eq!(
            check("crates/codec/src/grid.rs", "let p: f64 = x; // wall float: shown to people only"),
            0
        );
        assert_eq!(
            check("crates/codec/src/grid.rs", "// wall float: shown to people only\nlet p: f64 = x;"),
            0
        );
        assert_eq!(
            check("crates/codec/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n let p: f64 = 1.0;\n}"),
            0
        );
    }

    #[test]
    fn modules_of_the_host_are_left_alone() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let lib = "#[cfg(any(test, feature = \"bundle\"))]\npub mod learn;\n#[cfg(not(feature = \"a\"))]\nmod learned;\n";
        let project = Project {
            metadata: serde_json::Value::Null,
            files: vec![
                file("crates/codec/src/lib.rs", lib),
                file("crates/codec/src/learn.rs", "let p: f32 = x;"),
                file("crates/codec/src/learn/tables.rs", "let p: f32 = x;"),
                file("crates/codec/src/learned.rs", "let p: f32 = x;"),
            ],
        };
        assert_eq!(float(&project), ["crates/codec/src/learned.rs:1: float: f32"]);
    }

    #[test]
    fn io_and_printing_are_seen() {
        assert_eq!(io(&of("crates/node/src/clock.rs", "let now = std::time::Instant::now();")).len(), 1);
        assert_eq!(io(&of("crates/node/src/clock.rs", "fn now(now: Instant) {}")).len(), 0);
        assert_eq!(io(&of("crates/server/src/lib.rs", "std::fs::read(p)")).len(), 0);
        assert_eq!(print(&of("crates/server/src/a.rs", "println!(\"x\")")).len(), 1);
        assert_eq!(print(&of("crates/cli/src/main.rs", "println!(\"x\")")).len(), 0);
        assert_eq!(print(&of("crates/wire/tests/a.rs", "println!(\"x\")")).len(), 0);
    }
}
