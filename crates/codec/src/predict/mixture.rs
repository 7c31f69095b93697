//! A mixture of three logistic distributions, in integers.

/// Components.
pub const COMPONENTS: usize = 3;
/// Values on each side of the centre that have a symbol of their own.
pub(crate) const REACH: i32 = 24;
/// "Below", the values around the centre, "above".
pub(crate) const N_SYMBOLS: usize = 2 * REACH as usize + 3;
/// Largest centre: far beyond any difference, small enough for sums.
const CENTRE_MAX: i64 = (1 << 28) - 64;

/// `2^15 / (1 + e^-z)` for z = 0, 1/32, 2/32, …, 10.
static SIGMOID: [u16; 321] = sigmoid_table();

/// A mixture of three logistic distributions of a difference, in lattice units.
#[derive(Debug)]
pub(crate) struct Mixture {
    /// Of each component: mean Q4.
    means: [i64; 3],
    /// Of each: index of its scale, `2^(index / 4 − 4)` lattice units.
    scales: [u32; 3],
    /// Of each: weight, adding up to about 1024.
    weights: [u32; 3],
    /// What they leave of 1024, for something beside them.
    rest: u32,
    centre: i32,
}

impl Mixture {
    /// `linear`: each component's linear prediction, Q4. `mean_move`: the channel's usual difference, Q8. `outputs`: three offsets
    /// in usual differences, three binary logarithms of scales in lattice units, three logits to base 2, and the logit of what
    /// stands beside the components, if something does; all Q8 and of at most 28 bits.
    pub(crate) fn new(
        linear: &[i64; COMPONENTS],
        mean_move: u32,
        outputs: &[i32; 10],
        has_rest: bool,
    ) -> Self {
        let &[offsets @ .., l0, l1, l2, g0, g1, g2, rest] = outputs;
        let (log_scales, logits) = ([l0, l1, l2], [g0, g1, g2]);
        let limited = |x: i64| x.clamp(-CENTRE_MAX << 3, CENTRE_MAX << 3);
        let mean =
            |k: usize| limited(linear[k]) + limited((i64::from(offsets[k]) * i64::from(mean_move)) >> 12);
        let means = [mean(0), mean(1), mean(2)];
        let top = g0.max(g1).max(g2).max(if has_rest { rest } else { i32::MIN });
        // Outputs are far from the ends of an i32.
        let freq = |logit: i32| crate::freq::freq_of((top.wrapping_sub(logit) >> 4).min(255) as u8);
        let freqs = logits.map(freq);
        let total = freqs.iter().sum::<u32>() + if has_rest { freq(rest) } else { 0 };
        let weights = freqs.map(|freq| freq * 1024 / total);
        let scales =
            log_scales.map(|log| ((log.wrapping_mul(4).wrapping_add(128) >> 8) + 16).clamp(0, 63) as u32);
        // The peak: most weight for its width, the last of equals.
        let mut best = (i32::MIN, 0);
        for k in 0..3 {
            best = best.max((logits[k].wrapping_sub(log_scales[k]), k));
        }
        let centre = ((means[best.1] + 8) >> 4) as i32;
        Self { means, scales, weights, rest: 1024 - weights.iter().sum::<u32>(), centre }
    }

    /// Weight of what stands beside the components, in 1024ths.
    pub(crate) fn rest(&self) -> u32 {
        self.rest
    }

    /// The value in the middle of those with symbols of their own.
    pub(crate) fn centre(&self) -> i32 {
        self.centre
    }

    /// Frequencies of all symbols, adding up to at most 2^15.
    pub(crate) fn freqs(&self, freqs: &mut [u32; N_SYMBOLS]) {
        let mut below = 0;
        // Boundaries lie half way between values.
        let mut x = ((i64::from(self.centre) - i64::from(REACH)) << 4) - 8;
        for freq in &mut freqs[..N_SYMBOLS - 1] {
            let up_to = self.cumulative(x);
            *freq = up_to - below;
            below = up_to;
            x += 16;
        }
        freqs[N_SYMBOLS - 1] = (1u32 << 15).saturating_sub(below);
    }

