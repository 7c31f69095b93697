//! `serve`, `device` and `config`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinglet_server::SeedOverrides;
use kinglet_server::config::{LogFormat, Overrides, StoreFlag, TlsFiles};
use kinglet_wire::keys::DeviceId;

use super::nodes::TrustArgs;

/// Run the server: takes in frames, keeps them, shows them
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet serve                                     on 127.0.0.1, readings in the data directory
  kinglet serve --http 127.0.0.1:9000 --data ./kinglet-data
  kinglet config > server.toml && kinglet serve --config server.toml
  kinglet serve --store postgres://kinglet@db/readings    the password in PGPASSWORD or PGPASSFILE
  kinglet serve --https 127.0.0.1:8443              by TLS too; devices pin the certificate it makes
  kinglet serve --mqtt 0.0.0.0:1883                 devices may come by MQTT, each with its own password
  kinglet serve --decode --bundle seed.kinglet      answers the seed's sketch too, on port 5000

The dashboard and the API are for this machine alone, until `kinglet user add NAME` has added somebody who can log in.

--decode is obfuscation, not protection: without a key, on every interface, for a trusted network only. A reading that
was answered is stored within a second; it is on disk for certain once the server has stopped.

Flags win over the environment (KINGLET_HTTP, KINGLET_DATA, …), the environment over the file. The file is
--config, else KINGLET_CONFIG, else ~/.config/kinglet/server.toml if there is one. Ctrl-C or SIGTERM: what is being taken in is
stored and acknowledged first, then the server ends. SIGHUP: the configuration and the certificate are read anew, and the log says
what holds at once and what does not.")]
pub(crate) struct ServeArgs {
    /// The config file (see `kinglet config`)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port for devices, dashboard and API
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Address and port of MQTT for devices, 3.1.1 and 5; only devices can log in
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Address and port of CoAP over UDP for devices
    #[arg(long, value_name = "ADDR")]
    coap: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Where readings, keys and bundles are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Keep readings in this database instead: postgres://USER@HOST/DATABASE, shared by any number of servers
    #[arg(long, value_name = "URI")]
    pub(crate) store: Option<StoreFlag>,
    /// Serve other machines although there are no users: whoever reaches the port reads everything
    #[arg(long)]
    pub(crate) allow_remote_without_login: bool,
    #[command(flatten)]
    pub(crate) seed: DecodeModeArgs,
    /// How the log is written to standard error: text, or json, one object a line
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Readiness as one JSON line, for programs that start the server
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is served by TLS.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
struct TlsArgs {
    /// Address and port of the dashboard, the API and HTTP for devices by TLS
    #[arg(long, value_name = "ADDR")]
    https: Option<SocketAddr>,
    /// Address and port of MQTT by TLS
    #[arg(long, value_name = "ADDR")]
    mqtts: Option<SocketAddr>,
    /// Your certificate as PEM, read again when it changes; a self-made one if not given
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// The seed's own mode.
#[derive(Args, Debug)]
#[command(next_help_heading = "The seed's own mode")]
pub(crate) struct DecodeModeArgs {
    /// Answer `POST /decode` as the seed's server does: obfuscation, for a trusted network
    #[arg(long, requires = "bundle")]
    pub(crate) decode: bool,
    /// The seed-mode bundle that decodes (from `kinglet train --preset seed` or `kinglet import`)
    #[arg(long, value_name = "BUNDLE", requires = "decode")]
    bundle: Option<PathBuf>,
    /// Port of `POST /decode`, 5000 if not given; or an address and a port such as 127.0.0.1:5000
    #[arg(long, value_name = "PORT", requires = "decode", value_parser = port)]
    seed_port: Option<Port>,
    /// Name the readings are kept under, `seed` if not given; a board that asks for /decode?device=NAME has its own
    #[arg(long, value_name = "NAME", requires = "decode", value_parser = device_name)]
    seed_device: Option<String>,
    /// Keep the reading out of the answer; it is on the dashboard all the same
    #[arg(long, requires = "decode")]
    no_plaintext_reply: bool,
}

/// A port, or an address with one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    On(SocketAddr),
    Any(u16),
}

fn port(text: &str) -> Result<Port, String> {
    let one = text.parse().map(Port::Any).or_else(|_| text.parse().map(Port::On));
    one.map_err(|_| format!("`{text}` is no port: say 5000, or 127.0.0.1:5000"))
}

pub(super) fn device_name(text: &str) -> Result<String, String> {
    let id = kinglet_wire::keys::DeviceId::new(text);
    id.map(|id| id.as_str().into()).ok_or_else(|| {
        format!("`{text}` is no name: say letters, digits, `-`, `_` and `.`, at most 32 of them")
    })
}

/// Show the fingerprint of the server's certificate, which devices pin
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet certificate
  kinglet certificate --data ./kinglet-data --json
  kinglet send --pin sha256:… --server https://192.0.2.7:8443 --key porch.key --bundle room.kinglet room.csv

Without a certificate of yours the server has one it made itself; it is made now if there is none yet. `kinglet device
add` writes the pin into the provisioning, where the server's address begins with https:// or mqtts://.")]
pub(crate) struct CertificateArgs {
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

/// Register devices and revoke them
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet device add porch --bundle room.kinglet           prints the key, once
  kinglet device add porch --bundle room.kinglet --key-out porch.key --name 'Porch, north side'
  kinglet device add --dev-eui 0004A30B001C0530 --bundle room.kinglet --key-out cellar.key    on LoRaWAN
  kinglet device list
  kinglet device show porch --json
  kinglet device token porch                               username and password for MQTT
  kinglet device revoke porch
  kinglet device flash-config --key porch.key --bundle room.kinglet --sensor \"dht22 4\" --ssid home \\
      --password-file wifi.txt --server http://192.168.1.10:8470 --port /dev/ttyACM0

The server sees the change at once; it need not be running. If it was started with --data, say the same --data here.")]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    pub(crate) action: DeviceAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DeviceAction {
    /// Register a device and make its key
    Add(DeviceAddArgs),
    /// Show all devices
    List(DeviceListArgs),
    /// Show one device
    Show(DeviceOneArgs),
    /// Show the username, password and topics a device uses by MQTT
    Token(DeviceOneArgs),
    /// Refuse everything a device says from now on; what it has stored stays
    Revoke(DeviceOneArgs),
    /// Give an ESP32 with Kinglet's firmware its key, bundle, Wi-Fi and sensor, over its serial port
    FlashConfig(DeviceFlashArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet device flash-config --key porch.key --bundle room.kinglet --sensor \"dht22 4\" --ssid home \\
      --password-file wifi.txt --server http://192.168.1.10:8470 --port /dev/ttyACM0
  kinglet device flash-config --preset seed --sensor \"dht11 4\" --ssid home --password-file wifi.txt \\
      --server http://192.168.1.10:5000 --port /dev/ttyUSB0

The Wi-Fi password is read from --password-file or KINGLET_WIFI_PASSWORD. With --port - the lines go to standard output
instead, secrets included, for a terminal program at 115200 baud. What the board was given before is replaced whole.")]
pub(crate) struct DeviceFlashArgs {
    /// The provisioning written by `kinglet device add --key-out`
    #[arg(long, value_name = "FILE", env = "KINGLET_KEY", required_unless_present = "preset")]
    pub(crate) key: Option<PathBuf>,
    /// The bundle the device uses
    #[arg(long, value_name = "BUNDLE", required_unless_present = "preset")]
    pub(crate) bundle: Option<PathBuf>,
    /// `seed`: for firmware built for the seed's own use, which has no key and brings its encoder along
    #[arg(long, value_name = "PRESET", value_parser = ["seed"], conflicts_with_all = ["key", "bundle"])]
    pub(crate) preset: Option<String>,
    /// What is wired to which GPIO: \"dht11 PIN\", \"dht22 PIN\", \"bme280 SDA SCL\" (and 77 for its other address)
    #[arg(long, value_name = "SENSOR")]
    pub(crate) sensor: String,
    /// Name of the Wi-Fi network
    #[arg(long, value_name = "NAME")]
    pub(crate) ssid: String,
    /// A file that holds the Wi-Fi password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The network has no password
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) open: bool,
    /// The server as the board reaches it; by default the one in the provisioning
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The board sleeps between samples and sends a window at a time: for batteries
    #[arg(long, conflicts_with = "preset")]
    pub(crate) sleep: bool,
    /// Take a server on this machine too: for boards that are programs
    #[arg(long, hide = true)]
    pub(crate) allow_loopback: bool,
    /// The board's serial port, or `-` for standard output
    #[arg(long, value_name = "PORT")]
    pub(crate) port: PathBuf,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeviceAddArgs {
    /// The device's id: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "ID", required_unless_present = "dev_eui", conflicts_with = "dev_eui")]
    pub(crate) id: Option<String>,
    /// A device on LoRaWAN, by its DevEUI of 16 hexadecimal digits: that is its name then
    #[arg(long, value_name = "EUI", value_parser = dev_eui)]
    pub(crate) dev_eui: Option<DeviceId>,
    /// What people call it, as the dashboard and Home Assistant show it: "Kitchen window"
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// The bundle it will use
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Write the provisioning to this file (readable by you alone) instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(crate) key_out: Option<PathBuf>,
    /// The server as the device will reach it; goes into the provisioning
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Whose updates of the bundle the device takes over the air: the .pub file of `kinglet bundles keygen`
    #[arg(long, value_name = "FILE.pub")]
    pub(crate) update_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

impl DeviceAddArgs {
    /// The name it will have.
    pub(crate) fn id(&self) -> &str {
        self.dev_eui.as_ref().map(DeviceId::as_str).or(self.id.as_deref()).unwrap_or_default()
    }
}

fn dev_eui(text: &str) -> Result<DeviceId, String> {
    kinglet_server::lorawan::id_of(text).ok_or_else(|| {
        format!("`{text}` is no DevEUI: say 16 hexadecimal digits, as the network server shows them")
    })
}

#[derive(Args, Debug)]
pub(crate) struct DeviceListArgs {
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

#[derive(Args, Debug)]
pub(crate) struct DeviceOneArgs {
    /// The device's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

/// Ask a server whether it can take frames in
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet health                             exits with 0 if it is ready, with 4 or 5 if not
  kinglet health --config server.toml --json
  kinglet health https://sensors.lan:8443 --pin sha256:…

Without an address it asks where the server's configuration says, found as `kinglet serve` finds it; over HTTPS too, if that is
configured, and there the certificate must be the one that is configured. Addresses that only the flags of `serve` say it cannot
know: name them. For containers and scripts where there is nothing else to ask with.")]
pub(crate) struct HealthArgs {
    /// Where it serves HTTP or HTTPS; by default wherever its configuration says
    #[arg(value_name = "URL", value_parser = web_address, conflicts_with_all = ["config", "data"])]
    pub(crate) url: Option<String>,
    /// The server's config file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server's data directory, where its self-made certificate lies
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl HealthArgs {
    /// As the server's configuration wants it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { file: self.config.clone(), data: self.data.clone(), ..Overrides::default() }
    }
}

fn web_address(url: &str) -> Result<String, String> {
    match ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme)) {
        Some(rest) if !rest.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err("say the server's address as http://HOST:PORT or https://HOST:PORT".into()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct DeviceCommon {
    /// The server's config file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server's data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The server's database, if it is not in the data directory
    #[arg(long, value_name = "URI")]
    pub(crate) store: Option<StoreFlag>,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl DeviceAction {
    /// True if the result is wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::FlashConfig(args) => args.json,
            _ => self.common().is_some_and(|common| common.json),
        }
    }

    /// Of those that work on a server's data.
    pub(crate) fn common(&self) -> Option<&DeviceCommon> {
        match self {
            Self::Add(a) => Some(&a.common),
            Self::List(a) => Some(&a.common),
            Self::Show(a) | Self::Token(a) | Self::Revoke(a) => Some(&a.common),
            Self::FlashConfig(_) => None,
        }
    }
}

impl ServeArgs {
    /// As the server's configuration wants it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            data: self.data.clone(),
            store: self.store.clone(),
            http: self.http,
            https: self.tls.https,
            mqtt: self.mqtt,
            coap: self.coap,
            mqtts: self.tls.mqtts,
            tls_files: self.tls.files(),
            allow_remote_without_login: self.allow_remote_without_login.then_some(true),
            log_format: self.log_format,
            seed: self.seed.overrides(),
        }
    }
}

impl TlsArgs {
    fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles { cert: self.tls_cert.clone()?, key: self.tls_key.clone()? })
    }
}

impl DecodeModeArgs {
    fn overrides(&self) -> SeedOverrides {
        let (port, listen) = match self.seed_port {
            Some(Port::On(addr)) => (None, Some(addr)),
            Some(Port::Any(port)) => (Some(port), None),
            None => (None, None),
        };
        SeedOverrides {
            bundle: self.bundle.clone(),
            port,
            listen,
            device: self.seed_device.clone(),
            plaintext_reply: self.no_plaintext_reply.then_some(false),
        }
    }
}

impl DeviceCommon {
    /// As the server's configuration wants it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            data: self.data.clone(),
            store: self.store.clone(),
            ..Overrides::default()
        }
    }
}
