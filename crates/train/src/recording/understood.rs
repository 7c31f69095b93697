//! What was understood of a file, and what was left out.

use std::fmt;

use super::cell::DecimalMark;
use super::clock::TimeFormat;
use super::options::DateOrder;

/// What was understood of a file, and what was left out: for people by `Display`, for programs by serde.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Understood {
    /// Rows of data in the file, dropped ones included.
    pub rows_read: u64,
    /// Samples in the recording.
    pub rows_kept: u64,
    /// Rows that gave no sample of their own, by reason.
    pub dropped: Vec<Dropped>,
    /// True if reading stopped at the memory limit and the rest of the file is left out.
    pub stopped_early: bool,
    /// Character between columns.
    pub delimiter: char,
    /// Decimal mark of the numbers.
    pub decimal_mark: DecimalMark,
    /// Character encoding: `UTF-8` or `Latin-1`.
    pub encoding: &'static str,
    /// True if the first row names the columns.
    pub header: bool,
    /// Records before the header that were skipped.
    pub preamble_records: usize,
    /// The times.
    pub time: TimeUnderstood,
    /// The channels, in the order of the recording.
    pub channels: Vec<ChannelUnderstood>,
    /// Columns that are no channels, and why.
    pub ignored: Vec<IgnoredColumn>,
}

/// The times of a recording.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TimeUnderstood {
    /// Header of the time column, or its number; `None` if the file has none.
    pub column: Option<String>,
    /// How it is written.
    pub format: TimeFormat,
    /// Order of day and month where it matters.
    pub date_order: Option<DateOrder>,
    /// The zone of stamps without one, by IANA name; `None` if every stamp had its own or is a number.
    pub zone: Option<String>,
    /// Stamps in the hour that comes twice when daylight saving ends.
    pub in_double_hour: u64,
    /// Stamps in the hour that daylight saving skips; read as if the clock had not been put forward.
    pub in_skipped_hour: u64,
    /// First sample, Unix milliseconds.
    pub first_ms: i64,
    /// Last sample, Unix milliseconds.
    pub last_ms: i64,
    /// Sampling period used, milliseconds.
    pub period_ms: u32,
    /// The same with its fractions, seconds: the mean of all regular intervals.
    pub period_s: f64,
    /// True if the period was given and not found.
    pub period_given: bool,
    /// Share of intervals within a tenth of the period.
    pub regular_share: f64,
    /// Intervals longer than one and a half periods.
    pub gaps: u64,
    /// The longest of them, milliseconds; 0 for none.
    pub longest_gap_ms: i64,
    /// Samples that a steady clock would have given in the gaps.
    pub samples_in_gaps: u64,
    /// Rows whose time is earlier than that of a row before them; they were sorted in.
    pub out_of_order: u64,
    /// Rows with the time of the row before them, once sorted.
    pub same_time: u64,
    /// Readings given up because a later row of the same time said something else.
    pub overruled_readings: u64,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ChannelUnderstood {
    /// Column, counted from 1.
    pub column: usize,
    /// Name in the recording.
    pub name: String,
    /// Unit, empty if the header names none.
    pub unit: String,
    /// Readings that are numbers.
    pub readings: u64,
    /// Cells with no reading: empty, NaN, null, unavailable, …
    pub missing: u64,
    /// Cells with something else in them; taken as missing.
    pub not_numbers: u64,
    /// The first such cell.
    pub example: Option<String>,
    /// Readings such as 21.3999996185303 that were read as the 21.4 a program has printed so.
    pub float_noise: u64,
}

/// Rows that gave no sample of their own.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub rows: u64,
    /// The first such row's line in the file, counted from 1; 0 if it is not known any more.
    pub first_line: u64,
    /// What stood there, shortened.
    pub example: String,
}

/// Why a row gave no sample of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// Nothing but delimiters.
    Blank,
    /// Its time cannot be read.
    Time,
    /// In a file without times: not one number where numbers belong.
    NoNumber,
    /// Merged into the sample of the same time.
    SameTime,
    /// It comes from another source than the one that was asked for.
    OtherSource,
}

/// A column that is no channel.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct IgnoredColumn {
    /// Column, counted from 1.
    pub column: usize,
    /// Its header, empty if it has none.
    pub header: String,
    /// Why.
    pub reason: IgnoreReason,
}

/// Why a column is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IgnoreReason {
    /// Others were chosen.
    NotChosen,
    /// It names the sensor or device a row comes from, and there is only one.
    Source,
    /// It holds text.
    Text,
    /// It holds times too.
    AnotherTime,
    /// It holds a part of the time: the year, the hour, ….
    PartOfTime,
    /// It counts the rows.
    RowNumber,
    /// It holds nothing.
    Empty,
    /// A bundle has no room for more channels.
    TooMany,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::Time => "time not readable",
            Self::NoNumber => "no number in it",
            Self::SameTime => "merged into the sample of the same time",
            Self::OtherSource => "from another source than the chosen one",
        })
    }
}

impl fmt::Display for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotChosen => "not chosen",
            Self::Source => "names where a row comes from",
            Self::Text => "text",
            Self::AnotherTime => "a time, and another column is the time",
            Self::PartOfTime => "a part of the time",
            Self::RowNumber => "counts the rows",
            Self::Empty => "empty",
            Self::TooMany => "a bundle has at most 16 channels: choose with --channels",
        })
    }
}

