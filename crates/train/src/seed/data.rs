//! Readings, the seed's formula, and who is trained on, who chooses the epoch and who judges.

use std::ops::Range;

use kinglet_codec::Decimal;
use kinglet_codec::seed::SeedChannel;

use super::options::{Recipe, SeedOptions};
use super::train::SeedTrainError;
use crate::nn::Rng;
use crate::recording::Recording;

/// Samples left out of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// With a missing reading.
    pub missing: usize,
    /// With a reading outside its sensor's range.
    pub out_of_range: usize,
}

/// The readings of `channels`, found in `recording` by name: `[n × channels]`, in order of time. Samples with a
/// reading missing or out of range are left out and counted.
pub fn readings_from(
    recording: &Recording,
    channels: &[SeedChannel],
) -> Result<(Vec<f32>, Dropped), SeedTrainError> {
    let columns = channels.iter().map(|c| {
        let found = recording.channels().iter().find(|r| r.name == c.name);
        found.ok_or_else(|| SeedTrainError::NoColumn {
            name: c.name.clone(),
            there: recording.channels().iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let (mut readings, mut dropped) = (Vec::new(), Dropped::default());
    for row in 0..recording.len() {
        let values: Option<Vec<f32>> = columns.iter().map(|c| c.values.get(row).map(real)).collect();
        match values {
            None => dropped.missing += 1,
            Some(v) if v.iter().zip(channels).any(|(v, c)| *v < c.range.0 || *v > c.range.1) => {
                dropped.out_of_range += 1;
            }
            Some(v) => readings.extend(v),
        }
    }
    Ok((readings, dropped))
}

/// The nearest float; the sensors' range check drops what is beyond.
fn real(value: Decimal) -> f32 {
    (value.mantissa() as f64 / 10f64.powi(i32::from(value.scale()))) as f32
}

/// Windows scaled to 0..1, `[n × input_len]`.
pub(super) struct Sets {
    pub(super) train: Vec<f32>,
    pub(super) validation: Vec<f32>,
    pub(super) test: Vec<f32>,
}

/// Scales, cuts into windows and splits.
///
/// The seed's recipe takes the first four fifths and the last fifth, and tests on another draw of the formula or, with
/// real readings, on the last fifth. Ours keeps 70, 15 and 15 of a hundred: single readings drawn at random, windows in order of
/// time so that no two sets share a reading; each training window has a twin shifted somewhere else within the
/// sensors' ranges, so that the whole range is learned wherever the readings lie.
pub(super) fn sets(options: &SeedOptions) -> Result<Sets, SeedTrainError> {
    let mut rng = Rng::new(options.seed ^ 0x05ee_d0da);
    let scaled = match &options.readings {
        Some(readings) => scale(readings, &options.channels)?,
        None => formula(&mut rng),
    };
    let n_channels = options.channels.len();
    let n = scaled.len() / n_channels;
    let windows = |rows: Range<usize>, hop: usize| cut(&scaled, n_channels, options.n_samples, rows, hop);
    let hop = options.n_samples.div_ceil(4);
    let sets = match options.recipe {
        Recipe::Seed => {
            let split = n - n / 5;
            let validation = windows(split..n, options.n_samples);
            let test = match options.readings {
                Some(_) => validation.clone(),
                None => formula(&mut rng),
            };
            Sets { train: windows(0..split, options.n_samples), validation, test }
        }
        Recipe::Ours if options.n_samples == 1 => {
            let mut order: Vec<usize> = (0..n).collect();
            rng.shuffle(&mut order);
            let (train, rest) = order.split_at(n * 70 / 100);
            let (validation, test) = rest.split_at(rest.len() / 2);
            let mut test = test.to_vec();
            // In order of time, for the picture.
            test.sort_unstable();
            let pick = |rows: &[usize]| {
                rows.iter().flat_map(|&r| scaled[r * n_channels..][..n_channels].iter().copied()).collect()
            };
            Sets { train: pick(train), validation: pick(validation), test: pick(&test) }
        }
        Recipe::Ours => {
            let (a, b) = (n * 70 / 100, n * 85 / 100);
            Sets {
                train: windows(0..a, hop),
                validation: windows(a..b, hop),
                test: windows(b..n, options.n_samples),
            }
        }
    };
    if sets.train.is_empty() || sets.validation.is_empty() || sets.test.is_empty() {
        return Err(SeedTrainError::TooFew { n, n_samples: options.n_samples });
    }
    let mut sets = sets;
    if options.recipe == Recipe::Ours && options.readings.is_some() {
        for set in [&mut sets.train, &mut sets.validation] {
            let twins = shifted(set, n_channels, options.input_len(), &mut rng);
            set.extend(twins);
        }
    }
    Ok(sets)
}

/// `25 · (1 + sin(0.1 t)) + N(0, 0.5)` for 5,000 `t` from 0 to 100, clipped to 0..50, over 50.
fn formula(rng: &mut Rng) -> Vec<f32> {
    let temperature = |i: usize| {
        let t = i as f64 * 100.0 / 4999.0;
        25.0 * (1.0 + libm::sin(0.1 * t)) + 0.5 * normal(rng)
    };
    (0..5000).map(temperature).map(|celsius| (celsius.clamp(0.0, 50.0) / 50.0) as f32).collect()
}

/// Box & Muller 1958.
fn normal(rng: &mut Rng) -> f64 {
    let (u, v) = (1.0 - f64::from(rng.uniform()), f64::from(rng.uniform()));
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(2.0 * std::f64::consts::PI * v)
}

fn scale(readings: &[f32], channels: &[SeedChannel]) -> Result<Vec<f32>, SeedTrainError> {
    if !readings.len().is_multiple_of(channels.len()) {
        return Err(SeedTrainError::Setting("the readings are not whole samples of all channels"));
    }
    let each = readings.iter().zip(channels.iter().cycle()).enumerate();
    each.map(|(idx, (&value, c))| {
        let (lo, hi) = c.range;
        if value.is_nan() || value < lo || value > hi {
            return Err(SeedTrainError::Reading { idx, value, lo, hi });
        }
        Ok((value - lo) / (hi - lo))
    })
    .collect()
}

fn cut(scaled: &[f32], n_channels: usize, n_samples: usize, rows: Range<usize>, hop: usize) -> Vec<f32> {
    let len = n_samples * n_channels;
    let starts = rows.clone().step_by(hop.max(1)).take_while(|s| s + n_samples <= rows.end);
    starts.flat_map(|s| scaled[s * n_channels..][..len].iter().copied()).collect()
}

/// Each window moved by a random offset, per channel, that keeps it within 0..1.
fn shifted(windows: &[f32], n_channels: usize, len: usize, rng: &mut Rng) -> Vec<f32> {
    let mut twins = windows.to_vec();
    for window in twins.chunks_exact_mut(len) {
        for c in 0..n_channels {
            let values = window.iter().skip(c).step_by(n_channels);
            let (lo, hi) = values.fold((1.0f32, 0.0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
            let by = rng.uniform() * (1.0 - (hi - lo)) - lo;
            for v in window.iter_mut().skip(c).step_by(n_channels) {
                *v = (*v + by).clamp(0.0, 1.0);
            }
        }
    }
    twins
}
