//! The Karhunen–Loève transform at a fixed size: the best a linear code can do, and the yardstick of the autoencoder.
//!
//! [`Basis`] holds a recording's principal directions. [`FixedKlt`] quantises the coefficients along them with
//! uniform quantisers whose bits add up to exactly `8 · K`, shared out so that the training windows' squared error
//! is smallest: reverse water-filling (Shannon 1959; Cover & Thomas, ch. 10) for whole bits.

mod allocate;
mod eigen;

pub use allocate::{QUANTISER_BITS_MAX, Quantiser};

/// Windows used to learn a basis or quantisers, at most; more are thinned evenly.
const WINDOWS_MAX: usize = 16_384;

/// See [`FixedKlt::reaching`].
const FAR: usize = 16;

/// Why a transform could not be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KltError {
    /// No window, or not a whole number of windows.
    #[error("{len} numbers are not one or more whole windows of {n}: check the window's length")]
    Shape {
        /// Numbers given.
        len: usize,
        /// Numbers per window.
        n: usize,
    },
    /// A number is infinite or not a number.
    #[error("a window holds a number that is not finite: fill missing values first")]
    NotFinite,
    /// So many bytes cannot be filled.
    #[error("{n_bytes} bytes do not fit a window of this length: ask for 1 to {max}")]
    Bytes {
        /// Bytes asked for.
        n_bytes: usize,
        /// The most that can be filled.
        max: usize,
    },
}

/// Mean and principal directions of windows, by falling variance.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// `[n]`.
    pub mean: Vec<f32>,
    /// `[n × n]`, orthonormal rows; the largest entry of each is positive.
    pub vectors: Vec<f32>,
    /// `[n]`, variance of the windows along each row.
    pub variances: Vec<f64>,
}

impl Basis {
    /// Learns from `windows` `[n_windows × n]`.
    pub fn learn(windows: &[f32], n: usize) -> Result<Self, KltError> {
        check(windows, n)?;
        let thin = thinned(windows, n);
        let count = thin.len() as f64;
        let mut mean = vec![0.0f64; n];
        for w in &thin {
            mean.iter_mut().zip(*w).for_each(|(m, x)| *m += f64::from(*x) / count);
        }
        let mut covariance = vec![0.0f64; n * n];
        let mut centred = vec![0.0f64; n];
        for w in &thin {
            centred.iter_mut().zip(*w).zip(&mean).for_each(|((c, x), m)| *c = f64::from(*x) - m);
            for i in 0..n {
                let (row, xi) = (&mut covariance[i * n..][..=i], centred[i] / count);
                row.iter_mut().zip(&centred).for_each(|(c, xj)| *c += xi * xj);
            }
        }
        for i in 0..n {
            for j in 0..i {
                covariance[j * n + i] = covariance[i * n + j];
            }
        }
        let (variances, mut vectors) = eigen::symmetric(covariance, n);
        for v in vectors.chunks_exact_mut(n) {
            let peak = v.iter().fold(0.0f64, |p, &x| if x.abs() > p.abs() + 1e-9 { x } else { p });
            if peak < 0.0 {
                v.iter_mut().for_each(|x| *x = -*x);
            }
        }
        Ok(Self {
            mean: mean.into_iter().map(|m| m as f32).collect(),
            vectors: vectors.into_iter().map(|v| v as f32).collect(),
            variances: variances.into_iter().map(|v| v.max(0.0)).collect(),
        })
    }

    /// Numbers per window.
    pub fn n(&self) -> usize {
        self.mean.len()
    }

    /// The coefficient of `window` `[n]` along direction `i`.
    pub fn coefficient(&self, window: &[f32], i: usize) -> f64 {
        let terms = window.iter().zip(&self.mean).zip(self.vector(i));
        terms.map(|((x, m), v)| (f64::from(*x) - f64::from(*m)) * f64::from(*v)).sum()
    }

    /// Direction `i`, `[n]`.
    pub fn vector(&self, i: usize) -> &[f32] {
        &self.vectors[i * self.n()..][..self.n()]
    }
}

/// A linear code of exactly `n_bytes` per window.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedKlt {
    /// Mean and directions.
    pub basis: Basis,
    /// The direction each code belongs to, most bits first.
    pub directions: Vec<usize>,
    /// The quantiser of each.
    pub quantisers: Vec<Quantiser>,
    /// Bytes per window.
    pub n_bytes: usize,
}

impl FixedKlt {
    /// Learns transform and quantisers from `windows` `[n_windows × n]`; no code gets more than `bits_max` bits.
    pub fn learn(windows: &[f32], n: usize, n_bytes: usize, bits_max: u8) -> Result<Self, KltError> {
        Self::reaching(windows, n, n_bytes, bits_max, 1.0)
    }

    /// The same with quantisers laid out as if one window in sixteen lay `reach` times as far from the mean.
    pub fn reaching(
        windows: &[f32],
        n: usize,
        n_bytes: usize,
        bits_max: u8,
        reach: f64,
    ) -> Result<Self, KltError> {
        let basis = Basis::learn(windows, n)?;
        Self::from_basis(basis, windows, n_bytes, bits_max, reach)
    }

