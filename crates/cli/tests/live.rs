//! A real server, real devices, real sockets: what is acknowledged is stored, once, within the bound.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use support::{Place, plain_bundle, plain_csv, serve, serve_by};

fn place() -> Place {
    let place = Place::new();
    place.file("b.kinglet", plain_bundle());
    place.file("d.csv", plain_csv(60));
    place
}

const SEND: [&str; 8] =
    ["send", "--key", "porch.key", "--bundle", "b.kinglet", "--patience", "20s", "--json"];

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

#[test]
fn readings_go_from_a_file_to_the_server_through_a_failure() {
    let place = place();
    let (server, url) = serve(&place, "127.0.0.1:0");
    let add = ["device", "add", "porch", "--data", "data", "--bundle", "b.kinglet"];
    let added = place.run(&with(&add, &["--server", &url, "--key-out", "porch.key", "--json"])).ok().json();
    assert!(added["key"].is_null() && added["uri"].is_null(), "the key lies in the file alone: {added}");

    let sent = place.run(&with(&SEND, &["d.csv"])).ok().json();
    // 31 samples up to the gap, 29 behind it, in windows of 8.
    assert_eq!((sent["samples"].as_u64(), sent["windows_acked"].as_u64()), (Some(60), Some(8)), "{sent}");
    assert_eq!(sent["windows_waiting"], 0);

    // The server is gone: what is new waits in the outbox.
    let port = url.rsplit_once(':').unwrap().1.to_string();
    drop(server);
    place.file("later.csv", plain_csv(20).replace("17000", "17010"));
    let late = with(&SEND[..5], &["--patience", "1s", "later.csv"]);
    place.run(&late).fails(4, &["4 windows could not be sent", "outbox", "next:"]);
    let (server, _) = serve(&place, &format!("127.0.0.1:{port}"));
    let again = place.run(&["bundle", "add", "b.kinglet", "--data", "data", "--json"]).ok().json();
    assert_eq!(again["new"], false, "it came with the device: {again}");
    let sent = place.run(&SEND).ok().json();
    assert_eq!((sent["samples"].as_u64(), sent["windows_acked"].as_u64()), (Some(0), Some(4)), "{sent}");

    let shown = place.run(&["device", "show", "porch", "--data", "data", "--json"]).ok().json();
    assert_eq!(shown["windows"], 12, "stored once each: {shown}");
    let listed = place.run(&["device", "list", "--data", "data"]).ok().out;
    assert!(listed.contains("porch") && listed.contains("active"), "{listed}");

    place.run(&["device", "revoke", "porch", "--data", "data"]).ok();
    place.run(&with(&SEND, &["d.csv"])).fails(5, &["revoked"]);
    let shown = place.run(&["device", "show", "porch", "--data", "data", "--json"]).ok().json();
    assert_eq!(shown["windows"], 12, "what was stored stays: {shown}");
    drop(server);

    // What the device has sent can be learned from.
    let data = ["train", "--device", "porch", "--data-dir", "data", "--window", "8", "--json"];
    let learned = place.run(&data).ok().json();
    assert_eq!(learned["out"], "porch.kinglet");
}

