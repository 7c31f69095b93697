//! Charts as SVG: lines, bands, bars. Each is drawn twice, for wide pages and for phones; the style sheet shows one.

use std::fmt::Write as _;

use maud::{Markup, html};

/// Size in SVG units, pixels where a page is as wide as the chart.
#[derive(Clone, Copy)]
struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    n_ticks: usize,
}

const SIZES: [Size; 2] = [
    Size { class: "chart wide", width: 960.0, height: 240.0, left: 64.0, n_ticks: 6 },
    Size { class: "chart phone", width: 360.0, height: 210.0, left: 50.0, n_ticks: 3 },
];
const TOP: f64 = 10.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// What is drawn in a chart.
pub(super) enum Layer<'a> {
    /// A line with breaks where there is no value: `(x, y)`.
    Line { class: &'static str, points: &'a [(f64, Option<f64>)] },
    /// An area between two values: `(x, low, high)`; it breaks where x leaps by more than `gap`.
    Band { class: &'static str, points: &'a [(f64, f64, f64)], gap: f64 },
    /// Dots.
    Dots { class: &'static str, points: &'a [(f64, Option<f64>)] },
    /// Bars from zero, `width` wide: `(x, y)`.
    Bars { class: &'static str, points: &'a [(f64, f64)], width: f64 },
    /// An upright line with a word beside it.
    Mark { x: f64, text: &'a str },
}

/// How the axes are said.
pub(super) struct Axes<'a> {
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
    /// The label of a place on x.
    pub(super) x_text: &'a dyn Fn(f64) -> String,
    /// In words, what is to be seen.
    pub(super) label: &'a str,
}

/// A chart, in both sizes.
pub(super) fn chart(axes: &Axes<'_>, layers: &[Layer<'_>]) -> Markup {
    html! {
        @for size in SIZES { (draw(size, axes, layers)) }
    }
}

fn draw(size: Size, axes: &Axes<'_>, layers: &[Layer<'_>]) -> Markup {
    let ticks = nice_ticks(axes.y.0, axes.y.1, 4);
    let frame = Frame {
        size,
        x: axes.x,
        y: (axes.y.0.min(ticks[0]), axes.y.1.max(ticks.last().copied().unwrap_or(1.0))),
    };
    let x_ticks = (0..size.n_ticks).map(|i| {
        let share = (i as f64 + 0.5) / size.n_ticks as f64;
        axes.x.0 + share * (axes.x.1 - axes.x.0)
    });
    html! {
        svg class=(size.class) viewBox={ "0 0 " (size.width) " " (size.height) } role="img" aria-label=(axes.label) {
            @for &tick in &ticks {
                line class="rule" x1=(size.left) x2=(size.width - RIGHT) y1=(frame.y(tick)) y2=(frame.y(tick)) {}
                text x=(size.left - 8.0) y=(frame.y(tick) + 4.0) text-anchor="end" { (number(tick, &ticks)) }
            }
            @for x in x_ticks {
                text x=(frame.x(x)) y=(size.height - 6.0) text-anchor="middle" { ((axes.x_text)(x)) }
            }
            @for layer in layers { (frame.layer(layer)) }
        }
    }
}

