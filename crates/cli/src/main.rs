//! The `kinglet` command: the only part of Kinglet that prints and exits.
//!
//! `args` is what can be typed, `cmd` what is then done, `term` how it is shown, `failure` how it is said that
//! it did not work.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod coder;
mod codes;
mod device;
mod failure;
mod files;
mod hex;
mod host;
mod provisioning;
mod readings;
mod report;
mod term;
mod update_key;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match cli.color {
        clap::ColorChoice::Auto => {}
        clap::ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        clap::ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let json = cli.command.wants_json();
    match cmd::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.quiet => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is gone as well there is nobody left to tell; the exit code still says it.
            use std::io::Write;
            let mut stderr = anstream::stderr();
            let _ = match json {
                true => writeln!(stderr, "{}", failure.to_json()),
                false => write!(stderr, "{}", failure.to_text()),
            };
            ExitCode::from(failure.kind as u8)
        }
    }
}
