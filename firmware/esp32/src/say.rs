//! Lines on the serial port. The crate `log` would write the same ones and keep a record of module, file and line for each.

use core::fmt::Arguments;

/// Writes a line. Not inlined: a call is all that is left at each place.
#[inline(never)]
pub fn line(level: &str, what: Arguments<'_>) {
    esp_println::println!("{level} - {what}");
}

macro_rules! info {
    ($($what:tt)*) => { $crate::say::line("INFO", format_args!($($what)*)) };
}
macro_rules! warning {
    ($($what:tt)*) => { $crate::say::line("WARN", format_args!($($what)*)) };
}
macro_rules! error {
    ($($what:tt)*) => { $crate::say::line("ERROR", format_args!($($what)*)) };
}
pub(crate) use {error, info, warning};
