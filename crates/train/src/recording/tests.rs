use kinglet_codec::Decimal;
use proptest::prelude::*;

use super::fuzz::fuzz_csv;
use super::*;

/// How a made file is written.
#[derive(Clone, Copy, Debug)]
struct Style {
    delimiter: char,
    mark: char,
    newline: &'static str,
    quotes: bool,
    header: bool,
    stamp: Stamp,
    missing: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Stamp {
    Iso,
    Local,
    Dotted,
    Seconds,
    Milliseconds,
}

impl Stamp {
    fn write(self, t_ms: i64) -> String {
        let t = jiff::Timestamp::from_millisecond(t_ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        match self {
            Self::Iso => t.timestamp().to_string(),
            Self::Local => t.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Self::Dotted => t.strftime("%d.%m.%Y %H:%M:%S").to_string(),
            Self::Seconds => (t_ms / 1000).to_string(),
            Self::Milliseconds => t_ms.to_string(),
        }
    }
}

fn make_file(times_ms: &[i64], rows: &[[Option<Decimal>; 2]], style: Style) -> String {
    let Style { delimiter, mark, newline, quotes, header, stamp, missing } = style;
    let mut file = String::new();
    let mut line = |cells: [String; 3]| {
        let cells = cells.map(|c| if quotes { format!("\"{c}\"") } else { c });
        file += &(cells.join(&delimiter.to_string()) + newline);
    };
    if header {
        line(["time".into(), "temp (°C)".into(), "hum_pct".into()]);
    }
    for (t_ms, row) in times_ms.iter().zip(rows) {
        let cell =
            |v: Option<Decimal>| v.map_or(missing.into(), |v| v.to_string().replace('.', &mark.to_string()));
        line([stamp.write(*t_ms), cell(row[0]), cell(row[1])]);
    }
    file
}

fn style() -> impl Strategy<Value = Style> {
    let marks = prop_oneof![
        Just((',', '.')),
        Just((';', '.')),
        Just((';', ',')),
        Just(('\t', '.')),
        Just(('\t', ',')),
        Just(('|', '.'))
    ];
    let stamps = prop_oneof![
        Just(Stamp::Iso),
        Just(Stamp::Local),
        Just(Stamp::Dotted),
        Just(Stamp::Seconds),
        Just(Stamp::Milliseconds)
    ];
    let missing = prop_oneof![Just(""), Just("NaN"), Just("null"), Just("unavailable")];
    let newline = prop_oneof![Just("\n"), Just("\r\n")];
    (marks, newline, any::<bool>(), any::<bool>(), stamps, missing).prop_map(
        |((delimiter, mark), newline, quotes, header, stamp, missing)| Style {
            delimiter,
            mark,
            newline,
            quotes,
            header,
            stamp,
            missing,
        },
    )
}

/// A reading, missing one time in ten.
fn reading() -> impl Strategy<Value = Option<Decimal>> {
    prop_oneof![9 => (-99_999i64..99_999, 0u8..4).prop_map(|(m, s)| Some(Decimal::new(m, s))), 1 => Just(None)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec([reading(), reading()], 3..60),
        style in style(),
        steps in prop::collection::vec(1i64..4, 60),
    ) {
        // The first row has both readings, so that each style shows itself.
        let mut rows = rows;
        rows[0] = [Some(Decimal::new(215, 1)), Some(Decimal::new(405, 1))];
        let mut t_ms = 1_700_000_000_000;
        let times_ms: Vec<i64> = steps.iter().take(rows.len()).map(|s| { t_ms += s * 60_000; t_ms }).collect();
        let file = make_file(&times_ms, &rows, style);
        let (recording, understood) = read(file.as_bytes(), &ReadOptions::default())
            .unwrap_or_else(|e| panic!("{e}\n{file}"));
        prop_assert_eq!(recording.times_ms(), &times_ms[..]);
        prop_assert_eq!(recording.channels().len(), 2, "{}", understood);
        for (idx, channel) in recording.channels().iter().enumerate() {
            let want: Vec<_> = rows.iter().map(|r| r[idx]).collect();
            prop_assert_eq!(channel.values.iter().collect::<Vec<_>>(), want, "{}", file);
        }
        let mut copied = Vec::new();
        super::write(&recording, &mut copied).unwrap();
        let (copy, _) = read(copied.as_slice(), &ReadOptions::default()).unwrap();
        prop_assert_eq!(copy.times_ms(), recording.times_ms());
        prop_assert_eq!(copy.channels(), recording.channels());
        fuzz_csv(file.as_bytes());
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_csv(&bytes);
    }

    #[test]
    fn no_file_like_text_does_harm(text in "([0-9.,;:TZ+ae\"#%\\-/ \t]{0,12}[,;\n\r]){0,60}") {
        fuzz_csv(text.as_bytes());
    }

    #[test]
    fn no_damage_does_harm(
        rows in prop::collection::vec([reading(), reading()], 3..20),
        style in style(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let times_ms: Vec<i64> = (0..rows.len() as i64).map(|i| 1_700_000_000_000 + i * 60_000).collect();
        let mut file = make_file(&times_ms, &rows, style).into_bytes();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        fuzz_csv(&file);
        fuzz_csv(&file[..cut.index(file.len())]);
    }
}

#[test]
fn fixed_oddities_do_no_harm() {
    let huge = "9".repeat(300);
    for text in [
        "t,x\n0,1\n0,1\n",
        "\u{7f}ime,x\u{9b}\n0,1\n60,2\u{7f}\n120,\u{7f}\n",
        "t,x\n1e30,1\n2e30,2\n",
        "t,x\n-5,1\n-4,2\n",
        "t,x\n0,999999999999999999\n1,-999999999999999999\n2,0.000000000000001\n",
        "t,x\n9223372036854775807,1\n-9223372036854775808,2\n",
        "0001-01-01,1\n9999-12-31,2\n",
        "\"\"\"\",\"\n",
        "#\n#\n#",
        ",,,\n,,,\n,,,\n",
        "t,x\n0,1\n253402300799,2\n",
        huge.as_str(),
        &format!("t,x\n0,{huge}\n1,{huge}\n2,1\n"),
    ] {
        fuzz_csv(text.as_bytes());
    }
}
