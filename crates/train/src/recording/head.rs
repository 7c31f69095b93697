//! The first bytes of a file: is it text, and what stands between its columns?

use std::io::Read;

use super::COLUMNS_MAX;
use super::error::RecordingError;

/// Bytes looked at before the rest is read.
const HEAD_LEN: usize = 256 << 10;
/// Records looked at.
const SAMPLE_RECORDS: usize = 512;

/// How well-known binary files begin, and what to do with them.
const KINDS: [(&[u8], &str, &str); 8] = [
    (b"PK\x03\x04", "an Excel workbook or a zip archive", "save the sheet as CSV, or unpack the archive"),
    (b"\x1f\x8b", "a gzip archive", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it with zstd -d"),
    (b"SQLite format 3", "an SQLite database", "export the table with sqlite3 -csv"),
    (b"PAR1", "a Parquet file", "export it as CSV"),
    (b"%PDF", "a PDF", "export the readings as CSV"),
    (b"\x89PNG", "an image", "export the readings as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
];

/// The first bytes of a file, checked to be text.
pub(super) struct Head {
    /// What was read, without a byte order mark.
    pub bytes: Vec<u8>,
    /// True if this is the whole file.
    pub is_whole: bool,
    /// True if some bytes are no UTF-8.
    pub is_latin1: bool,
}

impl Head {
    /// Reads the first bytes of `reader`.
    pub(super) fn take(reader: &mut impl Read) -> Result<Self, RecordingError> {
        let mut bytes = Vec::new();
        reader.take(HEAD_LEN as u64).read_to_end(&mut bytes)?;
        let is_whole = bytes.len() < HEAD_LEN;
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        if bytes.iter().all(u8::is_ascii_whitespace) && is_whole {
            return Err(RecordingError::Empty);
        }
        check_text(&bytes)?;
        let is_latin1 = match std::str::from_utf8(&bytes) {
            Ok(_) => false,
            // A character cut off by the end of the head is none.
            Err(e) => e.error_len().is_some() || is_whole,
        };
        Ok(Self { bytes, is_whole, is_latin1 })
    }

    /// The first whole lines.
    fn whole_lines(&self) -> &[u8] {
        match self.bytes.iter().rposition(|&b| b == b'\n' || b == b'\r') {
            Some(at) if !self.is_whole => &self.bytes[..=at],
            _ => &self.bytes,
        }
    }

    /// The first records, split at `delimiter`, comments left out.
    pub(super) fn sample(&self, delimiter: u8) -> Vec<Vec<Vec<u8>>> {
        let mut reader = super::rows::builder(delimiter).from_reader(self.whole_lines());
        let records = reader.byte_records().map_while(Result::ok).take(SAMPLE_RECORDS);
        records.map(|r| r.iter().take(COLUMNS_MAX).map(<[u8]>::to_vec).collect()).collect()
    }

    /// The last comment line before the first record, without its mark: some files keep their header there.
    pub(super) fn last_comment(&self) -> Option<&[u8]> {
        let lines = self.whole_lines().split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        let comments = lines.skip_while(|l| l.is_empty()).take_while(|l| l.first() == Some(&b'#'));
        comments.last().map(|line| line[1..].trim_ascii())
    }

    /// The delimiter that splits most lines into equally many columns.
    pub(super) fn delimiter(&self) -> u8 {
        // A semicolon file may be full of decimal commas, so a comma comes after it; blanks only as a last resort.
        let found = [b';', b'\t', b'|', b','].map(|d| (d, self.evenness(d)));
        let best = found
            .iter()
            .fold((b',', 0.0), |best, &(d, share)| if share > best.1 + 0.1 { (d, share) } else { best });
        if best.1 == 0.0 && self.evenness(b' ') > 0.9 { b' ' } else { best.0 }
    }

    /// Share of records with the most common number of columns, if that is more than one.
    fn evenness(&self, delimiter: u8) -> f64 {
        let sample = self.sample(delimiter);
        let counts: Vec<usize> = sample.iter().map(Vec::len).collect();
        let columns = most_common(&counts);
        let n_same = counts.iter().filter(|&&n| n == columns).count();
        if columns > 1 { n_same as f64 / counts.len() as f64 } else { 0.0 }
    }
}

/// The most common of `counts`, the larger one of equals; 0 for none.
pub(super) fn most_common(counts: &[usize]) -> usize {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a == b);
    runs.max_by_key(|run| run.len()).map_or(0, |run| run[0])
}

fn check_text(bytes: &[u8]) -> Result<(), RecordingError> {
    let not_text = |what, next| Err(RecordingError::NotText { what, next });
    if let Some((_, what, next)) = KINDS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return not_text(what, next);
    }
    let n_zero = bytes.iter().filter(|&&b| b == 0).count();
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") || n_zero * 3 > bytes.len() {
        return not_text("a UTF-16 or binary file", "save it as CSV in UTF-8");
    }
    let n_control = bytes.iter().filter(|&&b| b < 9 || (14..32).contains(&b) || b == 127).count();
    if n_control * 50 > bytes.len() || n_zero > 16 {
        return not_text("a binary file", "export the readings as CSV");
    }
    Ok(())
}
