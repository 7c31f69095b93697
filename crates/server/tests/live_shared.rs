//! Many servers on one database: one records what the background pass finds, and whoever is watched shows it.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
mod postgres;

use std::time::Duration;

use common::{Rig, T0, bundle, code};
use kinglet_server::store::TargetClaim;
use postgres::{FIRST, Schema, shared_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn another_server_records_and_this_one_shows_all_the_same() {
    let Some(schema) = Schema::new("live_shared").await else { return };
    let elsewhere = schema.open().await;
    let claim = TargetClaim { target: "$pass".into(), owner: 7, lease_ms: 30_000, from_start: false };
    elsewhere.claim_target(claim).await.unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = async |name: &str| {
        Rig::start_on(shared_config(&schema.uri, dir.path(), name), schema.open().await).await
    };
    let (a, b) = (start(FIRST).await, start("b").await);
    let mut cellar = a.ready_device("cellar").await;
    // Up for a while: it has seen that another one records.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut stream = TcpStream::connect(b.addr).await.unwrap();
    stream.write_all(b"GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    stream.read_buf(&mut seen).await.unwrap();
    let code = code(&bundle("climate", 8), |_| [215, 40]);
    for (server, n) in [(&a, 0), (&b, 1), (&a, 2)] {
        server.post_frame(&cellar.window(T0 + n * 60_000, &code)).await;
    }
    let shown = async {
        while String::from_utf8_lossy(&seen).matches("event: readings").count() < 3 {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "the stream has ended");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.unwrap();
    let n_left = async || elsewhere.undecoded(None, 9).await.unwrap().len();
    assert_eq!(n_left().await, 3, "two servers record");

    elsewhere.release_target("$pass", 7).await.unwrap();
    let recorded = async {
        while n_left().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recorded).await.unwrap();
    let totals = elsewhere.totals(Some(cellar.short_id)).await.unwrap();
    assert_eq!((totals.windows, totals.readings), (3, 48));
    // Each was shown once.
    assert_eq!(String::from_utf8_lossy(&seen).matches("event: readings").count(), 3);
    a.stop().await;
    b.stop().await;
}
