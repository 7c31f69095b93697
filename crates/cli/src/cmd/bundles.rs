//! `kinglet bundles`: starter bundles for common sensors, bundles for a server, and bundles over the air (`updates`).

mod updates;

use std::path::Path;

use kinglet_codec::bundle::Bundle;
use kinglet_train::climate::{ClimateOptions, Sensor};
use kinglet_train::fit::FitOptions;
use serde_json::json;

use crate::args::{BundlesAction, BundlesArgs, DeviceCommon};
use crate::failure::{Failure, Kind, Result};
use crate::term::{Align, Out, Table, bytes};
use crate::{files, hex, host, readings};

/// A sensor people begin with.
struct Starter {
    name: &'static str,
    sensor: Sensor,
    /// Bounds of temperature, humidity and, if there is one, pressure.
    bounds: &'static str,
    /// Written by `kinglet bundles remake`.
    file: &'static [u8],
}

const STARTERS: [Starter; 3] = [
    Starter {
        name: "dht11",
        sensor: Sensor::Dht11,
        bounds: "lossless",
        file: include_bytes!("../../bundles/dht11.kinglet"),
    },
    Starter {
        name: "dht22",
        sensor: Sensor::Dht22,
        bounds: "0.2,1",
        file: include_bytes!("../../bundles/dht22.kinglet"),
    },
    Starter {
        name: "bme280",
        sensor: Sensor::Bme280,
        bounds: "0.1,0.5,0.1",
        file: include_bytes!("../../bundles/bme280.kinglet"),
    },
];
/// Rows a starter bundle is trained on: four weeks of minutes.
const ROWS: usize = 40_320;

pub(crate) fn run(args: &BundlesArgs) -> Result {
    match &args.action {
        None => list(Out::new(args.json)),
        Some(BundlesAction::List { json }) => list(Out::new(args.json || *json)),
        Some(BundlesAction::Export { name, out, force }) => {
            let bundle = starter(name)?;
            let path = out.clone().unwrap_or_else(|| format!("{}.kinglet", bundle.name()).into());
            files::write(&path, &bundle.emit(), *force, files::Access::Usual)?;
            Ok(Out::new(false).line(format_args!("{} written", path.display()))?)
        }
        Some(BundlesAction::Add { bundle, common }) => add(bundle, common),
        Some(BundlesAction::Keygen { out }) => updates::keygen(out),
        Some(BundlesAction::Sign { bundle, key, serial, out, force, json }) => {
            updates::sign(bundle, key, *serial, &updates::Target { path: out, force: *force, json: *json })
        }
        Some(BundlesAction::Offer { bundle, to, percent, common }) => {
            updates::offer(bundle, to.as_deref(), percent.unwrap_or(0), common)
        }
        Some(BundlesAction::Offers { common }) => updates::offers(common),
        Some(BundlesAction::Withdraw { bundle, to, common }) => {
            updates::withdraw(bundle, to.as_deref(), common)
        }
        Some(BundlesAction::Remake { dir }) => remake(dir),
    }
}

/// The starter bundle of this name.
pub(crate) fn starter(name: &str) -> Result<Bundle> {
    let wanted = name.to_ascii_lowercase();
    let known: Vec<&str> = STARTERS.iter().map(|s| s.name).collect();
    let Some(starter) = STARTERS.iter().find(|s| s.name == wanted) else {
        return Err(Failure::usage(format_args!("there is no starter bundle `{name}`"))
            .why(format_args!("there are {}", known.join(", ")))
            .next("train one on your own readings: kinglet train DATA.csv"));
    };
    Bundle::parse(starter.file)
        .map_err(|e| Failure::new(Kind::Failure, "the starter bundle does not read").why(e))
}

fn list(mut out: Out) -> Result {
    let mut table = Table::new(&[
        ("name", Align::Left),
        ("channels", Align::Left),
        ("bounds", Align::Left),
        ("device keeps", Align::Right),
        ("B/window", Align::Right),
    ]);
    let mut listed = Vec::new();
    for starter_of in &STARTERS {
        let bundle = starter(starter_of.name)?;
        let model = bundle.model();
        let channels: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).name).collect();
        let mean = bundle.report()["evaluation"]["payload_bytes_mean"].as_f64().unwrap_or_default();
        table.row([
            starter_of.name.to_string(),
            channels.join(", "),
            starter_of.bounds.replace(',', ", "),
            bytes(bundle.device().len() as u64),
            format!("{mean:.1}"),
        ]);
        listed.push(json!({
            "name": starter_of.name, "channels": channels, "bounds": starter_of.bounds,
            "fingerprint": hex::emit(&bundle.fingerprint()), "static_bytes": bundle.device().len(),
            "payload_bytes_mean": mean, "samples": model.samples(), "period_ms": model.period_ms(),
        }));
    }
    out.result(&json!({ "bundles": listed }))?;
    out.table(&table)?;
    Ok(out.line(
        "\nbytes per window of 32 minutes, on a generated climate; `kinglet bundles export NAME` writes one",
    )?)
}

/// Keeps a bundle on the server of a data directory; one that is there already is none the worse for it.
fn add(path: &Path, common: &DeviceCommon) -> Result {
    let mut out = Out::new(common.json);
    let bundle = files::read_bundle(path)?;
    let runtime = host::runtime()?;
    let core = host::core(&runtime, host::config(&common.overrides())?)?;
    let added = runtime.block_on(core.bundles.add(bundle.emit(), core.clock.now_ms()));
    let (_, is_new) = added.map_err(|e| Failure::new(Kind::Failure, "the bundle was not taken").why(e))?;
    runtime.block_on(core.store.close()).map_err(super::device::store_failed)?;
    let fingerprint = hex::emit(&bundle.fingerprint());
    out.result(&json!({ "name": bundle.name(), "fingerprint": fingerprint, "new": is_new }))?;
    let known = if is_new { "is on the server now" } else { "was on the server already" };
    Ok(out.line(format_args!("\"{}\" {known}, {fingerprint}", bundle.name()))?)
}

/// The longest a reading waits in a starter bundle.
const MAX_DELAY_MS: u32 = 5 * 60 * 1000;

fn remake(dir: &Path) -> Result {
    for starter in &STARTERS {
        let climate = ClimateOptions { sensor: starter.sensor, rows: ROWS, ..ClimateOptions::default() };
        let options = FitOptions {
            name: starter.name.into(),
            bounds: starter.bounds.split(',').filter_map(|b| b.parse().ok()).collect(),
            max_delay_ms: Some(MAX_DELAY_MS),
            ..FitOptions::default()
        };
        let trained = super::train::learn(&readings::climate_of(&climate)?, &options, starter.name)?;
        let path = dir.join(format!("{}.kinglet", starter.name));
        files::write(&path, &trained.bundle.emit(), true, files::Access::Usual)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_starter_bundle_reads_and_fits_its_sensor() {
        for starter_of in &STARTERS {
            let bundle = starter(starter_of.name).unwrap();
            let climate =
                ClimateOptions { sensor: starter_of.sensor, rows: 500, seed: 9, ..Default::default() };
            let recording = readings::climate_of(&climate).unwrap();
            let names: Vec<&str> = recording.channels().iter().map(|c| c.name.as_str()).collect();
            let model = bundle.model();
            let own: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).name).collect();
            assert_eq!(own, names, "{}", starter_of.name);
            let cut = kinglet_train::recording::Cut::AtGaps;
            let evaluation = kinglet_train::fit::evaluate(&model, &recording, 0..500, cut).unwrap();
            assert!(evaluation.max_error_over_bound.unwrap() <= 1.0, "{}", starter_of.name);
        }
    }
}
