//! Charts of readings as SVG: a line of what was decoded, around it the band the bound allows.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::readings::{ChannelInfo, Readings, Value, to_f64};

/// How a chart is laid out, in SVG units (pixels at full width).
#[derive(Clone, Copy)]
pub(super) struct Layout {
    width: f64,
    height: f64,
    left: f64,
    bottom: f64,
    n_ticks: usize,
}

/// For a page of full width.
pub(super) const WIDE: Layout = Layout { width: 960.0, height: 240.0, left: 52.0, bottom: 24.0, n_ticks: 7 };
/// For a phone.
pub(super) const NARROW: Layout =
    Layout { width: 360.0, height: 200.0, left: 44.0, bottom: 24.0, n_ticks: 3 };
const TOP: f64 = 8.0;
const RIGHT: f64 = 6.0;

/// One channel over a stretch of time, thinned to what a screen can show: lowest and highest per column.
pub(super) struct Series {
    points: Vec<Point>,
    from_ms: i64,
    to_ms: i64,
    bound: f64,
    gap_ms: i64,
    /// Numbers in it.
    pub(super) n_readings: usize,
}

#[derive(Clone, Copy)]
struct Point {
    t_ms: i64,
    low: f64,
    high: f64,
    sum: f64,
    n: f64,
}

impl Point {
    fn mean(&self) -> f64 {
        self.sum / self.n
    }
}

impl Series {
    /// The numbers of the named channel with times in `from..to`.
    pub(super) fn new(
        windows: &[Readings],
        channel: &ChannelInfo,
        from_ms: i64,
        to_ms: i64,
        n_columns: i64,
    ) -> Self {
        let mut period_ms = 0;
        let mut numbers = Vec::new();
        for window in windows {
            let Some(idx) = window.channels.iter().position(|c| c.name == channel.name) else { continue };
            period_ms = period_ms.max(window.period_ms);
            numbers.extend(window.samples().filter_map(|(t_ms, values)| match values.get(idx) {
                Some(Value::Number(number)) => Some((t_ms, to_f64(*number))),
                _ => None,
            }));
        }
        Self::of(numbers.into_iter(), (from_ms, to_ms), n_columns, period_ms, to_f64(channel.bound))
    }

    /// Numbers with their times; those outside `from..to` are left out. `period_ms`: the usual time between two.
    pub(super) fn of(
        numbers: impl Iterator<Item = (i64, f64)>,
        (from_ms, to_ms): (i64, i64),
        n_columns: i64,
        period_ms: i64,
        bound: f64,
    ) -> Self {
        let column_ms = (to_ms.saturating_sub(from_ms) / n_columns).max(1);
        let mut points: Vec<Point> = Vec::new();
        let mut n_readings = 0;
        for (t_ms, value) in numbers.filter(|(t, _)| (from_ms..to_ms).contains(t)) {
            n_readings += 1;
            match points.last_mut() {
                Some(p) if (t_ms - from_ms) / column_ms == (p.t_ms - from_ms) / column_ms => {
                    (p.low, p.high) = (p.low.min(value), p.high.max(value));
                    (p.sum, p.n) = (p.sum + value, p.n + 1.0);
                }
                _ => points.push(Point { t_ms, low: value, high: value, sum: value, n: 1.0 }),
            }
        }
        points.sort_by_key(|p| p.t_ms);
        let gap_ms = (period_ms * 5 / 2).max(column_ms * 3);
        Self { points, from_ms, to_ms, bound, gap_ms, n_readings }
    }

    /// Lowest and highest value.
    pub(super) fn extremes(&self) -> Option<(f64, f64)> {
        let low = self.points.iter().map(|p| p.low).reduce(f64::min)?;
        Some((low, self.points.iter().map(|p| p.high).reduce(f64::max)?))
    }

    /// Stretches without a gap.
    fn stretches(&self) -> impl Iterator<Item = &[Point]> {
        self.points.chunk_by(|a, b| b.t_ms - a.t_ms <= self.gap_ms)
    }

