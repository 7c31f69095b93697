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
    fs::write(out.join("codec_vectors.rs"), codec_vectors()).expect("the list of vectors can be written");
}

/// Every folder of `vectors/codec` as `(name, model, cases, refusals)`.
fn codec_vectors() -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/codec");
    println!("cargo:rerun-if-changed={}", dir.display());
    let mut folders: Vec<PathBuf> = fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("model.bin").is_file())
        .collect();
    folders.sort();
    let mut text = String::from("[\n");
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = |file: &str| format!("include_bytes!({:?})", folder.join(file).display().to_string());
        let (model, cases, refusals) = (bytes("model.bin"), bytes("cases.bin"), bytes("refusals.bin"));
        text.push_str(&format!("({name:?}, {model}, {cases}, {refusals}),\n"));
    }
    text + "]"
}
