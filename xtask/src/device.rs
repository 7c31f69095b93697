//! Programs for bare chips: built from `firmware/qemu`, run in QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use object::{Object, ObjectSymbol};

use crate::Result;
use crate::context::Context;
use crate::run::{self, Ran};
use crate::stages::{M4, RV32};

/// A chip we have an emulator for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chip {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    /// The emulator and what makes it this chip. `-icount` ties virtual time to instructions, so that counts
    /// are the same on every run and machine; `firmware/qemu/src/chip` knows the ratio.
    qemu: &'static [&'static str],
}

pub(crate) const CHIPS: &[Chip] = &[
    Chip {
        name: "rv32imc",
        target: RV32,
        qemu: &[
            "qemu-system-riscv32",
            "-machine",
            "virt",
            "-cpu",
            "rv32,a=false,f=false,d=false",
            "-m",
            "8M",
            "-bios",
            "none",
            "-icount",
            "shift=0",
        ],
    },
    Chip {
        name: "cortex-m4",
        target: M4,
        qemu: &["qemu-system-arm", "-machine", "mps2-an386", "-icount", "shift=6"],
    },
];

/// Builds one program and says where it lies.
pub(crate) fn build(context: &Context, chip: Chip, profile: &str, bin: &str) -> Result<PathBuf> {
    build_with(context, chip, profile, bin, "", &[])
}

/// The same with flags for the compiler and for Cargo.
pub(crate) fn build_with(
    context: &Context,
    chip: Chip,
    profile: &str,
    bin: &str,
    flags: &str,
    more: &[&str],
) -> Result<PathBuf> {
    let args = ["build", "--locked", "--profile", profile, "--bin", bin, "--target", chip.target];
    let mut cargo = run::cargo(context, &context.root.join("firmware/qemu"), &[&args[..], more].concat());
    if !flags.is_empty() {
        cargo.env("RUSTFLAGS", flags);
    }
    if !run::show(context, &mut cargo, Duration::from_secs(1800))?.ok {
        return Err(format!("{bin} does not build for {}", chip.target));
    }
    Ok(context.target().join(chip.target).join(profile).join(bin))
}

/// Runs a program to its own end; its exit code is the emulator's.
pub(crate) fn emulate(context: &Context, chip: Chip, program: &Path) -> Result<Ran> {
    let mut qemu = Command::new(chip.qemu[0]);
    qemu.args(&chip.qemu[1..]);
    qemu.args(["-nographic", "-monitor", "none", "-serial", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(program);
    run::show(context, &mut qemu, Duration::from_secs(600))
}

/// Names of a linked program's functions and statics.
pub(crate) fn symbols(program: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(program).map_err(|e| format!("{}: {e}", program.display()))?;
    let file = object::File::parse(&*bytes).map_err(|e| format!("{}: {e}", program.display()))?;
    let names: Vec<String> = file.symbols().filter_map(|s| s.name().ok()).map(String::from).collect();
    // Without names nothing could be found, whatever is in there.
    if names.iter().any(|n| n == "main") {
        Ok(names)
    } else {
        Err(format!("{} has no symbols", program.display()))
    }
}
