//! How many samples of a growing window fit a code of a given length.
//!
//! A device that wants full frames asks after every sample whether the window still fits. Encoding the window anew each
//! time would cost half as many encodings as a window has samples; [`Filling`] asks less often while there is much
//! room, and where it then finds too many samples it gives back those at the end.

use crate::{EncodeError, Model, Window, encode};

/// The first samples of a window, encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Samples it has, at least one.
    pub n_samples: usize,
    /// Bytes of its code; more than was allowed only if one sample alone needs more.
    pub code_len: usize,
}

/// Watches a window grow until its code is as long as it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// So many samples were found to fit.
    n_fit: usize,
    /// With fewer samples than this the window is not encoded.
    check_at: usize,
}

impl Filling {
    /// To be called after each sample that was added to `window`. `Some` says that the window no longer fits
    /// `code_len_max` bytes, and that its first samples, whose code stands in `out`, shall go; call again with what is left.
    ///
    /// Buffers as for [`encode`]. Encodes the window not at all or once, and when it no longer fits about log2 n times
    /// more, n being the samples since it was last encoded. A window of N samples costs about 2 log2 N + 4 encodings of
    /// parts of it, most of them near its end: all in all 6 to 9 times the work of encoding it once when it is done
    /// (measured for 22 to 106 samples; encoding after every sample would be N / 2 times).
    pub fn sample_added(
        &mut self,
        model: &Model<'_>,
        window: Window<'_>,
        code_len_max: usize,
        workspace: &mut [i32],
        out: &mut [u8],
    ) -> Result<Option<Front>, EncodeError> {
        let n_samples = window.steps.len() / model.channels();
        if n_samples < self.check_at {
            return Ok(None);
        }
        let front = self.cut(model, window, code_len_max, workspace, out)?;
        if front.n_samples < n_samples || front.code_len > code_len_max {
            return Ok(Some(front));
        }
        // Half of what is left at the mean cost of a sample so far: enough to be near the end soon, and early
        // enough for samples twice as dear.
        let room = code_len_max - front.code_len;
        let n_more = (room * n_samples / (2 * front.code_len).max(1)).clamp(1, n_samples);
        *self = Self { n_fit: n_samples, check_at: n_samples + n_more };
        Ok(None)
    }

    /// The window shall go, whether there is room for more or not: encodes as many of its samples as fit, and begins
    /// anew. One sample is given even if its code is longer. Buffers as for [`encode`].
    pub fn cut(
        &mut self,
        model: &Model<'_>,
        window: Window<'_>,
        code_len_max: usize,
        workspace: &mut [i32],
        out: &mut [u8],
    ) -> Result<Front, EncodeError> {
        let before = core::mem::take(self);
        let n_channels = model.channels();
        let mut front = |n_samples: usize| {
            let steps = window.steps.get(..n_samples * n_channels).unwrap_or(window.steps);
            let code_len = encode(model, Window { steps, ..window }, workspace, out)?.code_len;
            Ok(Front { n_samples, code_len })
        };
        // The whole window first, as it was given: what is not whole samples is refused.
        let n_samples = window.steps.len().div_ceil(n_channels);
        let mut last = front(n_samples)?;
        let (mut fits, mut fits_not) = (before.n_fit, n_samples);
        if last.code_len <= code_len_max || n_samples <= 1 {
            return Ok(last);
        }
        while fits + 1 < fits_not {
            let middle = fits.midpoint(fits_not);
            last = front(middle)?;
            if last.code_len <= code_len_max {
                fits = middle;
            } else {
                fits_not = middle;
            }
        }
        let n_samples = fits.max(1);
        if last.n_samples != n_samples {
            last = front(n_samples)?;
        }
        if last.code_len > code_len_max && n_samples > 1 {
            // What was found to fit once does not any more: less is allowed now, or a reading beside its grid has made
            // all of the window dearer.
            return self.cut(model, window, code_len_max, workspace, out);
        }
        Ok(last)
    }

    /// To be called when the window was cut in another way.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(all(test, feature = "bundle"))]
#[allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::Grid;
    use crate::learn::{Outline, Parts};

    fn model_bytes(n_samples: u16) -> Vec<u8> {
        let grid = Grid { scale: 1, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
        let outlines = [Outline::new("a", grid, (-500, 500)), Outline::new("b", grid, (0, 4000))];
        Parts::untrained(n_samples, 1000, &outlines).emit()
    }

    /// A walk with quiet and restless stretches.
    fn walk(n_samples: usize, seed: u32) -> Vec<i32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut at = [0, 2000];
        let mut steps = Vec::new();
        for n in 0..n_samples {
            for x in &mut at {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let reach = if n / 20 % 2 == 0 { 1 } else { 60 };
                *x = (*x + (state >> 16) as i32 % (2 * reach + 1) - reach).clamp(0, 400);
                steps.push(*x);
            }
        }
        steps
    }

