//! `readings`, `backup`, `restore` and `keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kinglet_server::config::StoreFlag;
use kinglet_server::export::{self, Format};

use super::DeviceCommon;

/// Take stored readings out
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet readings export --out readings.csv
  kinglet readings export --device porch --from 2026-03-01 --to 2026-04-01 --format line > march.lp
  kinglet readings export --format senml --out readings.json
  kinglet readings export --format parquet --out readings.parquet
  kinglet readings export --out readings.csv --resume       goes on where it was stopped, or with what is new

The server may run meanwhile.")]
pub(crate) struct ReadingsArgs {
    #[command(subcommand)]
    pub(crate) action: ReadingsAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ReadingsAction {
    /// Write readings to a file, device by device, in the order of their times
    Export(ReadingsExportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ReadingsExportArgs {
    /// csv (a row per value), line (InfluxDB line protocol), senml (RFC 8428) or parquet (as csv, without --resume)
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    pub(crate) format: ReadingsFormat,
    /// Only this device; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) device: Vec<String>,
    /// Readings from this time on: 2026-03-01, 2026-03-01T12:00:00Z or unix milliseconds
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub(crate) from: Option<i64>,
    /// Readings before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub(crate) to: Option<i64>,
    /// The file to write; by default standard output. Where it has come to is kept beside it, in FILE.state
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Go on after the last window in the file, with the same options
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadingsFormat {
    Csv,
    Line,
    #[value(name = "senml")]
    SenMl,
    #[cfg(feature = "parquet")]
    Parquet,
}

impl ReadingsFormat {
    /// The format, if it is text.
    pub(crate) fn text(self) -> Option<Format> {
        match self {
            Self::Csv => Some(Format::Csv),
            Self::Line => Some(Format::Line),
            Self::SenMl => Some(Format::SenMl),
            #[cfg(feature = "parquet")]
            Self::Parquet => None,
        }
    }
}

fn time(text: &str) -> Result<i64, String> {
    export::parse_time(text).ok_or_else(|| {
        format!("`{text}` is no time: say 2026-03-01, 2026-03-01T12:00:00Z or unix milliseconds")
    })
}

/// Copy the store while the server runs
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet backup --out kinglet-2026-03-01.db
  kinglet backup --out /mnt/backup/kinglet.db --data /var/lib/kinglet

Device keys are in it as they are kept: wrapped under the master key. Keep a copy of master.key somewhere else; one
without the other is worth nothing to a thief, and nothing to you. Of a PostgreSQL store pg_dump makes the backup.")]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
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

/// Move readings, devices and bundles to another kind of store
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kinglet store copy --to postgres://kinglet@db/readings --data /var/lib/kinglet

The server must not run meanwhile. All of it arrives or nothing: the database must be empty, and after a failure it is
again. Device keys stay under the same master key, so devices go on without a join. Then serve from there with
`store = \"postgres://…\"`; the old file stays as it is, and is no more served from.")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) action: StoreAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum StoreAction {
    /// Copy the embedded store into an empty PostgreSQL database
    Copy(StoreCopyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StoreCopyArgs {
    /// Where to, with the password in PGPASSWORD or PGPASSFILE
    #[arg(long, value_name = "URI")]
    pub(crate) to: StoreFlag,
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

/// Bring a backup back into an empty data directory
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kinglet restore kinglet-2026-03-01.db --data /var/lib/kinglet

The backup is checked first, page by page and window by window; a store that is there is not overwritten. The
master key of that server has to lie in the directory too. What came in after the backup was made is not in it.")]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
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

/// Turn over the master key that device keys are kept under
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kinglet keys rotate --data /var/lib/kinglet

The server may run meanwhile. Cut short, it is finished by running it again. Backups made before need the old
master key, which stays as master.key.old: keep it as long as you keep them, or take it away if it is known to others.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum KeysAction {
    /// Make a new master key and wrap every device key anew
    Rotate(KeysRotateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KeysRotateArgs {
    #[command(flatten)]
    pub(crate) common: DeviceCommon,
}