impl fmt::Display for Understood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = if self.header { "with a header" } else { "without a header" };
        let mark = if self.decimal_mark == DecimalMark::Comma { ", decimal commas" } else { "" };
        let encoding = if self.encoding == "UTF-8" { "" } else { ", Latin-1" };
        let delimiter = match self.delimiter {
            '\t' => "tab".to_string(),
            ' ' => "blank".to_string(),
            other => format!("`{other}`"),
        };
        writeln!(
            f,
            "{} samples from {} rows, {header}, delimiter {delimiter}{mark}{encoding}",
            self.rows_kept, self.rows_read
        )?;
        write!(f, "{}", self.time)?;
        for channel in &self.channels {
            write!(f, "{channel}")?;
        }
        for column in &self.ignored {
            let name = if column.header.is_empty() { String::new() } else { format!(" `{}`", column.header) };
            writeln!(f, "left out: column {}{name}: {}", column.column, column.reason)?;
        }
        for dropped in &self.dropped {
            let Dropped { reason, rows, first_line, example } = dropped;
            write!(f, "left out: {rows} rows, {reason}")?;
            match (first_line, example.as_str()) {
                (0, _) => writeln!(f)?,
                (line, "") => writeln!(f, " (first on line {line})")?,
                (line, example) => writeln!(f, " (first on line {line}: `{example}`)")?,
            }
        }
        if self.preamble_records > 0 {
            let lines = if self.preamble_records == 1 { "line" } else { "lines" };
            writeln!(f, "left out: {} {lines} before the header", self.preamble_records)?;
        }
        if self.stopped_early {
            writeln!(f, "left out: everything after row {}, the memory limit", self.rows_read)?;
        }
        Ok(())
    }
}

impl fmt::Display for TimeUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            TimeFormat::Calendar => "date and time",
            TimeFormat::CalendarInTwoColumns => "date and time in two columns",
            TimeFormat::CalendarInParts => "date and time in parts",
            TimeFormat::Seconds => "seconds",
            TimeFormat::Milliseconds => "milliseconds",
            TimeFormat::Microseconds => "microseconds",
            TimeFormat::Nanoseconds => "nanoseconds",
            TimeFormat::RowNumber => "none in the file, one period per row",
        };
        let column = self.column.as_ref().map_or(String::new(), |c| format!("column `{c}`, "));
        let zone = self.zone.as_ref().map_or(String::new(), |z| format!(", read as {z}"));
        let order = match self.date_order {
            Some(DateOrder::DayFirst) => ", day first",
            Some(DateOrder::MonthFirst) => ", month first",
            None => "",
        };
        writeln!(
            f,
            "time: {column}{format}{order}{zone}; {} to {}",
            stamp(self.first_ms),
            stamp(self.last_ms)
        )?;
        let given = if self.period_given { " (given)" } else { "" };
        let (period_s, share) = (self.period_ms as f64 / 1000.0, 100.0 * self.regular_share);
        write!(f, "period: {period_s} s{given}, {share:.1} % of the rows keep it")?;
        if self.gaps > 0 {
            let longest = self.longest_gap_ms as f64 / 1000.0;
            write!(
                f,
                "; {} gaps, the longest {longest} s, {} samples missing",
                self.gaps, self.samples_in_gaps
            )?;
        }
        writeln!(f)?;
        if (self.period_s * 1000.0 - f64::from(self.period_ms)).abs() > 0.005 * f64::from(self.period_ms) {
            writeln!(
                f,
                "note: the rows come every {} s on average; times are kept in whole milliseconds",
                self.period_s
            )?;
        }
        // 20,000 to 80,000 days after 1900 are the years 1954 to 2119; a minute is 0.0007 of one.
        let may_be_days = (20_000_000..80_000_000).contains(&self.first_ms) && self.period_ms < 100;
        if self.format == TimeFormat::Seconds && may_be_days && !self.period_given {
            writeln!(
                f,
                "note: if these times are days, as spreadsheets count them, save that column as date and time instead"
            )?;
        }
        if self.out_of_order > 0 {
            writeln!(f, "note: {} rows were out of order and are sorted in", self.out_of_order)?;
        }
        if self.same_time > 0 {
            write!(f, "note: {} rows have the time of the row before them", self.same_time)?;
            match self.overruled_readings {
                0 => writeln!(f)?,
                n => writeln!(f, "; {n} readings are overruled by a later one of the same time")?,
            }
        }
        if self.in_double_hour + self.in_skipped_hour > 0 {
            let (double, skipped) = (self.in_double_hour, self.in_skipped_hour);
            writeln!(
                f,
                "note: daylight saving: {double} rows in the double hour, {skipped} in the skipped one"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for ChannelUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" [{}]", self.unit) };
        write!(f, "channel: {}{unit} from column {}, {} readings", self.name, self.column, self.readings)?;
        if self.missing > 0 {
            write!(f, ", {} missing", self.missing)?;
        }
        if let Some(example) = &self.example {
            write!(f, ", {} that are no numbers (`{example}`)", self.not_numbers)?;
        }
        if self.float_noise > 0 {
            write!(f, ", {} rid of the noise of binary floats (21.3999996185303 is 21.4)", self.float_noise)?;
        }
        writeln!(f)
    }
}

/// A time for people; the number itself where it is no date.
fn stamp(t_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(t_ms).map_or_else(|_| t_ms.to_string(), |t| t.to_string())
}
