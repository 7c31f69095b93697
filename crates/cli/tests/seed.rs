//! The seed's own mode from end to end: train, export, import, inspect, serve, send, with an unmodified sketch's bytes.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::{Place, Running, plain_bundle, room_csv};

/// A quick float bundle, `seed.kinglet`.
fn trained(place: &Place, more: &[&str]) -> Value {
    let args = [&["train", "--preset", "seed", "--out", "seed.kinglet", "--json"], more].concat();
    place.run(&args).ok().json()
}

fn inspected(place: &Place, name: &str) -> Value {
    place.run(&["inspect", name, "--json"]).ok().json()
}

fn fixture(place: &Place, name: &str, renamed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/fixtures/seed").join(name);
    place.file(renamed, std::fs::read(path).unwrap());
}

#[test]
fn the_seeds_workload_becomes_a_bundle_with_its_pictures() {
    let place = Place::new();
    let said = trained(&place, &["--seed", "3"]);
    assert_eq!((&said["out"], said["limit"].as_f64()), (&"seed.kinglet".into(), Some(0.5)));
    let range = &said["report"]["range"];
    assert!(range["max"].as_f64().unwrap() < 0.5 && range["n_whole_wrong"] == 0, "{range}");
    assert_eq!(said["report"]["n_test"], 750);
    for picture in ["seed-curve.svg", "seed-reconstruction.svg"] {
        let svg = std::fs::read_to_string(place.path(picture)).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{picture}");
    }
    // The same seed gives the same bundle; a name that is taken is not replaced.
    place.run(&["train", "--preset", "seed", "--seed", "3", "--out", "again.kinglet"]).ok();
    assert_eq!(inspected(&place, "again.kinglet")["identity"], said["identity"]);
    place.run(&["train", "--preset", "seed"]).fails(6, &["seed.kinglet", "--force"]);
    std::fs::remove_file(place.path("again.kinglet")).unwrap();
    place.run(&["train", "--preset", "seed", "--out", "again.kinglet"]).fails(6, &["again-curve.svg"]);

    let shown = inspected(&place, "seed.kinglet");
    assert_eq!((&shown["kind"], &shown["parameters"]), (&"seed_bundle".into(), &1251.into()));
    assert_eq!(shown["encoder"], serde_json::json!(["1→32 relu", "32→16 relu", "16→2"]));
    let words = place.run(&["inspect", "seed.kinglet"]).ok().out;
    assert!(words.contains("protection none") && words.contains("over the sensor's range"), "{words}");
    // Neither kind of bundle passes for the other.
    place.file("window.kinglet", plain_bundle());
    place.run(&["eval", "seed.kinglet"]).fails(3, &["seed-mode bundle"]);
    place.run(&["export", "window.kinglet", "--to", "tflite"]).fails(3, &["window codec"]);
}

