//! `send`, `simulate` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use kinglet_codec::Decimal;
use kinglet_server::tls::Pin;
use kinglet_train::recording::Bound;

use super::learn::ReadingArgs;
use super::seed::SeedSendArgs;
use super::values::{Effort, Source, duration_ms, fill_len, rate_hz, share};

/// What the frames of a device look like.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Frames")]
pub(crate) struct FrameArgs {
    /// Fill frames of this many bytes in all; as the bundle was trained if not given
    #[arg(long, value_name = "BYTES", value_parser = fill_len)]
    pub(crate) fill: Option<usize>,
    /// Pad what is sealed to a multiple of this many bytes, so that lengths say less
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(2..=128))]
    pub(crate) pad: Option<u8>,
}

/// Whom a device believes where the server's address begins with `https://` or `mqtts://`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TrustArgs {
    /// Believe this one certificate (`kinglet certificate` shows its pin); by default the provisioning's pin
    #[arg(long, value_name = "sha256:HEX", value_parser = pin, conflicts_with = "ca")]
    pub(crate) pin: Option<Pin>,
    /// Believe certificates signed by those in this PEM file; without it and without a pin those browsers believe
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

fn pin(text: &str) -> Result<Pin, String> {
    Pin::parse(text).ok_or_else(|| format!("`{text}` is no pin: say sha256: and 64 hexadecimal digits"))
}

/// Send readings as a device would
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet send --key porch.key --bundle room.kinglet room.csv
  sensor-logger --csv | kinglet send --key porch.key --bundle room.kinglet -
  kinglet send --key porch.key --bundle room.kinglet --iio --max-delay 5min
  kinglet send --key porch.key --bundle room.kinglet --command \"read-sensor --csv\" --every 10s
  thermometer | kinglet send --preset seed --bundle seed.kinglet --server http://192.168.1.10:5000 -

The outbox lies on disk: what could not be sent stays there and goes first the next time, with its own time
and nothing twice. Run without DATA to send only what is left.

A file is read to its end. --iio, --w1, --command and - go on: samples are sent as they are measured, at the bundle's
period unless --every says otherwise, until Ctrl-C or SIGTERM; then what was measured is sent or stays in the outbox. Lines on
standard input need a time in ISO 8601 or since 1970, or none (then they were measured when they come); with options such
as --timezone or --only, standard input is read to its end as a file is.

--preset seed does what the seed's sketch does: encodes each reading, posts it as JSON to /decode, prints latent and
answer. Standard input is read as it comes, one reading per line, with or without a header. While the network is away
readings are kept on disk; afterwards each says how old it is.")]
pub(crate) struct SendArgs {
    /// The readings, or `-` for standard input; without it only what waits in the outbox is sent
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    /// The provisioning written by `kinglet device add --key-out`
    #[arg(long, value_name = "FILE", env = "KINGLET_KEY", required_unless_present = "preset")]
    pub(crate) key: Option<PathBuf>,
    /// The bundle the device uses
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The server; by default the one in the provisioning
    #[arg(long, value_name = "URL", env = "KINGLET_SERVER")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// The outbox and the counters; by default a file of the device's name in the state directory
    #[arg(long, value_name = "FILE")]
    pub(crate) outbox: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) frame: FrameArgs,
    /// Give up if nothing was acknowledged for this long; what is left stays in the outbox
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration_ms)]
    pub(crate) patience: u64,
    /// The summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) of_seed: SeedSendArgs,
}

/// Sources that go on.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Readings as they are measured")]
pub(crate) struct LiveArgs {
    /// Sensors the kernel reads over industrial I/O (DHT11, DHT22, BME280, …), or one sensor's own folder: --iio=DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, conflicts_with_all = ["data", "preset"],
          default_missing_value = "/sys/bus/iio/devices")]
    pub(crate) iio: Option<PathBuf>,
    /// 1-wire thermometers such as DS18B20, or one thermometer's own folder: --w1=DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, conflicts_with_all = ["data", "iio", "preset"],
          default_missing_value = "/sys/bus/w1/devices")]
    pub(crate) w1: Option<PathBuf>,
    /// A program that prints one sample, one number per channel, and ends; run by the shell at every period
    #[arg(long, value_name = "LINE", conflicts_with_all = ["data", "iio", "w1", "preset"])]
    pub(crate) command: Option<String>,
    /// No sample waits longer than this to be sent; as the bundle says if not given
    #[arg(long, value_name = "DURATION", value_parser = duration_ms, conflicts_with = "preset")]
    pub(crate) max_delay: Option<u64>,
}

