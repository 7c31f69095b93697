//! Stages that are calls of cargo.
//!
//! Everything in the dev profile is built as `--workspace --all-features`, so that it is built once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{M4, RV32};
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::run;

pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Workspaces beside the main one.
const BESIDE: &[&str] = &["firmware/esp32", "firmware/qemu", "fuzz"];

pub(super) fn fmt(context: &Context) -> Result<Tally> {
    let mut tally = Tally::default();
    for dir in std::iter::once(".").chain(BESIDE.iter().copied()) {
        let ran = run::show(
            context,
            &mut run::cargo(context, &context.root.join(dir), &["fmt", "--all", "--check"]),
            LONG,
        )?;
        tally.add(Tally::one(ran.ok));
    }
    Ok(tally)
}

pub(super) fn clippy(context: &Context) -> Result<Tally> {
    let args =
        ["clippy", "--workspace", "--all-features", "--all-targets", "--locked", "--", "-D", "warnings"];
    let ran = run::show(context, &mut run::cargo(context, &context.root, &args), LONG)?;
    Ok(Tally::one(ran.ok))
}

pub(super) fn unit(context: &Context) -> Result<Tally> {
    let mut tally = tests(context)?;
    // Neither runner above compiles the examples in the documentation.
    let doc = ["test", "--workspace", "--all-features", "--locked", "--doc"];
    let ran = run::show(context, &mut run::cargo(context, &context.root, &doc), LONG)?;
    let counted = counts::libtest(&ran.text).unwrap_or_default();
    tally.add(counted);
    if !ran.ok && counted.failed == 0 {
        return Err("the documentation tests did not compile".into());
    }
    Ok(tally)
}

/// The fuzz functions have a stage of their own: here they only see the corpus.
fn tests(context: &Context) -> Result<Tally> {
    let nextest = run::on_path("cargo-nextest");
    let args: &[&str] = if nextest {
        &[
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--locked",
            "--no-fail-fast",
            "--config-file",
            "xtask/nextest.toml",
        ]
    } else {
        &[
            "test",
            "--workspace",
            "--all-features",
            "--locked",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]
    };
    let ran = run::show(context, &mut run::cargo(context, &context.root, args), LONG)?;
    let counted = if nextest { counts::nextest(&ran.text) } else { counts::libtest(&ran.text) };
    match counted {
        Some(tally) if ran.ok || tally.failed > 0 => Ok(tally),
        _ => Err("the tests did not compile or did not run to their end".into()),
    }
}

pub(super) fn no_std(context: &Context) -> Result<Tally> {
    let mut tally = Tally::default();
    for target in [RV32, M4] {
        // The codec and what leans on it with none of its parts, and with each.
        for (package, features) in [
            ("kinglet-codec", ""),
            ("kinglet-codec", "every-part"),
            ("kinglet-wire", ""),
            ("kinglet-node", ""),
            ("kinglet-node", "kinglet-codec/every-part"),
        ] {
            let args = ["build", "--locked", "--package", package, "--no-default-features", "--lib"];
            let args = [&args[..], &["--features", features, "--target", target]].concat();
            let ran = run::show(context, &mut run::cargo(context, &context.root, &args), LONG)?;
            tally.add(Tally::one(ran.ok));
        }
    }
    Ok(tally)
}

/// Each of our crates with no feature, its defaults, and each feature alone. All together is clippy's case.
pub(super) fn features(context: &Context) -> Result<Tally> {
    let mut cargo =
        run::cargo(context, &context.root, &["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&run::stdout(&mut cargo)?)
        .map_err(|e| format!("cargo metadata printed something else: {e}"))?;
    let mut tally = Tally::default();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str().filter(|&n| n != "xtask") else { continue };
        for features in sets(&package["features"]) {
            let mut args = vec!["check", "--locked", "--package", name];
            args.extend(features.iter().map(String::as_str));
            let ran = run::show(context, &mut run::cargo(context, &context.root, &args), LONG)?;
            tally.add(Tally::one(ran.ok));
        }
    }
    // What a device leaves out of the codec changes nothing of the rest.
    for features in CODEC_PARTS {
        let args = ["test", "--locked", "--package", "kinglet-codec", "--no-default-features"];
        let args = [&args[..], &["--features", features, "--test", "parts"]].concat();
        let ran = run::show(context, &mut run::cargo(context, &context.root, &args), LONG)?;
        tally.add(counts::libtest(&ran.text).unwrap_or(Tally::one(false)));
    }
    Ok(tally)
}

/// Parts of the codec that are tested without the others.
const CODEC_PARTS: &[&str] = &["", "expected,latent", "fixed,predict", "counts,expected,references"];

fn sets(features: &serde_json::Value) -> Vec<Vec<String>> {
    let names: BTreeSet<&str> =
        features.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let none = || vec!["--no-default-features".to_string()];
    let mut sets = vec![none()];
    for name in names {
        if name == "default" {
            if features["default"].as_array().is_some_and(|d| !d.is_empty()) {
                sets.push(Vec::new());
            }
        } else {
            let mut set = none();
            set.extend(["--features".into(), name.into()]);
            sets.push(set);
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_feature_is_tried_alone() {
        let got = sets(&json!({ "default": ["a"], "a": [], "b": ["a"] }));
        assert_eq!(got.len(), 4, "none, default, a, b: {got:?}");
        assert_eq!(sets(&json!({ "default": [] })).len(), 1);
    }
}
