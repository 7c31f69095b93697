//! What a trainer needs to see and to write: symbols by site, and a model from its parts.
//!
//! Host side only. A trainer runs windows past a counting [`Coder`], turns counts into tables, and puts a new model
//! together with [`Parts::emit`]; encoder and decoder see nothing but the bytes.

mod parts;
mod untrained;

use std::vec::Vec;

use crate::context::{History, neighbour_of};
use crate::model::Model;
use crate::predict::{Budget, Features, Measure};
use crate::{Rung, Window, ladder};

pub use parts::{
    BudgetPart, ChannelPart, ContextPart, CountPart, DensePart, ExpectedPart, FirstPart, LatentPart, NetPart,
    Parts, PredictNet, PredictPart, ReferencePart, with_reference,
};
pub use untrained::Outline;

pub use crate::alphabet::{CLASSES_MAX, symbol_of, symbol_raw_bits};
pub use crate::context::{RAW_CONTEXTS, TABLES_MAX};
pub use crate::counts::RESIDUES_MAX;
pub use crate::first::Lattice;
pub use crate::freq::{SYMBOLS_MAX, Table, emit_table, freq_of};
pub use crate::latent::RESIDUAL_CONTEXTS;
pub use crate::net::{HIDDEN_MAX, LATENTS_MAX};
pub use crate::predict::{
    BUDGET_INPUTS, BUDGET_VALUES_MAX, COMPONENTS, Lags, OTHER_LAGS_MAX, OUTPUTS, OWN_LAGS_MAX,
    PREDICT_HIDDEN_MAX, Scaling,
};
pub use crate::range::{Coder, Decoder, Encoder, Site, Stop};

/// Shows `count` the symbols of one window on one rung; false if the rung cannot say the window.
///
/// `workspace`: at least [`Model::workspace_len`] words; its first words become what a decoder would read.
pub fn observe(
    model: &Model<'_>,
    window: Window<'_>,
    rung: Rung,
    workspace: &mut [i32],
    count: &mut dyn FnMut(Site, usize),
) -> bool {
    ladder::observe(model, window, rung, workspace, &mut Counter(count))
}

/// The lattice values that the context rung says for a window, sample-major; `None` if it cannot say it.
///
/// `workspace`: at least [`Model::workspace_len`] words.
pub fn path<'w>(model: &Model<'_>, window: Window<'_>, workspace: &'w mut [i32]) -> Option<&'w [i32]> {
    ladder::path(model, window, workspace)
}

/// What the length of a code tells before each of its values: [`BUDGET_INPUTS`] numbers each.
#[derive(Clone, Debug)]
pub struct Spent {
    /// Sixteenths of a bit before each value that is a step, in order.
    before: Vec<u32>,
    code_len: usize,
    n_values: usize,
}

/// Writes a window on the predict rung; `None` if that cannot say it. Lengths as for [`crate::encode`].
pub fn spent(model: &Model<'_>, window: Window<'_>, workspace: &mut [i32], out: &mut [u8]) -> Option<Spent> {
    let (before, code_len) = ladder::spending(model, window, workspace, out)?;
    Some(Spent { before, code_len, n_values: window.steps.len() })
}

/// What [`path_after`] finds.
#[derive(Clone, Debug)]
pub struct PathAfter {
    /// Lattice values of the tail, then of the window, sample-major.
    pub whole: Vec<i32>,
    /// Of them the tail's.
    pub n_past: usize,
    /// As of [`spent`], for a code that refers; `None` if the predict rung cannot say it.
    pub spent: Option<Spent>,
}

/// The lattice values that a code which refers says for a window after `tail` (see [`crate::Reference`]). Lengths as for
/// [`crate::encode_after`].
pub fn path_after(
    model: &Model<'_>,
    tail: &[i32],
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Option<PathAfter> {
    let (whole, n_past, spending) = ladder::path_after(model, tail, window, workspace, out)?;
    let n_values = window.steps.len();
    let spent = spending.map(|(before, code_len)| Spent { before, code_len, n_values });
    Some(PathAfter { whole: whole.to_vec(), n_past, spent })
}

impl Spent {
    /// Bits of the code and values of the window.
    pub fn totals(&self) -> (usize, usize) {
        (8 * self.code_len, self.n_values)
    }

    /// Before the step that is the `nth` of the window's and stands at value `at`; `usual_bits` as in [`BudgetPart`].
    pub fn inputs(&self, nth: usize, at: usize, usual_bits: i8, n_channels: usize) -> [i16; BUDGET_INPUTS] {
        let budget = Budget::new(self.code_len, self.n_values, n_channels, usual_bits);
        let spent = self.before.get(nth).copied().unwrap_or(0);
        budget.inputs(spent, self.n_values.saturating_sub(at).max(1))
    }
}

/// One difference as the network of the predict rung would see it.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// `[n_features]`, each within a byte.
    pub features: &'a [i16],
    /// Inputs of the linear prediction, lattice units.
    pub linear: &'a [i32],
    /// The context rung's raw context.
    pub raw_context: usize,
    /// The difference, lattice units.
    pub d: i32,
    /// Its place among the window's values, and among those that are steps.
    pub at: usize,
    /// See `at`.
    pub nth: usize,
}

/// Shows `visit` what channel `idx`'s network of the predict rung would see of the lattice values `rs`, sample-major; the
/// first `n_past` are those of an earlier window, and not shown themselves. `n_samples`: of a full window.
pub fn examples(
    (lags, n_samples): (Lags, usize),
    scalings: &[Scaling],
    (rs, n_past): (&[i32], usize),
    idx: usize,
    visit: &mut dyn FnMut(Example<'_>),
) {
    let n_channels = scalings.len();
    let measures: Vec<Measure> = scalings.iter().map(|&s| Measure::multiplying(s)).collect();
    let mut histories = std::vec![History::default(); n_channels];
    let mut features = Features::new(n_channels, lags, n_samples);
    let mut nth = 0;
    for (at, &r) in rs.iter().enumerate().filter(|(_, r)| crate::is_step(**r)) {
        let channel = at % n_channels;
        let history = histories[channel];
        if at >= n_past && channel == idx && !history.is_empty() {
            features.look(&measures, rs, at, &history);
            let beside = neighbour_of(channel, n_channels).map_or(0, |n| histories[n].moved());
            let raw_context = history.raw_context(channel, beside);
            let (linear, d) = (features.linear(), r - history.r);
            visit(Example { features: features.values(), linear, raw_context, d, at: at - n_past, nth });
        }
        nth += usize::from(at >= n_past);
        histories[channel].push(r);
    }
}

/// Codes one window on `rung` whatever the others would make of it; `None` if that rung cannot say the window within
/// the bound. Lengths as for [`crate::encode`]; [`crate::decode`] reads the code.
pub fn encode_on(
    model: &Model<'_>,
    window: Window<'_>,
    rung: Rung,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Option<usize> {
    ladder::encode_on(model, window, rung, workspace, out)
}

struct Counter<'a>(&'a mut dyn FnMut(Site, usize));

impl Coder for Counter<'_> {
    fn narrow(&mut self, _: u32, _: u32, _: u32) -> Result<(), Stop> {
        Ok(())
    }

    fn see(&mut self, site: Site, sym: usize) {
        (self.0)(site, sym);
    }
}
