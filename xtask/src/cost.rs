//! What Kinglet costs on a device: instructions, flash, RAM, bytes on air, energy a day.
//!
//! Instructions are counted by QEMU, sizes taken from linked programs, bytes from coding a generated climate with a
//! starter bundle. Energy is computed from data sheets: nothing here was measured on a board.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::context::Context;
use crate::device::{self, CHIPS, Chip};
use crate::need::{self, Need};
use crate::run;
use crate::sizes;
use crate::stages::{M4, RV32, release_binary};

/// The starter bundle whose windows are counted.
const BUNDLE: &str = "crates/cli/bundles/dht22.kinglet";
/// Bytes of a data frame beside its code: short header 10, flags 1, time in whole seconds 4, tag 16.
const FRAME_LEN: f64 = 31.0;
/// What LoRaWAN adds to a frame.
const LORAWAN_LEN: f64 = 13.0;
const VOLTS: f64 = 3.3;
/// ESP32-C3 at 160 MHz, its CPU busy: 28 mA by its data sheet (modem off), one instruction a cycle.
const CPU_J_PER_INSTRUCTION: f64 = 0.028 * VOLTS / 160e6;
/// ESP32-C3, Wi-Fi connected, radio asleep between beacons: what boards are reported to draw.
const WIFI_IDLE_MA: f64 = 20.0;
/// A request and its answer: 120 ms of receiving and sending at some 120 mA.
const WIFI_REQUEST_J: f64 = 0.120 * 0.120 * VOLTS;
const ASSUMPTIONS: &str = "CPU: ESP32-C3 at 160 MHz, 28 mA at 3.3 V (data sheet, modem off), one instruction a cycle. Wi-Fi: connected all \
day, modem sleep, 20 mA; each window one request, 120 ms at 120 mA, both guesses. LoRa: LoRaWAN in EU868, 125 kHz, coding rate \
4/5, explicit header, CRC, 8 preamble symbols, 13 bytes of LoRaWAN around the frame; SX1276 by its data sheet, 29 mA at +13 dBm, \
11.5 mA in two empty receive windows of 8 symbols, the second at SF12. The sensor is not counted.";

/// Figures of one chip.
struct Costs {
    chip: &'static str,
    /// Of every golden model: name, model bytes, workspace bytes, mean and most instructions per window.
    models: Vec<(String, [f64; 4])>,
    seal: f64,
    stack: f64,
    /// Bytes more than a program without us: encoder; keys, seal and open.
    encode_flash: u64,
    wire_flash: u64,
    statics: u64,
}

