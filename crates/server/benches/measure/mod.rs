//! What several benches measure by.
// Each bench uses its own part of this.
#![allow(dead_code)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinglet_server::store::{Arrival, Content, NewDevice, SqliteStore, Store};

use crate::arrivals;
use crate::common::T0;

/// CPU seconds this process has used; 0 where there is no `/proc`.
pub(crate) fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident and most ever resident, MB; 0 where there is no `/proc`.
pub(crate) fn memory_mb() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mb = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
    };
    (mb("VmRSS"), mb("VmHWM"))
}

/// What no acked frame can be quicker than: one write and one sync on the same disk, in milliseconds.
pub(crate) fn sync_ms() -> f64 {
    let mut file = tempfile::tempfile().expect("a file");
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096]).expect("room");
            file.sync_data().expect("a disk");
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Short ids of new devices.
pub(crate) async fn add_devices(store: &dyn Store, n: usize) -> Vec<u32> {
    let mut devices = Vec::new();
    for n in 0..n {
        let device = NewDevice {
            id: format!("device-{n}"),
            name: String::new(),
            wrapped_key: vec![0; 72],
            join_state: vec![0; 8],
            t_created: T0,
        };
        devices.push(store.add_device(device).await.expect("room").short_id);
    }
    devices
}

/// Rows per second straight into a store: from so many senders, so many at once, each with this code.
pub(crate) async fn bare_store(n_senders: usize, at_once: usize, code: &[u8], round: Duration) -> f64 {
    let dir = tempfile::tempdir().expect("a place");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("bare.db")).expect("a store"));
    let devices = add_devices(store.as_ref(), n_senders).await;
    let begun = Instant::now();
    let senders = devices.into_iter().map(|device| {
        let (store, code) = (Arc::clone(&store), code.to_vec());
        tokio::spawn(async move {
            let mut n = 0;
            while begun.elapsed() < round {
                let rows = (0..at_once).map(|i| row(device, (n + i) as u64, &code));
                store.accept(rows.collect()).await.expect("they are stored");
                n += at_once;
            }
            n
        })
    });
    let mut n = 0;
    for sender in senders.collect::<Vec<_>>() {
        n += sender.await.expect("a sender");
    }
    let rate = n as f64 / begun.elapsed().as_secs_f64();
    store.close().await.expect("it ends");
    rate
}

/// A window sealed once, with this code.
pub(crate) fn row(device: u32, counter: u64, bytes: &[u8]) -> Arrival {
    let mut row = arrivals::window(device, counter);
    row.tag = [&row.tag[..], &[7; 8]].concat();
    if let Content::Window { code, .. } = &mut row.content {
        *code = bytes.to_vec();
    }
    row
}
