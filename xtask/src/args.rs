//! What was typed, then what it means.

use crate::Result;
use crate::context::Options;
use crate::stages::STAGES;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Help,
    List {
        json: bool,
    },
    /// Stages in the table's order; never empty.
    Test {
        stages: Vec<&'static str>,
        options: Options,
    },
    Sizes {
        options: Options,
    },
    /// What Kinglet costs on a device.
    Cost {
        options: Options,
    },
    /// Write the present hashes into the specs.
    Bless {
        options: Options,
    },
    /// Feed one file to one fuzz function.
    Replay {
        door: String,
        file: String,
        options: Options,
    },
}

/// Reads the arguments behind `cargo xtask`.
pub(crate) fn plan(args: impl Iterator<Item = String>) -> Result<Plan> {
    let mut words: Vec<String> = Vec::new();
    let mut wanted: Vec<&'static str> = Vec::new();
    let mut options = Options::from_env();
    let (mut list, mut bless, mut replay) = (false, false, false);
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--install" => options.install = true,
            "--json" => options.json = true,
            "--list" => list = true,
            "--bless" => bless = true,
            "--replay" => replay = true,
            "--stage" => {
                let name = args.next().ok_or("--stage wants a name: see cargo xtask test --list")?;
                wanted.push(stage(&name)?);
            }
            "--seconds" => {
                let seconds = args.next().and_then(|s| s.parse().ok());
                options.fuzz_seconds =
                    seconds.filter(|&s| s > 0).ok_or("--seconds wants a whole number above 0")?;
            }
            "-h" | "--help" | "help" => return Ok(Plan::Help),
            flag if flag.starts_with('-') => {
                return Err(format!("unknown flag {flag}: see cargo xtask help"));
            }
            _ => words.push(arg),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(Plan::Help),
        ["test" | "ci"] if list => Ok(Plan::List { json: options.json }),
        ["test" | "ci"] => {
            let all = STAGES.iter().map(|s| s.name);
            let stages = all.filter(|name| wanted.is_empty() || wanted.contains(name)).collect();
            Ok(Plan::Test { stages, options })
        }
        ["sizes"] => Ok(Plan::Sizes { options }),
        ["cost"] => Ok(Plan::Cost { options }),
        ["docs"] if bless => Ok(Plan::Bless { options }),
        ["fuzz", door, file] if replay => {
            Ok(Plan::Replay { door: (*door).into(), file: (*file).into(), options })
        }
        [name] => Ok(Plan::Test { stages: vec![stage(name)?], options }),
        [_, more, ..] => Err(format!("did not expect {more:?}: see cargo xtask help")),
    }
}

/// The text of `cargo xtask help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "cargo xtask test [--install] [--stage NAME]... [--list] [--json]   every stage, fast ones first\n\
         cargo xtask STAGE [--install] [--json]                             one stage\n\
         cargo xtask fuzz --seconds N                                       fuzz longer than 30 s\n\
         cargo xtask fuzz --replay DOOR FILE                                feed one input to one door\n\
         cargo xtask docs --bless                                           specs were read against the code\n\
         cargo xtask sizes [--json]                                         code size on rv32imc and Cortex-M4\n\
         cargo xtask cost [--json]                                          instructions, flash, RAM, bytes on air, energy a day\n\n\
         --install  fetch what a stage needs (as CI=true does): Debian packages as root, rustup targets\n\nstages:\n",
    );
    for stage in STAGES {
        text.push_str(&format!("  {:<9} {}\n", stage.name, stage.about));
    }
    text
}

fn stage(name: &str) -> Result<&'static str> {
    let known = STAGES.iter().map(|s| s.name).find(|&s| s == name);
    known.ok_or_else(|| {
        let names: Vec<_> = STAGES.iter().map(|s| s.name).collect();
        format!("no stage is called {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Plan> {
        plan(line.split_whitespace().map(String::from))
    }

    #[test]
    fn stages_keep_the_tables_order_however_they_are_typed() {
        let Ok(Plan::Test { stages, options }) = typed("test --stage walls --stage fmt --install") else {
            panic!("a test plan");
        };
        assert_eq!(stages, ["fmt", "walls"]);
        assert!(options.install);
    }

    #[test]
    fn without_a_name_every_stage_runs() {
        let Ok(Plan::Test { stages, .. }) = typed("test") else { panic!("a test plan") };
        assert_eq!(stages.len(), STAGES.len());
    }

    #[test]
    fn typos_are_named() {
        for line in
            ["tset", "test --stage", "test --stage nope", "test --insatll", "fuzz --seconds x", "fmt a"]
        {
            assert!(typed(line).is_err(), "{line}");
        }
    }
}
