//! A progress bar with time to go. On standard error and on a terminal only.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, a spinner, or nothing at all where nobody looks.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar from 0 to 1000 thousandths.
    pub(crate) fn bar(title: &str) -> Self {
        let bar = Self::start(ProgressBar::new(1000), title);
        // The templates are constants; should one be refused the default style shows the same bar.
        if let Ok(style) = ProgressStyle::with_template("{msg:20} [{bar:32}] {percent:>3} %  {eta} to go") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// A line that is written over, such as a live count.
    pub(crate) fn line(title: &str) -> Self {
        let bar = Self::start(ProgressBar::new_spinner(), title);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn start(bar: ProgressBar, title: &str) -> ProgressBar {
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(title.to_string());
        bar
    }

    /// Moves the bar; `done` in 0..=1.
    pub(crate) fn set(&self, done: f64) {
        self.0.set_position((done.clamp(0.0, 1.0) * 1000.0) as u64);
    }

    /// Changes the text beside the bar.
    pub(crate) fn say(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
