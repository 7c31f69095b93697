//! What was counted.

use rusqlite::{Connection, Row, params};

use crate::store::counted::AHEAD_MS;
use crate::store::{DayStats, RejectCount, StoreError, Totals, day_of};

pub(super) fn add_reject(
    conn: &Connection,
    device: u32,
    day: i32,
    reason: &str,
    n: i64,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO reject (device, day, reason, n) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device, day, reason) DO UPDATE SET n = n + excluded.n",
    )?
    .execute(params![device, day, reason, n])?;
    Ok(())
}

pub(super) fn add_rejects(conn: &Connection, rejects: &[RejectCount]) -> Result<(), StoreError> {
    for reject in rejects {
        let n = i64::try_from(reject.n).unwrap_or(i64::MAX);
        add_reject(conn, reject.device, reject.day, &reject.reason, n)?;
    }
    Ok(())
}

pub(super) fn day_stats(
    conn: &Connection,
    device: Option<u32>,
    from: i32,
    to: i32,
) -> Result<Vec<DayStats>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT SUM(frames), SUM(bytes), SUM(windows), SUM(readings), SUM(duplicates), device, day, MAX(t_last) \
         FROM day_count WHERE (?1 IS NULL OR device = ?1) AND day BETWEEN ?2 AND ?3 \
         GROUP BY device, day ORDER BY device, day",
    )?;
    let rows = statement.query_map(params![device, from, to], |row| {
        Ok(DayStats { device: row.get(5)?, day: row.get(6)?, t_last: row.get(7)?, totals: totals_row(row)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Windows of the tail are filed within seconds; this is asked again.
pub(super) fn cap_last_seen(conn: &Connection, now_ms: i64) -> Result<(), StoreError> {
    // By device, so that of years of days only those from today on are looked at.
    conn.prepare_cached(
        "UPDATE day_stats SET t_last = ?1 \
         WHERE device IN (SELECT short_id FROM device) AND day >= ?2 AND t_last > ?3",
    )?
    .execute(params![now_ms, day_of(now_ms), now_ms.saturating_add(AHEAD_MS)])?;
    Ok(())
}

pub(super) fn totals(conn: &Connection, device: Option<u32>) -> Result<Totals, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT COALESCE(SUM(frames), 0), COALESCE(SUM(bytes), 0), COALESCE(SUM(windows), 0), \
         COALESCE(SUM(readings), 0), COALESCE(SUM(duplicates), 0) FROM day_count WHERE ?1 IS NULL OR device = ?1",
    )?;
    Ok(statement.query_row([device], totals_row)?)
}

pub(super) fn rejects(conn: &Connection, from: i32, to: i32) -> Result<Vec<RejectCount>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT device, day, reason, n FROM reject WHERE day BETWEEN ?1 AND ?2 ORDER BY device, day, reason",
    )?;
    let rows = statement.query_map([from, to], |row| {
        Ok(RejectCount { device: row.get(0)?, day: row.get(1)?, reason: row.get(2)?, n: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn totals_row(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        frames: row.get(0)?,
        bytes: row.get(1)?,
        windows: row.get(2)?,
        readings: row.get(3)?,
        duplicates: row.get(4)?,
    })
}
