//! Readings as a sensor's program prints them: one sample per line, with or without a header.

use std::io::BufRead;

/// Longest line that is read.
const LINE_LEN_MAX: u64 = 4096;

/// Reads samples line by line; which columns is settled by the header, or by the first line.
pub(crate) struct Lines<R> {
    input: R,
    /// What to read, by name or by number from 1.
    wanted: Vec<String>,
    columns: Option<Vec<usize>>,
}

/// One line.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    /// A sample, in the order asked for.
    Sample(Vec<f32>),
    /// The header, or an empty line.
    Nothing,
    /// No sample: a reading is missing or is no number.
    Unreadable,
    /// The line is too long, or its columns cannot be found: reading on makes no sense.
    Bad(String),
}

impl<R: BufRead> Lines<R> {
    /// `wanted`: the columns, by name or by number from 1.
    pub(crate) fn new(input: R, wanted: Vec<String>) -> Self {
        Self { input, wanted, columns: None }
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut self.input, LINE_LEN_MAX);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 == LINE_LEN_MAX && bytes.last() != Some(&b'\n') {
            return Ok(Some(Line::Bad(format!("a line is longer than {LINE_LEN_MAX} bytes"))));
        }
        Ok(Some(self.understand(String::from_utf8_lossy(&bytes).trim())))
    }

    fn understand(&mut self, line: &str) -> Line {
        if line.is_empty() || line.starts_with('#') {
            return Line::Nothing;
        }
        let cells = cells(line);
        let Some(columns) = &self.columns else {
            return match self.choose(&cells) {
                Err(why) => Line::Bad(why),
                Ok(columns) => {
                    let sample = sample(&cells, &columns);
                    self.columns = Some(columns);
                    // A header has no numbers where the readings are.
                    sample.map_or(Line::Nothing, Line::Sample)
                }
            };
        };
        sample(&cells, columns).map_or(Line::Unreadable, Line::Sample)
    }

    /// The columns: those named in the header, those numbered, or, without a header, the last ones.
    fn choose(&self, cells: &[&str]) -> Result<Vec<usize>, String> {
        let n = self.wanted.len();
        let has_header = !cells.iter().any(|cell| cell.parse::<f64>().is_ok());
        let find = |wanted: &String| {
            let by_number =
                wanted.parse::<usize>().ok().filter(|n| (1..=cells.len()).contains(n)).map(|n| n - 1);
            let named = |cell: &&str| {
                cell.split(['(', '[']).next().unwrap_or(cell).trim().eq_ignore_ascii_case(wanted)
            };
            by_number.or_else(|| if has_header { cells.iter().position(named) } else { None })
        };
        let found: Vec<Option<usize>> = self.wanted.iter().map(find).collect();
        if let Some(all) = found.iter().copied().collect::<Option<Vec<usize>>>() {
            return Ok(all);
        }
        let named = found.iter().any(Option::is_some) || (has_header && cells.len() > n);
        if named || cells.len() < n {
            return Err(format!(
                "the input has the columns {}, not {}",
                cells.join(", "),
                self.wanted.join(", ")
            ));
        }
        Ok((cells.len() - n..cells.len()).collect())
    }
}

fn cells(line: &str) -> Vec<&str> {
    let by = |delimiter: char| line.split(delimiter).map(|cell| cell.trim().trim_matches('"')).collect();
    match line {
        line if line.contains(';') => by(';'),
        line if line.contains(',') => by(','),
        line if line.contains('\t') => by('\t'),
        line => line.split_whitespace().collect(),
    }
}

fn sample(cells: &[&str], columns: &[usize]) -> Option<Vec<f32>> {
    let value = |&column: &usize| cells.get(column)?.parse::<f32>().ok().filter(|v| v.is_finite());
    columns.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[&str], expected: &[Line]) {
        let mut lines = Lines::new(text.as_bytes(), wanted.iter().map(|w| w.to_string()).collect());
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(lines.next().unwrap().as_ref(), Some(expected), "line {i} of {text:?}");
        }
        assert_eq!(lines.next().unwrap(), None, "{text:?}");
    }

    fn one(value: f32) -> Line {
        Line::Sample(vec![value])
    }

    #[test]
    fn sensors_print_in_many_ways() {
        let t = &["temperature"][..];
        check("21.5\n\n-3\r\n", t, &[one(21.5), Line::Nothing, one(-3.0)]);
        check("# log\n1760000000,21.5\n1760000010,22\n", t, &[Line::Nothing, one(21.5), one(22.0)]);
        check(
            "time,temperature,humidity\n1,21.5,40\n2,nan,41\n",
            t,
            &[Line::Nothing, one(21.5), Line::Unreadable],
        );
        check("time;Temperature (°C)\n1;21.5\n2;\n", t, &[Line::Nothing, one(21.5), Line::Unreadable]);
        check("a\tb\n1\t2\n", &["2"], &[Line::Nothing, one(2.0)]);
        check("21.5 40\n", &["1"], &[one(21.5)]);
        check("1 21.5 40\n", &["temperature", "humidity"], &[Line::Sample(vec![21.5, 40.0])]);
        check("celsius\n20\n", t, &[Line::Nothing, one(20.0)]);
    }

    #[test]
    fn what_cannot_be_found_is_said() {
        for text in ["time,pressure\n1,2\n", "temperature,x\n"] {
            let mut lines = Lines::new(text.as_bytes(), vec!["temperature".into(), "humidity".into()]);
            let first = lines.next().unwrap().unwrap();
            let fits = text.starts_with("time");
            assert_eq!(matches!(first, Line::Bad(_)), !fits, "{text:?} {first:?}");
        }
        let mut lines = Lines::new("time,a,b\n".as_bytes(), vec!["temperature".into()]);
        assert!(matches!(lines.next(), Ok(Some(Line::Bad(why))) if why.contains("time, a, b")));
        let endless = vec![b'7'; 10_000];
        let mut lines = Lines::new(endless.as_slice(), vec!["temperature".into()]);
        assert!(matches!(lines.next(), Ok(Some(Line::Bad(_)))));
    }
}
