//! A window is in the store from its ack on, whether the background pass has filed it or not.
#![allow(clippy::unwrap_used, reason = "tests")]

mod arrivals;

use std::path::Path;

use arrivals::{T0, window};
use kinglet_server::store::*;
use rusqlite::Connection;

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(&dir.join("kinglet.db")).unwrap()
}

async fn add(store: &dyn Store, id: &str) -> u32 {
    let new = NewDevice {
        id: id.into(),
        name: String::new(),
        wrapped_key: vec![],
        join_state: vec![],
        t_created: T0,
    };
    store.add_device(new).await.unwrap().short_id
}

/// Without a clock: 100 ms of uptime per counter.
fn undated(device: u32, counter: u64, boot: u32) -> Arrival {
    let (t_quality, uptime) = (TimeQuality::Uptime, Some((boot, counter as i64 * 100)));
    let content = Content::Window { t_first: T0, t_quality, uptime, bundle: [7; 16], code: vec![] };
    Arrival { content, ..window(device, counter) }
}

fn status(device: u32, counter: u64, boot: u32, t_boot: i64) -> Arrival {
    let sync = Some(BootSync { boot, t_boot });
    let content = Content::Status { body: vec![], slot: None, windows_lost: None, sync };
    Arrival { content, ..window(device, counter) }
}

async fn accept(store: &dyn Store, arrivals: Vec<Arrival>) -> Vec<Verdict> {
    store.accept(arrivals).await.unwrap().into_iter().map(|outcome| outcome.verdict).collect()
}

/// What the background pass does, for the next `n` windows.
async fn pass(store: &dyn Store, n: u32) -> Vec<i64> {
    let rows = store.undecoded(None, n).await.unwrap();
    let extent = Extent { n_samples: 1, n_readings: 2, span_ms: 1000 };
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device: row.device, found: Ok(extent) };
    store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
    rows.iter().map(|row| row.row_id).collect()
}

async fn counters(store: &dyn Store, device: u32, from: i64, to: i64, limit: u32) -> Vec<u64> {
    let rows = store.windows(device, from, to, limit).await.unwrap();
    rows.iter().map(|row| row.origin.counter).collect()
}

#[tokio::test]
async fn a_window_is_read_once_before_within_and_after_the_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (add(&store, "a").await, add(&store, "b").await);
    for counter in [4, 1, 3, 0, 2, 5] {
        accept(&store, vec![window(a, counter), window(b, counter)]).await;
    }
    // Twelve rows, some filed, the others in the tail: every question gets the same answer.
    for filed in 0..=12 {
        assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, [0, 1, 2, 3, 4, 5], "{filed}");
        assert_eq!(counters(&store, a, 0, i64::MAX, 2).await, [4, 5], "{filed}");
        assert_eq!(counters(&store, a, T0 + 2500, T0 + 4000, 99).await, [2, 3], "{filed}");
        assert_eq!(counters(&store, a, T0 + 4000, T0 + 5000, 1).await, [4], "{filed}");
        assert_eq!(counters(&store, a, 0, T0, 99).await, [0u64; 0], "{filed}");
        let latest = store.latest_windows(vec![b, a, 99]).await.unwrap();
        let latest: Vec<_> = latest.iter().map(|row| (row.device, row.origin.counter)).collect();
        assert_eq!(latest, [(b, 5), (a, 5)], "{filed}");
        let n_filed = filed.min(12) as u64;
        assert_eq!(store.totals(None).await.unwrap().readings, 2 * n_filed, "{filed}");
        assert_eq!(pass(&store, 1).await.len(), usize::from(filed < 12));
    }
    let coverage = store.coverage(a, 0, i64::MAX).await.unwrap();
    assert_eq!(coverage, Coverage { n_samples: 6, covered_ms: 6000, missing_ms: 0 });
}

#[tokio::test]
async fn what_is_marked_twice_counts_once_and_what_is_skipped_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, (0..3).map(|n| window(a, n)).collect()).await;
    let rows = store.undecoded(None, 9).await.unwrap();
    let found = Ok(Extent { n_samples: 1, n_readings: 2, span_ms: 1000 });
    let last = DecodedMark { row_id: rows[2].row_id, device: a, found };
    for _ in 0..2 {
        store.mark_decoded(vec![last]).await.unwrap();
        assert!(store.undecoded(None, 9).await.unwrap().is_empty());
        assert_eq!(store.totals(None).await.unwrap().readings, 2);
        let rows = store.windows(a, 0, i64::MAX, 9).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.n_samples).collect::<Vec<_>>(), [None, None, Some(1)]);
    }
}

