//! Bundles over the air, with the real binary on both ends: signed, offered, fetched, tried, kept; or refused.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use kinglet_codec::Grid;
use kinglet_codec::bundle::Bundle;
use kinglet_codec::learn::{Outline, Parts};
use serde_json::Value;
use support::{Place, Running, serve_by};

/// Tenths of a degree, lossless; `n` samples, one a minute.
fn bundle(n: u16, name: &str) -> Vec<u8> {
    let tenths = Grid { scale: 1, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    let device = Parts::untrained(n, 60_000, &[Outline::new(name, tenths, (-400, 800))]).emit();
    Bundle::new("room", device, serde_json::json!({})).unwrap().emit()
}

fn csv(from: usize, n: usize) -> String {
    let row = |i: usize| format!("{},{}.{}\n", 1_700_000_000 + 60 * i, 20 + i % 5, i * 7 % 10);
    (from..from + n).fold(String::from("time,temp\n"), |csv, i| csv + &row(i))
}

/// A server with `porch`, which takes updates signed by `updates.key` and uses `old.kinglet`.
fn place() -> (Place, Running) {
    place_by("url")
}

/// The same, where the device speaks to this one of the server's addresses.
fn place_by(way: &str) -> (Place, Running) {
    let place = Place::new();
    place.file("old.kinglet", bundle(4, "temp"));
    place.file("new.kinglet", bundle(12, "temp"));
    let doors = ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0"];
    let (server, ready) = serve_by(&place, &doors);
    place.run(&["bundles", "keygen", "--out", "updates.key"]).ok();
    let add =
        ["device", "add", "porch", "--data", "data", "--bundle", "old.kinglet", "--key-out", "porch.key"];
    place
        .run(
            &[&add[..], &["--server", ready[way].as_str().unwrap(), "--update-key", "updates.key.pub"]]
                .concat(),
        )
        .ok();
    (place, server)
}

fn sign(place: &Place, file: &str, key: &str, serial: &str) {
    let sign = ["bundles", "sign", file, "--key", key, "--serial", serial, "--out", "signed.kinglet"];
    place.run(&[&sign[..], &["--force"]].concat()).ok();
}

fn send(place: &Place, from: usize, n: usize) -> Value {
    place.file("r.csv", csv(from, n));
    let send = [
        "send",
        "--key",
        "porch.key",
        "--bundle",
        "old.kinglet",
        "--outbox",
        "porch.outbox",
        "--json",
        "r.csv",
    ];
    place.run(&send).ok().json()
}

fn shown(place: &Place) -> Value {
    place.run(&["device", "show", "porch", "--data", "data", "--json"]).ok().json()
}

#[test]
fn a_bundle_goes_over_the_air_and_everything_measured_arrives() {
    changes_by("url");
}

#[test]
fn a_bundle_goes_over_the_air_by_mqtt() {
    changes_by("mqtt");
}

#[test]
fn a_bundle_goes_over_the_air_by_coap() {
    changes_by("coap");
}

fn changes_by(way: &str) {
    let (place, _server) = place_by(way);
    let before = send(&place, 0, 40);
    assert_eq!(shown(&place)["update"]["serial"], 0, "{}", shown(&place));
    sign(&place, "new.kinglet", "updates.key", "7");
    let offer = ["bundles", "offer", "signed.kinglet", "--to", "porch", "--data", "data", "--json"];
    let offered = place.run(&offer).ok().json();
    assert_eq!(shown(&place)["update"]["offered"]["open"], true);
    // Told when it first speaks again; fetched, and on trial, before this ends.
    let during = send(&place, 40, 40);
    assert_eq!(during["bundle"], offered["fingerprint"], "{during}");
    assert_ne!(before["bundle"], during["bundle"]);
    // The next readings are coded with it; the first ack ends the trial.
    send(&place, 80, 40);
    send(&place, 120, 2);
    let update = &shown(&place)["update"];
    assert_eq!((&update["serial"], &update["trial"]), (&7.into(), &false.into()), "{update}");
    assert_eq!(
        (&update["fingerprint"], &update["offered"]["open"]),
        (&offered["fingerprint"], &false.into())
    );
    let offers = place.run(&["bundles", "offers", "--data", "data", "--json"]).ok().json();
    assert_eq!((&offers["offers"][0]["in_use"], &offers["offers"][0]["refused"]), (&1.into(), &0.into()));
    // Every reading, once, with its own time, whichever bundle it was coded with.
    let export = ["readings", "export", "--device", "porch", "--data", "data"];
    let text = place.run(&export).ok().out;
    let numbers = |text: &str, column: usize| -> Vec<f64> {
        let cell = |line: &str| line.split(',').nth(column).unwrap().parse().unwrap();
        text.lines().skip(1).map(cell).collect()
    };
    assert_eq!(numbers(&text, 4), numbers(&csv(0, 122), 1));
    let withdraw = ["bundles", "withdraw", "signed.kinglet", "--data", "data", "--json"];
    assert_eq!(place.run(&withdraw).ok().json()["withdrawn"], 1);
    assert_eq!(shown(&place)["update"]["offered"], Value::Null);
}

#[test]
fn what_another_key_has_signed_or_is_for_other_channels_does_not_get_in() {
    let (place, _server) = place();
    send(&place, 0, 8);
    place.run(&["bundles", "keygen", "--out", "other.key"]).ok();
    sign(&place, "new.kinglet", "other.key", "9");
    let offer = ["bundles", "offer", "signed.kinglet", "--percent", "100", "--data", "data"];
    assert!(place.run(&offer).ok().out.contains("which 1 have now"));
    let sent = send(&place, 8, 8);
    let update = &shown(&place)["update"];
    assert_eq!(update["fingerprint"], sent["bundle"]);
    assert_eq!((&update["serial"], &update["trial"]), (&0.into(), &false.into()));
    assert_eq!(update["refused"], serde_json::json!({ "serial": 9, "why": "signature" }));
    // What is for other channels is not even offered by name, and what is not signed to nobody.
    place.file("other.kinglet", bundle(4, "pressure"));
    sign(&place, "other.kinglet", "updates.key", "10");
    let offer = ["bundles", "offer", "signed.kinglet", "--to", "porch", "--data", "data"];
    place.run(&offer).fails(3, &["other channels", "porch"]);
    let fleet = ["bundles", "offer", "signed.kinglet", "--percent", "100", "--data", "data"];
    let offered = place.run(&fleet).ok().out;
    assert!(offered.contains("no device that has been heard has just these channels"), "{offered}");
    let offer = ["bundles", "offer", "new.kinglet", "--to", "porch", "--data", "data"];
    place.run(&offer).fails(3, &["not signed", "bundles sign"]);
}

/// A bundle of the starter's channels and bounds with nothing learned: another model.
fn unlearned(place: &Place) {
    place.run(&["bundles", "export", "dht22"]).ok();
    let starter = Bundle::parse(&std::fs::read(place.path("dht22.kinglet")).unwrap()).unwrap();
    let model = starter.model();
    let outline = |idx| {
        let channel = model.channel(idx);
        Outline { unit: channel.unit.into(), ..Outline::new(channel.name, channel.grid, (-400, 1000)) }
    };
    let outlines: Vec<Outline> = (0..model.channels()).map(outline).collect();
    let device = Parts::untrained(16, model.period_ms(), &outlines).emit();
    place.file("new.kinglet", Bundle::new("new", device, serde_json::json!({})).unwrap().emit());
}

/// Virtual devices change their bundle and lose nothing, over a link that loses a tenth. A piece that is lost is asked for
/// again after five seconds, and the first ack that ends a trial is for a window measured after that.
fn fleet(place: &Place, seconds: &str, more: &[&str]) {
    let simulate =
        ["simulate", "--devices", "6", "--rate", "30/s", "--seconds", seconds, "--loss", "10%", "--json"];
    let ran = place.run(&[&simulate[..], &["--update", "new.kinglet"], more].concat()).ok().json();
    assert_eq!(
        (&ran["updated"], &ran["verified"]["missing"], &ran["duplicates"]),
        (&6.into(), &0.into(), &0.into()),
        "{more:?}"
    );
    assert!(ran["max_error_over_bound"].as_f64().unwrap() <= 1.0);
}

#[test]
fn a_fleet_changes_its_bundle_over_a_link_that_loses_a_tenth() {
    let place = Place::new();
    unlearned(&place);
    fleet(&place, "4", &[]);
}

#[test]
fn a_fleet_does_so_by_mqtt() {
    let place = Place::new();
    unlearned(&place);
    let (_server, ready) = serve_by(&place, &["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
    fleet(&place, "12", &["--data", "data", "--server", ready["mqtt"].as_str().unwrap()]);
}

#[test]
fn a_fleet_does_so_by_coap() {
    let place = Place::new();
    unlearned(&place);
    let (_server, ready) = serve_by(&place, &["--http", "127.0.0.1:0", "--coap", "127.0.0.1:0"]);
    fleet(&place, "12", &["--data", "data", "--server", ready["coap"].as_str().unwrap()]);
}

#[test]
fn keys_are_kept_apart() {
    let place = Place::new();
    place.file("b.kinglet", bundle(4, "temp"));
    place.run(&["bundles", "keygen", "--out", "updates.key"]).ok();
    place.run(&["bundles", "keygen", "--out", "updates.key"]).fails(6, &["updates.key"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(place.path("updates.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let secret = std::fs::read_to_string(place.path("updates.key")).unwrap();
    let digits = secret.trim().rsplit(':').next().unwrap();
    // The one that signs is not given to devices, and the one they get signs nothing.
    let add = ["device", "add", "porch", "--data", "data", "--update-key", "updates.key"];
    let ran = place.run(&add).fails(3, &["no such key", ".pub"]);
    assert!(!ran.err.contains(digits) && !ran.out.contains(digits));
    let sign = ["bundles", "sign", "b.kinglet", "--key", "updates.key.pub", "--out", "s.kinglet"];
    place.run(&sign).fails(3, &["no such key", "keygen"]);
    let sign = ["bundles", "sign", "b.kinglet", "--key", "updates.key", "--out", "s.kinglet", "--json"];
    let signed = place.run(&sign).ok();
    let inspected = place.run(&["inspect", "s.kinglet", "--json"]).ok().json();
    assert_eq!(inspected["update"], signed.json()["serial"]);
    assert!(!signed.out.contains(digits) && signed.json()["serial"].as_u64().unwrap() > 1_700_000_000);
}
