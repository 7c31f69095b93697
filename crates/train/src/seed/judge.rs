//! How wrong a model is: on readings it has not seen, over the sensor's range, at a DHT11's whole degrees.

use kinglet_codec::seed::{SeedError, SeedModel};

use super::data::Sets;
use super::options::SeedOptions;
use super::report::{ChannelError, PicturePoint, RangeError, SeedReport};

/// Points of the sweep over a sensor's range.
const N_GRID: usize = 5001;
/// Most points of the picture.
const N_PICTURE: usize = 1000;

pub(super) fn judge(options: &SeedOptions, model: &SeedModel, sets: &Sets) -> Result<SeedReport, SeedError> {
    let len = options.input_len();
    let n_channels = options.channels.len();
    let mut test: Vec<ChannelError> = options
        .channels
        .iter()
        .map(|c| ChannelError {
            name: c.name.clone(),
            unit: c.unit.clone(),
            mean: 0.0,
            max: 0.0,
            max_at: c.range.0,
        })
        .collect();
    let n_windows = sets.test.len() / len;
    let every = (n_windows * options.n_samples).div_ceil(N_PICTURE).max(1);
    let mut picture = Vec::new();
    let mut sample = 0;
    for window in sets.test.chunks_exact(len) {
        let scales = options.channels.iter().cycle();
        let values: Vec<f32> = window
            .iter()
            .zip(scales)
            .map(|(&s, c)| (c.range.0 + s * (c.range.1 - c.range.0)).clamp(c.range.0, c.range.1))
            .collect();
        let again = model.decode(&model.encode(&values)?)?;
        for (i, (&value, &reconstructed)) in values.iter().zip(&again).enumerate() {
            test[i % n_channels].add(value, reconstructed);
            if i % n_channels == 0 {
                if sample % every == 0 {
                    picture.push(PicturePoint { sample, value, reconstructed });
                }
                sample += 1;
            }
        }
    }
    test.iter_mut().for_each(|t| t.mean /= (n_windows * options.n_samples) as f32);
    let range = if len == 1 { Some(sweep(model)?) } else { None };
    Ok(SeedReport {
        recipe: options.recipe,
        seed: options.seed,
        isa: options.isa.name().into(),
        int8: options.int8,
        n_steps: 0,
        best_epoch: 0,
        n_train: sets.train.len() / len,
        n_validation: sets.validation.len() / len,
        n_test: n_windows,
        test,
        range,
        curve: Vec::new(),
        picture,
    })
}

/// The first channel over its limit: its index, its largest error, and the reading it happened at.
pub(super) fn too_inaccurate(options: &SeedOptions, report: &SeedReport) -> Option<(usize, f32, f32)> {
    let range = report.range.iter().map(|r| (0, r.max, r.max_at));
    let all = range.chain(report.test.iter().enumerate().map(|(idx, t)| (idx, t.max, t.max_at)));
    // What is not a number is not within the limit either.
    all.into_iter().find(|&(idx, max, _)| max.is_nan() || max > options.limit(idx))
}

/// One reading after the other over the whole range of a model of single readings.
fn sweep(model: &SeedModel) -> Result<RangeError, SeedError> {
    let c = &model.channels()[0];
    let (lo, hi) = c.range;
    let mut all =
        ChannelError { name: c.name.clone(), unit: c.unit.clone(), mean: 0.0, max: 0.0, max_at: lo };
    for i in 0..N_GRID {
        let value = (lo + (hi - lo) * i as f32 / (N_GRID - 1) as f32).clamp(lo, hi);
        all.add(value, model.decode(&model.encode(&[value])?)?[0]);
    }
    let (mut n_whole, mut n_wrong) = (0, 0);
    let (first, last) = (lo.ceil(), hi.floor());
    if last - first <= 10_000.0 {
        let mut whole = first;
        while whole <= last {
            let again = model.decode(&model.encode(&[whole])?)?[0];
            n_whole += 1;
            n_wrong += usize::from(again.round() != whole);
            whole += 1.0;
        }
    }
    Ok(RangeError {
        mean: all.mean / N_GRID as f32,
        max: all.max,
        max_at: all.max_at,
        n_whole,
        n_whole_wrong: n_wrong,
    })
}

impl ChannelError {
    /// Sums in `mean` until all are there.
    fn add(&mut self, value: f32, reconstructed: f32) {
        let error = (value - reconstructed).abs();
        self.mean += error;
        if error > self.max {
            (self.max, self.max_at) = (error, value);
        }
    }
}
