//! A client of both versions that says exactly what a test wants said, right or wrong.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use kinglet_wire::keys::{DeviceId, DeviceKey};
use rmqtt_codec::types::{Protocol, Publish, QoS};
use rmqtt_codec::v5::PublishProperties;
use rmqtt_codec::{MqttCodec, MqttPacket, v3, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V3,
    V5,
}

pub const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// What the server says, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Welcome,
    /// The code of a CONNACK.
    Refused(u8),
    /// Id and code; MQTT 3.1.1 has none and says 0.
    Acked(u16, u8),
    Subscribed(Vec<u8>),
    Unsubscribed,
    Message(String, Vec<u8>),
    Pong,
    /// The code of a DISCONNECT.
    Parted(u8),
    /// The connection ended.
    Closed,
}

pub struct Login {
    pub version: Version,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub keep_alive_s: u16,
    pub has_will: bool,
}

impl Login {
    pub fn new(version: Version, id: &DeviceId, key: &DeviceKey) -> Self {
        Self {
            version,
            client_id: format!("{id}-1"),
            username: Some(id.to_string()),
            password: Some(String::from_utf8(key.access_token(id).password().to_vec()).unwrap()),
            keep_alive_s: 60,
            has_will: false,
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
    pub version: Version,
    codec: MqttCodec,
    input: BytesMut,
}

impl Client {
    pub async fn open(addr: SocketAddr, version: Version) -> Self {
        Self::on(TcpStream::connect(addr).await.unwrap(), version)
    }

    fn on(stream: TcpStream, version: Version) -> Self {
        let codec = match version {
            Version::V3 => MqttCodec::V3(v3::Codec::new(0)),
            Version::V5 => MqttCodec::V5(v5::Codec::new(0, 0)),
        };
        Self { stream, version, codec, input: BytesMut::new() }
    }

    /// Connects and logs in; gives what the server says to it.
    pub async fn connect(addr: SocketAddr, login: Login) -> (Self, Said) {
        let mut client = Self::open(addr, login.version).await;
        client.login(login).await;
        let said = client.next().await;
        (client, said)
    }

    /// A client that was let in.
    pub async fn welcome(addr: SocketAddr, login: Login) -> Self {
        let (client, said) = Self::connect(addr, login).await;
        assert_eq!(said, Said::Welcome);
        client
    }

    /// The same, if anybody is there and lets it in.
    pub async fn welcome_if_any(addr: SocketAddr, login: Login) -> Option<Self> {
        let mut client = Self::on(TcpStream::connect(addr).await.ok()?, login.version);
        client.login(login).await;
        (client.next().await == Said::Welcome).then_some(client)
    }

    pub async fn login(&mut self, login: Login) {
        let topic = ByteString::from_static("kinglet/will");
        let (username, password) = (login.username.map(ByteString::from), login.password.map(Bytes::from));
        let packet = match self.version {
            Version::V3 => MqttPacket::V3(v3::Packet::Connect(Box::new(v3::Connect {
                protocol: Protocol(4),
                clean_session: true,
                keep_alive: login.keep_alive_s,
                last_will: login.has_will.then(|| v3::LastWill {
                    qos: QoS::AtMostOnce,
                    retain: false,
                    topic,
                    message: Bytes::new(),
                }),
                client_id: login.client_id.into(),
                username,
                password,
                cert: None,
            }))),
            Version::V5 => MqttPacket::V5(v5::Packet::Connect(Box::new(v5::Connect {
                clean_start: true,
                keep_alive: login.keep_alive_s,
                last_will: login.has_will.then(|| v5::LastWill {
                    qos: QoS::AtMostOnce,
                    retain: false,
                    topic,
                    message: Bytes::new(),
                    will_delay_interval_sec: None,
                    correlation_data: None,
                    message_expiry_interval: None,
                    content_type: None,
                    user_properties: Vec::new(),
                    is_utf8_payload: None,
                    response_topic: None,
                }),
                client_id: login.client_id.into(),
                username,
                password,
                request_problem_info: true,
                ..v5::Connect::default()
            }))),
        };
        self.send(packet).await;
    }

    pub async fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = NonZeroU16::new(9).unwrap();
        let filters = filters.iter().map(|filter| ByteString::from(*filter));
        let packet = match self.version {
            Version::V3 => MqttPacket::V3(v3::Packet::Subscribe {
                packet_id: id,
                topic_filters: filters.map(|filter| (filter, QoS::AtLeastOnce)).collect(),
            }),
            Version::V5 => MqttPacket::V5(v5::Packet::Subscribe(v5::Subscribe {
                packet_id: id,
                id: None,
                user_properties: Vec::new(),
                topic_filters: filters.map(|f| (f, v5::SubscriptionOptions::default())).collect(),
            })),
        };
        self.send(packet).await;
        match self.next().await {
            Said::Subscribed(codes) => codes,
            other => panic!("{other:?}"),
        }
    }

    pub fn packet(&self, topic: &str, id: u16, payload: &[u8]) -> Publish {
        Publish {
            dup: false,
            retain: false,
            qos: if id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            topic: ByteString::from(topic),
            packet_id: NonZeroU16::new(id),
            payload: Bytes::copy_from_slice(payload),
            properties: (self.version == Version::V5).then(PublishProperties::default),
        }
    }

    /// Publishes with QoS 1, or 0 for id 0.
    pub async fn publish(&mut self, topic: &str, id: u16, payload: &[u8]) {
        let packet = self.packet(topic, id, payload);
        self.publish_packet(packet).await;
    }

    pub async fn publish_packet(&mut self, publish: Publish) {
        let packet = match self.version {
            Version::V3 => MqttPacket::V3(v3::Packet::Publish(Box::new(publish))),
            Version::V5 => MqttPacket::V5(v5::Packet::Publish(Box::new(publish))),
        };
        self.send(packet).await;
    }

    pub async fn ping(&mut self) {
        let packet = match self.version {
            Version::V3 => MqttPacket::V3(v3::Packet::PingRequest),
            Version::V5 => MqttPacket::V5(v5::Packet::PingRequest),
        };
        self.send(packet).await;
    }

    async fn send(&mut self, packet: MqttPacket) {
        let mut out = BytesMut::new();
        self.codec.encode(packet, &mut out).unwrap();
        self.raw(&out).await;
    }

    /// Sends bytes; the server may have hung up by then.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn next(&mut self) -> Said {
        tokio::time::timeout(PATIENCE, self.hear()).await.expect("the server says something")
    }

