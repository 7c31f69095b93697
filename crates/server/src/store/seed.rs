//! Readings of the seed's own mode, as a store keeps them: decoded when they came, apart from the sealed windows.

use super::Fingerprint;

/// Most names under which such readings are kept; whoever reaches the port may choose one.
pub const SEED_NAMES_MAX: usize = 64;
/// Most samples kept per name and bundle; then the oldest go. At one sample in ten seconds these are three years.
pub const SEED_SAMPLES_MAX: u64 = 10_000_000;

/// Samples of one name, decoded with one bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedRun {
    /// The name they are kept under.
    pub device: String,
    /// The bundle that decoded them.
    pub bundle: Fingerprint,
    /// Name and unit of each channel.
    pub channels: Vec<(String, String)>,
    /// Unix milliseconds, one per sample.
    pub times: Vec<i64>,
    /// `[samples × channels]`, natural units.
    pub values: Vec<f32>,
}

/// What is known of a [`SeedRun`]'s series without its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSeries {
    /// The name.
    pub device: String,
    /// The bundle that decoded it.
    pub bundle: Fingerprint,
    /// Name and unit of each channel.
    pub channels: Vec<(String, String)>,
    /// Samples kept.
    pub n_samples: u64,
    /// Time of the latest sample.
    pub t_last: i64,
}
