//! A dashboard with something to look at: four devices, two days of invented readings, one of them with a gap,
//! one revoked, one never heard. For looking at the pages, by eye or by a browser in a test.
//!
//! Prints the address, then serves until its input ends. `--empty` begins without any device.
#![allow(clippy::print_stdout, reason = "a program for people")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Rig, T0, bundle, code};

const WINDOW_MS: i64 = 32 * 10_000;
const N_WINDOWS: i64 = 2 * 86_400_000 / WINDOW_MS;

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a place for the store");
    let rig = Rig::start(dir.path()).await;
    if !std::env::args().any(|arg| arg == "--empty") {
        fill(&rig).await;
    }
    println!("http://{}", rig.addr);
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
    rig.stop().await;
}

async fn fill(rig: &Rig) {
    let bundle = bundle("climate", 32);
    for (n, id) in ["cellar", "greenhouse", "attic-north-window", "workshop"].into_iter().enumerate() {
        let fingerprint = rig.add_bundle(&bundle).await;
        let mut device = rig.add_device(id).await;
        device.fingerprint = fingerprint;
        device.join(rig.addr, 1).await;
        let status = device.status();
        rig.post_frame(&status).await;
        let mut frames = Vec::new();
        for i in 0..N_WINDOWS {
            let t_first = T0 - (N_WINDOWS - i) * WINDOW_MS - 40_000 * n as i64;
            let code = code(&bundle, |k| climate(n, t_first + k as i64 * 10_000));
            // The greenhouse was out of reach and out of memory for a while.
            let frame = device.window(t_first, &code);
            if !(n == 1 && (500..512).contains(&i)) {
                frames.push(frame);
            }
        }
        for chunk in frames.chunks(500) {
            rig.post_frames(chunk).await;
        }
        rig.post_frame(frames.last().expect("two days of frames")).await;
    }
    rig.add_device("balcony").await;
    rig.core.registry.revoke("workshop", T0 - 60_000).await.expect("it is there");
    rig.post_frame(&[0; 40]).await;
    rig.settle().await;
}

/// Tenths of a degree and percent: a day's wave, a heating's teeth, and a sensor's noise.
fn climate(n: usize, t_ms: i64) -> [i32; 2] {
    let hours = t_ms as f64 / 3_600_000.0;
    let day = (hours / 24.0 * std::f64::consts::TAU).sin();
    let teeth = (hours * 1.7 + n as f64).fract() * 8.0;
    let mut noise = (t_ms / 10_000) as u64 ^ (n as u64) << 40;
    noise = noise.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ noise >> 29;
    let noise = (noise.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 62) as f64 - 1.5;
    let temperature = [120.0, 215.0, -35.0, 190.0][n] + day * [6.0, 70.0, 50.0, 20.0][n] + teeth + noise;
    [temperature as i32, (52.0 - day * 9.0 + noise) as i32]
}
