//! From the bytes of a file to a recording.

use std::io::Read;

use super::cell::{self, Cell};
use super::clock::{Clock, TimeFormat};
use super::error::RecordingError;
use super::head::Head;
use super::labels::Labels;
use super::layout::{Layout, TimePlan};
use super::options::{Duplicates, ReadOptions};
use super::rows::Rows;
use super::series::{self, RecordedChannel, Recording};
use super::understood::{ChannelUnderstood, DropReason, Dropped, TimeUnderstood, Understood};
use super::values::Values;

/// One overruled reading in so many rows is too much where a column tells rows of one time apart.
const OVERRULED: u64 = 20;
/// Values kept if the options do not say.
const VALUES_MAX: usize = 20_000_000;

/// Reads a recording from CSV bytes: a file, a pipe, a `&[u8]`.
///
/// Comma, semicolon, tab, bar or blank between columns; with or without a header; times as dates, Unix times
/// or seconds; `docs/recordings.md` says it all. Returns the recording and what was understood of the file.
/// Memory stays below 9 bytes per value, 8 per row, and half as much again while rows are put in order.
pub fn read(mut reader: impl Read, options: &ReadOptions) -> Result<(Recording, Understood), RecordingError> {
    if options.period_ms == Some(0) {
        return Err(RecordingError::NoPeriod);
    }
    let head = Head::take(&mut reader)?;
    let layout = Layout::find(&head, options)?;
    let clock = Clock::new(layout.time.format, layout.time.order, layout.mark, options.timezone.as_deref())?;
    let encoding = if head.is_latin1 { "Latin-1" } else { "UTF-8" };
    let rows = Rows::new(head.bytes.as_slice().chain(reader), layout.delimiter);
    let mut table = Table::new(&layout, clock);
    table.fill(rows, options)?;
    table.check_sources()?;
    let order = table.put_in_order(options.duplicates)?;
    table.finish(order, encoding, options)
}

/// The rows so far, as they come.
struct Table<'a> {
    layout: &'a Layout,
    clock: Clock,
    times_ms: Vec<i64>,
    values: Vec<Values>,
    counts: Vec<Counts>,
    rows_read: u64,
    dropped: Vec<Dropped>,
    stopped_early: bool,
    /// What the source column said first, and what else.
    sources: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Columns of text that may tell sources apart, though their names do not say so.
    labels: Vec<Labels>,
}

/// What the cells of one channel were.
#[derive(Clone, Default)]
struct Counts {
    readings: u64,
    missing: u64,
    others: u64,
    example: Option<String>,
}

/// What putting in order did.
#[derive(Default)]
struct Order {
    out_of_order: u64,
    same_time: u64,
    overruled: u64,
}

impl<'a> Table<'a> {
    fn new(layout: &'a Layout, clock: Clock) -> Self {
        let n = layout.channels.len();
        Self {
            layout,
            clock,
            times_ms: Vec::new(),
            values: vec![Values::default(); n],
            counts: vec![Counts::default(); n],
            rows_read: 0,
            dropped: Vec::new(),
            stopped_early: false,
            sources: (None, None),
            labels: Labels::of(layout),
        }
    }