    /// Cuts a walk as a device would.
    fn cuts(code_len_max: usize, seed: u32) -> Vec<Front> {
        let bytes = model_bytes(64);
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let steps = walk(600, seed);
        let (mut from, mut filling, mut fronts) = (0, Filling::default(), Vec::new());
        for upto in 1..=600 {
            while upto > from {
                let window = Window { steps: &steps[2 * from..2 * upto], off_grid: false };
                let front = if upto - from == model.samples() {
                    Some(filling.cut(&model, window, code_len_max, &mut workspace, &mut out).unwrap())
                } else {
                    filling.sample_added(&model, window, code_len_max, &mut workspace, &mut out).unwrap()
                };
                let Some(front) = front else { break };
                let mut read = vec![0; model.samples() * 2];
                let code = &out[..front.code_len];
                let decoded = crate::decode(&model, code, &mut workspace, &mut read).unwrap();
                assert_eq!(decoded.n_samples, front.n_samples);
                assert_eq!(read[..2 * front.n_samples], steps[2 * from..2 * (from + front.n_samples)]);
                fronts.push(front);
                from += front.n_samples;
            }
        }
        fronts
    }

    #[test]
    fn never_longer_than_allowed_and_nothing_is_lost() {
        for seed in 0..8 {
            for code_len_max in [12, 20, 84, 191] {
                let fronts = cuts(code_len_max, seed);
                assert!(fronts.iter().all(|f| f.code_len <= code_len_max && f.n_samples >= 1));
                let n: usize = fronts.iter().map(|f| f.n_samples).sum();
                assert!((600 - 64..=600).contains(&n), "{n}");
            }
        }
    }

    #[test]
    fn one_more_sample_would_not_fit() {
        let bytes = model_bytes(64);
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        for seed in 0..8 {
            let (steps, mut from) = (walk(600, seed), 0);
            for front in cuts(40, seed) {
                let more = &steps[2 * from..(2 * (from + front.n_samples + 1)).min(steps.len())];
                from += front.n_samples;
                if front.n_samples == model.samples() || more.len() == 2 * front.n_samples {
                    continue;
                }
                let window = Window { steps: more, off_grid: false };
                let len = encode(&model, window, &mut workspace, &mut out).unwrap().code_len;
                assert!(len > 40, "{} samples fit {len} bytes", front.n_samples + 1);
            }
        }
    }

    /// Work is counted in samples encoded while a window grows, against the samples it ends with.
    #[test]
    fn a_growing_window_is_encoded_seldom() {
        let bytes = model_bytes(256);
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        for code_len_max in [20, 84, 191] {
            let (steps, mut filling) = (walk(256, 3), Filling::default());
            let (mut n_encoded, mut n_calls, mut n_samples) = (0, 0, 0);
            for upto in 1..=256 {
                (n_calls, n_encoded) = if upto >= filling.check_at {
                    (n_calls + 1, n_encoded + upto)
                } else {
                    (n_calls, n_encoded)
                };
                let window = Window { steps: &steps[..2 * upto], off_grid: false };
                n_samples = upto;
                let front =
                    filling.sample_added(&model, window, code_len_max, &mut workspace, &mut out).unwrap();
                if front.is_some() {
                    break;
                }
            }
            let (dearest, calls_max) = (n_samples * n_samples / 2, 8 + 2 * n_samples.ilog2());
            assert!(n_calls <= calls_max && n_encoded <= dearest, "{n_calls} encodings, {n_encoded} samples");
        }
    }

    #[test]
    fn what_fitted_before_is_not_believed() {
        let bytes = model_bytes(64);
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let steps = walk(40, 1);
        let window = Window { steps: &steps, off_grid: false };
        let mut filling = Filling { n_fit: 39, check_at: 40 };
        let front = filling.cut(&model, window, 20, &mut workspace, &mut out).unwrap();
        assert!(front.code_len <= 20 && front.n_samples > 1, "{front:?}");
    }

    #[test]
    fn a_sample_too_long_alone_is_given_as_such() {
        let bytes = model_bytes(8);
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let window = Window { steps: &[1 << 25, -(1 << 25), 0, 0], off_grid: false };
        let front = Filling::default().sample_added(&model, window, 3, &mut workspace, &mut out).unwrap();
        assert!(front.is_some_and(|f| f.n_samples == 1 && f.code_len > 3));
        let ragged = Window { steps: &[1, 2, 3], off_grid: false };
        let refused = Filling::default().cut(&model, ragged, 100, &mut workspace, &mut out);
        assert_eq!(refused, Err(EncodeError::WindowShape));
    }
}
