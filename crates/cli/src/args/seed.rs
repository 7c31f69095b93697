//! The seed's own mode: `train --preset seed`, `send --preset seed`, `export` and `import`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use kinglet_codec::seed::Activation;
use kinglet_train::seed::{Recipe, SeedConv};

use super::learn::ReadingArgs;
use super::server::device_name;
use super::values::{Source, duration_ms};

/// Whose network and whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// The seed's: a small autoencoder of single readings, sent as JSON without any protection
    Seed,
}

/// What `train --preset seed` trains.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The seed's network (with --preset seed)")]
pub(crate) struct SeedTrainArgs {
    /// The seed's own network: a dense autoencoder of single readings, float or int8, as .tflite on the board
    #[arg(long, value_name = "PRESET", conflicts_with_all = ["bound", "max_delay", "bytes", "compare", "device", "fill", "effort"])]
    pub(crate) preset: Option<Preset>,
    /// The recording, as an option; without one the seed's formula over 0..50 °C
    #[arg(long = "data", value_name = "FILE.csv", conflicts_with = "data", requires = "preset")]
    pub(crate) file: Option<PathBuf>,
    /// How to train: `ours` (several starts, best epoch, test split) or `seed` (Keras's defaults, last epoch)
    #[arg(long, value_name = "RECIPE", value_parser = recipe, requires = "preset")]
    pub(crate) recipe: Option<Recipe>,
    /// Largest error that is accepted, in the channel's unit; a hundredth of its range if not given (0.5 °C of 50)
    #[arg(long, value_name = "E", value_parser = positive, requires = "preset")]
    pub(crate) max_error: Option<f32>,
    /// What the sensor can measure, per channel; 0..50 for temperatures and 0..100 for humidities if not given.
    /// Never the data's own range: board and server have to mean the same
    #[arg(
        long,
        value_name = "LO..HI,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "preset"
    )]
    pub(crate) range: Vec<Range>,
    /// Widths of the encoder's hidden layers; the decoder has them the other way round. `none` for no hidden layer
    #[arg(long, value_name = "N,...", value_parser = hidden, requires = "preset")]
    pub(crate) hidden: Option<Hidden>,
    /// Convolutions before them: channels x kernel, and / stride
    #[arg(long, value_name = "CxK/S,...", value_delimiter = ',', value_parser = conv, requires = "preset")]
    pub(crate) conv: Vec<SeedConv>,
    /// Activation of the hidden layers: relu, tanh, sigmoid or linear
    #[arg(long, value_name = "NAME", value_parser = activation, requires = "preset")]
    pub(crate) activation: Option<Activation>,
    /// Activation of the decoder's output; sigmoid, and linear with --int8, if not given
    #[arg(long, value_name = "NAME", value_parser = activation, requires = "preset")]
    pub(crate) output_activation: Option<Activation>,
    /// Adam steps in all; 25000 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), requires = "preset")]
    pub(crate) steps: Option<u32>,
    /// Windows per step; 32 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536), requires = "preset")]
    pub(crate) batch: Option<u32>,
    /// Train with the integers a board computes with (quantisation-aware) and make an int8 bundle
    #[arg(long, requires = "preset")]
    pub(crate) int8: bool,
}

/// A sensor's least and greatest reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range(pub(crate) f32, pub(crate) f32);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends = text.split_once("..").and_then(|(lo, hi)| Some((number(lo)?, number(hi)?)));
        match ends {
            Some((lo, hi)) if lo < hi => Ok(Self(lo, hi)),
            _ => Err(format!("`{text}` is no range: say 0..50 or -40..80")),
        }
    }
}

/// Widths of hidden layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) Vec<usize>);

fn hidden(text: &str) -> Result<Hidden, String> {
    if text == "none" {
        return Ok(Hidden(Vec::new()));
    }
    let widths: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    let widths = widths.filter(|widths| widths.iter().all(|n| (1..=1024).contains(n)));
    widths
        .map(Hidden)
        .ok_or_else(|| format!("`{text}` is no list of widths from 1 to 1024: say 32,16 or none"))
}

fn conv(text: &str) -> Result<SeedConv, String> {
    let read = || {
        let (shape, stride) = text.split_once('/').unwrap_or((text, "1"));
        let (channels, kernel) = shape.split_once('x')?;
        let n = |text: &str| text.trim().parse::<usize>().ok().filter(|n| (1..=1024).contains(n));
        Some(SeedConv { channels: n(channels)?, kernel: n(kernel)?, stride: n(stride)? })
    };
    read().ok_or_else(|| {
        format!("`{text}` is no convolution: say 8x3 (8 channels, kernel 3) or 8x3/2 (stride 2)")
    })
}

fn activation(text: &str) -> Result<Activation, String> {
    match text.to_ascii_lowercase().as_str() {
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        "sigmoid" => Ok(Activation::Sigmoid),
        "linear" => Ok(Activation::Linear),
        _ => Err(format!("`{text}` is no activation: say relu, tanh, sigmoid or linear")),
    }
}

fn recipe(text: &str) -> Result<Recipe, String> {
    match text {
        "ours" => Ok(Recipe::Ours),
        "seed" => Ok(Recipe::Seed),
        _ => Err(format!("`{text}` is no recipe: say ours or seed")),
    }
}

fn positive(text: &str) -> Result<f32, String> {
    number(text).filter(|n| *n > 0.0).ok_or_else(|| format!("`{text}` is no error: say a number above 0"))
}

