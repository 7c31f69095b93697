//! A frame in words: all that can be read without its key.

use kinglet_wire::counter::ShortCounter;
use kinglet_wire::frame::{Frame, Kind, kind_of};
use kinglet_wire::{ParseError, TAG_LEN};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::term::Out;
use crate::term::style::{BOLD, DIM};

pub(crate) fn show(out: &mut Out, bytes: &[u8]) -> Result {
    let refused = |e: ParseError| {
        Failure::input("these bytes are no frame")
            .why(e)
            .next("give a whole frame, as it stood in the body of the request or in the MQTT payload")
    };
    let kind = kind_of(bytes).map_err(refused)?;
    if matches!(kind, Kind::JoinRequest | Kind::JoinAccept) {
        out.result(&json!({ "kind": "frame", "type": name(kind), "bytes": bytes.len(), "sealed": false }))?;
        out.line(format_args!("{BOLD}A {}{BOLD:#} of {} bytes", name(kind), bytes.len()))?;
        out.line("not sealed; its last 16 bytes prove that whoever wrote it has the device's key")?;
        return Ok(());
    }
    let frame = Frame::new_checked(bytes).map_err(refused)?;
    let (counter, whole) = match frame.counter() {
        ShortCounter::Low(low) => (u64::from(low), false),
        ShortCounter::Full(full) => (full.get(), true),
    };
    out.result(&json!({
        "kind": "frame", "type": name(kind), "bytes": bytes.len(), "sealed": true, "short_id": frame.short_id().0,
        "generation_low": frame.generation_low(), "slot": frame.slot().get(), "counter": counter,
        "counter_is_whole": whole, "suite": format!("{:?}", frame.suite()), "header_bytes": frame.header_len(),
        "content_bytes": frame.sealed().len(), "tag_bytes": TAG_LEN,
    }))?;
    let low = if whole { "" } else { " (its low 32 bits)" };
    out.line(format_args!("{BOLD}A {}{BOLD:#} of {} bytes", name(kind), bytes.len()))?;
    out.line(format_args!("device     {} (short id)", frame.short_id().0))?;
    out.line(format_args!("counter    {counter}{low}, generation … mod 16 = {}", frame.generation_low()))?;
    if kind == Kind::Data {
        out.line(format_args!("bundle     slot {}", frame.slot().get()))?;
    }
    out.line(format_args!(
        "sealed     {:?}: {} B of content and time, {TAG_LEN} B of tag",
        frame.suite(),
        frame.sealed().len()
    ))?;
    out.line(format_args!("{DIM}what is inside opens with the device's key only{DIM:#}"))?;
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Data => "data frame",
        Kind::Status => "status frame",
        Kind::JoinRequest => "join request",
        Kind::JoinAccept => "join answer",
        Kind::Command => "command",
        Kind::Ack => "ack",
    }
}
