//! Real nodes on LoRaWAN: what they are told is stored is stored, through a real mosquitto.

use super::cargo::LONG;
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::run;

/// Names the broker's program to the tests, which start it.
const BROKER: &str = "KINGLET_TEST_MOSQUITTO";

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let args = ["test", "--package", "kinglet-server", "--locked", "--test", "lorawan"];
    let mut cargo = run::cargo(context, &context.root, &args);
    cargo.env(BROKER, "mosquitto");
    let ran = run::show(context, &mut cargo, LONG)?;
    match counts::libtest(&ran.text) {
        Some(counted) if ran.ok || counted.failed > 0 => Ok(counted),
        _ => Err("lorawan did not compile or did not run to its end".into()),
    }
}
