//! Dates and times of day as loggers write them, without a zone.

use super::options::DateOrder;

/// A date, a time of day and what follows it, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub year: i16,
    pub month: i8,
    pub day: i8,
    /// Milliseconds since midnight, up to and including 24:00.
    pub of_day_ms: i64,
    /// Offset from UTC in seconds, if the stamp names one.
    pub offset_s: Option<i32>,
}

/// How a date's three numbers are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateParts {
    pub parts: [u32; 3],
    /// The parts are year, month, day; else the year is last and `dotted` or an order says which is the day.
    pub year_first: bool,
    pub dotted: bool,
}

/// Reads a whole stamp; `order` decides dates such as `03/04/2024`.
pub(super) fn parse(text: &[u8], order: Option<DateOrder>) -> Option<Civil> {
    let (date, rest) = date_parts(text)?;
    let (year, month, day) = resolve(date, order)?;
    let (of_day_ms, offset_s) = match rest {
        [] => (0, None),
        // One separator, or a comma and blanks.
        [b'T' | b't' | b' ' | b'_' | b',', rest @ ..] => time_of_day(rest.trim_ascii_start())?,
        _ => return None,
    };
    Some(Civil { year, month, day, of_day_ms, offset_s })
}

/// The date at the start of `text`, and what follows it.
pub(super) fn date_parts(text: &[u8]) -> Option<(DateParts, &[u8])> {
    let (a, a_len, rest) = digits(text, 8)?;
    if a_len == 8 {
        // 20240131T…, never the bare number.
        let is_stamp = matches!(rest.first(), Some(b'T' | b't'));
        let parts = [a / 10_000, a / 100 % 100, a % 100];
        return is_stamp.then_some((DateParts { parts, year_first: true, dotted: false }, rest));
    }
    let (&mark, rest) = rest.split_first()?;
    let (b, b_len, rest) = digits(rest, 2)?;
    let (&mark_again, rest) = rest.split_first()?;
    let (c, c_len, rest) = digits(rest, 4)?;
    if !matches!(mark, b'-' | b'/' | b'.') || mark != mark_again || b_len > 2 {
        return None;
    }
    match (a_len, c_len) {
        (4, 1 | 2) => Some((DateParts { parts: [a, b, c], year_first: true, dotted: mark == b'.' }, rest)),
        (1 | 2, 4) => Some((DateParts { parts: [a, b, c], year_first: false, dotted: mark == b'.' }, rest)),
        (1 | 2, 2) => {
            let year = if c < 70 { 2000 + c } else { 1900 + c };
            Some((DateParts { parts: [a, b, year], year_first: false, dotted: mark == b'.' }, rest))
        }
        _ => None,
    }
}

fn resolve(date: DateParts, order: Option<DateOrder>) -> Option<(i16, i8, i8)> {
    let [a, b, c] = date.parts;
    let (year, month, day) = match (date.year_first, date.dotted, order) {
        (true, ..) => (a, b, c),
        (false, true, None) | (false, _, Some(DateOrder::DayFirst)) => (c, b, a),
        (false, _, Some(DateOrder::MonthFirst)) => (c, a, b),
        (false, false, None) => return None,
    };
    let date =
        jiff::civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let date = date.ok()?;
    Some((date.year(), date.month(), date.day()))
}

/// `HH:MM[:SS[.fff]] [AM|PM] [zone]` as milliseconds since midnight and the zone's offset.
pub(super) fn time_of_day(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let (mut hour, _, rest) = digits(text, 2)?;
    let (minute, second, nanos, rest) = match rest {
        [b':', rest @ ..] => {
            let (minute, _, rest) = digits(rest, 2)?;
            match rest {
                [b':', rest @ ..] => {
                    let (second, _, rest) = digits(rest, 2)?;
                    let (nanos, rest) = fraction(rest)?;
                    (minute, second, nanos, rest)
                }
                rest => (minute, 0, 0, rest),
            }
        }
        // 20240131T1200[00]
        _ => {
            let (hhmm, len, rest) = digits(text, 6)?;
            let hhmmss = if len == 4 { hhmm * 100 } else { hhmm };
            hour = hhmmss / 10_000;
            let (nanos, rest) = fraction(rest)?;
            ((len == 4 || len == 6).then_some(hhmmss / 100 % 100)?, hhmmss % 100, nanos, rest)
        }
    };
    let rest = rest.trim_ascii();
    let rest = match rest.get(..2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        Some(half @ (b"am" | b"pm")) if (1..=12).contains(&hour) => {
            hour = hour % 12 + if half == b"pm" { 12 } else { 0 };
            rest[2..].trim_ascii()
        }
        _ => rest,
    };
    // 24:00 is the end of the day; a leap second is the last one of its minute.
    let is_end = hour == 24 && minute == 0 && second == 0 && nanos == 0;
    if (hour > 23 && !is_end) || minute > 59 || second > 60 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second.min(59));
    Some((seconds * 1000 + i64::from(nanos + 500_000) / 1_000_000, offset(rest)?))
}

