//! What is wrong is said once, to all who are to know, and what is over too.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
#[cfg(feature = "postgres")]
mod postgres;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use common::{Device, Rig, T0, bundle, code};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;

/// Somebody who is told.
#[derive(Default)]
struct Hook {
    status: Mutex<u16>,
    told: Mutex<Vec<(HeaderMap, Value)>>,
}

impl Hook {
    async fn start() -> (Arc<Self>, String) {
        let hook = Arc::new(Self { status: 200.into(), ..Self::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alerts", listener.local_addr().unwrap());
        let asked = Arc::clone(&hook);
        let router = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
            let status = StatusCode::from_u16(*asked.status.lock().unwrap()).unwrap();
            if status.is_success() {
                asked.told.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
            }
            status
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (hook, url)
    }

    fn answers(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// State, rule and device of all it was told.
    fn told(&self) -> Vec<String> {
        let text = |(_, body): &(HeaderMap, Value)| {
            ["state", "rule", "device"].map(|key| body[key].as_str().unwrap().to_owned()).join(" ")
        };
        self.told.lock().unwrap().iter().map(text).collect()
    }

    async fn until(&self, expected: &[&str]) {
        let start = Instant::now();
        while self.told() != expected {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?} and not {expected:?}", self.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn target(name: &str, url: &str) -> String {
    format!("[[forward]]\nkind = 'webhook'\nname = '{name}'\nurl = '{url}'\nformat = 'none'\n")
}

async fn rig(dir: &Path, url: &str, rules: &str) -> Rig {
    let text = target("hook", url) + rules;
    Rig::start_with(dir, |config| config.apply_text("test", &text).unwrap()).await
}

/// Long enough for several looks.
async fn looks() {
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

/// A window that begins `minutes` after the beginning, at these tenths of a degree.
async fn send(rig: &Rig, device: &mut Device, minutes: i64, tenths: i32) {
    let code = code(&bundle("climate", 8), |_| [tenths, 40]);
    let frame = device.window(T0 + minutes * MINUTE, &code);
    assert_eq!(rig.post_frame(&frame).await.status, 200);
}

async fn list(rig: &Rig, query: &str) -> Vec<Value> {
    rig.get(&format!("/v1/alerts{query}")).await.json()["alerts"].as_array().unwrap().clone()
}

const FROST: &str = "[[alert]]\nkind = 'range'\nname = 'frost'\ndevice = 'garden-*'\nchannel = 'temperature'\n\
                     below = 2\nhysteresis = 1\nto = ['hook']\n";

#[tokio::test]
async fn readings_outside_of_limits_are_told_once_and_so_is_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start().await;
    let rig = rig(dir.path(), &url, FROST).await;
    let (mut garden, mut cellar) = (rig.ready_device("garden-1").await, rig.ready_device("cellar").await);
    send(&rig, &mut garden, 0, 50).await;
    send(&rig, &mut garden, 2, 19).await;
    send(&rig, &mut cellar, 2, 19).await;
    send(&rig, &mut garden, 4, -31).await;
    hook.until(&["raised frost garden-1"]).await;
    // Within the limit, and not far enough; then far enough, and not for long enough.
    send(&rig, &mut garden, 6, 25).await;
    rig.clock.advance(10 * MINUTE);
    looks().await;
    hook.until(&["raised frost garden-1"]).await;
    // A window from before says nothing of now.
    send(&rig, &mut garden, 1, 60).await;
    send(&rig, &mut garden, 8, 31).await;
    hook.until(&["raised frost garden-1", "cleared frost garden-1"]).await;
    send(&rig, &mut garden, 10, 10).await;
    send(&rig, &mut garden, 12, 50).await;
    hook.until(&["raised frost garden-1", "cleared frost garden-1", "raised frost garden-1"]).await;
    looks().await;
    assert_eq!(hook.told().len(), 3, "it holds for five minutes");
    rig.clock.advance(5 * MINUTE);
    hook.until(&[
        "raised frost garden-1",
        "cleared frost garden-1",
        "raised frost garden-1",
        "cleared frost garden-1",
    ])
    .await;

    let (headers, first) = hook.told.lock().unwrap()[0].clone();
    assert_eq!(headers["idempotency-key"], format!("alert/{}/raised", first["alert"]));
    assert_eq!(first["channel"], "temperature");
    assert_eq!(first["detail"]["limit"], json!(2.0));
    assert!(first["text"].as_str().unwrap().contains(" °C, below 2 °C"), "{first}");
    let shown = list(&rig, "").await;
    let numbers: Vec<_> = shown.iter().map(|alert| (&alert["alert"], &alert["state"])).collect();
    assert_eq!(numbers, [(&json!(2), &json!("cleared")), (&json!(1), &json!("cleared"))]);
    assert_eq!(list(&rig, "?state=raised").await, [""; 0]);
    assert_eq!(list(&rig, "?before=2&limit=1").await, shown[1..]);
    assert_eq!(rig.get("/v1/alerts?state=wrong").await.status, 400);
    let metrics = rig.get("/metrics").await.text();
    for line in [
        "kinglet_alerts_raised 0",
        "kinglet_alerts_total{rule=\"frost\",state=\"raised\"} 2",
        "kinglet_alerts_total{rule=\"frost\",state=\"cleared\"} 2",
        "kinglet_forward_alerts_total{target=\"hook\",result=\"confirmed\"} 4",
        "kinglet_forward_windows_total{target=\"hook\",result=\"confirmed\"} 0",
        "kinglet_forward_windows_total{target=\"hook\",result=\"undecodable\"} 0",
        "kinglet_forward_lag_seconds{target=\"hook\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_says_nothing_twice_and_a_dead_target_is_told_later() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start().await;
    hook.answers(503);
    let first = rig(dir.path(), &url, FROST).await;
    let mut garden = first.ready_device("garden-1").await;
    send(&first, &mut garden, 0, 10).await;
    let start = Instant::now();
    while list(&first, "?state=raised").await.len() != 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "it is raised whoever hears of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.stop().await;
    hook.answers(200);
    let second = rig(dir.path(), &url, FROST).await;
    send(&second, &mut garden, 2, 10).await;
    hook.until(&["raised frost garden-1"]).await;
    looks().await;
    second.stop().await;
    // The rule is gone: what it has raised is over, and nobody is told, since nobody knows whom.
    let third = rig(dir.path(), &url, "[[alert]]\nkind = 'silent'\nto = ['hook']\n").await;
    let start = Instant::now();
    while !list(&third, "?state=raised").await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing would ever clear it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hook.until(&["raised frost garden-1"]).await;
    third.stop().await;
}

#[tokio::test]
async fn rules_and_targets_change_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let ((old, old_url), (new, new_url)) = (Hook::start().await, Hook::start().await);
    let rig = Rig::start(dir.path()).await;
    let reload = |text: &str| {
        let mut config = kinglet_server::Config::clone(&rig.core.config);
        config.apply_text("test", text).unwrap();
        let told = rig.core.reload(&config);
        assert!(told.needs_restart.is_empty(), "{told:?}");
    };
    let mut garden = rig.ready_device("garden-1").await;
    reload(&(target("hook", &old_url) + FROST));
    // A new target begins with what comes once it stands.
    looks().await;
    send(&rig, &mut garden, 0, 10).await;
    old.until(&["raised frost garden-1"]).await;
    // Another target under the same name, and a rule that asks for more: what is raised stays raised.
    let above =
        "[[alert]]\nkind = 'range'\nname = 'heat'\nchannel = 'temperature'\nabove = 30\nto = ['hook']\n";
    reload(&(target("hook", &new_url) + FROST + above));
    send(&rig, &mut garden, 2, 310).await;
    new.until(&["raised heat garden-1"]).await;
    assert_eq!(list(&rig, "?state=raised").await.len(), 2);
    // Without rules nothing is wrong, and without targets nobody is told.
    reload("");
    let start = Instant::now();
    while !list(&rig, "?state=raised").await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing would ever clear it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!rig.get("/metrics").await.text().contains("rule=\"frost\""));
    assert_eq!((old.told().len(), new.told().len()), (1, 1));
    rig.stop().await;
}

#[tokio::test]
async fn a_device_is_silent_by_its_own_habit() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start().await;
    let rules = "[[alert]]\nkind = 'silent'\nintervals = 3\nto = ['hook']\n\
                 [[alert]]\nkind = 'silent'\nname = 'late'\ndevice = 'fast'\nafter_minutes = 200\nto = ['hook']\n";
    let rig = rig(dir.path(), &url, rules).await;
    let (mut fast, mut slow) = (rig.ready_device("fast").await, rig.ready_device("slow").await);
    rig.add_device("never").await;
    for n in 0..20 {
        send(&rig, &mut fast, 2 * n, 200).await;
        if n % 10 == 0 {
            send(&rig, &mut slow, 2 * n, 200).await;
        }
        rig.clock.advance(2 * MINUTE);
    }
    rig.clock.advance(3 * MINUTE);
    looks().await;
    assert_eq!(hook.told(), [""; 0], "five minutes are less than three times two");
    rig.clock.advance(4 * MINUTE);
    hook.until(&["raised silent fast"]).await;
    send(&rig, &mut fast, 50, 200).await;
    hook.until(&["raised silent fast", "cleared silent fast"]).await;
    // Revoked on purpose: nobody waits for it.
    rig.core.registry.revoke("slow", T0).await.unwrap();
    rig.clock.advance(300 * MINUTE);
    let start = Instant::now();
    while hook.told().len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", hook.told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    looks().await;
    let mut last = hook.told()[2..].to_vec();
    last.sort();
    assert_eq!(last, ["raised late fast", "raised silent fast"]);
    let detail = hook.told.lock().unwrap()[0].1["detail"].clone();
    assert_eq!(detail["patience_s"], json!(360));
    rig.stop().await;
}

#[tokio::test]
async fn nobody_is_called_silent_for_the_servers_own_absence() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start().await;
    let rules = "[[alert]]\nkind = 'silent'\nafter_minutes = 10\nto = ['hook']\n";
    let before = rig(dir.path(), &url, rules).await;
    before.clock.advance(-60 * MINUTE);
    let mut device = before.ready_device("a").await;
    send(&before, &mut device, 0, 200).await;
    before.stop().await;
    let after = rig(dir.path(), &url, rules).await;
    looks().await;
    after.clock.advance(9 * MINUTE);
    looks().await;
    assert_eq!(hook.told(), [""; 0], "it has had no chance to come");
    after.clock.advance(2 * MINUTE);
    hook.until(&["raised silent a"]).await;
    after.stop().await;
}

#[tokio::test]
async fn frames_that_do_not_open_and_counters_used_twice_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, url) = Hook::start().await;
    let rules = "[[alert]]\nkind = 'not_opened'\nframes = 5\nwithin_minutes = 10\nto = ['hook']\n\
                 [[alert]]\nkind = 'counter_reuse'\nto = ['hook']\n";
    let first = rig(dir.path(), &url, rules).await;
    let mut device = first.ready_device("a").await;
    send(&first, &mut device, 0, 200).await;
    let code = code(&bundle("climate", 8), |_| [0, 0]);
    let bad = |device: &mut Device| {
        let mut frame = device.window(T0, &code);
        *frame.last_mut().unwrap() ^= 1;
        frame
    };
    for _ in 0..4 {
        first.post_frame(&bad(&mut device)).await;
    }
    looks().await;
    assert_eq!(hook.told(), [""; 0], "four are fewer than five");
    let again = device.window_as(1, kinglet_wire::payload::Time::unix(T0), None, &code);
    assert_eq!(first.post_frame(&again).await.status, 409);
    hook.until(&["raised counter_reuse a"]).await;
    first.post_frame(&bad(&mut device)).await;
    hook.until(&["raised counter_reuse a", "raised not_opened a"]).await;
    let texts: Vec<_> =
        hook.told.lock().unwrap().iter().map(|(_, body)| body["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        texts,
        ["a counter was used again for another frame", "5 frames within 10 min did not open under its keys"]
    );
    first.stop().await;
    let second = rig(dir.path(), &url, rules).await;
    looks().await;
    assert_eq!(hook.told().len(), 2, "a restart looks at no frame twice");
    second.clock.advance(6 * MINUTE);
    hook.until(&["raised counter_reuse a", "raised not_opened a", "cleared counter_reuse a"]).await;
    second.clock.advance(5 * MINUTE);
    hook.until(&[
        "raised counter_reuse a",
        "raised not_opened a",
        "cleared counter_reuse a",
        "cleared not_opened a",
    ])
    .await;
    second.stop().await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn of_two_servers_on_one_store_one_says_it_and_the_other_goes_on() {
    let Some(schema) = postgres::Schema::new("alerts").await else { return };
    let (hook, url) = Hook::start().await;
    let dir = tempfile::tempdir().unwrap();
    let start = async |name: &str| {
        let mut config = postgres::shared_config(&schema.uri, dir.path(), name);
        let target =
            format!("[[forward]]\nkind = 'webhook'\nname = 'hook'\nurl = '{url}'\nformat = 'none'\n");
        config.apply_text("test", &(target + FROST)).unwrap();
        Rig::start_on(config, schema.open().await).await
    };
    let (a, b) = (start(postgres::FIRST).await, start("b").await);
    let mut garden = a.ready_device("garden-1").await;
    looks().await;
    send(&b, &mut garden, 0, 10).await;
    hook.until(&["raised frost garden-1"]).await;
    a.stop().await;
    send(&b, &mut garden, 2, 10).await;
    looks().await;
    assert_eq!(hook.told().len(), 1);
    b.clock.advance(6 * MINUTE);
    send(&b, &mut garden, 4, 50).await;
    hook.until(&["raised frost garden-1", "cleared frost garden-1"]).await;
    b.stop().await;
}