    fn fill<R: Read>(&mut self, mut rows: Rows<R>, options: &ReadOptions) -> Result<(), RecordingError> {
        let values_max = if options.values_max == 0 { VALUES_MAX } else { options.values_max };
        let rows_max = (values_max / self.values.len()).clamp(2, u32::MAX as usize);
        for _ in 0..self.layout.preamble + usize::from(self.layout.has_header) {
            rows.next()?;
        }
        let mut stamp = Vec::new();
        while let Some((line, record)) = rows.next()? {
            if self.times_ms.len() == rows_max {
                self.stopped_early = true;
                break;
            }
            self.rows_read += 1;
            if record.iter().all(|c| cell::trim(c).is_empty()) {
                self.drop_row(DropReason::Blank, line, b"");
                continue;
            }
            if !self.is_wanted(record) {
                self.drop_row(DropReason::OtherSource, line, b"");
                continue;
            }
            let Some(t_ms) = self.time_of(record, &mut stamp, options) else {
                self.drop_row(DropReason::Time, line, &stamp);
                continue;
            };
            let cells = self.layout.channels.iter().map(|c| record.get(c.column).unwrap_or_default());
            let has_words = cells.clone().any(|c| cell::parse(c, self.layout.mark) == Cell::Other);
            let has_numbers = cells.clone().any(|c| cell::parse(c, self.layout.mark).number().is_some());
            if self.layout.time.column.is_none() && has_words && !has_numbers {
                self.drop_row(DropReason::NoNumber, line, record.get(0).unwrap_or_default());
                continue;
            }
            self.times_ms.push(t_ms);
            self.labels.retain_mut(|labels| labels.push(record.get(labels.column).unwrap_or_default()));
            for (idx, c) in cells.enumerate() {
                let parsed = cell::parse(c, self.layout.mark);
                self.counts[idx].add(parsed, c);
                self.values[idx].push(parsed.number());
            }
        }
        Ok(())
    }

    /// True if the row comes from the wanted source; remembers the sources if none is named.
    fn is_wanted(&mut self, record: &csv::ByteRecord) -> bool {
        let Some(plan) = &self.layout.source else { return true };
        let source = cell::trim(record.get(plan.column).unwrap_or_default());
        match (&plan.wanted, &self.sources) {
            (Some(wanted), _) => return cell::text(source) == wanted.trim(),
            (None, _) if source.is_empty() => {}
            (None, (None, _)) => self.sources.0 = Some(source.to_vec()),
            (None, (Some(first), None)) if first != source => self.sources.1 = Some(source.to_vec()),
            _ => {}
        }
        true
    }

    /// Refuses rows of several sources, and a source that has none.
    fn check_sources(&self) -> Result<(), RecordingError> {
        let Some(plan) = &self.layout.source else { return Ok(()) };
        let column = plan.name.clone();
        match (&plan.wanted, &self.sources) {
            (Some(wanted), _) if self.times_ms.is_empty() => {
                Err(RecordingError::NoSuchSource { column, value: cell::example(wanted.as_bytes()) })
            }
            (None, (Some(first), Some(other))) => {
                let (first, other) = (cell::example(first), cell::example(other));
                Err(RecordingError::SeveralSources { column, first, other })
            }
            _ => Ok(()),
        }
    }

    /// The time of a row; `stamp` is filled with what stood there.
    fn time_of(
        &mut self,
        record: &csv::ByteRecord,
        stamp: &mut Vec<u8>,
        options: &ReadOptions,
    ) -> Option<i64> {
        stamp.clear();
        let Some(column) = self.layout.time.column else {
            let row = i64::try_from(self.times_ms.len()).ok()?;
            return options.start_ms.checked_add(row.checked_mul(i64::from(options.period_ms?))?);
        };
        if self.layout.time.format == TimeFormat::CalendarInParts {
            return self.time_in_parts(record, stamp);
        }
        stamp.extend_from_slice(cell::trim(record.get(column)?));
        if self.layout.time.format == TimeFormat::CalendarInTwoColumns {
            stamp.push(b' ');
            stamp.extend_from_slice(cell::trim(record.get(column + 1)?));
        }
        self.clock.read(stamp)
    }

    fn time_in_parts(&mut self, record: &csv::ByteRecord, stamp: &mut Vec<u8>) -> Option<i64> {
        let TimePlan { column, parts: columns, .. } = &self.layout.time;
        let has_date = column.filter(|column| !columns.contains(column));
        let mut parts = [0u32; 6];
        let places = if has_date.is_some() { 3.. } else { 0.. };
        for (part, &column) in places.zip(columns) {
            let whole = cell::parse(record.get(column)?, self.layout.mark).number()?.at_scale(0);
            *parts.get_mut(part)? = u32::try_from(whole).ok().filter(|&whole| whole < 10_000)?;
        }
        let [year, month, day, hour, minute, second] = parts;
        match has_date {
            Some(column) => stamp.extend_from_slice(cell::trim(record.get(column)?)),
            None => stamp.extend(format!("{year:04}-{month:02}-{day:02}").bytes()),
        }
        stamp.extend(format!(" {hour:02}:{minute:02}:{second:02}").bytes());
        self.clock.read(stamp)
    }