#[test]
fn a_key_is_shown_once_and_kept_from_others() {
    let place = place();
    place.run(&["device", "list", "--data", "data"]).fails(3, &["data", "--data"]);
    assert!(!place.path("data").exists(), "asking makes nothing");
    let added = place.run(&["device", "add", "attic", "--data", "data", "--json"]).ok().json();
    let (key, uri) = (added["key"].as_str().unwrap(), added["uri"].as_str().unwrap());
    assert_eq!(key.len(), 64);
    assert!(uri.starts_with("kinglet:attic?") && uri.ends_with(&format!("#{key}")), "{uri}");
    for args in [
        ["device", "show", "attic", "--data", "data", "--json"],
        ["device", "list", "--data", "data", "--json", "--color=never"],
    ] {
        assert!(!place.run(&args).ok().out.contains(key), "{args:?}");
    }
    place.run(&["device", "add", "attic", "--data", "data"]).fails(5, &["attic", "exists"]);
    place.run(&["device", "add", "bad name", "--data", "data"]).fails(2, &["bad name"]);
    place.run(&["device", "show", "nobody", "--data", "data"]).fails(5, &["nobody", "device list"]);
    place.run(&["device", "revoke", "nobody", "--data", "data"]).fails(5, &["nobody"]);
    place.file("taken.key", "mine");
    place
        .run(&["device", "add", "hall", "--data", "data", "--key-out", "taken.key"])
        .fails(6, &["taken.key"]);
    assert_eq!(std::fs::read_to_string(place.path("taken.key")).unwrap(), "mine");
    let listed = place.run(&["device", "list", "--data", "data", "--json"]).ok().json();
    assert_eq!(
        listed["devices"].as_array().unwrap().len(),
        1,
        "nothing was registered without a key: {listed}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        place.run(&["device", "add", "hall", "--data", "data", "--key-out", "hall.key"]).ok();
        let mode = std::fs::metadata(place.path("hall.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn devices_the_server_does_not_know_are_told_so() {
    let place = place();
    let (_server, url) = serve(&place, "127.0.0.1:0");
    let stranger = format!("kinglet:stranger#{}", "ab".repeat(32));
    place.file("porch.key", &stranger);
    place.run(&with(&SEND, &["--server", &url, "d.csv"])).fails(5, &["unknown_device"]);
    // A device of that name with another key.
    place.run(&["device", "add", "stranger", "--data", "data", "--bundle", "b.kinglet"]).ok();
    let ran =
        place.run(&with(&SEND, &["--server", &url, "--outbox", "o", "d.csv"])).fails(5, &["not_verified"]);
    assert!(!ran.err.contains("abababab") && !ran.out.contains("abababab"), "{ran:?}");
    place.file("porch.key", "kinglet:porch#abab");
    let ran = place.run(&with(&SEND, &["--server", &url, "d.csv"])).fails(3, &["porch.key", "32 bytes"]);
    assert!(!ran.err.contains("abab"), "{ran:?}");
    place.run(&with(&SEND, &["--server", "porch.local", "d.csv"])).fails(3, &["porch.key"]);
}

#[test]
fn ports_in_use_and_open_doors_are_refused_with_a_way_out() {
    let place = place();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    place.run(&["serve", "--data", "other", "--http", &addr]).fails(4, &[&addr, "--http"]);
    assert!(!place.path("other").exists(), "nothing is made for a server that does not run");
    place
        .run(&["serve", "--data", "other", "--http", "0.0.0.0:0"])
        .fails(2, &["--allow-remote-without-login"]);
    place.run(&["demo", "--http", &addr, "--seconds", "1"]).fails(4, &[&addr]);
    place.file("data-file", "x");
    place
        .run(&["serve", "--data", "data-file/x", "--http", "127.0.0.1:0"])
        .fails(6, &["data-file/x", "--data"]);
    place.file("server.toml", "htp = '127.0.0.1:0'");
    place.run(&["serve", "--config", "server.toml"]).fails(2, &["server.toml", "did you mean `http`"]);
    let config = place.run(&["config"]).ok().out;
    place.file("default.toml", &config);
    let (_server, _) = {
        place.run(&["device", "add", "porch", "--data", "data"]).ok();
        let ran = place.run(&["device", "list", "--config", "default.toml", "--data", "data"]);
        assert_eq!(ran.code, 0, "the printed config is one: {ran:?}");
        serve(&place, "127.0.0.1:0")
    };
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_stop_drains_and_ends_well() {
    let place = place();
    let (mut server, _) = serve(&place, "127.0.0.1:0");
    let pid = server.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_keeps_its_promises_on_a_recording() {
    let place = place();
    place.file("room.csv", plain_csv(400));
    let said = place
        .run(&["demo", "room.csv", "--seconds", "3", "--devices", "3", "--loss", "20%", "--json"])
        .ok()
        .json();
    let number = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("{key}: {said}"));
    assert!(number("windows_sent") >= 6.0);
    assert_eq!(number("windows_stored"), number("windows_sent"));
    assert_eq!(number("duplicates"), 0.0);
    assert!(number("max_error_over_bound") <= 1.0);
    assert!(
        number("bytes_per_reading") > 0.0 && number("json_bytes_per_reading") > number("bytes_per_reading")
    );
    assert!(number("lost_on_the_way") > 0.0, "a fifth is lost: {said}");
}

#[test]
fn simulated_devices_are_all_heard() {
    let place = place();
    let args = ["simulate", "--devices", "12", "--rate", "60/s", "--seconds", "2", "--loss", "10%", "--json"];
    let said = place.run(&args).ok().json();
    assert_eq!(said["windows_stored"], said["windows_sent"], "{said}");
    assert_eq!((&said["duplicates"], &said["verified"]["missing"]), (&0.into(), &0.into()));
    assert!(said["windows_sent"].as_u64().unwrap() >= 60, "{said}");
    // The same against a server in another process.
    let (_server, url) = serve(&place, "127.0.0.1:0");
    let there = ["--server", &url, "--data", "data"];
    let said = place.run(&with(&args, &there)).ok().json();
    assert_eq!(said["windows_stored"], said["windows_sent"], "{said}");
    place.run(&["simulate", "--server", &url]).fails(2, &["--data"]);
    place.run(&["simulate", "--rate", "20000/s", "--devices", "1", "--seconds", "3600"]).fails(2, &["1970"]);
}

#[test]
fn by_tls_a_device_believes_the_pinned_certificate_and_no_other() {
    let place = place();
    let (_running, ready) = serve_by(&place, &["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    let (url, pin) = (ready["https"].as_str().unwrap(), ready["pin"].as_str().unwrap());
    let shown = place.run(&["certificate", "--data", "data", "--json"]).ok().json();
    assert_eq!((shown["pin"].as_str(), shown["self_made"].as_bool()), (Some(pin), Some(true)));

    let add = ["device", "add", "porch", "--data", "data", "--bundle", "b.kinglet"];
    let added = place.run(&with(&add, &["--server", url, "--key-out", "porch.key", "--json"])).ok().json();
    assert_eq!(added["pin"].as_str(), Some(pin), "the provisioning says whom to believe");
    let wrong = format!("sha256:{}", "00".repeat(32));
    let refused = with(&SEND[..5], &["--patience", "1s", "d.csv"]);
    place.run(&with(&refused, &["--pin", &wrong])).fails(4, &["certificate"]);
    // What public authorities say counts for nothing here: a pin stands in the provisioning.
    let sent = place.run(&with(&SEND, &[])).ok().json();
    assert_eq!(
        (sent["windows_acked"].as_u64(), sent["windows_waiting"].as_u64()),
        (Some(8), Some(0)),
        "{sent}"
    );
    // The self-made certificate is its own authority, with a name in it.
    let ca = with(&SEND, &["--ca", "data/tls.crt", "d.csv"]);
    assert_eq!(place.run(&ca).ok().json()["windows_waiting"], 0);
    let unknown = with(&refused, &["--ca", "elsewhere/tls.crt"]);
    place.run(&["certificate", "--data", "elsewhere"]).ok();
    place.run(&unknown).fails(4, &["invalid peer certificate"]);
}

#[test]
fn by_mqtt_readings_are_stored_once_and_nobody_else_is_let_in() {
    let place = place();
    let doors = ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"];
    let (running, ready) = serve_by(&place, &doors);
    let (mqtt, mqtts) = (ready["mqtt"].as_str().unwrap(), ready["mqtts"].as_str().unwrap());

    let add = ["device", "add", "porch", "--data", "data", "--bundle", "b.kinglet"];
    place.run(&with(&add, &["--server", mqtts, "--key-out", "porch.key"])).ok();
    let sent = place.run(&with(&SEND, &["d.csv"])).ok().json();
    assert_eq!((sent["windows_acked"].as_u64(), sent["joins"].as_u64()), (Some(8), Some(1)), "{sent}");
    // The same outbox over the other line.
    place.file("later.csv", plain_csv(20).replace("17000", "17010"));
    let sent = place.run(&with(&SEND, &["--server", mqtt, "later.csv"])).ok().json();
    assert_eq!(
        (sent["windows_acked"].as_u64(), sent["windows_waiting"].as_u64()),
        (Some(4), Some(0)),
        "{sent}"
    );
    let shown = place.run(&["device", "show", "porch", "--data", "data", "--json"]).ok().json();
    assert_eq!((shown["windows"].as_u64(), shown["repeats"].as_u64()), (Some(12), Some(0)), "{shown}");

    let token = place.run(&["device", "token", "porch", "--data", "data", "--json"]).ok().json();
    assert_eq!(token["publish"], "kinglet/porch/up");
    assert_eq!(token["password"].as_str().map(str::len), Some(64));
    let crowd = ["simulate", "--devices", "8", "--rate", "60", "--seconds", "3", "--loss", "5%", "--json"];
    let crowd = place.run(&with(&crowd, &["--server", mqtt, "--data", "data"])).ok().json();
    assert!(crowd["windows_stored"].as_u64() > Some(20), "{crowd}");

    // Another key for the same id, then none at all.
    let other = place.path("elsewhere");
    let add =
        ["device", "add", "porch", "--data", "elsewhere", "--bundle", "b.kinglet", "--key-out", "wrong.key"];
    place.run(&add).ok();
    let wrong = [
        "send",
        "--key",
        "wrong.key",
        "--bundle",
        "b.kinglet",
        "--outbox",
        "w.outbox",
        "--server",
        mqtt,
        "d.csv",
    ];
    place.run(&wrong).fails(5, &["not_verified"]);
    drop(other);
    place.run(&["device", "revoke", "porch", "--data", "data"]).ok();
    place.run(&with(&SEND, &["--server", mqtt, "d.csv"])).fails(5, &["revoked"]);
    drop(running);
}

#[test]
fn by_coap_readings_are_stored_once() {
    let place = place();
    let (running, ready) = serve_by(&place, &["--http", "127.0.0.1:0", "--coap", "127.0.0.1:0"]);
    let coap = ready["coap"].as_str().unwrap();
    let add = ["device", "add", "porch", "--data", "data", "--bundle", "b.kinglet", "--key-out", "porch.key"];
    place.run(&with(&add, &["--server", coap])).ok();
    let sent = place.run(&with(&SEND, &["d.csv"])).ok().json();
    assert_eq!((sent["windows_acked"].as_u64(), sent["joins"].as_u64()), (Some(8), Some(1)), "{sent}");
    let shown = place.run(&["device", "show", "porch", "--data", "data", "--json"]).ok().json();
    assert_eq!((shown["windows"].as_u64(), shown["repeats"].as_u64()), (Some(8), Some(0)), "{shown}");
    place.run(&["device", "revoke", "porch", "--data", "data"]).ok();
    place.run(&with(&SEND, &["d.csv"])).fails(5, &["revoked"]);
    drop(running);
}
