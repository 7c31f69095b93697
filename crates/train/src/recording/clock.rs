//! From a written time to Unix milliseconds.

use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use kinglet_codec::Decimal;

use super::cell::{self, Cell, DecimalMark};
use super::civil::{self, Civil};
use super::error::RecordingError;
use super::options::DateOrder;

/// Times beyond the year 9999 or before 1900 are no times of readings.
const T_MIN_MS: i64 = -2_208_988_800_000;
const T_MAX_MS: i64 = 253_402_300_799_999;

/// How the time column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeFormat {
    /// A date and a time of day, for example ISO 8601.
    Calendar,
    /// A date in one column and a time of day in the next.
    CalendarInTwoColumns,
    /// A date, or year, month and day, then what there is of hour, minute and second, each in a column of its own.
    CalendarInParts,
    /// Seconds since 1970-01-01T00:00:00Z, or since any other zero.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// No time in the file: rows are one period apart.
    RowNumber,
}

/// Reads stamps one after the other; remembers the last for the hour that comes twice.
pub(super) struct Clock {
    format: TimeFormat,
    order: Option<DateOrder>,
    mark: DecimalMark,
    zone: Option<TimeZone>,
    last_ms: i64,
    /// Stamps in an hour that comes twice, and in one that daylight saving skips.
    pub n_folded: u64,
    pub n_skipped: u64,
    /// Stamps with a zone of their own.
    pub n_zoned: u64,
}

impl Clock {
    /// `zone`: the IANA name for stamps without one; `None` is UTC.
    pub(super) fn new(
        format: TimeFormat,
        order: Option<DateOrder>,
        mark: DecimalMark,
        zone: Option<&str>,
    ) -> Result<Self, RecordingError> {
        let zone = zone.map(find_zone).transpose()?.flatten();
        Ok(Self { format, order, mark, zone, last_ms: i64::MIN, n_folded: 0, n_skipped: 0, n_zoned: 0 })
    }

    /// Unix milliseconds of a stamp; `None` if it cannot be read.
    pub(super) fn read(&mut self, stamp: &[u8]) -> Option<i64> {
        let stamp = cell::trim(stamp);
        let t_ms = match self.format {
            TimeFormat::Calendar | TimeFormat::CalendarInTwoColumns | TimeFormat::CalendarInParts => {
                let civil = civil::parse(stamp, self.order)?;
                self.instant(civil)?
            }
            format => number_ms(stamp, self.mark, format)?,
        };
        let is_sane = (T_MIN_MS..=T_MAX_MS).contains(&t_ms);
        self.last_ms = if is_sane { t_ms } else { self.last_ms };
        is_sane.then_some(t_ms)
    }

    fn instant(&mut self, civil: Civil) -> Option<i64> {
        let midnight = jiff::civil::date(civil.year, civil.month, civil.day).at(0, 0, 0, 0);
        let local_ms = TimeZone::UTC.to_timestamp(midnight).ok()?.as_millisecond() + civil.of_day_ms;
        if let Some(offset_s) = civil.offset_s {
            self.n_zoned += 1;
            return Some(local_ms - i64::from(offset_s) * 1000);
        }
        let Some(zone) = &self.zone else { return Some(local_ms) };
        let local = jiff::Timestamp::from_millisecond(local_ms).ok()?.to_zoned(TimeZone::UTC).datetime();
        let at = |offset: jiff::tz::Offset| local_ms - i64::from(offset.seconds()) * 1000;
        Some(match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            // 02:30 in spring does not exist: a clock that was not put forward meant what it showed.
            AmbiguousOffset::Gap { before, .. } => {
                self.n_skipped += 1;
                at(before)
            }
            // 02:30 in autumn comes twice: the first time, unless the rows have passed that already.
            AmbiguousOffset::Fold { before, after } => {
                self.n_folded += 1;
                if at(before) < self.last_ms && at(after) >= self.last_ms { at(after) } else { at(before) }
            }
        })
    }
}

/// Unix milliseconds of a stamp that stands alone, without a column to learn its format from: a date in ISO 8601 (UTC if
/// it names no zone), or seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size. Numbers
/// too small to be a time since 1973 are none.
pub fn stamp_ms(stamp: &[u8]) -> Option<i64> {
    let format = match cell::parse(cell::trim(stamp), DecimalMark::Point) {
        Cell::Number(number) => match number.at_scale(0) {
            100_000_000..100_000_000_000 => TimeFormat::Seconds,
            100_000_000_000..100_000_000_000_000 => TimeFormat::Milliseconds,
            100_000_000_000_000..100_000_000_000_000_000 => TimeFormat::Microseconds,
            100_000_000_000_000_000.. => TimeFormat::Nanoseconds,
            _ => return None,
        },
        _ => TimeFormat::Calendar,
    };
    Clock::new(format, None, DecimalMark::Point, None).ok()?.read(stamp)
}

/// `None` for UTC. The bundled database, so that every machine reads the same.
fn find_zone(name: &str) -> Result<Option<TimeZone>, RecordingError> {
    let name = name.trim();
    if name.is_empty() || name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("z") {
        return Ok(None);
    }
    let unknown = |_| RecordingError::UnknownTimezone(cell::example(name.as_bytes()));
    TimeZoneDatabase::bundled().get(name).map(Some).map_err(unknown)
}

