//! Windows as they are read back, each checked against its checksum.
//!
//! The background pass files windows by device and time, many at once; those it has not come to (the tail) are
//! read by id. One transaction sees both, so a window is always in exactly one of the two.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::memo::Memo;
use crate::store::{Coverage, Flaw, FrameId, LogPlace, Logged, Place, StoreError, TimeQuality, WindowRow};

const WINDOW: &str = "SELECT id, device, generation, counter, t_first, t_arrival, t_quality, bundle, code, frame_len, \
     crc, tag FROM window";
/// What is not filed yet. A pass under way goes by devices (see `filing`): the second half is about that.
pub(super) const TAIL: &str = "id > (SELECT decoded_to FROM progress) AND \
     (id > (SELECT filing_to FROM progress) OR device > (SELECT filing_device FROM progress))";

/// Where a window stands in time, and what the background pass found in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    t_first: i64,
    id: i64,
    n_samples: Option<u32>,
    flaw: i64,
}

/// The window first sealed under a number.
pub(super) fn window(
    conn: &Connection,
    memo: &mut Memo,
    device: u32,
    number: FrameId,
) -> Result<Option<WindowRow>, StoreError> {
    let Some(id) = memo.window_id(conn, device, number)? else { return Ok(None) };
    let mut statement = conn.prepare_cached(&format!("{WINDOW} WHERE id = ?1"))?;
    Ok(statement.query_row([id], window_row).optional()?)
}

/// Where the windows that have samples in `from..to` are, by time; at most `limit`, the newest of them.
pub(super) fn places(
    conn: &Connection,
    device: u32,
    from_ms: i64,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<Found>, StoreError> {
    let mut places = conn
        .prepare_cached(&format!("SELECT t_first, id, NULL, 0 FROM window WHERE {TAIL} AND device = ?1"))?
        .query_map([device], place)?
        .collect::<Result<Vec<_>, _>>()?;
    // The window before `from` may reach into it.
    let filed: Option<i64> = conn
        .prepare_cached("SELECT MAX(t_first) FROM window_order WHERE device = ?1 AND t_first <= ?2")?
        .query_row(params![device, from_ms], |row| row.get(0))?;
    let before = places.iter().map(|place| place.t_first).filter(|t| *t <= from_ms).chain(filed).max();
    let from_ms = before.unwrap_or(from_ms);
    places.retain(|place| (from_ms..to_ms).contains(&place.t_first));
    let mut statement = conn.prepare_cached(
        "SELECT t_first, id, n_samples, flaw FROM window_order \
         WHERE device = ?1 AND t_first >= ?2 AND t_first < ?3 ORDER BY t_first DESC, id DESC LIMIT ?4",
    )?;
    for filed in statement.query_map(params![device, from_ms, to_ms, limit], place)? {
        places.push(filed?);
    }
    places.sort_unstable();
    let n_older = places.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(places.split_off(n_older))
}

pub(super) fn after(
    conn: &Connection,
    device: u32,
    after: Place,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<WindowRow>, StoreError> {
    let mut places = conn
        .prepare_cached(&format!("SELECT t_first, id, NULL, 0 FROM window WHERE {TAIL} AND device = ?1"))?
        .query_map([device], place)?
        .collect::<Result<Vec<_>, _>>()?;
    places.retain(|place| (place.t_first, place.id) > (after.t_first, after.row_id) && place.t_first < to_ms);
    let mut statement = conn.prepare_cached(
        "SELECT t_first, id, n_samples, flaw FROM window_order \
         WHERE device = ?1 AND (t_first, id) > (?2, ?3) AND t_first < ?4 ORDER BY t_first, id LIMIT ?5",
    )?;
    for filed in statement.query_map(params![device, after.t_first, after.row_id, to_ms, limit], place)? {
        places.push(filed?);
    }
    places.sort_unstable();
    places.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    fetch(conn, &places)
}

pub(super) fn latest(conn: &Connection, devices: &[u32]) -> Result<Vec<WindowRow>, StoreError> {
    let mut newest = HashMap::<u32, Found>::new();
    // One look at the tail, however many devices are asked for.
    let mut statement =
        conn.prepare_cached(&format!("SELECT t_first, id, NULL, 0, device FROM window WHERE {TAIL}"))?;
    for row in statement.query_map([], |row| Ok((row.get(4)?, place(row)?)))? {
        let (device, place) = row?;
        let entry = newest.entry(device).or_insert(place);
        *entry = place.max(*entry);
    }
    let mut statement = conn.prepare_cached(
        "SELECT t_first, id, n_samples, flaw FROM window_order WHERE device = ?1 \
         ORDER BY t_first DESC, id DESC LIMIT 1",
    )?;
    let mut places = Vec::with_capacity(devices.len());
    for device in devices {
        let filed = statement.query_row([device], place).optional()?;
        places.extend(filed.max(newest.get(device).copied()));
    }
    fetch(conn, &places)
}

pub(super) fn undecoded(
    conn: &Connection,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<WindowRow>, StoreError> {
    let sql = format!("{WINDOW} WHERE {TAIL} AND id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows =
        statement.query_map(params![after.unwrap_or(0), limit], window_row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// One writer hands the ids out within its transactions: they are in the order of commits.
pub(super) fn stored_after(
    conn: &Connection,
    after: LogPlace,
    limit: u32,
) -> Result<Vec<Logged>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("{WINDOW} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = statement.query_map(params![after.row_id, limit], |row| {
        let row = window_row(row)?;
        Ok((LogPlace { xact: 0, row_id: row.row_id }, row))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
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
         FROM window_order WHERE device = ?1 AND t_first >= ?2 AND t_first < ?3 AND n_samples IS NOT NULL)",
    )?;
    Ok(statement.query_row(params![device, from_ms, to_ms], |row| {
        Ok(Coverage { n_samples: row.get(0)?, covered_ms: row.get(1)?, missing_ms: row.get(2)? })
    })?)
}

fn place(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found { t_first: row.get(0)?, id: row.get(1)?, n_samples: row.get(2)?, flaw: row.get(3)? })
}

/// The windows at these places, in their order; those that are gone meanwhile are left out.
pub(super) fn fetch(conn: &Connection, places: &[Found]) -> Result<Vec<WindowRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("{WINDOW} WHERE id = ?1"))?;
    let mut rows = Vec::with_capacity(places.len());
    for place in places {
        if let Some(mut row) = statement.query_row([place.id], window_row).optional()? {
            row.n_samples = place.n_samples;
            row.flaw = row.flaw.or(Flaw::from_number(place.flaw));
            rows.push(row);
        }
    }
    Ok(rows)
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
        n_samples: None,
        flaw: None,
    };
    let (crc, tag): (u32, Vec<u8>) = (row.get(10)?, row.get(11)?);
    if crc != crate::store::row_crc(window.device, window.origin, &window.bundle, &tag, &window.code) {
        window.flaw = Some(Flaw::Damaged);
    }
    Ok(window)
}
