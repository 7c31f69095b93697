//! One cell of a file: a number, nothing, or something else.

use std::borrow::Cow;

use kinglet_codec::Decimal;

/// Longest cell that can be a number or a time.
const CELL_LEN_MAX: usize = 64;

/// What people and programs write when there is no reading.
const MISSING_WORDS: [&str; 16] = [
    "nan",
    "na",
    "n/a",
    "#n/a",
    "null",
    "none",
    "nil",
    "unavailable",
    "unknown",
    "missing",
    "-",
    "--",
    "?",
    "inf",
    "-inf",
    "\\n",
];

/// The sign between the whole part and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecimalMark {
    /// 23.7
    Point,
    /// 23,7
    Comma,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Number(Decimal),
    Missing,
    Other,
}

impl Cell {
    pub(super) fn number(self) -> Option<Decimal> {
        match self {
            Self::Number(value) => Some(value),
            _ => None,
        }
    }
}

/// Reads one cell. A unit glued to the number (`21.5 °C`, `45%`) is left off.
pub(super) fn parse(cell: &[u8], mark: DecimalMark) -> Cell {
    let cell = trim(cell);
    if cell.is_empty() {
        return Cell::Missing;
    }
    if let Some(value) = number(cell, mark) {
        return Cell::Number(value);
    }
    if is_missing_word(cell) {
        return Cell::Missing;
    }
    let end = cell.iter().rposition(u8::is_ascii_digit).map_or(0, |at| at + 1);
    let (head, unit) = cell.split_at(end);
    let is_unit = unit.len() <= 8 && !unit.iter().any(|b| matches!(b, b'.' | b',' | b':' | b'/' | b'-'));
    match number(head, mark) {
        // A number of one or more characters before, a short unit behind, and a plain mark between them.
        Some(value) if is_unit => Cell::Number(value),
        _ => Cell::Other,
    }
}

fn number(cell: &[u8], mark: DecimalMark) -> Option<Decimal> {
    if cell.len() > CELL_LEN_MAX || !matches!(cell.last(), Some(b'0'..=b'9' | b'.' | b',')) {
        return None;
    }
    let mut point = [0u8; CELL_LEN_MAX];
    let text = match mark {
        DecimalMark::Point => cell,
        DecimalMark::Comma => {
            let point = &mut point[..cell.len()];
            for (to, &from) in point.iter_mut().zip(cell) {
                // A point is then no decimal mark: it must not be read as one.
                *to = match from {
                    b',' => b'.',
                    b'.' => return None,
                    other => other,
                };
            }
            point
        }
    };
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// True for what is written in place of a reading; an empty cell is none of these words.
pub(super) fn is_missing_word(cell: &[u8]) -> bool {
    MISSING_WORDS.iter().any(|word| cell.eq_ignore_ascii_case(word.as_bytes()))
}

/// `cell` without blanks around it, among them the no-break space.
pub(super) fn trim(cell: &[u8]) -> &[u8] {
    let mut cell = cell.trim_ascii();
    while let Some(rest) = cell.strip_prefix(b"\xC2\xA0").or_else(|| cell.strip_suffix(b"\xC2\xA0")) {
        cell = rest.trim_ascii();
    }
    cell
}

/// Which mark the cell uses, if it shows one.
pub(super) fn mark_of(cell: &[u8]) -> Option<DecimalMark> {
    let cell = trim(cell);
    let (point, comma) = (number(cell, DecimalMark::Point), number(cell, DecimalMark::Comma));
    match (cell.contains(&b','), cell.contains(&b'.')) {
        (true, false) if comma.is_some() => Some(DecimalMark::Comma),
        (false, true) if point.is_some() => Some(DecimalMark::Point),
        _ => None,
    }
}

/// Cell bytes as text: UTF-8, else Latin-1 as spreadsheets on Windows write it.
pub(super) fn text(cell: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(cell) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(cell.iter().map(|&b| char::from(b)).collect()),
    }
}

/// A cell for a message: at most 40 characters, nothing that moves a terminal's cursor.
pub(super) fn example(cell: &[u8]) -> String {
    let cell = &cell[..cell.len().min(4 * CELL_LEN_MAX)];
    let mut shown: String =
        text(cell).chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).take(40).collect();
    if text(cell).chars().count() > 40 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cell: &str, mark: DecimalMark, want: Option<&str>) {
        let got = parse(cell.as_bytes(), mark).number().map(|d| d.to_string());
        assert_eq!(got.as_deref(), want, "{cell}");
    }

    #[test]
    fn reads_numbers_as_people_write_them() {
        use DecimalMark::{Comma, Point};
        check("23.70", Point, Some("23.7"));
        check(" -4 ", Point, Some("-4"));
        check("21.5 °C", Point, Some("21.5"));
        check("45%", Point, Some("45"));
        check("1013.25hPa", Point, Some("1013.25"));
        check("23,7", Comma, Some("23.7"));
        check("-0,5 °C", Comma, Some("-0.5"));
        check("1e-3", Point, Some("0.001"));
        check("\u{A0}7\u{A0}", Point, Some("7"));
        check("5.", Point, Some("5"));
    }

    #[test]
    fn does_not_take_other_things_for_numbers() {
        use DecimalMark::{Comma, Point};
        for cell in
            ["", "on", "12:30", "2024-01-31", "1,234.5", "1.234,5", "3/4", "0x10", "1_000", "a1", "5 6"]
        {
            check(cell, Point, None);
        }
        check("1.234,5", Comma, None);
        check("23.7", Comma, None);
        check(&"9".repeat(500), Point, None);
    }

    #[test]
    fn knows_the_words_for_nothing() {
        for cell in ["", "  ", "NaN", "null", "N/A", "unavailable", "Unknown", "-", "None"] {
            assert_eq!(parse(cell.as_bytes(), DecimalMark::Point), Cell::Missing, "{cell}");
        }
        assert_eq!(parse(b"error", DecimalMark::Point), Cell::Other);
    }
}
