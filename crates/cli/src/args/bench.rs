//! `bench`.

use std::path::PathBuf;

use clap::Args;
use kinglet_train::recording::Bound;

use super::learn::ReadingArgs;
use super::values::{Effort, Source};

/// Measure classical coders and ours on a recording, at the same bound
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet bench room.csv --bound 0.25,1
  kinglet bench room.csv --bound lossless --window 64 --channels temperature
  kinglet bench room.csv --json | jq .verdict

Every coder learns from the first 70 % of the rows (at most 40,000) and codes the rest in windows that decode
alone. Gaps in time are ignored and a missing reading takes the last one, for all alike; every code is read back
and the bound checked on every value.

JSON keys: recording, window, values_per_window, windows, coders (name, kind, payload_bytes_mean, payload_bytes_p95,
bits_per_value, static_bytes), best_classical, saved_percent, verdict.")]
pub(crate) struct BenchArgs {
    /// The recording, or `-` for standard input; without it a generated indoor climate
    #[arg(value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Samples per window
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub(crate) window: u16,
    /// Bound per channel, as for `train`; one for all channels or one each
    #[arg(long, value_name = "B,...", value_delimiter = ',', default_value = "2%")]
    pub(crate) bound: Vec<Bound>,
    /// How long learning ours may take: fast, normal or high
    #[arg(long, value_name = "HOW", default_value = "normal")]
    pub(crate) effort: Effort,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchArgs {
    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.data.clone())
    }
}
