//! What is no recording is refused with the next step, and what can be read is.

// Helpers of tests may do what tests may do.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read};

use kinglet_train::recording::{
    COLUMNS_MAX, ColumnChoice, Duplicates, Quantum, RECORD_LEN_MAX, ReadOptions, read,
};

/// `want`: a part of the message.
fn check(what: &str, bytes: &[u8], want: &str) {
    check_with(what, bytes, &ReadOptions::default(), want);
}

fn check_with(what: &str, bytes: &[u8], options: &ReadOptions, want: &str) {
    match read(bytes, options) {
        Ok((_, understood)) => panic!("{what}: read as\n{understood}"),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(want), "{what}: {message}");
            assert!(message.len() < 1000 && !message.contains('\u{1b}'), "{what}: {message}");
        }
    }
}

#[test]
fn files_that_are_none_say_so() {
    check("empty", b"", "is empty");
    check("blank lines", b"\n \r\n\n", "is empty");
    check("a byte order mark alone", b"\xEF\xBB\xBF", "is empty");
    check("Excel", b"PK\x03\x04\x14\x00\x06\x00", "save the sheet as CSV");
    check("gzip", b"\x1f\x8b\x08\x00\x00", "gunzip");
    check("Parquet", b"PAR1\x15\x04", "export it as CSV");
    check("database", b"SQLite format 3\0", "sqlite3 -csv");
    check(
        "UTF-16",
        &"time,temp\n0,1\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        "UTF-8",
    );
    check("machine code", &(0..4096u32).map(|i| (i * i % 251) as u8).collect::<Vec<_>>(), "not text");
}

#[test]
fn commas_between_columns_and_in_numbers_are_not_guessed_at() {
    let want = "commas stand between columns and in numbers";
    let file = |header: &str, row: &str| {
        let rows: String = (10..60).map(|i| format!("2024-01-31T12:{i}:00,{row}\n")).collect();
        format!("{header}\n{rows}").into_bytes()
    };
    check("one channel", &file("time,temp", "21,5"), want);
    check("two", &file("time,temp,hum", "-1,5,40,0"), "the header names 3 columns and the rows have 5");
    check("one of two", &file("Zeit,temp,hum", "21,5,40"), want);
    check(
        "seconds",
        &(0..50).fold(b"time,temp\n".to_vec(), |f, i| {
            [f, format!("{},21,5\n", 1_700_000_000 + i).into()].concat()
        }),
        want,
    );
    check(
        "a time of day",
        &(10..60).fold(b"date,time,temp\n".to_vec(), |f, i| {
            [f, format!("31.01.2024,12:{i},21,5\n").into()].concat()
        }),
        want,
    );
    check("gaps", &file("time,temp,hum", "21,5,NaN"), want);
    for (header, row) in [("time,temp,hum", "21,40"), ("time,\"temp\",hum", "\"21,5\",\"40,0\"")] {
        read(&file(header, row)[..], &ReadOptions::default()).unwrap();
    }
}

#[test]
fn times_that_may_be_a_spreadsheets_days_are_pointed_out() {
    let said = |first: f64, step: f64| {
        let rows: String =
            (0..100).map(|i| format!("{:.5},2{}\n", first + f64::from(i) * step, i % 7)).collect();
        read(format!("time,temp\n{rows}").as_bytes(), &ReadOptions::default()).unwrap().1.to_string()
    };
    assert!(said(46_082.0, 1.0 / 1440.0).contains("as spreadsheets count them"));
    assert!(!said(46_082.0, 10.0).contains("spreadsheets") && !said(0.0, 0.01).contains("spreadsheets"));
}

#[test]
fn tables_without_a_recording_say_what_is_missing() {
    check("header only", b"time,temp\n", "at least 2");
    check("one row", b"time,temp\n2024-01-31T12:00:00Z,1\n", "at least 2");
    check("one usable row", b"time,temp\n2024-01-31T12:00:00Z,1\nsoon,2\n", "1 rows: time not readable");
    check("no number", b"time,room\n0,hall\n60,hall\n", "column 2 is text");
    check("all missing", b"time,temp\n0,NaN\n60,NaN\n120,\n", "not one cell holds a reading");
    check("no time", b"temp,hum\n20,40\n21,41\n", "--period");
    let rising: String = (0..20).map(|i| format!("{},{}\n", i * 7, i % 3)).collect();
    check(
        "a column that rises",
        format!("run,temp\n{rising}").as_bytes(),
        "`run` only rises: --time-column 1",
    );
    check("one time", b"time,temp\n5,20\n5,21\n", "at least 2");
    check("ambiguous dates", b"time,x\n01/02/2024 10:00,1\n01/02/2024 10:01,2\n", "--date-order");
    check("prose", b"Dear Sir,\nplease find attached\nthe readings.\n", "no column holds");
}

