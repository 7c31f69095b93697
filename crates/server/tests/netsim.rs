//! Real nodes and a real server over a seeded lossy link, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::{bundle, decimal, referring_bundle};
use kinglet_codec::bundle::Bundle;
use kinglet_node::{BufferLens, Buffers, Downlink, Identity, MemFlash, Node, SampleTime, What};
use kinglet_server::readings::{Value, decode_all, to_f64};
use kinglet_server::store::{SqliteStore, Store};
use kinglet_server::{Clock, Config, Core};
use kinglet_wire::keys::DeviceId;

const T0: i64 = 1_790_000_000_000;
const PERIOD_MS: u64 = 10_000;
const SECTOR_LEN: u32 = 512;

struct Virtual(AtomicI64);

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// xorshift64*: the same losses on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn hits(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

#[derive(Clone, Copy)]
struct World {
    loss_percent: u64,
    n_sectors: u32,
    /// Samples during which nothing gets through.
    outage: (u64, u64),
}

struct Seen {
    n_samples: u64,
    n_stored: usize,
    n_samples_stored: usize,
    windows_lost: u32,
    n_sent: u64,
    n_duplicates: u64,
    /// Of the frames that windows came in.
    frame_bytes: u32,
}

/// One device for `n_samples`, then time to drain.
async fn live(world: World, n_samples: u64, bundle: &Bundle) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("kinglet.db")).unwrap());
    let clock = Arc::new(Virtual(AtomicI64::new(T0)));
    let core = Core::new(Config::new(dir.path()), Arc::clone(&store), clock.clone()).unwrap();
    core.bundles.add(bundle.emit(), T0).await.unwrap();
    let (row, key) = core.registry.add("cellar", "", T0).await.unwrap();

    let model = bundle.model();
    let lens = BufferLens::of(&model);
    let (mut steps, mut workspace, mut code) =
        (vec![0; lens.steps], vec![0; lens.workspace], vec![0; lens.code]);
    let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let mut flash = MemFlash::new(vec![0xff; (SECTOR_LEN * world.n_sectors) as usize], SECTOR_LEN, 4);
    let identity = Identity { id: DeviceId::new("cellar").unwrap(), key };
    let mut node = Node::open(&mut flash, identity, model, buffers, kinglet_node::Config::default()).unwrap();
    let (mut dice, mut noise) = (Dice(7 + world.loss_percent), Dice(99));
    let mut random = |out: &mut [u8]| out.iter_mut().for_each(|b| *b = noise.roll() as u8);
    let mut frame = vec![0; node.frame_len_max()];
    let mut n_sent = 0;

    let drain = 2 * 24 * 360;
    for step in 0..n_samples + drain {
        let now = step * PERIOD_MS;
        if step < n_samples {
            let sample = [Some(truth(step, 0)), Some(truth(step, 1))];
            node.handle_sample(now, &mut flash, SampleTime::Now, &sample).unwrap();
        } else if step == n_samples {
            node.flush(now, &mut flash).unwrap();
        }
        // Whatever is due before the next sample.
        let mut at = now;
        while at < now + PERIOD_MS {
            clock.0.store(T0 + at as i64, Ordering::SeqCst);
            while let Some(sent) = node.poll_transmit(at, &mut flash, &mut random, &mut frame).unwrap() {
                n_sent += 1;
                let down = (world.outage.0..world.outage.1).contains(&step);
                if down || dice.hits(world.loss_percent) {
                    continue;
                }
                let answers = deliver(&core, sent.what, &frame[..sent.len]).await;
                for mut answer in answers {
                    if !dice.hits(world.loss_percent) {
                        let done = node.handle_downlink(at, &mut flash, &mut answer).unwrap();
                        assert!(!matches!(done, Downlink::Ignored(_)), "{done:?}");
                    }
                }
            }
            at = node.poll_at().unwrap_or(u64::MAX).max(at + 1);
        }
        if step > n_samples && node.stats().n_windows_waiting == 0 {
            break;
        }
    }
    let stats = node.stats();
    assert_eq!(stats.n_windows_waiting, 0, "the outbox does not drain at {} % loss", world.loss_percent);

    let windows = store.windows(row.short_id, 0, i64::MAX, 1_000_000).await.unwrap();
    let (n_stored, frame_bytes) = (windows.len(), windows.iter().map(|window| window.frame_len).sum());
    let n_samples_stored = check_readings(&core, windows).await;
    let totals = store.totals(Some(row.short_id)).await.unwrap();
    assert_eq!(totals.windows as usize, n_stored);
    let (windows_lost, n_duplicates) = (stats.windows_lost, totals.duplicates);
    Seen { n_samples, n_stored, n_samples_stored, windows_lost, n_sent, n_duplicates, frame_bytes }
}

