//! scikit-learn's MinMaxScaler and StandardScaler out of a joblib file.

use std::io::Read;

use super::keras::short;
use super::pickle::{self, Node, Pickle};
use super::{FILE_LEN_MAX, ImportError};

/// A fitted scaler, one entry per value.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaler {
    /// `scaled = value · scale + min`.
    MinMax {
        /// `scale_`.
        scale: Vec<f64>,
        /// `min_`.
        min: Vec<f64>,
    },
    /// `scaled = (value - mean) / scale`.
    Standard {
        /// `mean_`, zeros where the scaler keeps the mean.
        mean: Vec<f64>,
        /// `scale_`, ones where the scaler keeps the deviation.
        scale: Vec<f64>,
    },
}

impl Scaler {
    /// Values scaled.
    pub fn len(&self) -> usize {
        match self {
            Self::MinMax { scale, .. } | Self::Standard { scale, .. } => scale.len(),
        }
    }

    /// Never true of a scaler that was read; here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What 0 and 1 on the scale mean for value `i`, natural units.
    pub fn decoded(&self, i: usize) -> (f32, f32) {
        match self {
            Self::MinMax { scale, min } => ((-min[i] / scale[i]) as f32, ((1.0 - min[i]) / scale[i]) as f32),
            Self::Standard { mean, scale } => (mean[i] as f32, (mean[i] + scale[i]) as f32),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::MinMax { .. } => "MinMaxScaler",
            Self::Standard { .. } => "StandardScaler",
        }
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Scaler, ImportError> {
    let expanded;
    let bytes = match bytes {
        [0x78, ..] => {
            expanded = expand(flate2::read::ZlibDecoder::new(bytes))?;
            &expanded
        }
        [0x1f, 0x8b, ..] => {
            expanded = expand(flate2::read::GzDecoder::new(bytes))?;
            &expanded
        }
        [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', ..] | [0x5d, 0, 0, ..] => {
            return Err(bad("it is compressed with bz2, xz or lzma; zlib and gzip are read"));
        }
        _ => bytes,
    };
    let pickle = pickle::read(bytes)?;
    let Some((class, state)) = pickle.object(pickle.root) else { return Err(bad("it holds no scaler")) };
    let array = |name: &str| -> Result<Option<Vec<f64>>, ImportError> {
        match pickle.get(state, name).map(|id| &pickle.nodes[id]) {
            None | Some(Node::None) => Ok(None),
            Some(Node::Array(values)) if values.iter().all(|v| v.is_finite()) => Ok(Some(values.clone())),
            Some(_) => Err(bad(&format!("its {name} is no array of finite numbers"))),
        }
    };
    let scaler = match class {
        "MinMaxScaler" => {
            let (Some(scale), Some(min)) = (array("scale_")?, array("min_")?) else {
                return Err(bad("it was never fitted"));
            };
            Scaler::MinMax { scale, min }
        }
        "StandardScaler" => {
            let (mean, scale) = (array("mean_")?, array("scale_")?);
            let Some(n) = mean.as_ref().or(scale.as_ref()).map(Vec::len) else {
                return Err(bad("it was never fitted"));
            };
            Scaler::Standard { mean: mean.unwrap_or(vec![0.0; n]), scale: scale.unwrap_or(vec![1.0; n]) }
        }
        other => return Err(bad(&format!("it is a {other}"))),
    };
    let (Scaler::MinMax { scale, min: other } | Scaler::Standard { scale, mean: other }) = &scaler;
    if scale.len() != other.len() || scale.is_empty() || scale.iter().any(|s| *s <= 0.0) {
        return Err(bad("its arrays do not fit each other"));
    }
    Ok(scaler)
}

fn expand(from: impl Read) -> Result<Vec<u8>, ImportError> {
    let mut content = Vec::new();
    let read = from.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut content);
    read.map_err(|e| bad(&format!("it does not expand: {e}")))?;
    if content.len() > FILE_LEN_MAX { Err(ImportError::TooLarge { file: "scaler" }) } else { Ok(content) }
}

fn bad(why: &str) -> ImportError {
    ImportError::Scaler(short(why))
}

impl Pickle {
    /// An object's class and state.
    fn object(&self, id: usize) -> Option<(&'static str, usize)> {
        match &self.nodes[id] {
            Node::Object { class, state: Some(state), .. } => Some((class.name, *state)),
            _ => None,
        }
    }
}
