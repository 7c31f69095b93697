//! What a board is given: nothing that cannot work, and no secret where it was not asked for.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use kinglet_node::MemFlash;
use kinglet_node::provision::{Given, Receiver, Reply, Slots};
use support::{Place, plain_bundle};

const KEY: &str = "kinglet:porch?server=http%3A%2F%2F192.0.2.7%3A8470#abababababababababababababababababababababababababababababababab";
const FLASH: [&str; 12] = [
    "device",
    "flash-config",
    "--key",
    "porch.key",
    "--bundle",
    "b.kinglet",
    "--sensor",
    "dht22 4",
    "--ssid",
    "home",
    "--port",
    "-",
];

fn place() -> Place {
    let place = Place::new();
    place.file("b.kinglet", plain_bundle());
    place.file("porch.key", KEY);
    place.file("wifi.txt", "correct horse\n");
    place
}

/// The usual arguments and `more`, which may name another key.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual: &[&str] = if more.contains(&"--key") { &[&FLASH[..2], &FLASH[4..]].concat() } else { &FLASH };
    usual.iter().copied().chain(more.iter().copied()).collect()
}

/// The record that the printed lines bring to a board's flash.
fn stored(lines: &str) -> Vec<u8> {
    let mut flash = MemFlash::new(vec![0xFF; 32 * 4096], 4096, 4);
    let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
    let replies: Vec<Reply> =
        lines.lines().map(|line| receiver.line(&mut flash, line.as_bytes()).unwrap()).collect();
    assert_eq!(replies.last(), Some(&Reply::Stored), "{replies:?}");
    let slots = Slots::open(&mut flash).unwrap();
    let mut record = vec![0; slots.record_len().unwrap()];
    slots.read(&mut flash, &mut record).unwrap();
    record
}

#[test]
fn a_board_that_sleeps_and_one_that_believes_one_certificate_are_told_so() {
    let place = place();
    let digits = "0f".repeat(32);
    let (head, key) = KEY.split_once('#').unwrap();
    let head = head.replace("http%3A%2F%2F192.0.2.7%3A8470", "mqtts%3A%2F%2F192.0.2.7");
    place.file("pinned.key", format!("{head}&pin=sha256%3A{digits}#{key}"));
    place.file("unpinned.key", format!("{head}#{key}"));
    let record = stored(&place.run(&with(&["--open", "--key", "pinned.key", "--sleep"])).ok().out);
    let given = Given::parse(&record).ok().unwrap();
    assert_eq!((given.server, given.pin, given.sleeps), ("mqtts://192.0.2.7", Some([0x0f; 32]), true));
    place.run(&with(&["--open", "--key", "unpinned.key"])).fails(2, &["certificate", "next:"]);
    // Where no TLS is spoken there is nothing to pin.
    let plain = with(&["--open", "--key", "pinned.key", "--server", "mqtt://192.0.2.7"]);
    let record = stored(&place.run(&plain).ok().out);
    assert!(Given::parse(&record).is_ok_and(|given| given.pin.is_none() && !given.sleeps));
}

#[test]
fn what_is_printed_for_a_terminal_program_is_what_a_board_stores() {
    let place = place();
    let record = stored(&place.run(&with(&["--password-file", "wifi.txt"])).ok().out);
    let Ok(given) = Given::parse(&record) else { panic!() };
    assert_eq!(given.id.unwrap().as_str(), "porch");
    assert_eq!(given.key.as_ref().unwrap().expose_secret(), &[0xab; 32]);
    assert_eq!((given.ssid, given.password), ("home", "correct horse"));
    assert_eq!((given.server, given.sensor), ("http://192.0.2.7:8470", "dht22 4"));
    assert_eq!(given.model, kinglet_codec::bundle::Bundle::parse(&plain_bundle()).unwrap().device());

    let mut command = place.command(&with(&["--server", "http://10.0.0.2:1"]));
    let ran = support::Ran::from(command.env("KINGLET_WIFI_PASSWORD", "other").output().unwrap()).ok();
    let record = stored(&ran.out);
    assert!(Given::parse(&record).is_ok_and(|g| g.password == "other" && g.server == "http://10.0.0.2:1"));

    let seed = ["device", "flash-config", "--preset", "seed", "--sensor", "dht11 4", "--ssid", "x", "--open"];
    let seed: Vec<&str> =
        seed.into_iter().chain(["--server", "http://10.0.0.2:5000", "--port", "-"]).collect();
    let record = stored(&place.run(&seed).ok().out);
    assert!(
        Given::parse(&record).is_ok_and(|g| g.key.is_none() && g.model.is_empty() && g.password.is_empty())
    );
}

#[test]
fn what_cannot_work_is_refused_before_a_board_is_touched() {
    let place = place();
    let refused = |more: &[&str], words: &[&str]| {
        let ran = place.run(&with(more)).fails(2, words);
        assert!(
            ran.out.is_empty() && !ran.err.contains("abab") && !ran.err.contains("correct horse"),
            "{ran:#?}"
        );
    };
    refused(&[], &["no Wi-Fi password", "next:", "--open"]);
    let ok = ["--password-file", "wifi.txt"];
    for server in
        ["http://127.0.0.1:8470", "http://localhost", "https://192.0.2.7", "http://[::1]:1", "192.0.2.7"]
    {
        refused(&[&ok[..], &["--server", server]].concat(), &["a board cannot use the server", "next:"]);
    }
    place.file("long.txt", "x".repeat(65));
    refused(&["--password-file", "long.txt"], &["Wi-Fi password", "at most"]);
    let mut sensor = with(&ok);
    sensor[7] = "dht33 4";
    place.run(&sensor).fails(2, &["dht33", "next:"]);
}

#[test]
fn a_port_that_is_none_is_said_without_a_secret() {
    let place = place();
    let mut args = with(&["--open"]);
    args[11] = "no-such-port";
    let ran = place.run(&args).fails(4, &["no-such-port", "next:"]);
    assert!(!ran.err.contains("abab") && ran.out.is_empty());
}