pub(crate) fn print(context: &Context) -> Result<bool> {
    need::meet(
        context,
        &[
            Need::Target(RV32),
            Need::Target(M4),
            Need::Program { name: "qemu-system-riscv32", package: "qemu-system-misc" },
            Need::Program { name: "qemu-system-arm", package: "qemu-system-arm" },
        ],
    )?;
    let chips = CHIPS.iter().map(|&chip| of_chip(context, chip)).collect::<Result<Vec<_>>>()?;
    let eval = eval(context)?;
    let number =
        |key: &str| eval[key].as_f64().ok_or_else(|| format!("kinglet eval --json has no number {key}"));
    let (windows, values) = (number("windows")?, number("values")?);
    let frame_len = FRAME_LEN + number("payload_bytes_mean")?;
    // The starter samples two channels once a minute.
    let samples = values / windows / 2.0;
    let interval_s = samples * 60.0;
    let per_day = 86_400.0 / interval_s;
    // The golden model that costs most stands for all.
    let encode = chips[0].models.iter().map(|(_, m)| m[2]).fold(0.0, f64::max);
    let cpu_j = (encode + chips[0].seal) * per_day * CPU_J_PER_INSTRUCTION;
    let wifi_j = WIFI_IDLE_MA / 1000.0 * VOLTS * 86_400.0 + per_day * WIFI_REQUEST_J;
    let lora = (7..=12).map(|sf| {
        (sf, airtime_ms(sf, frame_len.round() + LORAWAN_LEN), lora_j(sf, frame_len.round()) * per_day)
    });
    let lora: Vec<(u8, f64, f64)> = lora.collect();
    if context.options.json {
        println!(
            "{}",
            json!({
                "chips": chips.iter().map(to_json).collect::<Vec<_>>(),
                "bundle": BUNDLE, "samples_per_window": samples, "windows_per_day": per_day, "frame_bytes": frame_len,
                "bytes_per_day": frame_len * per_day,
                "joules_per_day": { "cpu": cpu_j, "wifi": wifi_j,
                    "lora": lora.iter().map(|(sf, ms, j)| json!({ "sf": sf, "airtime_ms": ms, "joules": j })).collect::<Vec<_>>() },
                "assumptions": ASSUMPTIONS,
            })
        );
        return Ok(true);
    }
    for costs in &chips {
        context.say(&format!("\n{}", costs.chip));
        for (name, [bytes, workspace, mean, most]) in &costs.models {
            context.say(&format!(
                "  encode {name:<22} {mean:>9.0} instructions a window, {most:>9.0} at most, model {bytes:>6} B, workspace {workspace:>6} B"
            ));
        }
        let (seal, stack) = (costs.seal, costs.stack);
        context.say(&format!("  seal a frame                  {seal:>9.0} instructions"));
        context.say(&format!(
            "  flash without model: encoder {} B, keys, seal and open {} B; RAM: statics {} B, stack {stack} B",
            costs.encode_flash, costs.wire_flash, costs.statics
        ));
    }
    context.say(&format!(
        "\non air, {BUNDLE}: {samples:.1} samples a window, {frame_len:.1} B a frame, {per_day:.1} frames and {:.0} B a day",
        frame_len * per_day
    ));
    context.say(&format!("energy a day: encoding and sealing {cpu_j:.4} J; Wi-Fi {wifi_j:.0} J"));
    for (sf, ms, joules) in &lora {
        context.say(&format!("  LoRa SF{sf:<2} {ms:>7.0} ms a frame, {joules:>8.3} J a day"));
    }
    context.say(&format!("\nassumed: {ASSUMPTIONS}"));
    Ok(true)
}

/// Energy of one frame and its receive windows, as `crates/train/src/lora.rs` has it; a test compares them.
fn lora_j(sf: u8, frame_len: f64) -> f64 {
    let listen_ms = 8.0 * (symbol_ms(sf) + symbol_ms(12));
    (airtime_ms(sf, frame_len + LORAWAN_LEN) * 29.0 + listen_ms * 11.5) * 1e-6 * VOLTS
}

/// Semtech AN1200.13.
fn airtime_ms(sf: u8, phy_len: f64) -> f64 {
    let slow = f64::from(u8::from(sf >= 11));
    let bits = 8.0 * phy_len - 4.0 * f64::from(sf) + 28.0 + 16.0;
    let blocks = (bits / (4.0 * (f64::from(sf) - 2.0 * slow))).ceil().max(0.0);
    (12.25 + 8.0 + 5.0 * blocks) * symbol_ms(sf)
}

fn symbol_ms(sf: u8) -> f64 {
    f64::from(1_u32 << sf) / 125.0
}

fn of_chip(context: &Context, chip: Chip) -> Result<Costs> {
    let program = device::build(context, chip, "release", "golden")?;
    let ran = device::emulate(context, chip, &program)?;
    if !ran.ok {
        return Err(format!("{} does not compute the golden bytes: its figures mean nothing", chip.name));
    }
    let none = sizes::measure(context, chip, "size_none")?;
    let more = |program| -> Result<(u64, u64)> {
        let of = sizes::measure(context, chip, program)?;
        Ok((of.flash.saturating_sub(none.flash), of.ram.saturating_sub(none.ram)))
    };
    let (encode, wire) = (more("size_encode")?, more("size_wire")?);
    let figures = Figures::read(&ran.text);
    Ok(Costs {
        chip: chip.name,
        seal: figures.last("seal.instructions")?,
        stack: figures.most("stack_bytes")?,
        models: figures.models()?,
        encode_flash: encode.0,
        wire_flash: wire.0,
        statics: encode.1 + wire.1,
    })
}

