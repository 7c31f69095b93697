//! Three stores on one PostgreSQL against one bare client that runs the same statements, in the same run.
//!
//! `KINGLET_TEST_POSTGRES=postgres://… cargo bench --features postgres --bench shared`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench speaks to people")]

#[path = "../tests/arrivals/mod.rs"]
mod arrivals;
#[path = "../tests/postgres/mod.rs"]
mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrivals::{T0, window};
use kinglet_server::store::*;
use kinglet_wire::counter::Counter;
use kinglet_wire::ranges::ReceivedRanges;
use postgres::Schema;

const N_STORES: usize = 3;
const N_DEVICES: u32 = 256;
const ROUND: Duration = Duration::from_secs(5);
const N_ROUNDS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut ours, mut bare) = (0.0, 0.0);
        for round in 0..N_ROUNDS {
            let Some(schema) = Schema::new("bench_shared").await else { return };
            let devices = devices(&*schema.open().await).await;
            let bare_rate = bare_client(&schema, &devices).await;
            let Some(schema) = Schema::new("bench_shared").await else { return };
            let rate = three_stores(&schema).await;
            println!("round {round}: bare client {bare_rate:.0} windows/s, three stores {rate:.0} windows/s");
            (ours, bare) = (ours + rate, bare + bare_rate);
        }
        println!(
            "three stores: {:.0} % of one bare client that runs the same statements",
            100.0 * ours / bare
        );
    });
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
                let outcomes = store.accept(vec![window(device, counter)]).await.unwrap();
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
            let (t_first, t_arrival, len, crc) = (all(T0 + counter * 1000), all(T0), all(60), all(12345));
            let quality = vec![0i16; group.len()];
            let blob = |bytes: &[u8]| vec![bytes.to_vec(); group.len()];
            let (bundle, tag, code) = (blob(&[7; 16]), blob(&counter.to_be_bytes()), blob(&[1; 5]));
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
