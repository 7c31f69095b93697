//! Frames by CoAP: an acknowledgement means stored, and nobody gains by writing another's address under a request.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use common::{Rig, T0};
use kinglet_wire::counter::Counter;
use tokio::net::UdpSocket;

struct Client {
    socket: UdpSocket,
    next_id: u16,
}

impl Client {
    async fn new(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(addr).await.unwrap();
        Self { socket, next_id: 1 }
    }

    fn post(&mut self, frame: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.header.set_version(1);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.message_id = self.next_id;
        packet.header.code = MessageClass::Request(RequestType::Post);
        packet.set_token(vec![7, 8]);
        packet.add_option(CoapOption::UriPath, b"f".to_vec());
        packet.payload = frame.to_vec();
        self.next_id += 1;
        packet
    }

    async fn say(&self, packet: &Packet) -> Option<Packet> {
        let answer = self.say_bytes(&packet.to_bytes_unlimited().unwrap()).await?;
        Some(Packet::from_bytes(&answer).unwrap())
    }

    /// The answer, if there is one soon.
    async fn say_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.socket.send(bytes).await.unwrap();
        let mut answer = vec![0; 2000];
        let heard = tokio::time::timeout(Duration::from_millis(1500), self.socket.recv(&mut answer)).await;
        answer.truncate(heard.ok()?.unwrap());
        Some(answer)
    }
}

async fn rig(dir: &tempfile::TempDir) -> (Rig, Client) {
    let rig = Rig::start_with(dir.path(), |c| c.coap = Some("127.0.0.1:0".parse().unwrap())).await;
    let client = Client::new(rig.coap_addr.unwrap()).await;
    (rig, client)
}

