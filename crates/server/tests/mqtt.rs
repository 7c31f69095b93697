//! MQTT from devices: who is let in, what each may say and read, and that a PUBACK means stored.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
mod mqtt_client;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use common::{Device, Rig, T0};
use kinglet_server::Config;
use kinglet_wire::keys::DeviceId;
use mqtt_client::{BOTH, Client, Login, Said, Version};
use rmqtt_codec::types::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn rig(dir: &tempfile::TempDir, change: impl FnOnce(&mut Config)) -> (Rig, SocketAddr) {
    let rig = Rig::start_with(dir.path(), |config| {
        config.mqtt = Some("127.0.0.1:0".parse().unwrap());
        change(config);
    })
    .await;
    let addr = rig.mqtt_addrs[0].unwrap();
    (rig, addr)
}

fn up(device: &Device) -> String {
    format!("kinglet/{}/up", device.id)
}

fn down(device: &Device) -> String {
    format!("kinglet/{}/down", device.id)
}

async fn client(addr: SocketAddr, version: Version, device: &Device) -> Client {
    Client::welcome(addr, Login::new(version, &device.id, &device.key)).await
}

#[tokio::test]
async fn a_device_joins_and_sends_and_is_acked_in_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    for (version, name) in BOTH.into_iter().zip(["old", "new"]) {
        let fingerprint = rig.add_bundle(&common::bundle("climate", 8)).await;
        let mut device = rig.add_device(name).await;
        device.fingerprint = fingerprint;
        let mut client = client(addr, version, &device).await;
        assert_eq!(client.subscribe(&[&down(&device)]).await, [0]);
        client.publish(&up(&device), 1, &device.join_request(1)).await;
        let [Said::Acked(1, 0), Said::Message(topic, accept)] = &client.next_n(2).await[..] else { panic!() };
        assert_eq!(*topic, down(&device));
        device.take_accept(1, accept);
        for (id, frame) in [(2, device.status()), (3, device.window(T0, b"x"))] {
            client.publish(&up(&device), id, &frame).await;
            let [Said::Acked(acked, 0), Said::Message(_, ack)] = &client.next_n(2).await[..] else {
                panic!()
            };
            assert_eq!(*acked, id);
            let counter = kinglet_wire::counter::Counter::new(u64::from(id) - 2).unwrap();
            assert!(device.open_ack(ack).covers(counter));
        }
        // QoS 0 is answered by the sealed ack alone.
        client.publish(&up(&device), 0, &device.window(T0 + 80_000, b"y")).await;
        assert!(matches!(client.next().await, Said::Message(..)));
        assert_eq!(rig.n_windows(&device).await, 2);
        client.ping().await;
        assert_eq!(client.next().await, Said::Pong);
    }
    rig.stop().await;
}

#[tokio::test]
async fn only_a_device_with_its_own_token_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let (porch, attic) = (rig.add_device("porch").await, rig.add_device("attic").await);
    let gone = rig.add_device("gone").await;
    rig.core.registry.revoke("gone", T0).await.unwrap();
    let check = async |device: &Device, codes: [u8; 2], change: &dyn Fn(&mut Login)| {
        for (version, code) in BOTH.into_iter().zip(codes) {
            let mut login = Login::new(version, &device.id, &device.key);
            change(&mut login);
            let (mut client, said) = Client::connect(addr, login).await;
            assert_eq!(said, Said::Refused(code), "{version:?}");
            assert_eq!(client.next().await, Said::Closed);
        }
    };
    const WRONG: [u8; 2] = [4, 134];
    check(&porch, WRONG, &|login| login.password = None).await;
    check(&porch, WRONG, &|login| login.password = Some(String::new())).await;
    check(&porch, WRONG, &|login| login.password.as_mut().unwrap().push('0')).await;
    check(&porch, WRONG, &|login| login.password = Some("0".repeat(64))).await;
    // As upper case it is another password.
    check(&porch, WRONG, &|login| login.password = login.password.take().map(|p| p.to_uppercase())).await;
    check(&porch, WRONG, &|login| login.username = None).await;
    check(&porch, WRONG, &|login| login.username = Some("nobody".into())).await;
    check(&porch, WRONG, &|login| login.username = Some("no/device".into())).await;
    check(&attic, WRONG, &|login| login.username = Some("porch".into())).await;
    check(&gone, [5, 135], &|_| {}).await;
    check(&porch, [5, 131], &|login| login.has_will = true).await;
    // A client id of its own choice, any, or none.
    for client_id in ["", "esp32", "attic"] {
        let login = Login { client_id: client_id.into(), ..Login::new(Version::V5, &porch.id, &porch.key) };
        drop(Client::welcome(addr, login).await);
    }
    // Versions nobody speaks: 3.1, and one that is none yet.
    for hello in
        [&b"\x10\x11\0\x06MQIsdp\x03\x02\0\x3c\0\x03abc"[..], b"\x10\x0f\0\x04MQTT\x06\x02\0\x3c\0\x03abc"]
    {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "{answer:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn nothing_but_its_own_topics_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let porch = rig.add_device("porch").await;
    let (filters, codes): (Vec<&str>, Vec<u8>) = [
        ("kinglet/porch/down", 0),
        ("kinglet/porch/refused", 0),
        ("#", 162),
        ("kinglet/#", 162),
        ("kinglet/+/down", 162),
        ("kinglet/porch/#", 162),
        ("$share/g/kinglet/porch/down", 158),
        ("$SYS/broker/clients", 135),
        ("kinglet/attic/down", 135),
        ("kinglet/porch/up", 135),
        ("kinglet/porch/down/", 135),
        ("/kinglet/porch/down", 135),
    ]
    .into_iter()
    .unzip();
    for version in BOTH {
        let mut client = client(addr, version, &porch).await;
        let expected: Vec<u8> = match version {
            Version::V5 => codes.clone(),
            Version::V3 => codes.iter().map(|code| if *code == 0 { 0 } else { 0x80 }).collect(),
        };
        assert_eq!(client.subscribe(&filters).await, expected);
    }
    rig.stop().await;
}