fn number(text: &str) -> Option<f32> {
    text.trim().parse::<f32>().ok().filter(|n| n.is_finite())
}

/// How `send --preset seed` behaves.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The seed's protocol (with --preset seed)")]
pub(crate) struct SeedSendArgs {
    /// The seed's protocol: JSON without any protection, to a server started with --decode
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<Preset>,
    /// Time from reading to reading: of a sensor, if not the bundle's period; with --preset seed of a file, such as the
    /// sketch's 10s, which is sent one after the other without it
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub(crate) every: Option<u64>,
    /// Move readings outside the sensor's range to its end, as the sketch does, instead of leaving them out
    #[arg(long, requires = "preset")]
    pub(crate) clip: bool,
    /// Name the server keeps the readings under, if not its own
    #[arg(long, value_name = "NAME", value_parser = device_name, requires = "preset")]
    pub(crate) device: Option<String>,
}

/// Write a bundle as something to build a device from: an Arduino library, C sources, a Rust crate
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet export room.kinglet --to arduino --out ~/Arduino/libraries/Kinglet
  kinglet export room.kinglet --to c --out components/kinglet
  kinglet export room.kinglet --to rust --out room-bundle
  kinglet export seed.kinglet --to tflite --out exported
  kinglet export seed.kinglet --to arduino --out sketches
  kinglet export seed.kinglet --to c --out sketch
  kinglet export seed.kinglet --to c --post-training-quantisation --out sketch

arduino, c and rust write sources with the bundle inside; whatever encoder runs, its bytes are the same.
For seed-mode bundles, tflite writes encoder_model.tflite and decoder_model.tflite, c writes encoder_model_data.h for
TensorFlow Lite Micro, arduino the sketch Seed with an encoder in plain C and SeedTflm with it. A bundle trained with --int8
is written as int8; a float bundle only becomes int8 by --post-training-quantisation, which costs accuracy and says
how much.")]
pub(crate) struct ExportArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// What to write: arduino, c or rust; of seed-mode bundles tflite, c or arduino
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) to: Format,
    /// The directory to write into; made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Round a float bundle's encoder to int8 after training
    #[arg(long, visible_alias = "post-training-quantization")]
    pub(crate) post_training_quantisation: bool,
    /// Typical readings, to see how far each layer reaches: needed to round networks of windows or several channels
    #[arg(long, value_name = "FILE.csv", requires = "post_training_quantisation")]
    data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl ExportArgs {
    /// Typical readings, if any were named.
    pub(crate) fn source(&self) -> Option<Source> {
        self.data.clone().map(|path| Source::from_arg(Some(path)))
    }
}

/// For which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Encoder and decoder as .tflite files
    Tflite,
    /// C sources; of a seed-mode bundle its encoder as a C array for a sketch
    C,
    /// A library for the Arduino IDE; of a seed-mode bundle a sketch
    Arduino,
    /// A Rust crate
    Rust,
}

/// Make a seed-mode bundle of the seed's exported files, so that its boards stay as they are
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet import --keras decoder_model.keras --scaler scaler.joblib --tflite encoder_model.tflite --out seed.kinglet
  kinglet import --keras decoder_model.keras --scaler scaler.joblib

Give the board's encoder too: then an encoder and a decoder of different trainings are noticed, here and by the server,
and `kinglet send --preset seed` can encode. Pickles are read as data, nothing in them is run.")]
pub(crate) struct ImportArgs {
    /// The decoder: a Keras 3 file of dense layers
    #[arg(long, value_name = "FILE.keras")]
    pub(crate) keras: PathBuf,
    /// The scaler: a MinMaxScaler or StandardScaler written by joblib
    #[arg(long, value_name = "FILE.joblib")]
    pub(crate) scaler: PathBuf,
    /// The board's encoder
    #[arg(long, value_name = "FILE.tflite")]
    pub(crate) tflite: Option<PathBuf>,
    /// What the board scales by, per channel
    #[arg(
        long,
        value_name = "LO..HI,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "0..50"
    )]
    pub(crate) range: Vec<Range>,
    /// Name of each channel, and its unit in brackets
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "temperature[°C]")]
    pub(crate) channels: Vec<String>,
    /// The bundle to write
    #[arg(long, short, value_name = "NAME.kinglet", default_value = "imported.kinglet")]
    pub(crate) out: PathBuf,
    /// Replace the bundle if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood_or_refused_with_an_example() {
        assert_eq!("-40..80".parse(), Ok(Range(-40.0, 80.0)));
        for text in ["", "50", "50..0", "0..inf", "a..b", "0..0"] {
            assert!(text.parse::<Range>().unwrap_err().contains("0..50"), "{text}");
        }
        assert_eq!(hidden("32, 16"), Ok(Hidden(vec![32, 16])));
        assert_eq!(hidden("none"), Ok(Hidden(vec![])));
        assert!(hidden("32,0").is_err() && hidden("").is_err() && hidden("2000").is_err());
        assert_eq!(conv("8x3/2"), Ok(SeedConv { channels: 8, kernel: 3, stride: 2 }));
        assert_eq!(conv("8x3"), Ok(SeedConv { channels: 8, kernel: 3, stride: 1 }));
        assert!(conv("8").is_err() && conv("8x0").is_err() && conv("8x3/0").is_err());
        assert!(positive("0").is_err() && positive("nan").is_err() && positive("0.5").is_ok());
    }
}
