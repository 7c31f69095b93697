//! What people and attackers really send: a clear answer, and nothing lost.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Rig, T0, bundle, raw, request};
use kinglet_server::store::{SqliteStore, Store, day_of};
use kinglet_server::{Config, Core, Listeners, RunError, SystemClock};
use kinglet_wire::payload::{AckFlags, Time};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn check_problem(
    rig: &Rig,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    status: u16,
    kind: &str,
) {
    let answer = request(rig.addr, method, path, headers, body).await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"), "{method} {path}");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:kinglet:{kind}"), "{method} {path}");
    assert!(problem["detail"].as_str().unwrap().len() > 20, "{problem}");
}

#[tokio::test]
async fn bad_bodies_get_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let many = [("content-type", "application/vnd.kinglet.frames")];
    let check = async |headers: &[(&str, &str)], body: &[u8], status, kind| {
        check_problem(&rig, "POST", "/v1/frames", headers, body, status, kind).await;
    };
    check(&[], b"", 400, "malformed").await;
    check(&[], b"\0", 400, "malformed").await;
    check(&[], &[0xff; 1000], 400, "malformed").await;
    check(&[], &vec![0x40; 20_000], 400, "malformed").await;
    check(&[], b"{\"latent_vector\": [1, 2]}", 400, "malformed").await;
    // The first byte of a data frame, then anything.
    check(&[], &[0x40; 60], 404, "unknown_device").await;
    check(&many, b"", 400, "malformed_list").await;
    check(&many, b"\xff\xffabc", 400, "malformed_list").await;
    check(&many, &[0; 4000], 400, "malformed_list").await;
    check(&many, &[0; 10], 400, "malformed").await;
    check(&[("content-type", "application/json")], b"{}", 415, "wrong_content_type").await;
    check(&[], &vec![0; 2 << 20], 413, "body_too_large").await;
    for body in [&b""[..], b"\x50", &[0x50; 60], &[0; 200]] {
        check_problem(&rig, "POST", "/v1/join", &[], body, 400, "malformed").await;
    }
    check_problem(&rig, "POST", "/v1/join", &[], &vec![0; 1 << 20], 413, "body_too_large").await;
    check_problem(&rig, "GET", "/nowhere", &[], b"", 404, "not_found").await;
    check_problem(&rig, "PUT", "/v1/frames", &[], b"", 405, "method_not_allowed").await;
    rig.stop().await;
}

#[tokio::test]
async fn lying_lengths_and_slow_clients_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| {
        config.header_timeout_ms = 200;
        config.request_timeout_ms = 300;
    })
    .await;
    let begun = Instant::now();
    // Says 100 bytes, sends 3.
    let lying = raw(
        rig.addr,
        b"POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\nconnection: close\r\n\r\nabc",
    )
    .await;
    assert_eq!(lying.status, 408, "{}", lying.head);
    // Never ends its header.
    let slow = raw(rig.addr, b"POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ").await;
    assert!(slow.status == 0 || slow.status == 408, "{}", slow.head);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A length beyond reason, one that is none, two that differ, a header of megabytes.
    for head in [
        "content-length: 99999999999999999999",
        "content-length: -1",
        "content-length: 1\r\ncontent-length: 2",
    ] {
        let answer = raw(
            rig.addr,
            format!("POST /v1/frames HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(answer.status, 400, "{head}");
    }
    let huge = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "y".repeat(2 << 20));
    assert_eq!(raw(rig.addr, huge.as_bytes()).await.status, 431);
    rig.stop().await;
}

