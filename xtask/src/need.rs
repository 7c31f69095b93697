//! What a stage wants to find on the machine, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::context::Context;
use crate::run;

/// One thing a stage cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// A program, and the Debian package that brings it.
    Program { name: &'static str, package: &'static str },
    /// A file, and the Debian package that brings it.
    File { path: &'static str, package: &'static str },
    /// A PostgreSQL server's programs; Debian keeps them off the path.
    Postgres,
    /// A target of the Rust toolchain.
    Target(&'static str),
    /// A Python that can make virtual environments.
    Python,
    /// A Python package, known by the module it brings; kept in a virtual environment under `target`.
    Wheel { package: &'static str, module: &'static str },
    /// A crate whose sources a stage compiles itself; nothing of the project depends on it.
    Sources { package: &'static str, version: &'static str },
    /// A component of the Rust toolchain, known by the program it brings.
    Component { name: &'static str, program: &'static str },
}

impl Need {
    fn is_met(self, context: &Context) -> bool {
        let imports = |python: &std::ffi::OsStr, modules: &str| {
            let mut import = Command::new(python);
            run::quiet(import.args(["-c", &format!("import {modules}")]), Duration::from_secs(60))
                .is_ok_and(|r| r.ok)
        };
        match self {
            Need::Python => imports("python3".as_ref(), "venv, ensurepip"),
            Need::Wheel { module, .. } => imports(python(context).as_os_str(), module),
            Need::Program { name, .. } => run::on_path(name),
            Need::Postgres => crate::stages::postgres::bin().is_some(),
            Need::File { path, .. } => Path::new(path).exists(),
            Need::Sources { package, version } => sources(context, package, version).is_ok(),
            Need::Component { program, .. } => {
                let mut version = Command::new(program);
                run::quiet(version.arg("--version"), Duration::from_secs(60)).is_ok_and(|r| r.ok)
            }
            Need::Target(triple) => {
                let sysroot = run::stdout(Command::new("rustc").args(["--print", "sysroot"]));
                sysroot.is_ok_and(|s| Path::new(s.trim()).join("lib/rustlib").join(triple).is_dir())
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Need::Program { name, .. } => name,
            Need::File { path, .. } => path,
            Need::Postgres => "PostgreSQL server",
            Need::Python => "python3 with venv",
            Need::Wheel { package, .. } | Need::Sources { package, .. } => package,
            Need::Target(name) | Need::Component { name, .. } => name,
        }
    }

    fn package(self) -> Option<&'static str> {
        match self {
            Need::Program { package, .. } | Need::File { package, .. } => Some(package),
            Need::Postgres => Some("postgresql"),
            Need::Python => Some("python3-venv"),
            Need::Target(_) | Need::Component { .. } | Need::Wheel { .. } | Need::Sources { .. } => None,
        }
    }
}

/// Meets the needs if it may; otherwise says what is missing and the commands that bring it.
pub(crate) fn meet(context: &Context, needs: &[Need]) -> Result<()> {
    let mut missing = open(context, needs);
    if missing.is_empty() {
        return Ok(());
    }
    let mut trouble = String::new();
    if context.options.install {
        for command in commands(context, &missing) {
            if let Err(why) = install(context, &command) {
                trouble.push_str(&format!("\n  {why}"));
            }
        }
        missing = open(context, &missing);
        if missing.is_empty() {
            return Ok(());
        }
    }
    let names: Vec<_> = missing.iter().map(|n| n.name()).collect();
    let how: Vec<_> = commands(context, &missing).iter().map(|c| format!("\n  {}", c.join(" "))).collect();
    Err(format!("missing: {}; to get it:{}{trouble}", names.join(", "), how.concat()))
}

/// The Python of our own virtual environment.
pub(crate) fn python(context: &Context) -> PathBuf {
    context.target().join("venv/bin/python")
}

