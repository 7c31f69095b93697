//! Puts the chip's memory map where the linker looks, and the golden vectors where the compiler does.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let map = match arch.as_str() {
        "riscv32" => "memory-riscv32.x",
        "arm" => "memory-arm.x",
        other => panic!(
            "no memory map for {other}: build with --target riscv32imc-unknown-none-elf or thumbv7em-none-eabihf"
        ),
    };
    fs::copy(map, out.join("memory.x")).expect("the memory map can be copied");
    println!("cargo:rustc-link-search={}", out.display());
    if arch == "riscv32" {
        println!("cargo:rustc-link-arg=-Tmemory.x");
    } else {
        println!("cargo:rustc-link-arg=--nmagic");
    }
    println!("cargo:rustc-link-arg=-Tlink.x");
    println!("cargo:rerun-if-changed={map}");
}
