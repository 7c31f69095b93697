//! `encode`, `decode` and `inspect`.

use std::path::PathBuf;

use clap::Args;

use super::learn::ReadingArgs;
use super::values::Source;

/// Encode a recording, file to file
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet encode room.kinglet room.csv                   writes room.codes
  kinglet encode room.kinglet room.csv --out - | wc -c
  kinglet encode room.kinglet --out climate.codes        the generated climate

The file holds the bundle's fingerprint, then one record per window: time of its first sample, length, code.")]
pub(crate) struct EncodeArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The recording, or `-` for standard input; without it a generated indoor climate
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// The file to write, or `-` for standard output; by default the recording's name with `.codes`
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// The summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl EncodeArgs {
    pub(crate) fn source(&self) -> Source {
        Source::from_arg(self.data.clone())
    }

    /// `None` is standard output.
    pub(crate) fn out(&self) -> Option<PathBuf> {
        out_path(self.out.as_deref(), || match self.source() {
            Source::File(path) => path.with_extension("codes"),
            Source::Stdin => "readings.codes".into(),
            Source::Generated => "climate.codes".into(),
        })
    }
}

/// Decode a file of codes into CSV
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet decode room.kinglet room.codes                 CSV on standard output
  kinglet decode room.kinglet room.codes --out back.csv")]
pub(crate) struct DecodeArgs {
    /// The bundle the codes were made with
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The codes
    #[arg(value_name = "FILE.codes")]
    pub(crate) codes: PathBuf,
    /// The file to write; by default standard output
    #[arg(long, short, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl DecodeArgs {
    /// `None` is standard output.
    pub(crate) fn out(&self) -> Option<PathBuf> {
        out_path(self.out.as_deref(), || PathBuf::from("-"))
    }
}

fn out_path(said: Option<&std::path::Path>, default: impl Fn() -> PathBuf) -> Option<PathBuf> {
    let path = said.map_or_else(default, std::path::Path::to_path_buf);
    (path.as_os_str() != "-").then_some(path)
}

/// Say in words what a bundle, a file of codes or a frame is
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet inspect room.kinglet
  kinglet inspect room.codes
  kinglet inspect seed.kinglet                           a seed-mode bundle
  kinglet inspect --hex 0c00d1f2…                        a frame as seen on the air
  kinglet inspect --bundle room.kinglet --code 03a4      one code, decoded")]
pub(crate) struct InspectArgs {
    /// A bundle, a file of codes, or a frame
    #[arg(value_name = "FILE", required_unless_present_any = ["hex", "code"])]
    pub(crate) file: Option<PathBuf>,
    /// A frame in hexadecimal
    #[arg(long, value_name = "HEX", conflicts_with = "file", value_parser = hex_arg)]
    pub(crate) hex: Option<Hex>,
    /// A code in hexadecimal, read with --bundle
    #[arg(long, value_name = "HEX", conflicts_with_all = ["file", "hex"], requires = "bundle", value_parser = hex_arg)]
    pub(crate) code: Option<Hex>,
    /// The bundle a code was made with
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Bytes typed in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

fn hex_arg(text: &str) -> Result<Hex, String> {
    crate::hex::parse(text)
        .map(Hex)
        .ok_or_else(|| "not hexadecimal: an even number of digits 0-9, a-f".into())
}