#[tokio::test]
async fn nothing_but_frames_of_its_own_can_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let (mut porch, mut attic) = (rig.ready_device("porch").await, rig.ready_device("attic").await);
    for version in BOTH {
        let ends = |code| if version == Version::V5 { Said::Parted(code) } else { Said::Closed };
        for topic in ["kinglet/attic/up", "kinglet/porch/down", "$SYS/x", "kinglet/porch/up/", "a"] {
            let mut client = client(addr, version, &porch).await;
            client.publish(topic, 1, &attic.window(T0, b"x")).await;
            assert_eq!(client.next().await, ends(135), "{topic}");
        }
        let mut retaining = client(addr, version, &porch).await;
        let packet = retaining.packet(&up(&porch), 1, b"x");
        retaining.publish_packet(rmqtt_codec::types::Publish { retain: true, ..packet }).await;
        assert_eq!(retaining.next().await, ends(154));
        let mut twice = client(addr, version, &porch).await;
        let packet = twice.packet(&up(&porch), 1, b"x");
        twice.publish_packet(rmqtt_codec::types::Publish { qos: QoS::ExactlyOnce, ..packet }).await;
        assert_eq!(twice.next().await, ends(155));

        // Another device's frame, and another's join, on its own topic: a genuine one, and yet not its own.
        let mut client = client(addr, version, &porch).await;
        assert_eq!(client.subscribe(&["kinglet/porch/refused", "kinglet/porch/down"]).await, [0, 0]);
        let code = |code| if version == Version::V5 { code } else { 0 };
        let mut check = async |frame: &[u8], reason: u8, word: &str| {
            client.publish("kinglet/porch/up", 7, frame).await;
            let said = client.next_n(2).await;
            let refused = Said::Message("kinglet/porch/refused".into(), word.into());
            assert_eq!(said, [Said::Acked(7, code(reason)), refused]);
        };
        check(&attic.window(T0, b"x"), 135, "other_device").await;
        check(&attic.join_request(9), 135, "not_verified").await;
        check(b"", 153, "malformed").await;
        check(&[0xff; 300], 153, "malformed").await;
        let mut changed = porch.window(T0, b"x");
        *changed.last_mut().unwrap() ^= 1;
        // A data frame that does not open may be of an unknown bundle: the device is asked for a status, sealed.
        client.publish("kinglet/porch/up", 8, &changed).await;
        let said = client.next_n(3).await;
        assert_eq!(said[0], Said::Acked(8, code(135)));
        assert!(matches!(&said[1], Said::Message(topic, _) if *topic == down(&porch)), "{said:?}");
        assert_eq!(said[2], Said::Message("kinglet/porch/refused".into(), "not_opened".into()));
    }
    assert_eq!((rig.n_windows(&porch).await, rig.n_windows(&attic).await), (0, 0));
    rig.stop().await;
}

#[tokio::test]
async fn a_replay_is_acked_and_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let mut porch = rig.ready_device("porch").await;
    let frame = porch.window(T0, b"x");
    for version in BOTH {
        let mut client = client(addr, version, &porch).await;
        for id in 1..4 {
            client.publish(&up(&porch), id, &frame).await;
            assert_eq!(client.next().await, Said::Acked(id, 0));
        }
    }
    assert_eq!(rig.n_windows(&porch).await, 1);
    rig.stop().await;
}

