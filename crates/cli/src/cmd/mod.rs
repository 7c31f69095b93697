//! One file per command.

mod alerts;
mod audit;
mod bench;
mod bundles;
pub(crate) mod certificate;
mod completions;
mod config;
mod crowd;
mod decode;
mod demo;
mod device;
mod encode;
mod eval;
mod export;
mod health;
mod import;
mod inspect;
mod keep;
mod people;
mod send;
mod serve;
mod simulate;
mod stored;
mod train;

use crate::args::Command;
pub(crate) use device::store_failed;

use crate::failure::Result;

/// Does what was asked.
pub(crate) fn run(command: Command) -> Result {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Encode(args) => encode::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bundles(args) => bundles::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Device(args) => device::run(&args),
        Command::Certificate(args) => certificate::run(&args),
        Command::Readings(args) => stored::run(&args),
        Command::Backup(args) => keep::backup(&args),
        Command::Restore(args) => keep::restore(&args),
        Command::Store(args) => keep::store(&args),
        Command::Keys(args) => keep::keys(&args),
        Command::User(args) => people::user(&args),
        Command::Token(args) => people::token(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Config => config::run(),
        Command::Completions(args) => completions::run(&args),
    }
}
