//! What a device said of itself in its last status frame, in words.

use kinglet_wire::payload::{Reset, Status};
use serde_json::{Value, json};

use crate::offers::{Offer, Reported, refusal_word};
use crate::store::DeviceRow;
use crate::vault::to_hex;

/// The last status of a device; `None` if none was heard, or one this version does not read.
pub fn last_status(row: &DeviceRow) -> Option<Status> {
    Status::parse(row.status.as_deref()?).ok()
}

/// Why a device started, in one or two words.
pub fn reset_words(reset: Reset) -> &'static str {
    match reset {
        Reset::Unknown => "unknown",
        Reset::PowerOn => "power",
        Reset::Pin => "reset pin",
        Reset::Software => "software",
        Reset::Watchdog => "watchdog",
        Reset::Brownout => "brownout",
        Reset::Panic => "panic",
        Reset::Sleep => "sleep",
    }
}

/// As JSON: boot, reset, uptime, battery and heap where the device has said them.
pub fn status_json(row: &DeviceRow) -> Value {
    let Some(status) = last_status(row) else { return Value::Null };
    json!({
        "boot": status.boot, "reset": reset_words(status.reset), "uptime_ms": status.uptime.get(),
        "battery_mv": status.battery_mv, "heap_free": status.heap_free,
    })
}

/// As JSON: which bundle runs, since when it is sure, what is offered and what was refused.
pub fn update_json(row: &DeviceRow, offer: Option<&Offer>) -> Value {
    let Some(said) = Reported::of(row.status.as_deref()) else { return Value::Null };
    let state = said.update;
    json!({
        "fingerprint": to_hex(&said.fingerprint),
        "takes_updates": state.is_some(),
        "serial": state.map(|state| state.serial),
        "trial": state.map(|state| state.is_trial),
        "refused": state.and_then(|state| state.refused).map(|(serial, why)| json!({ "serial": serial, "why": refusal_word(why) })),
        "offered": offer.map(|offer| json!({
            "serial": offer.signed.unverified().serial, "fingerprint": to_hex(&offer.row.fingerprint),
            "open": offer.is_open_for(&said),
        })),
    })
}

/// As a line for people: which bundle the device uses, and where it stands with updates.
pub fn update_words(row: &DeviceRow, offer: Option<&Offer>) -> Option<String> {
    let said = Reported::of(row.status.as_deref())?;
    let Some(state) = said.update else {
        let offered = offer.map_or("", |_| ", so that what is offered does not reach it");
        return Some(format!("uses {}; takes no updates over the air{offered}", to_hex(&said.fingerprint)));
    };
    let uses = match (state.serial, state.is_trial) {
        (0, _) => "as it was provisioned".to_owned(),
        (serial, true) => format!("update {serial}, on trial"),
        (serial, false) => format!("update {serial}"),
    };
    let refused =
        state.refused.map(|(serial, why)| format!("; refused update {serial} ({})", refusal_word(why)));
    let offered = offer.map(|offer| {
        let serial = offer.signed.unverified().serial;
        let open = if offer.is_open_for(&said) { "" } else { ", which needs nothing more" };
        format!("; offered is update {serial}{open}")
    });
    let fingerprint = to_hex(&said.fingerprint);
    Some(format!("uses {fingerprint}, {uses}{}{}", refused.unwrap_or_default(), offered.unwrap_or_default()))
}