#[test]
fn wishes_that_cannot_be_met_say_why() {
    let file = b"time,temp_C,hum\n0,20,40\n60,21,\n";
    let wish = |channels: &str| ReadOptions {
        channels: Some(ColumnChoice::parse_list(channels)),
        ..Default::default()
    };
    check_with(
        "no such name",
        file,
        &wish("pressure"),
        "there is no column `pressure`: the file has 1 `time`, 2 `temp_C`, 3 `hum`",
    );
    check_with("no such number", file, &wish("4"), "no column `4`");
    check_with("twice", file, &wish("temp,2"), "asked for twice");
    check_with("the time", file, &wish("time"), "asked for twice");
    check_with("too many", file, &wish(&"2,".repeat(17)), "at most 16");
    check_with("an empty channel", b"time,a,b\n0,1,\n60,2,\n", &wish("b"), "no reading in the whole file");
    let time = |column: &str| ReadOptions { time_column: Some(column.into()), ..Default::default() };
    check_with("a time that is none", b"t,x,room\n0,1,hall\n1,2,hall\n", &time("room"), "`hall`");
    let zone = ReadOptions { timezone: Some("Berlin".into()), ..Default::default() };
    check_with("zone", b"time,x\n2024-01-01 00:00,1\n2024-01-01 00:01,2\n", &zone, "Europe/Berlin");
    let zero = ReadOptions { period_ms: Some(0), ..Default::default() };
    check_with("a period of 0", b"x\n1\n2\n", &zero, "--period");
}

#[test]
fn columns_are_found_by_name_stem_and_number() {
    for wish in ["hum,temp_C", "hum_pct,temp", "HUM,TEMP", "3,2"] {
        let options = ReadOptions { channels: Some(ColumnChoice::parse_list(wish)), ..Default::default() };
        let (recording, understood) =
            read(&b"time,temp_C,hum_pct,x\n0,20,40,1\n60,21,41,2\n"[..], &options).unwrap();
        let names: Vec<_> = recording.channels().iter().map(|c| (c.name.as_str(), c.unit.as_str())).collect();
        assert_eq!(names, [("hum", "%"), ("temp", "°C")], "{wish}");
        assert_eq!(understood.ignored.len(), 1);
    }
}

#[test]
fn a_file_without_times_takes_a_period() {
    let options = ReadOptions { period_ms: Some(60_000), start_ms: 7, ..Default::default() };
    let (recording, understood) = read(&b"temp,hum\n20,40\n,\n21,41\nend of log\n"[..], &options).unwrap();
    assert_eq!(recording.times_ms(), [7, 60_007]);
    assert!(understood.to_string().contains("none in the file"), "{understood}");
    let (recording, _) = read(&b"20\n21\n22\n"[..], &options).unwrap();
    assert_eq!(recording.len(), 3);
}

#[test]
fn rows_of_several_sensors_are_not_mixed() {
    let by_name = "entity_id,state,last_changed\nsensor.a,20.1,2024-01-01T00:00:00Z\nsensor.a,20.2,2024-01-01T00:01:00Z\n\
        sensor.b,40,2024-01-01T00:00:30Z\nsensor.b,41,2024-01-01T00:01:30Z\n";
    check("two sensors", by_name.as_bytes(), "choose one with --only \"entity_id=sensor.a\"");
    let only =
        |value: &str| ReadOptions { only: Some(("entity_id".into(), value.into())), ..Default::default() };
    check_with(
        "no such sensor",
        by_name.as_bytes(),
        &only("sensor.c"),
        "no row has `sensor.c` in column `entity_id`",
    );
    let (recording, understood) = read(by_name.as_bytes(), &only("sensor.b")).unwrap();
    assert_eq!((recording.len(), recording.channels().len(), understood.dropped[0].rows), (2, 1, 2));
    // No header says so, but rows of one time say different things there.
    let mut file = "origin,time,temp,sky\n".to_string();
    for t in 0..60 {
        file += &format!("north,{t}00,{},clear\nsouth,{t}00,{},clear\n", t % 9, 20 + t % 7);
    }
    check("two places", file.as_bytes(), "column `origin` says `north` and `south`: choose one with --only");
    let keep = ReadOptions { duplicates: Duplicates::Keep, ..Default::default() };
    assert_eq!(read(file.as_bytes(), &keep).unwrap().0.len(), 120);
    let same = file.replace("south", "north");
    assert_eq!(read(same.as_bytes(), &ReadOptions::default()).unwrap().0.len(), 60);
    let one = by_name.replace("sensor.b", "sensor.a");
    assert_eq!(read(one.as_bytes(), &ReadOptions::default()).unwrap().0.len(), 4);
    check("numbered nodes", b"time,moteid,t\n0,1,20\n60,2,21\n120,1,20\n", "`1` and `2`");
}

