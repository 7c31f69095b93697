//! How far learning is.

use std::ops::ControlFlow;

use super::curve::{LossSeen, Step};
use super::learn::LearnError;
use super::train::FitProgress;

/// Counts pieces of work for whoever watches.
pub(super) struct Work<'a> {
    progress: &'a mut dyn FnMut(FitProgress) -> ControlFlow<()>,
    done: u32,
    total: u32,
}

/// Units of one training of an autoencoder; counting tables once is one unit.
const TRAINING_UNITS: u32 = 20;

impl<'a> Work<'a> {
    pub(super) fn new(
        n_counts: usize,
        n_trainings: usize,
        progress: &'a mut dyn FnMut(FitProgress) -> ControlFlow<()>,
    ) -> Self {
        Self { progress, done: 0, total: n_counts as u32 + TRAINING_UNITS * n_trainings as u32 }
    }

    fn tell(&mut self, stage: &'static str, done: u32, loss: Option<LossSeen>) -> ControlFlow<()> {
        (self.progress)(FitProgress { stage, done, total: self.total, training: self.done, loss })
    }

    /// Begins a unit.
    pub(super) fn begin(&mut self, stage: &'static str) -> Result<(), LearnError> {
        let answer = self.tell(stage, self.done, None);
        self.done += 1;
        if answer.is_break() { Err(LearnError::Cancelled) } else { Ok(()) }
    }

    /// Begins a training, to be told its own share.
    pub(super) fn inside(
        &mut self,
        stage: &'static str,
    ) -> Result<impl FnMut(Step) -> ControlFlow<()>, LearnError> {
        self.begin(stage)?;
        let before = self.done - 1;
        self.done += TRAINING_UNITS - 1;
        Ok(move |step: Step| {
            let done = before + (step.share * f64::from(TRAINING_UNITS - 1)) as u32;
            self.tell(stage, done, Some(step.loss()))
        })
    }
}
