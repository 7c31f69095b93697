//! What is written to the log, and how.

use std::str::FromStr;

/// The least that is written to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// Also what may have gone wrong.
    Warn,
    /// Also what has happened.
    #[default]
    Info,
    /// Also what only those who look for a fault want to know.
    Debug,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogLevel {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        all.into_iter()
            .find(|level| level.word() == text)
            .ok_or_else(|| "say error, warn, info or debug".into())
    }
}

impl LogFormat {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Text, Self::Json];
        all.into_iter().find(|format| format.word() == text).ok_or_else(|| "say text or json".into())
    }
}
