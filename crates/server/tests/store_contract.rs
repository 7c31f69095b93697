//! What every database must do, told as one story to each.
//!
//! PostgreSQL is told it where `KINGLET_TEST_POSTGRES` is the URI of a database that may be written to
//! (`cargo xtask postgres` starts one).
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod arrivals;
#[cfg(feature = "postgres")]
mod postgres;

use std::path::Path;
use std::sync::Arc;

use arrivals::{T0, window};
use kinglet_server::store::*;
use kinglet_wire::join::JoinState;

fn sqlite(dir: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&dir.join("kinglet.db")).unwrap())
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite_store { $(
            #[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(super::sqlite(dir.path()), async || super::sqlite(dir.path())).await;
            }
        )* }

        #[cfg(feature = "postgres")]
        mod postgres_store { $(
            #[tokio::test]
            async fn $name() {
                let Some(schema) = super::postgres::Schema::new(stringify!($name)).await else { return };
                super::$name(schema.open().await, async || schema.open().await).await;
            }
        )* }
    };
}

contract!(
    devices_are_added_once_and_stay,
    join_states_are_swapped_by_one,
    windows_are_kept_once,
    gaps_beyond_memory_are_closed_not_forgotten,
    what_is_written_outlives_the_process,
    uptimes_become_times,
    windows_come_back_by_time,
    windows_are_read_on_from_any_place,
    what_is_old_is_forgotten_and_stays_received,
    the_clock_of_retention_is_kept,
    windows_are_passed_on_in_the_order_of_storing,
    offers_are_replaced_and_withdrawn,
    keys_are_replaced_where_they_are_the_ones_named,
    the_background_pass_sees_each_window_once,
    counts_add_up,
    nothing_was_heard_in_the_future,
    seed_samples_come_back_by_time,
    people_and_programs_are_kept,
    sessions_end_with_what_they_lean_on,
    alerts_are_raised_once_and_owed_until_they_are_told,
    refused_frames_are_judged_once,
    a_closed_store_says_so,
);

async fn add(store: &dyn Store, id: &str) -> DeviceRow {
    let mut join_state = vec![0; JoinState::new().emit_len()];
    JoinState::new().emit(&mut join_state).unwrap();
    let new =
        NewDevice { id: id.into(), name: "Name".into(), wrapped_key: vec![1, 2], join_state, t_created: T0 };
    store.add_device(new).await.unwrap()
}

async fn verdicts(store: &dyn Store, arrivals: Vec<Arrival>) -> Vec<Verdict> {
    store.accept(arrivals).await.unwrap().into_iter().map(|outcome| outcome.verdict).collect()
}

