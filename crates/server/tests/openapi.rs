//! What `/openapi.json` says is what is answered.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Rig, T0, bundle, code, request, seed_latent, seed_parts};
use kinglet_server::store::{AlertChange, NewAlert};
use serde_json::Value;

/// Checks an answer against a shape, as far as our shapes go: types, what must be there, and nothing else.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(to) = schema["$ref"].as_str() {
        let named =
            document.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("{to} is not there"));
        return check(document, named, value, at);
    }
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |wanted: &Value| wanted == is || (wanted == "number" && is == "integer");
    let wanted = &schema["type"];
    let good = wanted.as_array().map_or_else(|| fits(wanted), |any| any.iter().any(fits));
    assert!(good, "{at} is {is}, not {wanted}");
    if let Some(any) = schema["enum"].as_array() {
        assert!(any.contains(value), "{at}: {value}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at} lacks {name}");
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let schema = schema["properties"].get(name).unwrap_or_else(|| panic!("{at} has {name}, unsaid"));
        check(document, schema, value, &format!("{at}.{name}"));
    }
    for value in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], value, &format!("{at}[]"));
    }
}

fn frost(device: u32) -> AlertChange {
    let detail = r#"{"value": 1.5, "limit": 2.0, "side": "below", "t": "2026-09-21T13:33:20Z"}"#.into();
    let (rule, kind, channel) = ("frost".into(), "range".into(), "temperature".into());
    let said = "temperature was 1.5 °C, below 2 °C".into();
    let alert = NewAlert { rule, kind, device, channel, said, detail, t_raised: T0 };
    AlertChange::Raise { alert, to: Vec::new() }
}

#[tokio::test]
async fn every_answer_has_the_shape_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::decoding(dir.path(), seed_parts(), |_| {}).await;
    let mut device = rig.ready_device("x").await;
    rig.post_frame(&device.window(T0, &code(&bundle("climate", 8), |_| [215, 40]))).await;
    let latent = seed_latent(21.5);
    let body = format!("{{\"latent_vector\": [{}, {}]}}", latent[0], latent[1]);
    let kind = [("content-type", "application/json")];
    let decoded = request(rig.seed_addr.unwrap(), "POST", "/decode?device=x", &kind, body.as_bytes()).await;
    assert_eq!(decoded.status, 200, "{}", decoded.text());
    rig.settle().await;
    let document = rig.get("/openapi.json").await.json();
    let token = std::fs::read_to_string(kinglet_server::vault::token_path(dir.path())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let with = [("authorization", bearer.as_str())];
    let bundle = bundle("other", 16).emit();
    rig.core.store.change_alerts(vec![frost(device.short_id)]).await.unwrap();
    let mut n_checked = 0;
    // What adds comes before what lists, so that no list is empty.
    for method in ["post", "get", "delete"] {
        for (path, methods) in document["paths"].as_object().unwrap() {
            let Some(operation) = methods.get(method) else { continue };
            let schema_of = |content: &Value| content["application/json"]["schema"].clone();
            let body = match path.as_str() {
                "/v1/devices" => br#"{"id": "y", "name": "Y"}"#.to_vec(),
                "/v1/users" => {
                    br#"{"name": "x", "role": "admin", "password": "correct horse battery"}"#.to_vec()
                }
                "/v1/tokens" => {
                    br#"{"name": "x", "role": "viewer", "expires": "2027-01-01T00:00:00Z"}"#.to_vec()
                }
                "/v1/bundles" => bundle.clone(),
                _ => Vec::new(),
            };
            if let (Ok(sent), Some(content)) =
                (serde_json::from_slice(&body), operation["requestBody"].get("content"))
                && !schema_of(content).is_null()
            {
                check(&document, &schema_of(content), &sent, path);
            }
            let (status, good) = operation["responses"].as_object().unwrap().iter().next().unwrap();
            let is_stream = good["content"].get("text/event-stream").is_some();
            // What devices and networks send has tests of its own.
            let is_for_devices = ["/v1/frames", "/v1/join", "/v1/lorawan/tts", "/v1/bundles/{fingerprint}"]
                .contains(&path.as_str());
            if is_stream || is_for_devices {
                continue;
            }
            let target = path.replace("{id}", "x").replace("{name}", "x");
            let answer = request(rig.addr, &method.to_uppercase(), &target, &with, &body).await;
            assert_eq!(answer.status.to_string(), *status, "{method} {path}: {}", answer.text());
            let schema = schema_of(&good["content"]);
            if !schema.is_null() {
                check(&document, &schema, &answer.json(), path);
                assert!(!answer.text().contains(":[]}"), "{path} has nothing to check: {}", answer.text());
                n_checked += 1;
            }
        }
    }
    assert!(n_checked >= 12, "{n_checked}");
    let unknown = request(rig.addr, "GET", "/v1/devices/nobody", &with, b"").await.json();
    check(&document, &document["components"]["schemas"]["Problem"], &unknown, "a problem");
    rig.stop().await;
}