fn to_json(costs: &Costs) -> Value {
    let models = costs.models.iter().map(|(name, [bytes, workspace, mean, most])| {
        json!({ "model": name, "model_bytes": bytes, "workspace_bytes": workspace, "encode_mean": mean, "encode_most": most })
    });
    json!({
        "chip": costs.chip, "models": models.collect::<Vec<_>>(), "seal_instructions": costs.seal,
        "stack_bytes": costs.stack, "encode_flash_bytes": costs.encode_flash, "wire_flash_bytes": costs.wire_flash, "static_bytes": costs.statics,
    })
}

fn eval(context: &Context) -> Result<Value> {
    let mut kinglet = Command::new(release_binary(context)?);
    kinglet.args(["eval", BUNDLE, "--json"]).current_dir(&context.root);
    let ran = run::quiet(&mut kinglet, Duration::from_secs(300))?;
    let line = ran.text.lines().find(|line| line.starts_with('{')).filter(|_| ran.ok);
    let line = line.ok_or_else(|| format!("kinglet eval failed:\n{}", ran.text))?;
    serde_json::from_str(line).map_err(|e| format!("kinglet eval --json: {e}"))
}

/// `figure NAME VALUE` lines, in their order.
struct Figures<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Figures<'a> {
    fn read(text: &'a str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix("figure ")?.split_once(' '));
        Self(lines.map(|(name, value)| (name, value.trim())).collect())
    }

    fn last(&self, name: &str) -> Result<f64> {
        let found = self.0.iter().rev().find(|(n, _)| *n == name).and_then(|(_, value)| value.parse().ok());
        found.ok_or_else(|| format!("no figure {name}"))
    }

    fn most(&self, ending: &str) -> Result<f64> {
        let all =
            self.0.iter().filter(|(name, _)| name.ends_with(ending)).filter_map(|(_, v)| v.parse().ok());
        all.reduce(f64::max).ok_or_else(|| format!("no figure …{ending}"))
    }

    /// Each model's name opens the figures that are its own.
    fn models(&self) -> Result<Vec<(String, [f64; 4])>> {
        let starts = self.0.iter().enumerate().filter(|(_, (name, _))| *name == "codec.model");
        starts
            .map(|(at, (_, model))| {
                let rest = Figures(
                    self.0[at + 1..].iter().copied().take_while(|(n, _)| *n != "codec.model").collect(),
                );
                Ok((
                    model.to_string(),
                    [
                        rest.last("codec.model_bytes")?,
                        rest.last("codec.workspace_bytes")?,
                        rest.last("encode.instructions_per_window")?,
                        rest.last("encode.instructions_most")?,
                    ],
                ))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lora_is_counted_as_reports_count_it() {
        for len in [12, 34, 51] {
            for theirs in kinglet_train::lora::on_air(len, 1e6) {
                let (sf, len) = (theirs.spreading_factor, len as f64);
                assert!((airtime_ms(sf, len + LORAWAN_LEN) - theirs.airtime_ms).abs() < 1e-6);
                assert!((lora_j(sf, len) - theirs.charge_uah * 3600e-6 * VOLTS).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn figures_belong_to_the_model_named_before_them() {
        let of = |name: &str, n: u32| {
            format!(
                "figure codec.model {name}\nfigure codec.model_bytes {n}\nok x\nfigure codec.workspace_bytes 8\n\
                     figure encode.instructions_per_window {n}0\nfigure encode.instructions_most 90\nfigure codec.stack_bytes {n}\n"
            )
        };
        let text = of("a", 1) + &of("b", 2) + "figure seal.instructions 7\n";
        let figures = Figures::read(&text);
        let models = figures.models().expect("both are whole");
        assert_eq!(
            models,
            [("a".to_string(), [1.0, 8.0, 10.0, 90.0]), ("b".to_string(), [2.0, 8.0, 20.0, 90.0])]
        );
        assert_eq!((figures.last("seal.instructions"), figures.most("stack_bytes")), (Ok(7.0), Ok(2.0)));
        assert!(figures.last("nothing").is_err());
        assert!(Figures::read("figure codec.model a\n").models().is_err());
    }
}
