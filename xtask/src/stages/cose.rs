//! The wire vectors, read by somebody else's libraries.

use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::{need, run};

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let script = context.root.join("vectors/wire/check_cose.py");
    let ran = run::show(context, Command::new(need::python(context)).arg(script), Duration::from_secs(300))?;
    Ok(Tally::one(ran.ok))
}
