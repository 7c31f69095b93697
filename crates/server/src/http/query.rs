//! What stands behind the `?`.

use std::collections::HashMap;

use super::problem::Problem;

/// The parameters of a request; each is asked for by name, unknown ones are refused.
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    /// Takes the parameters, of which only `known` may occur.
    pub(crate) fn new(given: HashMap<String, String>, known: &[&str]) -> Result<Self, Problem> {
        match given.keys().find(|name| !known.contains(&name.as_str())) {
            Some(_) => Err(Problem::bad_request(
                "unknown_parameter",
                format!("this address knows the parameters {}", known.join(", ")),
            )),
            None => Ok(Self(given)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A time: unix milliseconds, or a date with a time zone.
    pub(crate) fn time(&self, name: &str, default: i64) -> Result<i64, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let parsed = text.parse().ok().or_else(|| {
            // A plus sign in a query is a space; in a date it is a zone.
            let text = text.replace(' ', "+");
            text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
        });
        parsed.ok_or_else(|| {
            let detail = format!("`{name}` must be unix milliseconds or a time such as 2026-03-01T12:00:00Z");
            Problem::bad_request("bad_time", detail)
        })
    }

    /// A number from 1 to `max`.
    pub(crate) fn number(&self, name: &str, default: u32, max: u32) -> Result<u32, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|n| (1..=max).contains(n));
        number.ok_or_else(|| {
            Problem::bad_request("bad_number", format!("`{name}` must be a number from 1 to {max}"))
        })
    }
}

/// A time as people and machines read it: `2026-03-01T12:00:00.5Z`.
pub(crate) fn iso(t_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(t_ms).map_or_else(|_| t_ms.to_string(), |t| t.to_string())
}
