//! The fuzz functions on stable: `tests/fuzz` does the work.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::run;

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let seconds = context.options.fuzz_seconds;
    let mut cargo = run::cargo(context, &context.root, &[TEST, &["--nocapture"]].concat());
    cargo.env("KINGLET_FUZZ_MS", (u64::from(seconds) * 1000).to_string());
    let ran = run::show(context, &mut cargo, Duration::from_secs(3600 + u64::from(seconds)))?;
    match counts::libtest(&ran.text) {
        Some(tally) if ran.ok || tally.failed > 0 => Ok(tally),
        // A stack overflow, an abort or the watchdog took the process down.
        _ => Err(format!("fuzzing did not come to its end{}", left_over(context))),
    }
}

/// Feeds one kept input to one door.
pub(crate) fn replay(context: &Context, door: &str, file: &str) -> Result<bool> {
    let file = Path::new(file).canonicalize().map_err(|e| format!("{file}: {e}"))?;
    let name = format!("doors::{door}");
    let mut cargo = run::cargo(context, &context.root, &[TEST, &["--nocapture", "--exact", &name]].concat());
    let ran = run::show(context, cargo.env("KINGLET_FUZZ_REPLAY", &file), Duration::from_secs(3600))?;
    if counts::libtest(&ran.text).is_some_and(|t| t == Tally::default()) {
        return Err(format!("no door is called {door:?}: xtask/tests/fuzz/doors.rs lists them"));
    }
    Ok(ran.ok)
}

const TEST: &[&str] = &["test", "--workspace", "--all-features", "--locked", "--test", "fuzz", "--"];

fn left_over(context: &Context) -> String {
    let entries = std::fs::read_dir(context.target().join("fuzz-crashes")).into_iter().flatten().flatten();
    let inputs = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "current"));
    inputs
        .map(|path| {
            let door = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            format!("\n  perhaps: cargo xtask fuzz --replay {door} {}", path.display())
        })
        .collect()
}
