//! `kinglet completions SHELL`.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::failure::Result;
use crate::term::Out;

pub(crate) fn run(args: &CompletionsArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinglet", &mut script);
    Ok(Out::new(false).raw(&String::from_utf8_lossy(&script))?)
}
