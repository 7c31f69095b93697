//! What can be typed. Everything after this module is typed in the other sense.

mod audit;
mod bench;
mod files;
mod keep;
mod learn;
mod nodes;
mod people;
mod seed;
mod server;
mod values;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub(crate) use audit::AuditArgs;
pub(crate) use bench::BenchArgs;
pub(crate) use files::{DecodeArgs, EncodeArgs, InspectArgs};
pub(crate) use keep::{
    BackupArgs, KeysAction, KeysArgs, ReadingsAction, ReadingsArgs, ReadingsExportArgs, ReadingsFormat,
    RestoreArgs, StoreAction, StoreArgs,
};
pub(crate) use learn::{BundlesAction, BundlesArgs, EvalArgs, ReadingArgs, TrainArgs};
pub(crate) use nodes::{DemoArgs, FrameArgs, SendArgs, SimulateArgs, TrustArgs};
pub(crate) use people::{AlertsArgs, TokenAction, TokenArgs, UserAction, UserArgs};
pub(crate) use seed::{ExportArgs, Format, ImportArgs, Range, SeedSendArgs, SeedTrainArgs};
pub(crate) use server::{
    CertificateArgs, DeviceAction, DeviceAddArgs, DeviceArgs, DeviceCommon, DeviceFlashArgs, HealthArgs,
    ServeArgs,
};
pub(crate) use values::{Source, Variants};

/// A window of sensor readings in a handful of sealed bytes, within a bound you set
#[derive(Parser, Debug)]
#[command(name = "kinglet", version, styles = crate::term::style::HELP, max_term_width = 100)]
#[command(after_help = "First steps:
  kinglet demo                   see all of it work, nothing to install
  kinglet train room.csv         learn a codec from your readings
  kinglet serve                  run the server
  kinglet device add porch       register a device

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input file, 4 network, 5 refused by the other side,
6 output not written, 7 a promise did not hold (bound, or stored exactly once).")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Colours: auto, always or never; auto asks the terminal and NO_COLOR
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: clap::ColorChoice,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Train(TrainArgs),
    Eval(EvalArgs),
    Audit(AuditArgs),
    Bench(BenchArgs),
    Encode(EncodeArgs),
    Decode(DecodeArgs),
    Inspect(InspectArgs),
    #[command(visible_alias = "bundle")]
    Bundles(BundlesArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Serve(ServeArgs),
    Health(HealthArgs),
    Device(DeviceArgs),
    Certificate(CertificateArgs),
    Readings(ReadingsArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Store(StoreArgs),
    Keys(KeysArgs),
    User(UserArgs),
    Token(TokenArgs),
    Alerts(AlertsArgs),
    Send(SendArgs),
    Simulate(SimulateArgs),
    /// Print the config file of `kinglet serve`, commented
    #[command(after_help = "Example:\n  kinglet config > server.toml")]
    Config,
    Completions(CompletionsArgs),
}

/// Print completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet completions bash > ~/.local/share/bash-completion/completions/kinglet
  kinglet completions fish > ~/.config/fish/completions/kinglet.fish
  kinglet completions zsh > ~/.zfunc/_kinglet")]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// All that can be typed. What a command shows of examples, each command below it shows as far as they are its own.
pub(crate) fn command() -> clap::Command {
    let mut cli = Cli::command();
    for parent in cli.get_subcommands_mut() {
        let examples = parent.get_after_help().map(ToString::to_string).unwrap_or_default();
        let of = format!("kinglet {} ", parent.get_name());
        for child in parent.get_subcommands_mut().filter(|child| child.get_after_help().is_none()) {
            let typed = format!("{of}{}", child.get_name());
            let is_own = |line: &&str| {
                line.split_once(&typed).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
            };
            let own: Vec<&str> = examples.lines().filter(is_own).collect();
            if !own.is_empty() {
                let own = format!("Examples:\n{}", own.join("\n"));
                *child = std::mem::take(child).after_help(own);
            }
        }
    }
    cli
}

impl Command {
    /// True if the command was asked for JSON: then a failure is said in JSON too.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Demo(a) => a.json,
            Self::Train(a) => a.json,
            Self::Eval(a) => a.json,
            Self::Audit(a) => a.json,
            Self::Bench(a) => a.json,
            Self::Encode(a) => a.json,
            Self::Inspect(a) => a.json,
            Self::Bundles(a) => {
                let json = match &a.action {
                    Some(BundlesAction::List { json }) => *json,
                    Some(BundlesAction::Sign { json, .. }) => *json,
                    Some(
                        BundlesAction::Add { common, .. }
                        | BundlesAction::Offer { common, .. }
                        | BundlesAction::Offers { common }
                        | BundlesAction::Withdraw { common, .. },
                    ) => common.json,
                    _ => false,
                };
                a.json || json
            }
            Self::Export(a) => a.json,
            Self::Import(a) => a.json,
            Self::Serve(a) => a.json,
            Self::Device(a) => a.action.json(),
            Self::Certificate(a) => a.common.json,
            Self::Readings(ReadingsArgs { action: ReadingsAction::Export(a) }) => a.common.json,
            Self::Backup(a) => a.json,
            Self::Restore(a) => a.json,
            Self::Store(StoreArgs { action: StoreAction::Copy(a) }) => a.json,
            Self::Keys(KeysArgs { action: KeysAction::Rotate(a) }) => a.common.json,
            Self::User(a) => a.action.common().json,
            Self::Token(a) => a.action.common().json,
            Self::Alerts(a) => a.common.json,
            Self::Send(a) => a.json,
            Self::Simulate(a) => a.json,
            Self::Health(a) => a.json,
            Self::Decode(_) | Self::Config | Self::Completions(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
