//! What went wrong, for a person: what happened, why, and what to do next.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Why a command ended without doing what was asked. The number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything without a number of its own.
    Failure = 1,
    /// The command line does not say something that can be done. The same number as clap's.
    Usage = 2,
    /// A file that was given cannot be read or is not what it should be.
    Input = 3,
    /// The other side could not be reached.
    Network = 4,
    /// The other side was reached and said no.
    Refused = 5,
    /// A result could not be written.
    Output = 6,
    /// A promise Kinglet makes did not hold: a bound, or a window lost or stored twice.
    Promise = 7,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Network => "network",
            Self::Refused => "refused",
            Self::Output => "output",
            Self::Promise => "promise",
        }
    }
}

/// A failure with everything a person needs to go on.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    what: String,
    why: String,
    next: String,
    /// The reader of our output has gone: no failure of ours, and nothing to say to anyone.
    pub(crate) quiet: bool,
}

/// What every command returns.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl Display) -> Self {
        Self { kind, what: what.to_string(), why: String::new(), next: String::new(), quiet: false }
    }

    pub(crate) fn input(what: impl Display) -> Self {
        Self::new(Kind::Input, what)
    }

    pub(crate) fn usage(what: impl Display) -> Self {
        Self::new(Kind::Usage, what)
    }

    pub(crate) fn why(mut self, why: impl Display) -> Self {
        self.why = why.to_string();
        self
    }

    pub(crate) fn next(mut self, next: impl Display) -> Self {
        self.next = next.to_string();
        self
    }

    /// A file that could not be read.
    pub(crate) fn reading(path: &Path, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::NotFound => "check the path, or run `ls` beside it",
            io::ErrorKind::PermissionDenied => "ask its owner, or run `ls -l` to see who may read it",
            io::ErrorKind::IsADirectory => "name a file, not a directory",
            _ => "check the file and the disk it lies on",
        };
        Self::input(format_args!("cannot read {}", path.display())).why(error).next(next)
    }

    /// A file or stream that could not be written.
    pub(crate) fn writing(what: impl Display, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room on the disk and run it again"
            }
            io::ErrorKind::PermissionDenied => {
                "choose another place with --out, or change who may write there"
            }
            io::ErrorKind::NotFound => "make the directory first",
            io::ErrorKind::AlreadyExists => "choose another name, or say --force to replace it",
            _ => "check the path and the disk it lies on",
        };
        let mut failure = Self::new(Kind::Output, format_args!("cannot write {what}")).why(error).next(next);
        if error.kind() == io::ErrorKind::AlreadyExists {
            failure = failure.why("there is such a file already");
        }
        failure.quiet = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }

    /// What and why, for a line of a log.
    pub(crate) fn in_a_line(&self) -> String {
        format!("{}: {}", self.what, self.why).replace(char::is_control, " ")
    }

    /// As one JSON object, for callers that asked for JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": { "kind": self.kind.name(), "what": self.what, "why": self.why, "next": self.next }
        })
    }

    /// As up to three lines, styled for a terminal.
    pub(crate) fn to_text(&self) -> String {
        use crate::term::style::{BAD, DIM, GOOD};
        let mut text = format!("{BAD}error:{BAD:#} {}\n", printable(&self.what));
        if !self.why.is_empty() {
            text += &format!("  {DIM}why:{DIM:#}  {}\n", printable(&self.why));
        }
        if !self.next.is_empty() {
            text += &format!("  {GOOD}next:{GOOD:#} {}\n", printable(&self.next));
        }
        text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::writing("the output", &error)
    }
}

/// Most characters of anything that is shown in an error: a file may hold a line of a gigabyte.
const SHOWN_MAX: usize = 600;

/// `text` without control characters: names and cells in errors come from files and from the network, and
/// must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown.replace('\n', "\n        ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let text = Failure::input("bad name \u{1b}[2Jx").to_text();
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
        assert!(text.contains("bad name"));
    }

    #[test]
    fn long_causes_are_cut() {
        let text = Failure::input("x").why("y".repeat(10_000)).to_text();
        assert!(text.len() < 1000);
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(broken).quiet);
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).quiet);
    }
}
