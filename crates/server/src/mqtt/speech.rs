//! Both versions of MQTT as one language: what a client says, and what it is told.

use std::num::NonZeroU16;

use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::{MQTT_LEVEL_311, Publish, QoS};
pub(super) use rmqtt_codec::v5::{
    ConnectAckReason, DisconnectReasonCode as Why, PublishAckReason, SubscribeAckReason,
};
use rmqtt_codec::v5::{PublishProperties, ToReasonCode as _, UnsubscribeAckReason};
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder as _, Encoder as _};
use zeroize::Zeroize as _;

use super::{ALIASES_MAX, IN_FLIGHT_MAX, LOGIN_LEN_MAX, PACKET_LEN_MAX};

/// What a client says.
pub(super) enum Heard {
    Login(Box<Login>),
    Publish(Published),
    Subscribe {
        id: NonZeroU16,
        filters: Vec<ByteString>,
    },
    Unsubscribe {
        id: NonZeroU16,
        filters: Vec<ByteString>,
    },
    Ping,
    Disconnect,
    /// A packet no client sends here.
    OutOfPlace,
}

/// A CONNECT.
pub(super) struct Login {
    pub(super) client_id: ByteString,
    pub(super) username: Option<ByteString>,
    pub(super) password: Option<Password>,
    pub(super) keep_alive_s: u16,
    /// True if it can be told another keep-alive than its own.
    pub(super) hears_keep_alive: bool,
    pub(super) has_will: bool,
    pub(super) has_auth_method: bool,
}

/// What was sent as a password; neither shown nor kept.
pub(super) struct Password(pub(super) Vec<u8>);

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A PUBLISH.
pub(super) struct Published {
    /// `None` for QoS 0.
    pub(super) id: Option<NonZeroU16>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Empty where only an alias names it.
    pub(super) topic: ByteString,
    pub(super) alias: Option<NonZeroU16>,
    pub(super) payload: Bytes,
}

/// What cannot be understood, as the reason a client is told.
#[derive(Debug)]
pub(super) struct Garbled(pub(super) Why);

impl From<DecodeError> for Garbled {
    fn from(error: DecodeError) -> Self {
        Self(error.to_reason_code())
    }
}

/// The codec of one connection.
pub(super) enum Speech {
    /// Nothing was said yet.
    Unknown,
    V3(v3::Codec),
    V5(v5::Codec),
}

impl Speech {
    /// The next packet, if it is whole. Reads none that is longer than it may be.
    pub(super) fn hear(&mut self, input: &mut BytesMut) -> Result<Option<Heard>, Garbled> {
        if let Self::Unknown = self {
            match VersionCodec.decode(input)? {
                None if input.len() > LOGIN_LEN_MAX => return Err(Garbled(Why::MalformedPacket)),
                None => return Ok(None),
                // A CONNECT is short; packets grow once somebody has logged in.
                Some(ProtocolVersion::MQTT3) => *self = Self::V3(v3::Codec::new(LOGIN_LEN_MAX as u32)),
                Some(ProtocolVersion::MQTT5) => {
                    *self = Self::V5(v5::Codec::new(LOGIN_LEN_MAX as u32, PACKET_LEN_MAX as u32));
                }
            }
        }
        match self {
            Self::Unknown => Ok(None),
            Self::V3(codec) => Ok(codec.decode(input)?.map(|(packet, _)| hear_v3(packet)).transpose()?),
            Self::V5(codec) => {
                let Some((packet, _)) = codec.decode(input)? else { return Ok(None) };
                if let v5::Packet::Connect(connect) = &packet
                    && let Some(max) = connect.max_packet_size
                {
                    codec.set_max_outbound_size(max.get().min(PACKET_LEN_MAX as u32));
                }
                Ok(Some(hear_v5(packet)))
            }
        }
    }

    /// Whoever has logged in may send frames.
    pub(super) fn grow(&mut self) {
        match self {
            Self::Unknown => {}
            Self::V3(codec) => codec.set_max_size(PACKET_LEN_MAX as u32),
            Self::V5(codec) => codec.set_max_inbound_size(PACKET_LEN_MAX as u32),
        }
    }

