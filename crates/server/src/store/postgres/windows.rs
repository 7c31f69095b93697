//! Windows as they are read back, each checked against its checksum, and the tail that the background pass follows.
//!
//! Many servers store at once, so neither ids nor times come in the order of commits. A row names the transaction that
//! stored it; a transaction older than every one that still runs has committed or never will. So rows of those,
//! ordered by transaction and id, are a log that is only ever appended to, and a place in it is all that a
//! server needs to remember. A transaction that stays open, anywhere in the cluster, delays the tail and loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Row;

use super::conn::Conn;
use super::{number, short};
use crate::store::{
    Coverage, DecodedMark, Flaw, FrameId, LogPlace, Logged, Place, StoreError, TimeQuality, WindowRow,
    row_crc,
};

macro_rules! window_sql {
    ($from:literal) => {
        concat!(
            "SELECT w.id, w.device, w.generation, w.counter, w.t_first, w.t_arrival, w.t_quality, w.bundle, w.code, \
             w.frame_len, w.crc, w.tag, w.n_samples, w.flaw, w.xact FROM ",
            $from
        )
    };
}

/// A place in the tail: transaction and id.
type At = (i64, i64);

/// How far this server's background pass has come. Should two servers pass the same windows, what is found is recorded by the
/// first.
pub(super) struct Tail(Mutex<Passing>);

struct Passing {
    at: At,
    /// What was handed out since, by place.
    handed: BTreeMap<At, i64>,
}

/// What was found in windows that were handed out, and how far the pass has then come.
pub(super) struct Found {
    xact: Vec<i64>,
    id: Vec<i64>,
    n_samples: Vec<Option<i64>>,
    span_ms: Vec<Option<i64>>,
    flaw: Vec<i16>,
    n_readings: Vec<i64>,
    to: At,
}

impl Passing {
    /// The place of a window that was handed out; without one, or where it is recorded by now, how far the pass has come.
    fn after(&self, id: Option<i64>) -> At {
        // The last, as a rule.
        let handed = self.handed.iter().rev().find(|(_, handed)| Some(**handed) == id);
        handed.map_or(self.at, |(place, _)| *place)
    }

    fn move_to(&mut self, to: At) {
        let at = self.at.max(to);
        self.at = at;
        self.handed.retain(|place, _| *place > at);
    }
}