/// `[.fff]` as nanoseconds; further digits are left off.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.' | b',', rest @ ..] = text else { return Some((0, text)) };
    let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let nanos = (0..9).fold(0, |n, at| n * 10 + rest[..len].get(at).map_or(0, |b| u32::from(b - b'0')));
    (len > 0).then_some((nanos, &rest[len..]))
}

/// A zone as an offset in seconds: nothing, `Z`, `UTC`, `+01`, `+0100`, `+01:00`, a bracketed name behind it.
fn offset(text: &[u8]) -> Option<Option<i32>> {
    let text = match text.iter().position(|&b| b == b'[') {
        Some(at) if text.ends_with(b"]") => text[..at].trim_ascii(),
        _ => text,
    };
    let text = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        other if other.eq_ignore_ascii_case(b"UTC") || other.eq_ignore_ascii_case(b"GMT") => {
            return Some(Some(0));
        }
        other if other.len() > 3 && other[..3].eq_ignore_ascii_case(b"UTC") => &other[3..],
        other => other,
    };
    let (sign, rest) = match text {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (a, a_len, rest) = digits(rest, 4)?;
    let (hours, minutes) = match (a_len, rest) {
        (1 | 2, []) => (a, 0),
        (4, []) => (a / 100, a % 100),
        (2, [b':', rest @ ..]) => match digits(rest, 2)? {
            (minutes, 2, [] | [b':', b'0', b'0']) => (a, minutes),
            _ => return None,
        },
        _ => return None,
    };
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    (hours <= 15 && minutes <= 59).then_some(Some(sign * seconds))
}

/// One to `len_max` digits at the start: their number, how many, the rest.
fn digits(text: &[u8], len_max: usize) -> Option<(u32, usize, &[u8])> {
    let len = text.iter().take(len_max).take_while(|b| b.is_ascii_digit()).count();
    let number = text[..len].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    (len > 0).then_some((number, len, &text[len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, order: Option<DateOrder>, want: Option<(i16, i8, i8, i64, Option<i32>)>) {
        let got = parse(text.as_bytes(), order).map(|c| (c.year, c.month, c.day, c.of_day_ms, c.offset_s));
        assert_eq!(got, want, "{text}");
    }

    const NOON: i64 = 12 * 3_600_000;

    #[test]
    fn reads_stamps_as_loggers_write_them() {
        let day = (2024, 1, 31);
        let at = |ms, zone| Some((day.0, day.1, day.2, ms, zone));
        check("2024-01-31T12:00:00Z", None, at(NOON, Some(0)));
        check("2024-01-31 12:00", None, at(NOON, None));
        check("2024-01-31 12:00:00.25", None, at(NOON + 250, None));
        check("2024-01-31T12:00:00,250+01:00", None, at(NOON + 250, Some(3600)));
        check("2024-01-31T12:00:00-0330", None, at(NOON, Some(-12_600)));
        check("2024-01-31T12:00:00+01:00[Europe/Berlin]", None, at(NOON, Some(3600)));
        check("2024-01-31 12:00:00 UTC", None, at(NOON, Some(0)));
        check("2024-01-31 12:00:00 +02", None, at(NOON, Some(7200)));
        check("2024/01/31 12:00", None, at(NOON, None));
        check("20240131T120000Z", None, at(NOON, Some(0)));
        check("31.01.2024 12:00", None, at(NOON, None));
        check("31.1.24 12:00:00", None, at(NOON, None));
        check("31.01.2024, 12:00", None, at(NOON, None));
        check("31/01/2024 12:00", Some(DateOrder::DayFirst), at(NOON, None));
        check("1/31/2024 12:00 PM", Some(DateOrder::MonthFirst), at(NOON, None));
        check("1/31/2024 12:00:00 am", Some(DateOrder::MonthFirst), at(0, None));
        check("2024-01-31", None, at(0, None));
        check("2024-01-31 24:00", None, at(86_400_000, None));
        check("2024-01-31T23:59:60Z", None, at(86_399_000, Some(0)));
    }

    #[test]
    fn does_not_take_other_things_for_stamps() {
        for text in [
            "",
            "2024",
            "20240131",
            "2024-13-01",
            "2024-02-30",
            "2024-01-31 25:00",
            "2024-01-31 12:61",
            "12:00",
            "1.5",
            "2024-01-31T",
            "2024-01/31",
            "2024-01-31 12:00 CET",
            "31/01/2024",
            "2024-01-31T12:00+99:00",
        ] {
            check(text, None, None);
        }
    }
}
