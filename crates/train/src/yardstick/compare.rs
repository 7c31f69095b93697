//! Ours beside the classical coders, on one recording.

use kinglet_codec::learn::encode_on;
use kinglet_codec::{Grid, Model, Rung, Window};

use super::{Figure, Task, Yardstick, YardstickError, measure};
use crate::fit::{FitError, FitOptions, Rows, choose_grids, rows_of};
use crate::recording::{Cut, Recording, Split};

/// A recording cut for comparison: grids, rows to learn from and rows to judge by, whole windows by row, missing
/// values filled with the last one.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The grid of each channel.
    pub grids: Vec<Grid>,
    /// Rows to learn from.
    pub train: Rows,
    /// Rows to judge by.
    pub test: Rows,
    bounds: Vec<i32>,
    n_samples: usize,
}

impl Prepared {
    /// Cuts `recording` as `options` say.
    pub fn new(recording: &Recording, options: &FitOptions) -> Result<Self, FitError> {
        let split = Split::by_time(recording.len().min(options.rows_max), options.train_percent);
        let chosen = choose_grids(recording, options, split.train.clone())?;
        let grids: Vec<Grid> = chosen.iter().map(|c| c.grid).collect();
        let rows = |range| rows_of(recording, &grids, range, Cut::ByRows);
        Ok(Self {
            train: rows(split.train.clone()),
            test: rows(split.test.clone()),
            bounds: grids.iter().map(|g| g.bound_steps as i32).collect(),
            grids,
            n_samples: usize::from(options.n_samples),
        })
    }

    /// The same on the grids and in the windows of a model that was learned already. The recording has its channels.
    pub fn of_model(model: &Model<'_>, recording: &Recording, split: &Split) -> Self {
        let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
        Self {
            train: rows_of(recording, &grids, split.train.clone(), Cut::ByRows),
            test: rows_of(recording, &grids, split.test.clone(), Cut::ByRows),
            bounds: grids.iter().map(|g| g.bound_steps as i32).collect(),
            grids,
            n_samples: model.samples(),
        }
    }

    /// The task of every yardstick.
    pub fn task(&self) -> Task<'_> {
        Task { train: &self.train, test: &self.test, bounds: &self.bounds, n_samples: self.n_samples }
    }

    /// What `yardstick` makes of it.
    pub fn measure(&self, yardstick: Yardstick) -> Result<Figure, YardstickError> {
        measure(yardstick, &self.task())
    }

    /// What each rung that `model` carries makes of it alone; a window it cannot say goes out raw.
    pub fn rungs(&self, model: &Model<'_>) -> Vec<(Rung, Figure)> {
        let rungs = [Rung::Hold, Rung::Context, Rung::Predict, Rung::Latent, Rung::Raw];
        rungs.into_iter().filter_map(|rung| Some((rung, self.rung(model, rung)?))).collect()
    }

    /// `None` if the rung says no window at all.
    fn rung(&self, model: &Model<'_>, rung: Rung) -> Option<Figure> {
        let mut workspace = vec![0; model.workspace_len()];
        let mut out = vec![0; model.code_len_max()];
        let mut len =
            |steps, rung| encode_on(model, Window { steps, off_grid: false }, rung, &mut workspace, &mut out);
        let (mut code_lens, mut n_said) = (Vec::new(), 0);
        for steps in self.test.windows(self.n_samples).filter(|w| w.len() == self.values()) {
            let said = len(steps, rung);
            n_said += usize::from(said.is_some());
            code_lens.push(said.or_else(|| len(steps, Rung::Raw))? as u32);
        }
        (n_said > 0).then(|| Figure { code_lens, static_bytes: model.bytes().len() })
    }

    /// Values in a window.
    pub fn values(&self) -> usize {
        self.n_samples * self.grids.len()
    }
}
