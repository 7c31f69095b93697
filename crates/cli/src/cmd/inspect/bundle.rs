//! A bundle in words.

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{Decimal, Grid, TAIL_SAMPLES_MAX};
use kinglet_server::offers::signature_of;
use serde_json::json;

use crate::failure::{Result, printable};
use crate::hex;
use crate::term::style::BOLD;
use crate::term::{Align, Out, Table, bytes, seconds};

pub(crate) fn show(out: &mut Out, bundle: &Bundle) -> Result {
    let model = bundle.model();
    let channels: Vec<_> = (0..model.channels()).map(|idx| model.channel(idx)).collect();
    let listed: Vec<_> = channels
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "unit": c.unit, "quantum": quantum(&c.grid).to_string(),
                "bound": bound(&c.grid).map(|b| b.to_string()), "bound_steps": c.grid.bound_steps,
            })
        })
        .collect();
    let signed = signature_of(bundle).ok();
    out.result(&json!({
        "kind": "bundle", "name": bundle.name(), "identity": hex::emit(&bundle.identity()),
        "fingerprint": hex::emit(&bundle.fingerprint()), "static_bytes": bundle.device().len(),
        "channels": listed, "samples": model.samples(), "period_ms": model.period_ms(),
        "max_delay_ms": model.max_delay_ms(), "code_len_max": model.code_len_max(),
        "ram_bytes": ram_bytes(bundle), "update": signed.as_ref().map(|signed| signed.unverified().serial), "references": model.has_references(),
        "report": bundle.report(),
    }))?;

    let window_ms = i64::from(model.period_ms()) * model.samples() as i64;
    out.line(format_args!("{BOLD}A bundle{BOLD:#}, \"{}\"", printable(bundle.name())))?;
    out.line(format_args!("identity   {}", hex::emit(&bundle.identity())))?;
    out.line(format_args!(
        "windows    {} samples × {} channels, one sample every {}, a window lasts {}",
        model.samples(),
        model.channels(),
        seconds(model.period_ms().into()),
        seconds(window_ms)
    ))?;
    out.line(format_args!("patience   a reading waits at most {}", seconds(model.max_delay_ms().into())))?;
    out.line(format_args!(
        "device     keeps {}, works in {} of RAM, longest code {} B",
        bytes(bundle.device().len() as u64),
        bytes(ram_bytes(bundle)),
        model.code_len_max()
    ))?;
    if let Some(signed) = signed {
        let serial = signed.unverified().serial;
        out.line(format_args!(
            "signed     as update {serial}; whether by the right key, a device finds out"
        ))?;
    }
    if model.has_references() {
        out.line("references windows may be coded after the one before, once that is acked")?;
    }
    let mut table = Table::new(&[
        ("channel", Align::Left),
        ("unit", Align::Left),
        ("step", Align::Right),
        ("bound", Align::Right),
    ]);
    for channel in &channels {
        let bound = bound(&channel.grid).map_or("lossless".into(), |b| format!("±{b}"));
        table.row([channel.name.into(), channel.unit.into(), quantum(&channel.grid).to_string(), bound]);
    }
    Ok(out.table(&table)?)
}

/// Bytes of RAM the coder works in: words of workspace, one window of readings, the longest code.
pub(crate) fn ram_bytes(bundle: &Bundle) -> u64 {
    let model = bundle.model();
    let words = model.workspace_len() + model.samples() * model.channels();
    // Where windows are coded after the one before, the end of that, and a second code.
    let (tail, n_codes) =
        if model.has_references() { (TAIL_SAMPLES_MAX * model.channels(), 2) } else { (0, 1) };
    (4 * (words + tail) + n_codes * model.code_len_max()) as u64
}

/// One step in the channel's unit.
fn quantum(grid: &Grid) -> Decimal {
    Decimal::new(grid.quantum, grid.scale)
}

/// The bound in the channel's unit; `None` is lossless.
fn bound(grid: &Grid) -> Option<Decimal> {
    let steps = i64::from(grid.bound_steps);
    (steps > 0).then(|| Decimal::new(grid.quantum.saturating_mul(steps), grid.scale))
}
