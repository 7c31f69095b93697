//! What a person may say about a file, where it does not speak for itself.

use std::str::FromStr;

/// What a person may say about a file. The default asks the file itself.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The columns to read as channels, in this order; `None`: every column of numbers.
    pub channels: Option<Vec<ColumnChoice>>,
    /// The column with times; `None`: found by its name and content.
    pub time_column: Option<ColumnChoice>,
    /// Only rows that have this text in this column, for files with several sensors one below the other.
    pub only: Option<(ColumnChoice, String)>,
    /// Time from row to row, milliseconds. Needed for a file without times; overrules what the times say.
    pub period_ms: Option<u32>,
    /// IANA name of the zone of stamps that carry none; `None`: UTC.
    pub timezone: Option<String>,
    /// Order of day and month in dates such as `03/04/2024`; `None`: found if the file decides it.
    pub date_order: Option<DateOrder>,
    /// Delimiter between columns; `None`: found.
    pub delimiter: Option<u8>,
    /// What to do with rows of equal time.
    pub duplicates: Duplicates,
    /// Time of the first row of a file without times, Unix milliseconds.
    pub start_ms: i64,
    /// Most values (rows × channels) kept in memory, 0 for the default of 20 million (about 200 MB).
    pub values_max: usize,
}

/// A column, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnChoice(String);

impl ColumnChoice {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads `temperature,humidity` or `2,3`.
    pub fn parse_list(text: &str) -> Vec<Self> {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Self::from).collect()
    }
}

impl From<&str> for ColumnChoice {
    /// A column's whole name, its name without the unit, or its number counted from 1.
    fn from(text: &str) -> Self {
        Self(text.trim().to_string())
    }
}

/// Order of day and month in a date that does not begin with the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// 31/01/2024
    DayFirst,
    /// 01/31/2024
    MonthFirst,
}

impl FromStr for DateOrder {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "dmy" => Ok(Self::DayFirst),
            "mdy" => Ok(Self::MonthFirst),
            _ => Err("say dmy (31/01/2024) or mdy (01/31/2024)"),
        }
    }
}

/// What to do with rows of equal time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// One sample per time: of each channel its last reading at that time.
    #[default]
    Merge,
    /// Every row stays a sample, as figures that count rows want it.
    Keep,
}
