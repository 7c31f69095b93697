//! What is stored can be taken out, copied and brought back, while the server runs.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;
use support::{Place, Ran};

/// A server on the data directory `d`; killed when dropped.
struct Serving(Child, String);

impl Serving {
    fn start(place: &Place) -> Self {
        let mut command = place.command(&["serve", "--http", "127.0.0.1:0", "--data", "d", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self(child, said["url"].as_str().unwrap().into())
    }

    fn simulate(&self, place: &Place, seed: &str) -> Value {
        let args = ["simulate", "--server", &self.1, "--data", "d", "--devices", "3", "--seed", seed];
        json(place.run(&[&args[..], &["--rate", "60/s", "--seconds", "1", "--json"]].concat()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[track_caller]
fn json(ran: Ran) -> Value {
    serde_json::from_str(ran.ok().out.lines().last().unwrap()).unwrap()
}

fn export(place: &Place, file: &str, more: &[&str]) -> Value {
    json(place.run(&[&["readings", "export", "--data", "d", "--json", "--out", file], more].concat()))
}

fn read(place: &Place, file: &str) -> String {
    std::fs::read_to_string(place.path(file)).unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn readings_are_taken_out_whole_and_an_export_goes_on() {
    let place = Place::new();
    let serving = Serving::start(&place);
    let first = serving.simulate(&place, "1");
    let made = export(&place, "a.csv", &[]);
    assert_eq!(made["samples"], first["verified"]["samples_stored"]);
    let rows = read(&place, "a.csv");
    let n_values = rows.lines().skip(1).filter(|row| !row.split(',').nth(4).unwrap().is_empty()).count();
    assert_eq!(first["verified"]["readings"], n_values);
    let again = place.run(&["readings", "export", "--data", "d", "--out", "a.csv"]);
    assert!(again.code == 6 && again.err.contains("--resume"), "{again:?}");
    // Stopped in the middle of a line; meanwhile more has come.
    let text = rows.clone() + "sim-1,2026-";
    place.file("a.csv", text);
    export(&place, "a.json", &["--format", "senml"]);
    serving.simulate(&place, "2");
    export(&place, "a.csv", &["--resume"]);
    export(&place, "b.csv", &[]);
    let (gone_on, whole) = (read(&place, "a.csv"), read(&place, "b.csv"));
    assert!(whole.len() > rows.len() && sorted(&gone_on) == sorted(&whole));
    assert_eq!(export(&place, "a.csv", &["--resume"])["samples"], 0);
    // Stopped before the first row, by a wrong name or by a signal.
    let nobody = place.run(&["readings", "export", "--data", "d", "--out", "n.csv", "--device", "nobody"]);
    assert_eq!(nobody.code, 5, "{nobody:?}");
    place.file("m.csv", &rows[..9]);
    for file in ["n.csv", "m.csv"] {
        export(&place, file, &["--resume"]);
        assert_eq!(sorted(&read(&place, file)), sorted(&whole), "{file}");
    }
    place.file("f.csv", "not ours\n");
    let foreign = place.run(&["readings", "export", "--data", "d", "--out", "f.csv", "--resume"]);
    assert!(foreign.code == 6 && read(&place, "f.csv") == "not ours\n", "{foreign:?}");
    let other =
        place.run(&["readings", "export", "--data", "d", "--out", "a.csv", "--resume", "--format", "line"]);
    assert!(other.code == 3 && other.err.contains("--format"), "{other:?}");
    // The other formats hold the same values.
    export(&place, "a.json", &["--format", "senml", "--resume"]);
    let pack: Vec<Value> = serde_json::from_str(&read(&place, "a.json")).unwrap();
    let n_values = whole.lines().skip(1).filter(|row| !row.split(',').nth(4).unwrap().is_empty()).count();
    assert_eq!(pack.len(), n_values);
    let lines = place.run(&["readings", "export", "--data", "d", "--format", "line"]).ok().out;
    assert_eq!(lines.matches('=').count() - lines.lines().count(), n_values);
    let columns = export(&place, "a.parquet", &["--format", "parquet"]);
    assert_eq!(columns["samples"], export(&place, "c.csv", &[])["samples"]);
    let bytes = std::fs::read(place.path("a.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") && columns["bytes"] == bytes.len());
    let refused = place.run(&[
        "readings",
        "export",
        "--data",
        "d",
        "--out",
        "a.parquet",
        "--resume",
        "--format",
        "parquet",
    ]);
    assert!(refused.code == 2 && refused.err.contains("--from"), "{refused:?}");
    // One device, one stretch of time.
    let device = whole.lines().nth(1).unwrap().split(',').next().unwrap();
    let times: Vec<_> = whole
        .lines()
        .filter(|row| row.starts_with(device))
        .map(|row| row.split(',').nth(1).unwrap())
        .collect();
    let (from, to) = (times[times.len() / 4], times[times.len() / 2]);
    let some = place
        .run(&["readings", "export", "--data", "d", "--device", device, "--from", from, "--to", to])
        .ok()
        .out;
    let expected = times.iter().filter(|t| (from..to).contains(*t)).count();
    assert_eq!(some.lines().count(), 1 + expected);
}

#[test]
fn a_server_has_its_data_to_itself_and_a_device_is_added_to_it_alone() {
    let place = Place::new();
    let serving = Serving::start(&place);
    place.run(&["serve", "--http", "127.0.0.1:0", "--data", "d"]).fails(1, &["d is in use", "--data"]);
    let add = |name| place.run(&["device", "add", "attic", "--data", "d", "--name", name]);
    add("two\nlines").fails(2, &["choose another name"]);
    let added = add("Under the roof").ok().out;
    assert!(added.contains("attic is registered in d\n") && !added.contains("no server has"), "{added}");
    let shown = place.run(&["device", "show", "attic", "--data", "d"]).ok().out;
    assert!(shown.starts_with("attic, Under the roof, short id "), "{shown}");
    // Another directory is another server's.
    let key = ["--key-out", "porch.key", "--server", &serving.1];
    let added = place.run(&[&["device", "add", "porch", "--data", "other"], &key[..]].concat()).ok().out;
    assert!(added.contains("start it with --data other"), "{added}");
    place.run(&["bundles", "export", "dht22"]).ok();
    place.file("porch.csv", "time,temperature,humidity\n0,20,40\n60,21,41\n");
    let send = ["send", "--key", "porch.key", "--bundle", "dht22.kinglet", "--outbox", "o"];
    let refused = place.run(&[&send[..], &["porch.csv"]].concat());
    refused.fails(5, &["--data", "1 windows wait in o: mend that, then run it again without DATA"]);
    drop(serving);
    Serving::start(&place);
}

#[test]
fn a_backup_comes_back_with_its_master_key_only() {
    let place = Place::new();
    place.file("no.db", "time,temperature\n");
    place.run(&["restore", "no.db", "--data", "e"]).fails(3, &["no backup"]);
    let serving = Serving::start(&place);
    let first = serving.simulate(&place, "1");
    let made = json(place.run(&["backup", "--data", "d", "--out", "b.db", "--json"]));
    assert_eq!(made["windows"], first["windows_stored"]);
    let twice = place.run(&["backup", "--data", "d", "--out", "b.db"]);
    assert!(twice.code == 6 && twice.err.contains("never replaced"), "{twice:?}");
    export(&place, "a.csv", &[]);
    assert_eq!(json(place.run(&["keys", "rotate", "--data", "d", "--json"]))["devices"], 3);
    // The server that runs goes on, with devices of before and with new ones.
    serving.simulate(&place, "2");
    let taken = place.run(&["restore", "b.db", "--data", "d"]);
    assert!(taken.code == 3 && taken.err.contains("move it away"), "{taken:?}");
    assert_eq!(json(place.run(&["restore", "b.db", "--data", "e", "--json"]))["has_master_key"], false);
    let copy = |name: &str| std::fs::copy(place.path(name), place.path("e/master.key")).unwrap();
    copy("d/master.key");
    let wrong = place.run(&["device", "list", "--data", "e"]);
    assert!(wrong.code == 1 && wrong.err.contains("does not unwrap"), "{wrong:?}");
    copy("d/master.key.old");
    let listed = json(place.run(&["device", "list", "--data", "e", "--json"]));
    assert_eq!(listed["devices"].as_array().unwrap().len(), 3);
    place.run(&["readings", "export", "--data", "e", "--out", "e.csv"]).ok();
    assert_eq!(read(&place, "e.csv"), read(&place, "a.csv"));
    let mut damaged = std::fs::read(place.path("b.db")).unwrap();
    // The third page is the first of a table; elsewhere it might be a page nobody uses.
    damaged[2 * 4096..2 * 4096 + 2000].fill(0x5a);
    place.file("bad.db", damaged);
    let refused = place.run(&["restore", "bad.db", "--data", "f"]);
    assert!(refused.code == 3 && refused.err.contains("bad.db"), "{refused:?}");
    assert!(!place.path("f/kinglet.db").exists());
}
