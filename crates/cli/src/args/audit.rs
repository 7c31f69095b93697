//! `audit`.

use std::path::PathBuf;

use clap::Args;

use super::learn::ReadingArgs;
use super::values::Source;

/// Measure what codes give away to somebody without the key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet audit room.kinglet room.csv
  kinglet audit seed.kinglet room.csv --channels temperature
  kinglet audit room.kinglet room.csv --json | jq .lengths

Whoever has the bundle can read every code; sealing is what keeps others out. This measures what is left for an
eavesdropper who has neither: guesses from a few known readings, the curve's shape from codes alone, codes that come
again; and, for sealed frames, what their lengths still say, with and without padding. The attacks are simple ones:
their figures are what leaks at least.

JSON keys: bundle, mode (window or seed), codes, known (pairs, channels: error_mean, error_deaf, method), shape,
codebook, range (seed mode), lengths (window mode).")]
pub(crate) struct AuditArgs {
    /// The bundle, of either mode
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The recording, or `-` for standard input; without it a generated indoor climate
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Decides which readings the attacker knows
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl AuditArgs {
    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.data.clone())
    }
}
