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

/// Longest time from the first to the last sample of a block.
pub(super) const BLOCK_SPAN_MS: i64 = 3_600_000;

/// Samples that are kept as one piece.
pub(super) struct Block {
    pub(super) t_first: i64,
    pub(super) n_samples: usize,
    pub(super) bytes: Vec<u8>,
}

/// By time, cut where a block would span too much.
pub(super) fn blocks(run: &SeedRun) -> Vec<Block> {
    let mut order: Vec<_> =
        run.times.iter().zip(run.values.chunks_exact(run.channels.len().max(1))).collect();
    order.sort_by_key(|(t, _)| **t);
    let mut blocks: Vec<Block> = Vec::new();
    for (&t, values) in order {
        let fits = |block: &&mut Block| t.saturating_sub(block.t_first) < BLOCK_SPAN_MS;
        let block = match blocks.last_mut().filter(fits) {
            Some(_) => blocks.last_mut(),
            None => {
                blocks.push(Block { t_first: t, n_samples: 0, bytes: Vec::new() });
                blocks.last_mut()
            }
        };
        let Some(block) = block else { continue };
        block.n_samples += 1;
        block.bytes.extend(t.to_le_bytes());
        block.bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    blocks
}

/// Time and values of a sample of a block.
pub(super) fn sample(sample: &[u8]) -> (i64, Vec<f32>) {
    let (t, values) = sample.split_at(8);
    let t = t.iter().rev().fold(0u64, |t, &byte| t << 8 | u64::from(byte)) as i64;
    (t, values.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect())
}

/// The channels as a database keeps them.
pub(super) fn channels_text(channels: &[(String, String)]) -> String {
    serde_json::to_string(channels).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_span_an_hour_at_most_and_lose_nothing() {
        let hour = BLOCK_SPAN_MS;
        let times = [2 * hour, 5, hour - 1, hour + 5, 0];
        let run = SeedRun {
            device: "porch".into(),
            bundle: [1; 16],
            channels: vec![("temperature".into(), "°C".into())],
            times: times.to_vec(),
            values: times.iter().map(|t| *t as f32).collect(),
        };
        let cut = blocks(&run);
        assert_eq!(cut.iter().map(|b| (b.t_first, b.n_samples)).collect::<Vec<_>>(), [(0, 3), (hour + 5, 2)]);
        assert_eq!(sample(&cut[0].bytes[12..24]), (5, vec![5.0]));
    }
}
