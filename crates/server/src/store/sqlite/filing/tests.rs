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
    store.read(move |conn| Plan::read(conn, to, &Marks::new(vec![]), version)).await.unwrap()
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
