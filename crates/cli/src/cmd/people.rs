//! `kinglet user` and `kinglet token`.

use std::io::{BufRead as _, IsTerminal as _};

use kinglet_server::access::AccessError;
use kinglet_server::store::{TokenRow, UserRow};
use kinglet_server::{Config, Core};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::device::store_failed;
use crate::args::{DeviceCommon, TokenAction, TokenArgs, UserAction, UserArgs};
use crate::failure::{Failure, Kind, Result};
use crate::host;
use crate::term::style::{BOLD, HINT};
use crate::term::{Align, Out, Table, iso, secret, when};

/// Longest line taken for a password: what is longer is no password, and is not read to its end.
const LINE_LEN_MAX: u64 = 4096;

pub(crate) fn user(args: &UserArgs) -> Result {
    let common = args.action.common();
    let mut out = Out::new(common.json);
    let config = config(common, matches!(args.action, UserAction::Add(_)))?;
    let runtime = host::runtime()?;
    // Before the store is opened, which somebody who is still thinking would hold open.
    let password = match &args.action {
        UserAction::Add(a) => Some(password(&a.name)?),
        UserAction::Password(a) => Some(password(&a.name)?),
        _ => None,
    };
    let core = host::core(&runtime, config)?;
    let (access, now_ms) = (&core.access, core.clock.now_ms());
    match (&args.action, password) {
        (UserAction::Add(a), Some(password)) => {
            runtime.block_on(access.add_user(&a.name, a.role, password, now_ms)).map_err(refused)?;
            let name = a.name.to_ascii_lowercase();
            out.result(&json!({ "name": name, "role": a.role.word() }))?;
            out.line(format_args!("{BOLD}{name}{BOLD:#} may log in as {}", a.role.word()))?;
            if runtime.block_on(core.store.users()).map_err(store_failed)?.len() == 1 {
                out.line("from now on nobody is shown anything without a login; devices go on as they did")?;
            }
        }
        (UserAction::Password(a), Some(password)) => {
            runtime.block_on(access.set_password(&a.name, password)).map_err(refused)?;
            out.result(&json!({ "name": a.name.to_ascii_lowercase() }))?;
            out.line("the password is another; every login under the old one has ended")?;
        }
        (UserAction::Role(a), _) => {
            runtime.block_on(access.set_role(&a.name, a.role)).map_err(refused)?;
            let name = a.name.to_ascii_lowercase();
            out.result(&json!({ "name": name, "role": a.role.word() }))?;
            out.line(format_args!("{BOLD}{name}{BOLD:#} is {} from now on", a.role.word()))?;
        }
        (UserAction::Remove(a), _) => {
            runtime.block_on(access.remove_user(&a.name)).map_err(refused)?;
            let is_last = runtime.block_on(core.store.users()).map_err(store_failed)?.is_empty();
            out.result(
                &json!({ "name": a.name.to_ascii_lowercase(), "removed": true, "users_left": !is_last }),
            )?;
            out.line("removed, and logged out everywhere")?;
            if is_last {
                out.line("that was the last user: on the server's own machine whoever asks is shown everything again")?;
            }
        }
        _ => list_users(&mut out, &runtime.block_on(core.store.users()).map_err(store_failed)?)?,
    }
    runtime.block_on(core.store.close()).map_err(store_failed)
}

pub(crate) fn token(args: &TokenArgs) -> Result {
    let common = args.action.common();
    let mut out = Out::new(common.json);
    let config = config(common, matches!(args.action, TokenAction::Add(_)))?;
    let runtime = host::runtime()?;
    let core = host::core(&runtime, config)?;
    match &args.action {
        TokenAction::Add(a) => {
            let now_ms = core.clock.now_ms();
            let lasting = |d: std::time::Duration| now_ms.saturating_add_unsigned(d.as_millis() as u64);
            let t_expires = a.expires.map(lasting);
            let made = runtime.block_on(core.access.add_token(&a.name, a.role, t_expires, now_ms));
            let token = made.map_err(refused)?;
            let name = a.name.to_ascii_lowercase();
            out.result(&json!({
                "name": name, "role": a.role.word(), "expires": t_expires.map(iso), "token": *token,
            }))?;
            if out.is_terminal() {
                let until = t_expires.map_or("until it is revoked".into(), |t| format!("until {}", when(t)));
                out.line(format_args!("{BOLD}{name}{BOLD:#} may ask as {}, {until}", a.role.word()))?;
                out.line(format_args!("{HINT}this is the only time the token is shown{HINT:#}"))?;
            }
            out.line(&*token)?;
        }
        TokenAction::Revoke(a) => {
            runtime.block_on(core.access.remove_token(&a.name)).map_err(refused)?;
            out.result(&json!({ "name": a.name.to_ascii_lowercase(), "revoked": true }))?;
            out.line("revoked: nothing is answered to it any more")?;
        }
        TokenAction::List(_) => {
            let tokens = runtime.block_on(core.store.tokens()).map_err(store_failed)?;
            list_tokens(&mut out, &core, &tokens)?;
        }
    }
    runtime.block_on(core.store.close()).map_err(store_failed)
}

