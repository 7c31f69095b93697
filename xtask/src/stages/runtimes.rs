//! Exported networks, run by the runtimes they are exported for, and Parquet files of ours, read by Apache Arrow.

use super::cargo::LONG;
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::{need, run};

pub(super) fn stage(context: &Context) -> Result<Tally> {
    // As the unit stage builds it, so that it is built once.
    let args =
        ["test", "--workspace", "--all-features", "--locked", "--test", "seed_runtimes", "--test", "parquet"];
    let mut command = run::cargo(context, &context.root, &args);
    command.env("KINGLET_VENV_PYTHON", need::python(context));
    let ran = run::show(context, &mut command, LONG)?;
    match counts::libtest(&ran.text) {
        Some(tally) => Ok(tally),
        None => Err("the tests of exported files did not compile".into()),
    }
}
