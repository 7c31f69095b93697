//! Killed at any instant, the server has lost no acked frame and stores none twice.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{Device, Rig, T0, request};
use kinglet_server::store::{SqliteStore, Store};
use kinglet_wire::counter::Counter;
use tokio::process::{Child, Command};

const DIR: &str = "KINGLET_TEST_CRASH_DIR";
const N_FRAMES: u64 = 1200;
const N_ROUNDS: u64 = 6;

/// Not a test: the server that the one below starts and kills.
#[tokio::test]
#[ignore = "runs as a child of killed_between_insert_and_ack"]
async fn child_serves() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let rig = Rig::start(dir).await;
    std::fs::write(dir.join("addr.new"), rig.addr.to_string()).unwrap();
    std::fs::rename(dir.join("addr.new"), dir.join("addr")).unwrap();
    std::future::pending::<()>().await;
}

async fn start_child(dir: &Path) -> (Child, SocketAddr) {
    let _ = std::fs::remove_file(dir.join("addr"));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_serves", "--ignored"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..2000 {
        if let Ok(addr) = std::fs::read_to_string(dir.join("addr")) {
            return (child, addr.parse().unwrap());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the child does not start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_insert_and_ack() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let short_id = device.short_id;
    rig.stop().await;
    let frames: Vec<_> = (0..N_FRAMES).map(|i| device.window(T0 + i as i64, &i.to_be_bytes())).collect();
    let (device, frames) = (std::sync::Arc::new(device), std::sync::Arc::new(frames));

    let mut acked = BTreeSet::new();
    for round in 0..N_ROUNDS {
        let (mut child, addr) = start_child(dir.path()).await;
        let senders: Vec<_> = (0..8)
            .map(|lane| {
                let (device, frames) = (device.clone(), frames.clone());
                let first = round * N_FRAMES / N_ROUNDS;
                // Each round also repeats what the one before may not have heard about.
                let todo = (first.saturating_sub(100)..N_FRAMES).skip(lane).step_by(8);
                tokio::spawn(async move { send(addr, &device, &frames, todo).await })
            })
            .collect();
        // A different instant each time.
        tokio::time::sleep(Duration::from_millis(40 + 37 * round)).await;
        child.kill().await.unwrap();
        for sender in senders {
            acked.extend(sender.await.unwrap());
        }
    }
    assert!(acked.len() > 20, "only {} acks came before the kills", acked.len());

    let store = SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
    let stored = counters(&store, short_id).await;
    let lost: Vec<_> = acked.iter().filter(|counter| !stored.contains(counter)).collect();
    assert!(lost.is_empty(), "acked and lost: {lost:?}");
    store.close().await.unwrap();
    // Everything again, as a device would: each is there once.
    let rig = Rig::start(dir.path()).await;
    for chunk in frames.chunks(400) {
        assert_eq!(rig.post_frames(chunk).await.status, 200);
    }
    let stored = counters(rig.core.store.as_ref(), short_id).await;
    assert_eq!(stored, (1..=N_FRAMES).collect::<Vec<_>>());
    rig.stop().await;
}

/// Sends until the server is gone; gives the counters it has acked.
async fn send(
    addr: SocketAddr,
    device: &Device,
    frames: &[Vec<u8>],
    todo: impl Iterator<Item = u64>,
) -> Vec<u64> {
    let mut acked = Vec::new();
    for i in todo {
        let answer = request(addr, "POST", "/v1/frames", &[], &frames[i as usize]).await;
        // A kill may cut an answer short: what does not open is no ack.
        if answer.status != 200 || answer.body.len() != 22 + 19 + 16 {
            break;
        }
        // The status frame had counter 0.
        assert!(device.open_ack(&answer.body).covers(Counter::new(i + 1).unwrap()));
        acked.push(i + 1);
    }
    acked
}

async fn counters(store: &dyn Store, short_id: u32) -> Vec<u64> {
    let windows = store.windows(short_id, 0, i64::MAX, 100_000).await.unwrap();
    let mut counters: Vec<_> = windows.iter().map(|window| window.origin.counter).collect();
    counters.sort_unstable();
    counters
}
