//! How the first value of each channel is learned.

use kinglet_codec::learn::{FirstPart, Lattice};

use super::rows::Rows;
use crate::solve::solve;

/// Bins of the histogram, and of one with a comb, which wants bins of one value each.
const N_BINS: i32 = 64;
const N_BINS_COMBED: i32 = 120;

/// How a first value's histogram is made of what was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shaping {
    /// Width of the smoothing kernel in deviations of the residual.
    pub(crate) spread: f64,
    /// Every so many lattice values one keeps its weight.
    pub(crate) comb: i32,
    /// What the others keep of theirs. Where a bound leaves several values to choose from, one of them is a tooth, and
    /// a cheap one.
    pub(crate) between: f64,
}

impl Shaping {
    /// Without a comb.
    pub(crate) fn smooth(spread: f64) -> Self {
        Self { spread, comb: 1, between: 1.0 }
    }
}

/// Learns mean, weights and histogram of channel `idx` on every sample of `rows`, since any can begin a window.
///
/// `lattices`: those of all channels.
pub(crate) fn learn_first(rows: &Rows, idx: usize, lattices: &[Lattice], shaping: Shaping) -> FirstPart {
    let Shaping { spread, comb, between } = shaping;
    let n_bins_max = if comb > 1 { N_BINS_COMBED } else { N_BINS };
    let lattice = lattices[idx];
    let means: Vec<i32> = (0..=idx).map(|c| mean(rows, c)).collect();
    let coefs = coefs(rows, idx, &means);
    let mut residuals: Vec<i32> = Vec::with_capacity(rows.len());
    for sample in rows.steps.chunks_exact(rows.n_channels).filter(|s| kinglet_codec::is_step(s[idx])) {
        let mut predicted = 0i64;
        for c in 0..idx {
            let known = kinglet_codec::is_step(sample[c]);
            predicted += i64::from(coefs[c]) * i64::from(if known { sample[c] - means[c] } else { 0 });
        }
        let predicted = i64::from(means[idx]) + (predicted >> 8);
        let step = i64::from(lattice.step);
        let r = (i64::from(sample[idx]) - predicted).div_euclid(step);
        residuals.push(r.clamp(-(1 << 25), 1 << 25) as i32);
    }
    residuals.sort_unstable();
    let at =
        |share: f64| residuals.get(((residuals.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0);
    let (low, high) = (at(0.002), at(0.998));
    let margin = (f64::from(high - low) * (0.15 + spread)) as i32 + 2;
    let (low, high) = (low - margin, high + margin);
    let mut bin_shift = 0;
    while (high - low) >> bin_shift >= n_bins_max {
        bin_shift += 1;
    }
    let n_bins = ((high - low) >> bin_shift) + 1;
    let mut counts = vec![0.0f64; n_bins as usize];
    let mut ends = [0.5f64, 0.5];
    for &r in &residuals {
        match (r - low) >> bin_shift {
            bin if bin < 0 => ends[0] += 1.0,
            bin if bin >= n_bins => ends[1] += 1.0,
            bin => counts[bin as usize] += 1.0,
        }
    }
    let n = residuals.len() as f64;
    let deviation = (residuals.iter().map(|&r| f64::from(r).powi(2)).sum::<f64>() / n.max(1.0)).sqrt();
    let width = (deviation * spread / f64::from(1 << bin_shift)).max(0.3);
    let mut bins = smooth(&counts, width, n);
    if comb > 1 && bin_shift == 0 {
        let gaps = bins.iter_mut().zip(low..).filter(|(_, r)| r.rem_euclid(comb) != 0);
        gaps.for_each(|(weight, _)| *weight *= between);
        // The ends keep their share of the whole.
        let scale = counts.iter().sum::<f64>().max(1.0) / bins.iter().sum::<f64>().max(1e-9);
        bins.iter_mut().for_each(|weight| *weight *= scale);
    }
    let weights = [bins, ends.iter().map(|e| e + 0.002 * n).collect()].concat();
    FirstPart { mean: means[idx], coefs, bin_first: low, bin_shift, weights }
}

fn mean(rows: &Rows, idx: usize) -> i32 {
    let (sum, n) = rows.channel(idx).fold((0i64, 0i64), |(sum, n), x| (sum + i64::from(x), n + 1));
    if n == 0 { 0 } else { (sum as f64 / n as f64).round() as i32 }
}

/// Least squares of channel `idx` on the channels before it, Q8, lightly damped.
fn coefs(rows: &Rows, idx: usize, means: &[i32]) -> Vec<i16> {
    let mut normal = vec![vec![0.0f64; idx + 1]; idx];
    for sample in rows.steps.chunks_exact(rows.n_channels) {
        if !sample[..=idx].iter().all(|&x| kinglet_codec::is_step(x)) {
            continue;
        }
        let dev: Vec<f64> = (0..=idx).map(|c| f64::from(sample[c] - means[c])).collect();
        for a in 0..idx {
            for b in 0..=idx {
                normal[a][b] += dev[a] * dev[b];
            }
        }
    }
    for (a, row) in normal.iter_mut().enumerate() {
        row[a] = row[a] * 1.02 + 1.0;
    }
    solve(normal).iter().flatten().map(|w| (w * 256.0).round().clamp(-32768.0, 32767.0) as i16).collect()
}

/// Counts under a two-sided geometric kernel of the given width, plus a floor.
fn smooth(counts: &[f64], width: f64, n: f64) -> Vec<f64> {
    let decay = libm::exp(-1.0 / width);
    let mut out = counts.to_vec();
    for reverse in [false, true] {
        let mut carried = 0.0;
        for step in 0..counts.len() {
            let at = if reverse { counts.len() - 1 - step } else { step };
            out[at] += carried * decay;
            carried = carried * decay + counts[at];
        }
    }
    let floor = 0.05 * n.max(1.0) / counts.len() as f64;
    let scale = counts.iter().sum::<f64>() / out.iter().sum::<f64>().max(1e-9);
    out.iter().map(|w| w * scale + floor).collect()
}
