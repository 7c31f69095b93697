//! Readings on their way to others: a target that is away delays and loses nothing, and nobody else waits for it.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use common::{Device, Rig, T0, bundle, code};
use kinglet_server::Config;

/// A target in this process.
#[derive(Default)]
struct Fake {
    /// What it answers from now on, and after so many bodies it took.
    status: AtomicU16,
    takes: AtomicU16,
    bodies: Mutex<Vec<(HeaderMap, String)>>,
    n_asked: AtomicU16,
}

impl Fake {
    async fn start(status: u16) -> (Arc<Self>, String) {
        let fake = Arc::new(Self { status: status.into(), takes: u16::MAX.into(), ..Self::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::clone(&fake);
        let router =
            Router::new().fallback(async move |headers: HeaderMap, body: Bytes| asked.answer(headers, &body));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (fake, url)
    }

    fn answer(&self, headers: HeaderMap, body: &[u8]) -> (StatusCode, &'static str) {
        self.n_asked.fetch_add(1, Ordering::SeqCst);
        let body = String::from_utf8(body.to_vec()).unwrap();
        if body.contains("device=bad") {
            return (StatusCode::BAD_REQUEST, "partial write: field type conflict\nsecond line");
        }
        let mut status = StatusCode::from_u16(self.status.load(Ordering::SeqCst)).unwrap();
        let mut bodies = self.bodies.lock().unwrap();
        if bodies.len() >= usize::from(self.takes.load(Ordering::SeqCst)) {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        if status.is_success() {
            bodies.push((headers, body));
        }
        (status, "")
    }

    /// The ids of the windows it took, in order.
    fn windows(&self) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        let id = |body: &str| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            format!("{}/{}", body["device"].as_str().unwrap(), body["window"].as_str().unwrap())
        };
        bodies.iter().map(|(_, body)| id(body)).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.bodies
            .lock()
            .unwrap()
            .iter()
            .flat_map(|(_, body)| body.lines().map(String::from).collect::<Vec<_>>())
            .collect()
    }
}

fn section(text: String) -> impl FnOnce(&mut Config) {
    move |config| config.apply_text("test", &text).unwrap()
}

async fn rig(dir: &Path, text: &str) -> Rig {
    Rig::start_with(dir, section(text.into())).await
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends windows with these numbers and gives the ids they have elsewhere.
async fn send(rig: &Rig, device: &mut Device, n: usize) -> Vec<String> {
    let code = code(&bundle("climate", 8), |i| [200 + i as i32, 40]);
    let mut ids = Vec::new();
    for _ in 0..n {
        ids.push(format!("{}/{}-{}", device.id, device.generation, device.next));
        let frame = device.window(T0 + 80_000 * device.next as i64, &code);
        assert_eq!(rig.post_frame(&frame).await.status, 200);
    }
    ids
}

#[tokio::test]
async fn a_dead_target_delays_and_loses_nothing_and_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, url) = Fake::start(503).await;
    let rig = rig(dir.path(), &format!("[[forward]]\nkind = 'webhook'\nurl = '{url}/x'")).await;
    let (mut a, mut b) = (rig.ready_device("a").await, rig.ready_device("b").await);
    let start = Instant::now();
    let mut sent = send(&rig, &mut a, 20).await;
    until("it is asked", || fake.n_asked.load(Ordering::SeqCst) > 0).await;
    sent.extend(send(&rig, &mut b, 20).await);
    assert!(start.elapsed() < Duration::from_secs(10), "ingest waited");
    assert_eq!(fake.windows(), [""; 0]);
    fake.status.store(204, Ordering::SeqCst);
    until("all of it comes", || fake.windows().len() >= 40).await;
    sent.extend(send(&rig, &mut a, 1).await);
    until("what is new comes", || fake.windows().len() >= 41).await;
    assert_eq!(fake.windows(), sent);
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_midway_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, url) = Fake::start(200).await;
    fake.takes.store(7, Ordering::SeqCst);
    let text = format!("[[forward]]\nkind = 'webhook'\nurl = '{url}'");
    let first = rig(dir.path(), &text).await;
    let mut device = first.ready_device("a").await;
    let mut sent = send(&first, &mut device, 12).await;
    until("it took seven", || fake.windows().len() == 7).await;
    until("it was asked for the eighth", || fake.n_asked.load(Ordering::SeqCst) > 7).await;
    first.stop().await;
    fake.takes.store(u16::MAX, Ordering::SeqCst);
    let second = rig(dir.path(), &text).await;
    device.next = 13;
    sent.extend(send(&second, &mut device, 3).await);
    until("the rest comes", || fake.windows().len() >= 15).await;
    assert_eq!(fake.windows(), sent);
    second.stop().await;
}

