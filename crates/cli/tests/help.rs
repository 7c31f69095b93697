//! Every command explains itself.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use support::Place;

const COMMANDS: &[&[&str]] = &[
    &["demo"],
    &["train"],
    &["eval"],
    &["audit"],
    &["bench"],
    &["encode"],
    &["decode"],
    &["inspect"],
    &["bundles"],
    &["bundles", "export"],
    &["bundles", "add"],
    &["bundles", "keygen"],
    &["bundles", "sign"],
    &["bundles", "offer"],
    &["bundles", "offers"],
    &["bundles", "withdraw"],
    &["export"],
    &["import"],
    &["serve"],
    &["device"],
    &["device", "add"],
    &["device", "list"],
    &["device", "show"],
    &["device", "token"],
    &["device", "revoke"],
    &["certificate"],
    &["device", "flash-config"],
    &["readings"],
    &["readings", "export"],
    &["backup"],
    &["restore"],
    &["keys"],
    &["store"],
    &["store", "copy"],
    &["user"],
    &["user", "add"],
    &["user", "list"],
    &["user", "role"],
    &["user", "password"],
    &["user", "remove"],
    &["token"],
    &["token", "add"],
    &["token", "list"],
    &["token", "revoke"],
    &["alerts"],
    &["health"],
    &["keys", "rotate"],
    &["send"],
    &["simulate"],
    &["config"],
    &["completions"],
];

#[test]
fn every_command_has_a_help_without_colours_in_a_pipe() {
    let place = Place::new();
    for &command in COMMANDS {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let ran = place.run(&args).ok();
        assert!(ran.out.contains("Usage: kinglet"), "{command:?}: {}", ran.out);
        assert!(!ran.out.contains('\u{1b}'), "{command:?}");
    }
}

#[test]
fn every_command_shows_an_example() {
    let place = Place::new();
    for command in COMMANDS {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let ran = place.run(&args).ok();
        let example = ran.out.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains(&format!("kinglet {}", command.join(" "))), "{command:?}: {}", ran.out);
    }
}

#[test]
fn no_command_lacks_in_the_help() {
    let place = Place::new();
    let help = place.run(&["--help"]).ok().out;
    for command in COMMANDS.iter().filter(|c| c.len() == 1) {
        assert!(help.contains(&format!("\n  {}", command[0])), "{command:?} is not in the help");
    }
    assert!(help.contains("Exit codes"), "{help}");
}

#[test]
fn colours_come_when_asked_for_and_only_then() {
    let place = Place::new();
    let missing = ["eval", "nowhere.kinglet"];
    assert!(!place.run(&missing).err.contains('\u{1b}'));
    let always = ["eval", "nowhere.kinglet", "--color", "always"];
    assert!(place.run(&always).err.contains('\u{1b}'));
    let never = ["eval", "nowhere.kinglet", "--color", "never"];
    assert!(!place.run(&never).err.contains('\u{1b}'));
}

#[test]
fn wrong_usage_has_its_own_code() {
    let place = Place::new();
    for args in [
        &["nonsense"][..],
        &["train", "--window", "0"],
        &["train", "--bound", "-1"],
        &["train", "--max-delay", "soon"],
        &["train", "--compare", "colour=1,2"],
        &["train", "--bytes", "8", "--bound", "1"],
        &["simulate", "--loss", "2"],
        &["simulate", "--rate", "0"],
        &["inspect"],
        &["inspect", "--hex", "abc"],
        &["completions", "tcsh"],
        &["demo", "--json"],
        &["train", "--hidden", "8"],
        &["train", "--preset", "seed", "--bound", "1"],
        &["train", "--preset", "seed", "--hidden", "0"],
        &["train", "--preset", "seed", "--conv", "8"],
        &["train", "--preset", "seed", "--range", "50..0"],
        &["train", "--preset", "seed", "--activation", "softmax"],
        &["train", "--preset", "seed", "--recipe", "theirs"],
        &["train", "--preset", "bird"],
        &["export", "x.kinglet", "--to", "onnx"],
        &["serve", "--decode"],
        &["serve", "--seed-port", "5000"],
        &["serve", "--decode", "--bundle", "x", "--seed-port", "70000"],
        &["serve", "--decode", "--bundle", "x", "--seed-device", "no spaces"],
        &["send", "--bundle", "x.kinglet"],
    ] {
        let ran = place.run(args).fails(2, &["error"]);
        assert!(ran.out.is_empty(), "{args:?}");
    }
}

#[test]
fn wrong_usage_is_said_in_json_to_whoever_asked_for_it() {
    let place = Place::new();
    let ran =
        place.run(&["train", "room.csv", "--json", "--bound", "much"]).fails(2, &["`much` is no bound"]);
    let said: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(said["error"]["kind"], "usage", "{said}");
}

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = place.run(&["completions", shell]).ok();
        for command in ["train", "simulate", "max-delay"] {
            assert!(ran.out.contains(command), "{shell} knows no {command}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is_one() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_kinglet");
    let script = format!("{program} completions bash | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}");
    let ran = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!((ran.status.code(), ran.stderr.len()), (Some(0), 0), "{ran:?}");

    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = place.command(&["completions", "bash"]).stdout(full).output().unwrap();
    support::Ran::from(ran).fails(6, &["cannot write the output", "make room"]);
}