/// The next windows of the background pass. In a database that others write to it may have to wait for them.
async fn tail(store: &dyn Store, limit: u32, n: usize) -> Vec<WindowRow> {
    for _ in 0..1000 {
        let rows = store.undecoded(None, limit).await.unwrap();
        if rows.len() >= n {
            return rows;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the windows do not come");
}

async fn devices_are_added_once_and_stay(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let (a, b) = (add(&*store, "a").await, add(&*store, "b").await);
    assert_ne!(a.short_id, b.short_id);
    assert!(matches!(
        store.add_device(NewDevice {
            id: "a".into(),
            name: String::new(),
            wrapped_key: vec![],
            join_state: vec![],
            t_created: 0
        })
        .await,
        Err(StoreError::Exists(id)) if id == "a"
    ));
    assert_eq!(store.device("a").await.unwrap(), Some(a.clone()));
    assert_eq!(store.device_by_short_id(b.short_id).await.unwrap(), Some(b.clone()));
    assert_eq!(store.device("c").await.unwrap(), None);
    assert_eq!(store.devices(0, 10).await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.devices(a.short_id, 1).await.unwrap(), [b]);
    assert!(store.revoke_device("a", 5).await.unwrap() && store.revoke_device("a", 9).await.unwrap());
    assert!(!store.revoke_device("c", 5).await.unwrap());
    assert_eq!(store.device("a").await.unwrap().unwrap().t_revoked, Some(5));
    assert_eq!(verdicts(&*store, vec![window(a.short_id, 0)]).await, [Verdict::Revoked]);
    assert_eq!(verdicts(&*store, vec![window(99, 0)]).await, [Verdict::UnknownDevice]);
    store.set_slot(a.short_id, 3, [1; 16]).await.unwrap();
    store.set_slot(a.short_id, 3, [2; 16]).await.unwrap();
    assert_eq!(store.device("a").await.unwrap().unwrap().slots, [(3, [2; 16])]);
}

async fn offers_are_replaced_and_withdrawn(store: Arc<dyn Store>, again: impl AsyncFn() -> Arc<dyn Store>) {
    let offer = |device, print: u8, percent, t_offered| OfferRow {
        device,
        fingerprint: [print; 16],
        percent,
        update: vec![print, percent],
        t_offered,
    };
    assert_eq!(store.offers().await.unwrap(), []);
    for row in [offer(0, 1, 10, 5), offer(7, 1, 100, 6), offer(0, 2, 50, 7), offer(0, 1, 20, 8)] {
        store.set_offer(row).await.unwrap();
    }
    let kept = [offer(0, 1, 20, 8), offer(0, 2, 50, 7), offer(7, 1, 100, 6)];
    assert_eq!(store.offers().await.unwrap(), kept);
    assert_eq!(again().await.offers().await.unwrap(), kept);
    assert_eq!(store.withdraw_offers([1; 16], Some(9)).await.unwrap(), 0);
    assert_eq!(store.withdraw_offers([1; 16], Some(0)).await.unwrap(), 1);
    assert_eq!(store.offers().await.unwrap(), kept[1..]);
    assert_eq!(store.withdraw_offers([1; 16], None).await.unwrap(), 1);
    assert_eq!(store.withdraw_offers([2; 16], None).await.unwrap(), 1);
    assert_eq!(store.offers().await.unwrap(), []);
}

async fn join_states_are_swapped_by_one(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await;
    let change = |expected, n| JoinChange { device: device.short_id, expected, state: vec![n] };
    let both = tokio::join!(
        store.set_join_state(change(device.join_version, 1)),
        store.set_join_state(change(device.join_version, 2))
    );
    let (first, second) = (both.0.unwrap(), both.1.unwrap());
    assert!(first ^ second);
    let row = store.device("a").await.unwrap().unwrap();
    assert_eq!(row.join_state, if first { [1] } else { [2] });
    assert!(store.set_join_state(change(row.join_version, 3)).await.unwrap());
    // A window's own change takes the same care.
    let stale = Arrival { confirm: Some(change(row.join_version, 9)), ..window(device.short_id, 0) };
    assert_eq!(verdicts(&*store, vec![stale]).await, [Verdict::Stored]);
    assert_eq!(store.device("a").await.unwrap().unwrap().join_state, [3]);
    store.revoke_device("a", 5).await.unwrap();
    let row = store.device("a").await.unwrap().unwrap();
    assert!(!store.set_join_state(change(row.join_version, 4)).await.unwrap());
}

async fn windows_are_kept_once(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    let one = window(device, 1);
    let other = Arrival { tag: vec![9], ..one.clone() };
    let batch = vec![one.clone(), one.clone(), other, window(device, 0), window(device, 3)];
    let outcomes = store.accept(batch).await.unwrap();
    let expected =
        [Verdict::Stored, Verdict::AlreadyStored, Verdict::CounterReuse, Verdict::Stored, Verdict::Stored];
    assert_eq!(outcomes.iter().map(|o| o.verdict).collect::<Vec<_>>(), expected);
    assert_eq!(outcomes[0].span, Some(Span { base: 0, run: 2, bitmap: 0b10 }));
    assert_eq!(outcomes[2].span, None);
    // Sealed again: the origin decides, and the new number is spent.
    let new = FrameId { generation: 2, counter: 0 };
    let again = Arrival { sealed_as: new, tag: vec![5], ..one.clone() };
    assert_eq!(verdicts(&*store, vec![again.clone(), again.clone()]).await, [Verdict::AlreadyStored; 2]);
    let spent = Arrival { sealed_as: new, origin: new, tag: vec![6], ..window(device, 8) };
    assert_eq!(verdicts(&*store, vec![spent]).await, [Verdict::CounterReuse]);
    assert_eq!(store.windows(device, 0, i64::MAX, 10).await.unwrap().len(), 3);
    let highest = store.device("a").await.unwrap().unwrap().highest;
    assert_eq!(highest, [FrameId { generation: 1, counter: 3 }, new]);
    // Sealed again before the first frame has come: that is known by its content, and another under its number is not.
    let number = FrameId { generation: 1, counter: 70 };
    let (late, newer) = (window(device, 70), FrameId { generation: 1, counter: 71 });
    let again = Arrival { sealed_as: newer, tag: vec![7], ..late.clone() };
    assert_eq!(verdicts(&*store, vec![again]).await, [Verdict::Stored]);
    let Content::Window { t_first, t_quality, uptime, bundle, .. } = late.content.clone() else { panic!() };
    let content = Content::Window { t_first, t_quality, uptime, bundle, code: vec![99] };
    let other = Arrival { content, tag: vec![8], ..late.clone() };
    let found = verdicts(&*store, vec![late.clone(), other, late]).await;
    assert_eq!(found, [Verdict::AlreadyStored, Verdict::CounterReuse, Verdict::AlreadyStored]);
    let row = store.window(device, number).await.unwrap().unwrap();
    assert_eq!((row.origin, row.bundle), (number, bundle));
    assert!(store.window(device, newer).await.unwrap().is_none());
    // Two writers of the same frame at the same instant.
    let twice = tokio::join!(store.accept(vec![window(device, 50)]), store.accept(vec![window(device, 50)]));
    let mut twice = [twice.0.unwrap()[0].verdict, twice.1.unwrap()[0].verdict];
    twice.sort_by_key(|verdict| *verdict == Verdict::AlreadyStored);
    assert_eq!(twice, [Verdict::Stored, Verdict::AlreadyStored]);
}

async fn gaps_beyond_memory_are_closed_not_forgotten(
    store: Arc<dyn Store>,
    _: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    // Every second counter: each is a range of its own.
    let n = 2 * kinglet_wire::ranges::RANGES_MAX as u64;
    let stored = verdicts(&*store, (0..n).map(|i| window(device, 2 * i + 1)).collect()).await;
    assert!(stored.iter().all(|verdict| *verdict == Verdict::Stored));
    assert_eq!(verdicts(&*store, vec![window(device, 2)]).await, [Verdict::TooOld]);
    // Sealed again under a new generation it is welcome.
    let id = FrameId { generation: 2, counter: 0 };
    assert_eq!(
        verdicts(&*store, vec![Arrival { sealed_as: id, ..window(device, 2) }]).await,
        [Verdict::Stored]
    );
    // And one that is stored already, is not stored again.
    let id = FrameId { generation: 2, counter: 1 };
    let again = Arrival { sealed_as: id, ..window(device, 3) };
    assert_eq!(verdicts(&*store, vec![again]).await, [Verdict::AlreadyStored]);
}

async fn what_is_written_outlives_the_process(
    store: Arc<dyn Store>,
    reopen: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    let bundle = BundleRow { fingerprint: [7; 16], name: "b".into(), bytes: vec![1; 100], t_added: T0 };
    assert!(store.add_bundle(bundle.clone()).await.unwrap());
    assert!(!store.add_bundle(bundle.clone()).await.unwrap());
    verdicts(&*store, (0..10).map(|i| window(device, i)).collect()).await;
    // A second process on the same store sees it at once, and after the first has closed.
    for _ in 0..2 {
        let other = reopen().await;
        assert_eq!(other.windows(device, 0, i64::MAX, 99).await.unwrap().len(), 10);
        assert_eq!(verdicts(&*other, vec![window(device, 4)]).await, [Verdict::AlreadyStored]);
        assert_eq!(other.bundle([7; 16]).await.unwrap(), Some(bundle.clone()));
        assert_eq!(other.bundles().await.unwrap(), [BundleRow { bytes: vec![], ..bundle.clone() }]);
        assert_eq!(other.bundle([8; 16]).await.unwrap(), None);
        store.close().await.unwrap();
    }
}

async fn uptimes_become_times(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    let undated = |counter: u64, boot: u32| {
        let mut arrival = window(device, counter);
        let (t_quality, uptime) = (TimeQuality::Uptime, Some((boot, counter as i64 * 100)));
        arrival.content = Content::Window { t_first: T0, t_quality, uptime, bundle: [7; 16], code: vec![] };
        arrival
    };
    let status = |counter: u64, boot: u32, t_boot: i64| {
        let sync = Some(BootSync { boot, t_boot });
        let content =
            Content::Status { body: vec![boot as u8], slot: Some((1, [7; 16])), windows_lost: Some(4), sync };
        Arrival { content, ..window(device, counter) }
    };
    verdicts(&*store, vec![undated(1, 1), undated(2, 2), status(3, 1, 1_000_000), undated(4, 1)]).await;
    let rows = store.windows(device, 0, i64::MAX, 9).await.unwrap();
    let dated: Vec<_> = rows.iter().map(|w| (w.origin.counter, w.t_first, w.t_quality)).collect();
    let (boot, uptime) = (TimeQuality::Boot, TimeQuality::Uptime);
    assert_eq!(dated, [(1, 1_000_100, boot), (4, 1_000_400, boot), (2, T0, uptime)]);
    // A status of before does not replace a later one.
    verdicts(&*store, vec![status(0, 9, 5)]).await;
    let row = store.device("a").await.unwrap().unwrap();
    assert_eq!((row.status, row.windows_lost, row.slots), (Some(vec![1]), 4, vec![(1, [7; 16])]));
}

async fn windows_come_back_by_time(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    let other = add(&*store, "b").await.short_id;
    verdicts(&*store, [5, 1, 3, 2, 4].map(|i| window(device, i)).to_vec()).await;
    verdicts(&*store, vec![window(other, 9)]).await;
    let counters = async |from: i64, to: i64, limit| {
        let rows = store.windows(device, T0 + from, T0 + to, limit).await.unwrap();
        rows.into_iter().map(|row| row.origin.counter).collect::<Vec<_>>()
    };
    assert_eq!(counters(0, 99_000, 99).await, [1, 2, 3, 4, 5]);
    assert_eq!(counters(0, 99_000, 2).await, [4, 5]);
    // The one before the start may reach into the range.
    assert_eq!(counters(2500, 4000, 99).await, [2, 3]);
    assert_eq!(counters(-500, 500, 99).await, [0u64; 0]);
    let latest = store.latest_windows(vec![device, other, 77]).await.unwrap();
    assert_eq!(latest.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [5, 9]);
}

async fn windows_are_read_on_from_any_place(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    // Two share a time; some are filed, some are not.
    let at = |counter: u64, second: i64| {
        let content = Content::Window {
            t_first: T0 + second * 1000,
            t_quality: TimeQuality::Clock,
            uptime: None,
            bundle: [7; 16],
            code: vec![],
        };
        Arrival { content, ..window(device, counter) }
    };
    verdicts(&*store, vec![at(5, 5), at(1, 1), at(3, 3), at(2, 3)]).await;
    let rows = tail(&*store, 3, 3).await;
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Err(Flaw::Malformed) };
    store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
    verdicts(&*store, vec![at(4, 4)]).await;
    for limit in 1..7 {
        let (mut place, mut seen) = (Place { t_first: i64::MIN, row_id: 0 }, Vec::new());
        loop {
            let rows = store.windows_after(device, place, T0 + 5000, limit).await.unwrap();
            assert!(rows.len() <= limit as usize);
            let Some(last) = rows.last() else { break };
            place = Place { t_first: last.t_first, row_id: last.row_id };
            seen.extend(rows.iter().map(|row| row.origin.counter));
        }
        assert_eq!(seen, [1, 3, 2, 4], "{limit}");
    }
}

async fn windows_are_passed_on_in_the_order_of_storing(
    store: Arc<dyn Store>,
    reopen: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    let claim = |owner, from_start, target: &str| TargetClaim {
        target: target.into(),
        owner,
        lease_ms: 60_000,
        from_start,
    };
    let counters = |rows: &[Logged]| rows.iter().map(|(_, row)| row.origin.counter).collect::<Vec<_>>();
    let after = async |at: LogPlace, n: usize| {
        for _ in 0..1000 {
            let rows = store.stored_after(at, 9).await.unwrap();
            if rows.len() >= n {
                return rows;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the windows do not come");
    };
    verdicts(&*store, vec![window(device, 3)]).await;
    // Other tests' transactions delay what is new here, as in the tail.
    let all = store.claim_target(claim(1, true, "all")).await.unwrap().unwrap();
    assert_eq!(counters(&after(all.at, 1).await), [3]);
    let new = store.claim_target(claim(1, false, "new")).await.unwrap().unwrap();
    let end = store.log_end().await.unwrap();
    verdicts(&*store, vec![window(device, 1), window(device, 2)]).await;
    for at in [new.at, end] {
        assert_eq!(counters(&after(at, 2).await), [1, 2]);
    }
    let rows = after(all.at, 3).await;
    assert_eq!(counters(&rows), [3, 1, 2]);
    assert_eq!(counters(&after(rows[0].0, 2).await), [1, 2]);
    assert_eq!(store.stored_after(rows[2].0, 9).await.unwrap(), []);

    // One at a time; whoever has it may ask again, and what another says counts for nothing.
    assert_eq!(store.claim_target(claim(2, true, "all")).await.unwrap(), None);
    assert!(store.pass_target("all", 1, rows[1].0).await.unwrap());
    assert!(!store.pass_target("all", 2, rows[2].0).await.unwrap());
    assert_eq!(store.claim_target(claim(1, true, "all")).await.unwrap().unwrap().at, rows[1].0);
    store.release_target("all", 1).await.unwrap();
    assert_eq!(store.claim_target(claim(2, true, "all")).await.unwrap().unwrap().at, rows[1].0);
    assert!(!store.pass_target("all", 1, rows[2].0).await.unwrap());
    // One that another clock gave, far ahead of this one, binds nobody.
    let ahead = TargetClaim { lease_ms: 31_536_000_000, ..claim(1, true, "all") };
    assert!(store.claim_target(ahead).await.unwrap().is_none());
    let ahead = TargetClaim { lease_ms: 31_536_000_000, ..claim(2, true, "all") };
    assert!(store.claim_target(ahead).await.unwrap().is_some());
    assert!(store.claim_target(claim(1, true, "all")).await.unwrap().is_some());
    assert!(store.claim_target(claim(2, true, "all")).await.unwrap().is_none());
    store.release_target("all", 1).await.unwrap();
    assert!(store.claim_target(claim(2, true, "all")).await.unwrap().is_some());
    let late = TargetClaim { lease_ms: -1, ..claim(2, true, "all") };
    assert!(store.claim_target(late).await.unwrap().is_some());
    assert!(store.claim_target(claim(3, true, "all")).await.unwrap().is_some());

    // Retention waits for nobody, and counts what it takes from those who are behind.
    let filed = tail(&*store, 9, 3).await;
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Err(Flaw::Malformed) };
    store.mark_decoded(filed.iter().map(mark).collect()).await.unwrap();
    store.pass_target("new", 1, rows[2].0).await.unwrap();
    assert_eq!(store.forget(T0 + 3500, 9).await.unwrap(), 3);
    store.close().await.unwrap();
    drop(store);
    let lost = reopen().await.targets().await.unwrap();
    let lost: Vec<_> = lost.iter().map(|row| (row.target.as_str(), row.n_lost, row.at)).collect();
    assert_eq!(lost, [("all", 1, rows[1].0), ("new", 0, rows[2].0)]);
    let census = reopen().await.census().await.unwrap();
    assert!((census.n_devices, census.n_revoked, census.n_bundles) == (1, 0, 0) && census.bytes > 8192);
}

async fn what_is_old_is_forgotten_and_stays_received(
    store: Arc<dyn Store>,
    reopen: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    let bundle = BundleRow { fingerprint: [7; 16], name: "b".into(), bytes: vec![1], t_added: T0 };
    store.add_bundle(bundle).await.unwrap();
    let late = Arrival { t_arrival: T0 + 9000, ..window(device, 1) };
    verdicts(&*store, vec![window(device, 0), late, window(device, 2), window(device, 3)]).await;
    // What the background pass has not counted stays.
    assert_eq!(store.forget(T0 + 2500, 99).await.unwrap(), 0);
    let rows = tail(&*store, 9, 4).await;
    let extent = Extent { n_samples: 1, n_readings: 2, span_ms: 1000 };
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Ok(extent) };
    store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
    let totals = store.totals(None).await.unwrap();
    // Taken long ago and arrived long ago: the one that came late is kept for as long as any other.
    assert_eq!(store.forget(T0 + 2500, 1).await.unwrap(), 1);
    assert_eq!(store.forget(T0 + 2500, 99).await.unwrap(), 1);
    assert_eq!(store.forget(T0 + 2500, 99).await.unwrap(), 0);
    let left = store.windows(device, 0, i64::MAX, 9).await.unwrap();
    assert_eq!(left.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [1, 3]);
    store.close().await.unwrap();
    let store = reopen().await;
    let resealed = Arrival { sealed_as: FrameId { generation: 2, counter: 0 }, ..window(device, 2) };
    let again = verdicts(&*store, vec![window(device, 0), resealed, window(device, 4)]).await;
    assert_eq!(again, [Verdict::AlreadyStored, Verdict::AlreadyStored, Verdict::Stored]);
    assert_eq!(store.totals(None).await.unwrap().readings, totals.readings);
    assert!(store.bundle([7; 16]).await.unwrap().is_some());
    let run = |t: i64| SeedRun {
        device: "porch".into(),
        bundle: [1; 16],
        channels: vec![("t".into(), String::new())],
        times: vec![t],
        values: vec![1.0],
    };
    store.add_seed_samples(vec![run(T0), run(T0 + 9_000_000)]).await.unwrap();
    assert_eq!(store.forget(T0 + 5_000_000, 99).await.unwrap(), 1 + 2);
    assert_eq!(store.seed_series().await.unwrap()[0].n_samples, 1);
    assert_eq!(store.seed_samples("porch", 0, i64::MAX, 9).await.unwrap()[0].times, [T0 + 9_000_000]);
}

async fn the_clock_of_retention_is_kept(store: Arc<dyn Store>, reopen: impl AsyncFn() -> Arc<dyn Store>) {
    assert_eq!(store.age_clock().await.unwrap(), None);
    let clock = AgeClock { t_ms: T0, ahead_ms: -5, waited_ms: 7 };
    for clock in [AgeClock::at(T0 + 1), clock] {
        store.keep_age_clock(clock).await.unwrap();
    }
    assert_eq!(reopen().await.age_clock().await.unwrap(), Some(clock));
}

async fn keys_are_replaced_where_they_are_the_ones_named(
    store: Arc<dyn Store>,
    _: impl AsyncFn() -> Arc<dyn Store>,
) {
    let (a, b) = (add(&*store, "a").await, add(&*store, "b").await);
    let change = |row: &DeviceRow, wrapped_before: &[u8], n: u8| KeyChange {
        device: row.short_id,
        wrapped_before: wrapped_before.to_vec(),
        wrapped: vec![n],
    };
    let changes = vec![change(&b, &[9], 4), change(&a, &a.wrapped_key, 3)];
    assert_eq!(store.replace_keys(changes).await.unwrap(), 1);
    assert_eq!(store.device("a").await.unwrap().unwrap().wrapped_key, [3]);
    assert_eq!(store.device("b").await.unwrap(), Some(b));
}

async fn the_background_pass_sees_each_window_once(
    store: Arc<dyn Store>,
    _: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    verdicts(&*store, [0, 1, 2, 9].map(|i| window(device, i)).to_vec()).await;
    let rows = tail(&*store, 3, 3).await;
    assert_eq!(rows.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [0, 1, 2]);
    // It may look on before it records what it has found; until then, whoever begins anew begins with the first.
    let next = store.undecoded(Some(rows[2].row_id), 9).await.unwrap();
    assert_eq!(next.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [9]);
    assert_eq!(store.undecoded(Some(next[0].row_id), 9).await.unwrap(), []);
    assert_eq!(store.undecoded(None, 9).await.unwrap().len(), 4);
    let extent = Extent { n_samples: 1, n_readings: 2, span_ms: 1000 };
    let found = [Ok(extent), Err(Flaw::Malformed), Ok(extent)];
    let mark = |(row, found): (&WindowRow, _)| DecodedMark { row_id: row.row_id, device, found };
    store.mark_decoded(rows.iter().zip(found).map(mark).collect()).await.unwrap();
    let rest = tail(&*store, 9, 1).await;
    assert_eq!(rest.iter().map(|row| row.origin.counter).collect::<Vec<_>>(), [9]);
    store.mark_decoded(vec![mark((&rest[0], Ok(extent)))]).await.unwrap();
    let rows = store.windows(device, 0, i64::MAX, 9).await.unwrap();
    assert_eq!(rows[1].flaw, Some(Flaw::Malformed));
    assert_eq!((rows[0].n_samples, rows[0].flaw), (Some(1), None));
    assert_eq!(store.totals(Some(device)).await.unwrap().readings, 6);
    // Covered 0–1, 2–3 and 9–10 s.
    let coverage = store.coverage(device, 0, i64::MAX).await.unwrap();
    assert_eq!(coverage, Coverage { n_samples: 3, covered_ms: 3000, missing_ms: 7000 });
}

async fn counts_add_up(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    let tomorrow = Arrival { t_arrival: T0 + 86_400_000, ..window(device, 5) };
    verdicts(&*store, vec![window(device, 0), window(device, 0), window(device, 1), tomorrow]).await;
    let day = day_of(T0);
    let days = store.day_stats(Some(device), day, day + 1).await.unwrap();
    assert_eq!(days.iter().map(|d| (d.day, d.totals.frames)).collect::<Vec<_>>(), [(day, 3), (day + 1, 1)]);
    let totals = store.totals(None).await.unwrap();
    assert_eq!(totals, Totals { frames: 4, bytes: 240, windows: 3, readings: 0, duplicates: 1 });
    assert_eq!(store.device("a").await.unwrap().unwrap().t_last_seen, Some(T0 + 86_400_000));
    let reject = |n| RejectCount { device: 0, day, reason: "malformed".into(), n };
    store.count_rejects(vec![reject(2)]).await.unwrap();
    store.count_rejects(vec![reject(3)]).await.unwrap();
    assert_eq!(store.rejects(day, day).await.unwrap(), [reject(5)]);
}

async fn nothing_was_heard_in_the_future(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let (a, b) = (add(&*store, "a").await.short_id, add(&*store, "b").await.short_id);
    let heard = |device, n, after_ms| Arrival { t_arrival: T0 + after_ms, ..window(device, n) };
    let arrivals =
        vec![heard(a, 0, 0), heard(a, 1, 18_000_000), heard(a, 2, 31_536_000_000), heard(b, 0, 30_000)];
    verdicts(&*store, arrivals).await;
    let extent = Extent { n_samples: 1, n_readings: 1, span_ms: 1000 };
    let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device: row.device, found: Ok(extent) };
    store.mark_decoded(tail(&*store, 9, 4).await.iter().map(mark).collect()).await.unwrap();
    let seen = async |id| store.device(id).await.unwrap().unwrap().t_last_seen.unwrap() - T0;
    assert_eq!(seen("a").await, 31_536_000_000);
    store.cap_last_seen(T0 + 1000).await.unwrap();
    assert_eq!((seen("a").await, seen("b").await), (1000, 30_000));
    verdicts(&*store, vec![heard(a, 3, 2000)]).await;
    assert_eq!(seen("a").await, 2000);
    assert_eq!(store.totals(Some(a)).await.unwrap().windows, 4);
}

