//! Readings on their way to a broker and to Home Assistant, against a broker in this process.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::{Device, Rig, T0, bundle, code};
use rmqtt_codec::v5::{Codec, Packet, PublishAck};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Decoder, Encoder};

/// Confirms everything it is sent, or nothing, and keeps it.
#[derive(Default)]
struct FakeBroker {
    confirms: AtomicBool,
    heard: Mutex<Vec<(String, bool, String)>>,
}

impl FakeBroker {
    async fn start() -> (Arc<Self>, String) {
        let broker = Arc::new(Self { confirms: true.into(), ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&broker);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        (broker, url)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let (mut codec, mut input, mut output) = (Codec::new(0, 0), BytesMut::new(), BytesMut::new());
        while stream.read_buf(&mut input).await.is_ok_and(|n| n > 0) {
            while let Some((packet, _)) = codec.decode(&mut input).unwrap() {
                match packet {
                    Packet::Connect(_) => {
                        codec.encode(Packet::ConnectAck(Box::default()), &mut output).unwrap();
                    }
                    // One that breaks off in the middle, as a broker that is killed.
                    Packet::Publish(_) if !self.confirms.load(Ordering::SeqCst) => return,
                    Packet::Publish(publish) => {
                        let body = String::from_utf8(publish.payload.to_vec()).unwrap();
                        self.heard.lock().unwrap().push((publish.topic.to_string(), publish.retain, body));
                        let ack = PublishAck {
                            packet_id: publish.packet_id.unwrap(),
                            reason_code: rmqtt_codec::v5::PublishAckReason::Success,
                            properties: Vec::new(),
                            reason_string: None,
                        };
                        codec.encode(Packet::PublishAck(ack), &mut output).unwrap();
                    }
                    _ => {}
                }
            }
            stream.write_all(&output.split()).await.unwrap();
        }
    }

    /// Bodies that came under topics with this end.
    fn under(&self, end: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        let body = |body: &String| serde_json::from_str(body).unwrap_or(Value::from(body.as_str()));
        heard.iter().filter(|(topic, ..)| topic.ends_with(end)).map(|(.., text)| body(text)).collect()
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn rig(dir: &tempfile::TempDir, url: &str, more: &str) -> Rig {
    let text = format!("[[forward]]\nkind = 'mqtt'\nname = 'broker'\nurl = '{url}'\n{more}");
    Rig::start_with(dir.path(), |config| config.apply_text("test", &text).unwrap()).await
}

/// A window that begins so long before now, and has eight samples of these tenths of a degree.
async fn send(rig: &Rig, device: &mut Device, t_ms: i64, tenths: i32) {
    let code = code(&bundle("climate", 8), |i| [tenths + i as i32, 40]);
    let frame = device.window(t_ms, &code);
    assert_eq!(rig.post_frame(&frame).await.status, 200);
}

#[tokio::test]
async fn a_broker_that_breaks_off_gets_everything_in_order_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, url) = FakeBroker::start().await;
    let rig = rig(&dir, &url, "").await;
    let mut device = rig.ready_device("porch").await;
    until("it connects before there is anything to say", || broker.under("kinglet/status") == ["online"])
        .await;
    send(&rig, &mut device, T0, 200).await;
    until("the first comes", || broker.under("kinglet/porch/readings").len() == 1).await;
    broker.confirms.store(false, Ordering::SeqCst);
    for i in 1..40 {
        send(&rig, &mut device, T0 + 80_000 * i, 200).await;
    }
    broker.confirms.store(true, Ordering::SeqCst);
    until("the rest comes", || broker.under("/readings").len() >= 40).await;
    // At least once: what was under way when it broke off may come twice.
    let mut ids: Vec<String> =
        broker.under("/readings").iter().map(|body| body["window"].as_str().unwrap().into()).collect();
    ids.dedup();
    assert_eq!(ids, (1..41).map(|n| format!("1-{n}")).collect::<Vec<_>>());
    rig.stop().await;
    until("it says that it is gone", || broker.under("kinglet/status").last() == Some(&"offline".into()))
        .await;
}

#[tokio::test]
async fn home_assistant_is_told_live_values_and_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, url) = FakeBroker::start().await;
    let rig = rig(&dir, &url, "home_assistant = true\nformat = 'senml'").await;
    let mut device = rig.ready_device("porch").await;
    // Backfill: a day old when it comes, as after a day without Wi-Fi.
    send(&rig, &mut device, T0 - 86_400_000, 100).await;
    send(&rig, &mut device, T0 - 86_320_000, 100).await;
    until("the store's order is kept", || broker.under("/senml").len() == 2).await;
    send(&rig, &mut device, T0 - 70_000, 200).await;
    until("a live value shows", || broker.under("kinglet/porch/state").len() == 1).await;
    // Live too, and older than what shows.
    send(&rig, &mut device, T0 - 150_000, 300).await;
    until("all of it comes", || broker.under("/senml").len() == 4).await;
    send(&rig, &mut device, T0 + 10_000, 210).await;
    until("the next shows", || broker.under("/state").len() >= 2).await;
    let states = broker.under("/state");
    assert_eq!(states.len(), 2, "{states:?}");
    for (state, measured) in states.iter().zip([20.7, 21.7]) {
        // Within the bundle's bound.
        assert!((state["temperature"].as_f64().unwrap() - measured).abs() < 0.2001, "{state}");
        assert_eq!(state["humidity"], 40.0);
    }
    let told = broker.under("homeassistant/device/kinglet_porch/config");
    assert_eq!(told.len(), 1, "told once");
    assert_eq!(told[0]["cmps"]["humidity"]["device_class"], "humidity");
    let retained = |end: &str| {
        let heard = broker.heard.lock().unwrap();
        heard.iter().filter(|(topic, ..)| topic.ends_with(end)).all(|(_, retain, _)| *retain)
    };
    assert!(retained("/config") && retained("/status") && !retained("/state") && !retained("/senml"));
    rig.stop().await;
}