#[tokio::test]
async fn a_repeated_frame_is_answered_the_same_before_and_after_the_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, (0..6).map(|n| window(a, n)).collect()).await;
    let mut spent = 0;
    for (filed, reopened) in [(0, false), (0, true), (3, false), (3, true), (6, false), (6, true)] {
        if reopened {
            store.close().await.unwrap();
            store = open(dir.path());
        } else if filed > 0 {
            assert_eq!(pass(&store, 3).await.len(), 3);
        }
        for n in 0..6 {
            let other = Arrival { tag: vec![9], ..window(a, n) };
            let verdicts = accept(&store, vec![window(a, n), other]).await;
            assert_eq!(verdicts, [Verdict::AlreadyStored, Verdict::CounterReuse], "{n} {filed} {reopened}");
            // Sealed again, with the same content and with other.
            let mut sealed_as = || {
                spent += 1;
                FrameId { generation: 2, counter: spent }
            };
            let same = Arrival { sealed_as: sealed_as(), tag: vec![8], ..window(a, n) };
            let changed = Arrival { sealed_as: sealed_as(), origin: same.origin, ..window(a, n + 1) };
            let verdicts = accept(&store, vec![same, changed]).await;
            assert_eq!(verdicts, [Verdict::AlreadyStored, Verdict::CounterReuse], "{n} {filed} {reopened}");
        }
        assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn two_processes_answer_each_others_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let a = add(&one, "a").await;
    for n in 0..20 {
        let (first, second) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        assert_eq!(accept(first, vec![window(a, n)]).await, [Verdict::Stored]);
        // Both know the tail by heart now; each has to learn of the other's windows all the same.
        for store in [second, first] {
            let other = Arrival { tag: vec![9], ..window(a, n) };
            let verdicts = accept(store, vec![window(a, n), other]).await;
            assert_eq!(verdicts, [Verdict::AlreadyStored, Verdict::CounterReuse], "{n}");
        }
        if n % 7 == 6 {
            assert_eq!(pass(second, 5).await.len(), 5);
        }
    }
    assert_eq!(counters(&one, a, 0, i64::MAX, 99).await, (0..20).collect::<Vec<_>>());
    assert!(one.revoke_device("a", T0).await.unwrap());
    assert_eq!(accept(&two, vec![window(a, 30)]).await, [Verdict::Revoked]);
    assert_eq!(accept(&one, vec![window(a, 30)]).await, [Verdict::Revoked]);
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_behind_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (add(&store, "a").await, add(&store, "b").await);
    accept(&store, vec![window(a, 0), window(b, 0), window(a, 0)]).await;
    let conn = Connection::open(dir.path().join("kinglet.db")).unwrap();
    let damage = "INSERT INTO received SELECT device, generation, 0, x'ff' FROM window WHERE device = ?1";
    assert_eq!(conn.execute(damage, [b]).unwrap(), 1);
    // The damaged device takes the window of the same request with it, and no other request.
    let both = tokio::join!(
        store.accept(vec![window(a, 1), window(b, 1)]),
        store.accept(vec![window(a, 2)]),
        store.accept(vec![window(a, 3), window(b, 3)]),
        store.accept(vec![window(a, 4)]),
    );
    assert!(both.0.is_err() && both.2.is_err());
    assert_eq!((both.1.unwrap()[0].verdict, both.3.unwrap()[0].verdict), (Verdict::Stored, Verdict::Stored));
    assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, [0, 2, 4]);
    let again = accept(&store, (0..6).map(|n| window(a, n)).collect()).await;
    let (new, old) = (Verdict::Stored, Verdict::AlreadyStored);
    assert_eq!(again, [old, new, old, new, old, new]);
    assert_eq!(pass(&store, 99).await.len(), 7);
    assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_id_never_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, (0..4).map(|n| window(a, n)).collect()).await;
    let mut ids = pass(&store, 4).await;
    store.close().await.unwrap();
    // Retention may take every window there is.
    let conn = Connection::open(dir.path().join("kinglet.db")).unwrap();
    for table in ["window", "window_order", "window_number"] {
        conn.execute(&format!("DELETE FROM {table}"), []).unwrap();
    }
    for n in 4..8 {
        let store = open(dir.path());
        assert_eq!(accept(&store, vec![window(a, n), window(a, 10 + n)]).await, [Verdict::Stored; 2]);
        if n % 2 == 1 {
            ids.extend(pass(&store, 99).await);
        }
        store.close().await.unwrap();
    }
    assert_eq!(ids.len(), 12);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[tokio::test]
