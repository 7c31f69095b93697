//! The output stream, and how numbers and times are put into words.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Table;

/// Standard output: every write is checked, styles are stripped where they do not belong.
pub(crate) struct Out {
    stream: anstream::AutoStream<io::Stdout>,
    /// True if results go out as JSON: then words go nowhere.
    json: bool,
}

impl Out {
    /// `json`: whether the command was asked for JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { stream: anstream::stdout(), json }
    }

    /// True if a person looks at the output.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// One line for a person; nothing in JSON mode.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        writeln!(self.stream, "{text}")?;
        self.stream.flush()
    }

    /// A table for a person; nothing in JSON mode.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        write!(self.stream, "{table}")?;
        self.stream.flush()
    }

    /// The result as JSON on one line; nothing outside JSON mode.
    pub(crate) fn result(&mut self, value: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        serde_json::to_writer(&mut self.stream, value)?;
        self.stream.write_all(b"\n")?;
        self.stream.flush()
    }

    /// Raw text such as a file's content, in either mode.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }
}

/// `1234` bytes as `1.2 kB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}

/// A duration as `2 d 3 h`, `4 min 5 s` or `0.25 s`.
pub(crate) fn seconds(ms: i64) -> String {
    let s = ms / 1000;
    match ms {
        ..10_000 => format!("{} s", ms as f64 / 1e3),
        10_000..120_000 => format!("{s} s"),
        120_000..7_200_000 if s % 60 == 0 => format!("{} min", s / 60),
        120_000..7_200_000 => format!("{} min {} s", s / 60, s % 60),
        7_200_000..172_800_000 if s % 3600 < 60 => format!("{} h", s / 3600),
        7_200_000..172_800_000 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Years on a battery. Beyond ten its cells are empty by themselves.
pub(crate) fn years(years: f64) -> String {
    if years > 10.0 { "10+".into() } else { format!("{years:.1}") }
}

/// A time for people: `2026-02-03 04:05:06 UTC`, with milliseconds if it has any.
pub(crate) fn when(t_ms: i64) -> String {
    let (date, time) = date_and_time(t_ms);
    format!("{date} {time} UTC")
}

/// A time for programs: `2026-02-03T04:05:06Z`, with milliseconds if it has any.
pub(crate) fn iso(t_ms: i64) -> String {
    let (date, time) = date_and_time(t_ms);
    format!("{date}T{time}Z")
}

fn date_and_time(t_ms: i64) -> (String, String) {
    let (days, ms) = (t_ms.div_euclid(86_400_000), t_ms.rem_euclid(86_400_000));
    let (y, m, d) = civil(days);
    let (s, ms) = (ms / 1000, ms % 1000);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    (format!("{y:04}-{m:02}-{d:02}"), format!("{:02}:{:02}:{:02}{fraction}", s / 3600, s / 60 % 60, s % 60))
}

/// Year, month and day of a day since 1970-01-01: days are counted from 1 March of year 0 in eras of 400
/// years, so that the leap day comes last in its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let (era, day) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let d = day - (153 * month + 2) / 5 + 1;
    let m = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(m <= 2), m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        assert_eq!(when(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(when(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(when(1_735_689_599_250), "2024-12-31 23:59:59.250 UTC");
        assert_eq!(when(-1), "1969-12-31 23:59:59.999 UTC");
    }

    #[test]
    fn durations_and_sizes_are_said_as_people_do() {
        assert_eq!(seconds(250), "0.25 s");
        assert_eq!(seconds(300_000), "5 min");
        assert_eq!(seconds(90_000_000), "25 h");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_408), "4.4 kB");
    }
}
