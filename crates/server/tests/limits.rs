//! More than may be taken in is refused by every door in its own words, and nobody uses up another's share.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
mod mqtt_client;

use common::{Device, Rig, T0, request};
use kinglet_server::Config;
use mqtt_client::{Client, Login, Said, Version};
use tokio::net::UdpSocket;

async fn rig(dir: &tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Rig {
    Rig::start_with(dir.path(), |config| {
        config.mqtt = Some("127.0.0.1:0".parse().unwrap());
        config.coap = Some("127.0.0.1:0".parse().unwrap());
        change(config);
    })
    .await
}

fn windows(device: &mut Device, n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|_| device.window(T0, b"x")).collect()
}

/// The code of the answer to a frame by CoAP, as `class * 100 + detail`, and its payload.
async fn by_coap(rig: &Rig, id: u8, frame: &[u8]) -> (u16, Vec<u8>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(rig.coap_addr.unwrap()).await.unwrap();
    socket.send(&[&[0x40, 2, 0, id, 0xb1, b'f', 0xff][..], frame].concat()).await.unwrap();
    let mut answer = [0; 2000];
    let len = socket.recv(&mut answer).await.unwrap();
    let payload = answer[..len].splitn(2, |b| *b == 0xff).nth(1).unwrap_or_default();
    (u16::from(answer[1] >> 5) * 100 + u16::from(answer[1] & 31), payload.to_vec())
}

/// The reason of the PUBACK of a frame by MQTT 5.
async fn by_mqtt(rig: &Rig, device: &Device, frame: &[u8]) -> u8 {
    let login = Login::new(Version::V5, &device.id, &device.key);
    let mut client = Client::welcome(rig.mqtt_addrs[0].unwrap(), login).await;
    client.publish(&format!("kinglet/{}/up", device.id), 1, frame).await;
    match client.next().await {
        Said::Acked(1, reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn limited(rig: &Rig, what: &str) -> u64 {
    let metrics = rig.get("/metrics").await.text();
    let line = format!("kinglet_limited_total{{what=\"{what}\"}} ");
    metrics.lines().find_map(|l| l.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_device_that_stores_too_much_waits_alone() {
    let dir = tempfile::tempdir().unwrap();
    // A minute's worth at once: 60.
    let rig = rig(&dir, |config| config.device_frames_per_s = 1).await;
    let (mut porch, mut attic) = (rig.ready_device("porch").await, rig.ready_device("attic").await);
    let first = porch.window(T0, b"first");
    assert_eq!(rig.post_frame(&first).await.status, 200);
    // Neither repeats nor frames that somebody else has made up use up its share.
    let repeats = vec![first.clone(); 300];
    assert_eq!(rig.post_frames(&repeats).await.status, 200);
    let mut forged = windows(&mut porch, 1)[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(rig.post_frames(&vec![forged; 300]).await.status, 403);
    // What comes at once is taken, and paid for afterwards.
    let many = windows(&mut porch, 150);
    assert_eq!(rig.post_frames(&many).await.status, 200);
    assert_eq!(rig.n_windows(&porch).await, 151);
    let next = porch.window(T0, b"next");
    let refused = rig.post_frame(&next).await;
    assert_eq!((refused.status, refused.json()["type"].as_str()), (429, Some("urn:kinglet:too_many_frames")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("kinglet-refused").as_deref(), Some("too_many_frames;n=1"));
    assert_eq!(by_coap(&rig, 1, &next).await, (429, b"too_many_frames".to_vec()));
    assert_eq!(by_coap(&rig, 1, &next).await.0, 429);
    assert_eq!(by_mqtt(&rig, &porch, &next).await, 151);
    // Status frames, which make its keys be read anew, are no way around; nor is it anybody else's trouble.
    assert_eq!(rig.post_frame(&porch.status()).await.status, 429);
    assert_eq!(rig.post_frame(&attic.window(T0, b"x")).await.status, 200);
    assert_eq!(rig.n_windows(&porch).await, 151);
    assert_eq!(limited(&rig, "frames").await, 5);
    rig.stop().await;
}

#[tokio::test]
async fn all_together_are_held_to_what_the_server_may_take() {
    let dir = tempfile::tempdir().unwrap();
    // Ten seconds' worth at once: 10, of which the status takes one.
    let rig = rig(&dir, |config| config.frames_per_s = 1).await;
    let mut porch = rig.ready_device("porch").await;
    let many = windows(&mut porch, 60);
    let refused = rig.post_frames(&many).await;
    assert_eq!((refused.status, refused.json()["type"].as_str()), (429, Some("urn:kinglet:too_many_frames")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&wait), "{wait}");
    assert_eq!(rig.post_frames(&many[..8]).await.status, 200, "what fits is taken");
    let refused = rig.post_frames(&many[8..58]).await;
    assert_eq!(refused.status, 429);
    assert_eq!(rig.n_windows(&porch).await, 8);
    assert_eq!(limited(&rig, "frames").await, 110);
    rig.stop().await;
}

#[tokio::test]
async fn joins_have_a_limit_of_their_own_and_none_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(&dir, |config| {
        config.joins_per_s = 1;
        config.frames_per_s = 0;
        config.device_frames_per_s = 0;
    })
    .await;
    let mut porch = rig.ready_device("porch").await;
    // The same request again and again: none of them is a new join.
    let join = porch.join_request(7);
    let mut n_answered = 0;
    let refused = loop {
        let answer = request(rig.addr, "POST", "/v1/join", &[], &join).await;
        if answer.status != 200 {
            break answer;
        }
        n_answered += 1;
        assert!(n_answered < 1000, "there is no limit");
    };
    assert!(n_answered >= 9, "{n_answered}");
    assert_eq!((refused.status, refused.json()["type"].as_str()), (429, Some("urn:kinglet:too_many_joins")));
    assert!(limited(&rig, "joins").await >= 1);
    for _ in 0..3 {
        assert_eq!(rig.post_frames(&windows(&mut porch, 500)).await.status, 200);
    }
    rig.stop().await;
}
