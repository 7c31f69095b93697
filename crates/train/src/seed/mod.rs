//! The seed's own system: a small dense autoencoder for single readings, or short windows of them.
//!
//! [`train`] makes a [`kinglet_codec::seed::SeedModel`] and judges it on readings it has not seen, over the sensor's
//! whole range, and at a DHT11's whole degrees; what is worse than the limit is refused. The scale is the sensor's
//! range, never the data's. The seed alone decides the result, on one instruction set to the bit.
//!
//! The files, in the order to read them: `options`, `train` (the order of steps), `data`, `network` (options to layers
//! and back), `int8` (training with a device's integers), `judge`, `report`, `svg`.

mod data;
mod int8;
mod judge;
mod network;
mod options;
mod report;
mod svg;
#[cfg(test)]
mod tests;
mod train;

pub use data::{Dropped, readings_from};
pub use options::{Recipe, SeedConv, SeedOptions};
pub use report::{ChannelError, CurvePoint, PicturePoint, RangeError, SeedReport};
pub use svg::{learning_curve_svg, reconstruction_svg};
pub use train::{SeedProgress, SeedTrainError, SeedTrained, train};
