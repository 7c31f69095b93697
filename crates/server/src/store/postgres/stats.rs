//! What was counted.

use tokio_postgres::Row;

use super::conn::Conn;
use super::{number, short};
use crate::store::counted::AHEAD_MS;
use crate::store::{DayStats, RejectCount, StoreError, Totals, day_of};

/// Rows in the order of their keys: two servers that count the same never wait for each other in a ring.
pub(super) async fn add_rejects(conn: &Conn, rejects: &[RejectCount]) -> Result<(), StoreError> {
    let mut rows: Vec<&RejectCount> = rejects.iter().collect();
    rows.sort_unstable_by_key(|row| (row.device, row.day, &row.reason));
    for row in rows {
        conn.execute(
            "INSERT INTO reject AS r (device, day, reason, n) VALUES ($1, $2, $3, $4) ON CONFLICT (device, day, reason) DO UPDATE \
             SET n = r.n + excluded.n",
            &[&i64::from(row.device), &row.day, &row.reason, &number(row.n)],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn day_stats(
    conn: &Conn,
    device: Option<u32>,
    from: i32,
    to: i32,
) -> Result<Vec<DayStats>, StoreError> {
    let rows = conn
        .rows(
            "SELECT sum(frames)::bigint, sum(bytes)::bigint, sum(windows)::bigint, sum(readings)::bigint, \
             sum(duplicates)::bigint, device, day, max(t_last) FROM day_count \
             WHERE ($1::bigint IS NULL OR device = $1) AND day BETWEEN $2 AND $3 \
             GROUP BY device, day ORDER BY device, day",
            &[&device.map(i64::from), &from, &to],
        )
        .await?;
    let stats = |row: &Row| {
        Ok(DayStats {
            device: short(row.try_get(5)?)?,
            day: row.try_get(6)?,
            t_last: row.try_get(7)?,
            totals: totals_row(row)?,
        })
    };
    rows.iter().map(stats).collect()
}

pub(super) async fn cap_last_seen(conn: &Conn, now_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE day_stats SET t_last = $1 \
               WHERE device IN (SELECT short_id FROM device) AND day >= $2 AND t_last > $3";
    conn.execute(sql, &[&now_ms, &day_of(now_ms), &now_ms.saturating_add(AHEAD_MS)]).await?;
    Ok(())
}

pub(super) async fn totals(conn: &Conn, device: Option<u32>) -> Result<Totals, StoreError> {
    let row = conn
        .row(
            "SELECT COALESCE(sum(frames), 0)::bigint, COALESCE(sum(bytes), 0)::bigint, \
             COALESCE(sum(windows), 0)::bigint, COALESCE(sum(readings), 0)::bigint, \
             COALESCE(sum(duplicates), 0)::bigint FROM day_count WHERE $1::bigint IS NULL OR device = $1",
            &[&device.map(i64::from)],
        )
        .await?;
    row.as_ref().map_or(Ok(Totals::default()), totals_row)
}

pub(super) async fn rejects(conn: &Conn, from: i32, to: i32) -> Result<Vec<RejectCount>, StoreError> {
    let rows = conn
        .rows(
            "SELECT device, day, reason, n FROM reject WHERE day BETWEEN $1 AND $2 ORDER BY device, day, reason",
            &[&from, &to],
        )
        .await?;
    rows.iter().map(reject_row).collect()
}

pub(super) fn reject_row(row: &Row) -> Result<RejectCount, StoreError> {
    Ok(RejectCount {
        device: short(row.try_get(0)?)?,
        day: row.try_get(1)?,
        reason: row.try_get(2)?,
        n: row.try_get::<_, i64>(3)?.unsigned_abs(),
    })
}

fn totals_row(row: &Row) -> Result<Totals, StoreError> {
    let count = |idx: usize| row.try_get::<_, i64>(idx).map(i64::unsigned_abs);
    Ok(Totals {
        frames: count(0)?,
        bytes: count(1)?,
        windows: count(2)?,
        readings: count(3)?,
        duplicates: count(4)?,
    })
}
