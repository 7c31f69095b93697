//! Readings as an Apache Parquet file: a row per value as in CSV, kept by columns.

use std::io::Write;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;

use super::Span;
use crate::readings::{ChannelInfo, Readings, Value, to_f64};

/// `value` is null where the sensor gave none and outside the grid; `outside` says `above` or `below` there.
const SCHEMA: &str = "message readings {
    required binary device (UTF8);
    required int64 time (TIMESTAMP(MILLIS,true));
    required binary channel (UTF8);
    required binary unit (UTF8);
    optional double value;
    optional binary outside (UTF8);
    required double bound;
    required binary time_quality (UTF8);
}";
/// Rows that are written together; until then they are in memory, about 20 MB of them.
const GROUP: usize = 1 << 17;

/// A file that is being written. It can be read once [`finish`](Self::finish) has closed it.
pub struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Rows,
}

/// Why no file could be written: nearly always what the system said.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ParquetFailed(#[from] ParquetError);

/// The rows of a group, by columns. Of those that may be null, what there is and where.
#[derive(Default)]
struct Rows {
    device: Vec<ByteArray>,
    time: Vec<i64>,
    channel: Vec<ByteArray>,
    unit: Vec<ByteArray>,
    value: Vec<f64>,
    has_value: Vec<i16>,
    outside: Vec<ByteArray>,
    is_outside: Vec<i16>,
    bound: Vec<f64>,
    time_quality: Vec<ByteArray>,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    pub fn begin(out: W) -> Result<Self, ParquetFailed> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, rows: Rows::default() })
    }

    /// Adds a window's samples; gives how many there were in the span.
    pub fn window(&mut self, device: &str, readings: &Readings, span: Span) -> Result<usize, ParquetFailed> {
        let (device, quality) = (ByteArray::from(device), ByteArray::from(readings.t_quality.word()));
        let names = |channel: &ChannelInfo| {
            (
                ByteArray::from(channel.name.as_str()),
                ByteArray::from(channel.unit.as_str()),
                to_f64(channel.bound),
            )
        };
        let channels: Vec<_> = readings.channels.iter().map(names).collect();
        let mut n = 0;
        for (t_ms, values) in readings.samples().filter(|(t, _)| (span.from_ms..span.to_ms).contains(t)) {
            n += 1;
            for ((name, unit, bound), value) in channels.iter().zip(values) {
                self.rows.device.push(device.clone());
                self.rows.time.push(t_ms);
                self.rows.channel.push(name.clone());
                self.rows.unit.push(unit.clone());
                self.rows.value(value);
                self.rows.bound.push(*bound);
                self.rows.time_quality.push(quality.clone());
            }
        }
        if self.rows.time.len() >= GROUP {
            self.write_group()?;
        }
        Ok(n)
    }

    /// Closes the file; gives how many bytes were written.
    pub fn finish(mut self) -> Result<u64, ParquetFailed> {
        if !self.rows.time.is_empty() {
            self.write_group()?;
        }
        self.writer.finish()?;
        Ok(u64::try_from(self.writer.bytes_written()).unwrap_or(u64::MAX))
    }

    fn write_group(&mut self) -> Result<(), ParquetFailed> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group()?;
        // In the order of the schema.
        texts(&mut group, &rows.device, None)?;
        column::<Int64Type, _>(&mut group, &rows.time, None)?;
        texts(&mut group, &rows.channel, None)?;
        texts(&mut group, &rows.unit, None)?;
        column::<DoubleType, _>(&mut group, &rows.value, Some(&rows.has_value))?;
        texts(&mut group, &rows.outside, Some(&rows.is_outside))?;
        column::<DoubleType, _>(&mut group, &rows.bound, None)?;
        texts(&mut group, &rows.time_quality, None)?;
        group.close()?;
        Ok(())
    }
}

impl Rows {
    fn value(&mut self, value: &Value) {
        let (number, outside) = match value {
            Value::Number(number) => (Some(to_f64(*number)), None),
            Value::Above => (None, Some("above")),
            Value::Below => (None, Some("below")),
            Value::Missing => (None, None),
        };
        self.has_value.push(number.is_some().into());
        self.value.extend(number);
        self.is_outside.push(outside.is_some().into());
        self.outside.extend(outside.map(ByteArray::from));
    }
}

fn texts<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[ByteArray],
    levels: Option<&[i16]>,
) -> Result<()> {
    column::<ByteArrayType, W>(group, values, levels)
}

fn column<T: ::parquet::data_type::DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ::parquet::record::RowAccessor as _;

    use super::*;
    use crate::export::Span;
    use crate::export::tests::usual;

    #[test]
    fn a_row_per_value_in_groups_as_they_fill() {
        let mut bytes = Vec::new();
        let mut file = ParquetFile::begin(&mut bytes).unwrap();
        let n_windows = GROUP / 4 + 1;
        for _ in 0..n_windows {
            assert_eq!(file.window("porch", &usual(), Span::ALL).unwrap(), 2);
        }
        let n_bytes = file.finish().unwrap();
        assert_eq!(bytes.len() as u64, n_bytes);
        let reader = SerializedFileReader::new(::bytes::Bytes::from(bytes)).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(rows.len(), 4 * n_windows);
        let first = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        assert_eq!(first.get_string(0).unwrap(), "porch");
        assert_eq!(first.get_timestamp_millis(1).unwrap(), 1_790_000_000_500);
        assert_eq!(first.get_double(4).unwrap(), -21.5);
        assert!(rows[1].contains("value: null, outside: null"), "{}", rows[1]);
        assert!(rows[2].contains("value: null, outside: \"above\""), "{}", rows[2]);
    }

    #[test]
    fn a_file_without_readings_is_one() {
        let mut bytes = Vec::new();
        ParquetFile::begin(&mut bytes).unwrap().finish().unwrap();
        let reader = SerializedFileReader::new(::bytes::Bytes::from(bytes)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }
}
