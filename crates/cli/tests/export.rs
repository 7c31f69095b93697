//! What `kinglet export` writes builds, and encodes as this program does.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{Window, encode};
use support::Place;

const MAIN: &str = r#"
#include <stdio.h>
#include <Kinglet.h>
#include <kinglet_bundle.h>

int main(void) {
    static kgl_model model;
    static int32_t steps[KINGLET_N_SAMPLES * KINGLET_N_CHANNELS], workspace[KINGLET_WORKSPACE_LEN];
    static uint8_t code[KINGLET_CODE_LEN_MAX];
    size_t n = 0, len = 0, i;
    long step;
    while (scanf("%ld", &step) == 1) {
        steps[n++] = (int32_t)step;
    }
    if (kgl_model_parse(&model, kinglet_bundle, KINGLET_BUNDLE_LEN) != KGL_OK ||
        kgl_encode(&model, steps, n, false, workspace, KINGLET_WORKSPACE_LEN, code, sizeof code, &len, NULL) != KGL_OK) {
        return 1;
    }
    for (i = 0; i < len; i++) {
        printf("%02x", code[i]);
    }
    return 0;
}
"#;

/// Compiles an exported folder together with [`MAIN`], and encodes one window with it.
fn check(to: &str) {
    let place = Place::new();
    place.run(&["bundles", "export", "dht22"]).ok();
    place.run(&["export", "dht22.kinglet", "--to", to, "--out", "out"]).ok();
    let main = place.file("main.c", MAIN);
    let src = place.path("out/src");
    let entries = std::fs::read_dir(&src).unwrap().map(|e| e.unwrap().path());
    let sources: Vec<_> = entries.filter(|p| p.extension().is_some_and(|x| x == "c")).collect();
    let build = |name: &str, more: &[&str]| {
        let program = place.path(name);
        let mut compile = Command::new("cc");
        compile.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-I"]).arg(&src).arg(&main);
        assert!(compile.args(&sources).args(more).arg("-o").arg(&program).status().unwrap().success());
        program
    };
    let program = build("program", &[]);
    // It reads no more than its bundle has, and less would not do.
    let parts = std::fs::read_to_string(src.join("kgl_parts.h")).unwrap();
    assert!(parts.contains("#define KGL_PARTS 0x0430\n"), "{parts}");
    let without = build("without", &["-DKGL_PARTS=0x0410"]);

    let bundle = Bundle::parse(&std::fs::read(place.path("dht22.kinglet")).unwrap()).unwrap();
    let model = bundle.model();
    let steps: Vec<i32> = (0..64).map(|i| if i % 2 == 0 { 630 + i / 8 } else { 480 - i / 3 }).collect();
    let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    let given = Window { steps: &steps, off_grid: false };
    let len = encode(&model, given, &mut workspace, &mut out).unwrap().code_len;
    let expected: String = out[..len].iter().map(|byte| format!("{byte:02x}")).collect();

    let words: String = steps.iter().map(|step| format!("{step} ")).collect();
    place.file("steps.txt", words);
    let run = |program: &Path| {
        let steps = std::fs::File::open(place.path("steps.txt")).unwrap();
        Command::new(program).stdin(steps).output().unwrap()
    };
    assert_eq!(String::from_utf8(run(&program).stdout).unwrap(), expected);
    assert_eq!(run(&without).status.code(), Some(1));
}

#[test]
fn an_arduino_library_encodes_as_this_program_does() {
    check("arduino");
}

#[test]
fn c_sources_encode_as_this_program_does() {
    check("c");
}

#[test]
fn a_crate_has_the_bundle_inside() {
    let place = Place::new();
    place.run(&["bundles", "export", "dht22"]).ok();
    place.run(&["export", "dht22.kinglet", "--to", "rust", "--out", "out"]).ok();
    let bundle = Bundle::parse(&std::fs::read(place.path("dht22.kinglet")).unwrap()).unwrap();
    assert_eq!(std::fs::read(place.path("out/bundle.bin")).unwrap(), bundle.device());
    let lib = std::fs::read_to_string(place.path("out/src/lib.rs")).unwrap();
    assert!(lib.contains("pub const SAMPLES: usize = 32;") && lib.contains("include_bytes!"), "{lib}");
    let manifest = std::fs::read_to_string(place.path("out/Cargo.toml")).unwrap();
    assert!(manifest.contains("kinglet-node = { path = \"kinglet/node\" }"), "{manifest}");
    assert!(place.path("out/kinglet/node/src/lib.rs").exists());
    assert!(manifest.contains("features = [\"latent\", \"expected\"]"), "{manifest}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_way_out() {
    let place = Place::new();
    place.run(&["bundles", "export", "dht22"]).ok();
    let export = ["export", "dht22.kinglet", "--to"];
    place.run(&[&export[..], &["tflite"]].concat()).fails(3, &["range coder", "arduino"]);
    let rounded = ["c", "--post-training-quantisation"];
    place.run(&[&export[..], &rounded[..]].concat()).fails(2, &["integers", "leave them out"]);
    place.run(&[&export[..], &["c", "--out", "out"]].concat()).ok();
    place.run(&[&export[..], &["c", "--out", "out"]].concat()).fails(6, &["--force"]);
    place.run(&[&export[..], &["c", "--out", "out", "--force"]].concat()).ok();
}
