//! The report of a training: one HTML page that needs nothing else, with its numbers as JSON inside.
//!
//! It is made of numbers alone and touches no file; who asked for it writes it.

mod chart;
mod drawn;
mod parts;

use kinglet_train::fit::{Curve, Picture, TrainReport};
use kinglet_train::recording::Understood;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;

const STYLE: &str = include_str!("style.css");

/// All a report says.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) name: &'a str,
    /// Where the readings came from, for people.
    pub(crate) origin: &'a str,
    pub(crate) identity: String,
    pub(crate) seconds: f64,
    pub(crate) bundle_bytes: usize,
    pub(crate) samples_per_window: usize,
    pub(crate) max_delay_ms: u32,
    pub(crate) understood: Option<&'a Understood>,
    pub(crate) report: &'a TrainReport,
    pub(crate) picture: &'a Picture,
    pub(crate) curves: &'a [Curve],
    /// Classical coders on the same rows: name, bytes per window, remark.
    pub(crate) yardsticks: &'a [Yard],
    pub(crate) assumptions: &'static str,
}

/// A coder beside ours.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Yard {
    pub(crate) name: String,
    pub(crate) bytes_mean: f64,
    pub(crate) is_ours: bool,
}

impl Report<'_> {
    /// The page.
    pub(crate) fn html(&self) -> String {
        let body: Markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.name) " · Kinglet report" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.name) }
                        p.soft { "A codec learned from " (self.origin) " in " (format!("{:.0}", self.seconds.max(1.0))) " s, and what it did on rows it had not seen." }
                        (self.sums())
                    }
                    main {
                        (self.data())
                        (self.bytes())
                        (self.reconstruction())
                        (self.learning())
                        (self.air())
                        (self.device())
                    }
                    footer {
                        p { "Bundle " code { (self.identity) } ". Figures are of this recording; the numbers of this page are inside it as JSON: "
                            code { "document.getElementById('report').textContent" } "." }
                    }
                    script type="application/json" id="report" { (PreEscaped(self.json())) }
                }
            }
        };
        body.into_string()
    }

    /// The numbers, safe inside of a script element: nothing in it begins a tag.
    fn json(&self) -> String {
        // Numbers, texts and maps with names for keys: writing them into memory has no way to fail.
        serde_json::to_string(self).unwrap_or_default().replace('<', "\\u003c")
    }
}

#[cfg(test)]
mod tests;