#[tokio::test]
async fn a_device_joins_and_sends_and_is_acked() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, mut client) = rig(&dir).await;
    let fingerprint = rig.add_bundle(&common::bundle("climate", 8)).await;
    let mut porch = rig.add_device("porch").await;
    porch.fingerprint = fingerprint;
    let join = client.post(&porch.join_request(1));
    let answer = client.say(&join).await.unwrap();
    assert_eq!(
        (answer.header.get_type(), answer.header.get_code()),
        (MessageType::Acknowledgement, "2.04".into())
    );
    assert_eq!((answer.header.message_id, answer.get_token()), (join.header.message_id, &[7, 8][..]));
    porch.take_accept(1, &answer.payload);
    for (n, frame) in [porch.status(), porch.window(T0, b"x"), porch.window(T0, b"y")].into_iter().enumerate()
    {
        let mut post = client.post(&frame);
        let is_last = n == 2;
        if is_last {
            post.header.set_type(MessageType::NonConfirmable);
        }
        let answer = client.say(&post).await.unwrap();
        let kind = if is_last { MessageType::NonConfirmable } else { MessageType::Acknowledgement };
        assert_eq!((answer.header.get_type(), answer.header.get_code()), (kind, "2.04".into()));
        assert!(porch.open_ack(&answer.payload).covers(Counter::new(n as u64).unwrap()));
    }
    assert_eq!(rig.n_windows(&porch).await, 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_repeated_message_has_the_same_answer_and_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, mut client) = rig(&dir).await;
    let mut porch = rig.ready_device("porch").await;
    let post = client.post(&porch.window(T0, b"x")).to_bytes().unwrap();
    let first = client.say_bytes(&post).await.unwrap();
    assert_eq!(client.say_bytes(&post).await.unwrap(), first, "to the byte, so it was not sealed anew");
    // The same frame in a new message is a replay: acked again, under a new seal, and stored once.
    let mut again = Packet::from_bytes(&post).unwrap();
    again.header.message_id = 99;
    let again = client.say(&again).await.unwrap();
    assert_eq!(again.header.get_code(), "2.04");
    assert!(porch.open_ack(&again.payload).covers(Counter::new(1).unwrap()));
    // A device that rebooted counts its messages from the beginning.
    let mut other = client.post(&porch.window(T0 + 80_000, b"y"));
    other.header.message_id = 1;
    let other = client.say(&other).await.unwrap();
    assert!(porch.open_ack(&other.payload).covers(Counter::new(2).unwrap()));
    assert_eq!(rig.n_windows(&porch).await, 2);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_frame_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, mut client) = rig(&dir).await;
    let mut porch = rig.ready_device("porch").await;
    let mut check = async |code: &str, change: &dyn Fn(&mut Packet), frame: &[u8]| {
        let mut packet = client.post(frame);
        change(&mut packet);
        let answer = client.say(&packet).await.unwrap();
        assert_eq!(answer.header.get_code(), code);
        let len = |packet: &Packet| packet.to_bytes_unlimited().unwrap().len();
        assert!(len(&answer) <= len(&packet) + 8, "{} for {}", len(&answer), len(&packet));
        answer.payload
    };
    let as_it_is = |_: &mut Packet| {};
    check("4.05", &|packet| packet.header.code = MessageClass::Request(RequestType::Get), b"").await;
    check("4.04", &|packet| packet.clear_option(CoapOption::UriPath), b"").await;
    check("4.04", &|packet| packet.add_option(CoapOption::UriPath, b"f".to_vec()), b"").await;
    check("4.02", &|packet| packet.add_option(CoapOption::Block1, vec![0]), b"x").await;
    check("4.02", &|packet| packet.add_option(CoapOption::ProxyUri, b"coap://victim".to_vec()), b"x").await;
    check("4.00", &as_it_is, b"").await;
    assert_eq!(check("4.00", &as_it_is, &[0xff; 60]).await, b"malformed");
    assert_eq!(check("4.04", &as_it_is, &[0x40; 60]).await, b"unknown_device");
    let frame = porch.window(T0, b"x");
    for at in [9, frame.len() - 1] {
        let mut changed = frame.clone();
        changed[at] ^= 1;
        check("4.03", &as_it_is, &changed).await;
    }
    let mut old = porch.window(T0, b"x");
    old[1] ^= 0xf0;
    assert_eq!(check("4.09", &as_it_is, &old).await, b"join_required");
    let mut request = porch.join_request(3);
    *request.last_mut().unwrap() ^= 1;
    assert_eq!(check("4.03", &as_it_is, &request).await, b"not_verified");
    assert_eq!(rig.n_windows(&porch).await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn garbage_gets_no_answer_and_a_ping_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, client) = rig(&dir).await;
    assert_eq!(client.say_bytes(&[0x40, 0, 0x12, 0x34]).await, Some(vec![0x70, 0, 0x12, 0x34]));
    // Empty, other versions, acknowledgements, resets, answers, cut short, too long.
    let long = [&[0x40, 2, 0, 9, 0xb1, b'f', 0xff][..], &[0x40; 20_000]].concat();
    for bytes in [
        &b""[..],
        &[0x80, 2, 0, 1],
        &[0x60, 0, 0, 1],
        &[0x70, 0, 0, 1],
        &[0x50, 0x44, 0, 1],
        &[0x49, 2, 0, 1],
        &[0x40, 2],
        &long,
    ] {
        client.socket.send(bytes).await.unwrap();
    }
    assert_eq!(client.say_bytes(b"").await, None);
    // It still answers.
    assert!(client.say_bytes(&[0x40, 0, 0, 2]).await.is_some());
    rig.stop().await;
}

#[tokio::test]
async fn without_a_commit_there_is_no_acknowledgement_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, mut client) = rig(&dir).await;
    let mut porch = rig.ready_device("porch").await;
    rig.core.store.close().await.unwrap();
    let post = client.post(&porch.window(T0, b"x"));
    let answer = client.say(&post).await.unwrap();
    assert_eq!((answer.header.get_code(), answer.payload), ("5.03".into(), Vec::new()));
    rig.stop().await;
}
