//! Readings as text for other programs: CSV, InfluxDB line protocol, SenML. A window at a time, and nothing a name holds
//! can end a cell, a line or a string. And as Parquet, with the feature of that name.

#[cfg(feature = "parquet")]
mod parquet;
mod senml;

use std::fmt::Write as _;

#[cfg(feature = "parquet")]
pub use self::parquet::{ParquetFailed, ParquetFile};
use crate::http::{csv_text, iso};
use crate::readings::{Readings, Value};

/// How readings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One row per value (RFC 4180): `device,time,channel,unit,value,bound,time_quality`. The value is empty where
    /// the sensor gave none, `above` or `below` outside the grid.
    Csv,
    /// InfluxDB line protocol, nanoseconds: `kinglet,device=porch temperature=21.5 1790000000000000000`.
    /// What is outside the grid is a text field of the channel's name and `_outside`.
    Line,
    /// SenML (RFC 8428), one pack.
    SenMl,
}

/// Samples of a window that are wanted: `from <= time < to`, unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First time.
    pub from_ms: i64,
    /// Time after the last.
    pub to_ms: i64,
}

impl Span {
    /// All there is.
    pub const ALL: Self = Self { from_ms: i64::MIN, to_ms: i64::MAX };
}

impl Format {
    /// What stands before the first window.
    pub fn head(self) -> &'static str {
        match self {
            Self::Csv => "device,time,channel,unit,value,bound,time_quality\r\n",
            Self::Line => "",
            Self::SenMl => "[",
        }
    }

    /// What stands after the last window.
    pub fn tail(self) -> &'static str {
        if self == Self::SenMl { "\n]\n" } else { "" }
    }

    /// Appends a window's samples to what was written; gives how many samples these were. `is_first`: nothing but
    /// the head stands before it.
    pub fn window(
        self,
        device: &str,
        readings: &Readings,
        span: Span,
        is_first: bool,
        out: &mut String,
    ) -> usize {
        let wanted = readings.samples().filter(|(t, _)| (span.from_ms..span.to_ms).contains(t));
        let mut n = 0;
        let mut senml = senml::Records { bare: is_first, base: false };
        for (t_ms, values) in wanted {
            n += 1;
            match self {
                Self::Csv => csv_rows(device, readings, t_ms, values, out),
                Self::Line => line(device, readings, t_ms, values, out),
                Self::SenMl => senml.of(device, readings, t_ms, values, out),
            }
        }
        n
    }
}

/// A time as people write it: unix milliseconds, `2026-03-01T12:00:00Z`, or `2026-03-01` for its first instant (UTC).
pub fn parse_time(text: &str) -> Option<i64> {
    let date = || format!("{text}T00:00:00Z").parse::<jiff::Timestamp>();
    text.parse().ok().or_else(|| text.parse().or_else(|_| date()).ok().map(jiff::Timestamp::as_millisecond))
}

fn csv_rows(device: &str, readings: &Readings, t_ms: i64, values: &[Value], out: &mut String) {
    let (device, time, quality) = (csv_text(device), iso(t_ms), readings.t_quality.word());
    for (channel, value) in readings.channels.iter().zip(values) {
        let _ = write!(out, "{device},{time},{},{},", csv_text(&channel.name), csv_text(&channel.unit));
        let _ = match value {
            Value::Number(number) => write!(out, "{number}"),
            Value::Above => write!(out, "above"),
            Value::Below => write!(out, "below"),
            Value::Missing => Ok(()),
        };
        let _ = write!(out, ",{},{quality}\r\n", channel.bound);
    }
}

fn line(device: &str, readings: &Readings, t_ms: i64, values: &[Value], out: &mut String) {
    let fields = line_fields(readings, values);
    // A point without a field is none.
    if !fields.is_empty() {
        let t_ns = i128::from(t_ms) * 1_000_000;
        let _ = writeln!(out, "kinglet,device={} {fields} {t_ns}", line_name(device));
    }
}

/// The fields of a sample; empty if it has no value.
pub(crate) fn line_fields(readings: &Readings, values: &[Value]) -> String {
    let mut fields = String::new();
    for (channel, value) in readings.channels.iter().zip(values) {
        let name = line_name(&channel.name);
        let comma = if fields.is_empty() { "" } else { "," };
        let _ = match value {
            Value::Number(number) => write!(fields, "{comma}{name}={number}"),
            Value::Above => write!(fields, "{comma}{name}_outside=\"above\""),
            Value::Below => write!(fields, "{comma}{name}_outside=\"below\""),
            Value::Missing => Ok(()),
        };
    }
    fields
}

