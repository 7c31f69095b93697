//! What refers to an earlier window is stored alone, and acked only if it can be read.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Rig, T0, code, referring_bundle};
use kinglet_codec::bundle::Bundle;
use kinglet_codec::{Reference, Window, decode, encode_after};
use kinglet_server::store::FrameId;
use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{AckFlags, Time};

const WINDOW_MS: i64 = 80_000;

/// The window after the one of `before`: its code that refers, and the one that stands alone.
fn code_after(bundle: &Bundle, before: &[u8], distance: u8, level: i32) -> (Vec<u8>, Vec<u8>) {
    let model = bundle.model();
    let (mut workspace, mut tail) = (vec![0; model.workspace_len()], vec![0; 16]);
    decode(&model, before, &mut workspace, &mut tail).unwrap();
    let steps: Vec<i32> = (0..8).flat_map(|i| [level + i % 2, 40]).collect();
    let window = Window { steps: &steps, off_grid: false };
    let mut out = vec![0; 2 * model.code_len_max()];
    let reference = Reference { tail: &tail, distance };
    let made = encode_after(&model, reference, window, &mut workspace, &mut out).unwrap().unwrap();
    let (refers, rest) = out.split_at(made.code_len);
    (refers.to_vec(), rest[..made.alone_len].to_vec())
}

fn counter(n: u64) -> Counter {
    Counter::new(n).unwrap()
}

#[tokio::test]
async fn what_refers_is_stored_alone_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = referring_bundle("climate", 8);
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device_with("cellar", &bundle).await;
    // Window i is sealed under counter i + 1: the status came first.
    let mut codes = vec![code(&bundle, |_| [210, 40])];
    assert_eq!(rig.post_frame(&device.window(T0, &codes[0])).await.status, 200);
    for i in 1..4 {
        let (refers, alone) = code_after(&bundle, &codes[i - 1], 1, 210 + 2 * i as i32);
        assert!(refers.len() < alone.len());
        let answer = rig.post_frame(&device.window(T0 + i as i64 * WINDOW_MS, &refers)).await;
        assert!(device.open_ack(&answer.body).covers(counter(i as u64 + 1)));
        codes.push(alone);
    }
    rig.stop().await;
    // Nothing is remembered in memory; and the one before the last can be meant as well.
    let rig = Rig::start(dir.path()).await;
    let (refers, alone) = code_after(&bundle, &codes[2], 2, 216);
    let frame = device.window(T0 + 4 * WINDOW_MS, &refers);
    codes.push(alone);
    for _ in 0..2 {
        let answer = rig.post_frame(&frame).await;
        assert_eq!((answer.status, device.open_ack(&answer.body).covers(counter(5))), (200, true));
    }
    let rows = rig.core.store.windows(device.short_id, 0, i64::MAX, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.code.clone()).collect::<Vec<_>>(), codes);
    let readings = rig.get("/v1/devices/cellar/readings").await.json();
    assert_eq!(readings["readings"].as_array().unwrap().len(), 40);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_acked_and_welcome_alone() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = referring_bundle("climate", 8);
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device_with("cellar", &bundle).await;
    let first = code(&bundle, |_| [210, 40]);
    let sent = device.window(T0, &first);
    assert_eq!(rig.post_frame(&sent).await.status, 200);
    // To a window of the same bundle that never came, and beyond the first of all counters.
    for (number, distance) in [(9, 3), (2, 4)] {
        let (refers, _) = code_after(&bundle, &first, distance, 212);
        let frame = device.window_as(number, Time::unix(T0 + WINDOW_MS), None, &refers);
        let answer = rig.post_frame(&frame).await;
        assert_eq!(answer.header("kinglet-refused").as_deref(), Some("unknown_reference;n=1"));
        let ack = device.open_ack(&answer.body);
        assert!(ack.flags == AckFlags::REFERENCE_UNKNOWN && ack.run == 0 && ack.bitmap == 0);
    }
    // Sealed again, alone, it is taken; and the first frame, late and readable now, is known.
    let (refers, alone) = code_after(&bundle, &first, 1, 212);
    let first_frame = device.window_as(2, Time::unix(T0 + WINDOW_MS), None, &refers);
    let again = device.window_as(3, Time::unix(T0 + WINDOW_MS), Some((1, 2)), &alone);
    for (frame, number) in [(&again, 3), (&again, 3), (&first_frame, 2), (&first_frame, 2)] {
        let answer = rig.post_frame(frame).await;
        assert_eq!((answer.status, device.open_ack(&answer.body).covers(counter(number))), (200, true));
    }
    assert_eq!(rig.n_windows(&device).await, 2);
    // The same number for another window stays what it is.
    let (other, _) = code_after(&bundle, &first, 1, 260);
    let other = device.window_as(2, Time::unix(T0 + WINDOW_MS), None, &other);
    assert_eq!(rig.post_frame(&other).await.header("kinglet-refused").as_deref(), Some("counter_reuse;n=1"));
    // What retention has taken nothing can refer to.
    rig.settle().await;
    assert_eq!(rig.core.store.forget(i64::MAX, 500).await.unwrap(), 2);
    let number = FrameId { generation: 1, counter: 1 };
    assert!(rig.core.store.window(device.short_id, number).await.unwrap().is_none());
    rig.stop().await;
}
