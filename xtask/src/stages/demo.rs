//! The demo as a newcomer runs it, with its own summary checked.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run;

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let program = release_binary(context)?;
    let home = context.target().join("demo-home");
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    let mut demo = Command::new(program);
    demo.args(["demo", "--seconds", "20", "--json"]).current_dir(&home).env("HOME", &home);
    // Training comes before the 20 seconds.
    let ran = run::show(context, &mut demo, Duration::from_secs(240))?;
    if !ran.ok {
        return Err("kinglet demo ended with an error".into());
    }
    let summary = summary(&ran.text).ok_or("kinglet demo --json printed no summary")?;
    let checks = check(&summary);
    for why in checks.iter().filter_map(|c| c.as_ref().err()) {
        context.say(why);
    }
    let mut tally = Tally::default();
    checks.iter().for_each(|c| tally.add(Tally::one(c.is_ok())));
    Ok(tally)
}

/// The last JSON object of the output.
fn summary(text: &str) -> Option<Value> {
    let starts =
        text.match_indices('{').map(|(at, _)| at).filter(|&at| at == 0 || text[..at].ends_with('\n'));
    let mut objects = starts.filter_map(|at| {
        serde_json::Deserializer::from_str(&text[at..])
            .into_iter::<Value>()
            .next()?
            .ok()
            .filter(Value::is_object)
    });
    objects.next_back()
}

/// What the promises say about any run.
fn check(summary: &Value) -> Vec<Result<()>> {
    let number = |name: &str| {
        summary[name].as_f64().ok_or_else(|| format!("the summary has no number {name}: {summary}"))
    };
    let holds = |what: &str, is: Result<bool>| match is {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{what} does not hold: {summary}")),
        Err(why) => Err(why),
    };
    let both = |a: &str, b: &str, cmp: fn(f64, f64) -> bool| Ok(cmp(number(a)?, number(b)?));
    vec![
        holds("windows_sent > 0", number("windows_sent").map(|n| n > 0.0)),
        holds("windows_stored = windows_sent", both("windows_stored", "windows_sent", |a, b| a == b)),
        holds("duplicates is counted", number("duplicates").map(|n| n >= 0.0)),
        holds(
            "0 <= max_error_over_bound <= 1",
            number("max_error_over_bound").map(|n| (0.0..=1.0).contains(&n)),
        ),
        holds(
            "a reading takes fewer bytes than as JSON",
            both("bytes_per_reading", "json_bytes_per_reading", |a, b| 0.0 < a && a < b),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "windows_sent": 9, "windows_stored": 9, "duplicates": 0, "max_error_over_bound": 0.9,
            "bytes_per_reading": 1.5, "json_bytes_per_reading": 60.0,
        })
    }

    #[test]
    fn the_last_object_counts() {
        let text = "learning…\n{\"a\": 1}\nlive {x}\n{\n  \"b\": {\"c\": 2}\n}\nbye\n";
        assert_eq!(summary(text), Some(json!({ "b": { "c": 2 } })));
        assert_eq!(summary("no object"), None);
    }

    #[test]
    fn each_promise_can_break() {
        assert!(check(&good()).iter().all(Result::is_ok));
        for (name, value) in [
            ("windows_sent", json!(0)),
            ("windows_stored", json!(8)),
            ("duplicates", Value::Null),
            ("max_error_over_bound", json!(1.01)),
            ("bytes_per_reading", json!(61)),
        ] {
            let mut bad = good();
            bad[name] = value;
            assert!(check(&bad).iter().any(Result::is_err), "{name}");
        }
    }
}
