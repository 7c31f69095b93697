//! Alerts, and who is still to be told: one row decides for all servers.

use tokio_postgres::Row;

use super::conn::{self, Conn};
use super::{PostgresStore, number, short};
use crate::store::alerts::step;
use crate::store::{AlertChange, AlertRow, AlertStep, Alerts, Answer, NewAlert, RejectCount, StoreError};

impl Alerts for PostgresStore {
    fn change_alerts(&self, changes: Vec<AlertChange>) -> Answer<'_, Vec<AlertRow>> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| change(&conn, &changes)) })
    }

    fn alerts(&self, before: i64, limit: u32, raised_only: bool) -> Answer<'_, Vec<AlertRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| alerts(&conn, before, limit, raised_only)) })
    }

    fn due_alerts(&self, target: &str, limit: u32) -> Answer<'_, Vec<(AlertStep, AlertRow)>> {
        let target = target.to_owned();
        Box::pin(async move { conn::read!(self.pool, |conn| due(&conn, &target, limit)) })
    }

    fn alerts_told(&self, target: &str, told: Vec<(AlertStep, i64)>) -> Answer<'_, ()> {
        let target = target.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| alerts_told(&conn, &target, &told)) })
    }

    fn forget_alerts(&self, kept: u32) -> Answer<'_, u64> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| forget(&conn, kept)) })
    }

    fn unjudged_rejects(&self, from_day: i32) -> Answer<'_, Vec<RejectCount>> {
        Box::pin(async move { conn::read!(self.pool, |conn| unjudged(&conn, from_day)) })
    }

    fn rejects_judged(&self, judged: Vec<RejectCount>) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| rejects_judged(&conn, &judged)) })
    }
}

macro_rules! alert {
    ($before:literal, $after:literal) => {
        concat!(
            "SELECT a.id, d.id, a.rule, a.kind, a.device, a.channel, a.said, a.detail, a.t_raised, a.t_cleared",
            $before,
            " JOIN device d ON d.short_id = a.device ",
            $after
        )
    };
}

async fn change(conn: &Conn, changes: &[AlertChange]) -> Result<Vec<AlertRow>, StoreError> {
    let mut changed = Vec::new();
    for change in changes {
        let (id, step, to) = match change {
            AlertChange::Raise { alert, to } => (raise(conn, alert).await?, AlertStep::Raised, to),
            AlertChange::Clear { id, t_ms, to } => {
                let sql = "UPDATE alert SET t_cleared = $2 WHERE id = $1 AND t_cleared IS NULL";
                let n = conn.execute(sql, &[id, t_ms]).await?;
                ((n == 1).then_some(*id), AlertStep::Cleared, to)
            }
        };
        let Some(id) = id else { continue };
        for target in to {
            let sql = "INSERT INTO alert_due VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            conn.execute(sql, &[target, &id, &(step as i16)]).await?;
        }
        let row = conn.row(alert!(" FROM alert a", "WHERE a.id = $1"), &[&id]).await?;
        changed.extend(row.as_ref().map(alert_row).transpose()?);
    }
    Ok(changed)
}

async fn raise(conn: &Conn, new: &NewAlert) -> Result<Option<i64>, StoreError> {
    let row = conn
        .row(
            "INSERT INTO alert (rule, kind, device, channel, said, detail, t_raised) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (rule, device, channel) WHERE t_cleared IS NULL DO NOTHING RETURNING id",
            &[
                &new.rule,
                &new.kind,
                &i64::from(new.device),
                &new.channel,
                &new.said,
                &new.detail,
                &new.t_raised,
            ],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn alerts(
    conn: &Conn,
    before: i64,
    limit: u32,
    raised_only: bool,
) -> Result<Vec<AlertRow>, StoreError> {
    let sql = match raised_only {
        true => {
            alert!(" FROM alert a", "WHERE a.id < $1 AND a.t_cleared IS NULL ORDER BY a.id DESC LIMIT $2")
        }
        false => alert!(" FROM alert a", "WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2"),
    };
    conn.rows(sql, &[&before, &i64::from(limit)]).await?.iter().map(alert_row).collect()
}

async fn due(conn: &Conn, target: &str, limit: u32) -> Result<Vec<(AlertStep, AlertRow)>, StoreError> {
    let sql = alert!(
        ", due.step FROM alert_due due JOIN alert a ON a.id = due.alert",
        "WHERE due.target = $1 ORDER BY CASE due.step WHEN 0 THEN a.t_raised ELSE a.t_cleared END, a.id, due.step LIMIT $2"
    );
    let rows = conn.rows(sql, &[&target, &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok((step(row.try_get::<_, i16>(10)?.into())?, alert_row(row)?))).collect()
}

async fn alerts_told(conn: &Conn, target: &str, told: &[(AlertStep, i64)]) -> Result<(), StoreError> {
    for (step, id) in told {
        let sql = "DELETE FROM alert_due WHERE target = $1 AND alert = $2 AND step = $3";
        conn.execute(sql, &[&target, id, &(*step as i16)]).await?;
    }
    Ok(())
}

async fn forget(conn: &Conn, kept: u32) -> Result<u64, StoreError> {
    macro_rules! old {
        ($delete:literal, $end:literal) => {
            concat!($delete, "t_cleared IS NOT NULL AND id <= (SELECT max(id) FROM alert) - $1::bigint", $end)
        };
    }
    let kept = i64::from(kept);
    let due = old!("DELETE FROM alert_due WHERE alert IN (SELECT id FROM alert WHERE ", ")");
    let n_untold = conn.execute(due, &[&kept]).await?;
    conn.execute(old!("DELETE FROM alert WHERE ", ""), &[&kept]).await?;
    Ok(n_untold)
}

async fn unjudged(conn: &Conn, from_day: i32) -> Result<Vec<RejectCount>, StoreError> {
    let sql = "SELECT device, day, reason, n - n_judged FROM reject WHERE n > n_judged AND day >= $1 \
               ORDER BY device, day, reason";
    let rows = conn.rows(sql, &[&from_day]).await?;
    rows.iter().map(super::stats::reject_row).collect()
}

/// In the order they were given in, which is that of their keys.
async fn rejects_judged(conn: &Conn, judged: &[RejectCount]) -> Result<(), StoreError> {
    for row in judged {
        let sql = "UPDATE reject SET n_judged = n_judged + $4 WHERE device = $1 AND day = $2 AND reason = $3";
        conn.execute(sql, &[&i64::from(row.device), &row.day, &row.reason, &number(row.n)]).await?;
    }
    Ok(())
}

fn alert_row(row: &Row) -> Result<AlertRow, StoreError> {
    let alert = NewAlert {
        rule: row.try_get(2)?,
        kind: row.try_get(3)?,
        device: short(row.try_get(4)?)?,
        channel: row.try_get(5)?,
        said: row.try_get(6)?,
        detail: row.try_get(7)?,
        t_raised: row.try_get(8)?,
    };
    Ok(AlertRow { id: row.try_get(0)?, device_id: row.try_get(1)?, alert, t_cleared: row.try_get(9)? })
}
