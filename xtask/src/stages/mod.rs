//! The stages of `cargo xtask test`, fast ones first.

mod agent;
mod browser;
mod c;
mod cargo;
mod cli;
mod cose;
mod demo;
mod device;
pub(crate) mod docs;
mod faults;
mod firmware;
mod forward;
pub(crate) mod fuzz;
mod lorawan;
mod mqtt;
mod openapi;
pub(crate) mod postgres;
mod runtimes;

use std::time::Instant;

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::need::{self, Need};
use crate::report::{self, Line};
use crate::walls;

/// One thing that can be run alone.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    needs: &'static [Need],
    run: fn(&Context) -> Result<Tally>,
}

pub(crate) const RV32: &str = "riscv32imc-unknown-none-elf";
pub(crate) const RV32A: &str = "riscv32imac-unknown-none-elf";
pub(crate) const M4: &str = "thumbv7em-none-eabihf";

const BARE: &[Need] = &[Need::Target(RV32), Need::Target(M4)];

/// Every stage in the order it runs.
pub(crate) const STAGES: &[Stage] = &[
    Stage {
        name: "fmt",
        about: "rustfmt leaves every file as it is",
        needs: &[Need::Component { name: "rustfmt", program: "rustfmt" }],
        run: cargo::fmt,
    },
    Stage {
        name: "walls",
        about: "who may use whom; no float, IO or printing where none belongs",
        needs: &[],
        run: walls::stage,
    },
    Stage {
        name: "clippy",
        about: "no warning in any target with every feature",
        needs: &[Need::Component { name: "clippy", program: "cargo-clippy" }],
        run: cargo::clippy,
    },
    Stage {
        name: "unit",
        about: "unit, integration and documentation tests of every crate",
        needs: &[],
        run: cargo::unit,
    },
    Stage {
        name: "docs",
        about: "rustdoc, links in Markdown, specs read against the code",
        needs: &[],
        run: docs::stage,
    },
    Stage {
        name: "no_std",
        about: "codec, wire and node build for rv32imc and Cortex-M4",
        needs: BARE,
        run: cargo::no_std,
    },
    Stage {
        name: "features",
        about: "each crate compiles with none and with each of its features",
        needs: &[],
        run: cargo::features,
    },
    Stage {
        name: "fuzz",
        about: "30 s of seeded mutations over every fuzz function",
        needs: &[],
        run: fuzz::stage,
    },
    Stage {
        name: "device",
        about: "the golden bytes again on rv32imc and Cortex-M4, in QEMU",
        needs: &[
            Need::Target(RV32),
            Need::Target(M4),
            Need::Program { name: "qemu-system-riscv32", package: "qemu-system-misc" },
            Need::Program { name: "qemu-system-arm", package: "qemu-system-arm" },
        ],
        run: device::stage,
    },
    Stage {
        name: "c",
        about: "the C library: golden bytes on chips, call by call against the Rust crates, its size",
        needs: &[Need::Program { name: "cc", package: "gcc" }],
        run: c::stage,
    },
    Stage {
        name: "cose",
        about: "the wire vectors, checked by CBOR and AES-CCM libraries that know nothing of us",
        needs: &[
            Need::Python,
            Need::Wheel { package: "cbor2", module: "cbor2" },
            Need::Wheel { package: "cryptography", module: "cryptography" },
        ],
        run: cose::stage,
    },
    Stage {
        name: "runtimes",
        about: "exported networks in LiteRT and TensorFlow Lite Micro, 10,000 inputs each; Parquet in Arrow",
        needs: &[
            Need::Python,
            Need::Wheel { package: "numpy", module: "numpy" },
            Need::Wheel { package: "ai-edge-litert", module: "ai_edge_litert" },
            Need::Wheel { package: "tflite-micro", module: "tflite_micro" },
            Need::Wheel { package: "pyarrow", module: "pyarrow" },
        ],
        run: runtimes::stage,
    },
    Stage {
        name: "cli",
        about: "the release binary as a person uses it, exported crates built, mistakes included",
        needs: &[Need::Target(RV32)],
        run: cli::stage,
    },
    Stage {
        name: "mqtt",
        about: "a device in Python on paho, mosquitto's clients and our fleet against the real server",
        needs: &[
            Need::Program { name: "mosquitto_pub", package: "mosquitto-clients" },
            Need::Python,
            Need::Wheel { package: "paho-mqtt", module: "paho.mqtt.client" },
            Need::Wheel { package: "cbor2", module: "cbor2" },
            Need::Wheel { package: "cryptography", module: "cryptography" },
        ],
        run: mqtt::stage,
    },
    Stage {
        name: "agent",
        about: "`kinglet send` built for aarch64 and armv7, run by QEMU against a server of this machine",
        needs: &[
            Need::Target("aarch64-unknown-linux-gnu"),
            Need::Target("armv7-unknown-linux-gnueabihf"),
            Need::Program { name: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
            Need::Program { name: "arm-linux-gnueabihf-gcc", package: "gcc-arm-linux-gnueabihf" },
            Need::File { path: "/usr/aarch64-linux-gnu/lib/libc.so.6", package: "libc6-dev-arm64-cross" },
            Need::File { path: "/usr/arm-linux-gnueabihf/lib/libc.so.6", package: "libc6-dev-armhf-cross" },
            Need::Program { name: "qemu-aarch64", package: "qemu-user" },
            Need::Program { name: "qemu-arm", package: "qemu-user" },
        ],
        run: agent::stage,
    },
    Stage {
        name: "firmware",
        about: "ESP32 images built, checked by esptool and weighed; their parts against a real server",
        needs: &[
            Need::Target(RV32),
            Need::Target(RV32A),
            Need::Python,
            Need::Wheel { package: "esptool", module: "esptool" },
        ],
        run: firmware::stage,
    },
    Stage {
        name: "forward",
        about: "readings passed on to mosquitto and InfluxDB that go away and come back; metrics in promtool",
        needs: &[
            Need::Program { name: "mosquitto", package: "mosquitto" },
            Need::Program { name: "mosquitto_sub", package: "mosquitto-clients" },
            Need::Program { name: "influxd", package: "influxdb" },
            Need::Program { name: "promtool", package: "prometheus" },
        ],
        run: forward::stage,
    },
    Stage {
        name: "lorawan",
        about: "nodes behind ChirpStack's broker, a real mosquitto, and behind The Things Stack's webhooks",
        needs: &[Need::Program { name: "mosquitto", package: "mosquitto" }],
        run: lorawan::stage,
    },
    Stage {
        name: "demo",
        about: "20 s of the demo: every window stored once and within the bound",
        needs: &[],
        run: demo::stage,
    },
    Stage {
        name: "faults",
        about: "the server killed 200 times, power cuts, a full disk, a read-only one",
        needs: &[Need::Program { name: "cc", package: "gcc" }],
        run: faults::stage,
    },
    Stage {
        name: "postgres",
        about: "the shared store, on a PostgreSQL started for it",
        needs: &[Need::Postgres, Need::Program { name: "openssl", package: "openssl" }],
        run: postgres::stage,
    },
    Stage {
        name: "openapi",
        about: "the description of the API, through openapi-spec-validator",
        needs: &[
            Need::Python,
            Need::Wheel { package: "openapi-spec-validator", module: "openapi_spec_validator" },
        ],
        run: openapi::stage,
    },
    Stage {
        name: "browser",
        about: "the dashboard in Chromium: light, dark and phone, live, offline",
        needs: &[
            Need::Program { name: "chromium", package: "chromium" },
            Need::File {
                path: "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
                package: "fonts-dejavu-core",
            },
        ],
        run: browser::stage,
    },
];

/// Runs the named stages; true if nothing failed.
pub(crate) fn run_all(context: &Context, names: &[&'static str]) -> bool {
    let wanted = STAGES.iter().filter(|s| names.contains(&s.name));
    let lines: Vec<Line> = wanted.map(|stage| run_one(context, stage)).collect();
    report::finish(context, &lines)
}

fn run_one(context: &Context, stage: &Stage) -> Line {
    report::begin(context, stage.name, stage.about);
    let start = Instant::now();
    let (tally, why) = match need::meet(context, stage.needs) {
        Err(why) if context.options.ci => (Tally::one(false), Some(why)),
        Err(why) => (Tally { skipped: 1, ..Tally::default() }, Some(why)),
        Ok(()) => match (stage.run)(context) {
            Err(why) => (Tally::one(false), Some(why)),
            // A stage that checked nothing has not passed.
            Ok(tally) if tally == Tally::default() => {
                (Tally::one(false), Some(format!("{} found nothing to check", stage.name)))
            }
            Ok(tally) => (tally, None),
        },
    };
    let line = Line { stage: stage.name, tally, took: start.elapsed(), why };
    report::end(context, &line);
    line
}

/// The release binary, built if it is not up to date; or the one that `KINGLET_BIN` names, for packagers.
pub(crate) fn release_binary(context: &Context) -> Result<std::path::PathBuf> {
    if let Some(path) = std::env::var_os("KINGLET_BIN") {
        return std::path::absolute(&path).map_err(|e| format!("KINGLET_BIN={}: {e}", path.display()));
    }
    let mut build = crate::run::cargo(
        context,
        &context.root,
        &["build", "--release", "--locked", "--package", "kinglet"],
    );
    if !crate::run::show(context, &mut build, std::time::Duration::from_secs(3600))?.ok {
        return Err("the release build failed".into());
    }
    Ok(context.target().join("release/kinglet"))
}
