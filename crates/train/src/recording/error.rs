//! Why a file is not a recording, and what to do about it.

/// Why a file is not a recording. Every message ends with the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file could not be read to its end.
    #[error("the recording could not be read: {0}. Check the path and its permissions")]
    Io(#[from] std::io::Error),
    /// No bytes, or nothing but blank lines.
    #[error("the recording is empty: give a CSV file with one line per reading, a time first")]
    Empty,
    /// Bytes that are no text.
    #[error("this is {what}, not text: {next}")]
    NotText {
        /// What it looks like.
        what: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// One record is longer than [`super::RECORD_LEN_MAX`].
    #[error(
        "the record that starts on line {line} does not end within {limit} bytes: close an open quote there, or check that this is a CSV file",
        limit = super::RECORD_LEN_MAX
    )]
    RecordTooLong {
        /// 1-based line.
        line: u64,
    },
    /// One record has more columns than [`super::COLUMNS_MAX`].
    #[error(
        "line {line} has {columns} columns, at most {limit} are read: split the file or check its delimiter",
        limit = super::COLUMNS_MAX
    )]
    TooManyColumns {
        /// 1-based line.
        line: u64,
        /// Columns found.
        columns: usize,
    },
    /// Commas between columns and in numbers.
    #[error(
        "the header names {names} columns and the rows have {columns}, as in `{example}`: commas stand between columns and in numbers. Save the file with semicolons or tabs between columns, or with decimal points"
    )]
    DecimalCommas {
        /// Columns the header names.
        names: usize,
        /// Columns of most rows.
        columns: usize,
        /// A row, shortened.
        example: String,
    },
    /// A column was asked for that is not there.
    #[error("there is no column `{wanted}`: the file has {available}")]
    NoSuchColumn {
        /// As the user wrote it.
        wanted: String,
        /// The file's columns, with their numbers.
        available: String,
    },
    /// More channels were asked for than a bundle has.
    #[error(
        "{asked} channels are too many, a bundle has at most {limit}: choose fewer with --channels",
        limit = kinglet_codec::CHANNELS_MAX
    )]
    TooManyChannels {
        /// Channels asked for.
        asked: usize,
    },
    /// The same column was asked for twice.
    #[error("column `{0}` is asked for twice: name each channel once, and the time column not at all")]
    ColumnTwice(String),
    /// No column holds times, and no period was given.
    #[error(
        "no column holds times{hint}: name it with --time-column, or give the spacing of the rows with --period, for example --period 60s"
    )]
    NoTimeColumn {
        /// A column that might be one; empty or ` (…)`.
        hint: String,
    },
    /// The column that was named as time cannot be read as such.
    #[error(
        "column `{column}` is no time that can be read, for example `{example}`: use ISO 8601 (2024-01-31T12:00:00Z), DD.MM.YYYY HH:MM or Unix seconds"
    )]
    TimeUnreadable {
        /// The column's name.
        column: String,
        /// A cell of it, shortened.
        example: String,
    },
    /// Day and month cannot be told apart.
    #[error(
        "`{example}` may be read day first or month first, and nothing in the file decides: say --date-order dmy or --date-order mdy"
    )]
    AmbiguousDate {
        /// A cell, shortened.
        example: String,
    },
    /// The zone is not in the IANA database.
    #[error("time zone `{0}` is unknown: give an IANA name such as Europe/Berlin, or UTC")]
    UnknownTimezone(String),
    /// No column holds numbers.
    #[error(
        "no column holds numbers{ignored}: choose columns with --channels, or check delimiter and decimal mark"
    )]
    NoChannels {
        /// What became of the columns there are; empty or ` (…)`.
        ignored: String,
    },
    /// Rows of several sensors one below the other.
    #[error(
        "the rows come from several sources, column `{column}` says `{first}` and `{other}`: choose one with --only \"{column}={first}\""
    )]
    SeveralSources {
        /// The column that names them.
        column: String,
        /// The first source.
        first: String,
        /// Another.
        other: String,
    },
    /// No row comes from the source that was asked for.
    #[error("no row has `{value}` in column `{column}`: check --only, upper and lower case matter")]
    NoSuchSource {
        /// The column.
        column: String,
        /// What was asked for.
        value: String,
    },
    /// A chosen channel has not one reading.
    #[error("channel `{0}` has no reading in the whole file: leave it out with --channels")]
    AllMissing(String),
    /// Fewer than two samples.
    #[error(
        "only {rows} of {read} rows can be used, a recording needs at least 2{why}: record longer or check the file's format"
    )]
    TooFewRows {
        /// Usable rows.
        rows: usize,
        /// Rows in the file.
        read: u64,
        /// Why rows were dropped; empty or ` (…)`.
        why: String,
    },
    /// All rows carry the same time, or lie more than 49 days apart.
    #[error("the rows' times give no sampling period: give it with --period, for example --period 60s")]
    NoPeriod,
    /// The parts of a recording do not fit together.
    #[error("a recording's times must rise, and each channel needs one value per time: {0}")]
    Shape(&'static str),
}