/// Where cargo has unpacked a crate that was fetched: the dependency of a package that is never built.
pub(crate) fn sources(context: &Context, package: &str, version: &str) -> Result<PathBuf> {
    let manifest = sources_manifest(context, package);
    let dir = manifest.with_file_name("src");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let text = format!(
        "[package]\nname = \"sources\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{package} = \"={version}\"\n"
    );
    for (path, text) in [(&manifest, text.as_str()), (&dir.join("lib.rs"), "")] {
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let args = ["metadata", "--offline", "--format-version", "1"];
    let mut metadata = run::cargo(context, manifest.parent().unwrap_or(&dir), &args);
    let said = metadata.output().map_err(|e| format!("cargo metadata: {e}"))?;
    let parsed: Value =
        serde_json::from_slice(&said.stdout).map_err(|_| format!("{package} {version} was not fetched"))?;
    let mut packages = parsed["packages"].as_array().into_iter().flatten();
    let found = packages.find(|p| p["name"] == package).and_then(|p| p["manifest_path"].as_str());
    let found = found.and_then(|path| Path::new(path).parent()).filter(|dir| dir.is_dir());
    found.map(Path::to_path_buf).ok_or_else(|| format!("cargo does not say where {package} is"))
}

fn sources_manifest(context: &Context, package: &str) -> PathBuf {
    context.target().join("sources").join(package).join("Cargo.toml")
}

fn open(context: &Context, needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|n| !n.is_met(context)).collect()
}

/// What brings them, in the order it has to run.
fn commands(context: &Context, missing: &[Need]) -> Vec<Vec<String>> {
    let words = |line: &[&str]| line.iter().map(|w| (*w).to_string()).collect::<Vec<_>>();
    let mut all = Vec::new();
    let mut packages: Vec<_> = missing.iter().filter_map(|n| n.package()).collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        all.push(words(
            &[&["apt-get", "install", "--yes", "--no-install-recommends"], &packages[..]].concat(),
        ));
    }
    let mut wheels = Vec::new();
    for need in missing {
        match *need {
            Need::Target(triple) => all.push(words(&["rustup", "target", "add", triple])),
            Need::Component { name, .. } => all.push(words(&["rustup", "component", "add", name])),
            Need::Wheel { package, .. } => wheels.push(package),
            Need::Sources { package, .. } => {
                let manifest = sources_manifest(context, package).display().to_string();
                all.push(words(&["cargo", "fetch", "--manifest-path", &manifest]));
            }
            Need::Program { .. } | Need::File { .. } | Need::Python | Need::Postgres => {}
        }
    }
    if !wheels.is_empty() {
        let venv = context.target().join("venv").display().to_string();
        all.push(words(&["python3", "-m", "venv", &venv]));
        let python = python(context).display().to_string();
        all.push(words(
            &[&[python.as_str(), "-m", "pip", "install", "--disable-pip-version-check"], &wheels[..]]
                .concat(),
        ));
    }
    all
}

fn install(context: &Context, words: &[String]) -> Result<()> {
    if words[0] == "apt-get" {
        static UPDATED: OnceLock<Result<()>> = OnceLock::new();
        let updated = UPDATED.get_or_init(|| apt(context, &["update"]));
        // A stale index may still do; the install below says if it does not.
        if let Err(why) = updated {
            context.say(why);
        }
        return apt(context, &words[1..]);
    }
    fetch(context, Command::new(&words[0]).args(&words[1..]))
}

fn apt<S: AsRef<str>>(context: &Context, args: &[S]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    if !is_root() {
        return Err(format!("not root, so this is yours to run: sudo apt-get {}", args.join(" ")));
    }
    fetch(
        context,
        Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=600"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Networks hiccup: three tries with a pause.
fn fetch(context: &Context, command: &mut Command) -> Result<()> {
    for pause_s in [5, 20, 0] {
        if run::show(context, command, Duration::from_secs(900))?.ok {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(pause_s));
    }
    Err(format!("{} failed three times", run::line_of(command)))
}

pub(crate) fn is_root() -> bool {
    run::stdout(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let needs = [
            Need::Program { name: "no-such-program", package: "no-such-package" },
            Need::Target("no-such-target"),
            Need::Program { name: "sh", package: "dash" },
            Need::Wheel { package: "no-such-wheel", module: "no_such_module" },
        ];
        let options = crate::context::Options { install: false, ci: false, json: false, fuzz_seconds: 1 };
        let context = Context::new(options).expect("inside the workspace");
        let why = meet(&context, &needs).expect_err("nobody has these");
        assert!(why.contains("apt-get install --yes --no-install-recommends no-such-package"), "{why}");
        assert!(why.contains("rustup target add no-such-target"), "{why}");
        assert!(why.contains("pip install --disable-pip-version-check no-such-wheel"), "{why}");
        assert!(!why.contains("dash"), "{why}");
    }
}
