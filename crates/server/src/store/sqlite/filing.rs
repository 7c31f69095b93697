//! Windows of the tail are filed: by time and by number, with what the background pass found in them.
//!
//! The pass takes thousands at a time, so that each page of the tables, which lie in the order of devices, is
//! changed once for many of them; but no transaction takes more than some, or every ack would wait for all.
//! `progress` says how far it has come, so that a window is always in exactly one of tail and tables.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::accept::db_counter;
use super::memo::Memo;
use super::windows::TAIL;
use crate::store::{DecodedMark, Extent, Flaw, FrameId, StoreError, WindowRow, day_of};

/// From how many windows on a transaction files no further device.
const PIECE: usize = 256;
/// Rows that one statement inserts.
const AT_ONCE: usize = 16;

/// What is to be filed.
pub(super) struct Plan {
    /// Up to this window.
    to: i64,
    /// All that are not filed, in the order of the table by time.
    rows: Vec<FiledRow>,
    /// The first of them, if they were not looked for in the file.
    first: Option<i64>,
    /// Of [`Fresh`](super::fresh::Fresh): while it is the same, the rows are as they were read.
    version: u64,
}

/// What a transaction leaves to do.
pub(super) enum Left {
    Nothing,
    Some,
    /// Of windows up to this one, also such as the plan does not know: another process has handed them out, or began to
    /// file up to a later window, and its pass must be ended first.
    UpTo(i64),
}

impl SqliteStore {
    /// Files the tail up to the last window marked.
    pub(super) async fn file(&self, marks: Vec<DecodedMark>) -> Result<(), StoreError> {
        let Some(mut to) = marks.iter().map(|mark| mark.row_id).max() else { return Ok(()) };
        let marks = Arc::new(Marks::new(marks));
        let mut handed = self.fresh.handed(to);
        loop {
            let found = Arc::clone(&marks);
            let plan = match handed.take() {
                Some((rows, version)) => {
                    blocking(move || Ok(Plan::of_handed(to, rows, &found, version))).await?
                }
                None => {
                    // Every row up to `to` was committed before it was marked: none is missed, some may be gone by then.
                    let version = self.fresh.version();
                    self.read(move |conn| Plan::read(conn, to, &found, version)).await?
                }
            };
            let plan = Arc::new(plan);
            loop {
                let plan = Arc::clone(&plan);
                match self.write(move |conn, memo| file_some(conn, memo, &plan)).await? {
                    Left::Nothing => {
                        self.fresh.filed(to);
                        return Ok(());
                    }
                    Left::Some => {}
                    Left::UpTo(later) => {
                        to = later;
                        break;
                    }
                }
            }
        }
    }
}

impl Plan {
    fn read(conn: &Connection, to: i64, marks: &Marks, version: u64) -> Result<Self, StoreError> {
        let mut statement = conn.prepare_cached(&format!("{ROW} WHERE {TAIL} AND id <= ?1"))?;
        let rows = statement.query_map([to], filed_row)?.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { first: None, ..Self::of_handed(to, rows, marks, version) })
    }

    fn of_handed(to: i64, mut rows: Vec<FiledRow>, marks: &Marks, version: u64) -> Self {
        let first = rows.first().map(|row| row.id);
        for row in &mut rows {
            row.found = marks.find(row.id);
        }
        rows.sort_unstable_by_key(FiledRow::place);
        Self { to, rows, first, version }
    }
}

/// By id.
struct Marks(Vec<DecodedMark>);

impl Marks {
    fn new(mut marks: Vec<DecodedMark>) -> Self {
        marks.sort_unstable_by_key(|mark| mark.row_id);
        Self(marks)
    }

    fn find(&self, id: i64) -> Found {
        let at = self.0.binary_search_by_key(&id, |mark| mark.row_id).ok()?;
        Some(self.0[at].found)
    }
}

/// Some milliseconds' work: not where connections are served.
async fn blocking<T: Send + 'static>(
    todo: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(todo).await.map_err(|e| StoreError::Database(e.to_string()))?
}

const ROW: &str = "SELECT id, device, t_first, generation, counter, t_arrival, frame_len FROM window";

/// Files the next devices of a plan.
fn file_some(conn: &Connection, memo: &mut Memo, plan: &Plan) -> Result<Left, StoreError> {
    let (filed_to, pass_to, pass_device): (i64, i64, i64) = conn
        .prepare_cached("SELECT decoded_to, filing_to, filing_device FROM progress")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if filed_to >= plan.to {
        // Another process was here: of windows that were looked at before nothing is left to say.
        return Ok(Left::Nothing);
    }
    if plan.first.is_some_and(|first| first > filed_to + 1) {
        return Ok(Left::UpTo(plan.to));
    }
    let (to, after) = if pass_to > filed_to { (pass_to, pass_device) } else { (plan.to, -1) };
    if to > plan.to {
        return Ok(Left::UpTo(to));
    }
    let begin = plan.rows.partition_point(|row| i64::from(row.device) <= after);
    let rest = &plan.rows[begin..];
    let mut len = 0;
    for device in rest.chunk_by(|a, b| a.device == b.device) {
        if len >= PIECE {
            break;
        }
        len += device.len();
    }
    let piece = rest[..len].iter().filter(|row| filed_to < row.id && row.id <= to);
    let is_known = memo.fresh.version() == plan.version;
    let piece = if is_known { piece.cloned().collect() } else { read_again(conn, piece)? };
    file_piece(conn, memo, piece)?;
    if len < rest.len() {
        let device = rest[..len].last().map_or(after, |row| i64::from(row.device));
        conn.prepare_cached("UPDATE progress SET filing_to = ?1, filing_device = ?2")?
            .execute(params![to, device])?;
        return Ok(Left::Some);
    }
    conn.prepare_cached("UPDATE progress SET decoded_to = ?1")?.execute([to])?;
    Ok(if to < plan.to { Left::Some } else { Left::Nothing })
}