#[tokio::test]
async fn idle_connections_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| config.header_timeout_ms = 60_000).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(tokio::net::TcpStream::connect(rig.addr).await.unwrap());
    }
    assert_eq!(rig.get("/healthz").await.text(), "ok\n");
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_full_house_waits_instead_of_falling() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| {
        config.connections = 2;
        config.header_timeout_ms = 300;
    })
    .await;
    let _idle = [
        tokio::net::TcpStream::connect(rig.addr).await.unwrap(),
        tokio::net::TcpStream::connect(rig.addr).await.unwrap(),
    ];
    // The idle ones are let go after their time; then it is this one's turn.
    assert_eq!(rig.get("/healthz").await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn wrong_devices_and_bundles_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let device = rig.ready_device("cellar").await;
    // Nobody.
    let mut stranger = rig.ready_device("attic").await;
    stranger.short_id = 4711;
    check_problem(&rig, "POST", "/v1/frames", &[], &stranger.window(T0, b"x"), 404, "unknown_device").await;
    // One device's frame under another's number.
    stranger.short_id = device.short_id;
    let answer = rig.post_frame(&stranger.window(T0, b"x")).await;
    assert_eq!((answer.status, answer.header("kinglet-refused").as_deref()), (403, Some("not_opened;n=1")));
    // Another bundle than the slot's: not opened, and the device is asked for a status.
    let mut wrong = rig.ready_device("wrong").await;
    let right = wrong.fingerprint;
    wrong.fingerprint = [9; 16];
    let answer = rig.post_frame(&wrong.window(T0, b"x")).await;
    assert_eq!(answer.status, 403);
    assert!(wrong.open_ack(&answer.body).flags.has(AckFlags::STATUS_WANTED));
    // It says so by its status; the bundle is not here: named, not acked.
    let status = wrong.status();
    assert_eq!(rig.post_frame(&status).await.status, 200);
    let frame = wrong.window(T0, b"x");
    check_problem(&rig, "POST", "/v1/frames", &[], &frame, 409, "unknown_bundle").await;
    let shown = rig.get("/v1/devices/wrong").await.json();
    assert_eq!(shown["bundles"][0]["fingerprint"], "09".repeat(16));
    // A slot nobody has named.
    wrong.fingerprint = right;
    wrong.slot = kinglet_wire::frame::Slot::new(5).unwrap();
    let answer = rig.post_frame(&wrong.window(T0, b"x")).await;
    assert_eq!((answer.status, answer.header("kinglet-refused").as_deref()), (409, Some("unknown_slot;n=1")));
    assert!(wrong.open_ack(&answer.body).flags.has(AckFlags::STATUS_WANTED));
    // Reflection: what the server says is not taken from a device.
    check_problem(&rig, "POST", "/v1/frames", &[], &answer.body, 400, "wrong_direction").await;
    check_problem(&rig, "POST", "/v1/frames", &[], &wrong.join_request(9), 400, "wrong_direction").await;
    assert_eq!(rig.n_windows(&wrong).await, 0);
    rig.settle().await;
    rig.stop().await;
    let store = SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
    let rejects = store.rejects(day_of(T0), day_of(T0)).await.unwrap();
    let reasons: Vec<_> = rejects.iter().map(|r| r.reason.as_str()).collect();
    for reason in ["unknown_device", "not_opened", "unknown_bundle", "unknown_slot", "wrong_direction"] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
}

#[tokio::test]
async fn a_revoked_device_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    assert_eq!(rig.post_frame(&device.window(T0, b"x")).await.status, 200);
    // Revoked by another process: the running server has its keys in memory.
    let other = SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
    assert!(other.revoke_device("cellar", T0).await.unwrap());
    let frame = device.window(T0, b"y");
    for _ in 0..2 {
        check_problem(&rig, "POST", "/v1/frames", &[], &frame, 403, "revoked").await;
    }
    check_problem(&rig, "POST", "/v1/join", &[], &device.join_request(7), 403, "revoked").await;
    assert_eq!(rig.n_windows(&device).await, 1);
    rig.stop().await;
}

