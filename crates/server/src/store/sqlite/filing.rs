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
use crate::store::{DecodedMark, Extent, FrameId, StoreError, day_of};

/// From how many windows on a transaction files no further device.
const PIECE: usize = 256;

/// What is to be filed.
pub(super) struct Plan {
    /// Up to this window.
    to: i64,
    /// Device and id of each, in this order.
    places: Vec<(u32, i64)>,
    found: Arc<HashMap<i64, DecodedMark>>,
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
            let places = self.read(move |conn| places(conn, to)).await?;
            let plan = Arc::new(Plan { to, places, found: Arc::clone(&found) });
            loop {
                let plan = Arc::clone(&plan);
                match self.write(move |conn, memo| file_some(conn, memo, &plan)).await? {
                    Left::Nothing => return Ok(()),
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

fn places(conn: &Connection, to: i64) -> Result<Vec<(u32, i64)>, StoreError> {
    let mut places = conn
        .prepare_cached(&format!("SELECT device, id FROM window WHERE {TAIL} AND id <= ?1"))?
        .query_map([to], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    Ok(places)
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
    let begin = plan.places.partition_point(|(device, _)| i64::from(*device) <= after);
    let rest = &plan.places[begin..];
    let mut len = 0;
    for device in rest.chunk_by(|a, b| a.0 == b.0) {
        if len >= PIECE {
            break;
        }
        len += device.len();
    }
    file_piece(conn, memo, &rest[..len], filed_to..to, &plan.found)?;
    if len < rest.len() {
        let device = rest[..len].last().map_or(after, |(device, _)| i64::from(*device));
        conn.prepare_cached("UPDATE progress SET filing_to = ?1, filing_device = ?2")?
            .execute(params![to, device])?;
        return Ok(Left::Some);
    }
    conn.prepare_cached("UPDATE progress SET decoded_to = ?1")?.execute([to])?;
    Ok(if to < plan.to { Left::Some } else { Left::Nothing })
}

/// Files windows of some devices, those with an id after the beginning of `ids` and up to its end.
fn file_piece(
    conn: &Connection,
    memo: &mut Memo,
    places: &[(u32, i64)],
    ids: std::ops::Range<i64>,
    marks: &HashMap<i64, DecodedMark>,
) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT id, device, t_first, generation, counter, t_arrival, frame_len FROM window WHERE id = ?1",
    )?;
    let mut rows = Vec::with_capacity(places.len());
    for (_, id) in places {
        if ids.start < *id && *id <= ids.end {
            rows.extend(select.query_row([id], filed_row).optional()?);
        }
    }
    let mut counted = HashMap::<(u32, i32), Counted>::new();
    let mut file = conn.prepare_cached("INSERT INTO window_order VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    // In the order of the tables, so that each of their pages is visited once.
    rows.sort_unstable_by_key(|row| (row.device, row.t_first, row.id));
    for row in &rows {
        let mark = marks.get(&row.id);
        let found: Option<Extent> = mark.and_then(|mark| mark.found.ok());
        let flaw = mark.and_then(|mark| mark.found.err()).map_or(0, |flaw| flaw as u8);
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

struct FiledRow {
    id: i64,
    device: u32,
    t_first: i64,
    number: FrameId,
    t_arrival: i64,
    frame_len: i64,
}

fn filed_row(row: &Row<'_>) -> rusqlite::Result<FiledRow> {
    let (id, device, t_first) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let number = FrameId { generation: row.get(3)?, counter: row.get(4)? };
    Ok(FiledRow { id, device, t_first, number, t_arrival: row.get(5)?, frame_len: row.get(6)? })
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
    use crate::store::{Arrival, Content, NewDevice, Store, TimeQuality, Verdict};

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

    /// One transaction of a pass over everything.
    async fn one_piece(store: &SqliteStore) {
        let to = store.undecoded(None, u32::MAX).await.unwrap().last().unwrap().row_id;
        let places = store.read(move |conn| places(conn, to)).await.unwrap();
        let plan = Plan { to, places, found: Arc::default() };
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