async fn seed_samples_come_back_by_time(store: Arc<dyn Store>, again: impl AsyncFn() -> Arc<dyn Store>) {
    let run = |bundle: u8, times: &[i64], values: &[f32]| SeedRun {
        device: "porch".into(),
        bundle: [bundle; 16],
        channels: vec![("temperature".into(), "°C".into()), ("humidity".into(), "%".into())],
        times: times.to_vec(),
        values: values.to_vec(),
    };
    let (a, b) = (run(1, &[T0 + 20, T0], &[1.0, 2.0, 3.0, 4.0]), run(2, &[T0 + 9_000_000], &[5.0, 6.0]));
    store.add_seed_samples(vec![a, b.clone()]).await.unwrap();
    store.add_seed_samples(vec![run(1, &[T0 + 10], &[7.0, 8.0])]).await.unwrap();
    store.close().await.unwrap();
    let store = again().await;
    let ordered = run(1, &[T0, T0 + 10, T0 + 20], &[3.0, 4.0, 7.0, 8.0, 1.0, 2.0]);
    assert_eq!(store.seed_samples("porch", 0, i64::MAX, 9).await.unwrap(), [ordered, b.clone()]);
    let newest = run(1, &[T0 + 10, T0 + 20], &[7.0, 8.0, 1.0, 2.0]);
    assert_eq!(store.seed_samples("porch", 0, T0 + 21, 2).await.unwrap(), [newest]);
    assert_eq!(store.seed_samples("porch", T0 + 21, i64::MAX, 9).await.unwrap(), [b]);
    assert_eq!(store.seed_samples("attic", 0, i64::MAX, 9).await.unwrap(), []);
    let known = store.seed_series().await.unwrap();
    let seen: Vec<_> = known.iter().map(|s| (s.bundle[0], s.n_samples, s.t_last - T0)).collect();
    assert_eq!(seen, [(2, 1, 9_000_000), (1, 3, 20)]);
    // They are no devices and no windows.
    assert_eq!(
        (store.devices(0, 9).await.unwrap().len(), store.undecoded(None, 9).await.unwrap().len()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_store_of_the_first_schema_gets_the_tables_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kinglet.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/store/sqlite/v1.sql")).unwrap();
    // Two windows it had taken: one filed by its pass, one in the tail, both counted at once as it did.
    let crc = |n: u64| {
        let mut bytes = 1u32.to_be_bytes().to_vec();
        bytes.extend(1u32.to_be_bytes());
        bytes.extend(n.to_be_bytes());
        for part in [&[7; 16][..], &n.to_be_bytes(), &[n as u8; 5]] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part);
        }
        crc32c::crc32c(&bytes)
    };
    old.execute_batch(&format!(
        "INSERT INTO device (short_id, id, name, wrapped_key, join_state, t_created) VALUES (1, 'old', '', x'01', x'', {T0});
         INSERT INTO window VALUES (1, 1, 1, 0, {T0}, {T0}, 0, NULL, NULL, 60, {}, x'{}', x'{:016x}', x'0000000000');
         INSERT INTO window VALUES (2, 1, 1, 1, {T0} + 1000, {T0}, 0, NULL, NULL, 60, {}, x'{}', x'{:016x}', x'0101010101');
         INSERT INTO window_order VALUES (1, {T0}, 1, 8, 80000, 0);
         INSERT INTO window_number VALUES (1, 1, 0, 1);
         INSERT INTO day_stats VALUES (1, {}, {T0}, 2, 120, 2, 16, 0);
         UPDATE progress SET decoded_to = 1;",
        crc(0), "07".repeat(16), 0, crc(1), "07".repeat(16), 1, day_of(T0),
    ))
    .unwrap();
    let mut ranges = kinglet_wire::ranges::ReceivedRanges::new();
    ranges.insert(kinglet_wire::counter::Counter::new(0).unwrap());
    let mut bytes = vec![0; ranges.emit_len()];
    ranges.emit(&mut bytes).unwrap();
    old.execute("INSERT INTO received VALUES (1, 1, 0, ?1)", [bytes]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let store = sqlite(dir.path());
    let rows = store.windows(1, 0, i64::MAX, 9).await.unwrap();
    let kept: Vec<_> = rows.iter().map(|row| (row.origin.counter, row.n_samples, row.flaw)).collect();
    assert_eq!(kept, [(0, Some(8), None), (1, None, None)]);
    let again = verdicts(&*store, vec![window(1, 0), window(1, 1), window(1, 2)]).await;
    assert_eq!(again, [Verdict::AlreadyStored, Verdict::AlreadyStored, Verdict::Stored]);
    let totals = store.totals(Some(1)).await.unwrap();
    assert_eq!((totals.windows, totals.frames, totals.readings, totals.duplicates), (3, 5, 16, 2));
    let device = add(&*store, "a").await.short_id;
    assert_eq!(verdicts(&*store, vec![window(device, 0)]).await, [Verdict::Stored]);
    assert_eq!(store.seed_series().await.unwrap(), []);
}

fn person(name: &str, role: Role) -> UserRow {
    UserRow { name: name.into(), role, password: PasswordHash(format!("$hash of {name}")), t_created: T0 }
}

fn session(n: u8, user: &str, t_ms: i64) -> SessionRow {
    SessionRow { secret: SecretHash([n; 32]), user: user.into(), t_created: t_ms, t_seen: t_ms }
}

async fn people_and_programs_are_kept(store: Arc<dyn Store>, again: impl AsyncFn() -> Arc<dyn Store>) {
    let secret = SecretHash([7; 32]);
    assert_eq!(store.standing(Some(secret)).await.unwrap(), Standing::default());
    let (anna, bob) = (person("anna", Role::Admin), person("bob", Role::Viewer));
    assert!(store.add_user(bob.clone()).await.unwrap() && store.add_user(anna.clone()).await.unwrap());
    assert!(!store.add_user(person("bob", Role::Admin)).await.unwrap(), "a name is taken once");
    assert_eq!(store.users().await.unwrap(), [anna.clone(), bob.clone()]);
    assert_eq!(store.user("bob").await.unwrap(), Some(bob));
    assert_eq!(store.user("bo").await.unwrap(), None);
    let grafana = TokenRow {
        name: "grafana".into(),
        role: Role::Operator,
        secret,
        t_created: T0,
        t_expires: Some(T0 + 5),
    };
    assert!(store.add_token(grafana.clone()).await.unwrap());
    let other =
        TokenRow { secret: SecretHash([8; 32]), role: Role::Admin, t_expires: None, ..grafana.clone() };
    assert!(!store.add_token(other.clone()).await.unwrap(), "a name is taken once");
    assert!(store.add_token(TokenRow { name: "a".into(), ..other.clone() }).await.unwrap());
    // What one server keeps all know, at once and after a restart.
    let store = again().await;
    let names: Vec<_> = store.tokens().await.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["a", "grafana"]);
    let standing = store.standing(Some(secret)).await.unwrap();
    assert_eq!(standing, Standing { has_users: true, token: Some(grafana), session: None });
    assert!(store.remove_token("grafana").await.unwrap() && !store.remove_token("grafana").await.unwrap());
    assert_eq!(store.standing(Some(secret)).await.unwrap().token, None);
    assert!(
        store.set_role("bob", Role::Operator).await.unwrap()
            && !store.set_role("eve", Role::Admin).await.unwrap()
    );
    assert_eq!(store.user("bob").await.unwrap().map(|bob| bob.role), Some(Role::Operator));
    assert!(store.remove_user("bob").await.unwrap() && !store.remove_user("bob").await.unwrap());
    assert!(store.remove_user("anna").await.unwrap() && !store.standing(None).await.unwrap().has_users);
    let shown = format!("{anna:?} {:?}", other.secret);
    assert!(!shown.contains("$hash") && !shown.contains("08"), "{shown}");
}

