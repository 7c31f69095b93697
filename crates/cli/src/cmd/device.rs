//! `kinglet device add|list|show|revoke|flash-config`.

mod flash_config;

use std::sync::Arc;

use kinglet_server::registry::RegistryError;
use kinglet_server::reports;
use kinglet_server::store::{DeviceRow, StoreError, Totals};
use kinglet_server::{Core, Tls};
use kinglet_wire::keys::DeviceId;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::args::{DeviceAction, DeviceAddArgs, DeviceArgs};
use crate::failure::{Failure, Kind, Result};
use crate::provisioning::Provisioning;
use crate::term::style::{BOLD, HINT};
use crate::term::{Align, Out, Table, bytes, iso, when};
use crate::{files, hex, host, update_key};

pub(crate) fn run(args: &DeviceArgs) -> Result {
    if let DeviceAction::FlashConfig(args) = &args.action {
        return flash_config::run(args);
    }
    let Some(common) = args.action.common() else { return Ok(()) };
    let mut out = Out::new(common.json);
    let runtime = host::runtime()?;
    let config = host::config(&common.overrides())?;
    if !matches!(args.action, DeviceAction::Add(_)) && host::is_new(&config) {
        // A path that was mistyped shall not become a new, empty server.
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .why("no server has run on it and no device was added")
            .next("name the server's data directory with --data"));
    }
    let is_new = host::is_new(&config);
    let core = host::core(&runtime, config)?;
    match &args.action {
        DeviceAction::Add(args) => add(&mut out, &runtime, &core, args, is_new)?,
        DeviceAction::List(_) => list(&mut out, &runtime, &core)?,
        DeviceAction::Show(args) => show(&mut out, &runtime, &core, &args.id)?,
        DeviceAction::Token(args) => token(&mut out, &runtime, &core, &args.id)?,
        // Done above: it needs no server's data.
        DeviceAction::FlashConfig(_) => {}
        DeviceAction::Revoke(args) => {
            runtime.block_on(core.registry.revoke(&args.id, core.clock.now_ms())).map_err(refused)?;
            out.result(&json!({ "id": args.id, "revoked": true }))?;
            out.line(format_args!(
                "{} is revoked: nothing it says is taken any more, its readings stay",
                args.id
            ))?;
        }
    }
    runtime.block_on(core.store.close()).map_err(store_failed)
}

fn add(out: &mut Out, runtime: &Runtime, core: &Arc<Core>, args: &DeviceAddArgs, is_new: bool) -> Result {
    let bundle = args.bundle.as_deref().map(files::read_bundle).transpose()?;
    let update_key = args.update_key.as_deref().map(update_key::read_public).transpose()?;
    if let Some(path) = &args.key_out
        && path.exists()
    {
        // Before anything is registered: a key that could not be kept would be lost for good.
        return Err(Failure::writing(path.display(), &std::io::ErrorKind::AlreadyExists.into())
            .next("choose another name: a file with a key is never replaced"));
    }
    let now_ms = core.clock.now_ms();
    let (row, key) = runtime.block_on(core.registry.add(args.id(), &args.name, now_ms)).map_err(refused)?;
    if let Some(bundle) = &bundle {
        let added = runtime.block_on(core.bundles.add(bundle.emit(), now_ms));
        added.map_err(|e| Failure::new(Kind::Failure, "the bundle was not taken").why(e))?;
    }
    let Some(id) = DeviceId::new(&row.id) else {
        return Err(Failure::new(Kind::Failure, "the device's id changed in the store"));
    };
    let server = args.server.clone().unwrap_or_else(|| format!("http://{}", core.config.http));
    // A certificate of the user's own is renewed one day, and has an authority instead.
    let by_tls = server.starts_with("https://") || server.starts_with("mqtts://");
    let pin = match by_tls && core.config.tls_files.is_none() {
        true => Some(Tls::open(&core.config).map_err(super::certificate::refused)?.pin()),
        false => None,
    };
    let line = Provisioning { id, key, server: Some(server), pin, update_key }.emit();
    if let Some(path) = &args.key_out {
        files::write(path, format!("{}\n", line.as_str()).as_bytes(), false, files::Access::Owner).map_err(
            |e| {
                e.next(format_args!(
                    "the device is registered without a key anyone has: `kinglet device revoke {}`",
                    row.id
                ))
            },
        )?;
    }
    let shown = args.key_out.is_none().then(|| line.as_str());
    let key = shown.and_then(|line| line.rsplit_once('#')).map(|(_, key)| key);
    out.result(&json!({
        "id": row.id, "short_id": row.short_id, "key": key, "uri": shown, "pin": pin.map(|pin| pin.to_string()),
        "store": host::kept(&core.config), "key_out": args.key_out.as_ref().map(|path| path.display().to_string()),
        "bundle": bundle.as_ref().map(|b| hex::emit(&b.fingerprint())),
    }))?;
    let kept = host::kept(&core.config);
    out.line(format_args!("{BOLD}{}{BOLD:#} is registered in {kept}", row.id))?;
    if is_new {
        // A server with its data elsewhere would not know the device.
        out.line(format_args!(
            "{HINT}no server has kept anything there yet: start it with --data {kept}, or name the data directory of the one that runs{HINT:#}"
        ))?;
    }
    match (&args.key_out, key) {
        (Some(path), _) => {
            out.line(format_args!("its key lies in {}, readable by you alone", path.display()))?
        }
        (None, Some(key)) => {
            out.line(format_args!("key   {key}"))?;
            out.line(format_args!("uri   {}", line.as_str()))?;
            out.line(format_args!("{HINT}this is the only time the key is shown{HINT:#}"))?;
        }
        _ => {}
    }
    if bundle.is_none() {
        out.line(
            "no bundle was named: the server must know the device's bundle before it can take its readings",
        )?;
    }
    Ok(())
}

