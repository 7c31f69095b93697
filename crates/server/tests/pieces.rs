//! Bundles over MQTT and CoAP: the same pieces as over HTTP, to who may ask, and to no address that did not.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;
mod mqtt_client;

use std::net::SocketAddr;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use common::{Rig, T0, bundle};
use kinglet_codec::bundle::Bundle;
use kinglet_server::offers::Audience;
use kinglet_wire::payload::UpdateState;
use kinglet_wire::piece::{Piece, PieceRequest};
use kinglet_wire::update::{SigningKey, Update};
use mqtt_client::{BOTH, Client, Login, Said};
use tokio::net::UdpSocket;

const ECHO: CoapOption = CoapOption::Unknown(252);

/// A server with all doors, that offers a bundle.
async fn rig(dir: &tempfile::TempDir) -> (Rig, Bundle) {
    let rig = Rig::start_with(dir.path(), |config| {
        config.mqtt = Some("127.0.0.1:0".parse().unwrap());
        config.coap = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let new = bundle("climate", 12);
    let update = Update { serial: 7, model_len: new.device().len() as u32, identity: new.identity() };
    let signature = SigningKey::from_bytes([4; 32]).sign(&update).to_bytes().to_vec();
    let new = new.with_signature(signature);
    rig.core.offers.add(&rig.core.bundles, new.emit(), Audience::Percent(100), T0).await.unwrap();
    (rig, new)
}

fn request(bundle: &Bundle, from: usize, len: u16) -> PieceRequest {
    PieceRequest { fingerprint: bundle.fingerprint(), from: from as u32, len }
}

#[tokio::test]
async fn a_device_fetches_a_bundle_by_mqtt_over_its_own_topics_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, new) = rig(&dir).await;
    let addr = rig.mqtt_addrs[0].unwrap();
    let (porch, attic) = (rig.ready_device("porch").await, rig.ready_device("attic").await);
    let hidden = bundle("hidden", 16);
    rig.add_bundle(&hidden).await;
    for version in BOTH {
        let mut client = Client::welcome(addr, Login::new(version, &porch.id, &porch.key)).await;
        let mut other = Client::welcome(addr, Login::new(version, &attic.id, &attic.key)).await;
        assert_eq!(client.subscribe(&["kinglet/porch/piece", "kinglet/porch/refused"]).await, [0, 0]);
        assert!(other.subscribe(&["kinglet/porch/piece"]).await[0] >= 128);
        let mut fetched: Vec<u8> = Vec::new();
        while fetched.len() < new.device().len() {
            let request = request(&new, fetched.len(), 500);
            client.publish("kinglet/porch/want", 1, &request.to_bytes()).await;
            let [Said::Acked(1, 0), Said::Message(topic, piece)] = &client.next_n(2).await[..] else {
                panic!()
            };
            assert_eq!(topic, "kinglet/porch/piece");
            fetched.extend(request.read(piece).unwrap());
        }
        assert_eq!(fetched, new.device());
        // Not more than a piece at once, whatever is asked for.
        client.publish("kinglet/porch/want", 2, &request(&new, 0, u16::MAX).to_bytes()).await;
        let [_, Said::Message(_, piece)] = &client.next_n(2).await[..] else { panic!() };
        assert_eq!(Piece::parse(piece).unwrap().bytes, &new.device()[..1024.min(new.device().len())]);
        for (bytes, word) in [
            (request(&hidden, 0, 9).to_bytes().to_vec(), "not_offered"),
            (request(&new, new.device().len(), 9).to_bytes().to_vec(), "beyond_the_end"),
            (request(&new, 0, 0).to_bytes().to_vec(), "malformed"),
            (vec![7; 21], "malformed"),
        ] {
            client.publish("kinglet/porch/want", 3, &bytes).await;
            let [Said::Acked(3, _), Said::Message(topic, said)] = &client.next_n(2).await[..] else {
                panic!()
            };
            assert_eq!((topic.as_str(), said.as_slice()), ("kinglet/porch/refused", word.as_bytes()));
        }
        // Another device's topic ends the connection.
        other.publish("kinglet/porch/want", 1, &request(&new, 0, 9).to_bytes()).await;
        assert!(!matches!(other.next().await, Said::Acked(..) | Said::Message(..)));
    }
    rig.stop().await;
}

struct Coap(UdpSocket, u16);

impl Coap {
    async fn new(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(addr).await.unwrap();
        Self(socket, 0)
    }

