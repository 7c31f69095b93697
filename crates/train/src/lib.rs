//! How a codec is learned from a recording, quantised, judged and exported.
// The kernels for each instruction set live in `nn::isa`, which says why they need more.
#![deny(unsafe_code)]

pub mod audit;
pub mod climate;
pub mod export;
pub mod fit;
#[cfg(feature = "import")]
pub mod import;
pub mod klt;
pub mod lora;
pub mod nn;
pub mod recording;
pub mod seed;
mod solve;
pub mod yardstick;