    /// Shares out the bits for a basis learned before.
    pub fn from_basis(
        basis: Basis,
        windows: &[f32],
        n_bytes: usize,
        bits_max: u8,
        reach: f64,
    ) -> Result<Self, KltError> {
        let n = basis.n();
        check(windows, n)?;
        let bits_max = bits_max.clamp(1, QUANTISER_BITS_MAX);
        let max = n * usize::from(bits_max) / 8;
        if n_bytes == 0 || n_bytes > max {
            return Err(KltError::Bytes { n_bytes, max });
        }
        let thin = thinned(windows, n);
        // Each direction that gets a bit, and a few that might.
        let n_tried = n.min(8 * n_bytes);
        let factor = |at: usize| if at.is_multiple_of(FAR) { reach } else { 1.0 };
        let coefficients: Vec<Vec<f64>> = (0..n_tried)
            .map(|i| thin.iter().enumerate().map(|(at, w)| factor(at) * basis.coefficient(w, i)).collect())
            .collect();
        let choice = allocate::share_out(&coefficients, 8 * n_bytes, bits_max);
        let mut chosen: Vec<(usize, Quantiser)> =
            choice.into_iter().enumerate().filter(|(_, q)| q.bits > 0).collect();
        chosen.sort_by_key(|&(i, q)| (std::cmp::Reverse(q.bits), i));
        let (directions, quantisers) = chosen.into_iter().unzip();
        Ok(Self { basis, directions, quantisers, n_bytes })
    }

    /// The codes of `window` `[n]`, one per direction.
    pub fn codes(&self, window: &[f32]) -> Vec<i32> {
        let each = self.directions.iter().zip(&self.quantisers);
        each.map(|(&i, q)| q.quantise(self.basis.coefficient(window, i))).collect()
    }

    /// The window `[n]` that `codes` stand for.
    pub fn window(&self, codes: &[i32]) -> Vec<f32> {
        let mut out: Vec<f64> = self.basis.mean.iter().map(|&m| f64::from(m)).collect();
        for ((&i, q), &code) in self.directions.iter().zip(&self.quantisers).zip(codes) {
            let c = q.dequantise(code);
            out.iter_mut().zip(self.basis.vector(i)).for_each(|(o, v)| *o += c * f64::from(*v));
        }
        out.into_iter().map(|o| o as f32).collect()
    }

    /// `window` `[n]` in exactly [`Self::n_bytes`] bytes.
    pub fn encode(&self, window: &[f32]) -> Vec<u8> {
        pack(&self.codes(window), self.quantisers.iter().map(|q| q.bits))
    }

    /// What [`Self::encode`] wrote; `None` unless `bytes` has exactly the right length.
    pub fn decode(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        let codes = unpack(bytes, self.quantisers.iter().map(|q| q.bits))?;
        (bytes.len() == self.n_bytes).then(|| self.window(&codes))
    }

    /// Root of the mean squared error over all numbers of `windows`.
    pub fn rms(&self, windows: &[f32]) -> f64 {
        let n = self.basis.n();
        let squares = windows.chunks_exact(n).flat_map(|w| {
            let back = self.window(&self.codes(w));
            w.iter().zip(back).map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2)).collect::<Vec<_>>()
        });
        (squares.sum::<f64>() / windows.len().max(1) as f64).sqrt()
    }
}

/// Signed codes side by side, most significant bit first, each offset by half its range; the last byte ends in zeros.
pub fn pack(codes: &[i32], bits: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut n_bits = 0usize;
    for (&code, bits) in codes.iter().zip(bits) {
        let word = code.wrapping_add(1 << (bits - 1));
        for b in (0..bits).rev() {
            if n_bits.is_multiple_of(8) {
                out.push(0);
            }
            if let Some(last) = out.last_mut() {
                *last |= ((word >> b & 1) as u8) << (7 - n_bits % 8);
            }
            n_bits += 1;
        }
    }
    out
}

/// The codes that [`pack`] laid side by side; `None` when `bytes` ends before them.
pub fn unpack(bytes: &[u8], bits: impl IntoIterator<Item = u8>) -> Option<Vec<i32>> {
    let mut at = 0usize;
    let mut codes = Vec::new();
    for bits in bits {
        let mut word = 0;
        for _ in 0..bits {
            word = word << 1 | i32::from(bytes.get(at / 8)? >> (7 - at % 8) & 1);
            at += 1;
        }
        codes.push(word - (1 << (bits - 1)));
    }
    Some(codes)
}

fn check(windows: &[f32], n: usize) -> Result<(), KltError> {
    if n == 0 || windows.is_empty() || !windows.len().is_multiple_of(n) {
        return Err(KltError::Shape { len: windows.len(), n });
    }
    if windows.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(KltError::NotFinite) }
}

fn thinned(windows: &[f32], n: usize) -> Vec<&[f32]> {
    let count = windows.len() / n;
    let kept = count.min(WINDOWS_MAX);
    (0..kept).map(|i| &windows[i * count / kept * n..][..n]).collect()
}

#[cfg(test)]
mod tests;