fn list(out: &mut Out, runtime: &Runtime, core: &Arc<Core>) -> Result {
    let mut table = Table::new(&[
        ("device", Align::Left),
        ("state", Align::Left),
        ("last seen", Align::Left),
        ("windows", Align::Right),
        ("readings", Align::Right),
        ("sent", Align::Right),
        ("repeats", Align::Right),
        ("lost", Align::Right),
    ]);
    let mut devices = Vec::new();
    let mut after = 0;
    loop {
        let page = runtime.block_on(core.store.devices(after, 1000)).map_err(store_failed)?;
        let Some(last) = page.last() else { break };
        after = last.short_id;
        for row in &page {
            let totals = runtime.block_on(core.store.totals(Some(row.short_id))).map_err(store_failed)?;
            devices.push(to_json(row, totals));
            let state = if row.t_revoked.is_some() { "revoked" } else { "active" };
            table.row([
                row.id.clone(),
                state.into(),
                row.t_last_seen.map_or("never".into(), when),
                totals.windows.to_string(),
                totals.readings.to_string(),
                bytes(totals.bytes),
                totals.duplicates.to_string(),
                row.windows_lost.to_string(),
            ]);
        }
    }
    let none = devices.is_empty();
    out.result(&json!({ "devices": devices }))?;
    match none {
        true => out.line("no devices yet: `kinglet device add ID` registers one")?,
        false => out.table(&table)?,
    }
    Ok(())
}