impl SendArgs {
    /// A recording that is read to its end; `None` if there is none.
    pub(crate) fn source(&self) -> Option<Source> {
        let data = self.data.clone().filter(|_| !self.is_piped_live());
        data.map(|path| Source::from_arg(Some(path)))
    }

    /// Standard input is read as it comes: nothing was asked for that needs all of it.
    pub(crate) fn is_piped_live(&self) -> bool {
        let is_plain = self.reading.needs_all().is_none();
        self.data.as_deref() == Some(std::path::Path::new("-")) && is_plain && self.of_seed.preset.is_none()
    }
}

/// Let virtual devices speak to a server: real frames, real sockets
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet simulate --devices 100 --rate 50/s --seconds 20
  kinglet simulate --devices 20 --loss 10% --json
  kinglet simulate --bundle room.kinglet --fill 51
  kinglet simulate --bundle room.kinglet --update better.kinglet    they change to it over the air
  kinglet simulate --server http://127.0.0.1:8470 --data ./kinglet-data

Without --server a throw-away server is started in the same process. With it, --data names that server's data
directory, where the virtual devices (sim-…) are registered.")]
pub(crate) struct SimulateArgs {
    /// Virtual devices
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) devices: u32,
    /// Frames per second, all devices together (50/s, 600/min)
    #[arg(long, value_name = "R", default_value = "10/s", value_parser = rate_hz)]
    pub(crate) rate: f64,
    /// Share of requests and of answers that are lost on the way
    #[arg(long, value_name = "P", default_value = "0", value_parser = share)]
    pub(crate) loss: f64,
    /// How long new readings come; then the outboxes are emptied
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seed of climate, losses and keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The bundle the devices use; a starter bundle if not given
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<PathBuf>,
    /// A bundle that is signed and offered to them, to be fetched over http:// or https://
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) update: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) frame: FrameArgs,
    /// A running server
    #[arg(long, value_name = "URL", env = "KINGLET_SERVER", requires = "data")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// The running server's data directory
    #[arg(long, value_name = "DIR", requires = "server")]
    pub(crate) data: Option<PathBuf>,
    /// The summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// See the whole of Kinglet work on this machine: train, serve, send, check
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet demo                        a generated indoor climate, until Ctrl-C
  kinglet demo room.csv               your own recording
  kinglet demo --seconds 20 --json    ends by itself with a summary

Nothing is installed and nothing is left behind: the server listens on this machine only and keeps its
readings in a temporary directory. Time runs faster than on the wall, so that there is something to see.
At the end every acknowledged window is read back from the server and compared with what was measured:
stored exactly once and within the bound, else the exit code is 7.

JSON keys: windows_sent, windows_stored, duplicates, max_error_over_bound, bytes_per_reading (whole frames),
json_bytes_per_reading (a JSON body saying the same readings), and more.")]
pub(crate) struct DemoArgs {
    /// A recording; without it a generated indoor climate
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Bound per channel, as in `kinglet train`; if not given 0.25 °C and 1 % for the generated climate, and 5 per
    /// cent of each channel's deviation for a recording
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    bound: Vec<Bound>,
    /// How long to learn: fast, normal or high
    #[arg(long, value_name = "EFFORT", value_enum, default_value = "fast", hide_possible_values = true)]
    pub(crate) effort: Effort,
    /// Virtual devices
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) devices: u32,
    /// Share of requests and of answers that are lost on the way
    #[arg(long, value_name = "P", default_value = "5%", value_parser = share)]
    pub(crate) loss: f64,
    /// Where to listen; a free port of this machine if not given
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Seed of climate, training and losses
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// End by itself after this many seconds of sending
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// The summary as JSON
    #[arg(long, requires = "seconds")]
    pub(crate) json: bool,
}

impl DemoArgs {
    /// Loose enough that there is a bound to be seen: what is within a sensor's own step comes back exactly.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let natural = |hundredths| Bound::Natural(Decimal::new(hundredths, 2));
        match (&self.data, &self.bound[..]) {
            (None, []) => vec![natural(25), natural(100)],
            (Some(_), []) => vec![Bound::PercentOfDeviation(Decimal::new(5, 0))],
            (_, given) => given.to_vec(),
        }
    }

    /// What is learned from, for messages.
    pub(crate) fn origin(&self) -> String {
        self.data.as_ref().map_or_else(|| "the generated climate".into(), |path| path.display().to_string())
    }

    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.data.clone())
    }
}
