//! Weights of a linear map as integers, chosen for the inputs that will come.
//!
//! To round each weight to the nearest integer is best only for inputs that have nothing in common. Numbers of a window
//! have: where its level lies far from the mean, the errors of a whole row add up. So a row is chosen whose expected
//! squared error `eᵀ M e` is small, `M` being the inputs' second moments: from the nearest integers, single steps that
//! lessen it are taken until none does (coordinate descent; the objective of Nagel et al. 2020, arXiv 2004.10568).

use super::super::QuantisedLayer;
use super::super::quant::{peak, round, scale, top};

/// Scales that are tried for a row: the least that holds its largest weight, and greater ones up to a third more; of a long
/// row fewer, for each takes time that grows with its square.
fn n_scales(n_in: usize) -> usize {
    (4096 / n_in.max(1)).clamp(4, 128)
}

/// Passes over a row, at most.
const PASSES: usize = 8;

/// Second moments of inputs.
pub(super) struct Moments {
    /// `[n × n]`, sums over all inputs.
    sums: Vec<f64>,
    n: usize,
}

impl Moments {
    pub(super) fn new(n: usize) -> Self {
        Self { sums: vec![0.0; n * n], n }
    }

    /// Counts one input `[n]`.
    pub(super) fn add(&mut self, input: &[f32]) {
        for (row, &x) in self.sums.chunks_exact_mut(self.n).zip(input) {
            row.iter_mut().zip(input).for_each(|(sum, &y)| *sum += f64::from(x) * f64::from(y));
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.sums[i * self.n..][..self.n]
    }
}

/// `weights` `[n_out × n_in]` in integers of `bits` bits, for inputs of these moments.
pub(super) fn rounded(weights: &[f32], bias: &[f32], bits: u8, moments: &Moments) -> QuantisedLayer {
    let n_in = moments.n;
    let top = top(bits);
    let mut layer = QuantisedLayer {
        n_in,
        n_out: bias.len(),
        weights: Vec::with_capacity(weights.len()),
        scale: Vec::with_capacity(bias.len()),
        bias: bias.to_vec(),
        bits,
    };
    for row in weights.chunks_exact(n_in) {
        let least = scale(peak(row), top);
        let n_scales = n_scales(n_in);
        let tried = (0..n_scales).map(|i| {
            let scale = least * (1.0 + i as f32 / (3 * n_scales) as f32);
            (scale, round_row(row, scale, top, moments))
        });
        let best = tried.min_by(|a, b| a.1.error.total_cmp(&b.1.error));
        if let Some((scale, row)) = best {
            layer.scale.push(scale);
            layer.weights.extend(row.integers);
        }
    }
    layer
}

struct RoundedRow {
    integers: Vec<i16>,
    error: f64,
}

fn round_row(row: &[f32], scale: f32, top: f32, moments: &Moments) -> RoundedRow {
    let step = f64::from(scale);
    let mut integers: Vec<f32> = row.iter().map(|w| round(w / scale).clamp(-top, top)).collect();
    // What a weight is too large by, and how the squared error grows with it, by halves.
    let mut too_large: Vec<f64> =
        integers.iter().zip(row).map(|(i, w)| f64::from(*i) * step - f64::from(*w)).collect();
    let mut slope = vec![0.0; row.len()];
    for (i, &e) in too_large.iter().enumerate() {
        slope.iter_mut().zip(moments.row(i)).for_each(|(s, m)| *s += e * m);
    }
    for _ in 0..PASSES {
        let mut has_moved = false;
        for i in 0..row.len() {
            let by = if slope[i] > 0.0 { -1.0 } else { 1.0 };
            let gain = -(2.0 * f64::from(by) * step * slope[i] + step * step * moments.row(i)[i]);
            if gain <= 0.0 || (integers[i] + by).abs() > top {
                continue;
            }
            has_moved = true;
            integers[i] += by;
            let moved = f64::from(by) * step;
            too_large[i] += moved;
            slope.iter_mut().zip(moments.row(i)).for_each(|(s, m)| *s += moved * m);
        }
        if !has_moved {
            break;
        }
    }
    let error = too_large.iter().zip(&slope).map(|(e, s)| e * s).sum();
    RoundedRow { integers: integers.into_iter().map(|i| i as i16).collect(), error }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Rng, WeightScale};
    use super::*;

    #[test]
    fn errors_of_inputs_that_move_together_do_not_add_up() {
        let mut rng = Rng::new(5);
        let n = 32;
        let weights: Vec<f32> = (0..n).map(|_| rng.uniform() - 0.5).collect();
        let mut moments = Moments::new(n);
        let inputs: Vec<Vec<f32>> = (0..200)
            .map(|_| {
                let level = 4.0 * (rng.uniform() - 0.5);
                (0..n).map(|_| level + 0.1 * rng.uniform()).collect()
            })
            .collect();
        inputs.iter().for_each(|x| moments.add(x));
        let error = |layer: &QuantisedLayer| {
            let of = |x: &Vec<f32>| {
                let terms = x.iter().zip(&weights).zip(&layer.weights);
                terms
                    .map(|((x, w), &i)| f64::from(x * (f32::from(i) * layer.scale[0] - w)))
                    .sum::<f64>()
                    .powi(2)
            };
            inputs.iter().map(of).sum::<f64>()
        };
        let nearest = QuantisedLayer::from_weights(&weights, n, &[0.0], 8, WeightScale::PerOutput);
        let chosen = rounded(&weights, &[0.0], 8, &moments);
        assert!(error(&chosen) < 0.1 * error(&nearest), "{} {}", error(&chosen), error(&nearest));
        assert!(chosen.weights.iter().all(|w| w.abs() <= 127));
        // A row of nothing stays nothing.
        assert!(rounded(&vec![0.0; n], &[0.0], 8, &moments).weights.iter().all(|&w| w == 0));
    }
}
