//! `kinglet bundles keygen|sign|offer|offers|withdraw`: bundles over the air.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kinglet_codec::bundle::Bundle;
use kinglet_server::Core;
use kinglet_server::offers::{Audience, OfferError, Reported, same_channels};
use kinglet_server::store::DeviceRow;
use kinglet_wire::update::Update;
use serde_json::json;
use tokio::runtime::Runtime;

use super::super::device::{refused, store_failed};
use crate::args::DeviceCommon;
use crate::failure::{Failure, Kind, Result};
use crate::term::style::HINT;
use crate::term::{Align, Out, Table, bytes, when};
use crate::{files, hex, host, update_key};

/// Where a signed bundle goes.
pub(super) struct Target<'a> {
    pub(super) path: &'a Path,
    pub(super) force: bool,
    pub(super) json: bool,
}

pub(super) fn keygen(path: &Path) -> Result {
    let public_path = path.with_added_extension("pub");
    let key = update_key::generate()?;
    files::write(path, update_key::secret_text(&key).as_bytes(), false, files::Access::Owner)?;
    let public = format!("{}\n", update_key::to_text(&key.public()));
    files::write(&public_path, public.as_bytes(), false, files::Access::Usual)?;
    let mut out = Out::new(false);
    out.line(format_args!("{} signs bundles: keep it where no server is, and a copy of it", path.display()))?;
    Ok(out.line(format_args!(
        "{} verifies them: `kinglet device add ID --update-key` gives it to devices",
        public_path.display()
    ))?)
}

pub(super) fn sign(path: &Path, key: &Path, serial: Option<u32>, target: &Target<'_>) -> Result {
    let bundle = files::read_bundle(path)?;
    let key = update_key::read_secret(key)?;
    let now_s = || u32::try_from(crate::host::now_ms() / 1000).unwrap_or(u32::MAX);
    let update = Update {
        serial: serial.unwrap_or_else(now_s),
        model_len: u32::try_from(bundle.device().len()).unwrap_or(u32::MAX),
        identity: bundle.identity(),
    };
    let bundle = bundle.with_signature(key.sign(&update).to_bytes().to_vec());
    files::write(target.path, &bundle.emit(), target.force, files::Access::Usual)?;
    let mut out = Out::new(target.json);
    let fingerprint = hex::emit(&bundle.fingerprint());
    out.result(&json!({
        "name": bundle.name(), "fingerprint": fingerprint, "serial": update.serial, "bytes": update.model_len,
        "file": target.path.display().to_string(), "update_key": update_key::to_text(&key.public()),
    }))?;
    Ok(out.line(format_args!(
        "{} written: \"{}\", {fingerprint}, update {}, {} for a device",
        target.path.display(),
        bundle.name(),
        update.serial,
        bytes(update.model_len.into())
    ))?)
}

pub(super) fn offer(path: &Path, to: Option<&str>, percent: u8, common: &DeviceCommon) -> Result {
    let mut out = Out::new(common.json);
    let bundle = files::read_bundle(path)?;
    let (runtime, core) = open(common)?;
    let audience = match to {
        Some(id) => {
            let row = find(&runtime, &core, id)?;
            check_fits(&runtime, &core, &bundle, &row)?;
            Audience::Device(row.short_id)
        }
        None => Audience::Percent(percent),
    };
    let n_fitting = match to {
        Some(_) => 1,
        None => fitting(&runtime, &core, &bundle)?,
    };
    let added = core.offers.add(&core.bundles, bundle.emit(), audience, core.clock.now_ms());
    let offer = runtime.block_on(added).map_err(not_offered)?;
    runtime.block_on(core.store.close()).map_err(store_failed)?;
    let serial = offer.signed.unverified().serial;
    let fingerprint = hex::emit(&bundle.fingerprint());
    out.result(&json!({
        "name": bundle.name(), "fingerprint": fingerprint, "serial": serial, "device": to,
        "percent": to.is_none().then_some(percent), "fitting": n_fitting,
    }))?;
    let whom = to.map_or_else(
        || format!("{percent} % of the devices with its channels, which {n_fitting} have now"),
        str::to_owned,
    );
    out.line(format_args!("\"{}\", update {serial}, is offered to {whom}", bundle.name()))?;
    if n_fitting == 0 {
        let model = bundle.model();
        let said = |idx| match model.channel(idx) {
            c if c.unit.is_empty() => format!("{} without a unit", c.name),
            c => format!("{} in {}", c.name, c.unit),
        };
        let names: Vec<_> = (0..model.channels()).map(said).collect();
        out.line(format_args!(
            "{HINT}no device that has been heard has just these channels ({}): names and units must be the same, in the same order{HINT:#}",
            names.join(", ")
        ))?;
    }
    Ok(())
}

pub(super) fn withdraw(path: &Path, to: Option<&str>, common: &DeviceCommon) -> Result {
    let mut out = Out::new(common.json);
    let bundle = files::read_bundle(path)?;
    let (runtime, core) = open(common)?;
    let device = to.map(|id| find(&runtime, &core, id)).transpose()?.map(|row| row.short_id);
    let n = runtime.block_on(core.offers.withdraw(bundle.fingerprint(), device)).map_err(store_failed)?;
    runtime.block_on(core.store.close()).map_err(store_failed)?;
    out.result(&json!({ "fingerprint": hex::emit(&bundle.fingerprint()), "withdrawn": n }))?;
    match n {
        0 => out.line("it was not offered")?,
        n => out.line(format_args!("{n} offers withdrawn; devices that have the bundle keep it"))?,
    }
    Ok(())
}

