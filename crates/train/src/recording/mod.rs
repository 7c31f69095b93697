//! Recordings: what a person has measured, read from a CSV file as it is.
//!
//! [`read`] takes any bytes and gives a [`Recording`] and what was [`Understood`] of them, or an error that
//! says what to do next. Numbers stay exact decimals. Memory is bounded by [`ReadOptions::values_max`],
//! [`RECORD_LEN_MAX`] and [`COLUMNS_MAX`], whatever the file holds.

mod bound;
mod cell;
mod civil;
mod clock;
mod column;
mod converted;
mod error;
mod facts;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod head;
mod labels;
mod layout;
mod names;
mod options;
mod quantum;
mod read;
mod rows;
mod series;
mod understood;
mod values;
mod windows;
mod write;

pub use bound::{Bound, ChosenGrid, GridBasis, GridError, ParseBoundError, grid_for};
pub use cell::DecimalMark;
pub use clock::{TimeFormat, stamp_ms};
pub use error::RecordingError;
pub use options::{ColumnChoice, DateOrder, Duplicates, ReadOptions};
pub use quantum::Quantum;
pub use read::read;
pub use series::{Gap, RecordedChannel, Recording};
pub use understood::{
    ChannelUnderstood, DropReason, Dropped, IgnoreReason, IgnoredColumn, TimeUnderstood, Understood,
};
pub use values::Values;
pub use windows::{Cut, CutWindow, Split, Windows};
pub use write::write;

/// Longest record, bytes: an open quote ends here.
pub const RECORD_LEN_MAX: usize = 128 << 10;
/// Most columns of a file.
pub const COLUMNS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
