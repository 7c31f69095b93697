//! How a codec is learned from a recording, quantised, judged and exported.

pub mod climate;
pub mod fit;
pub mod klt;
pub mod nn;
pub mod recording;
