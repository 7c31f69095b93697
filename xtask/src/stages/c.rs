//! The C library: the golden bytes on the host and on bare chips, call by call against the Rust crates, its size.
//!
//! No build script and no build system: sources are compiled as a person with a compiler would. A chip whose compiler
//! or emulator is missing is skipped by name.

mod size;
mod sketches;
mod tflm;
mod vectors;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::device::count;
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::need::{self, Need};
use crate::run;

const LIMIT: Duration = Duration::from_secs(600);
const WARNINGS: &[&str] =
    &["-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror"];

/// Where the programs run.
struct Target {
    name: &'static str,
    needs: &'static [Need],
    /// Compiler and what every call of it gets.
    compiler: &'static [&'static str],
    /// What linking gets besides; `@` stands for the folder of the tests.
    link: &'static [&'static str],
    /// Files of the tests that make a program run there.
    port: &'static [&'static str],
    /// The emulator before the program; none on the host.
    emulator: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target {
        name: "host",
        needs: &[],
        compiler: &["cc", "-std=c99", "-O2"],
        link: &[],
        port: &["host.c"],
        emulator: &[],
    },
    Target {
        name: "host with sanitizers",
        needs: &[],
        compiler: SANITIZED,
        link: &[],
        port: &["host.c"],
        emulator: &[],
    },
    Target {
        name: "rv32imc",
        needs: &[
            Need::Program { name: "riscv64-unknown-elf-gcc", package: "gcc-riscv64-unknown-elf" },
            Need::File {
                path: "/usr/lib/picolibc/riscv64-unknown-elf/picolibc.specs",
                package: "picolibc-riscv64-unknown-elf",
            },
            Need::Program { name: "qemu-system-riscv32", package: "qemu-system-misc" },
        ],
        compiler: &[
            "riscv64-unknown-elf-gcc",
            "-std=gnu99",
            "-O2",
            "-march=rv32imc",
            "-mabi=ilp32",
            "--specs=picolibc.specs",
        ],
        link: &[
            "--oslib=semihost",
            "--crt0=hosted",
            "-Wl,--defsym=__flash=0x80000000,--defsym=__flash_size=0x200000",
            "-Wl,--defsym=__ram=0x80200000,--defsym=__ram_size=0x100000,--defsym=__stack_size=0x4000",
        ],
        port: &["riscv.c"],
        emulator: &[
            "qemu-system-riscv32",
            "-M",
            "virt",
            "-cpu",
            "rv32,a=false,f=false,d=false",
            "-m",
            "8M",
            "-bios",
            "none",
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "none",
            "-semihosting-config",
            "enable=on,target=native",
            "-icount",
            "shift=0",
            "-kernel",
        ],
    },
    Target {
        name: "Xtensa lx106",
        needs: &[
            Need::Program { name: "xtensa-lx106-elf-gcc", package: "gcc-xtensa-lx106" },
            Need::File {
                path: "/usr/lib/xtensa-lx106-elf/picolibc.specs",
                package: "picolibc-xtensa-lx106-elf",
            },
            Need::Program { name: "qemu-system-xtensa", package: "qemu-system-misc" },
        ],
        compiler: &[
            "xtensa-lx106-elf-gcc",
            "-std=gnu99",
            "-O2",
            "--specs=/usr/lib/xtensa-lx106-elf/picolibc.specs",
            "-mtext-section-literals",
        ],
        link: &["-nostartfiles", "-T", "@/xtensa.ld", "-Wl,--no-warn-rwx-segments"],
        port: &["xtensa.c", "xtensa_math.c"],
        emulator: &[
            "qemu-system-xtensa",
            "-M",
            "sim",
            "-cpu",
            "lx106",
            "-semihosting",
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "none",
            "-icount",
            "shift=10",
            "-kernel",
        ],
    },
    Target {
        name: "AVR (ATmega1284P)",
        needs: &[
            Need::Program { name: "avr-gcc", package: "gcc-avr" },
            Need::File { path: "/usr/lib/avr/include/avr/io.h", package: "avr-libc" },
            Need::Program { name: "simavr", package: "simavr" },
        ],
        compiler: &["avr-gcc", "-std=gnu99", "-Os", "-mmcu=atmega1284p", "-ffunction-sections"],
        link: &["-Wl,--gc-sections"],
        port: &["avr.c"],
        emulator: &["simavr", "-m", "atmega1284p", "-f", "16000000"],
    },
];

const SANITIZED: &[&str] =
    &["cc", "-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let dir = context.target().join("c");
    let headers = vectors::write(&context.root, &dir)?;
    let mut tally = Tally::default();
    for target in TARGETS {
        match need::meet(context, target.needs) {
            Ok(()) => tally.add(timed(context, target.name, || programs(context, target, &dir, &headers))?),
            Err(why) => {
                context.say(&format!("{}: skipped. {why}", target.name));
                tally.skipped += 1;
            }
        }
    }
    tally.add(timed(context, "mbedTLS", || mbedtls(context, &dir, &headers))?);
    tally.add(timed(context, "CMake", || cmake(context, &dir))?);
    tally.add(timed(context, "twins", || twins(context, &dir))?);
    tally.add(timed(context, "size", || size::stage(context, &dir))?);
    tally.add(timed(context, "sketches", || sketches::stage(context, &dir))?);
    Ok(tally)
}

