//! `serve`, `device` and `config`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinglet_server::config::Overrides;

/// Run the server: takes in frames, keeps them, shows them
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet serve                                     on 127.0.0.1, readings in the data directory
  kinglet serve --http 127.0.0.1:9000 --data ./kinglet-data
  kinglet config > server.toml && kinglet serve --config server.toml

Flags win over the environment (KINGLET_HTTP, KINGLET_DATA, …), the environment over the file. The file is
--config, else KINGLET_CONFIG, else ~/.config/kinglet/server.toml if there is one. Ctrl-C or SIGTERM: what is being taken in is
stored and acknowledged first, then the server ends.")]
pub(crate) struct ServeArgs {
    /// The config file (see `kinglet config`)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port for devices, dashboard and API
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Where readings, keys and bundles are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Serve other machines although there is no login yet: whoever reaches the port reads everything
    #[arg(long)]
    pub(crate) allow_remote_without_login: bool,
    /// Readiness as one JSON line, for programs that start the server
    #[arg(long)]
    pub(crate) json: bool,
}

/// Register devices and revoke them
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet device add porch --bundle room.kinglet           prints the key, once
  kinglet device add porch --bundle room.kinglet --key-out porch.key
  kinglet device list
  kinglet device show porch --json
  kinglet device revoke porch

The server sees the change at once; it need not be running.")]
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
    /// Refuse everything a device says from now on; what it has stored stays
    Revoke(DeviceOneArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DeviceAddArgs {
    /// The device's name: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The bundle it will use
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Write the provisioning to this file (readable by you alone) instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(crate) key_out: Option<PathBuf>,
    /// The server as the device will reach it; goes into the provisioning
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
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

#[derive(Args, Debug)]
pub(crate) struct DeviceCommon {
    /// The server's config file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server's data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl DeviceAction {
    pub(crate) fn common(&self) -> &DeviceCommon {
        match self {
            Self::Add(a) => &a.common,
            Self::List(a) => &a.common,
            Self::Show(a) | Self::Revoke(a) => &a.common,
        }
    }
}

impl ServeArgs {
    /// As the server's configuration wants it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            file: self.config.clone(),
            data: self.data.clone(),
            http: self.http,
            allow_remote_without_login: self.allow_remote_without_login.then_some(true),
        }
    }
}

impl DeviceCommon {
    /// As the server's configuration wants it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { file: self.config.clone(), data: self.data.clone(), ..Overrides::default() }
    }
}
