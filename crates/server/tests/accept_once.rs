//! A frame is taken once and acked only when it is on disk, whatever the network and the attacker do.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Rig, T0, bundle, code};
use kinglet_server::store::{Store, day_of};
use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{AckFlags, Time};

fn counter(n: u64) -> Counter {
    Counter::new(n).unwrap()
}

fn some_code() -> Vec<u8> {
    code(&bundle("climate", 8), |i| [210 + i as i32, 40])
}

#[tokio::test]
async fn a_window_is_stored_acked_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let frame = device.window(T0, &some_code());
    let answer = rig.post_frame(&frame).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ack = device.open_ack(&answer.body);
    assert!(ack.covers(counter(0)) && ack.covers(counter(1)) && !ack.covers(counter(2)));
    assert_eq!((ack.server_time.get(), ack.flags), (T0, AckFlags::default()));
    let readings = rig.get("/v1/devices/cellar/readings").await.json();
    assert_eq!(
        readings["channels"][0],
        serde_json::json!({"name": "temperature", "unit": "°C", "bound": 0.2})
    );
    let rows = readings["readings"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["t"], T0 + 10_000 * i as i64);
        let error = row["values"][0].as_f64().unwrap() - (21.0 + i as f64 / 10.0);
        assert!(error.abs() < 0.2 + 1e-9, "{row}");
        assert_eq!(row["values"][1], 40);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_replay_of_any_frame_is_a_success_that_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let frames: Vec<_> = (0..5).map(|i| device.window(T0 + i * 80_000, &some_code())).collect();
    for frame in frames.iter().chain(frames.last()).chain(&frames) {
        let answer = rig.post_frame(frame).await;
        assert_eq!(answer.status, 200);
        assert!(device.open_ack(&answer.body).run > 0);
    }
    assert_eq!(rig.n_windows(&device).await, 5);
    let totals = rig.core.store.totals(Some(device.short_id)).await.unwrap();
    assert_eq!((totals.windows, totals.duplicates), (5, 6));
    rig.stop().await;
    // After a restart, too.
    let rig = Rig::start(dir.path()).await;
    for frame in &frames {
        let answer = rig.post_frame(frame).await;
        assert_eq!(answer.status, 200);
        assert!(device.open_ack(&answer.body).covers(counter(5)));
    }
    assert_eq!(rig.n_windows(&device).await, 5);
    rig.stop().await;
}

#[tokio::test]
async fn order_does_not_matter_within_and_beyond_64() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let code = some_code();
    let frames: Vec<_> = (0..200).map(|i| device.window(T0 + i * 80_000, &code)).collect();
    // n + 1 before n, then the last far ahead, then the rest backwards.
    for i in [1, 0, 199].into_iter().chain((2..199).rev()) {
        let answer = rig.post_frame(&frames[i]).await;
        assert_eq!(answer.status, 200);
        assert!(device.open_ack(&answer.body).covers(counter(i as u64 + 1)), "{i}");
    }
    assert_eq!(rig.n_windows(&device).await, 200);
    let answer = rig.post_frame(&frames[7]).await;
    let ack = device.open_ack(&answer.body);
    assert_eq!((ack.base, ack.run), (counter(0), 201));
    rig.stop().await;
}

#[tokio::test]
async fn many_at_once_need_one_ack() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let (mut a, mut b) = (rig.ready_device("a").await, rig.ready_device("b").await);
    let mut frames: Vec<_> = (0..40).map(|i| a.window(T0 + i * 80_000, &some_code())).collect();
    frames.push(b.window(T0, &some_code()));
    frames.push(frames[0].clone());
    frames.push(vec![0; 40]);
    let answer = rig.post_frames(&frames).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("kinglet-refused").as_deref(), Some("malformed;n=1"));
    let (len, rest) = answer.body.split_first_chunk::<2>().unwrap();
    let (first, rest) = rest.split_at(u16::from_be_bytes(*len).into());
    assert!(a.open_ack(first).covers(counter(40)));
    assert!(b.open_ack(&rest[2..]).covers(counter(1)));
    assert_eq!((rig.n_windows(&a).await, rig.n_windows(&b).await), (40, 1));
    rig.stop().await;
}

