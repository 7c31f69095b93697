//! What a code has spent before each of its values: what learning needs where the length of a code tells something.

extern crate std;

use std::vec::Vec;

use super::{Areas, Counted, check, fitting, length, prepare, tells_alone, write};
use crate::model::Model;
use crate::range::{Coder, Encoder, Site, Stop};
use crate::{Rung, Window};

/// What was spent before each step, in sixteenths of a bit, and the bytes of the code.
pub(crate) type Spending = (Vec<u32>, usize);

/// Writes a window on the predict rung into `out`; what was spent before each of its steps, and the bytes of the code.
pub(crate) fn spending(
    model: &Model<'_>,
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Option<Spending> {
    check(model, window, workspace.len(), out.len()).ok()?;
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut areas = Areas::split(model, workspace, window.steps.len());
    let mut code_len = None;
    if tells_alone(model) {
        prepare(model, window, Rung::Context, &mut areas);
        code_len = Some(fitting(model, window, &mut areas, u32::MAX >> 1, out)?);
    }
    let encoder = match code_len {
        Some(len) => length::encoder_for(window.is_beside, out, len),
        None => Encoder::new(out),
    };
    let mut spending = Noting::new(encoder);
    let is_written = prepare(model, window, Rung::Context, &mut areas)
        && prepare(model, window, Rung::Predict, &mut areas)
        && write(model, window, Rung::Predict, &mut areas, &mut spending).is_ok();
    let (before, written) = spending.finish().filter(|_| is_written)?;
    Some((before, code_len.unwrap_or(written)))
}

/// Notes what was spent before each value.
pub(super) struct Noting<'o> {
    encoder: Encoder<'o>,
    before: Vec<u32>,
}

impl<'o> Noting<'o> {
    pub(super) fn new(encoder: Encoder<'o>) -> Self {
        Self { encoder, before: Vec::new() }
    }

    /// Ends the code; what was spent before each value, and the bytes of the code.
    pub(super) fn finish(self) -> Option<Spending> {
        let code_len = self.encoder.finish().ok()?;
        Some((self.before, code_len))
    }
}

impl Coder for Noting<'_> {
    fn narrow(&mut self, cum: u32, freq: u32, total: u32) -> Result<(), Stop> {
        self.encoder.narrow(cum, freq, total)
    }

    fn see(&mut self, site: Site, _: usize) {
        if matches!(site, Site::First(_) | Site::Predicted(_)) {
            self.before.push(self.encoder.spent());
        }
    }

    fn spent(&self) -> u32 {
        self.encoder.spent()
    }

    fn code_len(&self) -> Option<usize> {
        self.encoder.code_len()
    }
}
