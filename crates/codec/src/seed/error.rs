//! Why a seed-mode model, a reading or a latent is refused.

use std::string::String;

use super::FILE_LEN_MAX;

/// Why a seed-mode model, a reading or a latent is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// More than [`FILE_LEN_MAX`] bytes.
    #[error("the file has {0} bytes, a seed-mode bundle at most {FILE_LEN_MAX}: this is not one")]
    TooLarge(usize),
    /// A bundle of the window codec.
    #[error(
        "this is a bundle of the window codec, not a seed-mode bundle: leave the seed mode away, or make one with `kinglet train --preset seed`"
    )]
    WindowCodec,
    /// Not a seed-mode file.
    #[error("this is not a seed-mode bundle ({0}): make one with `kinglet train --preset seed`")]
    Container(String),
    /// A seed-mode file with something impossible inside.
    #[error("the seed-mode bundle is damaged or of an unknown kind ({0}): make it again")]
    Model(&'static str),
    /// This model came without its encoder.
    #[error("this model has no encoder, it only decodes: import it together with its encoder's .tflite")]
    NoEncoder,
    /// Too many or too few readings.
    #[error("{given} readings given, this model takes {expected}: check its window and channels")]
    InputLen {
        /// Readings given.
        given: usize,
        /// Readings a window has.
        expected: usize,
    },
    /// Too many or too few numbers in a latent.
    #[error(
        "a latent of {given} numbers given, this model has {expected}: check that both ends use one bundle"
    )]
    LatentLen {
        /// Numbers given.
        given: usize,
        /// Numbers expected.
        expected: usize,
    },
    /// A number that is none, or infinite.
    #[error("number {idx} is not finite: leave out readings that failed")]
    NotFinite {
        /// 0-based position.
        idx: usize,
    },
    /// A reading the sensor cannot make.
    #[error(
        "reading {idx} is {value}, the sensor's range is {lo} to {hi}: check the sensor, or clip it knowingly"
    )]
    OutOfRange {
        /// 0-based position.
        idx: usize,
        /// The reading.
        value: f32,
        /// Least reading of the sensor.
        lo: f32,
        /// Greatest reading of the sensor.
        hi: f32,
    },
    /// The network's answer is not finite.
    #[error("the network's answer is not finite: the numbers given are far from any a sensor makes")]
    Overflow,
}
