//! The clock retention goes by, and the database's own: all servers on it share both.

use super::conn::Conn;
use crate::store::{AgeClock, StoreError};

pub(super) async fn age_clock(conn: &Conn) -> Result<Option<AgeClock>, StoreError> {
    let row = conn.row("SELECT t_ms, ahead_ms, waited_ms FROM age_clock", &[]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(AgeClock { t_ms: row.try_get(0)?, ahead_ms: row.try_get(1)?, waited_ms: row.try_get(2)? }))
}

pub(super) async fn keep_age_clock(conn: &Conn, clock: AgeClock) -> Result<(), StoreError> {
    let sql = "INSERT INTO age_clock (t_ms, ahead_ms, waited_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (one) DO UPDATE SET t_ms = $1, ahead_ms = $2, waited_ms = $3";
    conn.execute(sql, &[&clock.t_ms, &clock.ahead_ms, &clock.waited_ms]).await?;
    Ok(())
}

pub(super) async fn clock_ms(conn: &Conn) -> Result<Option<i64>, StoreError> {
    let row = conn.row("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