async fn a_window_dated_later_is_found_at_its_new_time_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, vec![undated(a, 1, 1), undated(a, 2, 1), undated(a, 3, 2)]).await;
    assert_eq!(pass(&store, 1).await.len(), 1);
    let t_boot = 1_000_000;
    // One of boot 1 is filed, one is not; the one of boot 2 waits on.
    accept(&store, vec![status(a, 4, 1, t_boot), undated(a, 5, 1)]).await;
    for filed in [1, 2, 4] {
        assert_eq!(counters(&store, a, 0, t_boot + 1000, 99).await, [1, 2, 5], "{filed}");
        assert_eq!(counters(&store, a, t_boot + 150, t_boot + 250, 99).await, [1, 2], "{filed}");
        assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, [1, 2, 5, 3], "{filed}");
        assert_eq!(counters(&store, a, T0, T0 + 1, 99).await, [3], "{filed}");
        pass(&store, 1 + filed / 2).await;
    }
    assert!(store.undecoded(None, 1).await.unwrap().is_empty());
    let conn = Connection::open(dir.path().join("kinglet.db")).unwrap();
    let n: i64 = conn.query_row("SELECT COUNT(*) FROM window_order", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 4);
}

#[tokio::test]
async fn killed_before_the_pass_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, (0..6).map(|n| window(a, n)).collect()).await;
    let mut ids = pass(&store, 3).await;
    accept(&store, vec![window(a, 6)]).await;
    // What the disk holds at this instant, the log included, is all that a killed process leaves.
    let left = tempfile::tempdir().unwrap();
    for name in ["kinglet.db", "kinglet.db-wal"] {
        std::fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    let store = open(left.path());
    assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, (0..7).collect::<Vec<_>>());
    assert_eq!(accept(&store, (0..7).map(|n| window(a, n)).collect()).await, [Verdict::AlreadyStored; 7]);
    ids.extend(pass(&store, 99).await);
    assert_eq!(ids.len(), 7);
    assert_eq!(store.totals(None).await.unwrap().readings, 14);
    assert_eq!(counters(&store, a, 0, i64::MAX, 99).await, (0..7).collect::<Vec<_>>());
}

#[tokio::test]
async fn counts_and_highest_numbers_are_the_same_before_and_after_the_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (a, b) = (add(&store, "a").await, add(&store, "b").await);
    for n in 0..3 {
        accept(&store, vec![window(a, n), window(b, 2 * n), window(a, n)]).await;
    }
    for filed in 0..=6 {
        let totals = store.totals(None).await.unwrap();
        let n = (totals.frames, totals.bytes, totals.windows, totals.duplicates);
        assert_eq!(n, (9, 540, 6, 3), "{filed}");
        let days = store.day_stats(Some(b), day_of(T0), day_of(T0)).await.unwrap();
        assert_eq!((days.len(), days[0].totals.windows, days[0].t_last), (1, 3, T0), "{filed}");
        for (id, highest) in [("a", 2), ("b", 4)] {
            let row = store.device(id).await.unwrap().unwrap();
            assert_eq!(row.highest.iter().map(|id| id.counter).collect::<Vec<_>>(), [highest], "{filed}");
            assert_eq!(row.t_last_seen, Some(T0), "{filed}");
        }
        assert_eq!(store.devices(0, 9).await.unwrap()[1].highest[0].counter, 4, "{filed}");
        pass(&store, 1).await;
        store.close().await.unwrap();
        store = open(dir.path());
    }
}

#[tokio::test]
async fn a_file_from_before_the_deferred_counts_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = add(&store, "a").await;
    accept(&store, vec![window(a, 0), window(a, 1)]).await;
    store.close().await.unwrap();
    // As the second schema left it: its windows counted at once, before any pass.
    let conn = Connection::open(dir.path().join("kinglet.db")).unwrap();
    conn.execute_batch(
        "DROP TABLE age_clock; DROP TABLE alert_due; DROP TABLE alert; DROP INDEX reject_unjudged; ALTER TABLE reject DROP COLUMN n_judged; \
         DROP TABLE offer; DROP TABLE account; DROP TABLE session; DROP TABLE token; DROP TABLE forward; DROP VIEW day_count; \
         ALTER TABLE progress DROP COLUMN filing_to; ALTER TABLE progress DROP COLUMN filing_device; \
         PRAGMA user_version = 2;",
    )
    .unwrap();
    conn.execute(
        "INSERT INTO day_stats VALUES (?1, ?2, 7, 2, 120, 2, 0, 0)",
        [i64::from(a), day_of(T0).into()],
    )
    .unwrap();
    drop(conn);
    let store = open(dir.path());
    for _ in 0..2 {
        let totals = store.totals(Some(a)).await.unwrap();
        assert_eq!((totals.frames, totals.bytes, totals.windows), (2, 120, 2));
        pass(&store, 9).await;
    }
}
