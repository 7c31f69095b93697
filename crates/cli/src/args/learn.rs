//! `train`, `eval` and `bundles`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinglet_train::recording::{Bound, ColumnChoice, DateOrder, Duplicates, ReadOptions};

use super::seed::SeedTrainArgs;
use super::server::DeviceCommon;
use super::values::{Effort, Source, Variants, duration_ms, fill_len, period_ms};

/// Learn a codec from a recording and write a bundle
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet train                                   learn from a generated indoor climate
  kinglet train room.csv --bound 0.25,1           two channels, within 0.25 and 1 of their units
  kinglet train room.csv --channels temp --bound lossless --out room.kinglet
  kinglet train room.csv --max-delay 1h           full windows, fewer bytes: a reading may wait an hour
  kinglet train room.csv --fill 51 --max-delay 6h as many samples as fit a LoRaWAN frame at SF12
  kinglet train room.csv --references             windows coded after the one before, where acks come back
  kinglet train room.csv --compare latent=1,2,4,8 variants side by side, nothing written
  kinglet train --device porch                    from what the device `porch` has sent so far
  kinglet train --preset seed --out seed.kinglet  the seed's own network, for boards that run its sketch")]
pub(crate) struct TrainArgs {
    /// The recording, or `-` for standard input; without it a generated indoor climate
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Samples per window; 32 if not given (1 with --preset seed), or with --fill as many as frames come to carry
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) window: Option<u16>,
    /// Fill frames of this many bytes, header, time and tag included: as many samples as fit, none waiting
    /// longer than --max-delay. LoRaWAN takes 51 (SF10 to SF12), 115 (SF9) or 222 (SF7, SF8)
    #[arg(long, value_name = "BYTES", value_parser = fill_len, conflicts_with = "bytes")]
    pub(crate) fill: Option<usize>,
    /// How long to look for the best codec: fast, normal or high
    #[arg(long, value_name = "EFFORT", value_enum, default_value = "normal", hide_possible_values = true)]
    pub(crate) effort: Effort,
    /// Let devices code a window after the one before, once that is acked: fewer bytes where acks come back; windows that
    /// stand alone take a little more
    #[arg(long, conflicts_with_all = ["bytes", "fill"])]
    pub(crate) references: bool,
    /// Bound per channel: a number in its unit, per cent of its deviation (2%), or `lossless`; one for all
    /// channels or one each
    #[arg(
        long,
        value_name = "B,...",
        value_delimiter = ',',
        default_value = "2%",
        allow_negative_numbers = true
    )]
    pub(crate) bound: Vec<Bound>,
    /// The longest a reading may wait for its window to fill; a window is sent early to keep it
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration_ms)]
    pub(crate) max_delay: u64,
    /// Seed of everything random: the same seed gives the same bundle
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Latents of the autoencoder; chosen by itself if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) latent: Option<u16>,
    /// The autoencoder alone in exactly K bytes per window: the size is promised, the error is measured
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=255), conflicts_with = "bound")]
    pub(crate) bytes: Option<u16>,
    /// Train variants and print them side by side (latent=1,2,4,8, window=…, bound=…, bytes=…, seed=…)
    #[arg(long, value_name = "WHAT=V,...", conflicts_with = "out")]
    pub(crate) compare: Option<Variants>,
    /// The bundle to write; by default the recording's name with `.kinglet`
    #[arg(long, short, value_name = "NAME.kinglet")]
    pub(crate) out: Option<PathBuf>,
    /// Leave out the report, a page beside the bundle
    #[arg(long)]
    pub(crate) no_report: bool,
    /// Replace bundle and report if they exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Learn from the readings this device has stored on the server instead of from a file
    #[arg(long, value_name = "ID", conflicts_with = "data")]
    pub(crate) device: Option<String>,
    /// The data directory of the server that has them
    #[arg(long, value_name = "DIR", requires = "device")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) of_seed: SeedTrainArgs,
}

impl TrainArgs {
    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.of_seed.file.clone().or_else(|| self.data.clone()))
    }

    /// The bundle's file: as said, or after the recording.
    pub(crate) fn out_path(&self) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        let stem = match (&self.device, self.source()) {
            (Some(device), _) => device.clone(),
            (None, Source::File(path)) => {
                path.file_stem().map_or_else(|| "readings".into(), |s| s.to_string_lossy().into_owned())
            }
            (None, Source::Stdin) => "readings".into(),
            (None, Source::Generated) if self.of_seed.preset.is_some() => "seed".into(),
            (None, Source::Generated) => "climate".into(),
        };
        PathBuf::from(format!("{stem}.kinglet"))
    }
}

/// How a recording is to be read; what is not said is found out.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "How the file is read")]
pub(crate) struct ReadingArgs {
    /// Channels to use, by name or by column number; all columns of numbers if not given
    #[arg(long, visible_alias = "column", value_name = "A,B", value_delimiter = ',')]
    pub(crate) channels: Vec<String>,
    /// The column with times, by name or by number; found if not given
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time_column: Option<String>,
    /// Only rows that have this text in this column, where several sensors share a file
    #[arg(long, value_name = "COLUMN=TEXT", value_parser = only)]
    pub(crate) only: Option<(ColumnChoice, String)>,
    /// Sampling period (such as 60s); found from the time stamps if not given
    #[arg(long, value_name = "DURATION", value_parser = period_ms)]
    pub(crate) period: Option<u32>,
    /// Zone of time stamps that name none, such as Europe/Madrid; UTC if not given
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// Order of day and month in dates such as 03/04/2024: dmy or mdy
    #[arg(long, value_name = "ORDER")]
    pub(crate) date_order: Option<DateOrder>,
    /// Delimiter between columns: one character, or `tab`; found if not given
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
    /// Keep rows of equal time as samples of their own instead of merging them
    #[arg(long)]
    pub(crate) keep_duplicates: bool,
}