    /// Lets the client in; `assigned` is the client id it did not choose, `keep_alive_s` what holds instead of its own.
    pub(super) fn welcome(
        &mut self,
        assigned: Option<ByteString>,
        keep_alive_s: Option<u16>,
        out: &mut BytesMut,
    ) {
        let ack = v5::ConnectAck {
            session_expiry_interval_secs: Some(0),
            receive_max: NonZeroU16::new(IN_FLIGHT_MAX as u16).unwrap_or(NonZeroU16::MIN),
            max_qos: QoS::AtLeastOnce,
            max_packet_size: Some(PACKET_LEN_MAX as u32),
            topic_alias_max: ALIASES_MAX as u16,
            retain_available: false,
            wildcard_subscription_available: false,
            subscription_identifiers_available: false,
            shared_subscription_available: false,
            assigned_client_id: assigned,
            server_keepalive_sec: keep_alive_s,
            ..v5::ConnectAck::default()
        };
        let v3 =
            v3::ConnectAck { return_code: v3::ConnectAckReason::ConnectionAccepted, session_present: false };
        self.say(v3::Packet::ConnectAck(v3), v5::Packet::ConnectAck(Box::new(ack)), out);
    }

    /// Turns the client away.
    pub(super) fn refuse(&mut self, reason: ConnectAckReason, text: &'static str, out: &mut BytesMut) {
        use ConnectAckReason as R;
        use v3::ConnectAckReason as Old;
        let old = match reason {
            R::UnsupportedProtocolVersion => Old::UnacceptableProtocolVersion,
            R::ClientIdentifierNotValid => Old::IdentifierRejected,
            R::ServerUnavailable | R::ServerBusy | R::QuotaExceeded => Old::ServiceUnavailable,
            R::BadUserNameOrPassword => Old::BadUserNameOrPassword,
            _ => Old::NotAuthorized,
        };
        let v3 = v3::ConnectAck { return_code: old, session_present: false };
        let v5 = v5::ConnectAck {
            reason_code: reason,
            reason_string: Some(ByteString::from_static(text)),
            ..v5::ConnectAck::default()
        };
        self.say(v3::Packet::ConnectAck(v3), v5::Packet::ConnectAck(Box::new(v5)), out);
    }

