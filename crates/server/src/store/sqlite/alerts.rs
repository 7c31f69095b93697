//! Alerts, and who is still to be told.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use crate::store::alerts::step;
use crate::store::{AlertChange, AlertRow, AlertStep, Alerts, Answer, NewAlert, RejectCount, StoreError};

impl Alerts for SqliteStore {
    fn change_alerts(&self, changes: Vec<AlertChange>) -> Answer<'_, Vec<AlertRow>> {
        self.write(move |conn, _| change(conn, &changes))
    }

    fn alerts(&self, before: i64, limit: u32, raised_only: bool) -> Answer<'_, Vec<AlertRow>> {
        self.read(move |conn| alerts(conn, before, limit, raised_only))
    }

    fn due_alerts(&self, target: &str, limit: u32) -> Answer<'_, Vec<(AlertStep, AlertRow)>> {
        let target = target.to_owned();
        self.read(move |conn| due(conn, &target, limit))
    }

    fn alerts_told(&self, target: &str, told: Vec<(AlertStep, i64)>) -> Answer<'_, ()> {
        let target = target.to_owned();
        self.write(move |conn, _| {
            let sql = "DELETE FROM alert_due WHERE target = ?1 AND alert = ?2 AND step = ?3";
            let mut one = conn.prepare_cached(sql)?;
            for (step, id) in &told {
                one.execute(params![target, id, *step as u8])?;
            }
            Ok(())
        })
    }

    fn forget_alerts(&self, kept: u32) -> Answer<'_, u64> {
        self.write(move |conn, _| forget(conn, kept))
    }

    fn unjudged_rejects(&self, from_day: i32) -> Answer<'_, Vec<RejectCount>> {
        self.read(move |conn| unjudged(conn, from_day))
    }

    fn rejects_judged(&self, judged: Vec<RejectCount>) -> Answer<'_, ()> {
        self.write(move |conn, _| {
            let sql =
                "UPDATE reject SET n_judged = n_judged + ?4 WHERE device = ?1 AND day = ?2 AND reason = ?3";
            let mut one = conn.prepare_cached(sql)?;
            for row in &judged {
                one.execute(params![row.device, row.day, row.reason, row.n])?;
            }
            Ok(())
        })
    }
}

const ALERT: &str = "SELECT a.id, d.id, a.rule, a.kind, a.device, a.channel, a.said, a.detail, a.t_raised, a.t_cleared \
                     FROM alert a JOIN device d ON d.short_id = a.device";

fn change(conn: &Connection, changes: &[AlertChange]) -> Result<Vec<AlertRow>, StoreError> {
    let mut changed = Vec::new();
    for change in changes {
        let (id, step, to) = match change {
            AlertChange::Raise { alert, to } => (raise(conn, alert)?, AlertStep::Raised, to),
            AlertChange::Clear { id, t_ms, to } => {
                let sql = "UPDATE alert SET t_cleared = ?2 WHERE id = ?1 AND t_cleared IS NULL";
                let n = conn.prepare_cached(sql)?.execute(params![id, t_ms])?;
                ((n == 1).then_some(*id), AlertStep::Cleared, to)
            }
        };
        let Some(id) = id else { continue };
        for target in to {
            let sql = "INSERT INTO alert_due VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            conn.prepare_cached(sql)?.execute(params![target, id, step as u8])?;
        }
        let mut row = conn.prepare_cached(&format!("{ALERT} WHERE a.id = ?1"))?;
        changed.extend(row.query_row([id], alert_row).optional()?);
    }
    Ok(changed)
}

fn raise(conn: &Connection, new: &NewAlert) -> Result<Option<i64>, StoreError> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO alert (rule, kind, device, channel, said, detail, t_raised) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (rule, device, channel) WHERE t_cleared IS NULL DO NOTHING RETURNING id",
    )?;
    let values = params![new.rule, new.kind, new.device, new.channel, new.said, new.detail, new.t_raised];
    Ok(insert.query_row(values, |row| row.get(0)).optional()?)
}

fn alerts(
    conn: &Connection,
    before: i64,
    limit: u32,
    raised_only: bool,
) -> Result<Vec<AlertRow>, StoreError> {
    // Two questions, since only the one with the same words as the index can use it.
    let raised = if raised_only { "AND a.t_cleared IS NULL" } else { "" };
    let sql = format!("{ALERT} WHERE a.id < ?1 {raised} ORDER BY a.id DESC LIMIT ?2");
    let mut all = conn.prepare_cached(&sql)?;
    let rows = all.query_map(params![before, limit], alert_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn due(conn: &Connection, target: &str, limit: u32) -> Result<Vec<(AlertStep, AlertRow)>, StoreError> {
    let sql = ALERT
        .replace("SELECT ", "SELECT due.step, ")
        .replace("FROM alert a", "FROM alert_due due JOIN alert a ON a.id = due.alert");
    let mut all = conn.prepare_cached(&format!(
        "{sql} WHERE due.target = ?1 ORDER BY CASE due.step WHEN 0 THEN a.t_raised ELSE a.t_cleared END, a.id, due.step \
         LIMIT ?2"
    ))?;
    let rows = all.query_map(params![target, limit], |row| Ok((row.get(0)?, row_from(row, 1)?)))?;
    rows.map(|row| row.map_err(StoreError::from).and_then(|(number, row)| Ok((step(number)?, row)))).collect()
}

fn forget(conn: &Connection, kept: u32) -> Result<u64, StoreError> {
    let old = "t_cleared IS NOT NULL AND id <= (SELECT MAX(id) FROM alert) - ?1";
    let n_untold = conn
        .prepare_cached(&format!("DELETE FROM alert_due WHERE alert IN (SELECT id FROM alert WHERE {old})"))?
        .execute([kept])?;
    conn.prepare_cached(&format!("DELETE FROM alert WHERE {old}"))?.execute([kept])?;
    Ok(n_untold as u64)
}

fn unjudged(conn: &Connection, from_day: i32) -> Result<Vec<RejectCount>, StoreError> {
    let mut all = conn.prepare_cached(
        "SELECT device, day, reason, n - n_judged FROM reject WHERE n > n_judged AND day >= ?1 \
         ORDER BY device, day, reason",
    )?;
    let rows = all.query_map([from_day], |row| {
        Ok(RejectCount { device: row.get(0)?, day: row.get(1)?, reason: row.get(2)?, n: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn alert_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    row_from(row, 0)
}

/// What [`ALERT`] gives, from this column on.
fn row_from(row: &Row<'_>, at: usize) -> rusqlite::Result<AlertRow> {
    let alert = NewAlert {
        rule: row.get(at + 2)?,
        kind: row.get(at + 3)?,
        device: row.get(at + 4)?,
        channel: row.get(at + 5)?,
        said: row.get(at + 6)?,
        detail: row.get(at + 7)?,
        t_raised: row.get(at + 8)?,
    };
    Ok(AlertRow { id: row.get(at)?, device_id: row.get(at + 1)?, alert, t_cleared: row.get(at + 9)? })
}
