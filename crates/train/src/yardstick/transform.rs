//! `DCT` and `KLT`: transform, trained coefficient tables, and a residual that keeps the bound.

use kinglet_codec::learn::Stop;

use super::tables::Spec;
use super::walk::{Walk, Walker, signed};
use crate::fit::Rows;
use crate::klt::Basis;

/// Classes of coefficients by their usual size; each has a table.
const CLASSES: usize = 20;
/// Contexts of a residual: how large the last two of its channel were.
const RESIDUALS: usize = 4;
/// Coefficients that are zero in all but so few training windows are left to the residual.
const RARE: f64 = 0.004;

/// Which transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Discrete cosine transform of each channel (type II, orthonormal).
    Dct,
    /// Karhunen–Loève transform of the whole window.
    Klt,
}

/// A transform coder.
pub(super) struct Transform {
    n_channels: usize,
    spans: Vec<i32>,
    mean: Vec<f32>,
    /// Directions kept, `[n_kept × n]`, of readings divided by their span.
    vectors: Vec<f32>,
    classes: Vec<usize>,
    /// The coefficients' quantiser step, in spans.
    step: f32,
    static_len: usize,
}

/// What all steps share.
#[derive(Clone)]
pub(super) struct Directions {
    mean: Vec<f32>,
    /// `[n × n]` or, where memory is short, fewer rows.
    vectors: Vec<f32>,
    kind: Kind,
}

impl Directions {
    /// Learned from windows that begin at several places.
    pub(super) fn learn(rows: &Rows, bounds: &[i32], n_samples: usize, kind: Kind) -> Self {
        let n_channels = rows.n_channels;
        let n = n_samples * n_channels;
        let windows = normalised(rows, bounds, n_samples);
        let mean = |at: usize| {
            let column = windows.iter().skip(at % n_channels).step_by(n_channels);
            column.map(|&x| f64::from(x)).sum::<f64>() / (windows.len() / n_channels).max(1) as f64
        };
        if kind == Kind::Klt
            && let Ok(basis) = Basis::learn(&windows, n)
        {
            return Self { mean: basis.mean, vectors: basis.vectors, kind };
        }
        let mut vectors = vec![0.0; n * n];
        // Low frequencies of all channels first.
        for (row, v) in vectors.chunks_exact_mut(n).enumerate() {
            let (k, c) = (row / n_channels, row % n_channels);
            let scale = (if k == 0 { 1.0 } else { 2.0 } / n_samples as f64).sqrt();
            for t in 0..n_samples {
                let angle = std::f64::consts::PI * (t as f64 + 0.5) * k as f64 / n_samples as f64;
                v[t * n_channels + c] = (scale * libm::cos(angle)) as f32;
            }
        }
        Self { mean: (0..n).map(|at| mean(at) as f32).collect(), vectors, kind }
    }
}

fn normalised(rows: &Rows, bounds: &[i32], n_samples: usize) -> Vec<f32> {
    let n_channels = rows.n_channels;
    let n = n_samples * n_channels;
    let passes = [0, n_samples / 4, n_samples / 2, 3 * n_samples / 4];
    let windows = passes.iter().flat_map(|&skip| rows.windows_from(n_samples, skip)).filter(|w| w.len() == n);
    windows
        .flat_map(|w| w.iter().enumerate())
        .map(|(at, &x)| x as f32 / (2 * bounds[at % n_channels] + 1) as f32)
        .collect()
}

