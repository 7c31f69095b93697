//! SenML (RFC 8428): each window's first record has the base name and time, seconds throughout. Missing values have no record.

use std::fmt::Write as _;

use crate::readings::{Readings, Value};

/// Where a pack stands.
pub(super) struct Records {
    /// No record stands in it yet.
    pub(super) bare: bool,
    /// This window's base name and time stand.
    pub(super) base: bool,
}

impl Records {
    /// Appends those of one sample.
    pub(super) fn of(
        &mut self,
        device: &str,
        readings: &Readings,
        t_ms: i64,
        values: &[Value],
        out: &mut String,
    ) {
        for (channel, value) in readings.channels.iter().zip(values) {
            let value = match value {
                Value::Number(number) => format!("\"v\":{number}"),
                Value::Above => "\"vs\":\"above\"".into(),
                Value::Below => "\"vs\":\"below\"".into(),
                Value::Missing => continue,
            };
            out.push_str(if self.bare { "\n{" } else { ",\n{" });
            if !self.base {
                let _ =
                    write!(out, "\"bn\":\"{}:\",\"bt\":{},", senml_name(device), seconds(readings.t_first));
            }
            (self.bare, self.base) = (false, true);
            let _ = write!(out, "\"n\":\"{}\",", senml_name(&channel.name));
            if let Some(unit) = senml_unit(&channel.unit, &channel.name) {
                let _ = write!(out, "\"u\":\"{unit}\",");
            }
            if t_ms != readings.t_first {
                let _ = write!(out, "\"t\":{},", seconds(t_ms.saturating_sub(readings.t_first)));
            }
            let _ = write!(out, "{value}}}");
        }
    }
}

/// Letters, digits and `-:./_`; whatever else a name holds is `_`.
fn senml_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-:./_".contains(c);
    text.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The registered unit (RFC 8428, RFC 8798) where there is one; of others the registry says to leave them out.
fn senml_unit<'a>(unit: &'a str, name: &str) -> Option<&'a str> {
    Some(match unit {
        "°C" => "Cel",
        "%" if name.to_lowercase().contains("hum") => "%RH",
        "%" => "%",
        "V" | "A" | "W" | "Pa" | "hPa" | "K" | "m" | "mm" | "kg" | "g" | "s" | "lx" | "Hz" | "dB" | "dBm"
        | "m/s" | "km/h" | "lm" | "J" | "kWh" | "mV" | "mA" | "ppm" | "W/m2" | "deg" => unit,
        _ => return None,
    })
}

/// Milliseconds as a decimal number of seconds.
fn seconds(ms: i64) -> String {
    let (s, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let sign = if ms < 0 { "-" } else { "" };
    if rest == 0 { format!("{sign}{s}") } else { format!("{sign}{s}.{rest:03}").trim_end_matches('0').into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_registers() {
        for (unit, name, said) in [
            ("°C", "temperature", Some("Cel")),
            ("%", "Humidity", Some("%RH")),
            ("%", "battery", Some("%")),
            ("hPa", "pressure", Some("hPa")),
            ("µg/m³", "pm25", None),
            ("", "door", None),
            ("\",\"x\":\"", "bad", None),
        ] {
            assert_eq!(senml_unit(unit, name), said, "{unit} {name}");
        }
    }

    #[test]
    fn times_are_decimal_seconds() {
        let times = [(0, "0"), (1500, "1.5"), (-1, "-0.001"), (1_790_000_000_010, "1790000000.01")];
        for (ms, said) in times {
            assert_eq!(seconds(ms), said);
        }
    }
}
