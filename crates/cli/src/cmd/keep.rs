//! `kinglet backup`, `kinglet restore` and `kinglet keys rotate`.

use std::path::Path;

use kinglet_server::Config;
use kinglet_server::config::{Overrides, StoreChoice};
use kinglet_server::store::{self, StoreError};
use serde_json::json;

use super::device::refused;
use crate::args::{BackupArgs, KeysAction, KeysArgs, RestoreArgs, StoreAction, StoreArgs};
use crate::failure::{Failure, Kind, Result};
use crate::host;
use crate::term::{Out, Progress, bytes};

pub(crate) fn backup(args: &BackupArgs) -> Result {
    let mut out = Out::new(args.json);
    let config = embedded(args.config.as_deref(), args.data.as_deref())?;
    if host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .next("name the server's data directory with --data"));
    }
    if args.out.exists() {
        return Err(Failure::writing(args.out.display(), &std::io::ErrorKind::AlreadyExists.into())
            .next("choose another name: a backup is never replaced"));
    }
    let progress = Progress::bar("copying");
    let made = store::back_up(&config.store_path(), &args.out, |done| progress.set(done));
    drop(progress);
    let checked = made.map_err(|e| failed(Kind::Output, "the backup was not made", e))?;
    let len = std::fs::metadata(&args.out).map_or(0, |file| file.len());
    let master = master_key(&config);
    out.result(&json!({
        "file": args.out.display().to_string(), "bytes": len, "devices": checked.n_devices, "windows": checked.n_windows,
        "schema": checked.schema, "master_key": master,
    }))?;
    out.line(format_args!(
        "{} written and checked: {} devices, {} windows, {}",
        args.out.display(),
        checked.n_devices,
        checked.n_windows,
        bytes(len)
    ))?;
    Ok(out.line(format_args!(
        "its device keys open with {master} only: keep a copy of that, and not beside it"
    ))?)
}

pub(crate) fn restore(args: &RestoreArgs) -> Result {
    let mut out = Out::new(args.json);
    let config = embedded(args.config.as_deref(), args.data.as_deref())?;
    let restored = store::restore(&args.file, &config.store_path());
    let checked = restored.map_err(|e| failed(Kind::Input, "the backup was not restored", e))?;
    let master = master_key(&config);
    let has_key = Path::new(&master).exists();
    out.result(&json!({
        "data": config.data.display().to_string(), "devices": checked.n_devices, "windows": checked.n_windows,
        "schema": checked.schema, "master_key": master, "has_master_key": has_key,
    }))?;
    out.line(format_args!(
        "{} restored: {} devices, {} windows",
        config.data.display(),
        checked.n_devices,
        checked.n_windows
    ))?;
    if !has_key {
        return Ok(out.line(format_args!(
            "before the server starts, bring the master key of that time to {master} (mode 600): without it no device \
             is understood"
        ))?);
    }
    // Says by name if it is another one.
    let runtime = host::runtime()?;
    let core = host::core(&runtime, config)?;
    runtime.block_on(core.store.close()).map_err(super::device::store_failed)?;
    Ok(out
        .line("its master key fits: `kinglet serve` goes on from there, devices join again by themselves")?)
}

pub(crate) fn store(args: &StoreArgs) -> Result {
    let StoreAction::Copy(args) = &args.action;
    let mut out = Out::new(args.json);
    let config = embedded(args.config.as_deref(), args.data.as_deref())?;
    if host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .next("name the server's data directory with --data"));
    }
    let there = host::config(&Overrides {
        file: args.config.clone(),
        data: args.data.clone(),
        store: Some(args.to.clone()),
        ..Overrides::default()
    })?;
    let checked = copy(&config, &there)?;
    let (to, master) = (there.store.to_string(), master_key(&config));
    out.result(&json!({
        "to": to, "devices": checked.n_devices, "windows": checked.n_windows, "master_key": master,
    }))?;
    out.line(format_args!("{to} holds {} devices and {} windows now", checked.n_devices, checked.n_windows))?;
    Ok(out.line(format_args!(
        "serve from there with this store and the same master key, {master}; no more from the old file"
    ))?)
}

#[cfg(feature = "postgres")]
fn copy(config: &Config, there: &Config) -> Result<store::Checked> {
    let StoreChoice::Postgres(target) = &there.store else {
        return Err(Failure::usage("--to names no PostgreSQL database")
            .next("say postgres://USER@HOST/DATABASE; an embedded store is copied with `kinglet backup`"));
    };
    let progress = Progress::bar("copying");
    let copied = host::runtime()?
        .block_on(store::copy_to_postgres(&config.store_path(), target, |done| progress.set(done)));
    drop(progress);
    copied.map_err(|e| failed(Kind::Failure, "the store was not copied", e))
}

#[cfg(not(feature = "postgres"))]
fn copy(_: &Config, _: &Config) -> Result<store::Checked> {
    Err(Failure::usage("this kinglet was built without PostgreSQL").next("build it with --features postgres"))
}

pub(crate) fn keys(args: &KeysArgs) -> Result {
    let KeysAction::Rotate(args) = &args.action;
    let mut out = Out::new(args.common.json);
    let runtime = host::runtime()?;
    let config = host::config(&args.common.overrides())?;
    if host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .next("name the server's data directory with --data"));
    }
    let master = master_key(&config);
    let core = host::core(&runtime, config)?;
    let n = runtime.block_on(core.registry.rotate_master_key()).map_err(refused)?;
    runtime.block_on(core.store.close()).map_err(super::device::store_failed)?;
    out.result(&json!({ "master_key": master, "devices": n }))?;
    out.line(format_args!("{master} is new, and the keys of {n} devices are wrapped under it"))?;
    Ok(out.line(format_args!(
        "servers on other machines need a copy of it now; backups made before need the old one, {master}.old"
    ))?)
}

/// The configuration of a server with an embedded store.
fn embedded(file: Option<&Path>, data: Option<&Path>) -> Result<Config> {
    let flags = Overrides {
        file: file.map(Path::to_path_buf),
        data: data.map(Path::to_path_buf),
        ..Overrides::default()
    };
    let config = host::config(&flags)?;
    if config.store != StoreChoice::Sqlite {
        return Err(Failure::usage("this server keeps its readings in PostgreSQL")
            .next("use pg_dump and pg_restore, and keep a copy of the master key"));
    }
    Ok(config)
}

fn master_key(config: &Config) -> String {
    let usual = || config.data.join("master.key");
    config.master_key_file.clone().unwrap_or_else(usual).display().to_string()
}

fn failed(kind: Kind, what: &str, error: StoreError) -> Failure {
    Failure::new(kind, what).why(error).next("nothing was changed; mend that and run it again")
}