impl Transform {
    /// With coefficients in multiples of `step`.
    pub(super) fn learn(
        directions: &Directions,
        rows: &Rows,
        bounds: &[i32],
        n_samples: usize,
        step: f32,
    ) -> Self {
        let n = n_samples * rows.n_channels;
        let spans: Vec<i32> = bounds.iter().map(|e| 2 * e + 1).collect();
        let mut this = Self {
            n_channels: rows.n_channels,
            spans,
            mean: directions.mean.clone(),
            vectors: directions.vectors.clone(),
            classes: Vec::new(),
            step,
            static_len: 0,
        };
        let n_all = this.vectors.len() / n;
        let (mut sums, mut n_nonzero, mut count) = (vec![0.0f64; n_all], vec![0u32; n_all], 0u32);
        for window in rows.windows(n_samples).filter(|w| w.len() == n) {
            let centred = this.centred(window);
            for (i, v) in this.vectors.chunks_exact(n).enumerate() {
                let k = this.coefficient(&centred, v);
                sums[i] += f64::from(k.unsigned_abs());
                n_nonzero[i] += u32::from(k != 0);
            }
            count += 1;
        }
        let count = f64::from(count.max(1));
        let (mut vectors, mut static_len) = (Vec::new(), 0);
        for (i, v) in this.vectors.chunks_exact(n).enumerate() {
            if f64::from(n_nonzero[i]) <= RARE * count {
                continue;
            }
            // Mean sizes from 1/64 on, half an octave a class.
            let size = (sums[i] / count).max(1.0 / 64.0);
            let class = (2.0 * size.log2() + 12.0).round().clamp(0.0, (CLASSES - 1) as f64) as usize;
            this.classes.push(class);
            match directions.kind {
                Kind::Dct => vectors.extend_from_slice(v),
                Kind::Klt => {
                    // Bytes where they are exact enough, half words where a coefficient is large.
                    let wide = sums[i] / count * f64::from(step) > 16.0;
                    let (levels, len) = if wide { (32767.0, 2) } else { (127.0, 1) };
                    let peak = v.iter().fold(1e-9f32, |p, x| p.max(x.abs()));
                    vectors.extend(v.iter().map(|x| (x / peak * levels).round() / levels * peak));
                    static_len += n * len + 4;
                }
            }
            static_len += 1;
        }
        // The mean of a channel, or of each place in a window.
        static_len += 4 * if directions.kind == Kind::Dct { this.n_channels } else { n };
        this.vectors = vectors;
        this.static_len = static_len;
        this
    }

    fn centred(&self, steps: &[i32]) -> Vec<f32> {
        let each = steps.iter().enumerate();
        each.map(|(at, &x)| x as f32 / self.spans[at % self.n_channels] as f32 - self.mean[at]).collect()
    }

    fn coefficient(&self, centred: &[f32], vector: &[f32]) -> i32 {
        let sum: f32 = centred.iter().zip(vector).map(|(x, v)| x * v).sum();
        (sum / self.step).round() as i32
    }
}

impl Walk for Transform {
    fn walk(&self, w: &mut impl Walker, steps: &mut [i32]) -> Result<(), Stop> {
        let n = steps.len();
        let centred = self.centred(steps);
        let mut back: Vec<f32> = self.mean.clone();
        for (v, &class) in self.vectors.chunks_exact(n).zip(&self.classes) {
            let k = signed(w, class, self.coefficient(&centred, v))?;
            if k != 0 {
                let c = k as f32 * self.step;
                back.iter_mut().zip(v).for_each(|(b, v)| *b += c * v);
            }
        }
        let guess = |at: usize| (back[at] * self.spans[at % self.n_channels] as f32).round() as i32;
        let residual = |at: usize, x: i32| {
            let span = self.spans[at % self.n_channels];
            x.wrapping_sub(guess(at)).wrapping_add(span / 2).div_euclid(span)
        };
        let any = (0..n).any(|at| residual(at, steps[at]) != 0);
        let any = w.symbol(CLASSES, usize::from(any))? == 1;
        let mut last = [[0i32; 2]; kinglet_codec::CHANNELS_MAX];
        for (at, x) in steps.iter_mut().enumerate() {
            let idx = at % self.n_channels;
            let mut q = residual(at, *x);
            if any {
                let [a, b] = last[idx];
                let near = (2 * a.unsigned_abs() + b.unsigned_abs()).min(7);
                let context = [0, 2, 4].iter().filter(|&&top| near > top).count();
                q = signed(w, CLASSES + 1 + idx * (RESIDUALS + 1) + context, q)?;
                last[idx] = [q, a];
            } else {
                q = 0;
            }
            *x = guess(at).wrapping_add(q.wrapping_mul(self.spans[idx]));
        }
        Ok(())
    }

    fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = (0..CLASSES).map(|_| Spec::signed(None)).collect();
        specs.push(Spec::plain(2, None));
        for idx in 0..self.n_channels {
            let root = CLASSES + 1 + idx * (RESIDUALS + 1) + RESIDUALS;
            specs.extend((0..RESIDUALS).map(|_| Spec::signed(Some(root))));
            specs.push(Spec::signed(None));
        }
        specs
    }

    fn static_len(&self) -> usize {
        self.static_len
    }
}
