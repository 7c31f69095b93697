//! `user`, `token` and `alerts`.

use std::time::Duration;

use clap::{Args, Subcommand};
use kinglet_server::store::Role;

use super::DeviceCommon;

/// Say who may look at the dashboard and use the API
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet user add anna --role admin                       asks for the password, twice
  pass show kinglet/bob | kinglet user add bob             or reads it from standard input, one line
  kinglet user list
  kinglet user role bob operator                           holds at once, for logins that are open too
  kinglet user password anna                               ends every login under the old one
  kinglet user remove bob

viewer sees devices and readings, operator also adds and revokes devices and bundles, admin also users and tokens. Once
there is a user nobody is shown anything without a login. Servers see the change at once; they need not be running.
Devices are not concerned: they have keys of their own.")]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum UserAction {
    /// Add a user; the password is asked for, or read from standard input
    Add(PersonAddArgs),
    /// Show all users
    List(PeopleListArgs),
    /// Give a user another role
    Role(PersonRoleArgs),
    /// Give a user another password
    Password(PersonOneArgs),
    /// Remove a user, who is logged out at once
    Remove(PersonOneArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PersonAddArgs {
    /// Letters, digits, `.`, `_`, `-` and `@`; upper and lower case are the same
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// viewer, operator or admin
    #[arg(long, value_name = "ROLE", default_value = "viewer", value_parser = str::parse::<Role>)]
    pub(crate) role: Role,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

#[derive(Args, Debug)]
pub(crate) struct PersonRoleArgs {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// viewer, operator or admin
    #[arg(value_name = "ROLE", value_parser = str::parse::<Role>)]
    pub(crate) role: Role,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

#[derive(Args, Debug)]
pub(crate) struct PersonOneArgs {
    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

#[derive(Args, Debug)]
pub(crate) struct PeopleListArgs {
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

/// Show what is wrong, as the server's alert rules have found it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet alerts                 what is raised now
  kinglet alerts --all --json    what was cleared too, the newest first

What is looked for stands in the server's config file, see `kinglet config`.")]
pub(crate) struct AlertsArgs {
    /// Show what is over too
    #[arg(long)]
    pub(crate) all: bool,
    /// Show at most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

/// Let programs use the API
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet token add --name grafana --role viewer --expires 90d     prints the token, once
  kinglet token add --name prometheus > prometheus.token
  kinglet token list
  kinglet token revoke grafana
  curl -H \"Authorization: Bearer $(cat prometheus.token)\" http://127.0.0.1:8470/metrics

A token goes into the header, never into a URL. The roles are those of users, see `kinglet user --help`.")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TokenAction {
    /// Make a token
    Add(TokenAddArgs),
    /// Show all tokens, without what they bring
    List(PeopleListArgs),
    /// Revoke a token at once
    Revoke(PersonOneArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TokenAddArgs {
    /// What to call it: letters, digits, `.`, `_`, `-` and `@`
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// viewer, operator or admin
    #[arg(long, value_name = "ROLE", default_value = "viewer", value_parser = str::parse::<Role>)]
    pub(crate) role: Role,
    /// When it ends: 12h, 90d, 1y; without it never
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no time: say 12h, 90d or 1y");
    let unit = text.chars().last().ok_or_else(bad)?;
    let n: u32 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or_else(bad)?;
    let hours: u32 = match unit {
        'h' => 1,
        'd' => 24,
        'y' => 365 * 24,
        _ => return Err(bad()),
    };
    // A century is longer than any token should last, and short enough for every clock.
    let hours = n.checked_mul(hours).filter(|hours| *hours <= 100 * 366 * 24).ok_or_else(bad)?;
    Ok(Duration::from_secs(u64::from(hours) * 3600))
}

impl UserAction {
    pub(crate) fn common(&self) -> &DeviceCommon {
        match self {
            Self::Add(a) => &a.common,
            Self::List(a) => &a.common,
            Self::Role(a) => &a.common,
            Self::Password(a) | Self::Remove(a) => &a.common,
        }
    }
}

impl TokenAction {
    pub(crate) fn common(&self) -> &DeviceCommon {
        match self {
            Self::Add(a) => &a.common,
            Self::List(a) => &a.common,
            Self::Revoke(a) => &a.common,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_shortly() {
        let check = |text: &str, hours: Option<u64>| {
            assert_eq!(lasting(text).ok(), hours.map(|h| Duration::from_secs(3600 * h)), "{text}");
        };
        check("12h", Some(12));
        check("90d", Some(90 * 24));
        check("1y", Some(365 * 24));
        for bad in ["", "d", "0d", "-1d", "90", "90m", "1.5d", "4294967295y", "101y", "9é"] {
            check(bad, None);
        }
    }
}
