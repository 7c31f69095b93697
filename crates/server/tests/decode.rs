//! The seed's own mode: its sketch is answered as by its own server, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Response, Rig, T0, raw, request, seed_latent, seed_parts};
use kinglet_codec::seed::{SeedChannel, SeedModel, SeedParts};
use kinglet_server::store::{SEED_NAMES_MAX, SqliteStore, Store, day_of};
use kinglet_server::{Config, Listeners};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn rig(dir: &std::path::Path) -> Rig {
    Rig::decoding(dir, seed_parts(), |_| {}).await
}

async fn post(rig: &Rig, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    request(rig.seed_addr.unwrap(), "POST", path, headers, body).await
}

fn body_of(celsius: f64) -> Vec<u8> {
    let [a, b] = seed_latent(celsius);
    format!("{{\"latent_vector\":[{a},{b}]}}").into_bytes()
}

/// A refusal: a JSON object whose `error` says what to do.
fn check_refused(what: &str, answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{what}");
    let said = answer.json();
    let keys: Vec<_> = said.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["error"], "{what}");
    let reason = said["error"].as_str().unwrap();
    assert!((20..300).contains(&reason.len()), "{what}: {reason}");
}

#[tokio::test]
async fn the_sketch_gets_what_its_own_server_said() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    // As HTTPClient of the ESP32 core sends it.
    let body = r#"{"latent_vector":[0.98960000276565552,0.0052000000141561031]}"#;
    let sketch = format!(
        "POST /decode HTTP/1.1\r\nHost: 192.168.1.10:5000\r\nUser-Agent: ESP32HTTPClient\r\nConnection: close\r\n\
         Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(rig.seed_addr.unwrap(), sketch.as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type").as_deref()), (200, Some("application/json")));
    let numbers = "0.9896000027656555,0.005200000014156103";
    assert_eq!(
        answer.text(),
        format!("{{\"reconstructed_temperature_celsius\":24.74,\"received_latent_vector\":[{numbers}]}}")
    );
    rig.stop().await;
}

