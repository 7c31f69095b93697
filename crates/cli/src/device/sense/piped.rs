//! Lines that come as they are measured: one sample each, from a pipe.

use std::io::{BufRead, BufReader, Read};

use kinglet_codec::Decimal;
use kinglet_node::Reading;
use kinglet_train::recording::stamp_ms;

use super::{Event, Listener, Sample, Source, now_ms};

/// Longest line that is read.
const LINE_LEN_MAX: u64 = 4096;
/// What loggers write where there is no reading.
const MISSING: [&str; 8] = ["", "-", "nan", "na", "n/a", "null", "none", "unknown"];
/// Names of a column with times.
const TIME_NAMES: [&str; 9] =
    ["time", "timestamp", "datetime", "date_time", "date", "t", "ts", "when", "_time"];

/// Standard input, or whatever can be read.
pub(crate) struct Piped<R> {
    pub(crate) input: R,
    /// The bundle's channels, or the columns that were named instead.
    pub(crate) wanted: Vec<String>,
    /// The column with times, if it was named.
    pub(crate) time_column: Option<String>,
}

/// Which columns hold what.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    /// `None`: a sample was taken when its line came.
    time: Option<usize>,
    values: Vec<usize>,
    /// The first line named the columns.
    has_header: bool,
}

impl<R: Read + Send + 'static> Source for Piped<R> {
    fn origin(&self) -> String {
        "standard input".into()
    }

    fn run(self, listener: &Listener) {
        let mut input = BufReader::new(self.input);
        let mut columns = None;
        loop {
            let mut bytes = Vec::new();
            match input.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) => {
                    listener.tell(Event::End(Some(e.to_string())));
                    return;
                }
            }
            if bytes.len() as u64 == LINE_LEN_MAX && bytes.last() != Some(&b'\n') {
                listener.tell(Event::End(Some(format!("a line is longer than {LINE_LEN_MAX} bytes"))));
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            let line = text.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let cells = cells(line);
            if columns.is_none() {
                match Columns::choose(&cells, &self.wanted, self.time_column.as_deref()) {
                    Ok(chosen) => columns = Some(chosen),
                    Err(why) => {
                        listener.tell(Event::End(Some(why)));
                        return;
                    }
                }
                if columns.as_ref().is_some_and(|c| c.has_header) {
                    continue;
                }
            }
            let Some(columns) = &columns else { continue };
            let event = columns.sample(&cells).map_or_else(Event::Trouble, Event::Sample);
            if !listener.tell(event) {
                return;
            }
        }
    }
}

impl Columns {
    /// From the first line: by name if it is a header; else the time first, if it is one, and the channels last.
    fn choose(cells: &[&str], wanted: &[String], time: Option<&str>) -> Result<Self, String> {
        let has_header = !cells.iter().any(|cell| cell.parse::<Decimal>().is_ok());
        let is_named = |cell: &str, name: &str| {
            cell.eq_ignore_ascii_case(name)
                || cell.split(['(', '[']).next().unwrap_or(cell).trim().eq_ignore_ascii_case(name)
        };
        let find = |name: &str| {
            let number = name.parse::<usize>().ok().filter(|n| (1..=cells.len()).contains(n));
            let named = || cells.iter().position(|cell| has_header && is_named(cell, name));
            number.map(|n| n - 1).or_else(named)
        };
        let missing = |name: &str| format!("no column is called {name}: there are {}", cells.join(", "));
        let time_at = match time {
            Some(name) => Some(find(name).ok_or_else(|| missing(name))?),
            None if has_header => {
                cells.iter().position(|cell| TIME_NAMES.iter().any(|name| is_named(cell, name)))
            }
            None => (cells.len() > wanted.len() && stamp_ms(cells[0].as_bytes()).is_some()).then_some(0),
        };
        let named: Option<Vec<usize>> = wanted.iter().map(|name| find(name)).collect();
        let values = match named {
            Some(values) => values,
            // A header that names other columns is not guessed at.
            None if has_header => {
                return Err(missing(wanted.iter().find(|n| find(n).is_none()).map_or("", |n| n)));
            }
            None if cells.len() < wanted.len() => {
                return Err(format!("a line has {} numbers, {} are wanted", cells.len(), wanted.len()));
            }
            None => (cells.len() - wanted.len()..cells.len()).collect(),
        };
        Ok(Self { time: time_at, values, has_header })
    }