#[tokio::test]
async fn joins_heal_and_their_replays_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let old = device.window(T0, b"old");
    // The same request gets the same answer, bytes and all, however often and whoever sends it.
    let request_bytes = device.join_request(2);
    let first = request(rig.addr, "POST", "/v1/join", &[], &request_bytes).await;
    for _ in 0..30 {
        rig.clock.advance(1000);
        assert_eq!(request(rig.addr, "POST", "/v1/join", &[], &request_bytes).await.body, first.body);
    }
    // Until the new generation speaks, the old one is good.
    assert_eq!(rig.post_frame(&old).await.status, 200);
    let late = device.window(T0, b"late");
    device.take_accept(2, &first.body);
    let new = device.window(T0, b"new");
    assert_eq!(rig.post_frame(&new).await.status, 200);
    // Then it ends, and a replayed join brings it not back.
    request(rig.addr, "POST", "/v1/join", &[], &request_bytes).await;
    check_problem(&rig, "POST", "/v1/frames", &[], &late, 409, "join_required").await;
    assert_eq!(rig.post_frame(&device.window(T0, b"on")).await.status, 200);
    // A wiped device that knows no generation gets a higher one.
    let had = device.generation;
    device.generation = 0;
    device.join(rig.addr, 3).await;
    assert!(device.generation > had);
    assert_eq!(rig.post_frame(&device.window(T0, b"wiped")).await.status, 200);
    // Wrong keys and strangers.
    let mut forged = device.join_request(4);
    *forged.last_mut().unwrap() ^= 1;
    check_problem(&rig, "POST", "/v1/join", &[], &forged, 403, "not_verified").await;
    let mut stranger = device.join_request(4);
    stranger[2] = b'x';
    check_problem(&rig, "POST", "/v1/join", &[], &stranger, 404, "unknown_device").await;
    // A flood of new joins is slowed down; a minute later they are welcome again.
    let mut statuses = Vec::new();
    for nonce in 10..60 {
        statuses.push(request(rig.addr, "POST", "/v1/join", &[], &device.join_request(nonce)).await.status);
    }
    assert!(statuses.contains(&200) && statuses.ends_with(&[429]), "{statuses:?}");
    rig.clock.advance(60_000);
    device.join(rig.addr, 99).await;
    assert_eq!(rig.post_frame(&device.window(T0, b"after")).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn management_needs_the_token_and_the_key_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let token = std::fs::read_to_string(kinglet_server::vault::token_path(dir.path())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let with = [("authorization", bearer.as_str())];
    let body = br#"{"id": "cellar", "name": "Cellar <1>"}"#;
    for headers in [
        &[][..],
        &[("authorization", "Bearer x")],
        &[("authorization", "Basic Og==")],
        &[("authorization", "bearer")],
    ] {
        check_problem(&rig, "POST", "/v1/devices", headers, body, 401, "token_required").await;
        check_problem(&rig, "DELETE", "/v1/devices/cellar", headers, b"", 401, "token_required").await;
        check_problem(&rig, "POST", "/v1/bundles", headers, b"", 401, "token_required").await;
    }
    let added = request(rig.addr, "POST", "/v1/devices", &with, body).await;
    assert_eq!(added.status, 201);
    let key = added.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 64);
    for path in ["/v1/devices", "/v1/devices/cellar", "/", "/devices/cellar"] {
        let shown = rig.get(path).await;
        assert_eq!(shown.status, 200);
        assert!(!shown.text().contains(&key) && !shown.text().contains(token.trim()), "{path}");
    }
    check_problem(&rig, "POST", "/v1/devices", &with, body, 409, "device_exists").await;
    for bad in [&br#"{"id": "no spaces"}"#[..], br#"{"id": ""}"#, br#"{"id": "-x"}"#] {
        check_problem(&rig, "POST", "/v1/devices", &with, bad, 400, "bad_device_id").await;
    }
    let nested = "[".repeat(15_000);
    for bad in ["", "{}", "[]", r#"{"id": 5}"#, r#"{"id": "a", "x": 1}"#, &nested] {
        check_problem(&rig, "POST", "/v1/devices", &with, bad.as_bytes(), 400, "bad_json").await;
    }
    let name = format!(r#"{{"id": "b", "name": "{}"}}"#, "x".repeat(65));
    check_problem(&rig, "POST", "/v1/devices", &with, name.as_bytes(), 400, "bad_device_name").await;
    let file = bundle("climate", 8).emit();
    assert_eq!(request(rig.addr, "POST", "/v1/bundles", &with, &file).await.status, 201);
    assert_eq!(request(rig.addr, "POST", "/v1/bundles", &with, &file).await.status, 200);
    check_problem(&rig, "POST", "/v1/bundles", &with, &file[..100], 400, "bad_bundle").await;
    assert_eq!(rig.get("/v1/bundles").await.json()["bundles"][0]["name"], "climate");
    assert_eq!(request(rig.addr, "DELETE", "/v1/devices/cellar", &with, b"").await.status, 204);
    check_problem(&rig, "DELETE", "/v1/devices/attic", &with, b"", 404, "unknown_device").await;
    check_problem(&rig, "DELETE", "/v1/devices/a%0Ab%1b", &with, b"", 404, "unknown_device").await;
    rig.stop().await;
}

#[tokio::test]
async fn browsers_are_answered_under_own_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| config.hosts = vec!["sensors.lan".into()]).await;
    for path in ["/", "/v1/devices", "/v1/live", "/devices/x"] {
        check_problem(&rig, "GET", path, &[("host", "evil.example")], b"", 421, "unknown_host").await;
    }
    let answer = request(
        rig.addr,
        "GET",
        "/",
        &[("host", "sensors.lan:8470"), ("origin", "http://evil.example")],
        b"",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    // Devices come by whatever name they know.
    assert_eq!(request(rig.addr, "GET", "/healthz", &[("host", "anything")], b"").await.status, 200);
    check_problem(&rig, "POST", "/v1/frames", &[("host", "anything")], b"x", 400, "malformed").await;
    rig.stop().await;
}