    fn drop_row(&mut self, reason: DropReason, line: u64, example: &[u8]) {
        match self.dropped.iter_mut().find(|d| d.reason == reason) {
            Some(dropped) => dropped.rows += 1,
            None => {
                let example = cell::example(example);
                self.dropped.push(Dropped { reason, rows: 1, first_line: line, example });
            }
        }
    }

    /// Sorts rows by time, those of equal time as they came, and merges those if wanted.
    fn put_in_order(&mut self, duplicates: Duplicates) -> Result<Order, RecordingError> {
        let mut order = Order::default();
        let mut latest = i64::MIN;
        for &t_ms in &self.times_ms {
            order.out_of_order += u64::from(t_ms < latest);
            latest = latest.max(t_ms);
        }
        if order.out_of_order > 0 {
            // `fill` keeps rows within u32.
            let mut by_time: Vec<u32> = (0..self.times_ms.len() as u32).collect();
            by_time.sort_by_key(|&row| self.times_ms[row as usize]);
            self.times_ms = by_time.iter().map(|&row| self.times_ms[row as usize]).collect();
            for values in &mut self.values {
                *values = values.reordered(&by_time);
            }
            self.labels.iter_mut().for_each(|labels| labels.reorder(&by_time));
        }
        order.same_time = self.times_ms.windows(2).filter(|t| t[0] == t[1]).count() as u64;
        if order.same_time > 0 && duplicates == Duplicates::Merge {
            let n_rows = self.times_ms.len() as u64;
            let labels = self.labels.iter().find(|labels| labels.tell_apart(&self.times_ms));
            let several = labels.and_then(Labels::several);
            self.merge(&mut order);
            // What one row says another must not overrule all the time.
            if let Some(error) = several.filter(|_| OVERRULED * order.overruled > n_rows) {
                return Err(error);
            }
        }
        Ok(order)
    }

    fn merge(&mut self, order: &mut Order) {
        let mut to = 0;
        for from in 1..self.times_ms.len() {
            let is_new = self.times_ms[from] != self.times_ms[to];
            to += usize::from(is_new);
            self.times_ms[to] = self.times_ms[from];
            for values in &mut self.values {
                if is_new {
                    values.copy_within(from, to);
                } else if let Some(later) = values.get(from) {
                    order.overruled += u64::from(values.get(to).is_some_and(|earlier| earlier != later));
                    values.copy_within(from, to);
                }
            }
        }
        let rows = (self.times_ms.len() - to - 1) as u64;
        self.times_ms.truncate(to + 1);
        self.values.iter_mut().for_each(|v| v.truncate(to + 1));
        self.dropped.push(Dropped {
            reason: DropReason::SameTime,
            rows,
            first_line: 0,
            example: String::new(),
        });
    }

