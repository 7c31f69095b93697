//! How a codec is learned from a recording, quantised, judged and exported.

pub mod recording;
