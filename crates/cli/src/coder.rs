//! A model with the room it needs to work in.

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{ABOVE, BELOW, DecodeError, Decoded, Encoded, Grid, Model, Rung, Window};

use crate::failure::{Failure, Kind, Result};

/// Encodes and decodes with one bundle.
pub(crate) struct Coder<'a> {
    model: Model<'a>,
    workspace: Vec<i32>,
    steps: Vec<i32>,
    code: Vec<u8>,
}

impl<'a> Coder<'a> {
    pub(crate) fn new(bundle: &'a Bundle) -> Self {
        let model = bundle.model();
        Self {
            workspace: vec![0; model.workspace_len()],
            steps: vec![0; model.samples() * model.channels()],
            code: vec![0; model.code_len_max()],
            model,
        }
    }

    pub(crate) fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// One window's code and the rung that made it.
    pub(crate) fn encode(&mut self, window: Window<'_>) -> Result<(&[u8], Rung)> {
        let made = kinglet_codec::encode(&self.model, window, &mut self.workspace, &mut self.code);
        // Every window of the right shape can be encoded; a refusal is a fault in Kinglet.
        let Encoded { code_len, rung, .. } = made.map_err(|e| {
            Failure::new(Kind::Failure, "a window could not be encoded").why(format_args!("{e:?}"))
        })?;
        Ok((&self.code[..code_len], rung))
    }

    /// The steps a code stands for, `[samples × channels]`, and the rung it was made on.
    pub(crate) fn decode(&mut self, code: &[u8]) -> Result<(&[i32], Rung), DecodeError> {
        let Decoded { n_samples, rung, .. } =
            kinglet_codec::decode(&self.model, code, &mut self.workspace, &mut self.steps)?;
        Ok((&self.steps[..n_samples * self.model.channels()], rung))
    }
}

/// A decoded value as CSV writes it: a number, nothing for a missing reading, `inf` and `-inf` for readings
/// outside everything the grid can say.
pub(crate) fn cell(grid: &Grid, step: i32) -> String {
    match step {
        ABOVE => "inf".into(),
        BELOW => "-inf".into(),
        step => grid.value(step).map(|value| value.to_string()).unwrap_or_default(),
    }
}

/// The rung's name.
pub(crate) fn rung_name(rung: Rung) -> &'static str {
    match rung {
        Rung::Hold => "hold",
        Rung::Context => "context",
        Rung::Predict => "predict",
        Rung::Latent => "latent",
        Rung::Raw => "raw",
        Rung::Fixed => "fixed",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_codec::MISSING;

    #[test]
    fn cells() {
        assert_eq!(cell(&GRID, 5), "0.5");
        assert_eq!(cell(&GRID, MISSING), "");
        assert_eq!(cell(&GRID, ABOVE), "inf");
    }

    const GRID: Grid = Grid { scale: 1, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
}
