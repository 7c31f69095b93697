//! How a model is learned: grids, tables, lattices, the autoencoder, and the judgement over them.
//!
//! The files in the order to read them: `train` (from a recording to a bundle), `work` (how far it is), `evaluate` (a bundle on a recording), `fill` (samples in frames), `picture` (what a report draws), `rows` (a recording on its grids), `learn` (the order of steps), `context`
//! (tables by counting), `networks` (which networks pay), `counts` (what sensors count), `expected` (the window of the empty code), `cluster` (which contexts share a table), `first` (first values), `latent` and `fixed` (the
//! autoencoder), `judge` (bytes and errors on rows nobody has seen).

mod cluster;
mod context;
mod counts;
mod curve;
mod evaluate;
mod examples;
mod expected;
mod fill;
mod first;
mod fixed;
mod judge;
mod latent;
mod learn;
mod net;
mod networks;
mod picture;
mod predict;
mod reference;
mod rows;
mod train;
mod work;

pub use curve::{Curve, LossSeen};
pub(crate) use evaluate::to_f64;
pub use evaluate::{ChannelEvaluation, Evaluation, RungShares, error_over_bound, evaluate};
pub use fill::{CutShares, FrameOptions, FrameSummary, frames, window_for};
pub(crate) use first::{Shaping, learn_first};
pub use judge::{Judgement, judge};
pub use learn::{Effort, LearnError, Learned, Setup, learn};
pub use picture::{ChannelPicture, Column, ERROR_BINS, GapShown, Picture, SampleShown, picture};
pub use reference::{ReferenceSummary, evaluate_after, refer};
pub use rows::Rows;
pub use train::{
    ChannelReport, FitError, FitOptions, FitProgress, FixedSummary, SentAs, TrainReport, Trained, train,
};
pub(crate) use train::{choose_grids, rows_of};
