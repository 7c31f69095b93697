//! Records of a file one after the other, in bounded memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::error::RecordingError;
use super::{COLUMNS_MAX, RECORD_LEN_MAX};

/// Reads records into one buffer.
pub(super) struct Rows<R> {
    csv: csv::Reader<Guarded<R>>,
    since_record: Rc<Cell<usize>>,
    record: csv::ByteRecord,
}

/// How files are split everywhere here: headers are found by us, rows may be ragged, `#` begins a comment.
pub(super) fn builder(delimiter: u8) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true).comment(Some(b'#'));
    builder
}

impl<R: Read> Rows<R> {
    pub(super) fn new(reader: R, delimiter: u8) -> Self {
        let since_record = Rc::new(Cell::new(0));
        let guarded = Guarded { reader, since_record: Rc::clone(&since_record) };
        Self { csv: builder(delimiter).from_reader(guarded), since_record, record: csv::ByteRecord::new() }
    }

    /// The next record and its first line, counted from 1.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &csv::ByteRecord)>, RecordingError> {
        self.since_record.set(0);
        let line = self.csv.position().line();
        match self.csv.read_byte_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) if self.record.len() > COLUMNS_MAX => {
                Err(RecordingError::TooManyColumns { line: self.line(line), columns: self.record.len() })
            }
            Ok(true) => Ok(Some((self.line(line), &self.record))),
            Err(error) => Err(match error.into_kind() {
                csv::ErrorKind::Io(e) if is_guard(&e) => RecordingError::RecordTooLong { line },
                csv::ErrorKind::Io(e) => RecordingError::Io(e),
                // Ragged rows are allowed and bytes need no encoding: nothing else can go wrong.
                _ => RecordingError::Shape("the CSV reader gave up"),
            }),
        }
    }

    fn line(&self, before: u64) -> u64 {
        self.record.position().map_or(before, csv::Position::line)
    }
}

/// Ends a record that never ends: an open quote would else swallow a file of any size.
struct Guarded<R> {
    reader: R,
    since_record: Rc<Cell<usize>>,
}

/// The mark of our own error inside `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("record too long")]
struct TooLong;

fn is_guard(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TooLong>())
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.since_record.set(self.since_record.get().saturating_add(n));
        if self.since_record.get() > RECORD_LEN_MAX + buffer.len() {
            return Err(io::Error::other(TooLong));
        }
        Ok(n)
    }
}