impl Tail {
    pub(super) fn at(at: At) -> Self {
        Self(Mutex::new(Passing { at, handed: BTreeMap::new() }))
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next windows of the tail, after one that was handed out and is not recorded yet.
    pub(super) async fn next(
        &self,
        conn: &Conn,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<WindowRow>, StoreError> {
        let mut at = self.passing().after(after);
        if after.is_none() {
            // Another server may have recorded more meanwhile.
            at = at.max(progress(conn).await?);
            self.passing().move_to(at);
        }
        let rows = tail(conn, at, limit).await?;
        let mut passing = self.passing();
        for row in &rows {
            passing.handed.insert((row.try_get(14)?, row.try_get(0)?), row.try_get(0)?);
        }
        rows.iter().map(window_row).collect()
    }

    /// What these marks say of windows this server was handed.
    pub(super) fn named(&self, marks: &[DecodedMark]) -> Found {
        let marks: HashMap<i64, &DecodedMark> = marks.iter().map(|mark| (mark.row_id, mark)).collect();
        let passing = self.passing();
        let mut found = Found::none(passing.at);
        // Up to the first that is not named: it is handed out again.
        for (at, mark) in passing.handed.iter().map_while(|(at, id)| Some((at, marks.get(id)?))) {
            let extent = mark.found.ok();
            found.xact.push(at.0);
            found.id.push(at.1);
            found.n_samples.push(extent.map(|extent| extent.n_samples.into()));
            found.span_ms.push(extent.map(|extent| extent.span_ms));
            found.flaw.push(mark.found.err().map_or(0, |flaw| flaw as i16));
            found.n_readings.push(extent.map_or(0, |extent| extent.n_readings.into()));
            found.to = *at;
        }
        found
    }

    /// To be told once `found` is committed.
    pub(super) fn move_on(&self, found: &Found) {
        self.passing().move_to(found.to);
    }
}

/// What transactions older than every running one have stored after a place.
async fn tail(conn: &Conn, (xact, id): At, limit: u32) -> Result<Vec<Row>, StoreError> {
    let sql = window_sql!(
        "stored_window w WHERE (w.xact, w.id) > ($1, $2) \
         AND w.xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
         ORDER BY w.xact, w.id LIMIT $3"
    );
    conn.rows(sql, &[&xact, &id, &i64::from(limit)]).await
}

pub(super) async fn stored_after(
    conn: &Conn,
    after: LogPlace,
    limit: u32,
) -> Result<Vec<Logged>, StoreError> {
    let rows = tail(conn, (after.xact, after.row_id), limit).await?;
    let logged =
        |row: &Row| Ok((LogPlace { xact: row.try_get(14)?, row_id: row.try_get(0)? }, window_row(row)?));
    rows.iter().map(logged).collect()
}

impl Found {
    fn none(to: At) -> Self {
        Self {
            xact: Vec::new(),
            id: Vec::new(),
            n_samples: Vec::new(),
            span_ms: Vec::new(),
            flaw: Vec::new(),
            n_readings: Vec::new(),
            to,
        }
    }
}

/// How far any server's pass has come.
pub(super) async fn progress(conn: &Conn) -> Result<At, StoreError> {
    let row = conn.row("SELECT xact, id FROM progress", &[]).await?;
    row.map_or(Ok((0, 0)), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
}

/// Records what was found in windows no other server has recorded, and counts them.
pub(super) async fn file(conn: &Conn, found: &Found) -> Result<(), StoreError> {
    if found.id.is_empty() {
        return Ok(());
    }
    // One server files at a time: two would meet on the same rows, in another order.
    conn.rows("SELECT one FROM progress FOR UPDATE", &[]).await?;
    conn.execute(
        "WITH m AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], \
         $6::bigint[]) AS m (xact, id, n_samples, span_ms, flaw, n_readings)), \
         filed AS (UPDATE stored_window w SET is_decoded = true, n_samples = m.n_samples, span_ms = m.span_ms, \
         flaw = m.flaw FROM m WHERE w.xact = m.xact AND w.id = m.id AND NOT w.is_decoded \
         RETURNING w.device, w.t_arrival, w.frame_len, m.n_readings) \
         INSERT INTO day_stats AS d \
         SELECT device, floor(t_arrival / 86400000.0)::integer, max(t_arrival), count(*), sum(frame_len)::bigint, \
         count(*), sum(n_readings)::bigint, 0 FROM filed GROUP BY 1, 2 ORDER BY 1, 2 \
         ON CONFLICT (device, day) DO UPDATE SET t_last = GREATEST(d.t_last, excluded.t_last), \
         frames = d.frames + excluded.frames, bytes = d.bytes + excluded.bytes, \
         windows = d.windows + excluded.windows, readings = d.readings + excluded.readings",
        &[&found.xact, &found.id, &found.n_samples, &found.span_ms, &found.flaw, &found.n_readings],
    )
    .await?;
    let (xact, id) = found.to;
    conn.execute("UPDATE progress SET xact = $1, id = $2 WHERE (xact, id) < ($1, $2)", &[&xact, &id]).await?;
    Ok(())
}

/// The window first sealed under a number.
pub(super) async fn window(conn: &Conn, device: u32, of: FrameId) -> Result<Option<WindowRow>, StoreError> {
    let row = conn
        .row(
            window_sql!("stored_window w WHERE w.device = $1 AND w.generation = $2 AND w.counter = $3"),
            &[&i64::from(device), &i64::from(of.generation), &number(of.counter)],
        )
        .await?;
    row.as_ref().map(window_row).transpose()
}

pub(super) async fn windows(
    conn: &Conn,
    device: u32,
    from_ms: i64,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<WindowRow>, StoreError> {
    // The window before `from` may reach into it.
    let mut rows = conn
        .rows(
            window_sql!(
                "stored_window w WHERE w.device = $1 AND w.t_first < $3 AND w.t_first >= COALESCE((SELECT max(b.t_first) \
                 FROM stored_window b WHERE b.device = $1 AND b.t_first <= $2), $2) \
                 ORDER BY w.t_first DESC, w.id DESC LIMIT $4"
            ),
            &[&i64::from(device), &from_ms, &to_ms, &i64::from(limit)],
        )
        .await?;
    rows.reverse();
    rows.iter().map(window_row).collect()
}

pub(super) async fn after(
    conn: &Conn,
    device: u32,
    after: Place,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<WindowRow>, StoreError> {
    let rows = conn
        .rows(
            window_sql!(
                "stored_window w WHERE w.device = $1 AND (w.t_first, w.id) > ($2, $3) AND w.t_first < $4 \
                 ORDER BY w.t_first, w.id LIMIT $5"
            ),
            &[&i64::from(device), &after.t_first, &after.row_id, &to_ms, &i64::from(limit)],
        )
        .await?;
    rows.iter().map(window_row).collect()
}

/// Deletes windows that are decoded and counted. The ranges know their numbers since they were stored.
pub(super) async fn forget(conn: &Conn, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
    let limit = i64::from(limit);
    // In the same statement: for every target that had not come to them they are counted as lost.
    let gone = conn
        .row(
            "WITH gone AS (DELETE FROM stored_window w USING (SELECT o.device, o.generation, o.counter FROM device d \
             JOIN stored_window o ON o.device = d.short_id AND o.t_first < $1 \
             WHERE o.t_arrival < $1 AND o.is_decoded LIMIT $2 FOR UPDATE OF o SKIP LOCKED) g \
             WHERE w.device = g.device AND w.generation = g.generation AND w.counter = g.counter \
             RETURNING w.xact, w.id), \
             lost AS (SELECT f.target, count(*) AS n FROM forward f JOIN gone ON (gone.xact, gone.id) > (f.xact, f.id) \
             GROUP BY f.target), \
             counted AS (UPDATE forward f SET n_lost = f.n_lost + lost.n FROM lost WHERE f.target = lost.target) \
             SELECT count(*) FROM gone",
            &[&before_ms, &limit],
        )
        .await?;
    let windows = gone.map_or(Ok(0), |row| row.try_get::<_, i64>(0))?.unsigned_abs();
    // A block spans an hour at most: all of it is older.
    let before_ms = before_ms.saturating_sub(crate::store::seed::BLOCK_SPAN_MS);
    let blocks = conn
        .rows(
            "DELETE FROM seed_block USING (SELECT b.id FROM seed_series s JOIN seed_block b ON b.series = s.id \
             WHERE b.t_first < $1 LIMIT $2) g WHERE seed_block.id = g.id RETURNING series, n_samples",
            &[&before_ms, &limit],
        )
        .await?;
    for block in &blocks {
        let (series, n_samples): (i64, i64) = (block.try_get(0)?, block.try_get(1)?);
        let less = "UPDATE seed_series SET n_samples = n_samples - $2 WHERE id = $1";
        conn.execute(less, &[&series, &n_samples]).await?;
    }
    Ok(windows + blocks.len() as u64)
}

pub(super) async fn latest(conn: &Conn, devices: &[u32]) -> Result<Vec<WindowRow>, StoreError> {
    let devices: Vec<i64> = devices.iter().map(|device| i64::from(*device)).collect();
    let rows = conn
        .rows(
            window_sql!(
                "unnest($1::bigint[]) WITH ORDINALITY AS d (device, n) CROSS JOIN LATERAL (SELECT * FROM stored_window s \
                 WHERE s.device = d.device ORDER BY s.t_first DESC, s.id DESC LIMIT 1) w ORDER BY d.n"
            ),
            &[&devices],
        )
        .await?;
    rows.iter().map(window_row).collect()
}

pub(super) async fn coverage(
    conn: &Conn,
    device: u32,
    from_ms: i64,
    to_ms: i64,
) -> Result<Coverage, StoreError> {
    let row = conn
        .row(
            "SELECT COALESCE(sum(n_samples), 0)::bigint, COALESCE(sum(span_ms), 0)::bigint, \
             COALESCE(sum(GREATEST(t_first - t_end_before, 0)), 0)::bigint \
             FROM (SELECT n_samples, span_ms, t_first, lag(t_first + span_ms) OVER (ORDER BY t_first) AS t_end_before \
             FROM stored_window WHERE device = $1 AND t_first >= $2 AND t_first < $3 AND n_samples IS NOT NULL) w",
            &[&i64::from(device), &from_ms, &to_ms],
        )
        .await?;
    let Some(row) = row else { return Ok(Coverage::default()) };
    Ok(Coverage {
        n_samples: row.try_get::<_, i64>(0)?.unsigned_abs(),
        covered_ms: row.try_get(1)?,
        missing_ms: row.try_get(2)?,
    })
}

fn window_row(row: &Row) -> Result<WindowRow, StoreError> {
    let bundle = super::fingerprint(row.try_get(7)?)?;
    let mut window = WindowRow {
        row_id: row.try_get(0)?,
        device: short(row.try_get(1)?)?,
        origin: FrameId {
            generation: short(row.try_get(2)?)?,
            counter: row.try_get::<_, i64>(3)?.unsigned_abs(),
        },
        t_first: row.try_get(4)?,
        t_arrival: row.try_get(5)?,
        t_quality: TimeQuality::from_number(row.try_get::<_, i16>(6)?.into()),
        bundle,
        code: row.try_get(8)?,
        frame_len: short(row.try_get(9)?)?,
        n_samples: row.try_get::<_, Option<i64>>(12)?.map(short).transpose()?,
        flaw: Flaw::from_number(row.try_get::<_, i16>(13)?.into()),
    };
    let (crc, tag): (i64, &[u8]) = (row.try_get(10)?, row.try_get(11)?);
    if crc != i64::from(row_crc(window.device, window.origin, &window.bundle, tag, &window.code)) {
        window.flaw = Some(Flaw::Damaged);
    }
    Ok(window)
}
