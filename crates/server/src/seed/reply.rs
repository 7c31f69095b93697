//! The answer, in the fields and with the rounding of the seed's server.

use std::fmt::Write as _;

use kinglet_codec::seed::SeedModel;
use serde_json::{Number, Value, json};

/// `{"reconstructed_temperature_celsius": 24.74, "received_latent_vector": [a, b]}`.
///
/// A bundle of anything but single temperatures has `reconstructed` instead: for each channel its samples.
pub(super) fn body(model: &SeedModel, plaintext: bool, values: &[f32], latent: &[Number]) -> String {
    let mut text = String::with_capacity(96 + 24 * latent.len());
    text.push('{');
    match (plaintext, model.channels(), values) {
        (false, ..) => {}
        (true, [channel], [value]) if channel.unit == "°C" => {
            let _ = write!(text, "\"reconstructed_temperature_celsius\":{},", json!(rounded(*value)));
        }
        (true, channels, values) => {
            let each = channels.iter().enumerate().map(|(c, channel)| {
                let samples = values.iter().skip(c).step_by(channels.len()).map(|v| json!(rounded(*v)));
                (channel.name.clone(), Value::Array(samples.collect()))
            });
            let _ = write!(text, "\"reconstructed\":{},", Value::Object(each.collect()));
        }
    }
    text.push_str("\"received_latent_vector\":[");
    for (i, number) in latent.iter().enumerate() {
        let _ = write!(text, "{}{number}", if i == 0 { "" } else { "," });
    }
    text.push_str("]}");
    text
}

/// To two decimals as Python's `round` does: by the exact value, ties to even. Never `-0`.
pub(super) fn rounded(value: f32) -> f64 {
    format!("{value:.2}").parse::<f64>().unwrap_or(0.0) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_decimals_as_python_rounds() {
        // round(float(np.float32(x)), 2)
        for (value, text) in [
            (24.744f32, "24.74"),
            (0.125, "0.12"),
            (0.375, "0.38"),
            (2.675, "2.67"),
            (50.0, "50.0"),
            (-0.001, "0.0"),
        ] {
            assert_eq!(json!(rounded(value)).to_string(), text, "{value}");
        }
    }
}