/// What is offered, and how many devices use it, try it, or have refused it.
pub(super) fn offers(common: &DeviceCommon) -> Result {
    let mut out = Out::new(common.json);
    let (runtime, core) = open(common)?;
    let offers = runtime.block_on(core.offers.all()).map_err(store_failed)?;
    let mut rows = Vec::new();
    let mut after = 0;
    loop {
        let page = runtime.block_on(core.store.devices(after, 1000)).map_err(store_failed)?;
        let Some(last) = page.last() else { break };
        after = last.short_id;
        rows.extend(page.into_iter().filter(|row| row.t_revoked.is_none()));
    }
    let mut table = Table::new(&[
        ("update", Align::Right),
        ("bundle", Align::Left),
        ("offered to", Align::Left),
        ("since", Align::Left),
        ("in use", Align::Right),
        ("on trial", Align::Right),
        ("refused", Align::Right),
    ]);
    let mut listed = Vec::new();
    for offer in offers.iter() {
        let serial = offer.signed.unverified().serial;
        let mine = rows.iter().filter(|row| offer.row.device == 0 || row.short_id == offer.row.device);
        let said: Vec<_> = mine.filter_map(|row| Reported::of(row.status.as_deref())?.update).collect();
        let n_used = said.iter().filter(|said| said.serial == serial && !said.is_trial).count();
        let n_tried = said.iter().filter(|said| said.serial == serial && said.is_trial).count();
        let n_refused =
            said.iter().filter(|said| said.refused.is_some_and(|(refused, _)| refused == serial)).count();
        let device = rows.iter().find(|row| row.short_id == offer.row.device).map(|row| row.id.as_str());
        let whom = match offer.row.device {
            0 => format!("{} %", offer.row.percent),
            _ => device.unwrap_or("a revoked device").to_owned(),
        };
        let fingerprint = hex::emit(&offer.row.fingerprint);
        listed.push(json!({
            "serial": serial, "fingerprint": fingerprint, "device": device,
            "percent": (offer.row.device == 0).then_some(offer.row.percent), "in_use": n_used, "on_trial": n_tried,
            "refused": n_refused,
        }));
        table.row([
            serial.to_string(),
            fingerprint,
            whom,
            when(offer.row.t_offered),
            n_used.to_string(),
            n_tried.to_string(),
            n_refused.to_string(),
        ]);
    }
    runtime.block_on(core.store.close()).map_err(store_failed)?;
    out.result(&json!({ "offers": listed }))?;
    match listed.is_empty() {
        true => out.line("nothing is offered: `kinglet bundles offer FILE --to ID` does that")?,
        false => out.table(&table)?,
    }
    Ok(())
}

fn open(common: &DeviceCommon) -> Result<(Runtime, Arc<Core>)> {
    let runtime = host::runtime()?;
    let config = host::config(&common.overrides())?;
    if host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .why("no server has run on it and no device was added")
            .next("name the server's data directory with --data"));
    }
    let core = host::core(&runtime, config)?;
    Ok((runtime, core))
}

fn find(runtime: &Runtime, core: &Arc<Core>, id: &str) -> Result<DeviceRow> {
    let row = runtime.block_on(core.store.device(id)).map_err(store_failed)?;
    let unknown = || kinglet_server::registry::RegistryError::Unknown(id.chars().take(64).collect());
    row.ok_or_else(|| refused(unknown()))
}

/// A device would refuse other channels than its own, after it has fetched all of the bundle.
/// Devices that have said which bundle they use, one of the same channels.
fn fitting(runtime: &Runtime, core: &Arc<Core>, bundle: &Bundle) -> Result<usize> {
    let (mut n, mut after, mut known) = (0, 0, BTreeMap::new());
    loop {
        let page = runtime.block_on(core.store.devices(after, 1000)).map_err(store_failed)?;
        let Some(last) = page.last() else { return Ok(n) };
        after = last.short_id;
        for row in page.iter().filter(|row| row.t_revoked.is_none()) {
            let Some(said) = Reported::of(row.status.as_deref()) else { continue };
            let fits = match known.get(&said.fingerprint) {
                Some(fits) => *fits,
                None => {
                    let uses = runtime.block_on(core.bundles.get(&said.fingerprint)).map_err(store_failed)?;
                    let fits = uses.is_some_and(|uses| same_channels(&uses, bundle));
                    known.insert(said.fingerprint, fits);
                    fits
                }
            };
            n += usize::from(fits);
        }
    }
}

fn check_fits(runtime: &Runtime, core: &Arc<Core>, bundle: &Bundle, row: &DeviceRow) -> Result {
    let Some(said) = Reported::of(row.status.as_deref()) else { return Ok(()) };
    let uses = runtime.block_on(core.bundles.get(&said.fingerprint)).map_err(store_failed)?;
    match uses {
        Some(uses) if !same_channels(&uses, bundle) => {
            Err(Failure::input("the bundle is for other channels")
                .why(format_args!(
                    "{} uses \"{}\"; names and units must be the same, in the same order",
                    row.id,
                    uses.name()
                ))
                .next("train one on readings of the same channels"))
        }
        _ => Ok(()),
    }
}

fn not_offered(error: OfferError) -> Failure {
    let next = match &error {
        OfferError::NotSigned | OfferError::OtherModel => {
            "sign it: kinglet bundles sign BUNDLE --key updates.key --out FILE"
        }
        _ => "check the data directory",
    };
    Failure::new(Kind::Input, "the bundle is not offered").why(error).next(next)
}
