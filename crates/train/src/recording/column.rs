//! What the first records show of one column.

use kinglet_codec::Decimal;

use super::cell::{self, DecimalMark};
use super::civil;
use super::error::RecordingError;
use super::names;
use super::options::{ColumnChoice, DateOrder};

/// True if `header` names a column of times.
pub(super) fn is_time_name(header: &str) -> bool {
    let name = header.trim_start_matches('_').to_lowercase();
    TIME_NAMES.iter().any(|word| {
        name == *word
            || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(['_', ' ', '(', '[', '.']))
    })
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

/// Names of columns that hold the year, month, day, hour, minute or second, lower case.
const PART_NAMES: [(usize, &str); 22] = [
    (0, "year"),
    (0, "yr"),
    (0, "yyyy"),
    (0, "jahr"),
    (1, "month"),
    (1, "mon"),
    (1, "mo"),
    (1, "mm"),
    (1, "monat"),
    (2, "day"),
    (2, "dd"),
    (2, "tag"),
    (2, "dom"),
    (3, "hour"),
    (3, "hr"),
    (3, "hh"),
    (3, "stunde"),
    (4, "minute"),
    (4, "min"),
    (4, "mi"),
    (5, "second"),
    (5, "sec"),
];
/// The greatest each of them may be.
const PART_MAX: [i64; 6] = [9999, 12, 31, 24, 59, 60];

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

/// Words that name a column of sources, lower case; the first few even if their cells are numbers.
const SOURCE_NAMES: [&str; 23] = [
    "entity_id",
    "entityid",
    "sensor_id",
    "sensorid",
    "device_id",
    "deviceid",
    "node_id",
    "nodeid",
    "moteid",
    "station_id",
    "stationid",
    "dev_eui",
    "node",
    "station",
    "device",
    "sensor",
    "entity",
    "topic",
    "field",
    "_field",
    "measurement",
    "_measurement",
    "mac",
];
const SOURCE_NUMBERS: usize = 14;

/// What the first records show of one column.
pub(super) struct Column {
    pub at: usize,
    pub header: String,
    /// Cells that are not empty, and how many of them are what.
    pub n_filled: usize,
    pub n_numbers: usize,
    pub n_stamps: usize,
    pub n_dates: usize,
    pub n_times_of_day: usize,
    pub first_number: Option<Decimal>,
    /// Numbers that never fall, that always rise, and by how much if always by the same.
    pub is_rising: bool,
    /// Whole, and none below 0; the greatest.
    pub whole_max: Option<i64>,
    pub is_strictly_rising: bool,
    pub even_step: Option<Decimal>,
    pub first_cell: Vec<u8>,
    /// The first cell that begins with a date.
    pub first_date: Vec<u8>,
    pub order: OrderFound,
}

/// What dates without the year first say about the order of day and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderFound {
    NotNeeded,
    Known(DateOrder),
    Open,
}

impl Column {
    pub(super) fn look(at: usize, header: &str, body: &[Vec<Vec<u8>>], mark: DecimalMark) -> Self {
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
            whole_max: whole_max(&numbers),
            is_strictly_rising: numbers.is_sorted_by(|a, b| a < b),
            even_step: even_step(&numbers),
            first_cell: filled().next().unwrap_or_default().to_vec(),
            first_date: filled().find(|c| civil::date_parts(c).is_some()).unwrap_or_default().to_vec(),
            order,
        }
    }

    pub(super) fn is_mostly(&self, n: usize) -> bool {
        n > 0 && 5 * n >= 4 * self.n_filled
    }

    /// Enough for a column that is meant to be what `n` of its cells are.
    pub(super) fn is_half(&self, n: usize) -> bool {
        n > 0 && 2 * n >= self.n_filled
    }

    pub(super) fn is_number(&self) -> bool {
        // A column that is broken half of the time still has readings.
        self.is_half(self.n_numbers)
    }

    pub(super) fn has_time_name(&self) -> bool {
        is_time_name(&self.header)
    }

    pub(super) fn counts_up(&self) -> bool {
        self.n_numbers > 2 && self.even_step == Some(Decimal::new(1, 0))
    }

    /// Numbers that only rise, and not by one.
    pub(super) fn is_clock(&self) -> bool {
        self.n_numbers > 8 && self.is_strictly_rising && !self.counts_up()
    }

    pub(super) fn is_row_number(&self) -> bool {
        let name = self.header.to_lowercase();
        self.counts_up() && ROW_NAMES.iter().any(|word| name == *word)
    }

    /// Which part of the time it holds, from the year (0) to the second (5).
    pub(super) fn part_of_time(&self) -> Option<usize> {
        let name = self.header.to_lowercase();
        let &(part, _) = PART_NAMES.iter().find(|(_, word)| name == *word)?;
        let fits = self.n_numbers == self.n_filled && self.whole_max.is_some_and(|max| max <= PART_MAX[part]);
        (fits && (part > 0 || self.whole_max >= Some(1900))).then_some(part)
    }

    pub(super) fn is_source(&self) -> bool {
        let name = self.header.to_lowercase();
        let named = SOURCE_NAMES.iter().position(|word| name == *word);
        self.n_filled > 0 && named.is_some_and(|at| at < SOURCE_NUMBERS || !self.is_number())
    }

    pub(super) fn is_epoch(&self) -> bool {
        self.is_number()
            && self.first_number.is_some_and(|n| n >= Decimal::new(100_000_000, 0))
            && self.is_rising
    }

    /// As people find it in their file.
    pub(super) fn shown(&self) -> String {
        if self.header.is_empty() { (self.at + 1).to_string() } else { cell::example(self.header.as_bytes()) }
    }
}

/// The greatest of `numbers`, if all are whole and none is below 0.
fn whole_max(numbers: &[Decimal]) -> Option<i64> {
    let is_whole = |n: &Decimal| *n >= Decimal::default() && *n == Decimal::new(n.at_scale(0) as i64, 0);
    let whole = |n: &Decimal| i64::try_from(n.at_scale(0)).ok().filter(|_| is_whole(n));
    numbers.iter().map(whole).try_fold(0, |max, n| n.map(|n| n.max(max))).filter(|_| !numbers.is_empty())
}

/// The step between numbers, if it is always the same and up.
fn even_step(numbers: &[Decimal]) -> Option<Decimal> {
    let scale = numbers.iter().map(|n| n.scale()).max()?;
    let mut steps = numbers.windows(2).map(|n| n[1].at_scale(scale) - n[0].at_scale(scale));
    let first = steps.next().filter(|&step| step > 0)?;
    steps.all(|step| step == first).then(|| i64::try_from(first).ok().map(|m| Decimal::new(m, scale)))?
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

/// A column by its whole name, its name without the unit, or its number; in this order.
pub(super) fn find_column(columns: &[Column], choice: &ColumnChoice) -> Result<usize, RecordingError> {
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
