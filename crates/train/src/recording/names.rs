//! Names and units out of a header.

/// Longest name a bundle keeps, bytes.
const NAME_LEN_MAX: usize = 32;
/// Longest unit a bundle keeps, bytes.
const UNIT_LEN_MAX: usize = 16;

/// How units are written in headers, lower case, and how they are shown.
const UNITS: [(&str, &str); 62] = [
    ("°c", "°C"),
    ("degc", "°C"),
    ("deg c", "°C"),
    ("celsius", "°C"),
    ("grad", "°C"),
    ("degf", "°F"),
    ("°f", "°F"),
    ("fahrenheit", "°F"),
    ("kelvin", "K"),
    ("pct", "%"),
    ("percent", "%"),
    ("prozent", "%"),
    ("%", "%"),
    ("%rh", "%"),
    ("% rh", "%"),
    ("%rf", "%"),
    ("ppm", "ppm"),
    ("ppb", "ppb"),
    ("lux", "lx"),
    ("lx", "lx"),
    ("hpa", "hPa"),
    ("kpa", "kPa"),
    ("pa", "Pa"),
    ("mbar", "mbar"),
    ("bar", "bar"),
    ("mv", "mV"),
    ("volt", "V"),
    ("volts", "V"),
    ("ma", "mA"),
    ("amp", "A"),
    ("amps", "A"),
    ("ampere", "A"),
    ("watt", "W"),
    ("watts", "W"),
    ("kw", "kW"),
    ("mw", "mW"),
    ("kwh", "kWh"),
    ("wh", "Wh"),
    ("kvar", "kvar"),
    ("var", "var"),
    ("va", "VA"),
    ("ugm3", "µg/m³"),
    ("ug/m3", "µg/m³"),
    ("µg/m3", "µg/m³"),
    ("μg/m3", "µg/m³"),
    ("µg/m³", "µg/m³"),
    ("mgm3", "mg/m³"),
    ("mg/m3", "mg/m³"),
    ("adu", "adu"),
    ("mm", "mm"),
    ("cm", "cm"),
    ("mps", "m/s"),
    ("m/s", "m/s"),
    ("kmh", "km/h"),
    ("km/h", "km/h"),
    ("db", "dB"),
    ("dbm", "dBm"),
    ("hz", "Hz"),
    ("khz", "kHz"),
    ("rpm", "rpm"),
    ("kg", "kg"),
    ("kg/m3", "kg/m³"),
];

/// Units of one letter: only after a separator, and only in the case people write them in.
const LETTERS: [(&str, &str); 6] = [("C", "°C"), ("F", "°F"), ("K", "K"), ("V", "V"), ("A", "A"), ("W", "W")];

/// A header split into the channel's name and its unit; the unit may be empty.
///
/// `temperature_C` → (`temperature`, `°C`); `temp (°C)` → (`temp`, `°C`); `co2.ppm` → (`co2`, `ppm`).
pub(super) fn split(header: &str) -> (String, String) {
    let header = header.trim();
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        if let Some((name, rest)) = header.split_once(open)
            && let Some(unit) = rest.trim_end().strip_suffix(close)
            && !name.trim().is_empty()
        {
            let unit = unit.trim();
            return (
                clean(name.trim_end_matches(['_', ' '])),
                known(unit, name).unwrap_or_else(|| cut(unit, UNIT_LEN_MAX)),
            );
        }
    }
    if let Some(at) = header.rfind(['_', ' ', '.', '-', '/'])
        && at > 0
        && let Some(unit) = header.get(at + 1..).and_then(|tail| known(tail, &header[..at]))
    {
        return (clean(&header[..at]), unit);
    }
    // `co_mg/m3`: the separator is part of the unit.
    if let Some((name, tail)) = header.rsplit_once('_')
        && !name.is_empty()
        && let Some(unit) = known(tail, name)
    {
        return (clean(name), unit);
    }
    (clean(header), String::new())
}

/// `tail` as a unit, if it is one beside this name.
fn known(tail: &str, name: &str) -> Option<String> {
    if let Some((_, unit)) = LETTERS.iter().find(|(letter, _)| *letter == tail) {
        return Some((*unit).to_string());
    }
    let (lower, name) = (tail.to_lowercase(), name.to_lowercase());
    let is_warmth = ["temp", "dew", "t_", "tmp"].iter().any(|part| name.contains(part)) || name == "t";
    match lower.as_str() {
        "c" if is_warmth => return Some("°C".into()),
        "f" if is_warmth => return Some("°F".into()),
        _ => {}
    }
    UNITS.iter().find(|(written, _)| *written == lower).map(|(_, unit)| (*unit).to_string())
}

/// A name without line breaks and control characters, at most 32 bytes.
fn clean(name: &str) -> String {
    let name: String = name.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(name.trim(), NAME_LEN_MAX)
}

/// The longest prefix of whole characters within `len_max` bytes.
pub(super) fn cut(text: &str, len_max: usize) -> String {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Makes each name its own, `header` first, then a number.
pub(super) fn make_unique(names: &mut [(String, String)], headers: &[String]) {
    for idx in 0..names.len() {
        let is_taken = |name: &str, names: &[(String, String)]| {
            name.is_empty() || names.iter().enumerate().any(|(other, n)| other != idx && n.0 == name)
        };
        if !is_taken(&names[idx].0, names) {
            continue;
        }
        let whole = clean(&headers[idx]);
        names[idx].0 = if !is_taken(&whole, names) {
            whole
        } else {
            let stem = cut(if whole.is_empty() { "channel" } else { &whole }, NAME_LEN_MAX - 5);
            (idx + 1..).map(|n| format!("{stem}_{n}")).find(|name| !is_taken(name, names)).unwrap_or_default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, name: &str, unit: &str) {
        assert_eq!(split(header), (name.to_string(), unit.to_string()), "{header}");
    }

    #[test]
    fn finds_units_where_people_put_them() {
        check("temperature_C", "temperature", "°C");
        check("humidity_pct", "humidity", "%");
        check("temp (°C)", "temp", "°C");
        check("Pressure [hPa]", "Pressure", "hPa");
        check("pm25_ugm3", "pm25", "µg/m³");
        check("co_mg/m3", "co", "mg/m³");
        check("active_kW", "active", "kW");
        check("temp_c", "temp", "°C");
        check("Luftfeuchte %", "Luftfeuchte", "%");
        check("s1_light_lux", "s1_light", "lx");
        check("flow (l/min)", "flow", "l/min");
    }

    #[test]
    fn leaves_names_without_units_alone() {
        check("temperature", "temperature", "");
        check("axis_c", "axis_c", "");
        check("C", "C", "");
        check("co2", "co2", "");
        check("(°C)", "(°C)", "");
    }

    #[test]
    fn names_fit_a_bundle_and_differ() {
        let headers: Vec<String> =
            ["temp_C", "temp_F", "", "é".repeat(40).as_str(), "temp_C"].map(String::from).into();
        let mut names: Vec<_> = headers.iter().map(|h| split(h)).collect();
        make_unique(&mut names, &headers);
        for (idx, (name, _)) in names.iter().enumerate() {
            assert!(!name.is_empty() && name.len() <= NAME_LEN_MAX, "{name}");
            assert!(names[..idx].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
