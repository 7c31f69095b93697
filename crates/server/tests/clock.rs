//! The server's clock jumps by hours and years, back and forth, while frames come: nothing is lost, nothing is stored twice,
//! and each time is what its device knew, or is flagged as what the server thought.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::time::Duration;

use common::{Device, Rig, T0, bundle, code};
use kinglet_server::store::{AgeClock, TimeQuality};
use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{Millis, Time};

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;
const JUMPS: [i64; 8] = [HOUR, -HOUR, -HOUR, YEAR, -2 * YEAR, YEAR, -YEAR, HOUR];

/// A window by its counter: its time as the device says it, and as it is to be stored.
fn times(counter: u64, now: i64) -> (Time, i64, TimeQuality) {
    match counter % 4 {
        0 => (Time::unix(T0 + counter as i64 * 1000), T0 + counter as i64 * 1000, TimeQuality::Clock),
        1 => (Time::Age(5000), now - 5000, TimeQuality::Age),
        2 => (Time::Arrival, now, TimeQuality::Arrival),
        // The status has said that boot 1 began 5 s before T0; of boot 2 nobody has heard.
        _ => {
            let (boot, uptime) = (1 + (counter / 4 % 2) as u16, counter as i64 * 1000);
            let time = Time::Uptime { boot, uptime: Millis::new(uptime).unwrap() };
            match boot {
                1 => (time, T0 - 5000 + uptime, TimeQuality::Boot),
                _ => (time, now, TimeQuality::Uptime),
            }
        }
    }
}

async fn acked(rig: &Rig, device: &Device, frame: &[u8], counter: u64) {
    let answer = rig.post_frame(frame).await;
    assert_eq!(answer.status, 200, "window {counter}: {}", answer.text());
    assert!(device.open_ack(&answer.body).covers(Counter::new(counter).unwrap()), "window {counter}");
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

/// Whether retention has seen a clock about a year ahead.
async fn is_ahead(rig: &Rig) -> bool {
    let metrics = rig.get("/metrics").await.text();
    let name = "kinglet_retention_clock_ahead_seconds ";
    let seconds = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    seconds.parse::<i64>().unwrap() > YEAR / 1000 - 60
}

#[tokio::test]
async fn retention_waits_while_the_clock_stands_far_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("porch").await;
    let code = code(&bundle("climate", 8), |i| [200 + i as i32, 50]);
    let mut config = rig.core.config.clone();
    config.retention_days = 1;
    rig.clock.advance(-20 * HOUR);
    for _ in 0..4 {
        let counter = device.count();
        acked(&rig, &device, &device.window_as(counter, Time::Arrival, None, &code), counter).await;
    }
    rig.settle().await;
    rig.clock.advance(20 * HOUR + YEAR);
    rig.core.reload(&config);
    until("the jump is not seen", async || is_ahead(&rig).await).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.n_windows(&device).await, 4);
    // Set right, the windows are a little more than a day old.
    rig.clock.advance(8 * HOUR - YEAR);
    rig.core.reload(&config);
    until("retention does not go on", async || rig.n_windows(&device).await == 0).await;
    // Started by a clock that is ahead of what the store has seen.
    let counter = device.count();
    acked(&rig, &device, &device.window_as(counter, Time::Arrival, None, &code), counter).await;
    rig.settle().await;
    rig.core.store.keep_age_clock(AgeClock::at(T0 - YEAR)).await.unwrap();
    rig.stop().await;
    let rig = Rig::start_with(dir.path(), |config| config.retention_days = 1).await;
    until("the jump is not seen", async || is_ahead(&rig).await).await;
}

#[tokio::test]
async fn a_device_heard_in_the_future_can_be_silent() {
    let dir = tempfile::tempdir().unwrap();
    let rule = "[[alert]]\nkind = 'silent'\nafter_minutes = 10\n";
    let rig = Rig::start_with(dir.path(), |config| config.apply_text("test", rule).unwrap()).await;
    let look = || drop(rig.core.reload(&rig.core.config));
    let has_clock = async || rig.core.store.age_clock().await.unwrap().is_some();
    until("retention has not begun", has_clock).await;
    rig.clock.advance(YEAR);
    look();
    until("the jump is not seen", async || is_ahead(&rig).await).await;
    let mut device = rig.ready_device("porch").await;
    let counter = device.count();
    let frame = device.window_as(counter, Time::Arrival, None, &code(&bundle("climate", 8), |_| [200, 50]));
    acked(&rig, &device, &frame, counter).await;
    rig.settle().await;
    let seen = async || rig.core.store.device("porch").await.unwrap().unwrap().t_last_seen.unwrap();
    assert_eq!(seen().await, T0 + YEAR);
    rig.clock.set(T0 + HOUR);
    look();
    until("it was heard in the future", async || seen().await == T0 + HOUR).await;
    let n_alerts = async || rig.get("/v1/alerts").await.json()["alerts"].as_array().unwrap().len();
    assert_eq!(n_alerts().await, 0);
    rig.clock.advance(HOUR / 5);
    until("nobody misses it", async || n_alerts().await == 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_or_stored_twice_while_the_clock_jumps() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let model = bundle("climate", 8);
    let code = code(&model, |i| [200 + i as i32, 50]);
    let mut device = rig.ready_device_with("porch", &model).await;
    let mut expected = Vec::new();
    let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
    for jump in [0].into_iter().chain(JUMPS) {
        rig.clock.advance(jump);
        for _ in 0..8 {
            let counter = device.count();
            let (time, t_first, quality) = times(counter, rig.clock_ms());
            let frame = device.window_as(counter, time, None, &code);
            acked(&rig, &device, &frame, counter).await;
            expected.push((counter, t_first, quality));
            frames.push((counter, frame));
            rig.clock.advance(10);
        }
        // Acks that were lost before the jump: the same frames again.
        for (counter, frame) in &frames[frames.len() - 8..] {
            acked(&rig, &device, frame, *counter).await;
        }
        let answer = rig.get("/").await;
        assert_eq!(answer.status, 200, "the overview after {jump} ms");
    }
    // From before all of it.
    for (counter, frame) in &frames {
        acked(&rig, &device, frame, *counter).await;
    }
    let check = async || {
        let rows = rig.core.store.windows(device.short_id, i64::MIN, i64::MAX, 1000).await.unwrap();
        let mut stored: Vec<_> =
            rows.iter().map(|row| (row.origin.counter, row.t_first, row.t_quality)).collect();
        stored.sort_unstable();
        assert_eq!(stored, expected);
        assert!(rows.is_sorted_by_key(|row| row.t_first));
    };
    check().await;
    rig.settle().await;
    check().await;
    let totals = rig.core.store.totals(Some(device.short_id)).await.unwrap();
    assert_eq!(totals.windows, expected.len() as u64);
    // A device that has lost its keys meanwhile joins, whatever the clock says.
    for (nonce, jump) in [(2, -YEAR), (3, 2 * YEAR)] {
        rig.clock.advance(jump);
        device.join(rig.addr, nonce).await;
        assert_eq!(rig.post_frame(&device.status()).await.status, 200);
        let counter = device.count();
        let frame = device.window_as(counter, Time::unix(T0 + YEAR), None, &code);
        acked(&rig, &device, &frame, counter).await;
    }
    assert_eq!(rig.n_windows(&device).await, expected.len() + 2);
    rig.stop().await;
}