    /// Probability of less than `x` (Q4), Q15; never falls as `x` grows.
    fn cumulative(&self, x: i64) -> u32 {
        self.below(x) >> 10
    }

    /// The components' share of what lies below `x` (Q4), Q25; never falls as `x` grows.
    pub(crate) fn below(&self, x: i64) -> u32 {
        let mut sum = 0;
        for k in 0..3 {
            sum += self.weights[k] * sigmoid(x - self.means[k], self.scales[k]);
        }
        sum
    }
}

/// `2^(-i/4)` in Q14.
const QUARTERS: [u32; 4] = [16384, 13777, 11585, 9742];

/// The logistic function of `distance` (Q4) over the scale of index `scale`, Q15.
fn sigmoid(distance: i64, scale: u32) -> u32 {
    // In 1/32: Q4 · 2 / 2^(scale / 4 − 4) = Q4 · 32 · 2^(−scale / 4).
    let magnitude = distance.unsigned_abs();
    let (quarter, shift) = (QUARTERS[scale as usize & 3], 9 + (scale >> 2));
    // Nearly always it fits 32 bits, which small processors multiply and shift at once.
    let z = if magnitude < 1 << 17 {
        ((magnitude as u32 * quarter) >> shift) as usize
    } else {
        ((magnitude.min(1 << 34) * u64::from(quarter)) >> shift) as usize
    };
    let s = u32::from(SIGMOID[z.min(SIGMOID.len() - 1)]);
    if distance < 0 { (1 << 15) - s } else { s }
}

/// The table is computed when compiling, in integers: `e^-x` by its series in Q60.
const fn sigmoid_table() -> [u16; 321] {
    let mut table = [0u16; 321];
    let mut i = 0;
    // e^(-1/32) in Q60.
    let one: u128 = 1 << 60;
    let mut step: u128 = 0;
    let (mut term, mut n) = (one, 0u128);
    while term > 0 {
        if n % 2 == 0 {
            step += term
        } else {
            step -= term
        }
        n += 1;
        term /= 32 * n;
    }
    let mut power = one;
    while i < 321 {
        table[i] = (((one << 15) + (one + power) / 2) / (one + power)) as u16;
        power = (power * step) >> 60;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_logistic_function() {
        for (i, &s) in SIGMOID.iter().enumerate() {
            let exact = 32768.0 / (1.0 + (-(i as f64) / 32.0).exp());
            assert!((f64::from(s) - exact).abs() <= 0.51, "{i}: {s} {exact}");
        }
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        // One component at 3 with a scale of 2 lattice units.
        let mixture =
            Mixture::new(&[3 << 4; 3], 256, &[0, 0, 0, 256, 256, 256, 1000, -9000, -9000, 0], false);
        let mut freqs = [0; N_SYMBOLS];
        mixture.freqs(&mut freqs);
        assert_eq!(mixture.centre(), 3);
        for d in -5..11 {
            let cdf = |x: f64| 1.0 / (1.0 + (-(x - 3.0) / 2.0).exp());
            let exact = 32768.0 * (cdf(f64::from(d) + 0.5) - cdf(f64::from(d) - 0.5));
            let got = f64::from(freqs[(d - 3 + REACH + 1) as usize]);
            assert!((got - exact).abs() < 0.03 * exact + 40.0, "{d}: {got} {exact}");
        }
    }

    #[test]
    fn extreme_outputs_stay_in_range() {
        for extreme in [i32::MIN >> 4, -1, 0, 1, i32::MAX >> 4] {
            let mixture = Mixture::new(&[i64::from(extreme) << 20; 3], 1 << 24, &[extreme; 10], false);
            let mut freqs = [0; N_SYMBOLS];
            mixture.freqs(&mut freqs);
            assert!(freqs.iter().sum::<u32>() <= 1 << 15);
        }
    }
}