#[test]
fn a_constant_channel_is_a_recording() {
    let (recording, _) = read(&b"t,x\n0,20.5\n60,20.5\n120,20.5\n"[..], &ReadOptions::default()).unwrap();
    assert_eq!(Quantum::find(&recording.channels()[0].values).unwrap().step.to_string(), "0.1");
}

#[test]
fn latin1_from_a_spreadsheet_keeps_its_degree_sign() {
    let (recording, understood) =
        read(&b"Zeit;T (\xB0C)\n0;20,5\n60;20,6\n"[..], &ReadOptions::default()).unwrap();
    assert_eq!((recording.channels()[0].unit.as_str(), understood.encoding), ("°C", "Latin-1"));
}

#[test]
fn summer_time_ends_and_begins_without_a_gap() {
    let berlin = ReadOptions { timezone: Some("Europe/Berlin".into()), ..Default::default() };
    let autumn = "time,x\n2023-10-29 01:30,1\n2023-10-29 02:00,2\n2023-10-29 02:30,3\n2023-10-29 02:00,4\n2023-10-29 02:30,5\n2023-10-29 03:00,6\n";
    let (recording, understood) = read(autumn.as_bytes(), &berlin).unwrap();
    assert_eq!((recording.len(), recording.gaps().count(), understood.time.in_double_hour), (6, 0, 4));
    let spring = "time,x\n2024-03-31 01:30,1\n2024-03-31 03:00,2\n2024-03-31 03:30,3\n";
    let (recording, _) = read(spring.as_bytes(), &berlin).unwrap();
    assert_eq!((recording.period_ms(), recording.gaps().count()), (1_800_000, 0));
}

/// Gives `start`, then `rest` over and over, and fails at the end.
struct Endless<'a> {
    start: &'a [u8],
    rest: &'a [u8],
    left: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start.is_empty() {
            if self.left == 0 {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no permission"));
            }
            self.left -= 1;
            self.start = self.rest;
        }
        self.start.read(buffer)
    }
}

#[test]
fn endless_files_end() {
    let read_endless = |start: &'static str, rest: &'static str, options: &ReadOptions| {
        read(Endless { start: start.as_bytes(), rest: rest.as_bytes(), left: 2_000_000 }, options)
    };
    let usual = ReadOptions::default();
    let error = read_endless("t,x\n0,1\n60,\"", "90,1\n", &usual).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains(&RECORD_LEN_MAX.to_string()), "{error}");
    let error = read_endless("t,x\n0,1\n", ",,,,,,,,,,,,,,,,", &usual).unwrap_err().to_string();
    assert!(error.contains("does not end"), "{error}");
    let few = ReadOptions { values_max: 100, ..Default::default() };
    let (recording, understood) = read_endless("t,x\n0,1\n60,2\n", "120,3\n", &few).unwrap();
    assert!(understood.stopped_early && recording.len() == 3, "{understood}");
    let error = read(Endless { start: b"t,x\n0,1\n", rest: b"", left: 0 }, &usual).unwrap_err().to_string();
    assert!(error.contains("no permission") && error.contains("Check the path"), "{error}");
    let wide = format!("t{}\n0{}\n", ",x".repeat(COLUMNS_MAX), ",1".repeat(COLUMNS_MAX));
    check("wide", wide.as_bytes(), "1025 columns");
}

#[test]
fn what_was_understood_serialises() {
    let (_, understood) =
        read(&b"time,temp_C,room\n0,20,a\n60,x,b\n60,21,c\nend,,\n"[..], &ReadOptions::default()).unwrap();
    let json = serde_json::to_value(&understood).unwrap();
    assert_eq!(json["rows_read"], 4);
    assert_eq!(json["time"]["format"], "seconds");
    assert_eq!(json["channels"][0]["unit"], "°C");
    assert_eq!(json["ignored"][0]["reason"], "text");
    assert_eq!(json["dropped"][0]["reason"], "time");
    assert_eq!(json["dropped"][0]["example"], "end");
}
