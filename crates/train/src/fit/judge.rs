//! Bytes and errors of a model on rows it has not seen.

use kinglet_codec::{Model, Rung, Window, decode, encode, is_step};

use super::rows::Rows;

/// What a model does with windows.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Windows judged.
    pub n_windows: usize,
    /// Values that are steps.
    pub n_values: usize,
    /// Bytes of each code.
    pub code_lens: Vec<u32>,
    /// Largest error in units of each channel's bound (lossless channels: in steps, must be 0).
    pub max_error_over_bound: f64,
    /// Root of the mean squared error of each channel, in grid steps.
    pub rms_steps: Vec<f64>,
    /// Windows on hold, context, predict, latent, raw, fixed.
    pub rungs: [usize; 6],
}

impl Judgement {
    /// As if every rung had been used alike.
    pub(crate) fn equal() -> Self {
        Self { n_windows: 6, rungs: [1; 6], ..Self::default() }
    }

    /// Bytes of all codes.
    pub fn bytes(&self) -> u64 {
        self.code_lens.iter().map(|&n| u64::from(n)).sum()
    }

    /// Mean bytes of a code.
    pub fn mean(&self) -> f64 {
        self.bytes() as f64 / self.n_windows.max(1) as f64
    }

    /// The code length 95 % of the windows do not exceed.
    pub fn p95(&self) -> u32 {
        let mut sorted = self.code_lens.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Bits of code per value.
    pub fn bits_per_value(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.n_values.max(1) as f64
    }
}

/// Encodes and decodes every window of `rows` and compares step by step.
pub fn judge(model: &Model<'_>, rows: &Rows) -> Judgement {
    let windows = rows.windows(model.samples()).map(|steps| Window { steps, off_grid: false });
    judge_windows(model, windows, |_, _| ())
}

/// The same for given windows; `read` is shown each window's place and what a decoder reads, `[samples × channels]`.
pub(crate) fn judge_windows<'w>(
    model: &Model<'_>,
    windows: impl Iterator<Item = Window<'w>>,
    mut read: impl FnMut(usize, &[i32]),
) -> Judgement {
    let n_channels = model.channels();
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; model.code_len_max()];
    let mut steps_read = vec![0; model.samples() * n_channels];
    let bounds: Vec<u32> = (0..n_channels).map(|idx| model.channel(idx).grid.bound_steps).collect();
    let mut all = Judgement { rms_steps: vec![0.0; n_channels], ..Judgement::default() };
    let mut n_by_channel = vec![0u64; n_channels];
    for window in windows {
        let Ok(encoded) = encode(model, window, &mut workspace, &mut code) else { continue };
        let decoded = decode(model, &code[..encoded.code_len], &mut workspace, &mut steps_read);
        let steps_read = &steps_read[..decoded.map_or(0, |d| d.n_samples * n_channels)];
        read(all.n_windows, steps_read);
        for (at, &x) in window.steps.iter().enumerate() {
            let idx = at % n_channels;
            let error = match steps_read.get(at) {
                Some(&y) if is_step(x) && is_step(y) => f64::from((x - y).abs()),
                Some(&y) if x == y => continue,
                _ => f64::INFINITY,
            };
            all.n_values += 1;
            n_by_channel[idx] += 1;
            all.rms_steps[idx] += error * error;
            all.max_error_over_bound = all.max_error_over_bound.max(error / f64::from(bounds[idx].max(1)));
            if bounds[idx] == 0 && error > 0.0 {
                all.max_error_over_bound = f64::INFINITY;
            }
        }
        all.n_windows += 1;
        all.code_lens.push(encoded.code_len as u32);
        all.rungs[rung_idx(encoded.rung)] += 1;
    }
    for (rms, &n) in all.rms_steps.iter_mut().zip(&n_by_channel) {
        *rms = (*rms / n.max(1) as f64).sqrt();
    }
    all
}

/// Place of a rung in [`Judgement::rungs`].
fn rung_idx(rung: Rung) -> usize {
    match rung {
        Rung::Hold => 0,
        Rung::Context => 1,
        Rung::Predict => 2,
        Rung::Latent => 3,
        Rung::Raw => 4,
        _ => 5,
    }
}