#[test]
fn a_network_that_is_not_good_enough_is_not_written() {
    let place = Place::new();
    let args = ["train", "--preset", "seed", "--steps", "400", "--max-error", "0.001"];
    place.run(&args).fails(7, &["nothing was written", "--max-error", "--steps"]);
    assert_eq!(std::fs::read_dir(place.path(".")).unwrap().count(), 0);
    let failed = place.run(&[&args[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(failed.err.trim()).unwrap();
    assert_eq!(said["error"]["kind"], "promise");
}

#[test]
fn keras_recipe_int8_and_other_shapes_train() {
    let place = Place::new();
    let said = trained(&place, &["--recipe", "seed", "--max-error", "50"]);
    assert_eq!((&said["report"]["recipe"], &said["report"]["best_epoch"]), (&"seed".into(), &199.into()));
    trained(&place, &["--int8", "--force"]);
    assert_eq!(inspected(&place, "seed.kinglet")["numbers"], "int8");

    place.file("room.csv", room_csv(1500));
    let room = ["--data", "room.csv", "--max-error", "30", "--steps", "3000", "--force"];
    let said = trained(&place, &[&room[..], &["--column", "temperature", "--hidden", "8"]].concat());
    assert_eq!(said["understood"]["rows_kept"], 1500);
    let shown = inspected(&place, "seed.kinglet");
    assert_eq!(shown["channels"][0]["range"], serde_json::json!([0.0, 50.0]), "the sensor's, not the data's");
    assert_eq!(shown["channels"][0]["unit"], "°C");

    let shape =
        ["--window", "8", "--latent", "6", "--hidden", "24,12", "--conv", "6x3/2", "--activation", "tanh"];
    trained(&place, &[&room[..], &shape, &["--output-activation", "linear"]].concat());
    let shown = inspected(&place, "seed.kinglet");
    assert_eq!((&shown["samples"], &shown["latent"]), (&8.into(), &6.into()));
    assert_eq!(shown["encoder"][0], "conv 8·2→6 kernel 3 stride 2 tanh");
    assert_eq!(shown["channels"][1]["range"], serde_json::json!([0.0, 100.0]));
    let narrow = ["--range", "19..22", "--column", "temperature", "--hidden", "none"];
    let said = trained(&place, &[&room[..], &narrow].concat());
    assert!(said["dropped_out_of_range"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_with_the_next_step() {
    let place = Place::new();
    place.file("room.csv", room_csv(300));
    place.file("salt.csv", "time,salinity\n1,5\n2,6\n3,7\n4,8\n5,9\n6,5\n7,6\n8,7\n9,8\n10,5\n11,6\n12,7\n");
    let train = ["train", "--preset", "seed", "--data"];
    let check = |more: &[&str], code, words: &[&str]| {
        place.run(&[&train[..], more].concat()).fails(code, &[words, &["next:"]].concat());
    };
    check(&["nowhere.csv"], 3, &["nowhere.csv"]);
    check(&["room.csv", "--column", "salt"], 3, &["salt", "temperature"]);
    check(&["salt.csv"], 2, &["salinity", "--range"]);
    check(&["room.csv", "--range", "0..50"], 2, &["1 ranges for 2 channels"]);
    check(&["room.csv", "--int8", "--activation", "tanh"], 2, &["int8"]);
    check(&["room.csv", "--conv", "8x3"], 2, &["kernel"]);
    check(&["room.csv", "--window", "200"], 3, &["too few"]);
    place.run(&["train", "--preset", "seed", "--window", "4"]).fails(2, &["formula", "next:"]);
    place.run(&["train", "--preset", "seed", "--column", "x"]).fails(2, &["--data"]);
}

#[test]
fn bundles_are_exported_for_boards() {
    let place = Place::new();
    let fingerprint = trained(&place, &["--max-error", "5"])["fingerprint"].as_str().unwrap().to_string();
    let said =
        place.run(&["export", "seed.kinglet", "--to", "tflite", "--out", "out/a", "--json"]).ok().json();
    assert_eq!((&said["int8"], said["files"].as_array().unwrap().len()), (&false.into(), 2));
    for name in ["encoder_model.tflite", "decoder_model.tflite"] {
        assert_eq!(&std::fs::read(place.path("out/a").join(name)).unwrap()[4..8], b"TFL3");
    }
    place.run(&["export", "seed.kinglet", "--to", "c", "--out", "out/a"]).ok();
    let header = std::fs::read_to_string(place.path("out/a/encoder_model_data.h")).unwrap();
    for word in
        [&fingerprint, "g_encoder_model_data", "exported_models_tflite_encoder_model_tflite", "alignas(16)"]
    {
        assert!(header.contains(word), "{word}");
    }
    place.run(&["export", "seed.kinglet", "--to", "c", "--out", "out/a"]).fails(6, &["--force"]);
    // Float becomes int8 by that name only, and it says what that costs.
    let rounded = ["export", "seed.kinglet", "--to", "tflite", "--out", "b", "--post-training-quantisation"];
    let words = place.run(&rounded).ok().out;
    assert!(words.contains("decoder stays float") && words.contains("at most"), "{words}");
    place.run(&["export", "seed.kinglet", "--to", "arduino", "--out", "sketches"]).ok();
    let is_there = |name: &str| place.path(name).exists();
    assert!(is_there("sketches/Seed/seed_encoder.h") && is_there("sketches/SeedTflm/encoder_model_data.h"));
    trained(&place, &["--int8", "--force"]);
    // Plain C knows floats alone.
    let words = place.run(&["export", "seed.kinglet", "--to", "arduino", "--out", "int8"]).ok().out;
    assert!(
        words.contains("TensorFlow Lite Micro") && !is_there("int8/Seed") && is_there("int8/SeedTflm"),
        "{words}"
    );
    place.run(&["export", "seed.kinglet", "--to", "tflite", "--out", "c"]).ok();
    let again = [&rounded[..], &["--force"]].concat();
    place.run(&again).fails(3, &["trained with int8"]);
    place.file("noise.kinglet", [0xff; 300]);
    place.run(&["export", "noise.kinglet", "--to", "c"]).fails(3, &["noise.kinglet", "next:"]);
}

#[cfg(feature = "import")]
#[test]
fn the_seeds_files_come_over_and_a_mismatch_does_not() {
    let place = Place::new();
    fixture(&place, "dense_decoder.keras", "decoder_model.keras");
    fixture(&place, "dense_scaler.joblib", "scaler.joblib");
    fixture(&place, "dense_encoder.tflite", "encoder_model.tflite");
    fixture(&place, "other_encoder.tflite", "other.tflite");
    let import = ["import", "--keras", "decoder_model.keras", "--scaler", "scaler.joblib"];
    let whole = [&import[..], &["--tflite", "encoder_model.tflite", "--out", "seed.kinglet"]].concat();
    let words = place.run(&whole).ok().out;
    assert!(words.contains("belong together"), "{words}");
    assert_eq!(inspected(&place, "seed.kinglet")["kind"], "seed_bundle");
    place.run(&whole).fails(6, &["--force"]);
    place.run(&["export", "seed.kinglet", "--to", "c", "--out", "sketch"]).ok();
    let words = place.run(&import).ok().out;
    assert!(words.contains("without --tflite"), "{words}");
    place
        .run(&["send", "--preset", "seed", "--bundle", "imported.kinglet"])
        .fails(3, &["only decodes", "--tflite"]);
    place.run(&["export", "imported.kinglet", "--to", "c"]).fails(3, &["no encoder"]);

    let other = [&import[..], &["--tflite", "other.tflite", "--out", "x.kinglet"]].concat();
    place.run(&other).fails(7, &["not trained together", "nothing was written"]);
    // A pickle that would run something: nothing is run, nothing is written.
    let system = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch was-run\x85R.";
    place.file("hostile.joblib", system);
    let hostile =
        ["import", "--keras", "decoder_model.keras", "--scaler", "hostile.joblib", "--out", "x.kinglet"];
    place.run(&hostile).fails(3, &["nothing in it was run"]);
    assert!(!place.path("was-run").exists() && !place.path("x.kinglet").exists());
    place.run(&["import", "--keras", "scaler.joblib", "--scaler", "scaler.joblib"]).fails(3, &["Keras"]);
    place
        .run(&["import", "--keras", "nowhere.keras", "--scaler", "scaler.joblib"])
        .fails(3, &["nowhere.keras"]);
}

#[cfg(not(feature = "import"))]
#[test]
fn without_the_feature_import_says_how_to_get_it() {
    let import = ["import", "--keras", "a.keras", "--scaler", "b.joblib"];
    Place::new().run(&import).fails(2, &["--features import"]);
}

/// `kinglet serve --decode` on free ports; dashboard and `/decode`.
fn serve(place: &Place, seed_port: u16) -> (Running, SocketAddr, SocketAddr) {
    let listen = format!("127.0.0.1:{seed_port}");
    let args =
        ["serve", "--decode", "--bundle", "seed.kinglet", "--seed-port", &listen, "--http", "127.0.0.1:0"];
    let mut command = place.command(&[&args[..], &["--data", "data", "--json"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let addr = |url: &str| url.trim_start_matches("http://").trim_end_matches("/decode").parse().unwrap();
    let (http, seed) = (addr(said["url"].as_str().unwrap()), addr(said["decode"].as_str().unwrap()));
    (Running(child), http, seed)
}

fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn stored(http: SocketAddr, name: &str) -> Vec<Value> {
    std::thread::sleep(std::time::Duration::from_millis(400));
    let path =
        format!("GET /v1/seed/{name}/readings HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    let text = exchange(http, path.as_bytes());
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<Value>(body).unwrap()["readings"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_sketch_and_its_stand_in_are_answered_and_kept() {
    let place = Place::new();
    trained(&place, &[]);
    let (mut server, http, seed) = serve(&place, 0);
    place.file("day.csv", "time,temperature\n1,20.5\n2,21\n3,60\n4,21.5\n");
    let url = format!("http://{seed}");
    let send = ["send", "--preset", "seed", "--bundle", "seed.kinglet", "--server", &url];
    let ran = place.run(&[&send[..], &["--device", "porch", "day.csv"]].concat()).ok();
    assert!(
        ran.out.contains("[20.5] -> [") && ran.out.contains("reconstructed_temperature_celsius"),
        "{ran:?}"
    );
    assert!(ran.out.contains("[60] is outside") && ran.out.contains("3 sent"), "{ran:?}");
    let kept = stored(http, "porch");
    assert_eq!(kept.len(), 3);
    for (row, celsius) in kept.iter().zip([20.5, 21.0, 21.5]) {
        assert!((row["values"][0].as_f64().unwrap() - celsius).abs() < 0.5, "{row}");
    }
    // Standard input, as a sensor's program prints it; clipped knowingly.
    let piped = [&send[..], &["--clip", "--json", "-"]].concat();
    let said = place.run_with_input(&piped, b"temperature\n20\n\nnan\n60\n").ok().json();
    assert_eq!((&said["sent"], &said["unreadable"], &said["clipped"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(stored(http, "seed").len(), 2);

    // The sketch itself, with this latent's own numbers.
    let words = place.run_with_input(&[&send[..], &["-"]].concat(), b"24\n").ok().out;
    let latent = words.split(" -> ").nth(1).unwrap().to_string();
    let body = format!("{{\"latent_vector\":{latent}}}");
    let sketch = format!(
        "POST /decode HTTP/1.1\r\nHost: 192.168.1.10:5000\r\nUser-Agent: ESP32HTTPClient\r\nConnection: close\r\n\
         Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(seed, sketch.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"reconstructed_temperature_celsius\":2"),
        "{answer}"
    );

    server.0.kill().unwrap();
    let mut log = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("Obfuscation, not protection") && log.contains("trusted network"), "{log}");
}

#[test]
fn readings_wait_while_the_network_is_away_and_arrive_with_their_age() {
    let place = Place::new();
    trained(&place, &[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let send = ["send", "--preset", "seed", "--bundle", "seed.kinglet", "--server", &url, "--patience", "1s"];
    let piped = [&send[..], &["-"]].concat();
    place.run_with_input(&piped, b"20\n21\n22\n").fails(4, &["3 readings could not be sent", "run it again"]);
    let file = place.path(".local/state/kinglet/seed.kept");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3);
    let (_server, http, _) = serve(&place, port);
    let ran = place.run_with_input(&piped, b"23\n").ok();
    assert!(ran.out.contains("4 sent") && ran.out.contains("0 kept"), "{ran:?}");
    assert!(!file.exists());
    let rows = stored(http, "seed");
    let t = |i: usize| rows[i]["t"].as_i64().unwrap();
    assert_eq!(rows.len(), 4);
    // The kept ones were measured a second or more before the last.
    assert!(t(3) - t(0) >= 900, "{rows:?}");

    // Another bundle's server: nothing is thrown away.
    place.run(&["train", "--preset", "seed", "--seed", "9", "--out", "other.kinglet"]).ok();
    let other = ["send", "--preset", "seed", "--bundle", "other.kinglet", "--server", &url, "-"];
    place.run_with_input(&other, b"20\n").fails(5, &["no encoder of this bundle", "1 readings wait"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    place.run(&["send", "--preset", "seed", "--bundle", "seed.kinglet", "--server", &url]).ok();
    assert_eq!(stored(http, "seed").len(), 5);
}

#[test]
fn what_cannot_be_served_or_sent_is_said() {
    let place = Place::new();
    place.file("window.kinglet", plain_bundle());
    let serve = |bundle| {
        let args = ["serve", "--decode", "--bundle", bundle, "--seed-port", "127.0.0.1:0"];
        place.run(&[&args[..], &["--http", "127.0.0.1:0", "--data", "data"]].concat())
    };
    serve("window.kinglet").fails(3, &["window codec", "next:"]);
    serve("nowhere.kinglet").fails(3, &["nowhere.kinglet", "next:"]);
    trained(&place, &[]);
    let send = ["send", "--preset", "seed", "--bundle", "seed.kinglet"];
    place.run(&[&send[..], &["--server", "192.168.1.10"]].concat()).fails(2, &["http://"]);
    let columns = place.run_with_input(&[&send[..], &["-"]].concat(), b"time,pressure,x\n1,2,3\n");
    columns.fails(3, &["pressure", "--column"]);
    place.run(&["send", "--preset", "seed", "--bundle", "window.kinglet"]).fails(3, &["window codec"]);
}