    fn sample(&self, cells: &[&str]) -> Result<Sample, String> {
        let t_ms = match self.time {
            None => now_ms(),
            Some(at) => {
                let cell = cells.get(at).copied().unwrap_or_default();
                stamp_ms(cell.as_bytes())
                    .ok_or_else(|| format!("a line without a time that can be read: {}", brief(cell)))?
            }
        };
        let readings: Vec<Reading> =
            self.values.iter().map(|&at| cells.get(at).and_then(|cell| cell.parse().ok())).collect();
        let odd = self.values.iter().zip(&readings).find_map(|(&at, reading)| {
            let cell = cells.get(at).copied().unwrap_or_default();
            (reading.is_none() && !is_missing(cell)).then_some(cell)
        });
        // One odd cell is a missing reading; a line of nothing else is no sample.
        match odd {
            Some(cell) if readings.iter().all(Option::is_none) => Err(format!("no number: {}", brief(cell))),
            _ => Ok(Sample { t_ms, readings }),
        }
    }
}

/// True for what stands where there is no reading.
pub(super) fn is_missing(cell: &str) -> bool {
    MISSING.iter().any(|word| cell.trim().eq_ignore_ascii_case(word))
}

/// Cells of a line: by semicolon, comma or tab, else by blanks.
pub(super) fn cells(line: &str) -> Vec<&str> {
    let by = |delimiter: char| line.split(delimiter).map(|cell| cell.trim().trim_matches('"')).collect();
    match line {
        line if line.contains(';') => by(';'),
        line if line.contains(',') => by(','),
        line if line.contains('\t') => by('\t'),
        line => line.split_whitespace().collect(),
    }
}

/// So much of foreign text as a log line can bear.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples as `time:values`, `?` for a time of arrival; trouble and a bad end as `!`.
    fn heard(text: &'static str, wanted: &[&str]) -> Vec<String> {
        let wanted = wanted.iter().map(|w| w.to_string()).collect();
        let events = super::super::start(Piped { input: text.as_bytes(), wanted, time_column: None });
        let show = |sample: &Sample| {
            let time = if sample.t_ms > 1_770_000_000_000 { "?".into() } else { sample.t_ms.to_string() };
            let values: Vec<String> =
                sample.readings.iter().map(|r| r.map_or("-".into(), |v| v.to_string())).collect();
            format!("{time}:{}", values.join(" "))
        };
        events
            .iter()
            .filter_map(|event| match event {
                Event::Sample(sample) => Some(show(&sample)),
                Event::Trouble(_) | Event::End(Some(_)) => Some("!".into()),
                Event::End(None) => None,
            })
            .collect()
    }

    #[test]
    fn lines_become_samples_with_their_time_or_that_of_arrival() {
        let t = &["temp"][..];
        assert_eq!(heard("21.5\n\n# x\n-3", t), ["?:21.5", "?:-3"]);
        assert_eq!(
            heard("1760000000,21.5\n1760000010.5,22\n", t),
            ["1760000000000:21.5", "1760000010500:22"]
        );
        let both = &["temp", "hum"][..];
        let text = "hum (%),temp,when\n40,21.5,2025-10-09T08:53:20Z\n,22,2025-10-09T08:53:30Z\n";
        assert_eq!(heard(text, both), ["1760000000000:21.5 40", "1760000010000:22 -"]);
        assert_eq!(heard("21.5 40\n22 nan\n", both), ["?:21.5 40", "?:22 -"]);
        assert_eq!(heard("a;b\n1;2\n", &["2"]), ["?:2"]);
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        assert_eq!(heard("time,pressure\n1,2\n", &["temp"]), ["!"]);
        assert_eq!(heard("1\n", &["temp", "hum"]), ["!"]);
        assert_eq!(
            heard("time,temp\nsoon,21\n1760000000,warm\n1760000000,21\n", &["temp"]),
            ["!", "!", "1760000000000:21"]
        );
        let endless: &'static str = Box::leak("7".repeat(10_000).into_boxed_str());
        assert_eq!(heard(endless, &["temp"]), ["!"]);
    }
}
