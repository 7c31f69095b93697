//! Three servers on one PostgreSQL, each a process that devices speak MQTT to, and three bare stores, against one bare client that
//! runs the same statements, in the same run.
//!
//! `KINGLET_TEST_POSTGRES=postgres://… cargo bench -p kinglet-server --features postgres --bench shared`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench speaks to people")]

#[path = "../tests/arrivals/mod.rs"]
mod arrivals;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "measure/load.rs"]
mod load;
mod measure;
#[path = "measure/packets.rs"]
mod packets;
#[path = "../tests/postgres/mod.rs"]
mod postgres;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arrivals::T0;
use common::Rig;
use kinglet_server::Config;
use kinglet_server::store::*;
use kinglet_wire::counter::Counter;
use kinglet_wire::ranges::ReceivedRanges;
use load::{CODE, Load, ROUND, Shape, To, prepare, run_load};
use postgres::{FIRST, Schema, shared_config};

const N_STORES: usize = 3;
const N_DEVICES: u32 = 256;
const N_ROUNDS: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["load", ref args @ ..] => load::publish(args),
        ["serve", uri, dir] => kinglet_server::runtime().unwrap().block_on(serve(uri, Path::new(dir))),
        // For a profiler: nothing but the servers under load.
        ["servers"] => kinglet_server::runtime().unwrap().block_on(servers_alone()),
        _ => kinglet_server::runtime().unwrap().block_on(compare()),
    }
}

async fn compare() {
    let (mut of_servers, mut of_stores, mut bare) = (0.0, 0.0, 0.0);
    for round in 0..N_ROUNDS {
        let Some(schema) = Schema::new("bench_shared").await else { return };
        let devices = devices(&*schema.open().await).await;
        let bare_rate = bare_client(&schema, &devices).await;
        let Some(schema) = Schema::new("bench_shared").await else { return };
        let stores_rate = three_stores(&schema).await;
        let Some(schema) = Schema::new("bench_shared").await else { return };
        let Load { rate, p99, .. } = three_servers(&schema).await;
        println!(
            "round {round}: bare client {bare_rate:.0} windows/s, three stores {stores_rate:.0}, three servers {rate:.0} \
             (PUBACK after {p99:.1} ms, 99 %)"
        );
        (of_servers, of_stores, bare) = (of_servers + rate, of_stores + stores_rate, bare + bare_rate);
    }
    println!(
        "three servers: {:.0} % of one bare client that runs the same statements (50 % wanted), three stores: {:.0} %",
        100.0 * of_servers / bare,
        100.0 * of_stores / bare
    );
}

async fn servers_alone() {
    let Some(schema) = Schema::new("bench_shared").await else { return };
    let Load { rate, p50, p99, .. } = three_servers(&schema).await;
    println!("three servers {rate:.0} windows/s, PUBACK after {p50:.1} ms (median), {p99:.1} ms (99 %)");
}

/// Sealed frames of 256 devices with one in flight each, spread over three processes.
async fn three_servers(schema: &Schema) -> Load {
    let dir = tempfile::tempdir().unwrap();
    let lanes = dir.path().join("lanes");
    // The devices join by a server that is gone before the others start.
    let rig = Rig::start_on(config(&schema.uri, dir.path(), FIRST), schema.open().await).await;
    prepare(&rig, &lanes, Shape { n_devices: N_DEVICES as usize, in_flight: 1, n_frames: 900 }).await;
    rig.stop().await;
    let servers: Vec<Server> =
        (0..N_STORES).map(|n| Server::start(schema, &dir.path().join(n.to_string()))).collect();
    let addrs: Vec<_> = servers.iter().map(|server| server.addr).collect();
    run_load(To::all_it_takes(&addrs), &lanes, 1).await
}

/// Serves MQTT beside others, until its input ends.
async fn serve(uri: &str, dir: &Path) {
    let store = PostgresStore::open(&uri.parse().unwrap()).await.unwrap();
    let rig = Rig::start_on(
        config(uri, dir.parent().unwrap(), dir.file_name().unwrap().to_str().unwrap()),
        Arc::new(store),
    )
    .await;
    println!("{}", rig.mqtt_addrs[0].unwrap());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    ended.await.unwrap().unwrap();
    rig.stop().await;
}

fn config(uri: &str, dir: &Path, name: &str) -> Config {
    let mut config = shared_config(uri, dir, name);
    config.mqtt = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config
}

struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(schema: &Schema, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &schema.uri])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, addr: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