fn show(out: &mut Out, runtime: &Runtime, core: &Arc<Core>, id: &str) -> Result {
    let row = find(runtime, core, id)?;
    let totals = runtime.block_on(core.store.totals(Some(row.short_id))).map_err(store_failed)?;
    let offer = runtime.block_on(core.offer_to(&row)).map_err(store_failed)?;
    let mut json = to_json(&row, totals);
    json["status"] = reports::status_json(&row);
    json["update"] = reports::update_json(&row, offer.as_ref());
    out.result(&json)?;
    let name = if row.name.is_empty() { String::new() } else { format!(", {}", row.name) };
    out.line(format_args!("{BOLD}{}{BOLD:#}{name}, short id {}", row.id, row.short_id))?;
    out.line(format_args!("registered {}", when(row.t_created)))?;
    if let Some(t_ms) = row.t_revoked {
        out.line(format_args!("revoked    {}", when(t_ms)))?;
    }
    out.line(format_args!("last seen  {}", row.t_last_seen.map_or("never".into(), when)))?;
    out.line(format_args!("stored     {} windows, {} readings", totals.windows, totals.readings))?;
    out.line(format_args!("on the air {} in {} frames", bytes(totals.bytes), totals.frames))?;
    out.line(format_args!(
        "repeats    {} recognised, {} windows given up by the device",
        totals.duplicates, row.windows_lost
    ))?;
    if let Some(status) = reports::last_status(&row) {
        let battery = status.battery_mv.map(|mv| format!(", battery {:.2} V", f64::from(mv) / 1000.0));
        let heap = status.heap_free.map(|n| format!(", {} of heap free", bytes(n.into())));
        out.line(format_args!(
            "started    {} times, last because of: {}{}{}",
            status.boot,
            reports::reset_words(status.reset),
            battery.unwrap_or_default(),
            heap.unwrap_or_default()
        ))?;
    }
    if let Some(words) = reports::update_words(&row, offer.as_ref()) {
        out.line(format_args!("bundle     {words}"))?;
    }
    for (slot, fingerprint) in &row.slots {
        out.line(format_args!("bundle     {} in slot {slot}", hex::emit(fingerprint)))?;
    }
    Ok(())
}

/// What a device that speaks MQTT by another library than ours is given besides its key.
fn token(out: &mut Out, runtime: &Runtime, core: &Arc<Core>, id: &str) -> Result {
    let row = find(runtime, core, id)?;
    let key = core.registry.key_of(&row).map_err(refused)?;
    let Some(id) = DeviceId::new(&row.id) else { return Err(refused(RegistryError::BadId(row.id))) };
    let password = Zeroizing::new(key.access_token(&id).password());
    let password = std::str::from_utf8(password.as_slice()).unwrap_or_default();
    let topic = |last: &str| format!("kinglet/{id}/{last}");
    out.result(&json!({
        "username": id.as_str(), "password": password,
        "publish": topic("up"), "subscribe": [topic("down"), topic("refused")],
    }))?;
    out.line(format_args!("username   {id}"))?;
    out.line(format_args!("password   {password}"))?;
    out.line(format_args!("publish    {}", topic("up")))?;
    out.line(format_args!("subscribe  {}, {}", topic("down"), topic("refused")))?;
    out.line(format_args!(
        "{HINT}the password lets the device in and opens no frame; it follows from the key{HINT:#}"
    ))?;
    Ok(())
}

fn find(runtime: &Runtime, core: &Arc<Core>, id: &str) -> Result<DeviceRow> {
    let row = runtime.block_on(core.store.device(id)).map_err(store_failed)?;
    row.ok_or_else(|| refused(RegistryError::Unknown(id.chars().take(64).collect())))
}

fn to_json(row: &DeviceRow, totals: Totals) -> Value {
    json!({
        "id": row.id, "name": row.name, "short_id": row.short_id, "created": iso(row.t_created), "revoked": row.t_revoked.map(iso),
        "last_seen": row.t_last_seen.map(iso), "windows": totals.windows, "readings": totals.readings,
        "frames": totals.frames, "bytes": totals.bytes, "repeats": totals.duplicates,
        "windows_lost": row.windows_lost,
        "bundles": row.slots.iter().map(|(slot, f)| json!({ "slot": slot, "fingerprint": hex::emit(f) })).collect::<Vec<_>>(),
    })
}

/// What the registry says, with the kind it has for scripts.
pub(crate) fn refused(error: RegistryError) -> Failure {
    let (kind, next) = match &error {
        RegistryError::BadId(_) => (Kind::Usage, "choose another id"),
        RegistryError::BadName => (Kind::Usage, "choose another name"),
        RegistryError::Unknown(_) => (Kind::Refused, "`kinglet device list` shows all; check --data"),
        RegistryError::Store(StoreError::Exists(_)) => (Kind::Refused, "choose another id"),
        _ => (Kind::Failure, "check the data directory"),
    };
    Failure::new(kind, "the registry refuses").why(error).next(next)
}

pub(crate) fn store_failed(error: StoreError) -> Failure {
    Failure::new(Kind::Failure, "the store failed").why(error).next("check the data directory and its disk")
}