struct Frame {
    size: Size,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, x: f64) -> f64 {
        let share = (x - self.x.0) / (self.x.1 - self.x.0).max(f64::MIN_POSITIVE);
        round(self.size.left + share.clamp(0.0, 1.0) * (self.size.width - self.size.left - RIGHT))
    }

    fn y(&self, y: f64) -> f64 {
        let share = (y - self.y.0) / (self.y.1 - self.y.0).max(f64::MIN_POSITIVE);
        round(self.size.height - BOTTOM - share.clamp(0.0, 1.0) * (self.size.height - BOTTOM - TOP))
    }

    fn layer(&self, layer: &Layer<'_>) -> Markup {
        match layer {
            Layer::Line { class, points } => {
                let mut path = String::new();
                let mut pen = 'M';
                for (x, y) in points.iter() {
                    let Some(y) = y else {
                        pen = 'M';
                        continue;
                    };
                    let _ = write!(path, "{pen}{} {}", self.x(*x), self.y(*y));
                    pen = 'L';
                }
                html! { path class=(class) d=(path) {} }
            }
            Layer::Band { class, points, gap } => {
                let mut path = String::new();
                for piece in points.chunk_by(|a, b| b.0 - a.0 <= *gap) {
                    for (i, (x, _, high)) in piece.iter().enumerate() {
                        let _ = write!(
                            path,
                            "{}{} {}",
                            if i == 0 { 'M' } else { 'L' },
                            self.x(*x),
                            self.y(*high)
                        );
                    }
                    for (x, low, _) in piece.iter().rev() {
                        let _ = write!(path, "L{} {}", self.x(*x), self.y(*low));
                    }
                    path.push('Z');
                }
                html! { path class=(class) d=(path) {} }
            }
            Layer::Dots { class, points } => html! {
                g class=(class) {
                    @for (x, y) in points.iter() {
                        @if let Some(y) = y { circle cx=(self.x(*x)) cy=(self.y(*y)) r="1.8" {} }
                    }
                }
            },
            Layer::Bars { class, points, width } => {
                let base = self.y(self.y.0.max(0.0));
                html! {
                    g class=(class) {
                        @for &(x, y) in points.iter().filter(|(_, y)| *y > 0.0) {
                            @let (a, b) = (self.x(x - width / 2.0), self.x(x + width / 2.0));
                            rect x=(round(a + 0.5)) width=(round((b - a - 1.0).max(1.0)))
                                y=(self.y(y).min(base - 1.0)) height=(round((base - self.y(y)).max(1.0))) {}
                        }
                    }
                }
            }
            Layer::Mark { x, text } => {
                let at = self.x(*x);
                let anchor = if at > self.size.width * 0.7 { ("end", -5.0) } else { ("start", 5.0) };
                html! {
                    line class="mark" x1=(at) x2=(at) y1=(TOP) y2=(self.size.height - BOTTOM) {}
                    text class="mark-text" x=(at + anchor.1) y=(TOP + 10.0) text-anchor=(anchor.0) { (text) }
                }
            }
        }
    }
}

/// Round steps that cover `low..high`: at least two ticks.
fn nice_ticks(low: f64, high: f64, n: usize) -> Vec<f64> {
    let span = if high > low { high - low } else { low.abs().max(1.0) };
    let rough = span / n as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let from = (low / step - 1e-9).ceil();
    let mut ticks: Vec<f64> = (0..12)
        .map(|i| (from + f64::from(i)) * step)
        .take_while(|t| *t <= low + span + 1e-9 * step)
        .collect();
    if ticks.is_empty() {
        ticks.push(low);
    }
    ticks
}

/// A tick in as many digits as its neighbours need.
fn number(tick: f64, ticks: &[f64]) -> String {
    let step = ticks.windows(2).map(|t| t[1] - t[0]).fold(f64::INFINITY, f64::min);
    let places =
        if step.is_finite() { (-(step * 1.0001).log10().floor()).clamp(0.0, 6.0) as usize } else { 2 };
    let places = if step.is_finite() && (step * 10f64.powi(places as i32)).fract() > 1e-6 {
        places + 1
    } else {
        places
    };
    let text = format!("{tick:.places$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') { "0".into() } else { text }
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        for (low, high) in [(0.0, 1.0), (-3.2, 19.7), (1013.1, 1013.9), (5.0, 5.0), (0.0, 1e-4)] {
            let ticks = nice_ticks(low, high, 4);
            assert!(ticks.len() < 12 && ticks[0] >= low - 1e-9, "{low} {high} {ticks:?}");
        }
        assert_eq!(number(0.25, &[0.0, 0.25, 0.5]), "0.25");
        assert_eq!(number(-0.0, &[0.0, 1.0]), "0");
        assert_eq!(number(20.0, &[20.0, 22.0]), "20");
    }

    #[test]
    fn a_line_breaks_where_nothing_is_and_nothing_is_not_a_number() {
        let points = [(0.0, Some(1.0)), (1.0, None), (2.0, Some(f64::NAN)), (3.0, Some(2.0))];
        let points: Vec<_> = points.iter().map(|&(x, y)| (x, y.filter(|y: &f64| y.is_finite()))).collect();
        let axes = Axes { x: (0.0, 3.0), y: (1.0, 2.0), x_text: &|x| format!("{x}"), label: "<test>" };
        let svg = chart(&axes, &[Layer::Line { class: "line", points: &points }]).into_string();
        assert_eq!(svg.matches("<svg").count(), 2);
        assert!(svg.contains("&lt;test&gt;") && !svg.contains("NaN"));
        let path = svg.split(" d=\"").nth(1).unwrap();
        assert_eq!(path[..path.find('"').unwrap()].matches('M').count(), 2);
    }
}
