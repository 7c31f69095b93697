//! What is shown and how: styles, tables, progress. Colours and bars appear on a terminal only.

pub(crate) mod log;
mod out;
mod progress;
pub(crate) mod secret;
pub(crate) mod style;
mod table;

pub(crate) use out::{Out, bytes, iso, seconds, when, years};
pub(crate) use progress::Progress;
pub(crate) use table::{Align, Table};