async fn sessions_end_with_what_they_lean_on(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let bob = person("bob", Role::Operator);
    store.add_user(bob.clone()).await.unwrap();
    store.add_user(person("anna", Role::Viewer)).await.unwrap();
    let begin = async |n, user: &str, t_ms, password: &PasswordHash| {
        store.begin_session(session(n, user, t_ms), password.clone()).await.unwrap()
    };
    let who = async |n| store.standing(Some(SecretHash([n; 32]))).await.unwrap().session;
    assert!(!begin(1, "eve", T0, &bob.password).await, "there is no such user");
    assert!(
        !begin(1, "bob", T0, &PasswordHash("another".into())).await,
        "the password was changed meanwhile"
    );
    assert!(begin(1, "bob", T0, &bob.password).await && begin(2, "bob", T0 + 9, &bob.password).await);
    assert_eq!(who(1).await, Some((session(1, "bob", T0), Role::Operator)));
    store.see_session(SecretHash([1; 32]), T0 + 7).await.unwrap();
    store.see_session(SecretHash([1; 32]), T0 + 3).await.unwrap();
    assert_eq!(who(1).await.unwrap().0.t_seen, T0 + 7);
    store.end_session(SecretHash([2; 32])).await.unwrap();
    assert!(who(2).await.is_none() && who(1).await.is_some());
    // A new password ends them all, and those of nobody else.
    let anna = store.user("anna").await.unwrap().unwrap();
    assert!(begin(3, "anna", T0, &anna.password).await);
    let new = PasswordHash("$hash, new".into());
    assert!(store.set_password("bob", new.clone()).await.unwrap());
    assert!(!store.set_password("eve", new.clone()).await.unwrap());
    assert!(who(1).await.is_none() && who(3).await.is_some());
    assert!(begin(4, "bob", T0 + 20, &new).await && begin(5, "bob", T0 + 20, &new).await);
    store.see_session(SecretHash([5; 32]), T0 + 50).await.unwrap();
    assert_eq!(
        store.forget_sessions(T0 + 10, T0 + 30).await.unwrap(),
        2,
        "too long ago, and not seen for too long"
    );
    assert!(who(3).await.is_none() && who(4).await.is_none() && who(5).await.is_some());
    assert!(store.remove_user("bob").await.unwrap());
    assert!(who(5).await.is_none());
    assert!(store.add_user(bob).await.unwrap());
    assert!(who(5).await.is_none(), "a session is not its successor's");
}

