//! Rules about what is not there: who may use whom, where no float, no IO, no printing is.
//!
//! Each wall is a function from the project to its breaches. An exception in the code carries its reason in
//! a comment on the same line or the one above: `// wall NAME: reason`.

mod graph;
mod manifest;
mod scan;
mod text;

use serde_json::Value;

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run;
use crate::source::{self, File};

/// What the walls look at.
pub(crate) struct Project {
    /// `cargo metadata`, dependencies resolved, all features.
    pub(crate) metadata: Value,
    pub(crate) files: Vec<File>,
}

/// One rule.
pub(crate) struct Wall {
    pub(crate) name: &'static str,
    breaches: fn(&Project) -> Vec<String>,
}

/// All of them.
pub(crate) const WALLS: &[Wall] = &[
    Wall { name: "edges between our crates", breaches: graph::edges },
    Wall { name: "dependencies from the registry only", breaches: graph::sources },
    Wall { name: "every crate is described and licensed", breaches: graph::described },
    Wall { name: "no_std declared", breaches: manifest::no_std },
    Wall { name: "no unsafe code", breaches: manifest::forbids_unsafe },
    Wall { name: "workspace lints everywhere", breaches: manifest::lints },
    Wall { name: "no float on the coding path", breaches: scan::float },
    Wall { name: "no IO below server and cli", breaches: scan::io },
    Wall { name: "only cli and xtask print and exit", breaches: scan::print },
    Wall { name: "ignored tests say why", breaches: scan::ignored },
    Wall { name: "nothing is left for later", breaches: text::later },
    Wall { name: "small files", breaches: text::long },
    Wall { name: "the project depends on nothing outside", breaches: text::outside },
    Wall { name: "every fuzz function has its libFuzzer target", breaches: text::fuzz_targets },
];

/// The project as it lies there.
pub(crate) fn project(context: &Context) -> Result<Project> {
    let mut cargo = run::cargo(
        context,
        &context.root,
        &["metadata", "--format-version", "1", "--all-features", "--locked"],
    );
    let metadata = serde_json::from_str(&run::stdout(&mut cargo)?)
        .map_err(|e| format!("cargo metadata printed something else: {e}"))?;
    Ok(Project { metadata, files: source::files(&context.root)? })
}

/// Runs every wall and says what breaks it.
pub(crate) fn stage(context: &Context) -> Result<Tally> {
    let project = project(context)?;
    let mut tally = Tally::default();
    for wall in WALLS {
        let breaches = (wall.breaches)(&project);
        tally.add(Tally::one(breaches.is_empty()));
        let mark =
            if breaches.is_empty() { context.paint("32", "ok") } else { context.paint("31", "BREACH") };
        context.say(&format!("{mark} {}", wall.name));
        for breach in breaches {
            context.say(&format!("   {breach}"));
        }
    }
    for note in text::longish(&project) {
        context.say(&format!("note: {note}"));
    }
    Ok(tally)
}

/// Every place in `file` that `finds` points at, unless a comment excuses it, as `path:line: what`.
fn places(file: &File, wall: &str, finds: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let code = source::code(&file.text);
    let code = source::without_tests(&code);
    let lines: Vec<&str> = file.text.lines().collect();
    let excuse = format!("// wall {wall}: ");
    let excused = |idx: usize| {
        let above = idx.checked_sub(1).map_or("", |i| lines[i]);
        lines[idx].contains(&excuse) || above.trim_start().starts_with(&excuse)
    };
    let found = code.lines().enumerate().filter_map(|(idx, line)| Some((idx, finds(line)?)));
    found
        .filter(|(idx, _)| !excused(*idx))
        .map(|(idx, what)| format!("{}:{}: {what}", file.path, idx + 1))
        .collect()
}

/// A project made of one file, for the tests of a wall.
#[cfg(test)]
fn of(path: &str, text: &str) -> Project {
    Project { metadata: Value::Null, files: vec![File { path: path.into(), text: text.into() }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walls_stand() {
        let options = crate::context::Options { install: false, ci: false, json: false, fuzz_seconds: 1 };
        let context = Context::new(options).expect("inside the workspace");
        let project = project(&context).expect("cargo metadata and the tree can be read");
        for wall in WALLS {
            let breaches = (wall.breaches)(&project);
            assert!(breaches.is_empty(), "{}:\n{}", wall.name, breaches.join("\n"));
        }
    }
}
