//! Many servers on one database: whoever takes a frame in, it is kept once, and all of them know.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod arrivals;
mod postgres;

use std::sync::Arc;
use std::time::Duration;

use arrivals::{T0, window};
use kinglet_server::store::*;
use postgres::Schema;

async fn add(store: &dyn Store, id: &str) -> u32 {
    let (name, wrapped_key, join_state) = (String::new(), vec![], vec![]);
    let new = NewDevice { id: id.into(), name, wrapped_key, join_state, t_created: T0 };
    store.add_device(new).await.unwrap().short_id
}

async fn verdicts(store: &dyn Store, arrivals: Vec<Arrival>) -> Vec<Verdict> {
    store.accept(arrivals).await.unwrap().into_iter().map(|outcome| outcome.verdict).collect()
}

/// The next windows of the tail. Transactions of other tests delay it, as others' would.
async fn tail(store: &dyn Store, limit: u32, n: usize) -> Vec<WindowRow> {
    for _ in 0..1000 {
        let rows = store.undecoded(None, limit).await.unwrap();
        if rows.len() >= n {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the tail does not come");
}

async fn counters(store: &dyn Store, device: u32) -> Vec<u64> {
    let rows = store.windows(device, 0, i64::MAX, 100_000).await.unwrap();
    rows.iter().map(|row| row.origin.counter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_given_to_two_servers_at_once_is_kept_once() {
    let Some(schema) = Schema::new("given_to_two").await else { return };
    let (one, two) = (schema.open().await, schema.open().await);
    let devices = [add(&*one, "a").await, add(&*one, "b").await, add(&*two, "c").await];
    for n in 0..100u64 {
        // The same devices in opposite orders: whoever locks in the order of arrival waits for ever.
        let frames: Vec<_> = devices.iter().map(|device| window(*device, n)).collect();
        let turned: Vec<_> = frames.iter().rev().cloned().collect();
        let both = tokio::join!(one.accept(frames), two.accept(turned));
        let (a, b) = (both.0.unwrap(), both.1.unwrap());
        for (x, y) in a.iter().zip(b.iter().rev()) {
            let mut pair = [x.verdict, y.verdict];
            pair.sort_by_key(|verdict| *verdict == Verdict::AlreadyStored);
            assert_eq!(pair, [Verdict::Stored, Verdict::AlreadyStored], "{n}");
            assert_eq!(x.span.map(|span| span.run), y.span.map(|span| span.run));
        }
    }
    for device in devices {
        assert_eq!(counters(&*one, device).await, (0..100).collect::<Vec<_>>());
    }
    assert_eq!(two.totals(None).await.unwrap().duplicates, 300);
}

#[tokio::test]
async fn a_later_number_on_another_server_does_not_shut_out_the_earlier_one() {
    let Some(schema) = Schema::new("later_first").await else { return };
    let (one, two) = (schema.open().await, schema.open().await);
    let device = add(&*one, "a").await;
    for n in (0..400).rev().step_by(2) {
        assert_eq!(verdicts(&*one, vec![window(device, n + 1)]).await, [Verdict::Stored]);
        assert_eq!(verdicts(&*two, vec![window(device, n)]).await, [Verdict::Stored]);
        let other = Arrival { tag: vec![9], ..window(device, n + 1) };
        let again = verdicts(&*two, vec![window(device, n + 1), other]).await;
        assert_eq!(again, [Verdict::AlreadyStored, Verdict::CounterReuse]);
    }
    let mut stored = counters(&*two, device).await;
    stored.dedup();
    assert_eq!(stored.len(), 400);
}

#[tokio::test]
async fn a_revocation_on_one_server_holds_on_all_at_once() {
    let Some(schema) = Schema::new("revoked_everywhere").await else { return };
    let (one, two) = (schema.open().await, schema.open().await);
    let device = add(&*one, "a").await;
    assert_eq!(verdicts(&*two, vec![window(device, 0)]).await, [Verdict::Stored]);
    let before = two.registry_epoch();
    assert!(one.revoke_device("a", T0).await.unwrap());
    assert_eq!(verdicts(&*two, vec![window(device, 1)]).await, [Verdict::Revoked]);
    // What the other server remembers of the registry is forgotten, soon.
    for _ in 0..200 {
        if two.registry_epoch() != before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the other server is not told");
}

#[tokio::test]
async fn the_row_decides_where_the_ranges_know_less() {
    let Some(schema) = Schema::new("row_decides").await else { return };
    let store = schema.open().await;
    let device = add(&*store, "a").await;
    verdicts(&*store, (0..3).map(|n| window(device, n)).collect()).await;
    schema.client.batch_execute("DELETE FROM received").await.unwrap();
    let other = Arrival { tag: vec![9], ..window(device, 2) };
    let again = verdicts(&*store, vec![window(device, 0), window(device, 3), window(device, 1), other]).await;
    let (new, old) = (Verdict::Stored, Verdict::AlreadyStored);
    assert_eq!(again, [old, new, old, Verdict::CounterReuse]);
    assert_eq!(counters(&*store, device).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn damaged_counters_take_no_other_request_with_them() {
    let Some(schema) = Schema::new("damaged_counters").await else { return };
    let store = schema.open().await;
    let (a, b) = (add(&*store, "a").await, add(&*store, "b").await);
    verdicts(&*store, vec![window(a, 0), window(b, 0)]).await;
    schema
        .client
        .execute("UPDATE received SET ranges = '\\xff' WHERE device = $1", &[&i64::from(b)])
        .await
        .unwrap();
    let both = tokio::join!(
        store.accept(vec![window(a, 1), window(b, 1)]),
        store.accept(vec![window(a, 2)]),
        store.accept(vec![window(b, 3)]),
    );
    assert!(both.0.is_err() && both.2.is_err());
    assert_eq!(both.1.unwrap()[0].verdict, Verdict::Stored);
    assert_eq!(counters(&*store, a).await, [0, 2]);
    schema.client.batch_execute("UPDATE stored_window SET code = '\\x00' WHERE counter = 2").await.unwrap();
    let rows = store.windows(a, 0, i64::MAX, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.flaw).collect::<Vec<_>>(), [None, Some(Flaw::Damaged)]);
}

#[tokio::test]
async fn whichever_server_records_each_window_is_seen_by_all_and_counted_once() {
    let Some(schema) = Schema::new("seen_by_all").await else { return };
    let servers = [schema.open().await, schema.open().await, schema.open().await];
    let device = add(&*servers[0], "a").await;
    let mut places = [servers[0].log_end().await.unwrap(); 3];
    let (mut shown, mut recorded) = ([const { Vec::new() }; 3], Vec::new());
    for n in 0..30u64 {
        verdicts(&*servers[n as usize % 3], vec![window(device, 2 * n), window(device, 2 * n + 1)]).await;
        // Two believe that recording is theirs, now and then.
        let rows = tail(&*servers[n as usize / 4 % 3], 7, 2).await;
        recorded.extend(rows.iter().map(|row| row.origin.counter));
        let extent = Extent { n_samples: 1, n_readings: 2, span_ms: 1000 };
        let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Ok(extent) };
        let marks: Vec<_> = rows.iter().map(mark).collect();
        let other = &servers[(n as usize / 4 + 1) % 3];
        if n % 3 == 2 {
            other.undecoded(None, 9).await.unwrap();
        }
        servers[n as usize / 4 % 3].mark_decoded(marks.clone()).await.unwrap();
        other.mark_decoded(marks).await.unwrap();
        // One is idle for a while, as one that was paused.
        for (i, server) in servers.iter().enumerate().filter(|(i, _)| *i != 1 || n % 10 == 9) {
            for (place, row) in server.stored_after(places[i], 99).await.unwrap() {
                places[i] = place;
                shown[i].push(row.origin.counter);
            }
        }
    }
    let all: Vec<u64> = (0..60).collect();
    assert_eq!((&shown[0], &shown[1], &shown[2]), (&all, &all, &all));
    assert_eq!(recorded, all);
    let totals = servers[1].totals(Some(device)).await.unwrap();
    assert_eq!((totals.windows, totals.readings, totals.frames), (60, 120, 60));
    // A new one begins where recording has come to.
    assert_eq!(schema.open().await.undecoded(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_window_committed_late_is_not_overlooked() {
    let Some(schema) = Schema::new("committed_late").await else { return };
    let store = schema.open().await;
    let device = add(&*store, "a").await;
    // Somebody's transaction has its number and its row, and stays open.
    schema.client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let slow = "INSERT INTO stored_window (device, generation, counter, t_first, t_arrival, t_quality, frame_len, crc, \
         bundle, tag, code) VALUES ($1, 1, 7, 0, 0, 0, 1, 0, decode(repeat('07', 16), 'hex'), '', '')";
    schema.client.execute(slow, &[&i64::from(device)]).await.unwrap();
    verdicts(&*store, vec![window(device, 8)]).await;
    assert_eq!(store.undecoded(None, 9).await.unwrap(), []);
    assert_eq!(store.stored_after(LogPlace::default(), 9).await.unwrap(), []);
    // It is stored, shown and counted all the same.
    assert_eq!((counters(&*store, device).await, store.totals(None).await.unwrap().windows), (vec![8], 1));
    schema.client.batch_execute("COMMIT").await.unwrap();
    let rows = tail(&*store, 9, 2).await;
    assert_eq!(rows.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [7, 8]);
    let rows = store.stored_after(LogPlace::default(), 9).await.unwrap();
    assert_eq!(rows.iter().map(|(_, row)| row.origin.counter).collect::<Vec<_>>(), [7, 8]);
}

#[tokio::test]
async fn a_dump_read_into_a_younger_database_goes_on() {
    let Some(schema) = Schema::new("restored").await else { return };
    let store = schema.open().await;
    let device = add(&*store, "a").await;
    verdicts(&*store, (0..4).map(|n| window(device, n)).collect()).await;
    let rows = tail(&*store, 2, 2).await;
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Err(Flaw::Malformed) };
    store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
    let claim = TargetClaim { target: "t".into(), owner: 1, lease_ms: 60_000, from_start: true };
    let at = store.claim_target(claim.clone()).await.unwrap().unwrap().at;
    let passed = store.stored_after(at, 3).await.unwrap();
    assert!(store.pass_target("t", 1, passed[2].0).await.unwrap());
    store.close().await.unwrap();
    let future = "UPDATE stored_window SET xact = xact + 1000000000; UPDATE progress SET xact = xact + 1000000000; \
         UPDATE forward SET xact = xact + 1000000000";
    schema.client.batch_execute(future).await.unwrap();
    let store = schema.open().await;
    verdicts(&*store, vec![window(device, 4)]).await;
    let rows = tail(&*store, 9, 3).await;
    assert_eq!(rows.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(store.totals(None).await.unwrap().windows, 5);
    // What was passed on before the dump is not missing and not sent again.
    let at = store.claim_target(claim).await.unwrap().unwrap().at;
    let rows = store.stored_after(at, 9).await.unwrap();
    assert_eq!(rows.iter().map(|(_, row)| row.origin.counter).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_make_the_tables_once() {
    let Some(schema) = Schema::new("started_together").await else { return };
    let schema = Arc::new(schema);
    let starts: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let s = schema.clone();
                async move { s.open().await }
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    schema.client.batch_execute("UPDATE kinglet_schema SET version = 99").await.unwrap();
    let refused = PostgresStore::open(&schema.target()).await.err();
    assert_eq!(refused, Some(StoreError::TooNew { found: 99, known: 6 }));
}

#[tokio::test]
async fn a_lost_connection_is_made_anew() {
    let Some(schema) = Schema::new("cut_off").await else { return };
    let store = schema.open().await;
    let device = add(&*store, "a").await;
    verdicts(&*store, vec![window(device, 0)]).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'cut_off' AND pid <> pg_backend_pid()";
    schema.client.batch_execute(cut).await.unwrap();
    // A frame under way may be refused; repeated it is taken, once.
    let mut stored = 0;
    for n in 1..20 {
        stored += u64::from(store.accept(vec![window(device, n)]).await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(stored >= 15, "{stored}");
    assert!(store.device("a").await.unwrap().is_some());
    let before = store.registry_epoch();
    add(&*store, "b").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_ne!(store.registry_epoch(), before, "the listener came back");
}
