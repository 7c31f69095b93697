//! The real server under faults: kills, power cuts, a full disk, one that cannot be written.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cargo::LONG;
use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::{need, run};

/// Kills at instants of their own, and power cuts.
const ROUNDS: u32 = 200;
const CUTS: u32 = 40;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let binary = release_binary(context)?;
    let dir = context.target().join("faults");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let shim = shim(context, &dir)?;
    let mut cargo = run::cargo(
        context,
        &context.root,
        &["test", "--package", "kinglet-server", "--locked", "--test", "faults", "--", "--nocapture"],
    );
    cargo.env("KINGLET_TEST_BIN", &binary).env("KINGLET_TEST_SHIM", &shim);
    cargo.env("KINGLET_TEST_ROUNDS", ROUNDS.to_string()).env("KINGLET_TEST_CUTS", CUTS.to_string());
    // Mounting is for root; without, the two tests of disks say that they are skipped.
    let disks = need::is_root().then(|| Disks::mount(&dir)).transpose()?;
    if let Some(disks) = &disks {
        cargo.env("KINGLET_TEST_SMALL_DISK", &disks.small).env("KINGLET_TEST_READ_ONLY", &disks.read_only);
    }
    let ran = run::show(context, &mut cargo, LONG)?;
    match counts::libtest(&ran.text) {
        Some(mut tally) if ran.ok || tally.failed > 0 => {
            if disks.is_none() {
                context.say("not root: a full disk and a read-only one were not tried");
                tally.passed = tally.passed.saturating_sub(2);
                tally.skipped += 2;
            }
            Ok(tally)
        }
        _ => Err("the tests of faults did not compile or did not run to their end".into()),
    }
}

fn shim(context: &Context, dir: &Path) -> Result<PathBuf> {
    let (source, shim) =
        (context.root.join("crates/server/tests/faults/unsynced.c"), dir.join("unsynced.so"));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o"])
        .arg(&shim)
        .arg(&source);
    if !run::show(context, &mut cc, MINUTE)?.ok {
        return Err("the shim does not compile".into());
    }
    Ok(shim)
}

/// Two file systems in memory; unmounted when dropped.
struct Disks {
    small: PathBuf,
    read_only: PathBuf,
}

impl Disks {
    fn mount(dir: &Path) -> Result<Self> {
        let disks = Self { small: dir.join("small"), read_only: dir.join("read-only") };
        // Left by a run that was killed, they would be full or in the way.
        disks.unmount();
        for (place, options) in [(&disks.small, "size=24m"), (&disks.read_only, "size=1m,ro")] {
            std::fs::create_dir_all(place).map_err(|e| format!("{}: {e}", place.display()))?;
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", options, "kinglet-faults"]).arg(place);
            if !run::quiet(&mut mount, MINUTE)?.ok {
                return Err(format!("{} cannot be mounted", place.display()));
            }
        }
        Ok(disks)
    }

    fn unmount(&self) {
        for place in [&self.small, &self.read_only] {
            // Not mounted is as good.
            let _ = run::quiet(Command::new("umount").arg(place), MINUTE);
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.unmount();
    }
}
