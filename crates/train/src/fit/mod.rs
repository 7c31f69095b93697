//! How a model is learned: grids, tables, lattices, the autoencoder, and the judgement over them.
//!
//! The files in the order to read them: `train` (from a recording to a bundle), `evaluate` (a bundle on a recording), `rows` (a recording on its grids), `learn` (the order of steps), `context`
//! (tables by counting), `cluster` (which contexts share a table), `first` (first values), `latent` and `fixed` (the
//! autoencoder), `judge` (bytes and errors on rows nobody has seen).

mod cluster;
mod context;
mod evaluate;
mod first;
mod judge;
mod latent;
mod learn;
mod net;
mod predict;
mod rows;
mod train;

pub use evaluate::{ChannelEvaluation, Evaluation, RungShares, error_over_bound, evaluate};
pub use judge::{Judgement, judge};
pub use learn::{Effort, LearnError, Learned, Setup, learn};
pub use rows::Rows;
pub use train::{
    ChannelReport, FitError, FitOptions, FitProgress, FixedSummary, SentAs, TrainReport, Trained, train,
};
