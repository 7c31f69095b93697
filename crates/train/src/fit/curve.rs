//! How losses fell: what a training tells while it runs, and the curves kept of it.

use std::ops::ControlFlow;

use super::train::FitProgress;
use crate::nn::Progress;

/// Where a training is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Share of the work done, 0 to 1.
    pub(crate) share: f64,
    loss: LossSeen,
}

/// A training's losses at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSeen {
    /// Which of several networks trained one after the other.
    pub network: u32,
    /// Steps done.
    pub step: usize,
    /// Mean training loss of the running epoch.
    pub train: f64,
    /// Loss on rows held back, after the last whole epoch.
    pub validation: Option<f64>,
}

/// Called with where a training is.
pub(crate) type Told<'a> = &'a mut dyn FnMut(Step) -> ControlFlow<()>;

impl Step {
    /// A phase that begins after a share of `from` of the work and takes `part` of it.
    pub(crate) fn of(p: Progress, from: f64, part: f64) -> Self {
        let share = from + part * p.step as f64 / p.n_steps.max(1) as f64;
        Self { share, loss: LossSeen { network: 0, step: p.step, train: p.loss, validation: p.validation } }
    }

    /// The same as part of the training of network `idx` of `n`.
    pub(crate) fn within(self, idx: usize, n: usize) -> Self {
        let share = (idx as f64 + self.share) / n as f64;
        Self { share, loss: LossSeen { network: idx as u32, ..self.loss } }
    }

    pub(crate) fn loss(&self) -> LossSeen {
        self.loss
    }
}

/// Losses of one network over the steps of its training.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Curve {
    /// What was trained.
    pub stage: &'static str,
    /// Steps and training loss.
    pub train: Vec<(f64, f64)>,
    /// Steps and loss on rows held back, after each epoch.
    pub validation: Vec<(f64, f64)>,
}

/// Points a curve is thinned to.
const POINTS_MAX: usize = 240;
/// Curves that are kept: the last ones.
const CURVES_MAX: usize = 8;

/// Gathers curves from what is told.
#[derive(Debug, Default)]
pub(crate) struct Curves {
    all: Vec<Curve>,
    /// Which training the last curve is of: where its share began, and its network.
    current: Option<(u32, u32)>,
    /// Steps of the phases before this one.
    base: usize,
    last_step: usize,
}

impl Curves {
    pub(crate) fn add(&mut self, progress: &FitProgress) {
        let Some(loss) = progress.loss else { return };
        let key = (progress.training, loss.network);
        if self.current != Some(key) {
            self.all.push(Curve { stage: progress.stage, train: Vec::new(), validation: Vec::new() });
            (self.current, self.base, self.last_step) = (Some(key), 0, 0);
        }
        if loss.step < self.last_step {
            // Another phase of the same network: its steps count on.
            self.base += self.last_step;
        }
        self.last_step = loss.step;
        let at = (self.base + loss.step) as f64;
        let Some(curve) = self.all.last_mut() else { return };
        if loss.train.is_finite() {
            curve.train.push((at, loss.train));
        }
        let told = loss.validation.filter(|v| v.is_finite());
        if let Some(validation) = told
            && curve.validation.last().is_none_or(|(_, before)| *before != validation)
        {
            curve.validation.push((at, validation));
        }
        thin(&mut curve.train);
        thin(&mut curve.validation);
    }

    pub(crate) fn finish(mut self) -> Vec<Curve> {
        self.all.retain(|curve| curve.train.len() > 1);
        let n_over = self.all.len().saturating_sub(CURVES_MAX);
        self.all.drain(..n_over);
        self.all
    }
}

/// Every other point, once there are twice as many as wanted.
fn thin(points: &mut Vec<(f64, f64)>) {
    if points.len() >= 2 * POINTS_MAX {
        let mut at = 0;
        points.retain(|_| {
            at += 1;
            at % 2 == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(training: u32, network: u32, step: usize, train: f64, validation: Option<f64>) -> FitProgress {
        let loss = Some(LossSeen { network, step, train, validation });
        FitProgress { stage: "x", done: 0, total: 1, training, loss }
    }

    #[test]
    fn phases_go_on_and_networks_begin_anew() {
        let mut curves = Curves::default();
        for (network, step, loss) in
            [(0, 10, 5.0), (0, 20, 4.0), (0, 10, 3.0), (0, 20, 2.0), (1, 10, 9.0), (1, 20, 8.0)]
        {
            curves.add(&told(1, network, step, loss, Some(loss.round())));
        }
        curves.add(&told(2, 0, 10, f64::NAN, None));
        let curves = curves.finish();
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0].train, [(10.0, 5.0), (20.0, 4.0), (30.0, 3.0), (40.0, 2.0)]);
        assert_eq!(curves[1].validation, [(10.0, 9.0), (20.0, 8.0)]);
    }

    #[test]
    fn long_trainings_are_thinned() {
        let mut curves = Curves::default();
        (0..5000).for_each(|step| curves.add(&told(1, 0, step, 1.0 / (1.0 + step as f64), None)));
        let n = curves.finish()[0].train.len();
        assert!((POINTS_MAX..2 * POINTS_MAX).contains(&n), "{n}");
    }
}
