//! Retention: windows go, what was received and counted stays.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::seed::BLOCK_SPAN_MS;
use crate::store::{AgeClock, StoreError};

/// Pages given back at once: a moment's work for the writer.
const PAGES: u32 = 256;
/// Free pages that are left for the windows to come.
const SPARE: u32 = 1024;

/// Deletes filed windows of which both times lie before `before_ms`. Those of the tail are younger than a minute or wait
/// for the background pass, which counts them first.
pub(super) fn forget(conn: &Connection, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
    // The ranges on disk lean on rows of the tail only; those are not touched.
    let gone = conn
        .prepare_cached(
            "SELECT w.id, w.device, w.t_first, w.generation, w.counter FROM device d JOIN window_order o \
             ON o.device = d.short_id AND o.t_first < ?1 JOIN window w ON w.id = o.id \
             WHERE w.t_arrival < ?1 LIMIT ?2",
        )?
        .query_map(params![before_ms, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<Result<Vec<(i64, u32, i64, u32, i64)>, _>>()?;
    let mut window = conn.prepare_cached("DELETE FROM window WHERE id = ?1")?;
    let mut order =
        conn.prepare_cached("DELETE FROM window_order WHERE device = ?1 AND t_first = ?2 AND id = ?3")?;
    let mut number = conn
        .prepare_cached("DELETE FROM window_number WHERE device = ?1 AND generation = ?2 AND counter = ?3")?;
    for (id, device, t_first, generation, counter) in &gone {
        window.execute([id])?;
        order.execute(params![device, t_first, id])?;
        number.execute(params![device, generation, counter])?;
    }
    super::forward::count_lost(conn, gone.iter().map(|(id, ..)| *id))?;
    Ok(gone.len() as u64 + forget_samples(conn, before_ms, limit)?)
}

fn forget_samples(conn: &Connection, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
    // A block spans an hour at most: all of it is older.
    let before_ms = before_ms.saturating_sub(BLOCK_SPAN_MS);
    let gone = conn
        .prepare_cached(
            "SELECT b.id, b.series, b.n_samples FROM seed_series s JOIN seed_block b ON b.series = s.id \
             WHERE b.t_first < ?1 LIMIT ?2",
        )?
        .query_map(params![before_ms, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, i64, i64)>, _>>()?;
    for (id, series, n_samples) in &gone {
        conn.prepare_cached("DELETE FROM seed_block WHERE id = ?1")?.execute([id])?;
        conn.prepare_cached("UPDATE seed_series SET n_samples = n_samples - ?2 WHERE id = ?1")?
            .execute([series, n_samples])?;
    }
    Ok(gone.len() as u64)
}

pub(super) fn age_clock(conn: &Connection) -> Result<Option<AgeClock>, StoreError> {
    let mut row = conn.prepare_cached("SELECT t_ms, ahead_ms, waited_ms FROM age_clock")?;
    let clock =
        |row: &Row<'_>| Ok(AgeClock { t_ms: row.get(0)?, ahead_ms: row.get(1)?, waited_ms: row.get(2)? });
    Ok(row.query_row([], clock).optional()?)
}

pub(super) fn keep_age_clock(conn: &Connection, clock: AgeClock) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO age_clock VALUES (1, ?1, ?2, ?3)")?.execute([
        clock.t_ms,
        clock.ahead_ms,
        clock.waited_ms,
    ])?;
    Ok(())
}

/// Shortens the file by some of its free pages. A file made before `auto_vacuum` was set keeps its size and uses them again.
pub(super) fn compact(conn: &Connection) -> Result<bool, StoreError> {
    let ask = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
    if ask("auto_vacuum")? != 2 || ask("freelist_count")? < SPARE + PAGES {
        return Ok(false);
    }
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}
