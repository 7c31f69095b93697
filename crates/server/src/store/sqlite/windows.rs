//! Windows as they are read back, each checked against its checksum.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{Coverage, DecodedMark, Flaw, FrameId, StoreError, TimeQuality, WindowRow};

const WINDOW: &str = "SELECT id, device, generation, counter, t_first, t_arrival, t_quality, bundle, code, frame_len, \
     n_samples, flaw, crc, tag FROM window";

pub(super) fn windows(
    conn: &Connection,
    device: u32,
    from_ms: i64,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<WindowRow>, StoreError> {
    // The window before `from` may reach into it.
    let mut statement = conn.prepare_cached(&format!(
        "{WINDOW} WHERE device = ?1 AND t_first < ?3 AND t_first >= COALESCE( \
         (SELECT MAX(t_first) FROM window WHERE device = ?1 AND t_first <= ?2), ?2) \
         ORDER BY t_first DESC, id DESC LIMIT ?4"
    ))?;
    let rows = statement.query_map(params![device, from_ms, to_ms, limit], window_row)?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.reverse();
    Ok(rows)
}

pub(super) fn latest(conn: &Connection, devices: &[u32]) -> Result<Vec<WindowRow>, StoreError> {
    let mut statement =
        conn.prepare_cached(&format!("{WINDOW} WHERE device = ?1 ORDER BY t_first DESC, id DESC LIMIT 1"))?;
    let mut rows = Vec::with_capacity(devices.len());
    for device in devices {
        rows.extend(statement.query_row([device], window_row).optional()?);
    }
    Ok(rows)
}

pub(super) fn undecoded(conn: &Connection, limit: u32) -> Result<Vec<WindowRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "{WINDOW} WHERE id > (SELECT decoded_to FROM progress) ORDER BY id LIMIT ?1"
    ))?;
    let rows = statement.query_map([limit], window_row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

pub(super) fn mark_decoded(conn: &Connection, marks: &[DecodedMark]) -> Result<(), StoreError> {
    let mut update =
        conn.prepare_cached("UPDATE window SET n_samples = ?2, span_ms = ?3, flaw = ?4 WHERE id = ?1")?;
    let mut count =
        conn.prepare_cached("UPDATE day_stats SET readings = readings + ?3 WHERE device = ?1 AND day = ?2")?;
    let mut n_readings = HashMap::<(u32, i32), i64>::new();
    for mark in marks {
        match mark.found {
            Ok(extent) => {
                update.execute(params![mark.row_id, extent.n_samples, extent.span_ms, 0])?;
                *n_readings.entry((mark.device, mark.day)).or_default() += i64::from(extent.n_readings);
            }
            Err(flaw) => {
                update.execute(params![mark.row_id, None::<u32>, None::<i64>, flaw as u8])?;
            }
        }
    }
    for ((device, day), n) in n_readings {
        count.execute(params![device, day, n])?;
    }
    if let Some(to) = marks.iter().map(|mark| mark.row_id).max() {
        conn.prepare_cached("UPDATE progress SET decoded_to = MAX(decoded_to, ?1)")?.execute([to])?;
    }
    Ok(())
}

pub(super) fn coverage(
    conn: &Connection,
    device: u32,
    from_ms: i64,
    to_ms: i64,
) -> Result<Coverage, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT COALESCE(SUM(n_samples), 0), COALESCE(SUM(span_ms), 0), COALESCE(SUM(MAX(t_first - t_end_before, 0)), 0) \
         FROM (SELECT n_samples, span_ms, t_first, \
         LAG(t_first + span_ms) OVER (ORDER BY t_first) AS t_end_before \
         FROM window WHERE device = ?1 AND t_first >= ?2 AND t_first < ?3 AND n_samples IS NOT NULL)",
    )?;
    Ok(statement.query_row(params![device, from_ms, to_ms], |row| {
        Ok(Coverage { n_samples: row.get(0)?, covered_ms: row.get(1)?, missing_ms: row.get(2)? })
    })?)
}

fn window_row(row: &Row<'_>) -> rusqlite::Result<WindowRow> {
    let mut window = WindowRow {
        row_id: row.get(0)?,
        device: row.get(1)?,
        origin: FrameId { generation: row.get(2)?, counter: row.get(3)? },
        t_first: row.get(4)?,
        t_arrival: row.get(5)?,
        t_quality: TimeQuality::from_number(row.get(6)?),
        bundle: row.get(7)?,
        code: row.get(8)?,
        frame_len: row.get(9)?,
        n_samples: row.get(10)?,
        flaw: Flaw::from_number(row.get(11)?),
    };
    let (crc, tag): (u32, Vec<u8>) = (row.get(12)?, row.get(13)?);
    if crc != super::row_crc(window.device, window.origin, &window.bundle, &tag, &window.code) {
        window.flaw = Some(Flaw::Damaged);
    }
    Ok(window)
}