#[tokio::test]
async fn the_same_counter_with_other_bytes_is_never_acked() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let device = rig.ready_device("cellar").await;
    let kept = device.window_as(1, Time::unix(T0), None, b"one");
    let other = device.window_as(1, Time::unix(T0), None, b"two");
    assert_eq!(rig.post_frame(&kept).await.status, 200);
    let answer = rig.post_frame(&other).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.header("kinglet-refused").as_deref(), Some("counter_reuse;n=1"));
    let ack = device.open_ack(&answer.body);
    assert!(ack.run == 0 && ack.bitmap == 0 && ack.flags.has(AckFlags::JOIN_WANTED));
    // The counter of the status frame, too.
    let answer = rig.post_frame(&device.window_as(0, Time::unix(T0), None, b"three")).await;
    assert_eq!(answer.status, 409);
    let windows = rig.core.store.windows(device.short_id, 0, i64::MAX, 10).await.unwrap();
    assert_eq!(windows.iter().map(|w| w.code.clone()).collect::<Vec<_>>(), [b"one"]);
    let day = day_of(T0);
    let rejects = rig.core.store.rejects(day, day).await.unwrap();
    assert_eq!((rejects[0].reason.as_str(), rejects[0].n), ("counter_reuse", 2));
    rig.stop().await;
}

#[tokio::test]
async fn sealed_again_is_stored_once_per_origin() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let first = device.window_as(1, Time::unix(T0), None, b"one");
    assert_eq!(rig.post_frame(&first).await.status, 200);
    device.join(rig.addr, 2).await;
    // The ack of `first` was lost: the same window comes under the new generation.
    let again = device.window_as(0, Time::unix(T0), Some((1, 1)), b"one");
    for _ in 0..2 {
        let answer = rig.post_frame(&again).await;
        assert_eq!(answer.status, 200);
        assert!(device.open_ack(&answer.body).covers(counter(0)));
    }
    assert_eq!(rig.n_windows(&device).await, 1);
    // A window whose first frame never arrived is stored, and only once however often it is sealed.
    for (counter, nonce) in [(1, 0), (2, 0), (0, 3)] {
        if nonce > 0 {
            device.join(rig.addr, nonce).await;
        }
        let frame = device.window_as(counter, Time::unix(T0 + 1), Some((1, 2)), b"two");
        assert_eq!(rig.post_frame(&frame).await.status, 200);
    }
    assert_eq!(rig.n_windows(&device).await, 2);
    // Other content under a known origin is a counter used twice.
    let other = device.window_as(1, Time::unix(T0), Some((1, 1)), b"other");
    assert_eq!(rig.post_frame(&other).await.status, 409);
    // A counter that was spent on a window sealed again is spent for new windows, too.
    let reuse = device.window_as(0, Time::unix(T0), None, b"new");
    assert_eq!(rig.post_frame(&reuse).await.status, 409);
    assert_eq!(rig.n_windows(&device).await, 2);
    rig.stop().await;
}

#[tokio::test]
async fn every_flipped_bit_and_every_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let frame = device.window(T0, b"code");
    let mut bad: Vec<Vec<u8>> = (0..frame.len() * 8)
        .map(|bit| {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
        .collect();
    bad.extend((0..frame.len()).map(|len| frame[..len].to_vec()));
    bad.extend((1..5).map(|n| [&frame[..], &vec![0; n]].concat()));
    for bytes in bad.chunks(100) {
        let refused: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let answer = rig.core.ingest(&refused).await.unwrap();
        assert_eq!((answer.n_stored, answer.refused.len()), (0, bytes.len()));
    }
    assert_eq!(rig.n_windows(&device).await, 0);
    // All of that has not hurt the device.
    assert_eq!(rig.post_frame(&frame).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn counters_may_jump_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let device = rig.ready_device("cellar").await;
    // Far behind 2^32 a lone low counter is read as the nearest to the highest, and does not open.
    for (n, expected) in [(1 << 16, 200), (5, 200), ((1 << 31) - 2, 200), (6, 200), (1 << 32, 200), (7, 403)]
    {
        let answer = rig.post_frame(&device.window_as(n, Time::unix(T0), None, b"code")).await;
        assert_eq!(answer.status, expected, "{n}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_stopped_server_has_answered_and_written_everything() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let frames: Vec<_> = (0..50).map(|i| device.window(T0 + i, b"code")).collect();
    let addr = rig.addr;
    let senders: Vec<_> = frames
        .iter()
        .cloned()
        .map(|frame| {
            tokio::spawn(async move { common::request(addr, "POST", "/v1/frames", &[], &frame).await })
        })
        .collect();
    let short_id = device.short_id;
    while rig.n_windows(&device).await < 5 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    rig.stop().await;
    let mut n_acked = 0;
    for sender in senders {
        n_acked += usize::from(sender.await.is_ok_and(|answer| answer.status == 200));
    }
    let store = kinglet_server::store::SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
    let n_stored = store.windows(short_id, 0, i64::MAX, 1000).await.unwrap().len();
    assert!(n_stored >= n_acked, "{n_stored} stored, {n_acked} acked");
    assert!(n_acked > 0);
}
