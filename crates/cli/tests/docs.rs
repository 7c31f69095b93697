//! Every command in the documents is run, in order, as it stands there.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use support::{Place, Ran};

/// The lines of a document's console blocks that begin with `$ `.
fn commands(text: &str) -> Vec<&str> {
    let mut in_console = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line {
            "```console" => in_console = true,
            "```" => in_console = false,
            line if in_console => commands.extend(line.strip_prefix("$ ")),
            _ => {}
        }
    }
    commands
}

fn check(name: &str, n_at_least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let commands = commands(&text);
    assert!(commands.len() >= n_at_least, "{name} has {} commands", commands.len());
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    // All held until all are chosen, so that they differ.
    let held = [free(), free(), free(), free(), free(), free()];
    let ports = held.map(|held| held.local_addr().unwrap().port().to_string());
    let [port, seed_port, https, mqtt, mqtts, coap] = &ports;
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for command in commands {
        assert!(command.starts_with("kinglet ") || command.starts_with("timeout 3 kinglet "), "{command}");
        if command.starts_with("kinglet import") && !cfg!(feature = "import") {
            // Nothing to run; what it makes is not there either.
            script += "cp seed.kinglet porch.kinglet\n";
            continue;
        }
        let command = command
            .replace("8470", port)
            .replace(":5000", &format!(":{seed_port}"))
            .replace(":8443", &format!(":{https}"))
            .replace(":1883", &format!(":{mqtt}"))
            .replace(":8883", &format!(":{mqtts}"))
            .replace(":5683", &format!(":{coap}"))
            .replace("--seed-port 5000", &format!("--seed-port {seed_port}"));
        script += &format!("echo '$ {command}' >&2\n{command}\n");
        if command.ends_with('&') {
            script += &format!("until (echo > /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done\n");
        }
    }
    let place = Place::new();
    place.file("room.csv", support::room_csv(1500));
    place.file("password.txt", "correct horse battery\n");
    for (name, place_of) in [
        ("dense_decoder.keras", "exported_models/keras/decoder_model.keras"),
        ("dense_scaler.joblib", "exported_models/keras/scaler.joblib"),
        ("dense_encoder.tflite", "exported_models/tflite/encoder_model.tflite"),
    ] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/fixtures/seed");
        std::fs::create_dir_all(place.path(place_of).parent().unwrap()).unwrap();
        place.file(place_of, std::fs::read(fixtures.join(name)).unwrap());
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_kinglet")).parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(place.path(".")).env_clear();
    bash.env("HOME", place.path(".")).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    Ran::from(bash.output().unwrap()).ok();
}

#[test]
fn first_steps() {
    check("first-steps.md", 7);
}

#[test]
fn from_the_seed() {
    check("from-the-seed.md", 15);
}

#[test]
fn commands_md() {
    check("commands.md", 25);
}

#[test]
fn operations_md() {
    check("operations.md", 9);
}

#[test]
fn transports_md() {
    check("transports.md", 12);
}

#[test]
fn lorawan_md() {
    check("lorawan.md", 2);
}

#[test]
fn devices_md() {
    check("devices.md", 8);
}

#[test]
fn report_md() {
    check("report.md", 2);
}

#[test]
fn audit_md() {
    check("audit.md", 4);
}
