//! A recording as a CSV file.

use std::io::{self, Write};

use super::series::Recording;

/// Writes a recording as CSV: UTF-8, commas, ISO 8601 times in UTC, names with their units, missing readings
/// empty. [`super::read`] reads the same times and values from it.
///
/// ```
/// # use kinglet_train::recording::{ReadOptions, read, write};
/// let (recording, _) = read(&b"t;temp_C\n0;20,5\n60;\n120;20,4\n"[..], &ReadOptions::default()).unwrap();
/// let mut file = Vec::new();
/// write(&recording, &mut file).unwrap();
/// assert_eq!(
///     String::from_utf8(file).unwrap(),
///     "time,temp (°C)\n1970-01-01T00:00:00Z,20.5\n1970-01-01T00:01:00Z,\n1970-01-01T00:02:00Z,20.4\n"
/// );
/// ```
pub fn write(recording: &Recording, out: impl Write) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().from_writer(out);
    csv.write_field("time")?;
    for channel in recording.channels() {
        match channel.unit.as_str() {
            "" => csv.write_field(&channel.name)?,
            unit => csv.write_field(format!("{} ({unit})", channel.name))?,
        }
    }
    csv.write_record(None::<&[u8]>)?;
    for (row, &t_ms) in recording.times_ms().iter().enumerate() {
        match jiff::Timestamp::from_millisecond(t_ms) {
            Ok(time) => csv.write_field(time.to_string())?,
            // Beyond the year 9999 there is only the number.
            Err(_) => csv.write_field(t_ms.to_string())?,
        }
        for channel in recording.channels() {
            let value = channel.values.get(row);
            csv.write_field(value.map_or(String::new(), |v| v.to_string()))?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}
