//! Files as people have them become recordings, and what was understood is said.
// Helpers of tests may do what tests may do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use kinglet_train::recording::{Duplicates, ReadOptions, Recording, Understood, read};

fn ok(text: &str, options: &ReadOptions) -> (Recording, Understood) {
    read(text.as_bytes(), options).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// `want`: period in ms, then per row the time since the first row in ms and the values, `_` for missing.
fn check(what: &str, text: &str, want: &str) {
    check_with(what, text, &ReadOptions::default(), want);
}

fn check_with(what: &str, text: &str, options: &ReadOptions, want: &str) {
    let (recording, _) = ok(text, options);
    let mut got = format!("{}", recording.period_ms());
    for (row, t_ms) in recording.times_ms().iter().enumerate() {
        got += &format!(" | {}", t_ms - recording.times_ms()[0]);
        for channel in recording.channels() {
            got += &channel.values.get(row).map_or(" _".to_string(), |v| format!(" {v}"));
        }
    }
    assert_eq!(got, want, "{what}");
}

#[test]
fn reads_what_loggers_and_spreadsheets_write() {
    let want = "60000 | 0 21.5 40 | 60000 21.6 41";
    check("plain", "time,temp,hum\n2024-01-31T12:00:00Z,21.5,40\n2024-01-31T12:01:00Z,21.6,41\n", want);
    check("no header", "2024-01-31T12:00:00Z,21.5,40\n2024-01-31T12:01:00Z,21.6,41\n", want);
    check(
        "CRLF, no last newline",
        "time,temp,hum\r\n2024-01-31 12:00,21.5,40\r\n2024-01-31 12:01,21.6,41",
        want,
    );
    check("semicolons and commas", "Zeit;T;H\n31.01.2024 12:00;21,5;40\n31.01.2024 12:01;21,6;41\n", want);
    check("tabs", "time\ttemp\thum\n1700000000\t21.5\t40\n1700000060\t21.6\t41\n", want);
    check("byte order mark", "\u{FEFF}time,temp,hum\n1700000000,21.5,40\n1700000060,21.6,41\n", want);
    check(
        "quotes",
        "\"time\",\"temp\",\"hum\"\n\"2024-01-31 12:00\",\"21.5\",\"40\"\n\"2024-01-31 12:01\",\"21.6\",\"41\"\n",
        want,
    );
    check("trailing commas", "time,temp,hum,\n1700000000,21.5,40,\n1700000060,21.6,41,\n", want);
    check(
        "comments",
        "# logger 7\ntime,temp,hum\n# restarted\n1700000000,21.5,40\n1700000060,21.6,41\n",
        want,
    );
    check("header in a comment", "# time,temp,hum\n1700000000,21.5,40\n1700000060,21.6,41\n", want);
    check(
        "preamble",
        "Logger X\nSerial: 17\n\ntime,temp,hum\n1700000000,21.5,40\n1700000060,21.6,41\n",
        want,
    );
    check("blank lines", "time,temp,hum\n\n1700000000,21.5,40\n\n,,\n1700000060,21.6,41\n\n", want);
    check("milliseconds", "ts,temp,hum\n1700000000000,21.5,40\n1700000060000,21.6,41\n", want);
    check(
        "zone offsets",
        "time,temp,hum\n2024-01-31T12:00:00+01:00,21.5,40\n2024-01-31T11:01:00+00:00,21.6,41\n",
        want,
    );
    check(
        "date and time apart",
        "date,time,temp,hum\n31/01/2024,12:00:00,21.5,40\n31/01/2024,12:01:00,21.6,41\n",
        want,
    );
    check(
        "time in parts",
        "year,month,day,hour,minute,temp,hum\n2024,1,31,23,59,21.5,40\n2024,2,1,0,0,21.6,41\n",
        want,
    );
    check(
        "date, and the hour beside it",
        "date,hour,temp\n31.01.2024,23,21.5\n31.01.2024,24,21.6\n01.02.2024,1,21.7\n",
        "3600000 | 0 21.5 | 3600000 21.6 | 7200000 21.7",
    );
    check(
        "parts of a time that is there",
        "time,year,hour,temp,hum\n2024-01-31 12:00,2024,12,21.5,40\n2024-01-31 12:01,2024,12,21.6,41\n",
        want,
    );
    let rows = "1700000000,21.5,40\n1700000060,21.6,41\n";
    check(
        "a table of its own before the table",
        &format!(
            "key,of,the,whole\nvalue,1,2,3\n\ntime,temp,hum\n{rows}{}",
            "1700000060,21.6,41\n".repeat(9)
        ),
        want,
    );
    check(
        "a header written again",
        &format!("time,temp,hum\n{rows}time,temp,hum\n1700000060,21.6,41\n"),
        want,
    );
    check("units in cells", "time,temp,hum\n1700000000,21.5 °C,40%\n1700000060,21.6 °C,41%\n", want);
    check(
        "row names",
        "\"time\",\"temp\",\"hum\"\n\"1\",\"2024-01-31 12:00\",21.5,40\n\"2\",\"2024-01-31 12:01\",21.6,41\n\"3\",\"2024-01-31 12:02\",21.6,41\n",
        "60000 | 0 21.5 40 | 60000 21.6 41 | 120000 21.6 41",
    );
    check("text column", "time,room,temp,hum\n1700000000,hall,21.5,40\n1700000060,hall,21.6,41\n", want);
    check(
        "missing",
        "time,temp,hum\n0,21.5,NaN\n60,,41\n120,null,unavailable\n180,21,40\n",
        "60000 | 0 21.5 _ | 60000 _ 41 | 120000 _ _ | 180000 21 40",
    );
    check(
        "broken cells",
        "time,temp,hum\n0,21.5,err\n60,21.6,41\n120,21.6,41\n",
        "60000 | 0 21.5 _ | 60000 21.6 41 | 120000 21.6 41",
    );
    check(
        "short rows",
        "time,temp,hum\n0,21.5\n60,21.6,41\n120,21.6,41\n",
        "60000 | 0 21.5 _ | 60000 21.6 41 | 120000 21.6 41",
    );
}

#[test]
fn puts_rows_in_order_and_merges_those_of_one_time() {
    check("out of order", "t,x\n120,3\n0,1\n60,2\n", "60000 | 0 1 | 60000 2 | 120000 3");
    check("the later row wins", "t,x\n0,1\n60,2\n60,3\n120,4\n", "60000 | 0 1 | 60000 3 | 120000 4");
    check("sparse rows", "t,x,y\n0,1,\n0,,5\n60,2,\n60,,6\n", "60000 | 0 1 5 | 60000 2 6");
    let keep = ReadOptions { duplicates: Duplicates::Keep, ..ReadOptions::default() };
    check_with("kept", "t,x\n0,1\n60,2\n60,3\n120,4\n", &keep, "60000 | 0 1 | 60000 2 | 60000 3 | 120000 4");
}