async fn deliver(core: &Core, what: What, frame: &[u8]) -> Vec<Vec<u8>> {
    match what {
        What::Join => core.join(frame).await.into_iter().collect(),
        _ => core.ingest(&[frame]).await.unwrap().downlinks,
    }
}

/// Every stored reading: at its own time, once, within the bound.
async fn check_readings(core: &Core, windows: Vec<kinglet_server::store::WindowRow>) -> usize {
    let decoded = decode_all(&core.bundles, windows).await.unwrap();
    let mut times = std::collections::BTreeSet::new();
    for (_, readings) in decoded {
        let readings = readings.unwrap();
        for (t_ms, values) in readings.samples() {
            assert!(times.insert(t_ms), "{t_ms} is stored twice");
            let step = (t_ms - T0) as u64 / PERIOD_MS;
            for (channel, value) in values.iter().enumerate() {
                let Value::Number(number) = value else { panic!("{value:?}") };
                let error = (to_f64(*number) - to_f64(truth(step, channel))).abs();
                assert!(
                    error <= to_f64(readings.channels[channel].bound) + 1e-9,
                    "off by {error} at step {step}"
                );
            }
        }
    }
    times.len()
}

fn truth(step: u64, channel: usize) -> kinglet_codec::Decimal {
    let wave = (step as f64 / 60.0).sin();
    match channel {
        0 => decimal(&format!("{:.1}", 21.0 + 4.0 * wave)),
        _ => decimal(&format!("{:.0}", 45.0 - 8.0 * wave)),
    }
}

// A window may be stored, its acks lost, and the outbox full: then it is stored and counted as lost.
const TABLE: &str = "\
loss % | sectors | samples stored | windows stored | lost | frames sent | came twice
     0 |       4 |            220 |             28 |   10 |         282 |          0
     0 |      16 |            300 |             38 |    0 |         289 |          0
    10 |       4 |            220 |             28 |   10 |         291 |          3
    10 |      16 |            300 |             38 |    0 |         297 |          1
    30 |       4 |            220 |             28 |   10 |         299 |          2
    30 |      16 |            300 |             38 |    0 |         314 |          8
    60 |       4 |            180 |             23 |   15 |         342 |         10
    60 |      16 |            300 |             38 |    0 |         374 |         10
";

#[tokio::test]
async fn nothing_is_lost_but_what_the_outbox_cannot_hold() {
    let mut table = String::from(
        "loss % | sectors | samples stored | windows stored | lost | frames sent | came twice\n",
    );
    for loss_percent in [0, 10, 30, 60] {
        for n_sectors in [4, 16] {
            let world = World { loss_percent, n_sectors, outage: (40, 260) };
            let seen = live(world, 300, &bundle("climate", 8)).await;
            table += &format!(
                "{loss_percent:>6} | {n_sectors:>7} | {:>14} | {:>14} | {:>4} | {:>11} | {:>10}\n",
                seen.n_samples_stored, seen.n_stored, seen.windows_lost, seen.n_sent, seen.n_duplicates
            );
            let n_missing = seen.n_samples - seen.n_samples_stored as u64;
            // Windows have at most 8 samples.
            assert!(n_missing <= u64::from(seen.windows_lost) * 8, "{n_missing} samples missing\n{table}");
            assert!(seen.windows_lost > 0 || n_missing == 0, "{table}");
        }
    }
    assert_eq!(table, TABLE, "\n{table}");
}

#[tokio::test]
async fn windows_that_refer_arrive_like_any_other_in_fewer_bytes() {
    for loss_percent in [0, 5, 30] {
        let world = World { loss_percent, n_sectors: 16, outage: (40, 90) };
        let alone = live(world, 300, &bundle("climate", 8)).await;
        let after = live(world, 300, &referring_bundle("climate", 8)).await;
        assert_eq!((alone.n_samples_stored, after.n_samples_stored), (300, 300));
        assert_eq!((after.windows_lost, after.n_stored), (0, alone.n_stored));
        assert!(after.frame_bytes + 40 < alone.frame_bytes, "{} {}", after.frame_bytes, alone.frame_bytes);
    }
}
