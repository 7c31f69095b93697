//! `kinglet device flash-config`: brings a board what it is given, over its serial port.

use std::path::Path;

use kinglet_node::provision::{
    Given, PASSWORD_LEN_MAX, ProvisionError, SENSOR_LEN_MAX, SERVER_LEN_MAX, SSID_LEN_MAX,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::DeviceFlashArgs;
use crate::device::serial;
use crate::failure::{Failure, Kind, Result};
use crate::files;
use crate::provisioning::Provisioning;
use crate::term::style::BOLD;
use crate::term::{Out, bytes};

pub(super) fn run(args: &DeviceFlashArgs) -> Result {
    let mut out = Out::new(args.json);
    let provisioning = args.key.as_deref().map(Provisioning::read).transpose()?;
    let bundle = args.bundle.as_deref().map(files::read_bundle).transpose()?;
    let password = password(args)?;
    let (id, key, server, pin, update_key) = match provisioning {
        Some(of) => (Some(of.id), Some(of.key), of.server, of.pin, of.update_key),
        None => (None, None, None, None, None),
    };
    let server = server_of(args, server)?;
    let pin = pin.filter(|_| server.starts_with("mqtts://"));
    if server.starts_with("mqtts://") && pin.is_none() {
        return Err(Failure::usage("the board would not know which certificate to believe")
            .why("the provisioning has no pin, and a board believes no certificate authority")
            .next("add the device with --server mqtts://HOST:PORT where the server's data are, or say --server mqtt://…"));
    }
    check_sensor(&args.sensor)?;
    let given = Given {
        id,
        key,
        ssid: &args.ssid,
        password: password.as_deref().map_or("", String::as_str),
        server: &server,
        sensor: &args.sensor,
        model: bundle.as_ref().map(|bundle| bundle.device()).unwrap_or_default(),
        update_key,
        sleeps: args.sleep,
        pin: pin.map(|pin| pin.0),
    };
    let mut record = Zeroizing::new(vec![0; given.record_len()]);
    let len = given.emit(&mut record).map_err(not_made)?;
    if args.port == Path::new("-") {
        // This is the one place where secrets are shown, and it was asked for.
        for line in serial::lines(&record[..len]) {
            out.raw(&format!("{}\n", line.as_str()))?;
        }
        return Ok(());
    }
    serial::send(&args.port, &record[..len])?;
    let name = given.id.as_ref().map_or("the seed's own use", |id| id.as_str());
    let port = args.port.display();
    out.result(&json!({
        "device": given.id.as_ref().map(|id| id.as_str()), "port": port.to_string(), "bytes": len, "server": server,
        "sensor": args.sensor, "stored": true,
    }))?;
    let size = bytes(len as u64);
    out.line(format_args!(
        "{BOLD}{name}{BOLD:#}: {size} stored on the board at {port}, which starts again with them"
    ))?;
    Ok(())
}

/// From the environment or a file: a command line is for everybody on the machine to see.
fn password(args: &DeviceFlashArgs) -> Result<Option<Zeroizing<String>>> {
    let given = match (&args.password_file, std::env::var("KINGLET_WIFI_PASSWORD")) {
        (Some(path), _) => {
            let bytes = Zeroizing::new(files::read_up_to(path, 4096)?);
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| Failure::input(format_args!("{} is not text", path.display())))?;
            Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_string()))
        }
        (None, Ok(text)) => Some(Zeroizing::new(text)),
        (None, Err(_)) => None,
    };
    match given {
        Some(password) if !password.is_empty() => Ok(Some(password)),
        _ if args.open => Ok(None),
        _ => Err(Failure::usage("no Wi-Fi password was given")
            .why(
                "it is taken from --password-file or from KINGLET_WIFI_PASSWORD, never from the command line",
            )
            .next("name a file that holds it, or say --open for a network without one")),
    }
}

/// The server as the board will reach it.
fn server_of(args: &DeviceFlashArgs, provisioned: Option<String>) -> Result<String> {
    let Some(server) = args.server.clone().or(provisioned) else {
        return Err(Failure::usage("no server is named").next("say --server http://HOST:8470"));
    };
    let refuse = |why: &str| {
        Failure::usage(format_args!("a board cannot use the server {server}"))
            .why(why)
            .next("say --server http://ADDRESS:8470 with the server's address in the board's network")
    };
    let schemes: &[&str] =
        if args.preset.is_some() { &["http://"] } else { &["http://", "mqtt://", "mqtts://"] };
    let Some(rest) = schemes.iter().find_map(|scheme| server.strip_prefix(scheme)) else {
        return Err(refuse(&format!("its firmware speaks {} only", schemes.join(", "))));
    };
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    if host.starts_with('[') {
        return Err(refuse("the firmware speaks IPv4 only"));
    }
    if host.is_empty() || host == "localhost" || host.starts_with("127.") || host == "0.0.0.0" {
        return if args.allow_loopback { Ok(server) } else { Err(refuse("that is the board itself")) };
    }
    Ok(server)
}

fn check_sensor(sensor: &str) -> Result {
    let mut words = sensor.split_whitespace();
    let (name, pins) = (words.next().unwrap_or_default().to_ascii_lowercase(), words.count());
    let fits = match name.as_str() {
        "dht11" | "dht22" | "am2302" => pins == 1,
        "bme280" => (2..=3).contains(&pins),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Failure::usage(format_args!("`{sensor}` is no sensor the firmware knows"))
        .next("say \"dht11 GPIO\", \"dht22 GPIO\" or \"bme280 SDA SCL\""))
}

fn not_made(error: ProvisionError) -> Failure {
    Failure::new(Kind::Usage, "the board cannot be given that").why(error).next(format_args!(
        "a Wi-Fi name has at most {SSID_LEN_MAX} bytes, its password {PASSWORD_LEN_MAX}, the server's address \
         {SERVER_LEN_MAX}, the sensor {SENSOR_LEN_MAX}"
    ))
}
