//! How a codec is learned from a recording, quantised, judged and exported.

pub mod fit;
pub mod nn;
pub mod recording;