#[tokio::test]
async fn readings_are_asked_for_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let code = common::code(&bundle("climate", 8), |i| [-5 + i as i32, 40]);
    rig.post_frame(&device.window(T0, &code)).await;
    rig.post_frame(&device.window_as(50, Time::unix(T0 + 500_000), None, &[0xff; 40])).await;
    rig.settle().await;
    let csv = rig.get("/v1/devices/cellar/readings?format=csv&limit=2").await;
    assert_eq!(csv.header("content-type").as_deref(), Some("text/csv; charset=utf-8; header=present"));
    let text = csv.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("time,temperature (°C),humidity (%)", 3), "{text}");
    assert!(
        lines[1].starts_with("2026-09-21T14:14:20Z,0.1") || lines[1].starts_with("2026-09-21T14:14:20Z,"),
        "{text}"
    );
    let by_accept =
        request(rig.addr, "GET", "/v1/devices/cellar/readings", &[("accept", "text/csv")], b"").await;
    assert!(by_accept.text().starts_with("time,"));
    let json = rig.get("/v1/devices/cellar/readings").await.json();
    assert_eq!((&json["flawed_windows"], json["readings"].as_array().unwrap().len()), (&1.into(), 8));
    let from_to =
        rig.get(&format!("/v1/devices/cellar/readings?from={}&to=2026-09-21T14:14:00Z", T0 + 10_000)).await;
    assert_eq!(from_to.json()["readings"].as_array().unwrap().len(), 3, "{}", from_to.text());
    for (query, kind) in [
        ("from=yesterday", "bad_time"),
        ("limit=0", "bad_number"),
        ("limit=4294967296", "bad_number"),
        ("format=xml", "bad_format"),
        ("form=csv", "unknown_parameter"),
    ] {
        check_problem(&rig, "GET", &format!("/v1/devices/cellar/readings?{query}"), &[], b"", 400, kind)
            .await;
    }
    check_problem(&rig, "GET", "/v1/devices/attic/readings", &[], b"", 404, "unknown_device").await;
    rig.stop().await;
}

#[tokio::test]
async fn live_readings_arrive_and_end_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let (mut cellar, mut attic) = (rig.ready_device("cellar").await, rig.ready_device("attic").await);
    let mut stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    stream.write_all(b"GET /v1/live?device=cellar HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 1024];
    let n = stream.read(&mut head).await.unwrap();
    assert!(String::from_utf8_lossy(&head[..n]).contains("text/event-stream"));
    let code = common::code(&bundle("climate", 8), |_| [215, 40]);
    rig.post_frame(&attic.window(T0, &code)).await;
    rig.post_frame(&cellar.window(T0, &code)).await;
    rig.settle().await;
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "the stream has held the server up");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("event: readings") && text.contains("\"device\":\"cellar\""), "{text}");
    assert!(!text.contains("attic"));
}

#[tokio::test]
async fn places_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut config = Config::new(dir.path());
    config.http = rig.addr;
    let error = Listeners::bind(&config).await.unwrap_err();
    assert!(matches!(&error, RunError::Bind { addr, .. } if *addr == rig.addr));
    assert!(error.to_string().contains("--http ADDR"), "{error}");
    // A file where the directory should be: no user may write there, root included.
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let core = Core::new(Config::new(&file), Arc::clone(&rig.core.store), Arc::new(SystemClock));
    assert!(core.err().unwrap().to_string().contains("--data DIR"));
    rig.stop().await;
}
