//! Chores of the workspace: `cargo xtask test --install` runs everything, `cargo xtask help` says the rest.
//!
//! `stages` holds one function per stage and the table that orders them, `need` what a stage wants to find
//! on the machine, `walls` the rules about who may use whom, `sizes` the code size on a chip.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people at a terminal")]

mod args;
mod cdp;
mod context;
mod cost;
mod counts;
mod device;
mod need;
mod report;
mod run;
mod serving;
mod sizes;
mod source;
mod stages;
mod walls;

use std::process::ExitCode;

use crate::args::Plan;
use crate::context::Context;

/// What failed and what to do next, for a person.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let plan = match args::plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let done = match plan {
        Plan::Help => {
            println!("{}", args::help());
            Ok(true)
        }
        Plan::List { json } => {
            report::list(json);
            Ok(true)
        }
        Plan::Test { stages, options } => {
            Context::new(options).map(|context| stages::run_all(&context, &stages))
        }
        Plan::Cost { options } => Context::new(options).and_then(|context| cost::print(&context)),
        Plan::Sizes { options } => Context::new(options).and_then(|context| sizes::print(&context)),
        Plan::Bless { options } => Context::new(options).and_then(|context| stages::docs::bless(&context)),
        Plan::Replay { door, file, options } => {
            Context::new(options).and_then(|context| stages::fuzz::replay(&context, &door, &file))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