    /// A chart with axes. `label` says in words what it shows.
    pub(super) fn chart(&self, layout: Layout, class: &str, label: &str) -> Markup {
        let Some((low, high)) = self.extremes() else { return html! {} };
        let axis = nice_ticks(low - self.bound, high + self.bound);
        let frame = Frame::new(self, layout, &axis);
        html! {
            svg class={ "chart " (class) } viewBox={ "0 0 " (layout.width) " " (layout.height) } role="img" aria-label=(label) {
                @for tick in &axis {
                    line class="grid-line" x1=(layout.left) x2=(layout.width - RIGHT) y1=(round(frame.y(*tick))) y2=(round(frame.y(*tick))) {}
                    text x=(layout.left - 8.0) y=(round(frame.y(*tick) + 4.0)) text-anchor="end" { (tick_label(*tick, &axis)) }
                }
                @for (x, text) in frame.time_ticks(layout.n_ticks) {
                    text x=(round(x)) y=(layout.height - 4.0) text-anchor="middle" { (text) }
                }
                (self.paths(&frame))
            }
        }
    }

    /// A small chart without axes.
    pub(super) fn spark(&self) -> Markup {
        let Some((low, high)) = self.extremes() else { return html! {} };
        let margin = ((high - low) * 0.1).max(self.bound).max(1e-9);
        let layout = Layout { width: 260.0, height: 42.0, left: RIGHT, bottom: 4.0, n_ticks: 0 };
        let frame = Frame::new(self, layout, &[low - margin, high + margin]);
        html! {
            svg.spark viewBox="0 0 260 42" preserveAspectRatio="none" aria-hidden="true" { (self.paths(&frame)) }
        }
    }

    fn paths(&self, frame: &Frame) -> Markup {
        let (mut line, mut band, mut lone) = (String::new(), String::new(), Vec::new());
        for stretch in self.stretches() {
            for (i, p) in stretch.iter().enumerate() {
                let letter = if i == 0 { 'M' } else { 'L' };
                let x = round(frame.x(p.t_ms));
                let _ = write!(band, "{letter}{x} {}", round(frame.y(p.high + self.bound)));
                // Where a column holds more than one value: their mean, inside the band around all of them.
                let _ = write!(line, "{letter}{x} {}", round(frame.y(p.mean())));
            }
            for p in stretch.iter().rev() {
                let _ = write!(band, "L{} {}", round(frame.x(p.t_ms)), round(frame.y(p.low - self.bound)));
            }
            band.push('Z');
            if let [only] = stretch {
                lone.push((round(frame.x(only.t_ms)), round(frame.y(only.mean()))));
            }
        }
        html! {
            path.band d=(band) {}
            path.line d=(line) {}
            @for (x, y) in lone { circle.dot cx=(x) cy=(y) r="2" {} }
        }
    }
}

/// From times and values to places.
struct Frame {
    layout: Layout,
    from_ms: i64,
    to_ms: i64,
    low: f64,
    high: f64,
}

impl Frame {
    fn new(series: &Series, layout: Layout, axis: &[f64]) -> Self {
        let low = axis.first().copied().unwrap_or(0.0);
        let high = axis.last().copied().unwrap_or(1.0);
        Self { layout, from_ms: series.from_ms, to_ms: series.to_ms, low, high }
    }

    fn x(&self, t_ms: i64) -> f64 {
        let part = (t_ms - self.from_ms) as f64 / (self.to_ms - self.from_ms).max(1) as f64;
        self.layout.left + part * (self.layout.width - self.layout.left - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low).max(f64::MIN_POSITIVE);
        let bottom = self.layout.height - self.layout.bottom;
        bottom - part * (bottom - TOP)
    }

