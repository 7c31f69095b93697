//! File to file: what goes in comes out within the bound, and what is wrong is refused by name.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use support::{Place, plain_bundle, plain_csv};

fn place() -> Place {
    let place = Place::new();
    place.file("b.kinglet", plain_bundle());
    place.file("d.csv", plain_csv(30));
    place
}

#[test]
fn decoded_readings_lie_within_the_bound() {
    let place = place();
    let ran = place.run(&["encode", "b.kinglet", "d.csv", "--json"]).ok().json();
    // 16 samples up to the gap, 14 after it, in windows of 8.
    assert_eq!((ran["windows"].as_u64(), ran["values"].as_u64()), (Some(4), Some(60)));
    let back = place.run(&["decode", "b.kinglet", "d.codes"]).ok().out;
    let given = plain_csv(30);
    let rows = given.lines().skip(1).zip(back.lines().skip(1));
    assert_eq!((rows.clone().count(), back.lines().next()), (30, Some("time,temp,co2")));
    for (given, back) in rows {
        let (given, back): (Vec<&str>, Vec<&str>) = (given.split(',').collect(), back.split(',').collect());
        assert_eq!(given[2], back[2], "lossless");
        match given[1].parse::<f64>() {
            Ok(truth) => {
                assert!((truth - back[1].parse::<f64>().unwrap()).abs() < 0.2 + 1e-9, "{given:?} {back:?}")
            }
            Err(_) => assert_eq!(back[1], "", "a missing reading stays missing"),
        }
    }
    assert!(back.contains("\n2023-11-14T22:13:20Z,"), "{back}");
}

#[test]
fn nothing_is_replaced_unasked() {
    let place = place();
    place.run(&["encode", "b.kinglet", "d.csv"]).ok();
    place.run(&["encode", "b.kinglet", "d.csv"]).fails(6, &["d.codes", "--force"]);
    place.run(&["encode", "b.kinglet", "d.csv", "--force"]).ok();
    place.run(&["decode", "b.kinglet", "d.codes", "--out", "d.csv"]).fails(6, &["d.csv", "--force"]);
    assert_eq!(std::fs::read_to_string(place.path("d.csv")).unwrap(), plain_csv(30));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_with_its_code() {
    let place = place();
    place
        .run(&["encode", "b.kinglet", "d.csv", "--out", "/dev/full", "--force"])
        .fails(6, &["/dev/full", "make room"]);
    assert!(std::path::Path::new("/dev/full").exists(), "the device is still there");
}

#[test]
fn the_wrong_bundle_is_refused_by_name() {
    let place = place();
    place.run(&["encode", "b.kinglet", "d.csv"]).ok();
    let mut other = std::fs::read(place.path("d.codes")).unwrap();
    other[8] ^= 1;
    place.file("other.codes", &other);
    place
        .run(&["decode", "b.kinglet", "other.codes"])
        .fails(3, &["not the bundle of these codes", "\"plain\""]);
    place.run(&["decode", "d.csv", "d.codes"]).fails(3, &["d.csv is not a bundle"]);
    place.run(&["decode", "b.kinglet", "d.csv"]).fails(3, &["d.csv holds no codes"]);
    place.run(&["encode", "b.kinglet", "d.csv", "--channels", "temp"]).fails(3, &["\"plain\"", "2 channels"]);
    place.run(&["encode", "b.kinglet", "nowhere.csv"]).fails(3, &["nowhere.csv", "next:"]);
    place.file("e.csv", "time,salt,pepper\n1,2,3\n2,3,4\n3,4,5\n");
    place.run(&["encode", "b.kinglet", "e.csv"]).fails(3, &["e.csv", "temp"]);
}

#[test]
fn damage_is_found_and_what_lies_before_it_is_kept() {
    let place = place();
    place.run(&["encode", "b.kinglet", "d.csv"]).ok();
    let whole = std::fs::read(place.path("d.codes")).unwrap();
    place.file("cut.codes", &whole[..whole.len() - 1]);
    let ran = place
        .run(&["decode", "b.kinglet", "cut.codes"])
        .fails(3, &["damaged at window 4", "3 windows before"]);
    assert_eq!(ran.out.lines().count(), 1 + 24);

    let bundle = plain_bundle();
    for at in [0, 8, bundle.len() / 2, bundle.len() - 1] {
        place.file("cut.kinglet", &bundle[..at]);
        place.run(&["decode", "cut.kinglet", "d.codes"]).fails(3, &["cut.kinglet is not a bundle"]);
    }
    place.file("long.kinglet", vec![0; (8 << 20) + 1]);
    place.run(&["inspect", "--bundle", "long.kinglet", "--code", "00"]).fails(3, &["too large"]);
}

#[test]
fn inspect_says_what_things_are() {
    let place = place();
    place.run(&["encode", "b.kinglet", "d.csv"]).ok();
    let bundle = place.run(&["inspect", "b.kinglet", "--json"]).ok().json();
    assert_eq!(bundle["kind"], "bundle");
    assert_eq!(bundle["channels"][0]["bound"], "0.2");
    assert_eq!(bundle["channels"][1]["bound"], serde_json::Value::Null);
    let codes = place.run(&["inspect", "d.codes", "--json"]).ok().json();
    assert_eq!((&codes["kind"], codes["windows"].as_u64()), (&"codes".into(), Some(4)));
    assert_eq!(codes["fingerprint"], bundle["fingerprint"]);
    let words = place.run(&["inspect", "b.kinglet"]).ok().out;
    assert!(words.contains("lossless") && words.contains("±0.2") && !words.contains('\u{1b}'), "{words}");

    let frame = "4013 00c0ffee 0000012c 00112233 00112233445566778899aabbccddeeff";
    let frame = place.run(&["inspect", "--hex", frame, "--json"]).ok().json();
    assert_eq!((frame["type"].as_str(), frame["counter"].as_u64()), (Some("data frame"), Some(300)));
    assert_eq!((frame["slot"].as_u64(), frame["content_bytes"].as_u64()), (Some(3), Some(4)));
    place.run(&["inspect", "--hex", "4013"]).fails(3, &["no frame", "cut short"]);
    place.run(&["inspect", "d.csv"]).fails(3, &["nothing Kinglet knows"]);
    place.run(&["inspect", "--bundle", "b.kinglet", "--code", "ffffffffffffffffffff"]).fails(3, &["no code"]);
    let code = place.run(&["inspect", "--bundle", "b.kinglet", "--code", "", "--json"]);
    assert!(code.code == 0 || code.code == 3, "{code:?}");
}
