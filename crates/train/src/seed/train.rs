//! From options to a judged model.

use std::ops::ControlFlow;

use kinglet_codec::seed::{SeedError, SeedModel};

use super::data::{Sets, sets};
use super::network::Network;
use super::options::{Recipe, SeedOptions};
use super::report::{CurvePoint, SeedReport};
use super::{int8, judge};
use crate::nn::{FitConfig, FitReport, Mse, NnError, Progress, Samples, fit};

/// Where training is.
#[derive(Clone, Copy, Debug)]
pub struct SeedProgress {
    /// Steps done, of all starts together.
    pub step: usize,
    /// Steps in all.
    pub n_steps: usize,
    /// Mean training loss of the running epoch, on the scale of 0..1 squared.
    pub loss: f64,
    /// The last validation loss.
    pub validation: Option<f64>,
}

/// A trained model and what is known about it.
#[derive(Clone, Debug)]
pub struct SeedTrained {
    /// The model; its `report` holds `report` as JSON.
    pub model: SeedModel,
    /// What training measured.
    pub report: SeedReport,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedTrainError {
    /// Options that do not go together.
    #[error("{0}")]
    Setting(&'static str),
    /// A column that is not there.
    #[error("the recording has no column `{name}`, it has {there}: choose among these")]
    NoColumn {
        /// Asked for.
        name: String,
        /// Columns of the recording.
        there: String,
    },
    /// A reading the sensor cannot have made.
    #[error(
        "reading {idx} is {value}, outside {lo} to {hi}: give the sensor's true range, or leave the reading out"
    )]
    Reading {
        /// 0-based position.
        idx: usize,
        /// The reading.
        value: f32,
        /// Least.
        lo: f32,
        /// Greatest.
        hi: f32,
    },
    /// Nothing left to train, choose or judge on.
    #[error(
        "{n} samples are too few for windows of {n_samples}: give a longer recording or a shorter window"
    )]
    TooFew {
        /// Usable samples.
        n: usize,
        /// Samples in a window.
        n_samples: usize,
    },
    /// Training could not go on.
    #[error(transparent)]
    Training(#[from] NnError),
    /// The network cannot be a model.
    #[error(transparent)]
    Model(#[from] SeedError),
    /// The model is worse than the limit; it is here for who wants to look at it.
    #[error(
        "the largest error is {max:.3} {unit} (at {at:.2} {unit}), more than the accepted {limit} {unit}, so no bundle was made: train longer (more steps), try another seed, wider hidden layers, or accept it with a larger --max-error"
    )]
    TooInaccurate {
        /// Largest error, natural units.
        max: f32,
        /// The reading it happened at.
        at: f32,
        /// The limit.
        limit: f32,
        /// Unit of the channel.
        unit: String,
        /// What was refused.
        trained: Box<SeedTrained>,
    },
}

/// Starts that are tried before the best goes on.
const N_STARTS: usize = 8;
/// The part of all steps one start may take.
const START_PART: f64 = 0.03;
/// The part of all steps that an int8 model trains with integers.
const INT8_PART: f64 = 0.55;

/// Trains a model and judges it.
///
/// `progress` is called every few steps; `ControlFlow::Break` ends with [`NnError::Cancelled`].
pub fn train(
    options: &SeedOptions,
    progress: &mut dyn FnMut(SeedProgress) -> ControlFlow<()>,
) -> Result<SeedTrained, SeedTrainError> {
    options.check()?;
    let sets = sets(options)?;
    let mut run = Run { options, sets: &sets, done: 0, progress };
    let (network, fitted) = match options.recipe {
        Recipe::Seed => run.as_keras()?,
        Recipe::Ours => run.ours()?,
    };
    let (model, fitted) = match options.int8 {
        true => run.with_integers(&network, fitted)?,
        false => (network.model(options)?, fitted),
    };
    let mut report = judge::judge(options, &model, &sets)?;
    report.n_steps = run.done;
    report.best_epoch = fitted.best_epoch;
    report.curve = curve(&fitted);
    let mut parts = model.into_parts();
    // A plain structure of numbers and strings has no way to fail.
    parts.report = serde_json::to_value(&report).unwrap_or_default();
    let trained = SeedTrained { model: SeedModel::new(parts)?, report };
    match judge::too_inaccurate(options, &trained.report) {
        None => Ok(trained),
        Some((idx, max, at)) => Err(SeedTrainError::TooInaccurate {
            max,
            at,
            limit: options.limit(idx),
            unit: options.channels[idx].unit.clone(),
            trained: Box::new(trained),
        }),
    }
}

/// What a device shows its network of windows.
type Seen = fn(&[f32]) -> Vec<f32>;

/// One training, with the steps it has taken.
pub(super) struct Run<'a> {
    options: &'a SeedOptions,
    sets: &'a Sets,
    done: usize,
    progress: &'a mut dyn FnMut(SeedProgress) -> ControlFlow<()>,
}

