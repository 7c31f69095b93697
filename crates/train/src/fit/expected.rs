//! Which window the empty code says.

use kinglet_codec::is_step;
use kinglet_codec::learn::{ExpectedPart, FirstPart, Lattice, Parts};

use super::rows::Rows;

/// The window in which every channel holds the value that lies within the bounds of the most windows of `rows`, said on the
/// rung that is `head`-th in the order of heads.
pub(crate) fn expect(parts: &Parts, bounds: &[u32], rows: &Rows, head: u8) -> Option<ExpectedPart> {
    let n_samples = usize::from(parts.n_samples);
    let mut held: Vec<Vec<(i32, i32)>> = Vec::new();
    for pass in 0..PASSES {
        let windows = rows.windows_from(n_samples, pass * n_samples / PASSES);
        let whole =
            windows.filter(|w| w.len() == n_samples * rows.n_channels && w.iter().all(|&x| is_step(x)));
        held.extend(whole.filter_map(|window| ranges(parts, bounds, window)));
    }
    let mut said: Vec<i32> = Vec::new();
    let mut bins = Vec::new();
    for (idx, channel) in parts.channels.iter().enumerate() {
        let first = &channel.first;
        let expected = nearest(channel.lattice, predicted(parts, idx, &said));
        let n_bins = first.weights.len() as i32 - 2;
        let begin = |bin: i32| expected + first.bin_first + (bin << first.bin_shift);
        let holds = |bin: i32| held.iter().filter(|w| (w[idx].0..=w[idx].1).contains(&begin(bin))).count();
        let (n, bin) = (0..n_bins).map(|bin| (holds(bin), bin)).max_by_key(|&(n, bin)| (n, -bin))?;
        // Where no window holds still any bin will do.
        let bin = if n > 0 { bin } else { n_bins / 2 };
        let r = begin(bin);
        if n > 0 {
            held.retain(|w| (w[idx].0..=w[idx].1).contains(&r));
        }
        said.push(channel.lattice.value(r)?);
        bins.push(bin as u8);
    }
    Some(ExpectedPart { head, bins })
}

/// Places a training window may begin, in parts of a window.
const PASSES: usize = 4;

/// For each channel the lattice values that hold through a window; `None` if some channel has none.
fn ranges(parts: &Parts, bounds: &[u32], window: &[i32]) -> Option<Vec<(i32, i32)>> {
    let n_channels = bounds.len();
    let range = |(idx, channel): (usize, &kinglet_codec::learn::ChannelPart)| {
        let values = || window.iter().skip(idx).step_by(n_channels).copied();
        let (low, high) = (values().min()?, values().max()?);
        let bound = bounds[idx] as i32;
        let range = (channel.lattice.candidates(high, bound).0, channel.lattice.candidates(low, bound).1);
        (range.0 <= range.1).then_some(range)
    };
    parts.channels.iter().enumerate().map(range).collect()
}

/// Where a decoder expects the first value of channel `idx` after those of the earlier ones.
fn predicted(parts: &Parts, idx: usize, said: &[i32]) -> i32 {
    let FirstPart { mean, coefs, .. } = &parts.channels[idx].first;
    let deviation = |c: usize| i64::from(said[c] - parts.channels[c].first.mean);
    let sum: i64 = coefs.iter().enumerate().map(|(c, &coef)| i64::from(coef) * deviation(c)).sum();
    (i64::from(*mean) + (sum >> 8)) as i32
}

fn nearest(lattice: Lattice, x: i32) -> i32 {
    let step = lattice.step as i32;
    (x - lattice.phase + step / 2).div_euclid(step)
}
