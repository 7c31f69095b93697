//! How many bits each direction gets, and how wide its steps are.

/// Bits of one quantiser, at most.
pub const QUANTISER_BITS_MAX: u8 = 12;

/// `2^bits` steps of one width around zero; values beyond take the outermost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiser {
    /// 0 (nothing is sent, zero is read) to [`QUANTISER_BITS_MAX`].
    pub bits: u8,
    /// Width of a step, above zero.
    pub step: f64,
}

impl Quantiser {
    /// The step that holds `x`: `-2^(bits-1) ..= 2^(bits-1) - 1`.
    pub fn quantise(&self, x: f64) -> i32 {
        let half = self.half();
        (x / self.step).floor().clamp(-half, half - 1.0) as i32
    }

    /// The middle of step `code`.
    pub fn dequantise(&self, code: i32) -> f64 {
        if self.bits == 0 { 0.0 } else { (f64::from(code) + 0.5) * self.step }
    }

    fn half(&self) -> f64 {
        f64::from(1i32 << self.bits) / 2.0
    }
}

/// Shares out exactly `n_bits` over the directions so that the sum of squared errors over `coefficients`
/// `[direction][window]` is smallest, each quantiser's step being the best of its bits.
pub(super) fn share_out(coefficients: &[Vec<f64>], n_bits: usize, bits_max: u8) -> Vec<Quantiser> {
    let options: Vec<Vec<(f64, Quantiser)>> = coefficients.iter().map(|c| best_steps(c, bits_max)).collect();
    // best[b]: the smallest error of the directions so far with b bits; took[d][b]: what direction d took there.
    let mut best = vec![f64::INFINITY; n_bits + 1];
    best[0] = 0.0;
    let mut took = Vec::with_capacity(options.len());
    for options in &options {
        let mut next = vec![f64::INFINITY; n_bits + 1];
        let mut choice = vec![0usize; n_bits + 1];
        for (b, &before) in best.iter().enumerate().filter(|(_, e)| e.is_finite()) {
            for (bits, &(error, _)) in options.iter().enumerate().take(n_bits - b + 1) {
                if before + error < next[b + bits] {
                    next[b + bits] = before + error;
                    choice[b + bits] = bits;
                }
            }
        }
        best = next;
        took.push(choice);
    }
    let mut left = n_bits;
    let mut out = vec![Quantiser { bits: 0, step: 1.0 }; options.len()];
    for d in (0..options.len()).rev() {
        let bits = took[d][left];
        out[d] = options[d][bits].1;
        left -= bits;
    }
    out
}

/// Per number of bits, from none to `bits_max`: squared error and quantiser.
fn best_steps(c: &[f64], bits_max: u8) -> Vec<(f64, Quantiser)> {
    let power = c.iter().map(|x| x * x).sum::<f64>();
    let peak = c.iter().fold(0.0f64, |p, x| p.max(x.abs()));
    let mut out = vec![(power, Quantiser { bits: 0, step: 1.0 })];
    for bits in 1..=bits_max {
        if peak == 0.0 {
            // Nothing to say: the half step that is read all the same must not show.
            out.push((0.0, Quantiser { bits, step: 1e-9 }));
            continue;
        }
        // From steps that reach the farthest value down to a sixteenth of that, in sixths of an octave.
        let widest = 2.0 * peak / f64::from(1i32 << bits);
        let tried =
            (0..=24).map(|i| Quantiser { bits, step: widest * SIXTHS[i % 6] / f64::from(1 << (i / 6)) });
        let error = |q: &Quantiser| c.iter().map(|x| (x - q.dequantise(q.quantise(*x))).powi(2)).sum::<f64>();
        let best = tried.map(|q| (error(&q), q)).min_by(|a, b| a.0.total_cmp(&b.0));
        out.extend(best);
    }
    out
}

/// `2^(-i/6)`.
const SIXTHS: [f64; 6] = [
    1.0,
    0.890_898_718_140_339_3,
    0.793_700_525_984_099_7,
    std::f64::consts::FRAC_1_SQRT_2,
    0.629_960_524_947_436_6,
    0.561_231_024_154_686_5,
];