#[tokio::test]
async fn what_is_stored_already_comes_first_where_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let before = rig(dir.path(), "").await;
    let mut device = before.ready_device("a").await;
    let mut sent = send(&before, &mut device, 5).await;
    before.stop().await;
    let (all, all_url) = Fake::start(200).await;
    let (new, new_url) = Fake::start(200).await;
    let text = format!(
        "[[forward]]\nkind = 'webhook'\nname = 'all'\nurl = '{all_url}'\nhistory = true\n\
         [[forward]]\nkind = 'webhook'\nname = 'new'\nurl = '{new_url}'"
    );
    let rig = rig(dir.path(), &text).await;
    until("the old ones come", || all.windows().len() == 5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    sent.extend(send(&rig, &mut device, 1).await);
    until("the new one comes", || all.windows().len() == 6 && new.windows().len() == 1).await;
    assert_eq!((all.windows(), new.windows()), (sent.clone(), vec![sent[5].clone()]));
    rig.stop().await;
}

#[tokio::test]
async fn what_a_target_will_never_take_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, url) = Fake::start(204).await;
    let text = format!("[[forward]]\nkind = 'influx'\nurl = '{url}'\ndatabase = 'd'");
    let rig = rig(dir.path(), &text).await;
    let (mut good, mut bad) = (rig.ready_device("good").await, rig.ready_device("bad").await);
    send(&rig, &mut good, 2).await;
    send(&rig, &mut bad, 2).await;
    send(&rig, &mut good, 2).await;
    let distinct = || fake.lines().into_iter().collect::<std::collections::BTreeSet<_>>().len();
    until("the good ones come", || distinct() == 32).await;
    let first = format!("kinglet,device=good temperature=20,humidity=40 {}", T0 + 80_000);
    assert!(fake.lines().contains(&first), "{:?}", fake.lines().first());
    rig.stop().await;
}

#[tokio::test]
async fn a_body_is_signed_and_no_secret_is_shown() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
    let (fake, url) = Fake::start(200).await;
    let path = dir.path().join("secret").display().to_string();
    let text = format!(
        "[[forward]]\nkind = 'webhook'\nurl = '{url}'\nformat = 'senml'\nsecret_file = '{path}'\ntoken_file = '{path}'"
    );
    let rig = rig(dir.path(), &text).await;
    assert!(!format!("{:?}", rig.core.config).contains("hunter2"));
    let mut device = rig.ready_device("a").await;
    send(&rig, &mut device, 1).await;
    until("it comes", || !fake.bodies.lock().unwrap().is_empty()).await;
    let (headers, body) = fake.bodies.lock().unwrap()[0].clone();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hunter2").unwrap();
    mac.update(body.as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(headers["kinglet-signature"], format!("sha256={expected}"));
    assert_eq!(
        (&headers["authorization"], &headers["idempotency-key"]),
        (&"Bearer hunter2".parse().unwrap(), &"a/1-1".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/senml+json");
    rig.stop().await;
}

#[tokio::test]
async fn metrics_say_what_happened_and_name_no_device() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, url) = Fake::start(503).await;
    let rig = rig(dir.path(), &format!("[[forward]]\nkind = 'webhook'\nname = 'hook'\nurl = '{url}'")).await;
    let mut device = rig.ready_device("cellar-42").await;
    send(&rig, &mut device, 3).await;
    let code = code(&bundle("climate", 8), |_| [0, 0]);
    let again = device.window_as(1, kinglet_wire::payload::Time::unix(T0), None, &code);
    assert_eq!(rig.post_frame(&again).await.status, 409);
    assert_eq!(rig.post_frame(b"no frame").await.status, 400);
    until("it is asked", || fake.n_asked.load(Ordering::SeqCst) > 0).await;
    rig.clock.advance(90_000);
    let answer = rig.get("/metrics").await;
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let check = |line: &str| assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    check("kinglet_frames_accepted_total 4");
    check("kinglet_windows_stored_total 3");
    check("kinglet_frames_refused_total{reason=\"counter_reuse\"} 1");
    check("kinglet_frames_refused_total{reason=\"malformed\"} 1");
    check("kinglet_devices{state=\"active\"} 1");
    check("kinglet_forward_lag_seconds{target=\"hook\"} 90");
    check("kinglet_forward_windows_total{target=\"hook\",result=\"confirmed\"} 0");
    check("kinglet_forward_lost_windows_total{target=\"hook\"} 0");
    assert!(!text.contains("cellar"), "{text}");
    assert_eq!(rig.get("/readyz").await.status, 200);
    let stranger = [("host", "evil.example")];
    assert_eq!(common::request(rig.addr, "GET", "/metrics", &stranger, b"").await.status, 421);
    fake.status.store(200, Ordering::SeqCst);
    until("it comes", || fake.windows().len() == 3).await;
    for _ in 0..200 {
        if rig.get("/metrics").await.text().contains("kinglet_forward_lag_seconds{target=\"hook\"} 0\n") {
            rig.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it still lags");
}
