//! What a run says: a heading and an end per stage, the table, the last line.

use std::time::Duration;

use serde_json::json;

use crate::context::Context;
use crate::counts::Tally;
use crate::stages::STAGES;

/// How one stage went.
pub(crate) struct Line {
    pub(crate) stage: &'static str,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    /// Why it failed or did not run.
    pub(crate) why: Option<String>,
}

impl Line {
    fn word(&self) -> (&'static str, &'static str) {
        match self.tally {
            Tally { failed: 1.., .. } => ("31;1", "failed"),
            Tally { passed: 0, .. } => ("33;1", "skipped"),
            _ => ("32;1", "passed"),
        }
    }
}

/// Before a stage.
pub(crate) fn begin(context: &Context, stage: &str, about: &str) {
    context.say(&context.paint("1", &format!("\n== {stage}: {about}")));
}

/// After a stage.
pub(crate) fn end(context: &Context, line: &Line) {
    if let Some(why) = &line.why {
        context.say(why);
    }
    let (style, word) = line.word();
    let took = line.took.as_secs_f64();
    context.say(&format!(
        "-- {} {} in {took:.1} s: {}",
        line.stage,
        context.paint(style, word),
        line.tally.line()
    ));
}

/// The table of all stages and the last line. True if nothing failed.
pub(crate) fn finish(context: &Context, lines: &[Line]) -> bool {
    let mut sum = Tally::default();
    context.say("");
    for line in lines {
        sum.add(line.tally);
        let (style, word) = line.word();
        let word = context.paint(style, &format!("{word:<8}"));
        let took = line.took.as_secs_f64();
        context.say(&format!("{:<9} {word} {took:>7.1} s  {}", line.stage, line.tally.line()));
    }
    if context.options.json {
        let stages: Vec<_> = lines
            .iter()
            .map(|l| {
                json!({
                    "stage": l.stage, "result": l.word().1, "seconds": l.took.as_secs_f64(), "why": l.why,
                    "passed": l.tally.passed, "failed": l.tally.failed, "skipped": l.tally.skipped,
                })
            })
            .collect();
        let Tally { passed, failed, skipped } = sum;
        println!("{}", json!({ "stages": stages, "passed": passed, "failed": failed, "skipped": skipped }));
    }
    context.say(&sum.line());
    sum.failed == 0
}

/// `cargo xtask test --list`.
pub(crate) fn list(json: bool) {
    if json {
        let all: Vec<_> = STAGES.iter().map(|s| json!({ "stage": s.name, "about": s.about })).collect();
        println!("{}", json!(all));
    } else {
        for stage in STAGES {
            println!("{:<9} {}", stage.name, stage.about);
        }
    }
}
