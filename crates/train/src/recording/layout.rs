//! Which column is what: found in the first records of a file.

use kinglet_codec::{CHANNELS_MAX, Decimal};

use super::cell::{self, DecimalMark};
use super::civil;
use super::clock::{self, TimeFormat};
use super::error::RecordingError;
use super::head::{Head, most_common};
use super::names;
use super::options::{ColumnChoice, DateOrder, ReadOptions};
use super::understood::{IgnoreReason, IgnoredColumn};

/// Which column is what.
pub(super) struct Layout {
    pub delimiter: u8,
    pub mark: DecimalMark,
    /// Records before the header.
    pub preamble: usize,
    pub has_header: bool,
    pub time: TimePlan,
    pub channels: Vec<ChannelPlan>,
    pub ignored: Vec<IgnoredColumn>,
}

/// Where the times are; `column` is `None` if there are none.
pub(super) struct TimePlan {
    pub column: Option<usize>,
    pub name: Option<String>,
    pub format: TimeFormat,
    pub order: Option<DateOrder>,
}

/// Where a channel's values are.
pub(super) struct ChannelPlan {
    pub column: usize,
    pub name: String,
    pub unit: String,
}

/// Words that name a column of times, lower case; a unit may follow them.
const TIME_NAMES: [&str; 20] = [
    "timestamp",
    "datetime",
    "date_time",
    "time",
    "date",
    "ts",
    "t",
    "epoch",
    "unix",
    "unixtime",
    "dt",
    "zeit",
    "zeitstempel",
    "datum",
    "zeitpunkt",
    "created_at",
    "recorded_at",
    "last_changed",
    "seconds",
    "elapsed",
];

/// Names of columns that count rows, lower case.
const ROW_NAMES: [&str; 15] = [
    "",
    "#",
    "id",
    "idx",
    "index",
    "no",
    "nr",
    "no.",
    "row",
    "record",
    "rec",
    "entry_id",
    "rownum",
    "unnamed: 0",
    "lfd",
];

impl Layout {
    pub(super) fn find(head: &Head, options: &ReadOptions) -> Result<Self, RecordingError> {
        let delimiter = options.delimiter.unwrap_or_else(|| head.delimiter());
        let sample = head.sample(delimiter);
        let n_columns = most_common(&sample.iter().map(Vec::len).collect::<Vec<_>>());
        // Loggers like to tell about themselves first: the table begins with the first full record.
        let preamble = sample.iter().position(|r| r.len() + 1 >= n_columns).unwrap_or(0);
        let table = &sample[preamble..];
        let Some(first) = table.first() else { return Err(RecordingError::Empty) };
        let has_header = is_header(first);
        let body = &table[usize::from(has_header)..];
        if body.is_empty() {
            return Err(RecordingError::TooFewRows {
                rows: 0,
                read: 0,
                why: " (there is nothing below the header)".into(),
            });
        }
        let mark = find_mark(body);
        let mut headers = if has_header { header_of(first, body) } else { Vec::new() };
        if let (false, Some(comment)) = (has_header, head.last_comment()) {
            let names: Vec<Vec<u8>> = comment.split(|&b| b == delimiter).map(<[u8]>::to_vec).collect();
            headers =
                if names.len() == n_columns && n_columns > 1 { header_of(&names, body) } else { headers };
        }
        headers.resize(headers.len().max(n_columns), String::new());
        let columns: Vec<Column> =
            (0..headers.len()).map(|at| Column::look(at, &headers[at], body, mark)).collect();
        let time = find_time(&columns, options)?;
        let (channels, ignored) = choose_channels(&columns, &time, options)?;
        Ok(Self { delimiter, mark, preamble, has_header, time, channels, ignored })
    }
}

/// What the first records show of one column.
struct Column {
    at: usize,
    header: String,
    /// Cells that are not empty, and how many of them are what.
    n_filled: usize,
    n_numbers: usize,
    n_stamps: usize,
    n_dates: usize,
    n_times_of_day: usize,
    first_number: Option<Decimal>,
    /// Numbers that never fall, that always rise, and by how much if always by the same.
    is_rising: bool,
    is_strictly_rising: bool,
    even_step: Option<Decimal>,
    first_cell: Vec<u8>,
    order: OrderFound,
}

/// What dates without the year first say about the order of day and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderFound {
    NotNeeded,
    Known(DateOrder),
    Open,
}

