//! `GET /openapi.json`: what programs may ask for, in OpenAPI 3.1, made of the table of routes.

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::route::{About, Content, Needs, Route};
use super::table::ROUTES;

/// Every shape that is spoken of, by name.
const SCHEMAS: &str = include_str!("../../assets/openapi.json");

pub(crate) async fn serve() -> impl IntoResponse {
    // The media type's own name is not registered yet; this is what tools look for.
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document().to_string())
}

/// The whole description.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let Some(about) = &route.about else { continue };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, about);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kinglet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What devices have sent, and who they are. Errors are `application/problem+json`. \
                            Without users on the server what a viewer may see needs no login.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": serde_json::from_str::<Value>(SCHEMAS).unwrap_or_default(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "From `kinglet token add`." },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "kinglet",
                    "description": "Of a browser that has logged in at /login; by TLS its name is `__Host-kinglet`.",
                },
            },
        },
    })
}

fn operation(route: &Route, about: &About) -> Value {
    let in_path = names_in(route.path).map(|name| {
        let schema = if name == "id" || route.path.contains("/seed/") { "device_id" } else { "name" };
        json!({ "name": name, "in": "path", "required": true, "schema": schema_ref(schema) })
    });
    let in_query = about.query.iter().map(|(name, schema, means)| {
        json!({ "name": name, "in": "query", "description": means, "schema": schema_ref(schema) })
    });
    let mut responses = Map::new();
    let mut good = json!({ "description": "All is well." });
    if !about.answer.is_empty() {
        good["content"] = contents(about.answer);
    }
    responses.insert(about.status.to_string(), good);
    responses.insert(
        "default".into(),
        json!({
            "description": "It was refused or could not be done; `detail` says what to do next.",
            "content": { "application/problem+json": { "schema": schema_ref("Problem") } },
        }),
    );
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": about.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": responses,
        "security": match role_of(route.needs) {
            Some(_) => json!([{ "token": [] }, { "session": [] }]),
            None => json!([]),
        },
    });
    if let Some(role) = role_of(route.needs) {
        operation["x-kinglet-role"] = role.into();
    }
    if !about.body.is_empty() {
        operation["requestBody"] = json!({ "required": true, "content": contents(about.body) });
    }
    operation
}

/// The role that is wanted, in a word.
pub(crate) fn role_of(needs: Needs) -> Option<&'static str> {
    match needs {
        Needs::Seal | Needs::Nothing | Needs::OwnName => None,
        Needs::Page(role) | Needs::Role(role) => Some(role.word()),
        Needs::Metrics => Some(crate::store::Role::Viewer.word()),
    }
}

/// `get_v1_devices_id_readings`: stays the same as long as method and address do.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let method = route.method.as_str().to_ascii_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn contents(contents: &[Content]) -> Value {
    let one = |(kind, schema): &Content| {
        let schema = if schema.is_empty() { json!({}) } else { json!({ "schema": schema_ref(schema) }) };
        ((*kind).to_owned(), schema)
    };
    Value::Object(contents.iter().map(one).collect())
}

fn schema_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn refs(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.insert(to.trim_start_matches("#/components/schemas/").to_owned());
                }
                map.values().for_each(|value| refs(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| refs(value, found)),
            _ => {}
        }
    }

    #[test]
    fn it_has_every_route_of_the_api_and_no_other() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let said: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |m| (m.to_uppercase(), path.clone()))
            })
            .collect();
        let there: BTreeSet<_> = super::super::routes()
            .filter(|route| route.about.is_some() || route.path.starts_with("/v1/"))
            .map(|route| (route.method.to_string(), route.path.to_owned()))
            .collect();
        assert_eq!(said, there);
        let ids: BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn every_shape_is_there_and_spoken_of() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(!schemas.is_empty(), "the file of shapes is no JSON");
        let mut named = BTreeSet::new();
        refs(&document, &mut named);
        let there: BTreeSet<_> = schemas.keys().cloned().collect();
        // The data of a live event is in the middle of a text.
        named.insert("LiveReadings".into());
        assert_eq!(named, there);
    }
}
