//! `/openapi.json` of the release binary, read by somebody else's validator.

use std::process::Command;
use std::time::Duration;

use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::serving::{self, Serving};
use crate::{need, run};

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let program = release_binary(context)?;
    let dir = context.target().join("openapi");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let addr = serving::free_addr()?;
    let server = Serving::start(&program, &["serve", "--data", "data"], addr, &dir, Duration::from_secs(60))?;
    let (status, text) = serving::get(addr, "/openapi.json")?;
    drop(server);
    if status != 200 {
        return Err(format!("/openapi.json answers {status}"));
    }
    let file = dir.join("openapi.json");
    std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut validator = Command::new(need::python(context));
    validator.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&file);
    let ran = run::show(context, &mut validator, Duration::from_secs(120))?;
    Ok(Tally::one(ran.ok))
}
