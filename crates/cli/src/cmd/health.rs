//! `kinglet health`.

use std::time::Duration;

use kinglet_server::config::Config;
use kinglet_server::tls::Pin;
use serde_json::json;

use crate::args::{HealthArgs, TrustArgs};
use crate::device::tls;
use crate::device::trust::Trust;
use crate::failure::{Failure, Kind, Result};
use crate::host;
use crate::term::Out;

/// How long the server may take, at each address.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &HealthArgs) -> Result {
    let asked = match &args.url {
        Some(url) => {
            ask(url, &Trust::new(&args.trust, None)?)?;
            vec![url.clone()]
        }
        None => ask_where_configured(args)?,
    };
    let mut out = Out::new(args.json);
    out.result(&json!({ "ready": true, "asked": asked }))?;
    Ok(out.line("ready")?)
}

/// Every address must answer: a certificate that cannot be served is found here and nowhere else.
fn ask_where_configured(args: &HealthArgs) -> Result<Vec<String>> {
    let config = host::config(&args.overrides())?;
    let mut asked = Vec::new();
    for (scheme, addr) in [("http", Some(config.http)), ("https", config.https)] {
        let Some(addr) = addr else { continue };
        if addr.port() == 0 {
            return Err(Failure::usage(format_args!("the configuration leaves the port of `{scheme}` open"))
                .next(format_args!("say where the server listens: kinglet health {scheme}://HOST:PORT")));
        }
        let trust = match (scheme, &args.trust) {
            ("https", TrustArgs { pin: None, ca: None }) => Trust::by_pin(configured_pin(&config)?)?,
            (_, said) => Trust::new(said, None)?,
        };
        let url = host::from_here(scheme, addr);
        ask(&url, &trust)?;
        asked.push(url);
    }
    Ok(asked)
}

fn configured_pin(config: &Config) -> Result<Pin> {
    Pin::configured(config).map_err(|e| {
        Failure::input("there is no certificate to know the server by")
            .why(e)
            .next("say where its data is with --data DIR, or what it shows with --pin")
    })
}

fn ask(url: &str, trust: &Trust) -> Result {
    let answer = tls::agent(trust, TIMEOUT).get(format!("{url}/readyz")).call().map_err(|e| {
        Failure::new(Kind::Network, format_args!("the server does not answer at {url}"))
            .why(e)
            .next("see whether it runs, and its log")
    })?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(Failure::new(Kind::Refused, "the server is not ready")
            .why(format_args!("it answers {status}"))
            .next("see its log")),
    }
}
