//! The tables, as migrations: number n brings a database from version n to n + 1. None is ever edited.

use super::conn::{self, Conn, Pool};
use crate::store::StoreError;

const MIGRATIONS: &[&str] = &[
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
    include_str!("v4.sql"),
    include_str!("v5.sql"),
    include_str!("v6.sql"),
];

/// Only one server at a time migrates; the number is ours alone in a database ("kinglet" in ASCII).
const LOCK: &str = "SELECT pg_advisory_xact_lock(30231079086970228)";

/// Brings the database to the newest schema; refuses one from the future.
pub(super) async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    conn::write!(pool, |conn| bring_up(&conn))
}

async fn bring_up(conn: &Conn) -> Result<(), StoreError> {
    conn.batch(LOCK).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    conn.batch("CREATE TABLE IF NOT EXISTS kinglet_schema (version bigint NOT NULL)").await?;
    let row = conn.row("SELECT max(version) FROM kinglet_schema", &[]).await?;
    let found: i64 = match row {
        Some(row) => row.try_get::<_, Option<i64>>(0)?.unwrap_or(0),
        None => 0,
    };
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreError::TooNew { found, known });
    }
    for sql in &MIGRATIONS[done..] {
        conn.batch(sql).await?;
    }
    if done < MIGRATIONS.len() {
        conn.execute("INSERT INTO kinglet_schema VALUES ($1)", &[&known]).await?;
    }
    heal_restored(conn).await
}

/// After a dump was read into another cluster, its rows name transactions that have not been there yet: the
/// background pass would wait for them, and overlook what comes before. They are of the past.
async fn heal_restored(conn: &Conn) -> Result<(), StoreError> {
    let row = conn
        .row(
            "SELECT GREATEST((SELECT max(xact) FROM stored_window), (SELECT xact FROM progress)) \
             >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
            &[],
        )
        .await?;
    // Ours, if other servers store at this moment, is newer than any of theirs that is visible here.
    let is_restored = row.map(|row| row.try_get::<_, Option<bool>>(0)).transpose()?.flatten();
    if is_restored == Some(true) {
        tracing::info!("this database was restored: its windows are put in order, which may take minutes");
        // All by the same number: their order is what places in the tail lean on.
        conn.batch(
            "CREATE TEMPORARY TABLE past ON COMMIT DROP AS SELECT GREATEST((SELECT max(xact) FROM stored_window), \
             (SELECT xact FROM progress), (SELECT max(xact) FROM forward)) AS newest; \
             UPDATE stored_window SET xact = xact - newest FROM past; \
             UPDATE forward SET xact = xact - newest FROM past; \
             UPDATE progress SET xact = xact - newest FROM past",
        )
        .await?;
    }
    Ok(())
}
