//! `kinglet health`.

use std::time::Duration;

use crate::args::HealthArgs;
use crate::failure::{Failure, Kind, Result};
use crate::term::Out;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &HealthArgs) -> Result {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0);
    let agent = ureq::Agent::from(config.build());
    let answer = agent.get(format!("{}/readyz", args.url)).call().map_err(|e| {
        Failure::new(Kind::Network, "the server does not answer")
            .why(e)
            .next("see whether it runs, and its log")
    })?;
    match answer.status().as_u16() {
        200 => Ok(Out::new(false).line("ready")?),
        status => Err(Failure::new(Kind::Refused, "the server is not ready")
            .why(format_args!("it answers {status}"))
            .next("see its log")),
    }
}