#[tokio::test]
async fn bad_bodies_get_a_json_reason_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let nested = format!("{{\"latent_vector\":{}{}}}", "[".repeat(1900), "]".repeat(1900));
    let bodies: [(&[u8], u16); 28] = [
        (br#"{"latent_vector":[NaN,0.5]}"#, 400),
        (br#"{"latent_vector":[Infinity,0.5]}"#, 400),
        (br#"{"latent_vector":[0.5,-Infinity]}"#, 400),
        (br#"{"latent_vector":[1e999,0.5]}"#, 400),
        (br#"{"latent_vector":[1e39,0.5]}"#, 400),
        (br#"{"latent_vector":[null,0.5]}"#, 400),
        (br#"{"latent_vector":["0.5","0.25"]}"#, 400),
        (br#"{"latent_vector":[true,false]}"#, 400),
        (br#"{"latent_vector":[[0.5,0.25]]}"#, 400),
        (br#"{"latent_vector":[{"a":1},0.5]}"#, 400),
        (br#"{"latent_vector":null}"#, 400),
        (br#"{"latent_vector":"0.5,0.25"}"#, 400),
        (br#"{"latent_vector":{"0":0.5,"1":0.25}}"#, 400),
        (br#"{"latent_vector":0.5}"#, 400),
        (br#"{"latent_vector":[]}"#, 400),
        (br#"{"latent_vector":[0.5]}"#, 400),
        (br#"{"latent_vector":[0.5,0.25,0.1]}"#, 400),
        (br#"{"latent_vector":[0.5,0.25],"latent_vector":[1,0]}"#, 400),
        (br#"{"latent":[0.5,0.25]}"#, 400),
        (b"{}", 400),
        (b"[0.5,0.25]", 400),
        (b"null", 400),
        (b"", 400),
        (b"latent_vector=0.5", 400),
        (b"\xff\xfe{}", 400),
        (nested.as_bytes(), 400),
        // Numbers that no encoder of this bundle makes: the seed answers them with 50.0 °C and the like.
        (br#"{"latent_vector":[1000,-1000]}"#, 422),
        (br#"{"latent_vector":[0.5,0.5]}"#, 422),
    ];
    for (body, status) in bodies {
        let answer = post(&rig, "/decode", &[JSON], body).await;
        check_refused(&String::from_utf8_lossy(&body[..body.len().min(60)]), &answer, status);
    }
    let good = body_of(20.0);
    check_refused("no kind", &post(&rig, "/decode", &[], &good).await, 415);
    let form = ("content-type", "application/x-www-form-urlencoded");
    check_refused("a form", &post(&rig, "/decode", &[form], &good).await, 415);
    let page = [JSON, ("origin", "http://evil.example")];
    check_refused("a page", &post(&rig, "/decode", &page, &good).await, 403);
    check_refused("a list", &post(&rig, "/decode?device=a&x=1", &[JSON], &good).await, 400);
    check_refused("a name", &post(&rig, "/decode?device=%3Cb%3E", &[JSON], &good).await, 400);
    check_refused("elsewhere", &post(&rig, "/", &[JSON], &good).await, 404);
    let seed = rig.seed_addr.unwrap();
    check_refused("GET", &request(seed, "GET", "/decode", &[], b"").await, 405);
    check_refused("the dashboard", &request(seed, "GET", "/v1/devices", &[], b"").await, 404);
    assert_eq!(post(&rig, "/decode", &[JSON], &good).await.status, 200);
    rig.stop().await;
    let store = SqliteStore::open(&dir.path().join("kinglet.db")).unwrap();
    let rejects = store.rejects(day_of(T0), day_of(T0)).await.unwrap();
    let n = |word: &str| rejects.iter().find(|r| r.reason == word).map_or(0, |r| r.n);
    assert_eq!((n("decode_not_number"), n("decode_foreign_latent"), n("decode_content_type")), (5, 2, 2));
    let kept = store.seed_samples("seed", 0, i64::MAX, 99).await.unwrap();
    assert_eq!(kept[0].values, [20.0], "only the good one");
}

#[tokio::test]
async fn large_and_slow_bodies_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::decoding(dir.path(), seed_parts(), |config| {
        config.header_timeout_ms = 200;
        config.request_timeout_ms = 300;
    })
    .await;
    let begun = Instant::now();
    let head =
        "POST /decode HTTP/1.1\r\nhost: 10.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let long = format!("{{\"latent_vector\":[{}0.5]}}", "0.5,".repeat(30_000));
    check_refused("120 kB", &post(&rig, "/decode", &[JSON], long.as_bytes()).await, 413);
    // 100 MB are not read to the end, however they are announced.
    let said =
        raw(rig.seed_addr.unwrap(), format!("{head}content-length: 104857600\r\n\r\n{{").as_bytes()).await;
    check_refused("100 MB announced", &said, 413);
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536)).repeat(200);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}");
    let said = raw(rig.seed_addr.unwrap(), chunked.as_bytes()).await;
    assert!(said.status == 413 || said.status == 0, "{}", said.head);
    let said = raw(rig.seed_addr.unwrap(), format!("{head}content-length: 40\r\n\r\n{{").as_bytes()).await;
    check_refused("3 of 40 bytes", &said, 408);
    let said = raw(rig.seed_addr.unwrap(), b"POST /decode HTTP/1.1\r\nhost: x\r\nslow: ").await;
    assert!(said.status == 0 || said.status == 408, "{}", said.head);
    assert!(begun.elapsed() < Duration::from_secs(5));
    rig.stop().await;
}

#[tokio::test]
async fn a_thousand_idle_connections_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let mut idle = Vec::new();
    for i in 0..1000 {
        let mut stream = tokio::net::TcpStream::connect(rig.seed_addr.unwrap()).await.unwrap();
        if i % 2 == 0 {
            // Half of them have begun to speak.
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"POST /decode HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(post(&rig, "/decode", &[JSON], &body_of(21.5)).await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1));
    rig.stop().await;
}

#[tokio::test]
async fn readings_are_stored_shown_and_outlive_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let running = rig(dir.path()).await;
    assert_eq!(post(&running, "/decode", &[JSON], &body_of(21.5)).await.status, 200);
    running.clock.advance(10_000);
    assert_eq!(post(&running, "/decode?device=attic", &[JSON], &body_of(3.25)).await.status, 200);
    let late = br#"{"latent_vector":[0.8,0.1],"age_ms":4000}"#;
    assert_eq!(post(&running, "/decode", &[JSON], late).await.status, 200);
    // Answered, so it is on disk after the stop at the latest.
    running.stop().await;
    let running = rig(dir.path()).await;
    running.clock.advance(60_000);
    let csv = running.get("/v1/seed/seed/readings?format=csv").await;
    assert_eq!(csv.header("content-type").as_deref(), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(
        csv.text(),
        "time,temperature (°C)\r\n2026-09-21T14:13:20Z,21.5\r\n2026-09-21T14:13:26Z,20\r\n"
    );
    let json = running.get("/v1/seed/seed/readings?limit=1").await.json();
    assert_eq!((&json["readings"][0]["values"][0], &json["truncated"]), (&20.into(), &true.into()));
    assert!(json["protection"].as_str().unwrap().contains("Obfuscation"));
    let listed = running.get("/v1/seed").await.json();
    let names: Vec<_> = listed["series"].as_array().unwrap().iter().map(|s| s["device"].clone()).collect();
    assert_eq!(names, ["attic", "seed"]);
    for (path, status) in [
        ("/v1/seed/nobody/readings", 404),
        ("/v1/seed/seed/readings?from=x", 400),
        ("/seed/nobody", 404),
        ("/seed/seed?range=1y", 400),
    ] {
        assert_eq!(running.get(path).await.status, status, "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_answer_need_not_carry_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::decoding(dir.path(), seed_parts(), |config| config.seed.plaintext_reply = false).await;
    let answer = post(&rig, "/decode", &[JSON], &body_of(21.5)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"received_latent_vector\":[0.86,0.07]}"));
    rig.stop().await;
}

#[tokio::test]
async fn an_old_encoder_is_refused_instead_of_read_wrongly() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    // Another training: another curve.
    let mut n_taken = 0;
    for celsius in 0..=50 {
        let x = f64::from(celsius) / 50.0;
        let body = format!("{{\"latent_vector\":[{},{}]}}", 1.5 - 1.2 * x, 0.1 + 0.9 * x);
        n_taken += usize::from(post(&rig, "/decode", &[JSON], body.as_bytes()).await.status == 200);
    }
    // Where the curves cross, one reading has the same latent in both.
    assert!(n_taken <= 2, "{n_taken} of 51 were taken");
    rig.stop().await;
}

#[tokio::test]
async fn bundles_of_other_kinds_answer_in_their_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = seed_parts();
    parts.channels = vec![SeedChannel::new("humidity", "%", 0.0, 50.0)];
    let rig = Rig::decoding(dir.path(), parts.clone(), |_| {}).await;
    let answer = post(&rig, "/decode", &[JSON], &body_of(25.0)).await.json();
    assert_eq!(answer["reconstructed"], serde_json::json!({ "humidity": [25.0] }));
    rig.stop().await;
    // Without its encoder a decoder takes what its sensor could have measured.
    let blind = SeedParts { encoder: None, ..parts };
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::decoding(dir.path(), blind, |_| {}).await;
    assert_eq!(post(&rig, "/decode", &[JSON], br#"{"latent_vector":[1,77]}"#).await.status, 200);
    let beyond = post(&rig, "/decode", &[JSON], br#"{"latent_vector":[3,0]}"#).await;
    check_refused("75 °C of 50", &beyond, 422);
    rig.stop().await;
}

#[tokio::test]
async fn names_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    let mut statuses = Vec::new();
    for i in 0..SEED_NAMES_MAX + 2 {
        statuses.push(post(&rig, &format!("/decode?device=d{i}"), &[JSON], &body_of(20.0)).await.status);
    }
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), SEED_NAMES_MAX - 1);
    assert_eq!(&statuses[SEED_NAMES_MAX - 1..], [400, 400, 400]);
    // The boards that name none have their place.
    assert_eq!(post(&rig, "/decode", &[JSON], &body_of(20.0)).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn the_page_and_the_list_say_what_this_is() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path()).await;
    for minute in 0..90 {
        rig.clock.set(T0 + minute * 60_000);
        let celsius = 20.0 + (minute as f64 / 10.0).sin();
        assert_eq!(post(&rig, "/decode?device=porch", &[JSON], &body_of(celsius)).await.status, 200);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let overview = rig.get("/").await.text();
    assert!(overview.contains("/seed/porch") && overview.contains("no protection"), "{overview}");
    let page = rig.get("/seed/porch").await.text();
    assert!(page.contains("Obfuscation, not protection") && page.contains("trusted network"), "{page}");
    assert!(page.contains("90 readings") && !page.contains("each within"), "{page}");
    let fragment = rig.get("/live/seed/porch").await.text();
    assert!(!fragment.contains("<html") && fragment.contains("<svg"));
    rig.stop().await;
}

#[tokio::test]
async fn only_a_seed_mode_bundle_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.http.set_port(0);
    config.seed.listen = "127.0.0.1:0".parse().unwrap();
    let path = dir.path().join("x.kinglet");
    config.seed.bundle = Some(path.clone());
    let refused = async |config: &Config| Listeners::bind(config).await.unwrap_err().to_string();
    assert!(refused(&config).await.contains("No such file"));
    std::fs::write(&path, common::bundle("climate", 8).emit()).unwrap();
    assert!(refused(&config).await.contains("window codec"));
    std::fs::write(&path, b"noise").unwrap();
    assert!(refused(&config).await.contains("kinglet train --preset seed"));
    std::fs::write(&path, SeedModel::new(seed_parts()).unwrap().emit()).unwrap();
    let bound = Listeners::bind(&config).await.unwrap();
    config.seed.listen = bound.seed_addr().unwrap();
    assert!(refused(&config).await.contains(&config.seed.listen.to_string()));
}
