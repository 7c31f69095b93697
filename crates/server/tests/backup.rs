//! A backup is whole, whatever the server does meanwhile; damage is named and a backup brings everything back.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod arrivals;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrivals::{T0, window};
use kinglet_server::store::*;
use rusqlite::Connection;

async fn with_device(path: &Path) -> (SqliteStore, u32) {
    let store = SqliteStore::open(path).unwrap();
    let new = NewDevice {
        id: "a".into(),
        name: String::new(),
        wrapped_key: vec![],
        join_state: vec![],
        t_created: T0,
    };
    let device = store.add_device(new).await.unwrap().short_id;
    (store, device)
}

async fn counters(store: &dyn Store, device: u32) -> Vec<u64> {
    let rows = store.windows(device, 0, i64::MAX, 1_000_000).await.unwrap();
    rows.iter().map(|row| row.origin.counter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_a_moment_and_is_restored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("kinglet.db"), dir.path().join("backup.db"));
    let (store, device) = with_device(&from).await;
    let store = Arc::new(store);
    for n in 0..200 {
        store.accept((n * 50..n * 50 + 50).map(|n| window(device, n)).collect()).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut n = 10_000;
            while !stop.load(Ordering::Relaxed) {
                store.accept(vec![window(device, n)]).await.unwrap();
                n += 1;
            }
            n
        }
    });
    let (source, target) = (from.clone(), to.clone());
    let made = tokio::task::spawn_blocking(move || back_up(&source, &target, |done| assert!(done <= 1.0)));
    let checked = made.await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let n = load.await.unwrap();
    assert!(n > 10_000 && (10_000..=n).contains(&checked.n_windows), "{checked:?} of {n}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // It is not written over, and neither is a store.
    assert!(back_up(&from, &to, |_| {}).is_err());
    assert!(restore(&to, &from).unwrap_err().to_string().contains("move it away first"));
    let other = dir.path().join("other/kinglet.db");
    assert_eq!(restore(&to, &other).unwrap(), checked);
    let restored = SqliteStore::open(&other).unwrap();
    // A moment: all windows up to some number and none after it.
    assert_eq!(counters(&restored, device).await, (0..checked.n_windows).collect::<Vec<_>>());
    let again = restored.accept(vec![window(device, 0), window(device, n)]).await.unwrap();
    assert_eq!(
        again.iter().map(|o| o.verdict).collect::<Vec<_>>(),
        [Verdict::AlreadyStored, Verdict::Stored]
    );
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".new")), "{names:?}");
}

#[tokio::test]
async fn a_damaged_page_is_refused_by_name_and_a_backup_brings_all_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("kinglet.db"), dir.path().join("backup.db"));
    let (store, device) = with_device(&path).await;
    for n in 0..20 {
        store.accept((n * 50..n * 50 + 50).map(|n| window(device, n)).collect()).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    back_up(&path, &backup, |_| {}).unwrap();
    let n_free: usize = Connection::open(&backup)
        .and_then(|conn| conn.pragma_query_value(None, "freelist_count", |row| row.get(0)))
        .unwrap();
    let good = std::fs::read(&backup).unwrap();
    let n_pages = good.len() / 4096;
    let (mut n_named, mut n_unseen) = (0, 0);
    for page in 0..n_pages {
        let mut bad = good.clone();
        // As a disk that has lost a page gives it back.
        bad[page * 4096..(page + 1) * 4096].fill(0x5a);
        // A file of its own: the store of the page before may still tidy up behind its last answer.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kinglet.db");
        std::fs::write(&path, &bad).unwrap();
        let refused = match SqliteStore::open(&path) {
            Err(error) => Some(error),
            Ok(store) => {
                let read = store.windows(device, 0, i64::MAX, 10_000).await;
                let asked = store.accept(vec![window(device, 0)]).await;
                // Whatever is given is what was stored.
                if let Ok(rows) = &read {
                    assert!(rows.iter().all(|row| row.code == [row.origin.counter as u8; 5]));
                }
                read.err().or(asked.err())
            }
        };
        // No page may be lost unseen by the check, and no damaged file may become a backup; free pages hold nothing.
        if check(&path).is_ok() {
            n_unseen += 1;
        } else {
            assert!(back_up(&path, &dir.path().join("bad.db"), |_| {}).is_err(), "page {page}");
        }
        if let Some(error) = refused {
            let said = error.to_string();
            assert!(said.contains("kinglet.db"), "{said}");
            n_named += usize::from(said.contains("kinglet restore"));
        }
    }
    assert!(n_unseen <= n_free, "{n_unseen} damaged pages of {n_pages} were not seen, and {n_free} are free");
    assert!(
        n_named * 2 > n_pages,
        "only {n_named} of {n_pages} damaged pages were named when they were read"
    );
    let path = dir.path().join("restored.db");
    restore(&backup, &path).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(counters(&store, device).await, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_backup_with_a_changed_row_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kinglet.db");
    let (store, device) = with_device(&path).await;
    store.accept((0..5).map(|n| window(device, n)).collect()).await.unwrap();
    store.close().await.unwrap();
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE window SET code = x'00' WHERE counter = 3", []).unwrap();
    let refused = restore(&path, &dir.path().join("other.db")).unwrap_err().to_string();
    assert!(refused.contains("window 3 of device"), "{refused}");
    assert!(!dir.path().join("other.db").exists());
    conn.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(check(&path), Err(StoreError::TooNew { found: 99, .. })));
    std::fs::write(dir.path().join("text"), "no database").unwrap();
    assert!(check(&dir.path().join("text")).is_err() && check(&dir.path().join("none")).is_err());
}

#[tokio::test]
async fn room_that_was_freed_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kinglet.db");
    let (store, device) = with_device(&path).await;
    let big = |n: u64| {
        let mut arrival = window(device, n);
        if let Content::Window { code, .. } = &mut arrival.content {
            *code = vec![n as u8; 1500];
        }
        arrival
    };
    for n in 0..100 {
        store.accept((n * 100..n * 100 + 100).map(big).collect()).await.unwrap();
        let rows = store.undecoded(None, 1000).await.unwrap();
        let mark = |row: &WindowRow| DecodedMark { row_id: row.row_id, device, found: Err(Flaw::Malformed) };
        store.mark_decoded(rows.iter().map(mark).collect()).await.unwrap();
    }
    let pages = || {
        Connection::open(&path)
            .unwrap()
            .pragma_query_value(None, "page_count", |r| r.get::<_, u64>(0))
            .unwrap()
    };
    let before = pages();
    while store.forget(i64::MAX, 500).await.unwrap() > 0 {}
    let mut n = 0;
    while store.compact().await.unwrap() {
        n += 1;
    }
    assert!(n > 3 && pages() * 2 < before, "{} of {before} pages after {n} rounds", pages());
    assert_eq!(store.accept(vec![big(3), big(20_000)]).await.unwrap()[0].verdict, Verdict::AlreadyStored);
}