#[tokio::test]
async fn without_a_commit_there_is_no_puback() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let mut porch = rig.ready_device("porch").await;
    let mut clients = [
        Client::welcome(
            addr,
            Login { client_id: "a".into(), ..Login::new(Version::V3, &porch.id, &porch.key) },
        )
        .await,
        Client::welcome(
            addr,
            Login { client_id: "b".into(), ..Login::new(Version::V5, &porch.id, &porch.key) },
        )
        .await,
    ];
    rig.core.store.close().await.unwrap();
    for (client, end) in clients.iter_mut().zip([Said::Closed, Said::Parted(137)]) {
        client.publish(&up(&porch), 1, &porch.window(T0, b"x")).await;
        assert_eq!(client.next().await, end);
    }
    rig.stop().await;
}

#[tokio::test]
async fn many_in_flight_are_all_acked_in_their_order() {
    const N: u16 = 300;
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let mut porch = rig.ready_device("porch").await;
    let mut client = client(addr, Version::V5, &porch).await;
    for id in 1..=N {
        client.publish(&up(&porch), id, &porch.window(T0 + i64::from(id) * 80_000, b"x")).await;
    }
    for id in 1..=N {
        assert_eq!(client.next().await, Said::Acked(id, 0));
    }
    assert_eq!(rig.n_windows(&porch).await, usize::from(N));
    // What is under way when the server stops is stored and acked, then the client is told why.
    for id in 1..=50 {
        client.publish(&up(&porch), id, &porch.window(T0 + i64::from(N + id) * 80_000, b"x")).await;
    }
    assert_eq!(client.next().await, Said::Acked(1, 0));
    let (core, stop) = (rig.core.clone(), tokio::spawn(rig.stop()));
    let mut n_acked = 1;
    loop {
        match client.next().await {
            Said::Acked(_, 0) => n_acked += 1,
            said => break assert_eq!(said, Said::Parted(139)),
        }
    }
    stop.await.unwrap();
    let n = core.store.windows(porch.short_id, 0, i64::MAX, 10_000).await.unwrap().len();
    assert!(n >= usize::from(N) + n_acked, "{n} stored, {n_acked} acked");
}

#[tokio::test]
async fn a_session_is_taken_over_by_its_device_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let (porch, attic) = (rig.add_device("porch").await, rig.add_device("attic").await);
    let login = |device: &Device| Login {
        client_id: "esp32".into(),
        ..Login::new(Version::V5, &device.id, &device.key)
    };
    let mut first = Client::welcome(addr, login(&porch)).await;
    let mut other = Client::welcome(addr, login(&attic)).await;
    let (_, said) = Client::connect(addr, Login { password: None, ..login(&porch) }).await;
    assert_eq!(said, Said::Refused(134));
    for client in [&mut first, &mut other] {
        client.ping().await;
        assert_eq!(client.next().await, Said::Pong, "neither another device nor a stranger ends it");
    }
    let mut second = Client::welcome(addr, login(&porch)).await;
    assert_eq!(first.next_n(2).await, [Said::Parted(142), Said::Closed]);
    for client in [&mut second, &mut other] {
        client.ping().await;
        assert_eq!(client.next().await, Said::Pong);
    }
    rig.stop().await;
}

#[tokio::test]
async fn every_connection_of_a_device_hears_its_acks_and_no_other_device_does() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let (mut porch, attic) = (rig.ready_device("porch").await, rig.ready_device("attic").await);
    let mut reader = Client::welcome(
        addr,
        Login { client_id: "reader".into(), ..Login::new(Version::V3, &porch.id, &porch.key) },
    )
    .await;
    assert_eq!(reader.subscribe(&["kinglet/porch/down", "kinglet/porch/refused"]).await, [0, 0]);
    let mut stranger = client(addr, Version::V3, &attic).await;
    assert_eq!(stranger.subscribe(&["kinglet/attic/down", "kinglet/attic/refused"]).await, [0, 0]);
    let mut writer = client(addr, Version::V5, &porch).await;
    let frame = porch.window(T0, b"x");
    writer.publish(&up(&porch), 1, &frame).await;
    assert_eq!(writer.next().await, Said::Acked(1, 0), "it has not subscribed");
    let Said::Message(_, ack) = reader.next().await else { panic!() };
    assert_eq!(porch.open_ack(&ack).run, 2, "the status before it too");
    writer.publish(&up(&porch), 2, b"none").await;
    assert_eq!(reader.next().await, Said::Message("kinglet/porch/refused".into(), b"malformed".to_vec()));
    stranger.ping().await;
    assert_eq!(stranger.next().await, Said::Pong);
    rig.stop().await;
}

