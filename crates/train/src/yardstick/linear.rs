//! A trained joint linear prediction: own lags 1 to 8, the other channels' lags, and what the channels of this instant
//! that are already coded have done.

use crate::fit::Rows;
use crate::solve::solve;

/// Own lags beside the last value.
const OWN: usize = 7;
/// Differences of every other channel.
const OTHER: usize = 3;
/// Ends of the warm-up: how much of the past a window has decides which weights count.
const PHASES: [usize; 4] = [1, 3, 7, usize::MAX];
/// Times the weights are fitted to what the reader will have read.
const ROUNDS: usize = 2;

/// Weights by channel and warm-up phase.
pub(super) struct Linear {
    n_channels: usize,
    means: Vec<i32>,
    /// `[channel][phase]`, Q14.
    weights: Vec<[Vec<i32>; PHASES.len()]>,
}

impl Linear {
    pub(super) fn learn(rows: &Rows, spans: &[i32], n_samples: usize) -> Self {
        let n_channels = rows.n_channels;
        let n = n_features(n_channels);
        let mean = |idx: usize| {
            let (sum, n) = rows.channel(idx).fold((0i64, 0i64), |(s, n), x| (s + i64::from(x), n + 1));
            (sum / n.max(1)) as i32
        };
        let mut this = Self {
            n_channels,
            means: (0..n_channels).map(mean).collect(),
            weights: vec![std::array::from_fn(|_| vec![0; n]); n_channels],
        };
        for round in 0..ROUNDS {
            this = this.fitted(rows, spans, n_samples, round == 0);
        }
        this
    }

    /// Weights fitted on the path these weights take; on the readings themselves in the first round.
    fn fitted(&self, rows: &Rows, spans: &[i32], n_samples: usize, is_first: bool) -> Self {
        let n = n_features(self.n_channels);
        let width = n + 1;
        let mut normals = vec![vec![0.0f64; n * width]; self.n_channels * PHASES.len()];
        let mut features = vec![0i32; n];
        let mut read = Vec::new();
        for skip in [0, n_samples / 2] {
            for window in rows.windows_from(n_samples, skip) {
                read.clear();
                read.extend_from_slice(window);
                for at in self.n_channels..window.len() {
                    let (t, idx) = (at / self.n_channels, at % self.n_channels);
                    self.features(&read, t, idx, &mut features);
                    let normal = &mut normals[idx * PHASES.len() + phase(t)];
                    let y = f64::from(window[at] - read[at - self.n_channels]);
                    for (a, &x) in features.iter().enumerate().filter(|(_, x)| **x != 0) {
                        let (x, row) = (f64::from(x), &mut normal[a * width..][..width]);
                        row[..n].iter_mut().zip(&features).for_each(|(s, &f)| *s += x * f64::from(f));
                        row[n] += x * y;
                    }
                    if !is_first {
                        let predicted = self.predict(&read, t, idx);
                        let span = spans[idx];
                        read[at] = predicted + (window[at] - predicted + span / 2).div_euclid(span) * span;
                    }
                }
            }
        }
        let solved = |at: usize| {
            let mut rows: Vec<Vec<f64>> = normals[at].chunks_exact(width).map(<[f64]>::to_vec).collect();
            rows.iter_mut().enumerate().for_each(|(a, row)| row[a] = row[a] * 1.0005 + 1.0);
            let q14 = |w: &f64| (w * 16384.0).round().clamp(-65535.0, 65535.0) as i32;
            solve(rows).iter().flatten().map(q14).collect()
        };
        let weights =
            (0..self.n_channels).map(|idx| std::array::from_fn(|p| solved(idx * PHASES.len() + p))).collect();
        Self { n_channels: self.n_channels, means: self.means.clone(), weights }
    }

    /// What the value at sample `t >= 1` of channel `idx` is expected to be.
    pub(super) fn predict(&self, steps: &[i32], t: usize, idx: usize) -> i32 {
        let mut features = [0i32; FEATURES_MAX];
        let n = n_features(self.n_channels);
        self.features(steps, t, idx, &mut features[..n]);
        let weights = &self.weights[idx][phase(t)];
        let sum: i64 = features.iter().zip(weights).map(|(&f, &w)| i64::from(f) * i64::from(w)).sum();
        let last = steps[(t - 1) * self.n_channels + idx];
        (i64::from(last) + ((sum + (1 << 13)) >> 14)).clamp(-(1 << 27), 1 << 27) as i32
    }

    /// All relative to the last value, so that a channel that stands still is predicted to.
    fn features(&self, steps: &[i32], t: usize, idx: usize, out: &mut [i32]) {
        let n = self.n_channels;
        let value = |t: usize, c: usize| steps[t * n + c];
        let last = value(t - 1, idx);
        out.fill(0);
        for lag in 2..=(OWN + 1).min(t) {
            out[lag - 2] = value(t - lag, idx).wrapping_sub(last);
        }
        out[OWN] = last.wrapping_sub(self.means[idx]);
        out[OWN + 1] = self.means[idx].abs().clamp(1, 64);
        for (place, c) in (0..n).filter(|&c| c != idx).enumerate() {
            let out = &mut out[OWN + 2 + place * (OTHER + 1)..][..OTHER + 1];
            // A channel already coded at this instant shows its last move one sample later.
            let now = if c < idx { t } else { t - 1 };
            for (k, out) in out[..OTHER].iter_mut().enumerate().take_while(|(k, _)| now > *k) {
                *out = value(now - k, c).wrapping_sub(value(now - k - 1, c));
            }
            out[OTHER] = value(now, c).wrapping_sub(self.means[c]);
        }
    }

    pub(super) fn static_len(&self) -> usize {
        4 * self.n_channels + 2 * self.weights.iter().flatten().map(Vec::len).sum::<usize>()
    }
}

const FEATURES_MAX: usize = OWN + 2 + (kinglet_codec::CHANNELS_MAX - 1) * (OTHER + 1);

fn n_features(n_channels: usize) -> usize {
    OWN + 2 + (n_channels - 1) * (OTHER + 1)
}

fn phase(t: usize) -> usize {
    PHASES.iter().position(|&end| t <= end).unwrap_or(PHASES.len() - 1)
}