/// A tag's value or a field's key. Line ends and backslashes have no escape there.
pub(crate) fn line_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ',' | '=' | ' ' => name.extend(['\\', c]),
            '\\' | '"' => name.push('_'),
            c if c.is_control() => name.push('_'),
            c => name.push(c),
        }
    }
    // `time` is the name of the timestamp and is refused as a field's.
    match name.as_str() {
        "" => "_".into(),
        "time" => "time_".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::readings::ChannelInfo;
    use crate::store::TimeQuality;

    fn readings(names: [&str; 2], values: [Value; 4]) -> Readings {
        let channel = |name: &str, unit: &str| ChannelInfo {
            name: name.into(),
            unit: unit.into(),
            bound: "0.2".parse().unwrap(),
            digits: 1,
        };
        Readings {
            channels: Arc::new([channel(names[0], "°C"), channel(names[1], "")]),
            t_first: 1_790_000_000_500,
            period_ms: 10_000,
            t_quality: TimeQuality::Clock,
            values: values.to_vec(),
        }
    }

    fn number(text: &str) -> Value {
        Value::Number(text.parse().unwrap())
    }

    fn text(format: Format, device: &str, readings: &Readings, span: Span) -> String {
        let mut out = String::from(format.head());
        format.window(device, readings, span, true, &mut out);
        out + format.tail()
    }

    pub(super) fn usual() -> Readings {
        readings(["temperature", "door"], [number("-21.5"), Value::Missing, Value::Above, number("1")])
    }

    #[test]
    fn csv_has_a_row_per_value() {
        let rows = "device,time,channel,unit,value,bound,time_quality\r\n\
            porch,2026-09-21T14:13:20.5Z,temperature,°C,-21.5,0.2,clock\r\n\
            porch,2026-09-21T14:13:20.5Z,door,,,0.2,clock\r\n\
            porch,2026-09-21T14:13:30.5Z,temperature,°C,above,0.2,clock\r\n\
            porch,2026-09-21T14:13:30.5Z,door,,1,0.2,clock\r\n";
        assert_eq!(text(Format::Csv, "porch", &usual(), Span::ALL), rows);
    }

    #[test]
    fn lines_have_the_values_there_are() {
        let lines = "kinglet,device=porch temperature=-21.5 1790000000500000000\n\
            kinglet,device=porch temperature_outside=\"above\",door=1 1790000010500000000\n";
        assert_eq!(text(Format::Line, "porch", &usual(), Span::ALL), lines);
        let none = readings(["a", "b"], [Value::Missing; 4]);
        assert_eq!(text(Format::Line, "porch", &none, Span::ALL), "");
    }

    #[test]
    fn a_pack_resolves_to_what_was_read() {
        let mut out = String::from(Format::SenMl.head());
        Format::SenMl.window("porch", &usual(), Span::ALL, true, &mut out);
        Format::SenMl.window("cellar", &usual(), Span::ALL, false, &mut out);
        out += Format::SenMl.tail();
        let pack: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        let (mut bn, mut bt, mut seen) = (String::new(), 0.0, Vec::new());
        for record in &pack {
            bn = record["bn"].as_str().map_or(bn, str::to_owned);
            bt = record["bt"].as_f64().unwrap_or(bt);
            let name = bn.clone() + record["n"].as_str().unwrap();
            seen.push((name, bt + record["t"].as_f64().unwrap_or(0.0), record["v"].as_f64()));
        }
        let t = 1_790_000_000.5;
        let one = |device: &str| {
            [
                (format!("{device}:temperature"), t, Some(-21.5)),
                (format!("{device}:temperature"), t + 10.0, None),
                (format!("{device}:door"), t + 10.0, Some(1.0)),
            ]
        };
        assert_eq!(seen, [one("porch"), one("cellar")].concat());
        assert_eq!((pack[0]["u"].as_str(), pack[1]["vs"].as_str()), (Some("Cel"), Some("above")));
        assert_eq!(
            serde_json::from_str::<Vec<()>>(&(Format::SenMl.head().to_owned() + Format::SenMl.tail()))
                .unwrap(),
            []
        );
    }

    #[test]
    fn only_the_samples_asked_for() {
        let span = Span { from_ms: 1_790_000_000_501, to_ms: 1_790_000_010_501 };
        assert_eq!(text(Format::Csv, "porch", &usual(), span).lines().count(), 3);
        let span = Span { to_ms: 1_790_000_010_500, ..span };
        assert_eq!(text(Format::Csv, "porch", &usual(), span), Format::Csv.head());
    }

    #[test]
    fn no_name_breaks_out() {
        for name in
            ["=1+1", "a,b=c d", "x\" y\\", "a\r\nkinglet,device=other x=1 1", "\u{0}", "", "@SUM(A1)", "\\"]
        {
            let bad = readings([name, "b"], [number("1"), number("2"), number("3"), number("4")]);
            let csv = text(Format::Csv, name, &bad, Span::ALL);
            assert_eq!(csv.lines().count(), 5, "{csv}");
            assert!(
                csv.lines()
                    .all(|l| !l.starts_with(['=', '@', '+', '-']) && !l.contains(",=") && !l.contains(",@"))
            );
            let lines = text(Format::Line, name, &bad, Span::ALL);
            assert_eq!(lines.lines().count(), 2, "{lines}");
            for line in lines.lines() {
                // Unescaped, a line has two spaces and as many fields as channels.
                let plain = line.replace("\\,", "").replace("\\ ", "").replace("\\=", "");
                let count = |c: char| plain.matches(c).count();
                assert_eq!((count(' '), count('='), count(','), count('\\')), (2, 3, 2, 0), "{line}");
            }
            let pack: Vec<serde_json::Value> =
                serde_json::from_str(&text(Format::SenMl, name, &bad, Span::ALL)).unwrap();
            assert_eq!(pack.len(), 4);
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_time("1790000000500"), Some(1_790_000_000_500));
        assert_eq!(parse_time("2026-09-21T14:13:20.5Z"), Some(1_790_000_000_500));
        assert_eq!(parse_time("1970-01-02"), Some(86_400_000));
        assert_eq!(parse_time("yesterday"), None);
    }
}