impl ReadingArgs {
    /// What was asked for that takes a whole recording to answer.
    pub(crate) fn needs_all(&self) -> Option<&'static str> {
        let asked = [
            ("--only", self.only.is_some()),
            ("--period", self.period.is_some()),
            ("--timezone", self.timezone.is_some()),
            ("--date-order", self.date_order.is_some()),
            ("--delimiter", self.delimiter.is_some()),
            ("--keep-duplicates", self.keep_duplicates),
        ];
        asked.into_iter().find(|(_, is_asked)| *is_asked).map(|(name, _)| name)
    }

    /// As the reader of recordings wants it.
    pub(crate) fn options(&self) -> ReadOptions {
        let column = |name: &String| ColumnChoice::from(name.as_str());
        ReadOptions {
            channels: (!self.channels.is_empty()).then(|| self.channels.iter().map(column).collect()),
            time_column: self.time_column.as_ref().map(column),
            only: self.only.clone(),
            period_ms: self.period,
            timezone: self.timezone.clone(),
            date_order: self.date_order,
            delimiter: self.delimiter,
            duplicates: if self.keep_duplicates { Duplicates::Keep } else { Duplicates::Merge },
            ..ReadOptions::default()
        }
    }
}

fn only(text: &str) -> Result<(ColumnChoice, String), String> {
    match text.split_once('=') {
        Some((column, wanted)) => Ok((column.into(), wanted.to_string())),
        None => Err("say it as COLUMN=TEXT, such as entity_id=sensor.kitchen".into()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        &[one] if one.is_ascii_punctuation() || one == b' ' || one == b'\t' => Ok(one),
        _ => Err("a delimiter is one character such as , or ; or `tab`".into()),
    }
}

/// Measure a bundle on a recording
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet eval room.kinglet room.csv
  kinglet eval room.kinglet --json | jq .bits_per_value

JSON keys: windows, values, bits_per_value, payload_bytes_mean, payload_bytes_p95, payload_bytes_max,
max_error_over_bound (1.0 or less: the bound held), static_bytes, ram_bytes, rungs, channels.
Exit code 7 if any decoded reading lies outside its bound.")]
pub(crate) struct EvalArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The recording, or `-` for standard input; without it a generated indoor climate
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl EvalArgs {
    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.data.clone())
    }
}

/// List or export the starter bundles for common sensors, give a server a bundle
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet bundles
  kinglet bundles export dht22 --out dht22.kinglet
  kinglet bundles add room.kinglet             a running server takes its frames from then on
  kinglet bundles keygen --out updates.key     once; devices get updates.key.pub by `kinglet device add --update-key`
  kinglet bundles sign room.kinglet --key updates.key --out room.signed.kinglet
  kinglet bundles offer room.signed.kinglet --to porch
  kinglet bundles offer room.signed.kinglet --percent 10
  kinglet bundles offers                       what is offered, and how far it has come
  kinglet bundles withdraw room.signed.kinglet

Starter bundles are trained on a generated indoor climate as the named sensor would measure it. They are for
the first day with a board; a bundle trained on your own readings is smaller on the air.")]
pub(crate) struct BundlesArgs {
    #[command(subcommand)]
    pub(crate) action: Option<BundlesAction>,
    /// The list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum BundlesAction {
    /// Show what there is
    List {
        /// The list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write one as a file
    Export {
        /// dht11, dht22 or bme280
        #[arg(value_name = "NAME")]
        name: String,
        /// The file to write; by default NAME.kinglet
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Give a server a bundle, for a device that changes to it
    Add {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        #[command(flatten)]
        common: DeviceCommon,
    },
    /// Make a key that signs bundles, and the one devices verify them with
    Keygen {
        /// The file that signs; FILE.pub is the one for devices
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign a bundle, so that devices take it over the air; needs no server
    Sign {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// The file that signs, from `kinglet bundles keygen`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Grows from update to update; by default the seconds since 1970
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        serial: Option<u32>,
        /// The file to write
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// The result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Offer a signed bundle to a device, or to a share of all whose bundle has the same channels
    #[command(group = clap::ArgGroup::new("audience").required(true))]
    Offer {
        /// The signed bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// To this device
        #[arg(long, value_name = "ID", group = "audience")]
        to: Option<String>,
        /// To so many in a hundred devices; a larger share holds all of a smaller one
        #[arg(long, value_name = "N", group = "audience", value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: Option<u8>,
        #[command(flatten)]
        common: DeviceCommon,
    },
    /// Show what is offered, and what became of it
    Offers {
        #[command(flatten)]
        common: DeviceCommon,
    },
    /// Offer a bundle no longer; devices that have it keep it
    Withdraw {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// To this device alone
        #[arg(long, value_name = "ID")]
        to: Option<String>,
        #[command(flatten)]
        common: DeviceCommon,
    },
    /// Train them all again and write them into a directory (for those who work on Kinglet)
    #[command(hide = true)]
    Remake {
        /// Where to
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}
