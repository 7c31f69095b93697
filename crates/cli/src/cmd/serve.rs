//! `kinglet serve`.

use std::time::Duration;

use serde_json::json;

use crate::args::ServeArgs;
use crate::failure::Result;
use crate::host::{self, Server};
use crate::term::Out;
use crate::term::log::Log;
use crate::term::style::{BOLD, DIM};

pub(crate) fn run(args: &ServeArgs) -> Result {
    let mut out = Out::new(args.json);
    let config = host::config(&args.overrides())?;
    // Lines for the one who runs the server: what happened, never a key.
    let mut log = Log::begin(config.log_format, config.log_level, out.is_terminal());
    let runtime = host::runtime()?;
    // Before anybody can know that it runs: whoever stops it then finds it listening.
    let stop = host::interrupt(&runtime);
    let reload = host::hangup(&runtime);
    let data = config.data.clone();
    let kept = host::kept(&config);
    let server = Server::start(&runtime, config)?;
    let decode = server.seed_addr.map(|addr| format!("http://{addr}/decode"));
    let https = server.https.map(|addr| host::from_here("https", addr));
    let pin = server.pin.map(|pin| pin.to_string());
    let [mqtt, mqtts] = server.mqtt;
    let mqtt = mqtt.map(|addr| host::from_here("mqtt", addr));
    let coap = server.coap.map(|addr| host::from_here("coap", addr));
    let mqtts = mqtts.map(|addr| host::from_here("mqtts", addr));
    out.result(&json!({
        "url": server.url(), "https": https, "mqtt": mqtt, "mqtts": mqtts, "coap": coap, "pin": pin,
        "data": data.display().to_string(), "store": kept, "decode": decode,
    }))?;
    out.line(format_args!("{BOLD}{}{BOLD:#}  dashboard, API and devices", server.url()))?;
    if let Some(url) = &https {
        out.line(format_args!("{BOLD}{url}{BOLD:#}  the same by TLS"))?;
    }
    for url in mqtt.iter().chain(&mqtts) {
        out.line(format_args!("{BOLD}{url}{BOLD:#}  MQTT for devices"))?;
    }
    if let Some(url) = &coap {
        out.line(format_args!("{BOLD}{url}/f{BOLD:#}  CoAP for devices"))?;
    }
    if let Some(pin) = &pin {
        out.line(format_args!("the certificate's pin is {pin}"))?;
    }
    if let Some(decode) = &decode {
        out.line(format_args!("{BOLD}{decode}{BOLD:#}  the seed's boards: obfuscation, no protection"))?;
    }
    out.line(format_args!("readings are kept in {kept}"))?;
    out.line(format_args!("{DIM}Ctrl-C ends it; what was acknowledged is on disk{DIM:#}"))?;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) && !server.is_over() {
        std::thread::sleep(Duration::from_millis(50));
        if reload.swap(false, std::sync::atomic::Ordering::Relaxed) {
            take_over(args, &server, &log);
        }
        log.tick();
    }
    server.stop(&runtime)?;
    Ok(out.line("stopped")?)
}

/// Reads the configuration and the certificate anew; whatever is wrong with them, the server goes on as it was.
fn take_over(args: &ServeArgs, server: &Server, log: &Log) {
    match host::config(&args.overrides()) {
        Ok(config) => {
            let told = server.core.reload(&config);
            log.set_level(config.log_level);
            tracing::info!(changed = told.changed.join(", "), "the configuration was read anew");
            if !told.needs_restart.is_empty() {
                let keys = told.needs_restart.join(", ");
                tracing::warn!(keys, "these have changed too, and hold once the server is started anew");
            }
        }
        Err(failure) => tracing::error!(why = failure.in_a_line(), "the configuration stays as it was"),
    }
    match server.tls.as_ref().map(|tls| (tls, tls.refresh())) {
        Some((tls, Ok(true))) => tracing::info!(pin = %tls.pin(), "the certificate is a new one"),
        Some((_, Err(error))) => tracing::error!(%error, "the old certificate stays"),
        _ => {}
    }
}
