//! Settings of the seed's own mode.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of the seed's own mode; it is off without a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedConfig {
    /// The bundle that decodes.
    pub bundle: Option<PathBuf>,
    /// Where `POST /decode` is served: every interface by default, because the boards are on other machines.
    pub listen: SocketAddr,
    /// Name the readings are kept under, if a request names none.
    pub device: String,
    /// Whether the answer carries the reading, as the seed's sketch expects.
    pub plaintext_reply: bool,
    /// Time from sample to sample, for bundles whose windows have several.
    pub period_ms: u64,
}

/// What flags say of it; `None` was not said.
#[derive(Clone, Debug, Default)]
pub struct SeedOverrides {
    /// `--decode --bundle FILE`.
    pub bundle: Option<PathBuf>,
    /// `--seed-port`: a port, on the address that is set already.
    pub port: Option<u16>,
    /// `--seed-port`: an address and a port.
    pub listen: Option<SocketAddr>,
    /// `--seed-device NAME`.
    pub device: Option<String>,
    /// `--no-plaintext-reply` is `Some(false)`.
    pub plaintext_reply: Option<bool>,
}

impl Default for SeedConfig {
    fn default() -> Self {
        Self {
            bundle: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 5000)),
            device: "seed".into(),
            plaintext_reply: true,
            period_ms: 10_000,
        }
    }
}

impl SeedConfig {
    pub(crate) fn apply(&mut self, flags: &SeedOverrides) {
        self.bundle = flags.bundle.clone().or(self.bundle.take());
        self.listen = flags.listen.unwrap_or(self.listen);
        self.listen.set_port(flags.port.unwrap_or(self.listen.port()));
        if let Some(device) = &flags.device {
            self.device.clone_from(device);
        }
        self.plaintext_reply = flags.plaintext_reply.unwrap_or(self.plaintext_reply);
    }
}