async fn alerts_are_raised_once_and_owed_until_they_are_told(
    store: Arc<dyn Store>,
    again: impl AsyncFn() -> Arc<dyn Store>,
) {
    let device = add(&*store, "a").await.short_id;
    let alert = |channel: &str, t_raised| NewAlert {
        rule: "frost".into(),
        kind: "range".into(),
        device,
        channel: channel.into(),
        said: "t was 1 °C".into(),
        detail: "{}".into(),
        t_raised,
    };
    let to = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let raise =
        |channel: &str, t_ms| AlertChange::Raise { alert: alert(channel, t_ms), to: to(&["hook", "broker"]) };
    let clear = |id, t_ms| AlertChange::Clear { id, t_ms, to: to(&["hook"]) };
    // Two servers find the same at the same time.
    let other = again().await;
    let (mine, theirs) =
        tokio::join!(store.change_alerts(vec![raise("t", T0)]), other.change_alerts(vec![raise("t", T0)]));
    let mut changed = [mine.unwrap(), theirs.unwrap()].concat();
    assert_eq!(changed.len(), 1, "one of them has raised it");
    let first = changed.remove(0);
    assert_eq!((&first.device_id, &first.alert, first.t_cleared), (&"a".into(), &alert("t", T0), None));
    let changed =
        store.change_alerts(vec![raise("u", T0 + 1), raise("t", T0 + 2), clear(first.id, T0 + 3)]).await;
    let changed: Vec<_> =
        changed.unwrap().iter().map(|row| (row.alert.channel.clone(), row.step())).collect();
    assert_eq!(changed, [("u".into(), AlertStep::Raised), ("t".into(), AlertStep::Cleared)]);
    assert_eq!(store.change_alerts(vec![clear(first.id, T0 + 4), clear(999, T0)]).await.unwrap(), []);
    let third = store.change_alerts(vec![raise("t", T0 + 5)]).await.unwrap().remove(0);
    assert!(third.id > first.id, "what was cleared may come again, as another");
    let listed = async |before, limit, raised_only| {
        let rows = store.alerts(before, limit, raised_only).await.unwrap();
        rows.into_iter().map(|row| (row.alert.channel, row.t_cleared)).collect::<Vec<_>>()
    };
    let (t, u, old) = (("t".to_owned(), None), ("u".to_owned(), None), ("t".to_owned(), Some(T0 + 3)));
    assert_eq!(listed(i64::MAX, 9, false).await, [t.clone(), u.clone(), old.clone()]);
    assert_eq!(listed(third.id, 1, false).await, std::slice::from_ref(&u));
    assert_eq!(listed(i64::MAX, 9, true).await, [t, u]);
    assert_eq!(store.census().await.unwrap().n_alerts, 2);

    let due = async |target: &str| {
        let rows = store.due_alerts(target, 9).await.unwrap();
        rows.into_iter().map(|(step, row)| (step, row.alert.channel)).collect::<Vec<_>>()
    };
    let raised = |channel: &str| (AlertStep::Raised, channel.to_owned());
    let cleared = (AlertStep::Cleared, "t".to_owned());
    assert_eq!(due("hook").await, [raised("t"), raised("u"), cleared.clone(), raised("t")]);
    assert_eq!(due("broker").await, [raised("t"), raised("u"), raised("t")]);
    assert_eq!(due("nobody").await, []);
    assert_eq!(store.due_alerts("hook", 1).await.unwrap().len(), 1);
    store.alerts_told("hook", vec![(AlertStep::Raised, first.id), (AlertStep::Raised, 999)]).await.unwrap();
    assert_eq!(due("hook").await, [raised("u"), cleared, raised("t")]);
    assert_eq!(due("broker").await.len(), 3, "to each its own");
    // Old ones go with what is owed of them, raised ones stay.
    assert_eq!(store.forget_alerts(100).await.unwrap(), 0);
    assert_eq!(store.forget_alerts(1).await.unwrap(), 2);
    assert_eq!(listed(i64::MAX, 9, false).await.len(), 2);
    assert_eq!(due("hook").await, [raised("u"), raised("t")]);
}