impl Run<'_> {
    fn as_keras(&mut self) -> Result<(Network, FitReport), SeedTrainError> {
        let mut network = Network::new(self.options, self.options.seed, None)?;
        let config = FitConfig { keep_last: true, ..self.config(self.options.n_steps) };
        let fitted = self.fit(&mut network, &config, None)?;
        Ok((network, fitted))
    }

    /// Short starts; the best of them goes on.
    fn ours(&mut self) -> Result<(Network, FitReport), SeedTrainError> {
        let part = if self.options.int8 { 1.0 - INT8_PART } else { 1.0 };
        let n_steps = (self.options.n_steps as f64 * part) as usize;
        let start_steps = (self.options.n_steps as f64 * START_PART) as usize;
        let mut best: Option<(f64, Network)> = None;
        for start in 0..N_STARTS {
            let seed = self.options.seed.wrapping_mul(N_STARTS as u64).wrapping_add(start as u64);
            let mut network = Network::new(self.options, seed, None)?;
            let config =
                FitConfig { learning_rate: START_RATE, final_rate: 0.02, ..self.config(start_steps) };
            let fitted = self.fit(&mut network, &config, None)?;
            let loss = fitted.validation_loss.get(fitted.best_epoch).copied().unwrap_or(f64::INFINITY);
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, network));
            }
        }
        let Some((_, mut network)) = best else { return Err(NnError::NoSamples.into()) };
        let left = n_steps.saturating_sub(self.done).max(1);
        let config = FitConfig { learning_rate: RATE, final_rate: 0.0, ..self.config(left) };
        let fitted = self.fit(&mut network, &config, None)?;
        Ok((network, fitted))
    }

    fn with_integers(
        &mut self,
        network: &Network,
        before: FitReport,
    ) -> Result<(SeedModel, FitReport), SeedTrainError> {
        let mut integers = int8::Integers::new(self.options, network, &self.sets.train)?;
        let left = self.options.n_steps.saturating_sub(self.done).max(1);
        let config = FitConfig { learning_rate: RATE, final_rate: 0.01, ..self.config(left) };
        let fitted = self.fit(&mut integers.network, &config, Some(int8::seen_by_device))?;
        let n_before = before.train_loss.len();
        let joined = FitReport {
            n_steps: before.n_steps + fitted.n_steps,
            train_loss: [before.train_loss, fitted.train_loss].concat(),
            validation_loss: [before.validation_loss, fitted.validation_loss].concat(),
            best_epoch: n_before + fitted.best_epoch,
        };
        Ok((integers.model(self.options)?, joined))
    }

    /// The defaults of Keras, for so many steps.
    fn config(&self, n_steps: usize) -> FitConfig {
        let n = self.sets.train.len() / self.options.input_len();
        let steps_per_epoch = n.div_ceil(self.options.batch_len.clamp(1, n.max(1))).max(1);
        FitConfig {
            n_epochs: (n_steps / steps_per_epoch).max(1),
            batch_len: self.options.batch_len,
            n_warmup_steps: 0,
            seed: self.options.seed ^ n_steps as u64,
            isa: self.options.isa,
            ..FitConfig::default()
        }
    }

    /// `seen` turns true windows into what the network's input shows of them.
    fn fit(
        &mut self,
        network: &mut Network,
        config: &FitConfig,
        seen: Option<Seen>,
    ) -> Result<FitReport, SeedTrainError> {
        let inputs = seen.map(|seen| (seen(&self.sets.train), seen(&self.sets.validation)));
        let (train, validation) = match &inputs {
            Some((train, validation)) => (
                Samples { inputs: train, targets: Some(&self.sets.train) },
                Samples { inputs: validation, targets: Some(&self.sets.validation) },
            ),
            None => (
                Samples { inputs: &self.sets.train, targets: None },
                Samples { inputs: &self.sets.validation, targets: None },
            ),
        };
        let (before, n_steps) = (self.done, self.options.n_steps);
        let progress = &mut *self.progress;
        let mut shown = |p: Progress| {
            let step = before + p.step;
            progress(SeedProgress {
                step,
                n_steps: n_steps.max(step),
                loss: p.loss,
                validation: p.validation,
            })
        };
        let fitted = fit(&mut network.net, train, Some(validation), &mut Mse, config, &mut shown)?;
        self.done += fitted.n_steps;
        Ok(fitted)
    }
}

/// Step size the starts begin with.
const START_RATE: f32 = 4e-3;
/// Step size the best start goes on with.
const RATE: f32 = 4e-3;

fn curve(fitted: &FitReport) -> Vec<CurvePoint> {
    let losses = fitted.train_loss.iter().zip(&fitted.validation_loss).enumerate();
    losses.map(|(epoch, (&train, &validation))| CurvePoint { epoch, train, validation }).collect()
}
