//! TensorFlow Lite Micro for the host: its C++ sources of 2020, which a crate on crates.io carries, as old as the Arduino
//! library that sketches take. Nothing of the project depends on that crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{must, sources_in};
use crate::Result;
use crate::context::Context;
use crate::need::{self, Need};
use crate::run;

const CRATE: &str = "tfmicro";
const VERSION: &str = "0.1.0";
pub(super) const NEEDS: &[Need] = &[Need::Sources { package: CRATE, version: VERSION }];
const FLAGS: &[&str] = &["-O1", "-w", "-DTF_LITE_STATIC_MEMORY", "-DGEMMLOWP_ALLOW_SLOW_SCALAR_FALLBACK"];

/// What a program that uses it is compiled with.
pub(super) struct Tflm {
    pub(super) includes: Vec<PathBuf>,
    pub(super) objects: Vec<PathBuf>,
}

/// Compiles what is not compiled yet.
pub(super) fn built(context: &Context, dir: &Path) -> Result<Tflm> {
    let tree = need::sources(context, CRATE, VERSION)?.join("submodules/tensorflow");
    let lite = tree.join("tensorflow/lite");
    let downloads = lite.join("micro/tools/make/downloads");
    let includes: Vec<PathBuf> = [".", "gemmlowp", "flatbuffers/include", "ruy"]
        .iter()
        .map(|folder| downloads.join(folder))
        .chain([tree.clone()])
        .collect();
    let mut sources = vec![
        lite.join("c/common.c"),
        lite.join("kernels/internal/quantization_util.cc"),
        lite.join("kernels/kernel_util.cc"),
    ];
    for folder in ["micro", "micro/kernels", "micro/memory_planner", "core/api"] {
        sources.extend(sources_in(&lite.join(folder))?);
    }
    sources.retain(|path| !path.to_string_lossy().ends_with("_test.cc"));
    let objects_dir = dir.join("objects");
    std::fs::create_dir_all(&objects_dir).map_err(|e| format!("{}: {e}", objects_dir.display()))?;
    let objects = run::each(&sources, |source| {
        let name = source.strip_prefix(&lite).unwrap_or(source).to_string_lossy().replace('/', "-");
        let object = objects_dir.join(name).with_extension("o");
        if !object.exists() {
            let is_c = source.extension().is_some_and(|x| x == "c");
            let mut compile = Command::new(if is_c { "cc" } else { "g++" });
            compile.args(FLAGS).args(if is_c { &[] } else { &["-std=c++11", "-fpermissive"][..] });
            for include in &includes {
                compile.arg("-I").arg(include);
            }
            must(context, compile.arg("-c").arg(source).arg("-o").arg(&object))?;
        }
        Ok(object)
    });
    Ok(Tflm { includes, objects: objects.into_iter().collect::<Result<_>>()? })
}
