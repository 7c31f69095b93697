//! What a codec gives away is measured and said, for bundles of either mode.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use kinglet_train::seed::{SeedOptions, train};
use support::{Place, room_csv};

#[test]
fn a_window_bundle_is_tried_with_and_without_a_key() {
    let place = Place::new();
    place.file("room.csv", room_csv(4000));
    let train = ["train", "room.csv", "--bound", "0.25,1", "--window", "16", "--effort", "fast"];
    place.run(&train).ok();
    let found = place.run(&["audit", "room.kinglet", "room.csv", "--json"]).ok().json();
    assert_eq!((&found["mode"], &found["codes"]), (&"window".into(), &250.into()));
    let pairs: Vec<u64> =
        found["known"].as_array().unwrap().iter().map(|k| k["pairs"].as_u64().unwrap()).collect();
    assert_eq!(pairs, [2, 5, 10, 20, 50]);
    let lengths = found["lengths"].as_array().unwrap();
    let figure = |at: usize, key: &str| lengths[at][key].as_f64().unwrap();
    assert!(figure(0, "entropy_bits") > figure(4, "entropy_bits") && figure(4, "cost_percent") > 0.0);

    let words = place.run(&["audit", "room.kinglet", "room.csv"]).ok().out;
    for word in ["whoever has the bundle", "deaf", "nothing known", "sealed", "--pad"] {
        assert!(words.contains(word), "no `{word}` in {words}");
    }
    place.run(&["audit", "room.kinglet", "room.csv", "--channels", "temperature"]).fails(3, &["channels"]);
    place.file("none.kinglet", "nothing");
    place.run(&["audit", "none.kinglet", "room.csv"]).fails(3, &["not a bundle"]);
}

#[test]
fn a_seed_mode_bundle_is_read_by_ten_pairs() {
    let options = SeedOptions { n_steps: 4000, max_error: Some(5.0), ..SeedOptions::default() };
    let trained = train(&options, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let place = Place::new();
    place.file("seed.kinglet", trained.model.emit());
    place.file("room.csv", room_csv(1000));
    // Of two channels it takes the one it knows.
    let found = place.run(&["audit", "seed.kinglet", "room.csv", "--json"]).ok().json();
    assert_eq!((&found["mode"], found["lengths"].as_array().unwrap().len()), (&"seed".into(), 0));
    let range = &found["range"];
    let error = |at: usize| range["known"][at]["channels"][0]["error_mean"].as_f64().unwrap();
    assert!(error(2) < 1.0 && error(4) < 0.2, "{range}");
    assert!(range["shape"][0]["correlation"].as_f64().unwrap() > 0.95, "{range}");
    let words = place.run(&["audit", "seed.kinglet", "room.csv"]).ok().out;
    assert!(words.contains("seals nothing") && words.contains("affine map"), "{words}");
}
