//! How a window of samples becomes a code and back, within a bound.
//!
//! Integer only, no allocation, the same bytes on every target. `spec/codec.md` says the format.
//!
//! A *window* is `[samples × channels]` grid steps, sample-major: `steps[t * n_channels + c]`.
//! A step is what [`Grid::quantise`] makes of a reading; [`MISSING`], [`ABOVE`] and [`BELOW`] stand for
//! readings that have no step and survive the round trip as what they are.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "bundle"),
    allow(unreachable_pub, unused_imports, dead_code, reason = "trainers see more than devices")
)]

#[cfg(any(feature = "bundle", feature = "seed"))]
extern crate std;

mod alphabet;
#[cfg(feature = "bundle")]
pub mod bundle;
mod context;
mod counts;
mod decimal;
mod fill;
mod first;
mod fixed;
mod freq;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod grid;
mod hold;
mod ladder;
mod latent;
#[cfg(feature = "bundle")]
pub mod learn;
mod model;
mod net;
mod parts;
mod predict;
mod range;
mod raw;
mod reference;
mod search;
#[cfg(feature = "seed")]
pub mod seed;
mod shape;

pub use decimal::{Decimal, ParseDecimalError};
pub use fill::{Filling, Front};
pub use grid::{ABOVE, BELOW, BOUND_STEPS_MAX, Grid, MISSING, Quantised, STEP_MAX, is_step};
pub use model::{Channel, Model, ModelError};
pub use reference::{DISTANCE_MAX, Reference, Referring, TAIL_SAMPLES_MAX};

/// Most channels a bundle may have.
pub const CHANNELS_MAX: usize = 16;
/// Most samples a window may have.
pub const SAMPLES_MAX: usize = 256;
/// Most values (samples × channels) a window may have.
pub const VALUES_MAX: usize = 1024;

/// One window to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// `[samples × channels]` grid steps, sample-major; `1..=model.samples()` whole samples.
    pub steps: &'a [i32],
    /// True if any reading lay off its channel's grid ([`Quantised::exact`] false): the encoder then keeps
    /// one step less of every bound in reserve, so that the bound holds for the reading itself.
    pub off_grid: bool,
}

/// Which rung of the ladder made the shortest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// Every channel stays at its first value.
    Hold,
    /// Trained context tables on a lattice, the path chosen within the bound.
    Context,
    /// A small network that says how likely each next value is, mixed with the tables.
    Predict,
    /// The autoencoder: integer latents, integer decoder, a residual where the bound asks for it.
    Latent,
    /// Fixed width, the end of the ladder.
    Raw,
    /// The autoencoder alone in a fixed number of bytes, no bound.
    Fixed,
}

/// What [`encode`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes of `out` used; 0 is a valid code.
    pub code_len: usize,
    /// The rung that won.
    pub rung: Rung,
}

/// What [`decode`] read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Samples in the window.
    pub n_samples: usize,
    /// The rung it was coded on.
    pub rung: Rung,
}

/// Why a window was not encoded. Every finite or missing reading can be: these are errors of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The window is empty, longer than the bundle's, or not whole samples.
    WindowShape,
    /// `workspace` is shorter than [`Model::workspace_len`].
    WorkspaceTooSmall,
    /// `out` is shorter than [`Model::code_len_max`].
    OutTooSmall,
}

/// Why bytes are not a code of this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// No encoder writes these bytes with this model.
    Malformed,
    /// `steps` has no room for a window of this model.
    OutTooSmall,
    /// `workspace` is shorter than [`Model::workspace_len`].
    WorkspaceTooSmall,
    /// The code refers to an earlier window ([`decode_after`]), or [`resolve`] was given one that does not.
    Reference,
}

/// Encodes one window on the rung that needs the fewest bytes.
///
/// `workspace`: at least [`Model::workspace_len`] words, contents ignored. `out`: at least
/// [`Model::code_len_max`] bytes. After the call the first `window.steps.len()` words of `workspace` hold
/// what a decoder of the code will read: the device knows what the server will know.
pub fn encode(
    model: &Model<'_>,
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Result<Encoded, EncodeError> {
    ladder::encode(model, window, workspace, out)
}

/// Decodes one code into `steps`, `[samples × channels]`, sample-major.
///
/// `steps`: room for at least `model.samples() * model.channels()` values.
pub fn decode(
    model: &Model<'_>,
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
) -> Result<Decoded, DecodeError> {
    ladder::decode(model, code, workspace, steps)
}

/// Encodes one window after an earlier one, which its decoder must have.
///
/// `None` where that brings nothing: the model has no references, the tail no value, or no code that refers is shorter
/// than the one that stands alone; then [`encode`] it. `out`: at least twice [`Model::code_len_max`] bytes. Otherwise as
/// [`encode`]; what `workspace` then begins with is the same for both codes.
pub fn encode_after(
    model: &Model<'_>,
    reference: Reference<'_>,
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Result<Option<Referring>, EncodeError> {
    ladder::encode_after(model, reference, window, workspace, out)
}

/// How far a code refers, `1..=`[`DISTANCE_MAX`]; `None` for one that stands alone. Of bytes that are no code of this
/// model the answer means nothing.
pub fn distance_of(model: &Model<'_>, code: &[u8]) -> Option<u8> {
    reference::distance(model, code)
}

/// Decodes a code that refers to a window with this tail ([`Reference::tail`]); otherwise as [`decode`].
pub fn decode_after(
    model: &Model<'_>,
    tail: &[i32],
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
) -> Result<Decoded, DecodeError> {
    ladder::decode_after(model, tail, code, workspace, steps)
}

/// Turns a code that refers into the one of the same window that stands alone, the one [`encode_after`] has made beside
/// it; gives its bytes in `out`, of at least [`Model::code_len_max`]. Otherwise as [`decode_after`].
pub fn resolve(
    model: &Model<'_>,
    tail: &[i32],
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
    out: &mut [u8],
) -> Result<usize, DecodeError> {
    ladder::resolve(model, tail, code, workspace, steps, out)
}
