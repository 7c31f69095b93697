//! From one server to many: the embedded store's contents in PostgreSQL, and devices that go on as if nothing had been.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
mod postgres;

use std::sync::Arc;

use common::{Rig, T0, bundle, code};
use kinglet_server::store::{PostgresStore, SqliteStore, Store, copy_to_postgres};
use kinglet_server::{Config, Core, SystemClock};
use postgres::Schema;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_and_devices_go_on_without_a_join() {
    let Some(schema) = Schema::new("moved").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let code = code(&bundle("climate", 8), |i| [200 + i as i32, 40]);
    let mut devices = vec![rig.ready_device("a").await, rig.ready_device("b").await];
    for n in 0..30 {
        for device in &mut devices {
            // A hole, so that the ranges have something to say.
            device.next += u64::from(n == 10);
            let frame = device.window(T0 + 80_000 * n, &code);
            assert_eq!(rig.post_frame(&frame).await.status, 200);
        }
        if n == 20 {
            rig.settle().await;
        }
    }
    rig.core.registry.revoke("b", T0).await.unwrap();
    let path = rig.core.config.store_path();
    let target = schema.target();
    let busy = copy_to_postgres(&path, &target, |_| {}).await.unwrap_err().to_string();
    assert!(busy.contains("stop that first"), "{busy}");
    rig.stop().await;

    let checked = copy_to_postgres(&path, &target, |_| {}).await.unwrap();
    assert_eq!((checked.n_devices, checked.n_windows), (2, 60));
    let again = copy_to_postgres(&path, &target, |_| {}).await.unwrap_err().to_string();
    assert!(again.contains("empty database"), "{again}");

    let before = SqliteStore::open(&path).unwrap();
    let after = PostgresStore::open(&target).await.unwrap();
    assert_eq!(before.devices(0, 10).await.unwrap(), after.devices(0, 10).await.unwrap());
    for device in &devices {
        let windows = async |store: &dyn Store| {
            let rows = store.windows(device.short_id, 0, i64::MAX, 1000).await.unwrap();
            rows.into_iter().map(|row| (row.origin, row.t_first, row.code, row.bundle)).collect::<Vec<_>>()
        };
        assert_eq!(windows(&before).await, windows(&after).await);
        let totals = async |store: &dyn Store| store.totals(Some(device.short_id)).await.unwrap();
        assert_eq!(totals(&before).await, totals(&after).await);
    }
    before.close().await.unwrap();
    after.close().await.unwrap();

    // A server on the new store, with the data directory's master key.
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&target).await.unwrap());
    let core = Core::new(Config::new(dir.path()), store, Arc::new(SystemClock)).unwrap();
    core.registry.check_master_key().await.unwrap();
    let mut a = devices.swap_remove(0);
    let next = a.window(T0 + 80_000 * 40, &code);
    let first = core.ingest(&[&next]).await.unwrap();
    assert_eq!((first.n_stored, first.fates), (1, vec![None]));
    // The last of before and this one: once each, and in one run with what came before.
    let ack = a.open_ack(&first.downlinks[0]);
    assert_eq!(ack.base.get() + u64::from(ack.run), a.next);
    assert_eq!(core.ingest(&[&next]).await.unwrap().n_stored, 1);
    assert_eq!(core.store.windows(a.short_id, 0, i64::MAX, 1000).await.unwrap().len(), 31);
    // The revoked one stays out, and a new device gets a number of its own.
    let b = devices[0].window(T0, &code);
    assert_eq!(core.ingest(&[&b]).await.unwrap().n_stored, 0);
    assert_eq!(core.registry.add("c", "", T0).await.unwrap().0.short_id, 3);
    core.store.close().await.unwrap();
}
