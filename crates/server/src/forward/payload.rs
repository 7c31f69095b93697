//! A window as others read it.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::Parcel;
use super::config::Format;
use crate::export::{self, Span, line_fields, line_name};
use crate::http::readings::value_json;
use crate::readings::to_f64;

/// The body of a message; nothing for [`Format::None`].
pub(super) fn body(format: Format, parcel: &Parcel) -> Option<Vec<u8>> {
    match format {
        Format::Json => Some(window_json(parcel).to_string().into_bytes()),
        Format::Senml => Some(senml(parcel).into_bytes()),
        Format::None => None,
    }
}

/// The media type of such a body.
pub(super) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Senml => "application/senml+json",
        _ => "application/json",
    }
}

/// Shape of `values`: `[samples × channels]`, by time.
fn window_json(parcel: &Parcel) -> Json {
    let readings = &parcel.readings;
    let channels = readings.channels.iter();
    let channels = channels.map(|c| json!({ "name": c.name, "unit": c.unit, "bound": to_f64(c.bound) }));
    let values = readings.samples().map(|(_, values)| values.iter().map(value_json).collect::<Vec<_>>());
    json!({
        "device": *parcel.device,
        "window": parcel.window_id(),
        "t_first": readings.t_first,
        "t_arrival": parcel.t_arrival,
        "period_ms": readings.period_ms,
        "time_quality": readings.t_quality.word(),
        "channels": channels.collect::<Vec<_>>(),
        "values": values.collect::<Vec<_>>(),
    })
}

/// A pack of its own, on one line: what listens to a broker often takes a line for a message.
fn senml(parcel: &Parcel) -> String {
    let mut pack = String::from(export::Format::SenMl.head());
    export::Format::SenMl.window(&parcel.device, &parcel.readings, Span::ALL, true, &mut pack);
    pack += export::Format::SenMl.tail();
    // Only between records: names in a pack have none.
    pack.retain(|c| c != '\n');
    pack
}

/// Appends the window as lines of InfluxDB's protocol, times in milliseconds. A sample without a value has no line.
pub(super) fn lines(measurement: &str, parcel: &Parcel, out: &mut String) {
    let device = line_name(&parcel.device);
    let measurement = measurement.replace('\\', "_").replace(',', "\\,").replace(' ', "\\ ");
    for (t_ms, values) in parcel.readings.samples() {
        let fields = line_fields(&parcel.readings, values);
        if !fields.is_empty() {
            let _ = writeln!(out, "{measurement},device={device} {fields} {t_ms}");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::readings::{ChannelInfo, Readings, Value};
    use crate::store::{FrameId, LogPlace, TimeQuality};

    /// Two samples of two channels, 1.5 s apart, the second value of the first missing.
    pub(in crate::forward) fn parcel(device: &str, channels: [(&str, &str); 2]) -> Parcel {
        let channel = |(name, unit): (&str, &str)| ChannelInfo {
            name: name.into(),
            unit: unit.into(),
            bound: "0.05".parse().unwrap(),
            digits: 1,
        };
        let number = |text: &str| Value::Number(text.parse().unwrap());
        let readings = Readings {
            channels: channels.map(channel).into(),
            t_first: 1_790_000_000_500,
            period_ms: 1500,
            t_quality: TimeQuality::Clock,
            values: vec![number("21.5"), Value::Missing, number("-3"), Value::Above],
        };
        let origin = FrameId { generation: 2, counter: 7 };
        let (at, device) = (LogPlace::default(), Arc::from(device));
        Parcel { at, short_id: 1, device, origin, t_arrival: 1_790_000_004_000, readings }
    }

    fn usual() -> Parcel {
        parcel("porch", [("temperature", "°C"), ("humidity", "%")])
    }

    #[test]
    fn json_says_everything() {
        let body: Json = serde_json::from_slice(&body(Format::Json, &usual()).unwrap()).unwrap();
        assert_eq!(body["values"], json!([[21.5, null], [-3, "above"]]));
        assert_eq!((&body["window"], &body["device"]), (&json!("2-7"), &json!("porch")));
        assert_eq!(body["channels"][0], json!({ "name": "temperature", "unit": "°C", "bound": 0.05 }));
    }

    #[test]
    fn senml_resolves_to_what_was_read() {
        let pack = body(Format::Senml, &usual()).unwrap();
        assert!(!pack.contains(&b'\n'), "a line is a message");
        let pack: Json = serde_json::from_slice(&pack).unwrap();
        let expected = json!([
            { "bn": "porch:", "bt": 1_790_000_000.5, "n": "temperature", "u": "Cel", "v": 21.5 },
            { "n": "temperature", "u": "Cel", "v": -3, "t": 1.5 },
            { "n": "humidity", "u": "%RH", "vs": "above", "t": 1.5 },
        ]);
        assert_eq!(pack, expected);
    }

    #[test]
    fn lines_have_the_values_there_are() {
        let mut out = String::new();
        lines("kinglet", &usual(), &mut out);
        let expected = "kinglet,device=porch temperature=21.5 1790000000500\n\
                        kinglet,device=porch temperature=-3,humidity_outside=\"above\" 1790000002000\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn no_name_breaks_out() {
        for name in
            ["a,b=c d", "x\" y\\", "a\r\nkinglet,device=other x=1 1", "\u{0}", "", "\\", "time", "{{ 1 }}"]
        {
            let bad = parcel(name, [(name, name), ("b", "")]);
            let mut out = String::new();
            lines("a b,c", &bad, &mut out);
            assert_eq!(out.lines().count(), 2, "{out}");
            for line in out.lines() {
                // Unescaped, a line has two spaces, and as many `=` as fields and one tag.
                let plain = line.replace("\\,", "").replace("\\ ", "").replace("\\=", "");
                assert_eq!((plain.matches(' ').count(), plain.matches('\\').count()), (2, 0), "{line}");
                assert!(matches!(plain.matches('=').count(), 2 | 3), "{line}");
            }
            let pack: Vec<Json> = serde_json::from_slice(&body(Format::Senml, &bad).unwrap()).unwrap();
            assert_eq!(pack.len(), 3);
            let _: Json = serde_json::from_slice(&body(Format::Json, &bad).unwrap()).unwrap();
        }
    }
}