async fn refused_frames_are_judged_once(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let day = day_of(T0);
    let reject = |day, n| RejectCount { device: 1, day, reason: "not_opened".into(), n };
    store.count_rejects(vec![reject(day, 2), reject(day - 9, 7)]).await.unwrap();
    let found = store.unjudged_rejects(day - 1).await.unwrap();
    assert_eq!(found, [reject(day, 2)]);
    store.count_rejects(vec![reject(day, 3)]).await.unwrap();
    store.rejects_judged(found).await.unwrap();
    let found = store.unjudged_rejects(day - 1).await.unwrap();
    assert_eq!(found, [reject(day, 3)], "what came meanwhile was not looked at");
    store.rejects_judged(found).await.unwrap();
    assert_eq!(store.unjudged_rejects(day - 1).await.unwrap(), []);
    assert_eq!(store.rejects(day, day).await.unwrap(), [reject(day, 5)], "the counts are as they were");
}

async fn a_closed_store_says_so(store: Arc<dyn Store>, _: impl AsyncFn() -> Arc<dyn Store>) {
    let device = add(&*store, "a").await.short_id;
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.accept(vec![window(device, 0)]).await, Err(StoreError::Closed));
}

#[tokio::test]
async fn the_clock_of_retention_begins_with_the_newest_arrival_of_an_older_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path());
    let device = add(&*store, "a").await.short_id;
    verdicts(&*store, vec![window(device, 0), window(device, 5)]).await;
    store.close().await.unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(dir.path().join("kinglet.db")).unwrap();
    conn.execute_batch("DROP TABLE age_clock; PRAGMA user_version = 8").unwrap();
    let newest = window(device, 5).t_arrival;
    assert_eq!(sqlite(dir.path()).age_clock().await.unwrap(), Some(AgeClock::at(newest)));
}

