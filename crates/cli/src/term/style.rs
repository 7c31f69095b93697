//! The few styles in use. The stream strips them where they do not belong.

use anstyle::{AnsiColor, Style};
use clap::builder::Styles;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const HINT: Style = AnsiColor::Yellow.on_default();

/// The same styles for help texts.
pub(crate) const HELP: Styles =
    Styles::styled().header(BOLD).usage(BOLD).literal(AnsiColor::Cyan.on_default()).placeholder(DIM);
