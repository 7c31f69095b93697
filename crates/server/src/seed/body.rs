//! The body of `POST /decode`: `{"latent_vector": [a, b]}`, read strictly.

use serde::Deserialize;
use serde_json::{Number, Value};

use super::Refused;

/// Oldest reading that is taken: a week.
const AGE_MAX_MS: u64 = 7 * 86_400_000;

/// What a body says.
#[derive(Debug)]
pub(crate) struct Body {
    /// The latent, as it was written.
    pub(crate) latent: Vec<Number>,
    /// How long ago the reading was taken: a sender that kept it while the network was away says so.
    pub(crate) age_ms: i64,
}

#[derive(Deserialize)]
struct Fields {
    latent_vector: Vec<Number>,
    #[serde(default)]
    age_ms: u64,
}

impl Body {
    /// The latent as the decoder takes it.
    pub(crate) fn latent_f32(&self) -> Vec<f32> {
        self.latent.iter().map(to_f32).collect()
    }
}

/// Reads a body whose latent has `latent_len` numbers, each of which a 32-bit float can hold.
///
/// Other fields are left alone, as the seed's server does. The body's length is limited before.
pub(crate) fn parse(bytes: &[u8], latent_len: usize) -> Result<Body, Refused> {
    let Ok(fields) = serde_json::from_slice::<Fields>(bytes) else { return Err(reason(bytes)) };
    if fields.latent_vector.len() != latent_len {
        return Err(Refused::Length { given: fields.latent_vector.len(), expected: latent_len });
    }
    if let Some(idx) = fields.latent_vector.iter().position(|n| !to_f32(n).is_finite()) {
        return Err(Refused::TooLarge { idx });
    }
    if fields.age_ms > AGE_MAX_MS {
        return Err(Refused::Age);
    }
    let age_ms = i64::try_from(fields.age_ms).unwrap_or(0);
    Ok(Body { latent: fields.latent_vector, age_ms })
}

fn to_f32(number: &Number) -> f32 {
    number.as_f64().map_or(f32::NAN, |number| number as f32)
}

/// Why a body that does not fit does not.
fn reason(bytes: &[u8]) -> Refused {
    let value = match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => value,
        Err(e) if e.is_syntax() && has_word(bytes) => return Refused::NoNumber,
        Err(_) => return Refused::NotJson,
    };
    let Value::Object(fields) = value else { return Refused::NotObject };
    match fields.get("latent_vector") {
        None => Refused::Missing,
        Some(Value::Array(list)) => match list.iter().position(|v| !v.is_number()) {
            Some(idx) => Refused::NotNumber { idx },
            // It fits now, so a field stands there twice, or the age is none.
            None if fields.get("age_ms").is_some_and(|age| !age.is_u64()) => Refused::Age,
            None => Refused::Twice,
        },
        Some(_) => Refused::NotList,
    }
}

/// What Python and JavaScript write for numbers that are none.
fn has_word(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    ["nan", "inf"].iter().any(|word| text.contains(word)) || number_overflows(bytes)
}

/// `1e999`: the grammar of JSON allows it, no float holds it.
fn number_overflows(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let numbers = text.split(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)));
    numbers.filter_map(|n| n.parse::<f64>().ok()).any(f64::is_infinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, word: &str) {
        let said = parse(body.as_bytes(), 2).map_or_else(|refused| refused.word(), |_| "taken");
        assert_eq!(said, word, "{body}");
    }

    #[test]
    fn only_two_numbers_are_two_numbers() {
        check(r#"{"latent_vector":[0.5,-1]}"#, "taken");
        check(" {\"more\": {\"a\": [1]}, \"latent_vector\" : [ 1e3 , 0 ] }\r\n", "taken");
        check(r#"{"latent_vector":[1,2],"age_ms":5000}"#, "taken");
        check("", "not_json");
        check("latent_vector=1", "not_json");
        check(r#"{"latent_vector":[1,2]"#, "not_json");
        check(r#"{"latent_vector":[1,2]} x"#, "not_json");
        check(r#"{"latent_vector":[1,2,]}"#, "not_json");
        check(r#"{"latent_vector":[NaN,1]}"#, "no_number");
        check(r#"{"latent_vector":[1,-Infinity]}"#, "no_number");
        check(r#"{"latent_vector":[1,1e999]}"#, "no_number");
        check(r#"{"latent_vector":[1,1e39]}"#, "too_large");
        check("[1,2]", "not_object");
        check("null", "not_object");
        check("{}", "missing");
        check(r#"{"latent":[1,2]}"#, "missing");
        check(r#"{"latent_vector":null}"#, "not_list");
        check(r#"{"latent_vector":"1,2"}"#, "not_list");
        check(r#"{"latent_vector":{"a":1}}"#, "not_list");
        check(r#"{"latent_vector":[]}"#, "length");
        check(r#"{"latent_vector":[1]}"#, "length");
        check(r#"{"latent_vector":[1,2,3]}"#, "length");
        check(r#"{"latent_vector":[null,1]}"#, "not_number");
        check(r#"{"latent_vector":["1","2"]}"#, "not_number");
        check(r#"{"latent_vector":[true,false]}"#, "not_number");
        check(r#"{"latent_vector":[[1,2]]}"#, "not_number");
        check(r#"{"latent_vector":[1,2],"latent_vector":[3,4]}"#, "twice");
        check(r#"{"latent_vector":[1,2],"age_ms":-5}"#, "age");
        check(r#"{"latent_vector":[1,2],"age_ms":99999999999}"#, "age");
        check(&format!(r#"{{"latent_vector":{}1{}}}"#, "[".repeat(2000), "]".repeat(2000)), "not_json");
    }

    #[test]
    fn numbers_keep_their_text() {
        let body = parse(br#"{"latent_vector":[1,-2.50]}"#, 2).unwrap();
        assert_eq!(body.latent.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1", "-2.5"]);
    }
}