impl Column {
    fn look(at: usize, header: &str, body: &[Vec<Vec<u8>>], mark: DecimalMark) -> Self {
        let cells = || body.iter().filter_map(|r| r.get(at)).map(|c| cell::trim(c)).filter(|c| !c.is_empty());
        let filled = || cells().filter(|c| !cell::is_missing_word(c));
        let order = find_order(filled());
        let decided = match order {
            OrderFound::Known(order) => Some(order),
            OrderFound::Open => Some(DateOrder::DayFirst),
            OrderFound::NotNeeded => None,
        };
        let numbers: Vec<Decimal> = filled().filter_map(|c| cell::parse(c, mark).number()).collect();
        let is_date = |c: &[u8]| civil::date_parts(c).is_some_and(|(_, rest)| rest.is_empty());
        Self {
            at,
            header: header.to_string(),
            n_filled: filled().count(),
            n_numbers: numbers.len(),
            n_stamps: filled().filter(|c| civil::parse(c, decided).is_some()).count(),
            n_dates: filled().filter(|c| is_date(c)).count(),
            n_times_of_day: filled().filter(|c| c.contains(&b':') && civil::time_of_day(c).is_some()).count(),
            first_number: numbers.first().copied(),
            is_rising: numbers.is_sorted(),
            is_strictly_rising: numbers.is_sorted_by(|a, b| a < b),
            even_step: even_step(&numbers),
            first_cell: filled().next().unwrap_or_default().to_vec(),
            order,
        }
    }

    fn is_mostly(&self, n: usize) -> bool {
        n > 0 && 5 * n >= 4 * self.n_filled
    }

    /// Enough for a column that is meant to be what `n` of its cells are.
    fn is_half(&self, n: usize) -> bool {
        n > 0 && 2 * n >= self.n_filled
    }

    fn is_number(&self) -> bool {
        // A column that is broken half of the time still has readings.
        self.is_half(self.n_numbers)
    }

    fn has_time_name(&self) -> bool {
        let name = self.header.trim_start_matches('_').to_lowercase();
        TIME_NAMES.iter().any(|word| {
            name == *word
                || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(['_', ' ', '(', '[', '.']))
        })
    }

    fn counts_up(&self) -> bool {
        self.n_numbers > 2 && self.even_step == Some(Decimal::new(1, 0))
    }

    fn is_row_number(&self) -> bool {
        let name = self.header.to_lowercase();
        self.counts_up() && ROW_NAMES.iter().any(|word| name == *word)
    }

    fn is_epoch(&self) -> bool {
        self.is_number()
            && self.first_number.is_some_and(|n| n >= Decimal::new(100_000_000, 0))
            && self.is_rising
    }

    /// As people find it in their file.
    fn shown(&self) -> String {
        if self.header.is_empty() { (self.at + 1).to_string() } else { cell::example(self.header.as_bytes()) }
    }
}

/// The step between numbers, if it is always the same and up.
fn even_step(numbers: &[Decimal]) -> Option<Decimal> {
    let scale = numbers.iter().map(|n| n.scale()).max()?;
    let mut steps = numbers.windows(2).map(|n| n[1].at_scale(scale) - n[0].at_scale(scale));
    let first = steps.next().filter(|&step| step > 0)?;
    steps.all(|step| step == first).then(|| i64::try_from(first).ok().map(|m| Decimal::new(m, scale)))?
}

/// A record is a header if none of its cells is a reading or a time, and one is a word.
fn is_header(record: &[Vec<u8>]) -> bool {
    let is_data = |c: &[u8]| {
        let is_number =
            [DecimalMark::Point, DecimalMark::Comma].iter().any(|&m| cell::parse(c, m).number().is_some());
        is_number || civil::parse(c, Some(DateOrder::DayFirst)).is_some() || civil::date_parts(c).is_some()
    };
    let words = record.iter().map(|c| cell::trim(c)).filter(|c| !c.is_empty() && !cell::is_missing_word(c));
    words.clone().count() > 0 && !words.clone().any(is_data)
}

/// Names of the columns. A header one column short names all but the first, as some programs write it.
fn header_of(first: &[Vec<u8>], body: &[Vec<Vec<u8>>]) -> Vec<String> {
    let mut names: Vec<String> = first.iter().map(|c| cell::text(cell::trim(c)).into_owned()).collect();
    let is_short =
        |r: &Vec<Vec<u8>>| r.len() == first.len() + 1 && r.last().is_some_and(|c| !cell::trim(c).is_empty());
    if !body.is_empty() && body.iter().all(is_short) {
        names.insert(0, String::new());
    }
    names
}

