//! Which column is what: found in the first records of a file.

use kinglet_codec::CHANNELS_MAX;

use super::cell::{self, DecimalMark};
use super::civil;
use super::clock::{self, TimeFormat};
use super::column::{Column, OrderFound, find_column, is_time_name};
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
    /// Columns of text beside them, and how they are shown.
    pub texts: Vec<(usize, String)>,
}

/// Where the times are; `column` is `None` if there are none.
pub(super) struct TimePlan {
    pub column: Option<usize>,
    pub name: Option<String>,
    pub format: TimeFormat,
    pub order: Option<DateOrder>,
    /// Columns of year, month, day, hour, minute and second, as far as they are there.
    pub parts: Vec<usize>,
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
        let preamble = table_start(&sample, n_columns);
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
        let names = if has_header { Some(first) } else { sample[..preamble].last().filter(|r| is_header(r)) };
        if delimiter == b','
            && let Some(names) = names
            && cuts_decimals(names, body)
        {
            return Err(RecordingError::DecimalCommas {
                names: names.len(),
                columns: n_columns,
                example: cell::example(&body[0].join(&b',')),
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
        let is_text = |c: &&Column| {
            let is_channel = channels.iter().any(|channel| channel.column == c.at);
            c.n_filled > 0 && !c.is_number() && !c.is_half(c.n_stamps.max(c.n_times_of_day)) && !is_channel
        };
        let texts = columns.iter().filter(is_text).map(|c| (c.at, c.shown())).collect();
        Ok(Self { delimiter, mark, preamble, has_header, time, source, channels, ignored, texts })
    }
}

/// Where the table begins. Loggers like to tell about themselves first, in lines with fewer columns, or in tables of their
/// own: then it is the one with by far the most rows, told apart by its header.
fn table_start(sample: &[Vec<Vec<u8>>], n_columns: usize) -> usize {
    let is_full = |r: &Vec<Vec<u8>>| r.len() + 1 >= n_columns;
    let first = sample.iter().position(is_full).unwrap_or(0);
    let is_start = |at: &usize| {
        let record = &sample[*at];
        let has_gap = record.iter().any(|c| cell::is_missing_word(cell::trim(c)));
        *at == first || (record.len().abs_diff(n_columns) < 2 && is_header(record) && !has_gap)
    };
    let starts: Vec<usize> = (first..sample.len()).filter(is_start).collect();
    let ends = starts.iter().skip(1).copied().chain([sample.len()]);
    let n_rows = |(start, end): (usize, usize)| {
        sample[start..end].iter().filter(|r| is_full(r)).count().saturating_sub(1)
    };
    let tables: Vec<(usize, usize)> = starts.iter().copied().zip(ends).map(|t| (t.0, n_rows(t))).collect();
    let most = tables.iter().copied().max_by_key(|&(start, n)| (n, std::cmp::Reverse(start)));
    let (Some(&(_, n_first)), Some((start, n))) = (tables.first(), most) else { return first };
    // One table of its own ends in the next one's header, or is of another width. A logger that was started again has
    // written its header again.
    let is_another = n_first == 0 || sample[first..start].iter().any(|r| r.len().abs_diff(n_columns) > 1);
    if is_another && 3 * n_first < n && sample[start] != sample[first] { start } else { first }
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

/// Commas both between columns and in numbers: the header begins with a time, and so do the rows, but what it names behind that
/// has come apart into more columns, all of digits.
fn cuts_decimals(names: &[Vec<u8>], body: &[Vec<Vec<u8>>]) -> bool {
    let is_stamp = |c: &[u8]| {
        let is_epoch = c.len() >= 9 && c.iter().all(u8::is_ascii_digit);
        is_epoch || civil::parse(c, Some(DateOrder::DayFirst)).is_some() || civil::date_parts(c).is_some()
    };
    let is_part = |c: &[u8]| {
        let is_digits = c.strip_prefix(b"-").unwrap_or(c).iter().all(u8::is_ascii_digit);
        is_digits || cell::is_missing_word(c) || civil::time_of_day(c).is_some()
    };
    let is_cut = |r: &&Vec<Vec<u8>>| {
        let mut cells = r.iter().map(|c| cell::trim(c));
        let is_longer = (names.len() + 1..2 * names.len()).contains(&r.len());
        is_longer && cells.next().is_some_and(is_stamp) && cells.all(is_part)
    };
    is_time_name(&cell::text(cell::trim(&names[0]))) && 2 * body.iter().filter(is_cut).count() > body.len()
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
    let first = columns
        .first()
        .filter(|c| is_nameless && columns.len() > 1 && c.is_mostly(c.n_numbers) && c.is_clock());
    for column in by_name.chain(by_content).chain(first) {
        if let Some(plan) = time_plan(columns, column, options)? {
            return Ok(plan);
        }
    }
    if let Some(plan) = time_in_parts(columns) {
        return Ok(plan);
    }
    match options.period_ms {
        Some(_) => Ok(TimePlan {
            column: None,
            name: None,
            format: TimeFormat::RowNumber,
            order: None,
            parts: Vec::new(),
        }),
        None => {
            let rising = columns.iter().find(|c| c.is_mostly(c.n_numbers) && c.is_clock());
            let hint = rising.map_or(String::new(), |c| {
                format!(
                    " (column `{}` only rises: --time-column {} if that counts seconds)",
                    c.shown(),
                    c.at + 1
                )
            });
            Err(RecordingError::NoTimeColumn { hint })
        }
    }
}

/// The time where each of its parts has a column: at least the year, the month and the day.
fn time_in_parts(columns: &[Column]) -> Option<TimePlan> {
    let parts = parts_of_time(columns, 0);
    let name = || names_of(columns, &parts);
    (parts.len() >= 3).then(|| TimePlan {
        column: Some(parts[0]),
        name: Some(name()),
        format: TimeFormat::CalendarInParts,
        order: None,
        parts: parts.clone(),
    })
}

fn names_of(columns: &[Column], parts: &[usize]) -> String {
    parts.iter().map(|&at| columns[at].shown()).collect::<Vec<_>>().join(" ")
}

/// The columns of the parts from the `first` on, as far as they follow on one another.
fn parts_of_time(columns: &[Column], first: usize) -> Vec<usize> {
    let column = |part| columns.iter().find(|c| c.part_of_time() == Some(part)).map(|c| c.at);
    (first..6).map_while(column).collect()
}

/// How `column` is to be read as a time; `None` if it is none.
fn time_plan(
    columns: &[Column],
    column: &Column,
    options: &ReadOptions,
) -> Result<Option<TimePlan>, RecordingError> {
    let plan = |format, order, name| TimePlan {
        column: Some(column.at),
        name: Some(name),
        format,
        order,
        parts: Vec::new(),
    };
    let order = || match (options.date_order, column.order) {
        (_, OrderFound::NotNeeded) => Ok(None),
        (Some(order), _) | (None, OrderFound::Known(order)) => Ok(Some(order)),
        (None, OrderFound::Open) => {
            Err(RecordingError::AmbiguousDate { example: cell::example(&column.first_date) })
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
    let parts = parts_of_time(columns, 3);
    if column.is_half(column.n_dates) && !parts.is_empty() {
        let name = format!("{} {}", column.shown(), names_of(columns, &parts));
        return Ok(Some(TimePlan { parts, ..plan(TimeFormat::CalendarInParts, order()?, name) }));
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
        time.column == Some(at) || second == Some(at) || time.parts.contains(&at)
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
            c if c.part_of_time().is_some() && time.column.is_some() => Some(IgnoreReason::PartOfTime),
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
