//! Training, judging, and what people really give as a recording.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use support::{Place, plain_bundle, room_csv};

#[test]
fn a_recording_becomes_a_bundle_that_keeps_its_bound() {
    let place = Place::new();
    place.file("room.csv", room_csv(3000));
    let said = place.run(&["train", "room.csv", "--bound", "0.25,1", "--json"]).ok().json();
    assert_eq!(said["out"], "room.kinglet");
    assert_eq!(said["understood"]["rows_kept"], 3000);
    assert!(said["report"]["evaluation"]["max_error_over_bound"].as_f64().unwrap() <= 1.0);

    let judged = place.run(&["eval", "room.kinglet", "room.csv", "--json"]).ok().json();
    for key in [
        "windows",
        "bits_per_value",
        "payload_bytes_mean",
        "payload_bytes_p95",
        "max_error_over_bound",
        "static_bytes",
        "ram_bytes",
    ] {
        assert!(judged[key].is_number(), "{key}: {judged}");
    }
    assert!(judged["max_error_over_bound"].as_f64().unwrap() <= 1.0);
    // A window of 64 readings within such bounds is far below a byte each.
    assert!(judged["bits_per_value"].as_f64().unwrap() < 4.0, "{judged}");

    let words = place.run(&["eval", "room.kinglet", "room.csv"]).ok().out;
    assert!(words.contains("±0.2 ") && words.contains("rung") && !words.contains('\u{1b}'), "{words}");
    place.run(&["train", "room.csv"]).fails(6, &["room.kinglet", "--force"]);
    // The same seed gives the same bundle.
    place.run(&["train", "room.csv", "--bound", "0.25,1", "--out", "again.kinglet"]).ok();
    let identity = |name: &str| place.run(&["inspect", name, "--json"]).ok().json()["identity"].clone();
    assert_eq!(identity("room.kinglet"), identity("again.kinglet"));
}