/// The configuration; a path that was mistyped shall not become a new, empty server.
pub(super) fn config(common: &DeviceCommon, may_be_new: bool) -> Result<Config> {
    let config = host::config(&common.overrides())?;
    if !may_be_new && host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .next("name the server's data directory with --data"));
    }
    Ok(config)
}

fn list_users(out: &mut Out, users: &[UserRow]) -> Result {
    let columns = [("user", Align::Left), ("role", Align::Left), ("added", Align::Left)];
    let mut table = Table::new(&columns);
    for user in users {
        table.row([user.name.clone(), user.role.word().into(), when(user.t_created)]);
    }
    let one = |user: &UserRow| json!({ "name": user.name, "role": user.role.word(), "created": iso(user.t_created) });
    out.result(&json!({ "users": users.iter().map(one).collect::<Vec<_>>() }))?;
    match users.is_empty() {
        true => out
            .line("no users: whoever reaches the server sees everything; `kinglet user add NAME` adds one")?,
        false => out.table(&table)?,
    }
    Ok(())
}

fn list_tokens(out: &mut Out, core: &Core, tokens: &[TokenRow]) -> Result {
    let now_ms = core.clock.now_ms();
    let columns =
        [("token", Align::Left), ("role", Align::Left), ("made", Align::Left), ("ends", Align::Left)];
    let mut table = Table::new(&columns);
    for token in tokens {
        let ends = match token.t_expires {
            None => "never".into(),
            Some(t) if t <= now_ms => format!("ended {}", when(t)),
            Some(t) => when(t),
        };
        table.row([token.name.clone(), token.role.word().into(), when(token.t_created), ends]);
    }
    let one = |token: &TokenRow| -> Value {
        json!({
            "name": token.name, "role": token.role.word(), "created": iso(token.t_created),
            "expires": token.t_expires.map(iso), "expired": token.t_expires.is_some_and(|t| t <= now_ms),
        })
    };
    out.result(&json!({ "tokens": tokens.iter().map(one).collect::<Vec<_>>() }))?;
    match tokens.is_empty() {
        true => out.line("no tokens: `kinglet token add --name NAME` makes one")?,
        false => out.table(&table)?,
    }
    Ok(())
}

/// Asked for at the terminal, twice; else one line of standard input. Never from the command line, which others see.
fn password(name: &str) -> Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let first = secret::ask(&format!("password for {}: ", crate::failure::printable(name)))?;
        let again = secret::ask("the same again: ")?;
        if *first != *again {
            return Err(Failure::usage("the two passwords differ").next("run it again"));
        }
        return Ok(first);
    }
    let mut line = Zeroizing::new(String::with_capacity(512));
    let stdin = std::io::stdin().lock();
    let read = std::io::Read::take(stdin, LINE_LEN_MAX).read_line(&mut line);
    read.map_err(|e| Failure::input("cannot read the password from standard input").why(e))?;
    let len = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(len);
    if line.is_empty() {
        return Err(Failure::usage("there is no password on standard input")
            .next("run it at a terminal, or pipe the password in as one line"));
    }
    Ok(line)
}

fn refused(error: AccessError) -> Failure {
    let (kind, next) = match &error {
        AccessError::BadName => (Kind::Usage, "choose another name"),
        AccessError::BadPassword => (Kind::Usage, "choose another password"),
        AccessError::Taken(_) => {
            (Kind::Refused, "choose another name; `kinglet user list` and `kinglet token list` show all")
        }
        AccessError::Unknown(_) => {
            (Kind::Refused, "`kinglet user list` and `kinglet token list` show all; check --data")
        }
        _ => (Kind::Failure, "check the data directory"),
    };
    Failure::new(kind, "that cannot be done").why(error).next(next)
}
