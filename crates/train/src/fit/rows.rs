//! A recording on its grids.

use kinglet_codec::{MISSING, is_step};

/// Samples on their grids, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Channels per sample.
    pub n_channels: usize,
    /// `[samples × channels]`, sample-major grid steps.
    pub steps: Vec<i32>,
    /// Samples at which a new piece begins, ascending, because time has a gap there; 0 is not among them.
    pub breaks: Vec<usize>,
}

impl Rows {
    /// Samples.
    pub fn len(&self) -> usize {
        self.steps.len().checked_div(self.n_channels).unwrap_or(0)
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Samples `range` alone.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let steps = self.steps[range.start * self.n_channels..range.end * self.n_channels].to_vec();
        let inside = |&&at: &&usize| at > range.start && at < range.end;
        let breaks = self.breaks.iter().filter(inside).map(|at| at - range.start).collect();
        Self { n_channels: self.n_channels, steps, breaks }
    }

    /// Samples to learn from and samples to decide by, `share` of them the former: `n_blocks` times one after the
    /// other, so that what is decided by is of all times, the last among them.
    pub fn split(&self, share: f64, n_blocks: usize) -> (Self, Self) {
        let n_blocks = n_blocks.max(1);
        let mut parts = [Self { n_channels: self.n_channels, ..Self::default() }, Self::default()];
        parts[1].n_channels = self.n_channels;
        for block in 0..n_blocks {
            let (start, end) = (self.len() * block / n_blocks, self.len() * (block + 1) / n_blocks);
            let at = (start + ((end - start) as f64 * share).round() as usize).min(end);
            for (part, range) in parts.iter_mut().zip([start..at, at..end]) {
                part.append(self.slice(range));
            }
        }
        let [first, second] = parts;
        (first, second)
    }

    /// Adds a piece of its own.
    fn append(&mut self, piece: Self) {
        let at = self.len();
        if at > 0 && !piece.is_empty() {
            self.breaks.push(at);
        }
        self.breaks.extend(piece.breaks.iter().map(|b| b + at));
        self.steps.extend(piece.steps);
    }

    /// Pieces without a break inside, as ranges of samples.
    fn pieces(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let starts = std::iter::once(0).chain(self.breaks.iter().copied());
        let ends = self.breaks.iter().copied().chain(std::iter::once(self.len()));
        starts.zip(ends).map(|(a, b)| a..b)
    }

    /// Windows of `n_samples` one after the other; the last of each piece may be shorter.
    pub fn windows(&self, n_samples: usize) -> impl Iterator<Item = &[i32]> {
        self.windows_from(n_samples, 0)
    }

    /// The same beginning `skip` samples into each piece.
    pub fn windows_from(&self, n_samples: usize, skip: usize) -> impl Iterator<Item = &[i32]> {
        self.runs_from(n_samples, skip).map(|(window, _)| window)
    }

    /// The same, each with whether it follows on the one before.
    pub fn runs_from(&self, n_samples: usize, skip: usize) -> impl Iterator<Item = (&[i32], bool)> {
        let n_channels = self.n_channels;
        self.pieces().flat_map(move |piece| {
            let start = (piece.start + skip).min(piece.end);
            let windows =
                self.steps[start * n_channels..piece.end * n_channels].chunks(n_samples * n_channels);
            windows.enumerate().map(|(nth, window)| (window, nth > 0))
        })
    }

    /// The same samples with every missing value replaced by its channel's last one (the first by the next).
    pub fn filled(&self) -> Self {
        let mut filled = self.clone();
        for idx in 0..self.n_channels {
            let channel = || self.steps.iter().skip(idx).step_by(self.n_channels).copied();
            let mut last = channel().find(|&x| is_step(x)).unwrap_or(0);
            for (to, x) in filled.steps.iter_mut().skip(idx).step_by(self.n_channels).zip(channel()) {
                last = if is_step(x) { x } else { last };
                *to = last;
            }
        }
        filled
    }

    /// Steps of one channel that are steps.
    pub fn channel(&self, idx: usize) -> impl Iterator<Item = i32> {
        self.steps.iter().skip(idx).step_by(self.n_channels).copied().filter(|&x| is_step(x))
    }

    /// Appends a sample.
    pub fn push(&mut self, sample: &[Option<i32>]) {
        self.steps.extend(sample.iter().map(|x| x.unwrap_or(MISSING)));
    }
}