#[test]
fn variants_stand_side_by_side_and_nothing_is_written() {
    let place = Place::new();
    place.file("room.csv", room_csv(1500));
    let said = place.run(&["train", "room.csv", "--compare", "window=16,32", "--json"]).ok().json();
    let names: Vec<&str> =
        said["variants"].as_array().unwrap().iter().map(|v| v["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["window=16", "window=32"]);
    assert!(!place.path("room.kinglet").exists());
    let words = place.run(&["train", "room.csv", "--compare", "bound=0.1,0.5"]).ok().out;
    assert!(words.contains("bound=0.5"), "{words}");
}

#[test]
fn a_recording_may_come_through_a_pipe() {
    let place = Place::new();
    let ran = place.run_with_input(&["train", "-", "--out", "piped.kinglet"], room_csv(500).as_bytes()).ok();
    assert!(ran.out.contains("standard input"), "{}", ran.out);
    assert!(ran.err.is_empty(), "no progress bar in a pipe: {}", ran.err);
}

#[test]
fn constant_channels_are_learned() {
    let place = Place::new();
    let csv: String = (0..300).map(|i| format!("{},5.0\n", 60 * i)).collect();
    place.file("flat.csv", format!("t,x\n{csv}"));
    let said = place.run(&["train", "flat.csv", "--json"]).ok().json();
    assert!(said["report"]["evaluation"]["payload_bytes_mean"].as_f64().unwrap() <= 2.0, "{said}");
}

#[test]
fn what_is_no_recording_is_refused_with_a_next_step() {
    let place = Place::new();
    let check = |name: &str, content: &[u8], word: &str| {
        place.file(name, content);
        let ran = place.run(&["train", name, "--out", "x.kinglet"]).fails(3, &[name, word, "next:"]);
        assert!(!place.path("x.kinglet").exists(), "{ran:?}");
        // In JSON the same, as JSON.
        let ran = place.run(&["eval", "b.kinglet", name, "--json"]);
        let said: serde_json::Value =
            serde_json::from_str(ran.err.trim()).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        assert_eq!((ran.code, &said["error"]["kind"]), (3, &"input".into()), "{ran:?}");
        assert!(said["error"]["next"].as_str().is_some_and(|next| !next.is_empty()));
    };
    place.file("b.kinglet", plain_bundle());
    check("empty.csv", b"", "empty");
    check("blank.csv", b"\n\n   \n", "empty");
    check("one.csv", b"time,x\n1,2\n", "1 of 1");
    check("nan.csv", b"time,x\n1,nan\n2,nan\n3,nan\n", "no");
    check("words.csv", b"time,x\n1,a\n2,b\n3,c\n", "no column");
    check(
        "noise.bin",
        &(0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
        "not text",
    );
    check("zip.csv", b"PK\x03\x04\0\0\0\0aaaaaaaaaaaa", "not text");
    check("few.csv", b"time,x\n1,2\n2,3\n3,4\n", "few");

    place.run(&["train", "nowhere.csv"]).fails(3, &["nowhere.csv", "No such file", "next:"]);
    place.run(&["train", "."]).fails(3, &["directory"]);
    place.file("room.csv", room_csv(200));
    place.run(&["train", "room.csv", "--bound", "1,2,3"]).fails(2, &["3 bounds for 2 channels"]);
    place.run(&["train", "room.csv", "--channels", "salt"]).fails(3, &["salt", "temperature"]);
    place.run(&["train", "room.csv", "--timezone", "Mars/Base"]).fails(3, &["Mars/Base"]);
    place.run(&["train", "room.csv", "--out", "/nowhere/x.kinglet"]).fails(6, &["/nowhere/x.kinglet"]);
}

#[cfg(target_os = "linux")]
#[test]
fn unreadable_files_full_disks_and_endless_input() {
    let place = Place::new();
    place.file("room.csv", room_csv(300));
    place.run(&["train", "room.csv", "--out", "/dev/full", "--force"]).fails(6, &["/dev/full", "make room"]);
    place.run(&["train", "/dev/zero"]).fails(3, &["/dev/zero", "next:"]);
    place.run(&["train", "/proc/self/mem"]).fails(3, &["/proc/self/mem"]);
    // A line that never ends is given up on, not read into memory.
    let line = vec![b'7'; 3 << 20];
    place.run_with_input(&["train", "-"], &line).fails(3, &["standard input"]);
}

#[test]
fn starter_bundles_are_listed_and_exported() {
    let place = Place::new();
    let listed = place.run(&["bundles", "--json"]).ok().json();
    let names: Vec<&str> =
        listed["bundles"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dht11", "dht22", "bme280"]);
    for name in names {
        place.run(&["bundles", "export", name]).ok();
        let file = format!("{name}.kinglet");
        assert_eq!(place.run(&["inspect", &file, "--json"]).ok().json()["name"], name);
    }
    place.run(&["bundles", "export", "dht22"]).fails(6, &["dht22.kinglet", "--force"]);
    place.run(&["bundles", "export", "dht99"]).fails(2, &["dht99", "dht11"]);
}

#[test]
fn frames_are_filled_from_training_to_the_store() {
    let place = Place::new();
    let train = ["train", "--bound", "0.25,1", "--fill", "51", "--max-delay", "6h", "--effort", "fast"];
    let said = place.run(&[&train[..], &["--out", "a.kinglet", "--json"]].concat()).ok().json();
    let frames = &said["report"]["frames"][0];
    assert_eq!((&frames["fill_len"], frames["lora"].as_array().unwrap().len()), (&51.into(), 6));
    let expected = frames["samples_mean"].as_f64().unwrap();
    assert!(expected > 40.0 && frames["frame_bytes_max"].as_u64().unwrap() <= 51, "{frames}");

    let simulate =
        ["simulate", "--bundle", "a.kinglet", "--devices", "3", "--rate", "30/s", "--seconds", "2"];
    let sent = place.run(&[&simulate[..], &["--json"]].concat()).ok().json();
    assert!(sent["frame_bytes_max"].as_u64().unwrap() <= 51, "{sent}");
    // The last window of each device is what was left.
    assert!(sent["samples_per_frame"].as_f64().unwrap() > 0.6 * expected, "{sent}");
    let padded =
        place.run(&[&simulate[..], &["--fill", "115", "--pad", "16", "--json"]].concat()).ok().json();
    assert!(padded["frame_bytes_max"].as_u64().unwrap() <= 115, "{padded}");
    assert!(padded["samples_per_frame"].as_f64() > sent["samples_per_frame"].as_f64(), "{padded}");

    place.run(&["train", "--fill", "20"]).fails(2, &["--fill", "bytes"]);
    place.run(&["train", "--fill", "51", "--bytes", "8"]).fails(2, &["--bytes"]);
}

#[test]
fn a_report_stands_beside_the_bundle() {
    let place = Place::new();
    place.file("room.csv", room_csv(2000));
    let said = place.run(&["train", "room.csv", "--effort", "fast", "--json"]).ok().json();
    assert_eq!(said["page"], "room.html");
    let page = std::fs::read_to_string(place.path("room.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("What comes back"));
    // Ten other coders and ours.
    assert_eq!(page.matches("--w:").count(), 11);
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from anywhere");
    // A page that is there already is as safe as a bundle.
    place.run(&["train", "room.csv", "--out", "other.kinglet", "--effort", "fast", "--no-report"]).ok();
    assert!(!place.path("other.html").exists());
    place.file("third.html", "mine");
    place.run(&["train", "room.csv", "--out", "third.kinglet"]).fails(6, &["third.html", "--force"]);
    assert_eq!(std::fs::read_to_string(place.path("third.html")).unwrap(), "mine");
    assert!(!place.path("third.kinglet").exists());
}
