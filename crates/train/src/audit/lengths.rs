//! What the lengths of sealed frames say, with and without padding.

use super::attack::Heard;
use super::stats::{auc, entropy_bits, rank_correlation};

/// Paddings that are tried: contents filled up to a multiple of so many bytes. 0 is none.
const CLASSES: [usize; 5] = [0, 4, 8, 16, 32];
/// One window in so many counts as busy.
const BUSY_IN: usize = 10;

/// A sealed frame around a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedShape {
    /// Bytes outside of the sealed content: header and tag.
    pub outer_len: usize,
    /// Bytes of the content before the code: flags and time.
    pub head_len: usize,
}

/// What the lengths of frames say under one padding.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LengthLeak {
    /// Contents are padded to a multiple of this many bytes; 0: not at all.
    pub padding_class: usize,
    /// Bytes of a frame, mean.
    pub frame_bytes_mean: f64,
    /// The same against frames without padding, in per cent more.
    pub cost_percent: f64,
    /// Different lengths.
    pub distinct: usize,
    /// Bits one length says at most, by how often each comes.
    pub entropy_bits: f64,
    /// How well ranks of lengths follow the ranks of the windows' restlessness, 0 to 1.
    pub restlessness_correlation: f64,
    /// The chance that a window of the most restless tenth is longer than another: 0.5 is a guess, 1 certain.
    pub busy_auc: Option<f64>,
    /// How well ranks of lengths follow a channel's mean, 0 to 1: the most telling channel.
    pub level_correlation: f64,
}

/// Leaks at each padding. `code_lens`: of the codes heard.
pub(super) fn leaks(
    code_lens: &[usize],
    heard: &Heard,
    n_channels: usize,
    sealed: SealedShape,
) -> Vec<LengthLeak> {
    let restless = restlessness(heard, n_channels);
    let mut sorted = restless.clone();
    sorted.sort_by(f64::total_cmp);
    let limit = sorted[sorted.len() - 1 - sorted.len() / BUSY_IN];
    let busy: Vec<bool> = restless.iter().map(|&x| x > limit).collect();
    let means: Vec<Vec<f64>> = (0..n_channels).map(|idx| heard.means(idx, n_channels)).collect();
    let frames = |class: usize| -> Vec<usize> {
        code_lens.iter().map(|&n| sealed.outer_len + padded(sealed.head_len + n, class)).collect()
    };
    let mean = |lens: &[usize]| lens.iter().sum::<usize>() as f64 / lens.len().max(1) as f64;
    let bare = mean(&frames(0));
    let leak = |class: usize| {
        let lens = frames(class);
        let scores: Vec<f64> = lens.iter().map(|&n| n as f64).collect();
        let mut different = lens.clone();
        different.sort_unstable();
        different.dedup();
        LengthLeak {
            padding_class: class,
            frame_bytes_mean: mean(&lens),
            cost_percent: 100.0 * (mean(&lens) / bare - 1.0),
            distinct: different.len(),
            entropy_bits: entropy_bits(&lens),
            restlessness_correlation: rank_correlation(&scores, &restless).abs(),
            busy_auc: auc(&scores, &busy),
            level_correlation: means.iter().map(|m| rank_correlation(&scores, m).abs()).fold(0.0, f64::max),
        }
    };
    CLASSES.into_iter().map(leak).collect()
}

/// Content with its padding: at least one byte of it, up to a multiple of `class`.
fn padded(len: usize, class: usize) -> usize {
    if class == 0 { len } else { (len + 1).next_multiple_of(class) }
}

/// How far readings move within each window: mean step between neighbours, in deviations of their channel.
fn restlessness(heard: &Heard, n_channels: usize) -> Vec<f64> {
    let deviations: Vec<f64> = (0..n_channels)
        .map(|idx| {
            let all = || heard.readings.iter().flat_map(|r| r.iter().skip(idx).step_by(n_channels));
            let n = all().count().max(1) as f64;
            let mean = all().sum::<f64>() / n;
            (all().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt()
        })
        .collect();
    let of = |readings: &Vec<f64>| {
        let moves = readings.iter().zip(readings.iter().skip(n_channels)).enumerate();
        moves.map(|(at, (a, b))| (b - a).abs() / deviations[at % n_channels].max(1e-12)).sum::<f64>()
    };
    heard.readings.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `spec/wire.md`, 6.1: pad to the next multiple of a class, always by at least one byte.
    #[test]
    fn padding_is_that_of_the_wire_format() {
        for (len, class, to) in [(7, 8, 8), (8, 8, 16), (9, 8, 16), (5, 0, 5), (15, 16, 16), (16, 16, 32)] {
            assert_eq!(padded(len, class), to, "{len} to {class}");
        }
    }
}