/// A number of seconds or parts of them, rounded to milliseconds.
fn number_ms(stamp: &[u8], mark: DecimalMark, format: TimeFormat) -> Option<i64> {
    // Whole numbers first: nanoseconds since 1970 have more digits than a decimal.
    let whole = std::str::from_utf8(stamp).ok().and_then(|text| text.parse::<i64>().ok());
    let value = match whole {
        Some(whole) => i128::from(whole) * 1_000_000,
        None => match cell::parse(stamp, mark) {
            Cell::Number(value) => value.at_scale(6),
            _ => return None,
        },
    };
    let nanos_per_unit: i128 = match format {
        TimeFormat::Seconds => 1_000_000_000,
        TimeFormat::Milliseconds => 1_000_000,
        TimeFormat::Microseconds => 1_000,
        TimeFormat::Nanoseconds => 1,
        _ => return None,
    };
    // value is in millionths of a unit; 1 ms is 10^12 of a millionth of a nanosecond.
    let scaled = value.checked_mul(nanos_per_unit)?;
    i64::try_from((scaled + 500_000_000_000).div_euclid(1_000_000_000_000)).ok()
}

/// The unit of a column of numbers that is a time: by its name, else by its size.
pub(super) fn number_format(first: Decimal, header: &str) -> TimeFormat {
    let header = header.to_lowercase();
    let says = |units: &[&str]| {
        units.iter().any(|unit| {
            let at = header.strip_suffix(')').or_else(|| header.strip_suffix(']')).unwrap_or(&header);
            at.strip_suffix(unit).is_some_and(|rest| rest.ends_with(['_', ' ', '(', '[', '.', '-']))
        })
    };
    match first.at_scale(0).unsigned_abs() {
        0..100_000_000 if says(&["ms", "msec", "millis", "milliseconds"]) => TimeFormat::Milliseconds,
        0..100_000_000 if says(&["us", "µs", "usec", "micros"]) => TimeFormat::Microseconds,
        0..100_000_000_000 => TimeFormat::Seconds,
        100_000_000_000..100_000_000_000_000 => TimeFormat::Milliseconds,
        100_000_000_000_000..100_000_000_000_000_000 => TimeFormat::Microseconds,
        _ => TimeFormat::Nanoseconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_alone_says_what_it_is_by_its_size() {
        let check = |stamp: &str, want| assert_eq!(stamp_ms(stamp.as_bytes()), want, "{stamp}");
        let t = Some(1_760_000_000_250);
        for stamp in [
            "1760000000.25",
            "1760000000250",
            "1760000000250000",
            "2025-10-09T08:53:20.25Z",
            "2025-10-09 10:53:20.250+02:00",
        ] {
            check(stamp, t);
        }
        check(" 2025-10-09 08:53:20 ", Some(1_760_000_000_000));
        for none in ["", "21.5", "99999999", "-1760000000", "soon", "nan"] {
            check(none, None);
        }
    }

    fn clock(format: TimeFormat, zone: Option<&str>) -> Clock {
        Clock::new(format, None, DecimalMark::Point, zone).unwrap()
    }

    fn check(stamp: &str, format: TimeFormat, zone: Option<&str>, want: Option<i64>) {
        assert_eq!(clock(format, zone).read(stamp.as_bytes()), want, "{stamp}");
    }

    #[test]
    fn reads_numbers_and_zones() {
        use TimeFormat::{Calendar, Microseconds, Milliseconds, Nanoseconds, Seconds};
        check("1700000000", Seconds, None, Some(1_700_000_000_000));
        check("1700000000.1234", Seconds, None, Some(1_700_000_000_123));
        check("1.7e9", Seconds, None, Some(1_700_000_000_000));
        check("0.00278", Seconds, None, Some(3));
        check("1700000000123", Milliseconds, None, Some(1_700_000_000_123));
        check("1700000000123456", Microseconds, None, Some(1_700_000_000_123));
        check("1700000000123456789", Nanoseconds, None, Some(1_700_000_000_123));
        check("1970-01-02 00:00", Calendar, None, Some(86_400_000));
        check("1970-01-02 00:00", Calendar, Some("Europe/Berlin"), Some(82_800_000));
        check("1970-01-02T00:00Z", Calendar, Some("Europe/Berlin"), Some(86_400_000));
        check("9999999999999999", Seconds, None, None);
    }

    #[test]
    fn the_hour_that_comes_twice_is_read_in_order() {
        let mut clock = clock(TimeFormat::Calendar, Some("Europe/Berlin"));
        let stamps = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"];
        let times = stamps.map(|s| clock.read(format!("2023-10-29 {s}").as_bytes()).unwrap());
        assert!(times.windows(2).all(|t| t[1] - t[0] == 1_800_000), "{times:?}");
        assert_eq!(clock.n_folded, 4);
    }

    #[test]
    fn the_hour_that_is_skipped_loses_no_reading() {
        let mut clock = clock(TimeFormat::Calendar, Some("America/New_York"));
        let times =
            ["01:30", "02:00", "02:30"].map(|s| clock.read(format!("2024-03-10 {s}").as_bytes()).unwrap());
        assert!(times.windows(2).all(|t| t[1] - t[0] == 1_800_000), "{times:?}");
        assert_eq!(clock.n_skipped, 2);
    }

    #[test]
    fn an_unknown_zone_is_refused_by_name() {
        let error = Clock::new(TimeFormat::Calendar, None, DecimalMark::Point, Some("Mars/Olympus")).err();
        assert!(matches!(error, Some(RecordingError::UnknownTimezone(name)) if name == "Mars/Olympus"));
    }
}
