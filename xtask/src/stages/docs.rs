//! Documents: rustdoc without a warning, links that lead somewhere, specs read against the code they describe.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run;
use crate::source::{self, File};

/// Which code each spec describes. A spec carries the hash of that code as it was when someone last read
/// both; a change to the code breaks the stage until someone has looked again and runs `docs --bless`.
const SPECS: &[(&str, &[&str])] = &[
    ("spec/codec.md", &["crates/codec/src/"]),
    ("spec/seed.md", &["crates/codec/src/seed"]),
    ("spec/bundle.md", &["crates/codec/src/bundle", "crates/codec/src/model.rs"]),
    ("spec/wire.md", &["crates/wire/src/"]),
    ("spec/mqtt.md", &["crates/server/src/mqtt/"]),
];

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let mut tally = rustdoc(context)?;
    let files = source::files(&context.root)?;
    let known: BTreeSet<&str> = files.iter().map(|f| f.path.as_str()).collect();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        let dead = dead_links(context, file, &known);
        tally.add(Tally::one(dead.is_empty()));
        for link in dead {
            context.say(&format!("{}: dead link {link}", file.path));
        }
    }
    for (spec, paths) in SPECS {
        let trouble = stale(&files, spec, paths);
        tally.add(Tally::one(trouble.is_none()));
        if let Some(trouble) = trouble {
            context.say(&trouble);
        }
    }
    let same = ci_runs_what_the_readme_says(&files);
    tally.add(Tally::one(same.is_ok()));
    if let Err(why) = same {
        context.say(&why);
    }
    Ok(tally)
}

/// Writes the present hashes into the specs: someone has read both.
pub(crate) fn bless(context: &Context) -> Result<bool> {
    let files = source::files(&context.root)?;
    for (spec, paths) in SPECS {
        let Some(file) = files.iter().find(|f| f.path == *spec) else {
            context.say(&format!("{spec} does not exist yet"));
            continue;
        };
        let kept: Vec<&str> = file.text.lines().filter(|l| !l.starts_with(MARK)).collect();
        let text = format!("{}\n\n{}\n", kept.join("\n").trim_end(), mark(&files, paths));
        if text != file.text {
            std::fs::write(context.root.join(spec), text).map_err(|e| format!("{spec}: {e}"))?;
            context.say(&format!("{spec} now answers for {}", paths.join(", ")));
        }
    }
    Ok(true)
}

const MARK: &str = "<!-- read against ";

fn mark(files: &[File], paths: &[&str]) -> String {
    format!("{MARK}{} at {} -->", paths.join(", "), hash(files, paths))
}

fn stale(files: &[File], spec: &str, paths: &[&str]) -> Option<String> {
    let Some(file) = files.iter().find(|f| f.path == spec) else {
        return Some(format!("{spec} does not exist"));
    };
    let want = mark(files, paths);
    if file.text.lines().any(|l| l == want) {
        return None;
    }
    Some(format!(
        "{} changed since {spec} was last read against it: read both, then cargo xtask docs --bless",
        paths.join(", ")
    ))
}

/// Parts of those that say nothing about bytes.
const ASIDE: &[&str] = &["/fuzz.rs", "/learn.rs", "/learn/"];

/// True if `spec` answers for `path`: of the specs that name it, the one that names it most closely.
fn answers(paths: &[&str], path: &str) -> bool {
    let closest = |of: &[&str]| of.iter().filter(|p| path.starts_with(**p)).map(|p| p.len()).max();
    closest(paths).is_some() && closest(paths) >= SPECS.iter().filter_map(|(_, of)| closest(of)).max()
}

/// Of the code alone: neither comments, tests nor layout make a spec stale.
fn hash(files: &[File], paths: &[&str]) -> String {
    let mut sha = Sha256::new();
    let of = |f: &&File| {
        f.path.ends_with(".rs")
            && !source::is_test(&f.path)
            && !ASIDE.iter().any(|aside| f.path.contains(aside))
            && answers(paths, &f.path)
    };
    for file in files.iter().filter(of) {
        let code = source::code(&file.text);
        for word in source::without_tests(&code).split_whitespace() {
            sha.update(word.trim_end_matches(','));
        }
    }
    sha.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn rustdoc(context: &Context) -> Result<Tally> {
    let args = ["doc", "--workspace", "--all-features", "--no-deps", "--locked", "--keep-going"];
    let mut cargo = run::cargo(context, &context.root, &args);
    let ran = run::show(context, cargo.env("RUSTDOCFLAGS", "-D warnings"), Duration::from_secs(3600))?;
    Ok(Tally::one(ran.ok))
}

/// `.ci/run` is the README's command and nothing else.
fn ci_runs_what_the_readme_says(files: &[File]) -> Result<()> {
    let command = "cargo xtask test --install";
    let text = |path: &str| files.iter().find(|f| f.path == path).map_or("", |f| f.text.as_str());
    if !text("README.md").contains(command) {
        return Err(format!("README.md does not name {command}"));
    }
    let runs: Vec<&str> = text(".ci/run").lines().filter(|l| l.contains("cargo")).collect();
    if runs != [format!("exec {command}")] {
        return Err(format!(".ci/run must run {command} and no other cargo"));
    }
    Ok(())
}

/// Links into the tree whose file or heading is not there.
fn dead_links(context: &Context, file: &File, known: &BTreeSet<&str>) -> Vec<String> {
    let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut dead = Vec::new();
    for link in links(&file.text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = link.split_once('#').unwrap_or((link.as_str(), ""));
        let to = if path.is_empty() { file.path.clone() } else { join(dir, path) };
        let is_dir = known.iter().any(|k| k.starts_with(&format!("{to}/")));
        let there = known.contains(to.as_str()) || is_dir || context.root.join(&to).is_file();
        let text = || std::fs::read_to_string(context.root.join(&to)).unwrap_or_default();
        if !there || (!heading.is_empty() && to.ends_with(".md") && !headings(&text()).contains(heading)) {
            dead.push(link);
        }
    }
    dead
}

/// Targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let mut rest = prose.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            found.extend(rest[..end].split_whitespace().next().map(String::from));
            rest = &rest[end..];
        }
    }
    found
}

/// Anchors as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|l| l.starts_with('#')).map(|l| l.trim_start_matches('#').trim());
    titles
        .map(|title| {
            let kept = title
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .collect::<String>();
            kept.replace(' ', "-")
        })
        .collect()
}

fn join(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "a [b](c.md) `[x](y)` [d](e.md#f \"title\")\n```\n[g](h)\n```\n[i](j)";
        assert_eq!(links(text), ["c.md", "e.md#f", "j"]);
    }

    #[test]
    fn anchors_are_githubs() {
        assert!(headings("## What it's *not*: a list\n").contains("what-its-not-a-list"));
    }

    #[test]
    fn paths_join() {
        assert_eq!(join("docs/a", "../b.md"), "docs/b.md");
        assert_eq!(join("", "./spec/wire.md"), "spec/wire.md");
    }

    #[test]
    fn a_spec_goes_stale_with_its_code_and_not_with_a_comment() {
        let code = |text: &str| file("crates/wire/src/frame.rs", text);
        let paths = &["crates/wire/src/"][..];
        let blessed = mark(&[code("fn a() {}\n")], paths);
        let check = |text: &str| {
            stale(&[code(text), file("spec/wire.md", &format!("x\n{blessed}\n"))], "spec/wire.md", paths)
        };
        assert_eq!(check("fn a() {}\n"), None);
        assert_eq!(check("// why\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), None);
        assert!(check("fn b() {}\n").is_some());
    }
}