async fn devices(store: &dyn Store) -> Vec<u32> {
    let mut devices = Vec::new();
    for n in 0..N_DEVICES {
        let (id, name) = (format!("device-{n}"), String::new());
        let new = NewDevice { id, name, wrapped_key: vec![0; 72], join_state: vec![], t_created: T0 };
        devices.push(store.add_device(new).await.unwrap().short_id);
    }
    devices
}

/// 256 devices with one window in flight each, hopping between three stores.
async fn three_stores(schema: &Schema) -> f64 {
    let mut stores = Vec::new();
    for _ in 0..N_STORES {
        stores.push(schema.open().await);
    }
    let stores: Arc<[Arc<dyn Store>]> = stores.into();
    let n = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + ROUND;
    let mut tasks = tokio::task::JoinSet::new();
    for device in devices(&*stores[0]).await {
        let (stores, n) = (stores.clone(), n.clone());
        tasks.spawn(async move {
            let mut counter = 0;
            while Instant::now() < end {
                let store = &stores[(counter as usize + device as usize) % N_STORES];
                let outcomes = store.accept(vec![measure::row(device, counter, &CODE)]).await.unwrap();
                assert_eq!(outcomes[0].verdict, Verdict::Stored);
                n.fetch_add(1, Ordering::Relaxed);
                counter += 1;
            }
        });
    }
    let begun = Instant::now();
    tasks.join_all().await;
    n.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// One connection, one window of each of 85 devices per commit (a third of 256, as each of three stores has), by the same
/// statements: lock, ranges, windows, ranges.
async fn bare_client(schema: &Schema, devices: &[u32]) -> f64 {
    let client = &schema.client;
    let lock = client
        .prepare(
            "SELECT short_id, t_revoked IS NOT NULL, status_generation, status_counter, join_version \
             FROM device WHERE short_id = ANY($1) ORDER BY short_id FOR NO KEY UPDATE",
        )
        .await
        .unwrap();
    let look = client
        .prepare(
            "SELECT r.device, r.generation, r.ranges FROM unnest($1::bigint[], $2::bigint[]) \
             AS k (device, generation) JOIN received r USING (device, generation)",
        )
        .await
        .unwrap();
    let insert = client
        .prepare("INSERT INTO stored_window (device, generation, counter, t_first, t_arrival, t_quality, frame_len, crc, \
             bundle, tag, code) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], \
             $5::bigint[], $6::smallint[], $7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[], $11::bytea[]) \
             ON CONFLICT DO NOTHING")
        .await
        .unwrap();
    let save = client
        .prepare("INSERT INTO received SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) \
             ON CONFLICT (device, generation) DO UPDATE SET highest = excluded.highest, ranges = excluded.ranges")
        .await
        .unwrap();
    let groups: Vec<Vec<i64>> = devices
        .chunks(N_DEVICES as usize / N_STORES)
        .map(|c| c.iter().map(|d| i64::from(*d)).collect())
        .collect();
    let (mut n, begun) = (0u64, Instant::now());
    let mut ranges = ReceivedRanges::new();
    for counter in 0i64.. {
        ranges.insert(Counter::new(counter as u64).unwrap());
        let mut bytes = vec![0; ranges.emit_len()];
        ranges.emit(&mut bytes).unwrap();
        for group in &groups {
            if begun.elapsed() > ROUND {
                return n as f64 / begun.elapsed().as_secs_f64();
            }
            let all = |value: i64| vec![value; group.len()];
            let (one, at) = (all(1), all(counter));
            let (t_first, t_arrival, len, crc) = (all(T0 + counter * 1000), all(T0), all(160), all(12345));
            let quality = vec![0i16; group.len()];
            let blob = |bytes: &[u8]| vec![bytes.to_vec(); group.len()];
            let (bundle, tag, code) = (blob(&[7; 16]), blob(&counter.to_be_bytes()), blob(&CODE));
            let saved = blob(&bytes);
            let (begin, locked, looked) = futures_util::future::join3(
                client.batch_execute("BEGIN"),
                client.query(&lock, &[group]),
                client.query(&look, &[group, &one]),
            )
            .await;
            begin.unwrap();
            assert_eq!(locked.unwrap().len(), group.len());
            looked.unwrap();
            let (inserted, kept) = futures_util::future::join(
                client.execute(
                    &insert,
                    &[group, &one, &at, &t_first, &t_arrival, &quality, &len, &crc, &bundle, &tag, &code],
                ),
                client.execute(&save, &[group, &one, &at, &saved]),
            )
            .await;
            assert_eq!(inserted.unwrap(), group.len() as u64);
            kept.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
            n += group.len() as u64;
        }
    }
    0.0
}
