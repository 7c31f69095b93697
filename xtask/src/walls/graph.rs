//! Walls on the dependency graph: `cargo metadata` says who uses whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::Project;

/// Which of our crates each of them may use, and which more its tests may.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("kinglet-codec", &[], &[]),
    ("kinglet-wire", &[], &[]),
    ("kinglet-node", &["kinglet-codec", "kinglet-wire"], &["kinglet-train"]),
    ("kinglet-train", &["kinglet-codec"], &[]),
    ("kinglet-server", &["kinglet-codec", "kinglet-wire"], &["kinglet-node", "kinglet-train"]),
    ("kinglet", &["kinglet-codec", "kinglet-node", "kinglet-server", "kinglet-train", "kinglet-wire"], &[]),
    (
        "xtask",
        &[],
        &["kinglet", "kinglet-codec", "kinglet-node", "kinglet-server", "kinglet-train", "kinglet-wire"],
    ),
];

/// Crates that must not come near a device crate without a feature, however deep: what randomness, a clock,
/// a socket or the bundle file would come through.
const NOT_ON_DEVICE: &[&str] = &["tokio", "getrandom", "libc", "socket2", "safetensors", "serde_json"];
const DEVICE: &[&str] = &["kinglet-codec", "kinglet-wire", "kinglet-node"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Our crates use only whom they may. A crate that is not in the table breaks the wall too.
pub(super) fn edges(project: &Project) -> Vec<String> {
    let mut breaches = Vec::new();
    let ours: BTreeSet<&str> = packages(project).filter(|p| p["source"].is_null()).filter_map(name).collect();
    for package in packages(project).filter(|p| p["source"].is_null()) {
        let Some(name) = name(package) else { continue };
        let Some((_, may, tests_may)) = EDGES.iter().find(|(of, ..)| *of == name) else {
            breaches.push(format!("{name} is a new crate: say in xtask/src/walls/graph.rs what it may use"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(to) = dependency["name"].as_str().filter(|to| ours.contains(to)) else { continue };
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if !(may.contains(&to) || in_tests && tests_may.contains(&to)) {
                breaches.push(format!("{name} uses {to}"));
            }
        }
    }
    for device in DEVICE {
        for found in reach(project, device) {
            if NOT_ON_DEVICE.contains(&found.as_str()) {
                breaches
                    .push(format!("{device} reaches {found} without any feature: see cargo tree -i {found}"));
            }
        }
    }
    breaches
}

/// No git dependency, no other registry, no path out of the tree.
pub(super) fn sources(project: &Project) -> Vec<String> {
    let root = project.metadata["workspace_root"].as_str().unwrap_or_default();
    let mut breaches = Vec::new();
    for package in packages(project) {
        let name = name(package).unwrap_or_default();
        let inside = package["manifest_path"].as_str().is_some_and(|path| path.starts_with(root));
        match package["source"].as_str() {
            None if inside => {}
            Some(REGISTRY) => {}
            None => breaches.push(format!("{name} lies outside the tree")),
            Some(other) => breaches.push(format!("{name} comes from {other}")),
        }
    }
    for file in project.files.iter().filter(|f| f.path.ends_with("Cargo.lock")) {
        let elsewhere = file.text.lines().filter(|l| l.starts_with("source = ") && !l.contains(REGISTRY));
        breaches.extend(elsewhere.map(|l| format!("{}: {l}", file.path)));
    }
    breaches
}

/// Each crate says what it is and under which licence.
pub(super) fn described(project: &Project) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in packages(project).filter(|p| p["source"].is_null()) {
        for field in ["description", "license"] {
            if package[field].as_str().unwrap_or_default().is_empty() {
                breaches.push(format!("{} has no {field}", name(package).unwrap_or_default()));
            }
        }
    }
    breaches
}

/// Crates that `from` needs with all its dependencies mandatory: optional ones come with host features.
fn reach(project: &Project, from: &str) -> BTreeSet<String> {
    let by_id: HashMap<&str, &Value> =
        packages(project).filter_map(|p| Some((p["id"].as_str()?, p))).collect();
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in project.metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let Some(id) = node["id"].as_str() else { continue };
        for dep in node["deps"].as_array().into_iter().flatten() {
            let normal = dep["dep_kinds"].as_array().into_iter().flatten().any(|k| k["kind"].is_null());
            let Some(to) = dep["pkg"].as_str().filter(|_| normal) else { continue };
            let to_name = by_id.get(to).and_then(|p| name(p)).unwrap_or_default();
            let optional = by_id.get(id).is_some_and(|p| is_optional(p, to_name));
            if !optional {
                edges.entry(id).or_default().push(to);
            }
        }
    }
    let start = packages(project).find(|p| name(p) == Some(from)).and_then(|p| p["id"].as_str());
    let mut open: Vec<&str> = start.into_iter().collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(edges.get(id).into_iter().flatten());
        }
    }
    seen.iter().filter_map(|id| name(by_id.get(id)?)).map(String::from).collect()
}

fn is_optional(package: &Value, dependency: &str) -> bool {
    let mut of = package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|d| d["name"].as_str() == Some(dependency) && d["kind"].is_null());
    // Declared only for other targets (wasm, Windows) counts like optional: it is not on our chips.
    of.all(|d| d["optional"] == Value::Bool(true) || !d["target"].is_null())
}

fn packages(project: &Project) -> impl Iterator<Item = &Value> {
    project.metadata["packages"].as_array().into_iter().flatten()
}

fn name(package: &Value) -> Option<&str> {
    package["name"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(packages: Value) -> Project {
        Project { metadata: json!({ "packages": packages, "workspace_root": "/root" }), files: Vec::new() }
    }

    fn uses(from: &str, to: &str, kind: Value) -> Project {
        with(json!([
            { "name": from, "dependencies": [{ "name": to, "kind": kind }] },
            { "name": to, "dependencies": [] },
        ]))
    }

    #[test]
    fn codec_and_wire_never_meet() {
        assert_eq!(
            edges(&uses("kinglet-codec", "kinglet-wire", Value::Null)),
            ["kinglet-codec uses kinglet-wire"]
        );
        assert_eq!(
            edges(&uses("kinglet-wire", "kinglet-codec", json!("dev"))),
            ["kinglet-wire uses kinglet-codec"]
        );
    }

    #[test]
    fn the_server_meets_the_node_only_in_tests() {
        assert!(edges(&uses("kinglet-server", "kinglet-node", json!("dev"))).is_empty());
        assert_eq!(edges(&uses("kinglet-server", "kinglet-node", Value::Null)).len(), 1);
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        assert_eq!(edges(&with(json!([{ "name": "kinglet-utils", "dependencies": [] }]))).len(), 1);
    }

    #[test]
    fn sources_outside_are_seen() {
        let package = |source: Value, path: &str| {
            sources(&with(json!([{ "name": "x", "source": source, "manifest_path": path }]))).len()
        };
        assert_eq!(package(json!(REGISTRY), "/home/x"), 0);
        assert_eq!(package(Value::Null, "/root/crates/x/Cargo.toml"), 0);
        assert_eq!(package(Value::Null, "/elsewhere/Cargo.toml"), 1);
        assert_eq!(package(json!("git+https://example.org/x"), "/home/x"), 1);
    }
}