#[tokio::test]
async fn a_revoked_device_is_gone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let (porch, mut attic) = (rig.add_device("porch").await, rig.ready_device("attic").await);
    let mut idle = client(addr, Version::V5, &porch).await;
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let answer =
        common::request(rig.addr, "DELETE", "/v1/devices/porch", &[("authorization", &bearer)], b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(idle.next_n(2).await, [Said::Parted(135), Said::Closed]);
    // Revoked by another process: the next frame finds it out.
    let mut busy = client(addr, Version::V5, &attic).await;
    rig.core.registry.revoke("attic", T0).await.unwrap();
    busy.publish(&up(&attic), 1, &attic.window(T0, b"x")).await;
    assert_eq!(busy.next_n(3).await, [Said::Acked(1, 135), Said::Parted(135), Said::Closed]);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_malformed_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let porch = rig.add_device("porch").await;
    let huge = [&b"\x30\xff\xff\xff\x7f"[..], &[0; 100]].concat();
    for (bytes, code) in [
        // PUBLISH with packet id 0; a length of five bytes; one of 256 MB; SUBSCRIBE of nothing; packets of servers.
        (&b"\x32\x07\0\x01a\0\0\0x"[..], 129),
        (b"\x30\xff\xff\xff\xff\x01", 129),
        (&huge, 149),
        (b"\x82\x03\0\x01\0", 143),
        (b"\x20\x03\0\0\0", 130),
        (b"\xf0\0", 130),
        (b"\x00\0", 131),
        (b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0", 130),
        (b"\x32\x05\0\x01a\0", 129),
    ] {
        let mut client = client(addr, Version::V5, &porch).await;
        client.raw(bytes).await;
        // What is cut short waits for its rest; that it does not come is the client's last word.
        client.stream.shutdown().await.unwrap();
        let said = client.next().await;
        assert!(
            said == Said::Parted(code) || bytes.len() == 6 && said == Said::Closed,
            "{bytes:x?}: {said:?}"
        );
    }
    // Before a login: no answer, and no waiting for what is too long.
    for bytes in [
        &b"\x30\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\x7f\0\x04MQTT\x05",
        b"\xc0\0",
        &[0x10; 9000],
    ] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "{bytes:x?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn topic_aliases_are_kept_within_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |_| {}).await;
    let mut porch = rig.ready_device("porch").await;
    let mut say = async |client: &mut Client, topic: &str, alias: u16, id: u16| {
        let mut packet = client.packet(topic, id, &porch.window(T0 + i64::from(id) * 80_000, b"x"));
        packet.properties.as_mut().unwrap().topic_alias = NonZeroU16::new(alias);
        client.publish_packet(packet).await;
        client.next().await
    };
    // The device itself is lent to `say`.
    let row = rig.core.store.device("porch").await.unwrap().unwrap();
    let (id, key) = (DeviceId::new("porch").unwrap(), rig.core.registry.key_of(&row).unwrap());
    let login = || Login::new(Version::V5, &id, &key);
    let mut client = Client::welcome(addr, login()).await;
    assert_eq!(say(&mut client, "kinglet/porch/up", 2, 1).await, Said::Acked(1, 0));
    assert_eq!(say(&mut client, "", 2, 2).await, Said::Acked(2, 0));
    // An alias does not lead around the rules.
    assert_eq!(say(&mut client, "kinglet/attic/up", 3, 3).await, Said::Parted(135));
    for (alias, code) in [(1, 130), (5, 148), (u16::MAX, 148)] {
        let mut client = Client::welcome(addr, login()).await;
        assert_eq!(say(&mut client, "", alias, 1).await, Said::Parted(code), "{alias}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn who_is_slow_or_silent_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |config| {
        config.handshake_timeout_ms = 300;
        config.mqtt_keep_alive_s = 1;
    })
    .await;
    let porch = rig.add_device("porch").await;
    let begun = Instant::now();
    for hello in [&b""[..], b"\x10", b"\x10\x20\0\x04MQTT\x05"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(hello).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    // A keep-alive of one second is over after one and a half; who asks for none gets the server's.
    for keep_alive_s in [1, 0] {
        let login = Login { keep_alive_s, ..Login::new(Version::V5, &porch.id, &porch.key) };
        let mut client = Client::welcome(addr, login).await;
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(1000)).await;
        client.ping().await;
        assert_eq!(client.next().await, Said::Pong);
        assert_eq!(client.next().await, Said::Parted(141));
        assert!(begun.elapsed() > Duration::from_millis(2400) && begun.elapsed() < Duration::from_secs(6));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_full_house_waits_and_many_idle_ones_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, addr) = rig(&dir, |config| {
        config.mqtt_connections = 300;
        config.handshake_timeout_ms = 500;
    })
    .await;
    let porch = rig.add_device("porch").await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    // They never say who they are, so their places are free again soon.
    let mut client = client(addr, Version::V5, &porch).await;
    client.ping().await;
    assert_eq!(client.next().await, Said::Pong);
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
}
