//! Which column is what: found in the first records of a file.

use kinglet_codec::CHANNELS_MAX;

use super::cell::{self, DecimalMark};
use super::civil;
use super::clock::{self, TimeFormat};
use super::column::{Column, OrderFound, find_column};
use super::error::RecordingError;
use super::head::{Head, most_common};
use super::names;
use super::options::{DateOrder, ReadOptions};
use super::understood::{IgnoreReason, IgnoredColumn};

/// Which column is what.
pub(super) struct Layout {
    pub delimiter: u8,
    pub mark: DecimalMark,
    /// Records before the header.
    pub preamble: usize,
    pub has_header: bool,
    pub time: TimePlan,
    pub source: Option<SourcePlan>,
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

/// Which column names the source of a row, and the one that is wanted.
pub(super) struct SourcePlan {
    pub column: usize,
    pub name: String,
    pub wanted: Option<String>,
}

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
        let source = find_source(&columns, options)?;
        let (channels, ignored) = choose_channels(&columns, &time, source.as_ref(), options)?;
        Ok(Self { delimiter, mark, preamble, has_header, time, source, channels, ignored })
    }
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

fn find_source(columns: &[Column], options: &ReadOptions) -> Result<Option<SourcePlan>, RecordingError> {
    if let Some((choice, wanted)) = &options.only {
        let column = find_column(columns, choice)?;
        return Ok(Some(SourcePlan { column, name: columns[column].shown(), wanted: Some(wanted.clone()) }));
    }
    let chosen: Vec<usize> = match &options.channels {
        Some(choices) => choices.iter().map(|c| find_column(columns, c)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let column = columns.iter().find(|c| c.is_source() && !chosen.contains(&c.at));
    Ok(column.map(|c| SourcePlan { column: c.at, name: c.shown(), wanted: None }))
}

fn choose_channels(
    columns: &[Column],
    time: &TimePlan,
    source: Option<&SourcePlan>,
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
            c if source.is_some_and(|s| s.column == c.at) => Some(IgnoreReason::Source),
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