/// Says how long a step took.
fn timed<T>(context: &Context, what: &str, step: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = step();
    context.say(&context.paint("2", &format!("{what} took {:.1} s", start.elapsed().as_secs_f64())));
    done
}

/// All vectors on one target.
fn programs(context: &Context, target: &Target, dir: &Path, headers: &[vectors::Header]) -> Result<Tally> {
    let built = dir.join(target.name.replace([' ', '(', ')'], "-"));
    let objects = library(context, target.compiler, &built, &[])?;
    let tests = context.root.join("arduino/test");
    let mut tally = Tally::default();
    let is_avr = target.name.starts_with("AVR");
    // Weights stand in flash there, and this program makes its own in memory.
    let headers: Vec<_> =
        headers.iter().filter(|h| !is_avr || !matches!(h.test, "dense.c" | "after.c")).collect();
    let done = run::each(&headers, |header| {
        let program = built.join(&header.name);
        let mut compile = compiler(context, target.compiler);
        compile.arg(format!("-DVECTOR_FILE=\"{}\"", header.path.display())).arg("-o").arg(&program);
        if is_avr {
            compile.arg("-DWORDS_MAX=1700");
        }
        compile.arg(tests.join(header.test));
        compile.args(target.port.iter().map(|file| tests.join(file))).args(&objects);
        compile.args(target.link.iter().map(|arg| arg.replace('@', &tests.display().to_string())));
        must(context, &mut compile)?;
        verdict(context, target, &program)
    });
    for one in done {
        tally.add(one?);
    }
    context.say(&format!("{}: {}", target.name, tally.line()));
    Ok(tally)
}

/// Runs one program. What it says counts, and that it came to its end.
fn verdict(context: &Context, target: &Target, program: &Path) -> Result<Tally> {
    let mut words = target.emulator.iter().map(PathBuf::from).chain([program.to_path_buf()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    let ran = run::quiet(&mut command, LIMIT)?;
    let text: String = run::plain(&ran.text);
    let tally = count(&text);
    let figures = [" cases, ", " instructions an "];
    let is_shown = |line: &&str| line.starts_with("FAILED") || figures.iter().any(|f| line.contains(f));
    for line in text.lines().filter(is_shown) {
        context.say(&format!("{}: {}", target.name, line.trim_end_matches('.')));
    }
    // An emulator of an AVR gives no exit code.
    let is_over = if target.emulator.first() == Some(&"simavr") { text.contains("the end") } else { ran.ok };
    if tally == Tally::default() || (tally.failed == 0) != is_over {
        context.say(&text);
        return Err(format!("{} on {} ended without a verdict", program.display(), target.name));
    }
    Ok(tally)
}

/// The library's objects, with every warning an error.
fn library(context: &Context, command: &[&str], built: &Path, more: &[&str]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(built).map_err(|e| format!("{}: {e}", built.display()))?;
    let objects = run::each(&sources(&context.root)?, |source| {
        let object = built.join(source.file_name().unwrap_or_default()).with_extension("o");
        let mut compile = compiler(context, command);
        compile.args(WARNINGS).args(more).arg("-c").arg(source).arg("-o").arg(&object);
        must(context, &mut compile).map(|()| object)
    });
    objects.into_iter().collect()
}

/// Every source of the library, in order.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = sources_in(&root.join("arduino/src"))?;
    sources.retain(|path| path.extension().is_some_and(|x| x == "c"));
    Ok(sources)
}

/// The C and C++ files of a folder, in order.
fn sources_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut sources: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    sources.retain(|path| path.extension().is_some_and(|x| x == "c" || x == "cc" || x == "cpp"));
    sources.sort();
    Ok(sources)
}

fn compiler(context: &Context, command: &[&str]) -> Command {
    let mut compile = Command::new(command[0]);
    compile.args(&command[1..]).arg("-I").arg(context.root.join("arduino/src"));
    compile
}

/// Runs a command that has to succeed, and shows what it says if it does not.
fn must(context: &Context, command: &mut Command) -> Result<()> {
    let ran = run::quiet(command, LIMIT)?;
    if ran.ok {
        return Ok(());
    }
    context.say(&ran.text);
    Err(format!("{} failed", run::line_of(command)))
}

/// The wire vectors again with the AES-CCM of mbedTLS.
fn mbedtls(context: &Context, dir: &Path, headers: &[vectors::Header]) -> Result<Tally> {
    let needs = [Need::File { path: "/usr/include/mbedtls/ccm.h", package: "libmbedtls-dev" }];
    if let Err(why) = need::meet(context, &needs) {
        context.say(&format!("mbedTLS: skipped. {why}"));
        return Ok(Tally { skipped: 1, ..Tally::default() });
    }
    let target = Target {
        name: "host with mbedTLS",
        needs: &[],
        compiler: &["cc", "-std=c99", "-O2", "-DKINGLET_USE_MBEDTLS"],
        link: &["-lmbedcrypto"],
        port: &["host.c"],
        emulator: &[],
    };
    let wire: Vec<_> = headers.iter().filter(|h| h.test == "wire.c").cloned().collect();
    programs(context, &target, dir, &wire)
}

