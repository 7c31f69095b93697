//! What every stage is told.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::Result;

/// Choices of the person or machine that called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Fetch what a stage needs.
    pub(crate) install: bool,
    /// A stage that cannot run is a failure.
    pub(crate) ci: bool,
    /// Results as JSON on stdout, everything else on stderr.
    pub(crate) json: bool,
    /// Shared by all fuzz functions.
    pub(crate) fuzz_seconds: u32,
}

impl Options {
    /// Defaults, as the environment bends them: `CI=true` installs and forgives nothing.
    pub(crate) fn from_env() -> Self {
        let ci = std::env::var("CI").is_ok_and(|v| v == "true" || v == "1");
        Self { install: ci, ci, json: false, fuzz_seconds: 30 }
    }
}

/// Where we are and how to behave.
pub(crate) struct Context {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// As typed.
    pub(crate) options: Options,
    /// Colours may be used.
    pub(crate) colour: bool,
}

impl Context {
    /// Finds the workspace.
    pub(crate) fn new(options: Options) -> Result<Self> {
        // Under `cargo xtask` the variable is set; a copied binary falls back on where it was compiled.
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(here).parent().map(PathBuf::from).unwrap_or_default();
        if !root.join("xtask/Cargo.toml").is_file() {
            return Err(format!("{} is not the workspace: run cargo xtask inside it", root.display()));
        }
        let terminal =
            if options.json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Ok(Self { root, options, colour })
    }

    /// The one target folder, shared by the workspaces beside the main one.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("target"),
        }
    }

    /// A line for a person.
    pub(crate) fn say(&self, line: &str) {
        if self.options.json { eprintln!("{line}") } else { println!("{line}") }
    }

    /// `text` in an ANSI style, where colours are.
    pub(crate) fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}