fn find_mark(body: &[Vec<Vec<u8>>]) -> DecimalMark {
    let marks = body.iter().flatten().filter_map(|c| cell::mark_of(c));
    let (commas, points) = marks.fold((0usize, 0usize), |(commas, points), mark| match mark {
        DecimalMark::Comma => (commas + 1, points),
        DecimalMark::Point => (commas, points + 1),
    });
    if commas > points { DecimalMark::Comma } else { DecimalMark::Point }
}

/// Day or month first, from dates whose one part is above 12, else from the part that moves day by day.
fn find_order<'a>(cells: impl Iterator<Item = &'a [u8]>) -> OrderFound {
    let dates = cells.filter_map(civil::date_parts).map(|(date, _)| date);
    let mut parts: Vec<[u32; 3]> = dates.filter(|d| !d.year_first && !d.dotted).map(|d| d.parts).collect();
    if parts.is_empty() {
        return OrderFound::NotNeeded;
    }
    parts.dedup();
    if parts.iter().any(|p| p[0] > 12) {
        return OrderFound::Known(DateOrder::DayFirst);
    }
    if parts.iter().any(|p| p[1] > 12) {
        return OrderFound::Known(DateOrder::MonthFirst);
    }
    let moves = |at: usize| parts.windows(2).filter(|p| p[0][at] != p[1][at]).count();
    match moves(0).cmp(&moves(1)) {
        std::cmp::Ordering::Greater => OrderFound::Known(DateOrder::DayFirst),
        std::cmp::Ordering::Less => OrderFound::Known(DateOrder::MonthFirst),
        std::cmp::Ordering::Equal => OrderFound::Open,
    }
}

fn find_time(columns: &[Column], options: &ReadOptions) -> Result<TimePlan, RecordingError> {
    if let Some(choice) = &options.time_column {
        let column = &columns[find_column(columns, choice)?];
        let unreadable = || RecordingError::TimeUnreadable {
            column: column.shown(),
            example: cell::example(&column.first_cell),
        };
        return time_plan(columns, column, options)?.ok_or_else(unreadable);
    }
    let by_name = columns.iter().filter(|c| c.has_time_name());
    let by_content = columns.iter().filter(|c| c.is_mostly(c.n_stamps) || c.is_epoch());
    // Without any names a first column of numbers that only rise, and not by one, is a time in seconds.
    let is_nameless = columns.iter().all(|c| c.header.is_empty());
    let first = columns.first().filter(|c| {
        let is_clock = c.is_strictly_rising && !c.counts_up();
        is_nameless && columns.len() > 1 && c.n_numbers > 8 && c.is_mostly(c.n_numbers) && is_clock
    });
    for column in by_name.chain(by_content).chain(first) {
        if let Some(plan) = time_plan(columns, column, options)? {
            return Ok(plan);
        }
    }
    match options.period_ms {
        Some(_) => Ok(TimePlan { column: None, name: None, format: TimeFormat::RowNumber, order: None }),
        None => Err(RecordingError::NoTimeColumn),
    }
}

/// How `column` is to be read as a time; `None` if it is none.
fn time_plan(
    columns: &[Column],
    column: &Column,
    options: &ReadOptions,
) -> Result<Option<TimePlan>, RecordingError> {
    let plan = |format, order, name| TimePlan { column: Some(column.at), name: Some(name), format, order };
    let order = || match (options.date_order, column.order) {
        (_, OrderFound::NotNeeded) => Ok(None),
        (Some(order), _) | (None, OrderFound::Known(order)) => Ok(Some(order)),
        (None, OrderFound::Open) => {
            Err(RecordingError::AmbiguousDate { example: cell::example(&column.first_cell) })
        }
    };
    let next = columns.get(column.at + 1);
    if let Some(next) = next
        && column.is_half(column.n_dates)
        && next.is_half(next.n_times_of_day)
    {
        let name = format!("{} {}", column.shown(), next.shown());
        return Ok(Some(plan(TimeFormat::CalendarInTwoColumns, order()?, name)));
    }
    if column.is_half(column.n_stamps) {
        return Ok(Some(plan(TimeFormat::Calendar, order()?, column.shown())));
    }
    match column.first_number {
        Some(first) if column.is_half(column.n_numbers) => {
            let format = clock::number_format(first, &column.header);
            Ok(Some(plan(format, None, column.shown())))
        }
        _ => Ok(None),
    }
}