#[tokio::test]
async fn a_damaged_row_is_flagged_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path());
    let device = add(&*store, "a").await.short_id;
    verdicts(&*store, vec![window(device, 0), window(device, 1)]).await;
    let conn = rusqlite::Connection::open(dir.path().join("kinglet.db")).unwrap();
    conn.execute("UPDATE window SET code = x'00' WHERE counter = 1", []).unwrap();
    let rows = store.windows(device, 0, i64::MAX, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.flaw).collect::<Vec<_>>(), [None, Some(Flaw::Damaged)]);
}

#[tokio::test]
async fn a_store_from_the_future_or_an_unusable_place_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kinglet.db");
    drop(SqliteStore::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let known = 9;
    assert_eq!(SqliteStore::open(&path).err(), Some(StoreError::TooNew { found: 99, known }));
    let file = dir.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let error = SqliteStore::open(&file.join("kinglet.db")).err().unwrap().to_string();
    assert!(error.contains("cannot open the store at") && error.contains("--data DIR"), "{error}");
    let path = dir.path().join("other.db");
    std::fs::write(&path, vec![b'x'; 9000]).unwrap();
    let error = SqliteStore::open(&path).err().unwrap().to_string();
    assert!(error.contains("not a database") && error.contains("kinglet restore"), "{error}");
}
