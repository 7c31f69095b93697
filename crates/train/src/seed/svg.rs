//! Two pictures as SVG that need nothing around them and are readable on light and dark ground.

use std::fmt::Write;

use super::report::SeedReport;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Room left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (72.0, 44.0, 20.0, 48.0);

/// Training and validation loss per epoch, logarithmic.
pub fn learning_curve_svg(report: &SeedReport) -> String {
    let log = |loss: f64| loss.max(1e-12).log10();
    let train: Vec<_> = report.curve.iter().map(|p| (p.epoch as f64, log(p.train))).collect();
    let held: Vec<_> = report.curve.iter().map(|p| (p.epoch as f64, log(p.validation))).collect();
    let y = extent(train.iter().chain(&held).map(|p| p.1));
    let y = (y.0.floor(), y.1.ceil().max(y.0.floor() + 1.0));
    let x = (0.0, report.curve.len().saturating_sub(1).max(1) as f64);
    let mut svg = Picture::new("Learning curve", "epoch", "mean squared error", x, y);
    svg.ticks_x();
    for power in y.0 as i32..=y.1 as i32 {
        svg.tick_y(f64::from(power), &format!("1e{power}"));
    }
    svg.line(&train, "a");
    svg.line(&held, "b");
    svg.legend(&[("a", "training"), ("b", "validation")]);
    svg.end()
}

/// Test readings of the first channel, and what came back, in order of time.
pub fn reconstruction_svg(report: &SeedReport) -> String {
    let unit = report.test.first().map_or("", |t| t.unit.as_str());
    let given: Vec<_> = report.picture.iter().map(|p| (p.sample as f64, f64::from(p.value))).collect();
    let again: Vec<_> =
        report.picture.iter().map(|p| (p.sample as f64, f64::from(p.reconstructed))).collect();
    let y = extent(given.iter().chain(&again).map(|p| p.1));
    let room = 0.05 * (y.1 - y.0).max(1e-6);
    let x = (0.0, given.last().map_or(1.0, |p| p.0).max(1.0));
    let mut svg = Picture::new("Reconstruction", "test reading", unit, x, (y.0 - room, y.1 + room));
    svg.ticks_x();
    svg.ticks_y();
    svg.line(&given, "a");
    svg.dots(&again, "b");
    svg.legend(&[("a", "measured"), ("b", "decoded")]);
    svg.end()
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (lo, hi) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo <= hi { (lo, hi) } else { (0.0, 1.0) }
}

struct Picture {
    svg: String,
    x: (f64, f64),
    y: (f64, f64),
}

impl Picture {
    fn new(title: &str, x_name: &str, y_name: &str, x: (f64, f64), y: (f64, f64)) -> Self {
        let (title, x_name, y_name) = (escaped(title), escaped(x_name), escaped(y_name));
        let (left, top, right, bottom) = (MARGIN.0, MARGIN.1, WIDTH - MARGIN.2, HEIGHT - MARGIN.3);
        let (middle_x, middle_y) = ((left + right) / 2.0, (top + bottom) / 2.0);
        // Middle tones for the lines and grey for the frame: both grounds carry them.
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n<style>text{{font:13px system-ui,sans-serif;fill:#333}}\
             .f{{stroke:#888;fill:none}}.g{{stroke:#888;stroke-opacity:.25}}.l{{fill:none;stroke-width:1.5}}\
             .a{{stroke:#2f7ed8}}.b{{stroke:#d9822b}}.d{{stroke:none;fill:#d9822b}}\
             @media(prefers-color-scheme:dark){{text{{fill:#ddd}}}}</style>\n\
             <text x=\"{left}\" y=\"24\" font-weight=\"600\">{title}</text>\n\
             <text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{x_name}</text>\n\
             <text transform=\"translate(16 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{y_name}</text>\n\
             <path class=\"f\" d=\"M{left} {top}V{bottom}H{right}\"/>\n",
            HEIGHT - 10.0,
        );
        Self { svg, x, y }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |v: f64, (lo, hi): (f64, f64)| ((v - lo) / (hi - lo)).clamp(0.0, 1.0);
        let (left, top, right, bottom) = (MARGIN.0, MARGIN.1, WIDTH - MARGIN.2, HEIGHT - MARGIN.3);
        (left + part(x, self.x) * (right - left), bottom - part(y, self.y) * (bottom - top))
    }

    fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let mut d = String::new();
        for (i, &p) in points.iter().filter(|p| p.1.is_finite()).enumerate() {
            let (x, y) = self.at(p);
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        let _ = writeln!(self.svg, "<path class=\"l {class}\" d=\"{d}\"/>");
    }

    fn dots(&mut self, points: &[(f64, f64)], class: &str) {
        let _ = write!(
            self.svg,
            "<path class=\"l {class}\" stroke-linecap=\"round\" style=\"stroke-width:3\" d=\""
        );
        for &p in points.iter().filter(|p| p.1.is_finite()) {
            let (x, y) = self.at(p);
            let _ = write!(self.svg, "M{x:.1} {y:.1}h0");
        }
        self.svg.push_str("\"/>\n");
    }

    fn ticks_x(&mut self) {
        for v in steps(self.x) {
            let (x, _) = self.at((v, self.y.0));
            let bottom = HEIGHT - MARGIN.3;
            let _ = writeln!(
                self.svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{v}</text>",
                bottom + 18.0
            );
        }
    }

    fn ticks_y(&mut self) {
        for v in steps(self.y) {
            self.tick_y(v, &format!("{}", (v * 1e6).round() / 1e6));
        }
    }

    fn tick_y(&mut self, v: f64, label: &str) {
        let (_, y) = self.at((self.x.0, v));
        let (left, right) = (MARGIN.0, WIDTH - MARGIN.2);
        let _ = writeln!(
            self.svg,
            "<path class=\"g\" d=\"M{left} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            left - 6.0,
            y + 4.0
        );
    }

    fn legend(&mut self, entries: &[(&str, &str)]) {
        for (i, (class, name)) in entries.iter().enumerate() {
            let x = WIDTH - MARGIN.2 - 110.0 * (entries.len() - i) as f64;
            let _ = writeln!(
                self.svg,
                "<path class=\"l {class}\" style=\"stroke-width:3\" d=\"M{x} 20h18\"/><text x=\"{}\" y=\"24\">{name}</text>",
                x + 24.0
            );
        }
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// Round numbers within a range, four to ten of them.
fn steps((lo, hi): (f64, f64)) -> Vec<f64> {
    let raw = (hi - lo) / 5.0;
    let power = 10f64.powf(raw.max(1e-9).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
    let first = (lo / step).ceil() as i64;
    (0..20).map(|i| (first + i) as f64 * step).take_while(|v| *v <= hi).collect()
}

fn escaped(text: &str) -> String {
    let keep = |c: &char| !c.is_control();
    let mut out = String::new();
    for c in text.chars().filter(keep) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
