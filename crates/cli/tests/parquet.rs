//! A Parquet file of ours, read by Apache Arrow: the same rows as the CSV of the same store.
//!
//! Looks for a Python with the wheel `pyarrow` in `KINGLET_VENV_PYTHON`, else in `target/venv`; without one the test says so
//! and ends.
#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::Place;

/// Compares row by row; a file in one group of rows and another in several would both be read.
const CHECK: &str = r#"
import csv, sys
import pyarrow as pa, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
kinds = {"device": pa.string(), "time": pa.timestamp("ms", tz="UTC"), "channel": pa.string(), "unit": pa.string(),
         "value": pa.float64(), "outside": pa.string(), "bound": pa.float64(), "time_quality": pa.string()}
assert {field.name: field.type for field in table.schema} == kinds, table.schema
rows = table.to_pylist()
texts = list(csv.DictReader(open(sys.argv[2], newline="", encoding="utf-8")))
assert len(rows) == len(texts) > 100, (len(rows), len(texts))
n_values = 0
for row, text in zip(rows, texts):
    for name in ("device", "channel", "unit", "time_quality"):
        assert row[name] == text[name], (row, text)
    assert row["bound"] == float(text["bound"]), (row, text)
    import datetime
    assert row["time"] == datetime.datetime.fromisoformat(text["time"].replace("Z", "+00:00")), (row, text)
    if text["value"] in ("above", "below"):
        assert row["value"] is None and row["outside"] == text["value"], (row, text)
    elif text["value"] == "":
        assert row["value"] is None and row["outside"] is None, (row, text)
    else:
        assert row["value"] == float(text["value"]) and row["outside"] is None, (row, text)
        n_values += 1
print(len(rows), "rows,", n_values, "values")
"#;

fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    let python = std::env::var_os("KINGLET_VENV_PYTHON").map_or(venv, PathBuf::from);
    let found = Command::new(&python).args(["-c", "import pyarrow.parquet"]).output();
    if found.is_ok_and(|out| out.status.success()) {
        return Some(python);
    }
    println!("skipped: {} has no pyarrow; `cargo xtask runtimes` brings it", python.display());
    None
}

#[test]
fn arrow_reads_the_rows_of_the_csv() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let (_running, url) = support::serve(&place, "127.0.0.1:0");
    let fleet = [
        "simulate",
        "--server",
        &url,
        "--data",
        "data",
        "--devices",
        "3",
        "--rate",
        "60/s",
        "--seconds",
        "2",
    ];
    place.run(&fleet).ok();
    for format in ["csv", "parquet"] {
        let out = format!("a.{format}");
        place.run(&["readings", "export", "--data", "data", "--format", format, "--out", &out]).ok();
    }
    let ran = Command::new(python)
        .args(["-c", CHECK])
        .args([place.path("a.parquet"), place.path("a.csv")])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    println!("{}", String::from_utf8_lossy(&ran.stdout));
}