    /// What comes until everything asked for is there; order kept.
    pub async fn next_n(&mut self, n: usize) -> Vec<Said> {
        let mut all = Vec::new();
        for _ in 0..n {
            all.push(self.next().await);
        }
        all
    }

    async fn hear(&mut self) -> Said {
        loop {
            if let Some((packet, _)) = self.codec.decode(&mut self.input).unwrap() {
                return said(packet);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Said::Closed,
                Ok(_) => {}
            }
        }
    }
}

fn said(packet: MqttPacket) -> Said {
    let message = |publish: Publish| {
        assert!(!publish.retain && publish.qos == QoS::AtMostOnce);
        Said::Message(publish.topic.to_string(), publish.payload.to_vec())
    };
    match packet {
        MqttPacket::V3(packet) => match packet {
            v3::Packet::ConnectAck(ack) if u8::from(ack.return_code) == 0 => Said::Welcome,
            v3::Packet::ConnectAck(ack) => Said::Refused(ack.return_code.into()),
            v3::Packet::PublishAck { packet_id } => Said::Acked(packet_id.get(), 0),
            v3::Packet::SubscribeAck { status, .. } => {
                let code = |status: v3::SubscribeReturnCode| match status {
                    v3::SubscribeReturnCode::Success(qos) => qos.value(),
                    v3::SubscribeReturnCode::Failure => 0x80,
                };
                Said::Subscribed(status.into_iter().map(code).collect())
            }
            v3::Packet::UnsubscribeAck { .. } => Said::Unsubscribed,
            v3::Packet::Publish(publish) => message(*publish),
            v3::Packet::PingResponse => Said::Pong,
            other => panic!("{other:?}"),
        },
        MqttPacket::V5(packet) => match packet {
            v5::Packet::ConnectAck(ack) if u8::from(ack.reason_code) == 0 => {
                assert_eq!((ack.max_qos, ack.retain_available), (QoS::AtLeastOnce, false));
                Said::Welcome
            }
            v5::Packet::ConnectAck(ack) => Said::Refused(ack.reason_code.into()),
            v5::Packet::PublishAck(ack) => Said::Acked(ack.packet_id.get(), ack.reason_code.into()),
            v5::Packet::SubscribeAck(ack) => Said::Subscribed(ack.status.into_iter().map(u8::from).collect()),
            v5::Packet::UnsubscribeAck(_) => Said::Unsubscribed,
            v5::Packet::Publish(publish) => message(*publish),
            v5::Packet::PingResponse => Said::Pong,
            v5::Packet::Disconnect(packet) => Said::Parted(packet.reason_code.into()),
            other => panic!("{other:?}"),
        },
        MqttPacket::Version(_) => panic!("no version was asked for"),
    }
}
