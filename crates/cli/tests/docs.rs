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
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for command in commands {
        assert!(command.starts_with("kinglet "), "{command}");
        script += &format!("echo '$ {command}' >&2\n{command}\n").replace("8470", &port);
        if command.ends_with('&') {
            script += &format!("until (echo > /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done\n");
        }
    }
    let place = Place::new();
    place.file("room.csv", support::room_csv(1500));
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
fn commands_md() {
    check("commands.md", 25);
}