/// Rows as they are now.
fn read_again<'a>(
    conn: &Connection,
    rows: impl Iterator<Item = &'a FiledRow>,
) -> Result<Vec<FiledRow>, StoreError> {
    let mut select = conn.prepare_cached(&format!("{ROW} WHERE id = ?1"))?;
    let mut again = Vec::new();
    for row in rows {
        let now = select.query_row([row.id], filed_row).optional()?;
        again.extend(now.map(|now| FiledRow { found: row.found, ..now }));
    }
    again.sort_unstable_by_key(FiledRow::place);
    Ok(again)
}

/// Files windows of some devices.
fn file_piece(conn: &Connection, memo: &mut Memo, mut rows: Vec<FiledRow>) -> Result<(), StoreError> {
    let mut counted = HashMap::<(u32, i32), Counted>::new();
    // In the order of the tables, so that each of their pages is visited once.
    insert(conn, "INSERT OR FAIL INTO window_order", &rows, |row| {
        let found: Option<Extent> = row.found.and_then(Result::ok);
        let flaw = row.found.and_then(Result::err).map_or(0, |flaw| flaw as i64);
        let (n_samples, span_ms) = (found.map(|f| f.n_samples.into()), found.map(|f| f.span_ms));
        [Some(row.device.into()), Some(row.t_first), Some(row.id), n_samples, span_ms, Some(flaw)]
    })?;
    for row in &rows {
        let found: Option<Extent> = row.found.and_then(Result::ok);
        let day = counted.entry((row.device, day_of(row.t_arrival))).or_default();
        day.t_last = day.t_last.max(row.t_arrival);
        day.windows += 1;
        day.bytes += i64::from(row.frame_len);
        day.readings += found.map_or(0, |found| i64::from(found.n_readings));
    }
    rows.sort_unstable_by_key(|row| (row.device, row.number));
    insert(conn, "INSERT OR IGNORE INTO window_number", &rows, |row| {
        let FrameId { generation, counter } = row.number;
        [row.device.into(), generation.into(), db_counter(counter), row.id].map(Some)
    })?;
    // The rows were witnesses of their numbers until now.
    memo.received.settle(conn, rows.iter().map(|row| (row.device, row.number)))?;
    memo.received.save(conn, rows.iter().map(|row| (row.device, row.number.generation)))?;
    for ((device, day), counted) in counted {
        counted.add(conn, device, day)?;
    }
    for row in &rows {
        memo.filed(row.device, row.number);
    }
    Ok(())
}

/// Inserts rows, many by one statement: to begin and end one costs as much as a row. `into` says what becomes of a conflict,
/// and not that the whole statement is undone: for that SQLite would first copy every page it touches.
fn insert<const N: usize>(
    conn: &Connection,
    into: &str,
    rows: &[FiledRow],
    values: impl Fn(&FiledRow) -> [Option<i64>; N],
) -> Result<(), StoreError> {
    let (many, rest) = rows.split_at(rows.len() - rows.len() % AT_ONCE);
    for (rows, at_once) in [(many, AT_ONCE), (rest, 1)] {
        let row = format!("({})", vec!["?"; N].join(", "));
        let sql = format!("{into} VALUES {}", vec![row; at_once].join(", "));
        let mut statement = conn.prepare_cached(&sql)?;
        for rows in rows.chunks(at_once) {
            for (i, value) in rows.iter().flat_map(&values).enumerate() {
                statement.raw_bind_parameter(i + 1, value)?;
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}

/// What is filed of a window.
#[derive(Clone)]
pub(super) struct FiledRow {
    pub(super) id: i64,
    device: u32,
    t_first: i64,
    number: FrameId,
    t_arrival: i64,
    frame_len: u32,
    /// By the background pass, if it has looked.
    found: Found,
}

type Found = Option<Result<Extent, Flaw>>;

impl FiledRow {
    fn place(&self) -> (u32, i64, i64) {
        (self.device, self.t_first, self.id)
    }
}

impl From<&WindowRow> for FiledRow {
    fn from(row: &WindowRow) -> Self {
        Self {
            id: row.row_id,
            device: row.device,
            t_first: row.t_first,
            number: row.origin,
            t_arrival: row.t_arrival,
            frame_len: row.frame_len,
            found: None,
        }
    }
}

fn filed_row(row: &Row<'_>) -> rusqlite::Result<FiledRow> {
    Ok(FiledRow {
        id: row.get(0)?,
        device: row.get(1)?,
        t_first: row.get(2)?,
        number: FrameId { generation: row.get(3)?, counter: row.get(4)? },
        t_arrival: row.get(5)?,
        frame_len: row.get(6)?,
        found: None,
    })
}

/// Windows of one device and day.
#[derive(Default)]
struct Counted {
    t_last: i64,
    windows: i64,
    bytes: i64,
    readings: i64,
}

impl Counted {
    fn add(self, conn: &Connection, device: u32, day: i32) -> Result<(), StoreError> {
        conn.prepare_cached(
            "INSERT INTO day_stats VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?6, 0) ON CONFLICT (device, day) DO UPDATE \
             SET t_last = MAX(t_last, excluded.t_last), frames = frames + excluded.frames, \
             bytes = bytes + excluded.bytes, windows = windows + excluded.windows, \
             readings = readings + excluded.readings",
        )?
        .execute(params![device, day, self.t_last, self.windows, self.bytes, self.readings])?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
