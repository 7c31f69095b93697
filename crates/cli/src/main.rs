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

use clap::FromArgMatches as _;

use crate::failure::Failure;

fn main() -> ExitCode {
    let typed = args::command().try_get_matches().and_then(|typed| args::Cli::from_arg_matches(&typed));
    let cli = match typed {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            // Whoever reads JSON has no use for colours and lines.
            let text = error.render().to_string();
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let what = lines.next().unwrap_or_default().trim_start_matches("error: ");
            let why: Vec<&str> = lines.filter(|line| !line.starts_with("For more information")).collect();
            return said(
                &Failure::usage(what).why(why.join("; ")).next("see the same command with --help"),
                true,
            );
        }
        Err(error) => error.exit(),
    };
    match cli.color {
        clap::ColorChoice::Auto => {}
        clap::ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        clap::ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let json = cli.command.wants_json();
    match cmd::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.quiet => ExitCode::SUCCESS,
        Err(failure) => said(&failure, json),
    }
}

/// Says why nothing came of it, and gives the exit code.
fn said(failure: &Failure, json: bool) -> ExitCode {
    // If standard error is gone as well there is nobody left to tell; the exit code still says it.
    use std::io::Write;
    let mut stderr = anstream::stderr();
    let _ = match json {
        true => writeln!(stderr, "{}", failure.to_json()),
        false => write!(stderr, "{}", failure.to_text()),
    };
    ExitCode::from(failure.kind as u8)
}
