//! Drawings that stand by themselves: errors, losses, times on an axis.

use kinglet_train::fit::{ChannelPicture, Curve, ERROR_BINS};
use maud::{Markup, html};

use super::chart::{Axes, Layer, chart};
use crate::term::when;

const DAY_MS: f64 = 86_400_000.0;

pub(super) fn histogram(channel: &ChannelPicture) -> Markup {
    let middle = (ERROR_BINS / 2) as f64;
    let points: Vec<(f64, f64)> = channel
        .errors
        .iter()
        .enumerate()
        .map(|(i, &n)| ((i as f64 - middle) / middle * channel.bound, n as f64))
        .collect();
    let most = points.iter().map(|p| p.1).fold(1.0, f64::max);
    let width = channel.bound / middle;
    let places = (1.0 - channel.bound.log10().floor()).clamp(0.0, 6.0) as usize;
    let axes = Axes {
        x: (-channel.bound - width, channel.bound + width),
        y: (0.0, most),
        x_text: &|x| format!("{x:+.places$}"),
        label: "errors between minus one bound and one bound",
    };
    html! {
        p.small.soft { "errors, decoded less measured, in " (if channel.unit.is_empty() { "its unit" } else { &channel.unit }) }
        (chart(&axes, &[
            Layer::Bars { class: "bars", points: &points, width },
            Layer::Mark { x: -channel.bound, text: "−bound" },
            Layer::Mark { x: channel.bound, text: "+bound" },
        ]))
    }
}

pub(super) fn loss(curve: &Curve, number: usize) -> Markup {
    let of = |points: &[(f64, f64)]| -> Vec<(f64, Option<f64>)> {
        points.iter().map(|&(x, y)| (x, Some(y).filter(|y| y.is_finite()))).collect()
    };
    let (train, held) = (of(&curve.train), of(&curve.validation));
    let mut values: Vec<f64> = train.iter().chain(&held).filter_map(|(_, y)| *y).collect();
    values.sort_by(f64::total_cmp);
    let (Some(&low), Some(&most)) = (values.first(), values.last()) else { return html! {} };
    // The first steps are far above everything that matters.
    let high = values[values.len() * 97 / 100].max(low + 1e-9).min(most);
    let clip = |points: Vec<(f64, Option<f64>)>| -> Vec<(f64, Option<f64>)> {
        points.into_iter().map(|(x, y)| (x, y.map(|y| y.min(high)))).collect()
    };
    let (train, held) = (clip(train), clip(held));
    let last = train.last().map_or(1.0, |p| p.0);
    let axes = Axes {
        x: (0.0, last.max(1.0)),
        y: (low, high),
        x_text: &|x| format!("{x:.0} steps"),
        label: "loss over training steps",
    };
    html! {
        h3 { (number) ". " (curve.stage) }
        div.keys { span { i.i-line {} "loss" } @if !held.is_empty() { span { i.i-line2 {} "on rows held back" } } }
        (chart(&axes, &[
            Layer::Line { class: "line", points: &train },
            Layer::Line { class: "line2", points: &held },
        ]))
    }
}

/// Neighbouring lengths together where there are many.
pub(super) fn binned(lens: &[(f64, f64)], from: f64, width: f64) -> Vec<(f64, f64)> {
    let mut bins: Vec<(f64, f64)> = Vec::new();
    for &(len, n) in lens {
        let middle = from + ((len - from) / width).floor() * width + (width - 1.0) / 2.0;
        match bins.last_mut() {
            Some(bin) if bin.0 == middle => bin.1 += n,
            _ => bins.push((middle, n)),
        }
    }
    bins
}

/// A time on an axis from `x.0` to `x.1`: as much of it as tells ticks apart.
pub(super) fn time(t_ms: f64, x: (f64, f64)) -> String {
    let text = when(t_ms as i64);
    let (date, clock) = (text.get(..10).unwrap_or(""), text.get(11..).unwrap_or(""));
    let span = x.1 - x.0;
    if span > 200.0 * DAY_MS {
        date.into()
    } else if span > 5.0 * DAY_MS {
        date.get(5..).unwrap_or("").into()
    } else if span > 0.8 * DAY_MS {
        format!("{} {}", date.get(5..).unwrap_or(""), clock.get(..5).unwrap_or(""))
    } else if span > 600_000.0 {
        clock.get(..5).unwrap_or("").into()
    } else {
        clock.trim_end_matches(" UTC").into()
    }
}
