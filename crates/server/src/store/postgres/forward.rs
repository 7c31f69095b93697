//! Passing on: how far each target has come in the tail, and which server is at it.

use tokio_postgres::Row;

use super::conn::Conn;
use crate::store::{Census, LogPlace, StoreError, TargetClaim, TargetRow};

macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// What older transactions have stored is there already; what the others will store comes after that place.
macro_rules! last_xact {
    () => {
        "pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1"
    };
}

pub(super) async fn log_end(conn: &Conn) -> Result<LogPlace, StoreError> {
    let row = conn.row(concat!("SELECT ", last_xact!()), &[]).await?;
    let xact = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(LogPlace { xact, row_id: i64::MAX })
}

/// Takes the target, or renews the lease on it; `None` while another server has it.
pub(super) async fn claim(conn: &Conn, claim: &TargetClaim) -> Result<Option<TargetRow>, StoreError> {
    conn.execute(
        concat!(
            "INSERT INTO forward (target, xact, id) SELECT $1, CASE WHEN $2 THEN -4611686018427387904 ELSE ",
            last_xact!(),
            " END, 9223372036854775807 ON CONFLICT DO NOTHING"
        ),
        &[&claim.target, &claim.from_start],
    )
    .await?;
    // A lease that ends later than any that could be had now is of a clock that stood ahead.
    let taken = conn
        .row(
            concat!(
                "UPDATE forward SET owner = $2, t_leased = ",
                now_ms!(),
                " + $3 WHERE target = $1 AND (owner = $2 OR t_leased NOT BETWEEN ",
                now_ms!(),
                " + 1 AND ",
                now_ms!(),
                " + 2::bigint * $3) RETURNING target, xact, id, n_lost"
            ),
            &[&claim.target, &claim.owner, &claim.lease_ms],
        )
        .await?;
    taken.as_ref().map(target_row).transpose()
}

/// Moves the target on; false if another server has taken it meanwhile.
pub(super) async fn pass(conn: &Conn, target: &str, owner: i64, to: LogPlace) -> Result<bool, StoreError> {
    let moved = conn
        .execute(
            "UPDATE forward SET xact = $3, id = $4 WHERE target = $1 AND owner = $2 AND (xact, id) <= ($3, $4)",
            &[&target, &owner, &to.xact, &to.row_id],
        )
        .await?;
    Ok(moved > 0)
}

pub(super) async fn release(conn: &Conn, target: &str, owner: i64) -> Result<(), StoreError> {
    let sql = "UPDATE forward SET owner = 0, t_leased = 0 WHERE target = $1 AND owner = $2";
    conn.execute(sql, &[&target, &owner]).await?;
    Ok(())
}

pub(super) async fn targets(conn: &Conn) -> Result<Vec<TargetRow>, StoreError> {
    let rows = conn.rows("SELECT target, xact, id, n_lost FROM forward ORDER BY target", &[]).await?;
    rows.iter().map(target_row).collect()
}

pub(super) async fn census(conn: &Conn) -> Result<Census, StoreError> {
    let row = conn
        .row(
            "SELECT (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c WHERE c.relkind = 'r' \
             AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'stored_window'::regclass)), \
             count(*), count(t_revoked), (SELECT count(*) FROM bundle), \
             (SELECT count(*) FROM alert WHERE t_cleared IS NULL) FROM device",
            &[],
        )
        .await?;
    let Some(row) = row else { return Ok(Census::default()) };
    let count = |i: usize| Ok::<_, StoreError>(row.try_get::<_, Option<i64>>(i)?.unwrap_or(0).unsigned_abs());
    let (n_devices, n_revoked) = (count(1)?, count(2)?);
    Ok(Census { bytes: count(0)?, n_devices, n_revoked, n_bundles: count(3)?, n_alerts: count(4)? })
}

fn target_row(row: &Row) -> Result<TargetRow, StoreError> {
    let at = LogPlace { xact: row.try_get(1)?, row_id: row.try_get(2)? };
    let n_lost = row.try_get::<_, i64>(3)?.unsigned_abs();
    Ok(TargetRow { target: row.try_get(0)?, at, n_lost })
}