    fn finish(
        self,
        order: Order,
        encoding: &'static str,
        options: &ReadOptions,
    ) -> Result<(Recording, Understood), RecordingError> {
        let rows = self.times_ms.len();
        if rows < 2 {
            let reasons: Vec<_> =
                self.dropped.iter().map(|d| format!("{} rows: {}", d.rows, d.reason)).collect();
            let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
            return Err(RecordingError::TooFewRows { rows, read: self.rows_read, why });
        }
        let found = series::find_period(&self.times_ms);
        let period_ms = options.period_ms.or(found.map(|f| f.period_ms)).ok_or(RecordingError::NoPeriod)?;
        let time = self.time(order, period_ms, found.map_or(f64::from(period_ms), |f| f.mean_ms), options);

        let chosen = options.channels.is_some();
        let mut ignored = self.layout.ignored.clone();
        let (mut channels, mut told) = (Vec::new(), Vec::new());
        for ((plan, mut values), counts) in self.layout.channels.iter().zip(self.values).zip(self.counts) {
            if counts.readings == 0 && chosen {
                return Err(RecordingError::AllMissing(plan.name.clone()));
            } else if counts.readings == 0 {
                ignored.push(super::IgnoredColumn {
                    column: plan.column + 1,
                    header: plan.name.clone(),
                    reason: super::IgnoreReason::Empty,
                });
                continue;
            }
            told.push(counts.told(plan, values.drop_float_noise()));
            channels.push(RecordedChannel { name: plan.name.clone(), unit: plan.unit.clone(), values });
        }
        if channels.is_empty() {
            return Err(RecordingError::NoChannels { ignored: " (not one cell holds a reading)".into() });
        }
        let understood = Understood {
            rows_read: self.rows_read,
            rows_kept: rows as u64,
            dropped: self.dropped,
            stopped_early: self.stopped_early,
            delimiter: char::from(self.layout.delimiter),
            decimal_mark: self.layout.mark,
            encoding,
            header: self.layout.has_header,
            preamble_records: self.layout.preamble,
            time,
            channels: told,
            ignored,
        };
        Ok((Recording::new(self.times_ms, channels, period_ms)?, understood))
    }

    fn time(&self, order: Order, period_ms: u32, mean_ms: f64, options: &ReadOptions) -> TimeUnderstood {
        let times_ms = &self.times_ms;
        let n_regular = times_ms
            .windows(2)
            .filter(|t| 10 * (t[1] - t[0] - i64::from(period_ms)).abs() <= i64::from(period_ms.max(10)))
            .count();
        let (mut gaps, mut longest_gap_ms, mut samples_in_gaps) = (0u64, 0i64, 0u64);
        for gap in series::gaps(times_ms, period_ms) {
            gaps += 1;
            longest_gap_ms = longest_gap_ms.max(gap.len_ms);
            let samples = (gap.len_ms + i64::from(period_ms / 2)) / i64::from(period_ms) - 1;
            samples_in_gaps += u64::try_from(samples).unwrap_or(0);
        }
        let format = self.layout.time.format;
        use TimeFormat::{Calendar, CalendarInParts, CalendarInTwoColumns};
        let is_calendar = matches!(format, Calendar | CalendarInTwoColumns | CalendarInParts);
        let has_unzoned = is_calendar && self.clock.n_zoned < self.rows_read;
        let zone = has_unzoned.then(|| options.timezone.clone().unwrap_or_else(|| "UTC".into()));
        TimeUnderstood {
            column: self.layout.time.name.clone(),
            format,
            date_order: self.layout.time.order,
            zone: zone.filter(|_| self.clock.n_zoned < times_ms.len() as u64),
            in_double_hour: self.clock.n_folded,
            in_skipped_hour: self.clock.n_skipped,
            first_ms: times_ms[0],
            last_ms: times_ms[times_ms.len() - 1],
            period_ms,
            period_s: (mean_ms * 1000.0).round() / 1e6,
            period_given: options.period_ms.is_some(),
            regular_share: n_regular as f64 / (times_ms.len() - 1) as f64,
            gaps,
            longest_gap_ms,
            samples_in_gaps,
            out_of_order: order.out_of_order,
            same_time: order.same_time,
            overruled_readings: order.overruled,
        }
    }
}

impl Counts {
    fn add(&mut self, parsed: Cell, raw: &[u8]) {
        match parsed {
            Cell::Number(_) => self.readings += 1,
            Cell::Missing => self.missing += 1,
            Cell::Other => {
                self.others += 1;
                self.example.get_or_insert_with(|| cell::example(raw));
            }
        }
    }

    fn told(self, plan: &super::layout::ChannelPlan, float_noise: u64) -> ChannelUnderstood {
        ChannelUnderstood {
            column: plan.column + 1,
            name: plan.name.clone(),
            unit: plan.unit.clone(),
            readings: self.readings,
            missing: self.missing,
            not_numbers: self.others,
            example: self.example,
            float_noise,
        }
    }
}