    /// What is answered, and how many bytes longer that is.
    async fn say(
        &mut self,
        path: &str,
        option: Option<(CoapOption, &[u8])>,
        payload: &[u8],
    ) -> (Packet, isize) {
        self.1 += 1;
        let mut packet = Packet::new();
        packet.header.set_version(1);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.message_id = self.1;
        packet.header.code = MessageClass::Request(RequestType::Post);
        packet.add_option(CoapOption::UriPath, path.into());
        if let Some((option, value)) = option {
            packet.add_option(option, value.to_vec());
        }
        packet.payload = payload.to_vec();
        let (sent, mut answer) = (packet.to_bytes().unwrap(), vec![0; 2000]);
        self.0.send(&sent).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(5), self.0.recv(&mut answer)).await;
        let len = heard.unwrap().unwrap();
        (Packet::from_bytes(&answer[..len]).unwrap(), len as isize - sent.len() as isize)
    }
}

#[tokio::test]
async fn a_piece_goes_by_coap_to_an_address_that_gives_back_what_was_sent_there() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, new) = rig(&dir).await;
    let mut client = Coap::new(rig.coap_addr.unwrap()).await;
    let first = request(&new, 0, 300);
    let (answer, longer) = client.say("b", None, &first.to_bytes()).await;
    assert_eq!(answer.header.get_code(), "4.01");
    assert!(answer.payload.is_empty() && longer <= 8, "{longer}");
    let echo = answer.get_option(ECHO).unwrap().front().unwrap().clone();
    let mut fetched: Vec<u8> = Vec::new();
    while fetched.len() < new.device().len() {
        let request = request(&new, fetched.len(), 300);
        let (answer, _) = client.say("b", Some((ECHO, &echo)), &request.to_bytes()).await;
        assert_eq!(answer.header.get_code(), "2.05");
        fetched.extend(request.read(&answer.payload).unwrap());
    }
    assert_eq!(fetched, new.device());
    // Another address has to show itself, and everybody again after a while; a word is no longer than what it answers.
    let mut other = Coap::new(rig.coap_addr.unwrap()).await;
    assert_eq!(other.say("b", Some((ECHO, &echo)), &first.to_bytes()).await.0.header.get_code(), "4.01");
    for (bytes, code) in [
        (request(&bundle("hidden", 16), 0, 9).to_bytes().to_vec(), "4.04"),
        (request(&new, new.device().len(), 9).to_bytes().to_vec(), "4.00"),
        (request(&new, 0, 0).to_bytes().to_vec(), "4.00"),
        (vec![7; 300], "4.00"),
    ] {
        let (answer, longer) = client.say("b", Some((ECHO, &echo)), &bytes).await;
        assert_eq!(answer.header.get_code(), code);
        assert!(longer <= 8, "{longer}");
    }
    rig.clock.advance(20 * 60_000);
    assert_eq!(client.say("b", Some((ECHO, &echo)), &first.to_bytes()).await.0.header.get_code(), "4.01");
    rig.stop().await;
}

#[tokio::test]
async fn an_offer_is_told_by_coap_to_who_asks_for_all_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, _) = rig(&dir).await;
    let mut porch = rig.ready_device("porch").await;
    let mut client = Coap::new(rig.coap_addr.unwrap()).await;
    let mut status = || porch.status_with(Some(UpdateState { serial: 0, is_trial: false, refused: None }));
    let (frames, list): (Vec<_>, _) =
        ((0..2).map(|_| status()).collect(), Some((CoapOption::UriQuery, &b"all"[..])));
    let (answer, _) = client.say("f", list, &frames[0]).await;
    assert_eq!(answer.get_option(CoapOption::ContentFormat).unwrap().front().unwrap()[..], [0xFD, 0xE9]);
    let (len, rest) = answer.payload.split_first_chunk::<2>().unwrap();
    let (ack, rest) = rest.split_at(u16::from_be_bytes(*len).into());
    porch.open_ack(ack);
    let (len, command) = rest.split_first_chunk::<2>().unwrap();
    assert_eq!((usize::from(u16::from_be_bytes(*len)), command.len() > 105), (command.len(), true));
    // Who does not ask is answered as ever: by the ack alone.
    rig.clock.advance(60_000);
    let (answer, _) = client.say("f", None, &frames[1]).await;
    assert!(answer.get_option(CoapOption::ContentFormat).is_none());
    porch.open_ack(&answer.payload);
    rig.stop().await;
}