/// Home Assistant listens for states once it has read what a device measures. It was seen to lose one that came right behind.
#[tokio::test]
async fn the_first_state_waits_until_home_assistant_listens() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, url) = FakeBroker::start().await;
    let rig = rig(&dir, &url, "home_assistant = true").await;
    let mut device = rig.ready_device("porch").await;
    send(&rig, &mut device, T0, 200).await;
    until("it is introduced", || broker.under("kinglet_porch/config").len() == 1).await;
    let introduced = Instant::now();
    until("its state follows", || broker.under("kinglet/porch/state").len() == 1).await;
    assert!(introduced.elapsed() > Duration::from_millis(800), "{:?}", introduced.elapsed());
    rig.stop().await;
}

#[tokio::test]
async fn alerts_go_to_a_topic_of_the_device_and_readings_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, url) = FakeBroker::start().await;
    let rule = "format = 'none'\n[[alert]]\nkind = 'range'\nname = 'hot'\nchannel = 'temperature'\nabove = 30\nto = ['broker']";
    let rig = rig(&dir, &url, rule).await;
    let mut device = rig.ready_device("porch").await;
    until("it connects", || broker.under("kinglet/status") == ["online"]).await;
    broker.confirms.store(false, Ordering::SeqCst);
    send(&rig, &mut device, T0, 310).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.confirms.store(true, Ordering::SeqCst);
    until("it comes", || !broker.under("kinglet/porch/alert").is_empty()).await;
    let told = broker.under("/alert")[0].clone();
    assert_eq!(
        (&told["state"], &told["rule"], &told["channel"]),
        (&"raised".into(), &"hot".into(), &"temperature".into())
    );
    assert!(broker.under("/readings").is_empty());
    rig.stop().await;
}