fn choose_channels(
    columns: &[Column],
    time: &TimePlan,
    options: &ReadOptions,
) -> Result<(Vec<ChannelPlan>, Vec<IgnoredColumn>), RecordingError> {
    let is_time = |at: usize| {
        let second =
            (time.format == TimeFormat::CalendarInTwoColumns).then(|| time.column.map(|c| c + 1)).flatten();
        time.column == Some(at) || second == Some(at)
    };
    let mut chosen: Vec<usize> = Vec::new();
    let mut ignored = Vec::new();
    if let Some(choices) = &options.channels {
        if choices.len() > CHANNELS_MAX {
            return Err(RecordingError::TooManyChannels { asked: choices.len() });
        }
        for choice in choices {
            let at = find_column(columns, choice)?;
            if chosen.contains(&at) || is_time(at) {
                return Err(RecordingError::ColumnTwice(choice.as_str().to_string()));
            }
            chosen.push(at);
        }
    }
    let rest: Vec<&Column> = columns.iter().filter(|c| !is_time(c.at) && !chosen.contains(&c.at)).collect();
    for column in rest {
        let reason = match column {
            _ if options.channels.is_some() => Some(IgnoreReason::NotChosen),
            // Empty so far: a reading may still come.
            c if c.n_filled == 0 && c.header.is_empty() => Some(IgnoreReason::Empty),
            c if c.n_filled == 0 => None,
            c if c.is_mostly(c.n_stamps.max(c.n_times_of_day)) => Some(IgnoreReason::AnotherTime),
            c if c.is_epoch() && c.has_time_name() => Some(IgnoreReason::AnotherTime),
            c if !c.is_number() => Some(IgnoreReason::Text),
            c if c.is_row_number() && columns.len() > 1 => Some(IgnoreReason::RowNumber),
            _ if chosen.len() == CHANNELS_MAX => Some(IgnoreReason::TooMany),
            _ => None,
        };
        match reason {
            Some(reason) => ignored.push(IgnoredColumn {
                column: column.at + 1,
                header: cell::example(column.header.as_bytes()),
                reason,
            }),
            None => chosen.push(column.at),
        }
    }
    if chosen.is_empty() {
        let list: Vec<_> =
            ignored.iter().take(8).map(|c| format!("column {} is {}", c.column, c.reason)).collect();
        let ignored = if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) };
        return Err(RecordingError::NoChannels { ignored });
    }
    let headers: Vec<String> = chosen.iter().map(|&at| columns[at].header.clone()).collect();
    let mut split: Vec<_> = headers.iter().map(|h| names::split(h)).collect();
    let numbered: Vec<String> = chosen
        .iter()
        .zip(&headers)
        .map(|(at, h)| if h.is_empty() { format!("column{}", at + 1) } else { h.clone() })
        .collect();
    names::make_unique(&mut split, &numbered);
    let channels =
        chosen.iter().zip(split).map(|(&column, (name, unit))| ChannelPlan { column, name, unit }).collect();
    Ok((channels, ignored))
}

/// A column by its whole name, its name without the unit, or its number; in this order.
fn find_column(columns: &[Column], choice: &ColumnChoice) -> Result<usize, RecordingError> {
    let wanted = choice.as_str();
    let number =
        || wanted.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|&at| at < columns.len());
    let by_name = columns.iter().position(|c| c.header == wanted);
    let loosely = || columns.iter().position(|c| c.header.eq_ignore_ascii_case(wanted));
    let by_stem = || columns.iter().position(|c| names::split(&c.header).0.eq_ignore_ascii_case(wanted));
    by_name.or_else(loosely).or_else(by_stem).or_else(number).ok_or_else(|| {
        let mut shown: Vec<_> = columns
            .iter()
            .take(32)
            .map(|c| format!("{} `{}`", c.at + 1, cell::example(c.header.as_bytes())))
            .collect();
        if columns.len() > 32 {
            shown.push(format!("and {} more", columns.len() - 32));
        }
        RecordingError::NoSuchColumn { wanted: cell::example(wanted.as_bytes()), available: shown.join(", ") }
    })
}
