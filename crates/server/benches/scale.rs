//! What the embedded store costs as it grows from 10,000 to 10,000,000 windows: CPU and wall time for each frame under the
//! same load, and how long one day of one device takes to be read.
//!
//! `cargo bench -p kinglet-server --bench scale`; with `1000000` behind `--` only up to that many windows. The largest
//! takes 3 GB in `target` while it runs.
#![allow(clippy::print_stdout, reason = "a bench speaks to people")]

#[path = "../tests/arrivals/mod.rs"]
mod arrivals;
#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Rig, T0, bundle, code};
use kinglet_server::store::{Arrival, Content};
use measure::{add_devices, cpu_s};

const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const N_DEVICES: u64 = 256;
/// Windows of each device in one transaction of the filling.
const FILL: u64 = 16;
/// Frames of one measurement, from so many senders, so many in a request.
const LOAD: u64 = 65_536;
const SENDERS: u64 = 16;
const REQUEST: u64 = 16;
/// Eight samples, ten seconds apart: a day has 1080 windows of a device.
const WINDOW_MS: i64 = 80_000;
const DAY_MS: i64 = 86_400_000;

fn main() {
    let n_max = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(grow(n_max));
}

async fn grow(n_max: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a place");
    let rig = Rig::start(dir.path()).await;
    let model = bundle("climate", 8);
    let window = Window {
        bundle: rig.add_bundle(&model).await,
        code: code(&model, |i| [200 + (i as i32 * 7) % 5, 50 + (i as i32 * 3) % 4]),
        devices: add_devices(rig.core.store.as_ref(), N_DEVICES as usize).await,
    };
    let window = Arc::new(window);
    println!(
        "{N_DEVICES} devices; rows of {} bytes of code; {SENDERS} senders x {REQUEST} frames",
        window.code.len()
    );
    rig.stop().await;
    let (mut n, mut first) = (0, None);
    for size in SIZES.into_iter().filter(|size| *size <= n_max) {
        let rig = Rig::start(dir.path()).await;
        let begun = Instant::now();
        fill(&rig, &window, &mut n, size).await;
        let filled_s = begun.elapsed().as_secs_f64();
        rig.stop().await;
        let (reads, rig) = read_a_day(dir.path(), n).await;
        let (cpu_us, wall_us) = load(&rig, &window, &mut n).await;
        rig.stop().await;
        let base = *first.get_or_insert(cpu_us);
        println!(
            "{size:>8} windows, {:>6.1} MB (filled in {filled_s:.0} s): {cpu_us:.1} us CPU, {wall_us:.1} us each frame; {:.2} of the CPU at \
             the first size",
            file_mb(dir.path()),
            cpu_us / base
        );
        println!("         {reads}");
    }
    println!("at most 1.5 of the CPU, and a day in less than 50 ms wanted");
}

/// What all windows have in common.
struct Window {
    bundle: [u8; 16],
    code: Vec<u8>,
    devices: Vec<u32>,
}

impl Window {
    /// The next window of all devices is number `n / N_DEVICES` of one of them.
    fn arrival(&self, n: u64) -> Arrival {
        let (device, counter) = (self.devices[(n % N_DEVICES) as usize], n / N_DEVICES);
        let mut arrival = arrivals::window(device, counter);
        let (at, bytes) = (T0 + counter as i64 * WINDOW_MS, self.code.clone());
        // A tag has 16 bytes, different ones each time.
        arrival.tag = [n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), n.to_be_bytes()].concat();
        arrival.t_arrival = at + WINDOW_MS;
        if let Content::Window { t_first, bundle, code, .. } = &mut arrival.content {
            (*t_first, *bundle, *code) = (at, self.bundle, bytes);
        }
        arrival
    }
}

/// Stores until there are `size` windows, all of them filed.
async fn fill(rig: &Rig, window: &Window, n: &mut u64, size: u64) {
    let size = size.next_multiple_of(N_DEVICES);
    while *n < size {
        let batch = (FILL * N_DEVICES).min(size - *n);
        let rows = (*n..*n + batch).map(|n| window.arrival(n)).collect();
        rig.core.store.accept(rows).await.expect("they are stored");
        *n += batch;
    }
    settle(rig).await;
}

/// Waits for the background pass, however far it is behind.
async fn settle(rig: &Rig) {
    while !rig.core.store.undecoded(None, 1).await.expect("an answer").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Microseconds of CPU and of time for each of [`LOAD`] frames, from its arrival until it is filed.
async fn load(rig: &Rig, window: &Arc<Window>, n: &mut u64) -> (f64, f64) {
    let (cpu, begun) = (cpu_s(), Instant::now());
    let senders = (0..SENDERS).map(|sender| {
        let (store, window, first) = (Arc::clone(&rig.core.store), Arc::clone(window), *n);
        tokio::spawn(async move {
            // Each has devices of its own and sends some windows of one of them at a time.
            let mine = N_DEVICES / SENDERS;
            for request in 0..LOAD / SENDERS / REQUEST {
                let (device, turn) = (sender * mine + request % mine, request / mine);
                let number = |i| first + (turn * REQUEST + i) * N_DEVICES + device;
                let rows = (0..REQUEST).map(|i| window.arrival(number(i))).collect();
                store.accept(rows).await.expect("they are stored");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("a sender");
    }
    let wall = begun.elapsed();
    settle(rig).await;
    *n += LOAD;
    let each = |seconds: f64| 1e6 * seconds / LOAD as f64;
    (each(cpu_s() - cpu), each(wall.as_secs_f64()))
}

/// One day from the middle, or all there is of it: from the disk, then from memory, then by HTTP.
async fn read_a_day(dir: &Path, n: u64) -> (String, Rig) {
    let file = dir.join("kinglet.db");
    // What the system has of the file in memory goes, where `dd` can say so; the store itself begins with nothing.
    let input = format!("if={}", file.display());
    let is_cold = Command::new("dd").args([&input, "iflag=nocache", "count=0", "status=none"]).status();
    let begun = Instant::now();
    let rig = Rig::start(dir).await;
    let opened_ms = ms(begun);
    let middle = T0 + (n / N_DEVICES / 2) as i64 * WINDOW_MS;
    let from = (middle - DAY_MS / 2).max(T0);
    let mut said = String::new();
    let mut n_windows = 0;
    for name in [if is_cold.is_ok_and(|s| s.success()) { "cold" } else { "first" }, "again"] {
        let begun = Instant::now();
        let rows = rig.core.store.windows(17, from, from + DAY_MS, 20_000).await.expect("rows");
        said += &format!("{name} {:.1} ms, ", ms(begun));
        n_windows = rows.len();
    }
    for device in ["device-40", "device-40"] {
        let begun = Instant::now();
        let path = format!("/v1/devices/{device}/readings?from={from}&to={}&limit=100000", from + DAY_MS);
        let answer = rig.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        said += &format!("by HTTP {:.1} ms ({} kB), ", ms(begun), answer.body.len() / 1000);
    }
    let begun = Instant::now();
    assert_eq!(rig.get("/").await.status, 200);
    (
        format!(
            "a day ({n_windows} windows): {said}the overview {:.1} ms; opened in {opened_ms:.0} ms",
            ms(begun)
        ),
        rig,
    )
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn file_mb(dir: &Path) -> f64 {
    std::fs::metadata(dir.join("kinglet.db")).map_or(0.0, |file| file.len() as f64 / 1e6)
}
