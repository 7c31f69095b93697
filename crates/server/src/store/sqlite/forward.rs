//! Passing on: how far each target has come, and who is at it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{Census, LogPlace, StoreError, TargetClaim, TargetRow};

const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
const ROW: &str = "SELECT target, id, n_lost FROM forward";

/// The last id there is or was.
const LAST: &str = "MAX((SELECT COALESCE(MAX(id), 0) FROM window), (SELECT decoded_to FROM progress))";

pub(super) fn log_end(conn: &Connection) -> Result<LogPlace, StoreError> {
    let mut last = conn.prepare_cached(&format!("SELECT {LAST}"))?;
    Ok(LogPlace { xact: 0, row_id: last.query_row([], |row| row.get(0))? })
}

/// Takes the target, or renews the lease on it; `None` while somebody else has it.
pub(super) fn claim(conn: &Connection, claim: &TargetClaim) -> Result<Option<TargetRow>, StoreError> {
    conn.prepare_cached(&format!(
        "INSERT INTO forward (target, id) VALUES (?1, CASE WHEN ?2 THEN 0 ELSE {LAST} END) ON CONFLICT DO NOTHING"
    ))?
    .execute(params![claim.target, claim.from_start])?;
    // A lease that ends later than any that could be had now is of a clock that stood ahead.
    let n_taken = conn
        .prepare_cached(&format!(
            "UPDATE forward SET owner = ?2, t_leased = {NOW} + ?3 \
             WHERE target = ?1 AND (owner = ?2 OR t_leased NOT BETWEEN {NOW} + 1 AND {NOW} + 2 * ?3)"
        ))?
        .execute(params![claim.target, claim.owner, claim.lease_ms])?;
    if n_taken == 0 {
        return Ok(None);
    }
    let mut row = conn.prepare_cached(&format!("{ROW} WHERE target = ?1"))?;
    Ok(row.query_row([&claim.target], target_row).optional()?)
}

/// Moves the target on; false if somebody else has taken it meanwhile.
pub(super) fn pass(conn: &Connection, target: &str, owner: i64, to: LogPlace) -> Result<bool, StoreError> {
    let moved = conn
        .prepare_cached("UPDATE forward SET id = MAX(id, ?3) WHERE target = ?1 AND owner = ?2")?
        .execute(params![target, owner, to.row_id])?;
    Ok(moved > 0)
}

pub(super) fn release(conn: &Connection, target: &str, owner: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE forward SET owner = 0, t_leased = 0 WHERE target = ?1 AND owner = ?2")?
        .execute(params![target, owner])?;
    Ok(())
}

pub(super) fn targets(conn: &Connection) -> Result<Vec<TargetRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("{ROW} ORDER BY target"))?;
    let rows = statement.query_map([], target_row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Counts deleted windows for every target that had not come to them.
pub(super) fn count_lost(
    conn: &Connection,
    ids: impl Iterator<Item = i64> + Clone,
) -> Result<(), StoreError> {
    let behind = conn
        .prepare_cached("SELECT target, id FROM forward")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, i64)>, _>>()?;
    for (target, at) in behind {
        let n = ids.clone().filter(|id| *id > at).count();
        if n > 0 {
            conn.prepare_cached("UPDATE forward SET n_lost = n_lost + ?2 WHERE target = ?1")?
                .execute(params![target, n])?;
        }
    }
    Ok(())
}

pub(super) fn census(conn: &Connection) -> Result<Census, StoreError> {
    let ask = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    let bytes = ask("page_count")?.saturating_mul(ask("page_size")?);
    let mut count = conn.prepare_cached(
        "SELECT COUNT(*), COUNT(t_revoked), (SELECT COUNT(*) FROM bundle), \
         (SELECT COUNT(*) FROM alert WHERE t_cleared IS NULL) FROM device",
    )?;
    Ok(count.query_row([], |row| {
        let (n_devices, n_revoked) = (row.get(0)?, row.get(1)?);
        Ok(Census { bytes, n_devices, n_revoked, n_bundles: row.get(2)?, n_alerts: row.get(3)? })
    })?)
}

fn target_row(row: &Row<'_>) -> rusqlite::Result<TargetRow> {
    let at = LogPlace { xact: 0, row_id: row.get(1)? };
    Ok(TargetRow { target: row.get(0)?, at, n_lost: row.get(2)? })
}