    /// PUBACK. MQTT 3.1.1 has no reasons in it.
    pub(super) fn puback(
        &mut self,
        packet_id: NonZeroU16,
        refused: Option<(PublishAckReason, &'static str)>,
        out: &mut BytesMut,
    ) {
        let v5 = v5::PublishAck {
            packet_id,
            reason_code: refused.map_or(PublishAckReason::Success, |(reason, _)| reason),
            properties: Vec::new(),
            reason_string: refused.map(|(_, text)| ByteString::from_static(text)),
        };
        self.say(v3::Packet::PublishAck { packet_id }, v5::Packet::PublishAck(v5), out);
    }

    /// SUBACK.
    pub(super) fn suback(&mut self, id: NonZeroU16, status: Vec<SubscribeAckReason>, out: &mut BytesMut) {
        let old = status.iter().map(|reason| match reason {
            SubscribeAckReason::GrantedQos0 => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
            _ => v3::SubscribeReturnCode::Failure,
        });
        let v3 = v3::Packet::SubscribeAck { packet_id: id, status: old.collect() };
        let v5 = v5::SubscribeAck { packet_id: id, properties: Vec::new(), reason_string: None, status };
        self.say(v3, v5::Packet::SubscribeAck(v5), out);
    }

    /// UNSUBACK; for each filter whether there was such a subscription.
    pub(super) fn unsuback(&mut self, id: NonZeroU16, had: &[bool], out: &mut BytesMut) {
        let status = had.iter().map(|had| match had {
            true => UnsubscribeAckReason::Success,
            false => UnsubscribeAckReason::NoSubscriptionExisted,
        });
        let v5 = v5::UnsubscribeAck {
            packet_id: id,
            properties: Vec::new(),
            reason_string: None,
            status: status.collect(),
        };
        self.say(v3::Packet::UnsubscribeAck { packet_id: id }, v5::Packet::UnsubscribeAck(v5), out);
    }

    /// PINGRESP.
    pub(super) fn pong(&mut self, out: &mut BytesMut) {
        self.say(v3::Packet::PingResponse, v5::Packet::PingResponse, out);
    }

    /// PUBLISH with QoS 0. What is longer than the client takes is left out.
    pub(super) fn publish(&mut self, topic: ByteString, payload: Bytes, out: &mut BytesMut) {
        let publish = |properties| {
            Box::new(Publish {
                dup: false,
                retain: false,
                qos: QoS::AtMostOnce,
                topic,
                packet_id: None,
                payload,
                properties,
            })
        };
        match self {
            Self::Unknown => {}
            Self::V3(codec) => drop(codec.encode(v3::Packet::Publish(publish(None)), out)),
            Self::V5(codec) => {
                let properties = Some(PublishProperties::default());
                let len = out.len();
                if codec.encode(v5::Packet::Publish(publish(properties)), out).is_err() {
                    out.truncate(len);
                }
            }
        }
    }

    /// DISCONNECT with a reason; MQTT 3.1.1 has none, there the connection just ends.
    pub(super) fn part(&mut self, why: Why, text: &'static str, out: &mut BytesMut) {
        if let Self::V5(codec) = self {
            let packet = v5::Disconnect {
                reason_code: why,
                session_expiry_interval_secs: None,
                server_reference: None,
                reason_string: (!text.is_empty()).then(|| ByteString::from_static(text)),
                user_properties: Vec::new(),
            };
            // What is too long for the client is not sent.
            let _ = codec.encode(v5::Packet::Disconnect(packet), out);
        }
    }

    fn say(&mut self, v3: v3::Packet, v5: v5::Packet, out: &mut BytesMut) {
        let len = out.len();
        let said = match self {
            Self::Unknown => return,
            Self::V3(codec) => codec.encode(v3, out),
            Self::V5(codec) => codec.encode(v5, out),
        };
        if said.is_err() {
            out.truncate(len);
        }
    }
}

/// True if what begins like this is a CONNECT of a version nobody here speaks.
pub(super) fn is_other_version(input: &[u8]) -> bool {
    let mut rest = input;
    if rest.first() != Some(&0x10) {
        return false;
    }
    rest.advance(1);
    while rest.first().is_some_and(|b| b & 0x80 != 0) {
        rest.advance(1);
    }
    rest.get(1..7) == Some(b"\0\x04MQTT") || rest.get(1..9) == Some(b"\0\x06MQIsdp")
}

fn hear_v3(packet: v3::Packet) -> Result<Heard, Garbled> {
    Ok(match packet {
        v3::Packet::Connect(connect) => {
            if connect.protocol.level() != MQTT_LEVEL_311 {
                return Err(Garbled(Why::ImplementationSpecificError));
            }
            Heard::Login(Box::new(Login {
                has_will: connect.last_will.is_some(),
                has_auth_method: false,
                hears_keep_alive: false,
                keep_alive_s: connect.keep_alive,
                password: connect.password.as_ref().map(|password| Password(password.to_vec())),
                client_id: connect.client_id,
                username: connect.username,
            }))
        }
        v3::Packet::Publish(publish) => hear_publish(*publish),
        v3::Packet::Subscribe { packet_id, topic_filters } => Heard::Subscribe {
            id: packet_id,
            filters: topic_filters.into_iter().map(|(filter, _)| filter).collect(),
        },
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            Heard::Unsubscribe { id: packet_id, filters: topic_filters }
        }
        v3::Packet::PingRequest => Heard::Ping,
        v3::Packet::Disconnect => Heard::Disconnect,
        _ => Heard::OutOfPlace,
    })
}

fn hear_v5(packet: v5::Packet) -> Heard {
    match packet {
        v5::Packet::Connect(connect) => Heard::Login(Box::new(Login {
            has_will: connect.last_will.is_some(),
            has_auth_method: connect.auth_method.is_some(),
            hears_keep_alive: true,
            keep_alive_s: connect.keep_alive,
            password: connect.password.as_ref().map(|password| Password(password.to_vec())),
            client_id: connect.client_id,
            username: connect.username,
        })),
        v5::Packet::Publish(publish) => hear_publish(*publish),
        v5::Packet::Subscribe(subscribe) => Heard::Subscribe {
            id: subscribe.packet_id,
            filters: subscribe.topic_filters.into_iter().map(|(filter, _)| filter).collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => {
            Heard::Unsubscribe { id: unsubscribe.packet_id, filters: unsubscribe.topic_filters }
        }
        v5::Packet::PingRequest => Heard::Ping,
        v5::Packet::Disconnect(_) => Heard::Disconnect,
        _ => Heard::OutOfPlace,
    }
}

fn hear_publish(publish: Publish) -> Heard {
    Heard::Publish(Published {
        id: publish.packet_id,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        alias: publish.properties.and_then(|properties| properties.topic_alias),
        payload: publish.payload,
    })
}