/// What stands in for ESP-IDF, as far as the library's file speaks to it.
const IDF: &str = r#"cmake_minimum_required(VERSION 3.13)
project(idf C)
set(ESP_PLATFORM 1)
set(COMPONENT_LIB kinglet_component)
function(idf_component_register)
    cmake_parse_arguments(C "" "" "SRCS;INCLUDE_DIRS;PRIV_REQUIRES" ${ARGN})
    if(NOT C_PRIV_REQUIRES STREQUAL "mbedtls")
        message(FATAL_ERROR "the component needs mbedtls")
    endif()
    list(TRANSFORM C_INCLUDE_DIRS PREPEND "${LIBRARY}/")
    add_library(${COMPONENT_LIB} STATIC ${C_SRCS})
    target_include_directories(${COMPONENT_LIB} PUBLIC ${C_INCLUDE_DIRS})
endfunction()
include(${LIBRARY}/CMakeLists.txt)
"#;

/// The library by its own CMake file: as a plain library, and as the component it is in ESP-IDF, of which there is no more
/// here than the one function it calls.
fn cmake(context: &Context, dir: &Path) -> Result<Tally> {
    let needs = [
        Need::Program { name: "cmake", package: "cmake" },
        Need::File { path: "/usr/include/mbedtls/ccm.h", package: "libmbedtls-dev" },
    ];
    if let Err(why) = need::meet(context, &needs) {
        context.say(&format!("CMake: skipped. {why}"));
        return Ok(Tally { skipped: 1, ..Tally::default() });
    }
    let library = context.root.join("arduino");
    let idf = dir.join("idf");
    std::fs::create_dir_all(&idf).map_err(|e| format!("{}: {e}", idf.display()))?;
    std::fs::write(idf.join("CMakeLists.txt"), IDF).map_err(|e| format!("{}: {e}", idf.display()))?;
    let mut tally = Tally::default();
    for (source, built, name) in
        [(&library, "cmake", "libkinglet.a"), (&idf, "cmake-idf", "libkinglet_component.a")]
    {
        let built = dir.join(built);
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(source).arg("-B").arg(&built);
        configure
            .arg(format!("-DLIBRARY={}", library.display()))
            .arg("-DCMAKE_C_FLAGS=-Wall -Wextra -Werror");
        must(context, &mut configure)?;
        must(context, Command::new("cmake").arg("--build").arg(&built))?;
        tally.add(Tally::one(built.join(name).exists()));
    }
    context.say(&format!("CMake, plain and as a component of ESP-IDF: {}", tally.line()));
    Ok(tally)
}

/// The Rust crates' own tests with the C library beside them, sanitized; then power cuts by the thousand.
fn twins(context: &Context, dir: &Path) -> Result<Tally> {
    let source = context.root.join("arduino/test/twin.c");
    let mut programs = Vec::new();
    for (name, command) in [("twin", &["cc", "-std=c99", "-O2"][..]), ("twin_sanitized", SANITIZED)] {
        let objects = library(context, command, &dir.join(name), &[])?;
        let program = dir.join(name).join(name);
        let mut compile = compiler(context, command);
        must(context, compile.arg(&source).args(&objects).arg("-o").arg(&program))?;
        programs.push(program);
    }
    let [fast, sanitized] = &programs[..] else { return Err("two programs were to be built".into()) };
    let node = &["test", "--locked", "--all-features", "-p", "kinglet-node", "--lib"][..];
    let codec = &["test", "--locked", "--all-features", "-p", "kinglet-codec", "--test", "c_twin"][..];
    // Built one after the other, run side by side.
    for args in [codec, node] {
        let mut build = run::cargo(context, &context.root, &[args, &["--no-run"]].concat());
        if !run::show(context, &mut build, Duration::from_secs(3600))?.ok {
            return Err(format!("{} failed", run::line_of(&build)));
        }
    }
    let runs: &[(&[&str], &[&str], _, _)] = &[
        (node, &["--", "many_cuts_over_a_bad_link", "--nocapture"], fast, "2600"),
        (node, &["--", "tests::"], sanitized, "250"),
        (codec, &["--", "--ignored", "--nocapture"], sanitized, "250"),
    ];
    let mut tally = Tally::default();
    for counted in run::each(runs, |(args, more, program, seeds)| {
        let mut cargo = run::cargo(context, &context.root, &[*args, *more].concat());
        cargo.env("KINGLET_C_TWIN", program).env("KINGLET_POWER_SEEDS", seeds);
        let ran = run::show(context, &mut cargo, Duration::from_secs(3600))?;
        let counted = counts::libtest(&ran.text).unwrap_or_default();
        if counted.passed == 0 || (counted.failed == 0) != ran.ok {
            return Err(format!("{} ended without a verdict", run::line_of(&cargo)));
        }
        Ok(counted)
    }) {
        tally.add(counted?);
    }
    Ok(tally)
}
