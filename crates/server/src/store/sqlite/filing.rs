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
use crate::store::{DecodedMark, Extent, Flaw, FrameId, StoreError, day_of};

/// From how many windows on a transaction files no further device.
const PIECE: usize = 256;

/// What is to be filed.
pub(super) struct Plan {
    /// Up to this window.
    to: i64,
    /// In the order of the table by time.
    rows: Vec<FiledRow>,
    /// Of [`Fresh`](super::fresh::Fresh): while it is the same, the rows are as they were read.
    version: u64,
}

/// What a transaction leaves to do.
pub(super) enum Left {
    Nothing,
    Some,
    /// Another process began to file up to a later window, and its pass must be ended first.
    UpTo(i64),
}

impl SqliteStore {
    /// Files the tail up to the last window marked.
    pub(super) async fn file(&self, marks: Vec<DecodedMark>) -> Result<(), StoreError> {
        let Some(mut to) = marks.iter().map(|mark| mark.row_id).max() else { return Ok(()) };
        let found: Arc<HashMap<_, _>> = Arc::new(marks.into_iter().map(|mark| (mark.row_id, mark)).collect());
        loop {
            // Every row up to `to` was committed before it was marked: none is missed, some may be gone by then.
            let (version, found) = (self.fresh.version(), Arc::clone(&found));
            let rows = self.read(move |conn| rows(conn, to, &found)).await?;
            let plan = Arc::new(Plan { to, rows, version });
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

const ROW: &str = "SELECT id, device, t_first, generation, counter, t_arrival, frame_len FROM window";

fn rows(conn: &Connection, to: i64, found: &HashMap<i64, DecodedMark>) -> Result<Vec<FiledRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("{ROW} WHERE {TAIL} AND id <= ?1"))?;
    let rows = statement.query_map([to], |row| filed_row(row, |id| found.get(&id).map(|mark| mark.found)))?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable_by_key(FiledRow::place);
    Ok(rows)
}

/// Files the next devices of a plan.
fn file_some(conn: &Connection, memo: &mut Memo, plan: &Plan) -> Result<Left, StoreError> {
    let (filed_to, pass_to, pass_device): (i64, i64, i64) = conn
        .prepare_cached("SELECT decoded_to, filing_to, filing_device FROM progress")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if filed_to >= plan.to {
        // Another process was here: of windows that were looked at before nothing is left to say.
        return Ok(Left::Nothing);
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
        again.extend(select.query_row([row.id], |now| filed_row(now, |_| row.found)).optional()?);
    }
    again.sort_unstable_by_key(FiledRow::place);
    Ok(again)
}

/// Files windows of some devices.
fn file_piece(conn: &Connection, memo: &mut Memo, mut rows: Vec<FiledRow>) -> Result<(), StoreError> {
    let mut counted = HashMap::<(u32, i32), Counted>::new();
    let mut file = conn.prepare_cached("INSERT INTO window_order VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    // In the order of the tables, so that each of their pages is visited once.
    for row in &rows {
        let found: Option<Extent> = row.found.and_then(Result::ok);
        let flaw = row.found.and_then(Result::err).map_or(0, |flaw| flaw as u8);
        let (n_samples, span_ms) = (found.map(|f| f.n_samples), found.map(|f| f.span_ms));
        file.execute(params![row.device, row.t_first, row.id, n_samples, span_ms, flaw])?;
        let day = counted.entry((row.device, day_of(row.t_arrival))).or_default();
        day.t_last = day.t_last.max(row.t_arrival);
        day.windows += 1;
        day.bytes += row.frame_len;
        day.readings += found.map_or(0, |found| i64::from(found.n_readings));
    }
    rows.sort_unstable_by_key(|row| (row.device, row.number));
    let mut number =
        conn.prepare_cached("INSERT INTO window_number VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?;
    for row in &rows {
        number.execute(params![row.device, row.number.generation, db_counter(row.number.counter), row.id])?;
    }
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

#[derive(Clone)]
struct FiledRow {
    id: i64,
    device: u32,
    t_first: i64,
    number: FrameId,
    t_arrival: i64,
    frame_len: i64,
    /// By the background pass, if it has looked.
    found: Found,
}

type Found = Option<Result<Extent, Flaw>>;

impl FiledRow {
    fn place(&self) -> (u32, i64, i64) {
        (self.device, self.t_first, self.id)
    }
}

fn filed_row(row: &Row<'_>, found: impl FnOnce(i64) -> Found) -> rusqlite::Result<FiledRow> {
    let id = row.get(0)?;
    Ok(FiledRow {
        id,
        device: row.get(1)?,
        t_first: row.get(2)?,
        number: FrameId { generation: row.get(3)?, counter: row.get(4)? },
        t_arrival: row.get(5)?,
        frame_len: row.get(6)?,
        found: found(id),
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
mod tests {
    use super::*;
    use crate::store::{Arrival, BootSync, Content, NewDevice, Place, Store, TimeQuality, Verdict};

    const N: u64 = PIECE as u64 + 3;

    fn window(device: u32, counter: u64) -> Arrival {
        let id = FrameId { generation: 1, counter };
        let (t_first, t_quality) = (1000 * counter as i64, TimeQuality::Clock);
        let content = Content::Window { t_first, t_quality, uptime: None, bundle: [7; 16], code: vec![] };
        let (tag, frame_len, confirm) = (vec![counter as u8; 16], 60, None);
        Arrival { device, sealed_as: id, origin: id, tag, frame_len, t_arrival: 5, content, confirm }
    }

    async fn stored(dir: &std::path::Path) -> (SqliteStore, [u32; 2]) {
        let store = SqliteStore::open(&dir.join("kinglet.db")).unwrap();
        let mut devices = [0; 2];
        for (device, id) in devices.iter_mut().zip(["a", "b"]) {
            let (name, wrapped_key, join_state) = (String::new(), vec![], vec![]);
            let new = NewDevice { id: id.into(), name, wrapped_key, join_state, t_created: 0 };
            *device = store.add_device(new).await.unwrap().short_id;
        }
        for counter in 0..N {
            store.accept(devices.map(|device| window(device, counter)).into()).await.unwrap();
        }
        (store, devices)
    }

    async fn plan(store: &SqliteStore) -> Plan {
        let to = store.undecoded(None, u32::MAX).await.unwrap().last().unwrap().row_id;
        let version = store.fresh.version();
        let rows = store.read(move |conn| rows(conn, to, &HashMap::new())).await.unwrap();
        Plan { to, rows, version }
    }

    /// One transaction of a pass over everything.
    async fn one_piece(store: &SqliteStore) {
        let plan = plan(store).await;
        let left = store.write(move |conn, memo| file_some(conn, memo, &plan)).await.unwrap();
        assert!(matches!(left, Left::Some));
    }

    async fn check(store: &SqliteStore, devices: [u32; 2]) {
        for device in devices {
            let rows = store.windows(device, 0, i64::MAX, 9999).await.unwrap();
            assert!(rows.iter().map(|row| row.origin.counter).eq(0..N), "each once, in its order");
            let repeated = store.accept(vec![window(device, 5)]).await.unwrap();
            assert_eq!(repeated[0].verdict, Verdict::AlreadyStored);
        }
    }

    #[tokio::test]
    async fn a_pass_that_ends_half_way_leaves_every_window_in_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let (store, devices) = stored(dir.path()).await;
        one_piece(&store).await;
        assert_eq!(store.undecoded(None, 9999).await.unwrap().len() as u64, N, "one device's are filed");
        check(&store, devices).await;
        store.close().await.unwrap();
        let store = SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
        check(&store, devices).await;
        // Later windows of the device that is filed belong to the next pass.
        store.accept(vec![window(devices[0], N)]).await.unwrap();
        for _ in 0..2 {
            let rows = store.undecoded(None, 9999).await.unwrap();
            let mark = |row: &crate::store::WindowRow| DecodedMark {
                row_id: row.row_id,
                device: row.device,
                found: Err(crate::store::Flaw::Damaged),
            };
            store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
        }
        assert!(store.undecoded(None, 9999).await.unwrap().is_empty());
        let totals = store.totals(None).await.unwrap();
        assert_eq!(totals.windows, 2 * N + 1, "each is counted once");
    }

    #[tokio::test]
    async fn a_boot_that_is_dated_while_the_pass_is_under_way_moves_its_windows() {
        let dir = tempfile::tempdir().unwrap();
        let (store, devices) = stored(dir.path()).await;
        let device = devices[0];
        let mut undated = window(device, N);
        if let Content::Window { t_quality, uptime, .. } = &mut undated.content {
            (*t_quality, *uptime) = (TimeQuality::Uptime, Some((3, 500)));
        }
        store.accept(vec![undated]).await.unwrap();
        let plan = plan(&store).await;
        let sync = Some(BootSync { boot: 3, t_boot: 7_000_000 });
        let content = Content::Status { body: vec![], slot: None, windows_lost: None, sync };
        store.accept(vec![Arrival { content, ..window(device, N + 1) }]).await.unwrap();
        assert!(matches!(store.write(move |conn, memo| file_some(conn, memo, &plan)).await, Ok(Left::Some)));
        let after = Place { t_first: 7_000_000, row_id: 0 };
        let rows = store.windows_after(device, after, i64::MAX, 9).await.unwrap();
        assert_eq!(rows.last().map(|row| (row.origin.counter, row.t_first)), Some((N, 7_000_500)));
    }

    #[tokio::test]
    async fn the_pass_is_handed_each_window_once_from_memory_and_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (store, devices) = stored(dir.path()).await;
        let mut after = None;
        let mut ids = Vec::new();
        for counter in N..N + 10 {
            // From the file, and then from memory, until something is filed.
            let rows = store.undecoded(after, if counter < N + 3 { 200 } else { 9999 }).await.unwrap();
            let marks = rows.iter().map(|row| DecodedMark {
                row_id: row.row_id,
                device: row.device,
                found: Ok(Extent { n_samples: 8, n_readings: 8, span_ms: 1000 }),
            });
            let marks: Vec<_> = marks.collect();
            ids.extend(rows.iter().map(|row| row.row_id));
            after = ids.last().copied();
            if counter == N + 5 {
                store.mark_decoded(marks).await.unwrap();
                after = None;
            }
            store.accept(devices.map(|device| window(device, counter)).into()).await.unwrap();
        }
        assert!(ids.iter().copied().eq(1..=ids.len() as i64), "{ids:?}");
        assert_eq!(ids.len() as u64, 2 * (N + 9));
    }

    #[tokio::test]
    async fn a_shorter_pass_ends_the_longer_one_that_another_process_began() {
        let dir = tempfile::tempdir().unwrap();
        let (store, devices) = stored(dir.path()).await;
        one_piece(&store).await;
        let first = store.undecoded(None, 1).await.unwrap()[0].row_id;
        let mark = DecodedMark { row_id: first, device: devices[1], found: Err(crate::store::Flaw::Damaged) };
        store.mark_decoded(vec![mark]).await.unwrap();
        assert!(store.undecoded(None, 9999).await.unwrap().is_empty());
        check(&store, devices).await;
    }
}