    /// Places and words of round times (UTC).
    fn time_ticks(&self, n: usize) -> Vec<(f64, String)> {
        const MINUTE: i64 = 60_000;
        const STEPS: [i64; 17] = [
            1_000,
            5_000,
            15_000,
            30_000,
            MINUTE,
            2 * MINUTE,
            5 * MINUTE,
            10 * MINUTE,
            30 * MINUTE,
            60 * MINUTE,
            2 * 60 * MINUTE,
            4 * 60 * MINUTE,
            12 * 60 * MINUTE,
            24 * 60 * MINUTE,
            2 * 24 * 60 * MINUTE,
            7 * 24 * 60 * MINUTE,
            30 * 24 * 60 * MINUTE,
        ];
        let span = self.to_ms - self.from_ms;
        let n = i64::try_from(n).unwrap_or(1);
        let step = STEPS.into_iter().find(|step| span / step <= n).unwrap_or(span.max(1));
        let format = match step {
            s if s < MINUTE => "%H:%M:%S",
            s if s < 12 * 60 * MINUTE => "%H:%M",
            s if s < 24 * 60 * MINUTE => "%d %b %H:%M",
            _ => "%d %b",
        };
        let first = self.from_ms.div_euclid(step) + 1;
        let inside = |x: f64| x > self.layout.left + 12.0 && x < self.layout.width - 24.0;
        (first..first + n + 1)
            .map(|i| i * step)
            .filter(|t| *t < self.to_ms)
            .map(|t| (self.x(t), format_time(t, format)))
            .filter(|(x, _)| inside(*x))
            .collect()
    }
}

/// A time in UTC.
pub(super) fn format_time(t_ms: i64, format: &str) -> String {
    match Timestamp::from_millisecond(t_ms) {
        Ok(t) => t.to_zoned(TimeZone::UTC).strftime(format).to_string(),
        Err(_) => String::new(),
    }
}

/// Three to six round numbers that enclose `low..high`; around a value that never changes, 2 % of it.
fn nice_ticks(low: f64, high: f64) -> Vec<f64> {
    let beside = match low == high {
        true if low == 0.0 => 0.5,
        true => low.abs() / 100.0,
        false => 0.0,
    };
    let (low, high) = (low - beside, high + beside);
    let span = (high - low).max(low.abs().max(high.abs()) * 1e-6).max(1e-9);
    let rough = span / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor(), (high / step).ceil().max((low / step).floor() + 1.0));
    // At most seven: the step is at least a quarter of the span.
    (0..=(last - first).min(8.0) as usize).map(|i| (first + i as f64) * step).collect()
}

fn tick_label(tick: f64, axis: &[f64]) -> String {
    let step = axis.get(1).map_or(1.0, |second| second - axis[0]);
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{tick:.digits$}");
    let zero = text.trim_start_matches('-').bytes().all(|b| b == b'0' || b == b'.');
    if zero { text.trim_start_matches('-').into() } else { text.replace('-', "\u{2212}") }
}

/// A tenth of a pixel is enough, and half the bytes.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: f64, high: f64, labels: &[&str]) {
        let axis = nice_ticks(low, high);
        assert!(axis[0] <= low && axis[axis.len() - 1] >= high, "{axis:?}");
        assert_eq!(axis.iter().map(|t| tick_label(*t, &axis)).collect::<Vec<_>>(), labels);
    }

    #[test]
    fn axes_are_round() {
        check(18.2, 24.9, &["18", "20", "22", "24", "26"]);
        check(-0.3, 0.4, &["\u{2212}0.4", "\u{2212}0.2", "0.0", "0.2", "0.4"]);
        check(1013.0, 1013.0, &["1000", "1010", "1020", "1030"]);
        check(45.0, 45.0, &["44.5", "45.0", "45.5"]);
        check(0.0, 0.0, &["\u{2212}0.5", "0.0", "0.5"]);
    }

    #[test]
    fn gaps_break_the_line() {
        let channel =
            ChannelInfo { name: "t".into(), unit: String::new(), bound: "0.1".parse().unwrap(), digits: 1 };
        let window = |t_first: i64| Readings {
            channels: vec![channel.clone()].into(),
            t_first,
            period_ms: 1000,
            t_quality: crate::store::TimeQuality::Clock,
            values: vec![
                Value::Number("1.5".parse().unwrap()),
                Value::Missing,
                Value::Number("2".parse().unwrap()),
            ],
        };
        let series = Series::new(&[window(0), window(60_000)], &channel, 0, 100_000, 100);
        assert_eq!((series.n_readings, series.extremes()), (4, Some((1.5, 2.0))));
        assert_eq!(series.stretches().count(), 2);
        let empty = Series::new(&[], &channel, 0, 1, 10);
        assert_eq!(empty.chart(WIDE, "", "").into_string(), "");
    }
}
