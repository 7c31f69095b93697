//! Numbers and times as people read them.

use crate::http::query::iso;
use crate::readings::Value;
use maud::{Markup, html};

/// `1 234 567`, with narrow spaces.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join("\u{202f}")
}

/// `1 window`, `8 windows`.
pub(super) fn counted(n: u64, one: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(n))
}

/// `873 B`, `12.4 kB`.
pub(super) fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut scaled = n as f64;
    let mut unit = "B";
    for larger in units {
        if scaled < 999.5 {
            break;
        }
        (scaled, unit) = (scaled / 1000.0, larger);
    }
    if unit == "B" || scaled >= 100.0 { format!("{scaled:.0} {unit}") } else { format!("{scaled:.1} {unit}") }
}

/// `4 min`, `2.5 h`.
pub(super) fn span(ms: i64) -> String {
    let s = ms as f64 / 1000.0;
    match s {
        s if s < 1.0 => format!("{ms} ms"),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A time as its distance from now; the page's script lets it tick.
pub(super) fn ago(t_ms: i64, now_ms: i64) -> Markup {
    let distance = now_ms.saturating_sub(t_ms);
    let words = match distance {
        d if d < -5000 => format!("in {}", span(-d)),
        d if d < 5000 => "just now".into(),
        d => format!("{} ago", span(d)),
    };
    html! { time datetime=(iso(t_ms)) data-t=(t_ms) title=(iso(t_ms)) { (words) } }
}

/// A value without its unit, with as many digits as its channel has.
pub(super) fn value(value: &Value, digits: u8) -> String {
    match value {
        Value::Number(number) => {
            let text = number.to_string().replace('-', "\u{2212}");
            let n_missing = usize::from(digits.saturating_sub(number.scale()));
            let point = if number.scale() == 0 && n_missing > 0 { "." } else { "" };
            format!("{text}{point}{}", "0".repeat(n_missing))
        }
        Value::Missing => "\u{2013}".into(),
        Value::Above => "above range".into(),
        Value::Below => "below range".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(0), count(999)), ("0".into(), "999".into()));
        assert_eq!(bytes(873), "873 B");
        assert_eq!((bytes(12_400), bytes(999_600)), ("12.4 kB".into(), "1.0 MB".into()));
        assert_eq!(
            (span(400), span(240_000), span(9_000_000)),
            ("400 ms".into(), "4 min".into(), "2.5 h".into())
        );
    }
}
