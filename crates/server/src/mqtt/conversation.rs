//! The rules of a connection, without its socket: log in first, own topics only, and what each refusal is called.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use kinglet_wire::keys::DeviceId;
use rmqtt_codec::types::QoS;

use super::speech::{
    ConnectAckReason, Garbled, Heard, Login, Published, Speech, SubscribeAckReason, Why, is_other_version,
};
use super::{ALIASES_MAX, FILTERS_MAX};

/// The topics of a device.
#[derive(Clone)]
pub(super) struct Topics {
    /// What it sends: frames and join requests.
    pub(super) up: ByteString,
    /// What it is sent: acks, accepts, commands.
    pub(super) down: ByteString,
    /// Why something of it was not taken: one word, which nobody has authenticated.
    pub(super) refused: ByteString,
    /// Its requests for pieces of a bundle.
    pub(super) want: ByteString,
    /// Those pieces.
    pub(super) piece: ByteString,
}

impl Topics {
    pub(super) fn of(id: &DeviceId) -> Self {
        let topic = |last: &str| ByteString::from(format!("kinglet/{id}/{last}"));
        Self {
            up: topic("up"),
            down: topic("down"),
            refused: topic("refused"),
            want: topic("want"),
            piece: topic("piece"),
        }
    }
}

/// What a device has subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) down: bool,
    pub(super) refused: bool,
    pub(super) piece: bool,
}

/// What a device has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A frame or a join request.
    Frame,
    /// A request for a piece of a bundle.
    Want,
}

/// What the conversation cannot answer by itself.
pub(super) enum Ask {
    /// Somebody wants in.
    Login(Box<Login>),
    /// Something has come; `id` is what its PUBACK will name.
    Take { id: Option<NonZeroU16>, sent: Sent, payload: Bytes },
    /// The client asks whether it is still there.
    Ping,
    /// The client has ended the connection.
    Over,
}

/// Why the server ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goodbye {
    pub(super) why: Why,
    /// For people; sent to clients that can be told.
    pub(super) text: &'static str,
}

impl From<Garbled> for Goodbye {
    fn from(Garbled(why): Garbled) -> Self {
        let text = match why {
            Why::PacketTooLarge => "the packet is longer than any frame",
            Why::TopicNameInvalid | Why::TopicFilterInvalid => "the topic is none",
            _ => "the packet is malformed",
        };
        Self { why, text }
    }
}

/// One connection.
pub(super) struct Conversation {
    speech: Speech,
    /// `None` until somebody has logged in.
    /// Shared, so that a packet takes one count and no copies.
    topics: Option<Arc<Topics>>,
    aliases: [Option<ByteString>; ALIASES_MAX],
    pub(super) wants: Wants,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self { speech: Speech::Unknown, topics: None, aliases: Default::default(), wants: Wants::default() }
    }

    /// What the next packet asks for, answering into `out` on the way; `None` if more bytes are needed.
    pub(super) fn next(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Option<Ask>, Goodbye> {
        loop {
            let heard = match self.speech.hear(input) {
                Ok(Some(heard)) => heard,
                Ok(None) => return Ok(None),
                Err(garbled) => {
                    if matches!(self.speech, Speech::Unknown) && is_other_version(input) {
                        // As both versions ask for: CONNACK, unacceptable protocol version.
                        out.extend_from_slice(&[0x20, 2, 0, 1]);
                    }
                    return Err(garbled.into());
                }
            };
            match (heard, &self.topics) {
                (Heard::Login(login), None) => return Ok(Some(Ask::Login(login))),
                (Heard::Login(_), Some(_)) => return Err(protocol_error("there was a CONNECT before")),
                (_, None) => return Err(protocol_error("CONNECT comes first")),
                (Heard::Publish(publish), Some(topics)) => {
                    let topics = topics.clone();
                    return self.published(publish, &topics).map(Some);
                }
                (Heard::Subscribe { id, filters }, Some(topics)) => {
                    let topics = topics.clone();
                    self.subscribe(id, &filters, &topics, out)?;
                }
                (Heard::Unsubscribe { id, filters }, Some(topics)) => {
                    let topics = topics.clone();
                    self.unsubscribe(id, &filters, &topics, out)?;
                }
                (Heard::Ping, _) => {
                    self.speech.pong(out);
                    return Ok(Some(Ask::Ping));
                }
                (Heard::Disconnect, _) => return Ok(Some(Ask::Over)),
                (Heard::OutOfPlace, _) => return Err(protocol_error("no client sends this packet")),
            }
        }
    }

    /// Lets in whoever has logged in.
    pub(super) fn welcome(
        &mut self,
        topics: Topics,
        assigned: Option<ByteString>,
        keep_alive_s: Option<u16>,
        out: &mut BytesMut,
    ) {
        self.speech.grow();
        self.topics = Some(Arc::new(topics));
        self.speech.welcome(assigned, keep_alive_s, out);
    }

    /// Turns a login away.
    pub(super) fn refuse(&mut self, reason: ConnectAckReason, text: &'static str, out: &mut BytesMut) {
        self.speech.refuse(reason, text, out);
    }

    /// Says goodbye.
    pub(super) fn part(&mut self, goodbye: Goodbye, out: &mut BytesMut) {
        if self.topics.is_some() {
            self.speech.part(goodbye.why, goodbye.text, out);
        }
    }

    /// The codec, to answer with.
    pub(super) fn speech(&mut self) -> &mut Speech {
        &mut self.speech
    }

    fn published(&mut self, publish: Published, topics: &Topics) -> Result<Ask, Goodbye> {
        let Published { id, qos, retain, topic, alias, payload } = publish;
        if qos == QoS::ExactlyOnce {
            return Err(goodbye(Why::QosNotSupported, "a frame is taken once anyway: send it with QoS 1"));
        }
        if retain {
            return Err(goodbye(Why::RetainNotSupported, "nothing is retained here"));
        }
        let topic = match alias {
            None => topic,
            Some(alias) => {
                let invalid =
                    goodbye(Why::TopicAliasInvalid, "the topic alias is larger than the server takes");
                let kept = self.aliases.get_mut(usize::from(alias.get()) - 1).ok_or(invalid)?;
                if !topic.is_empty() {
                    *kept = Some(topic);
                }
                kept.clone().ok_or_else(|| protocol_error("nothing was said about this topic alias"))?
            }
        };
        let sent = match topic {
            topic if topic == topics.up => Sent::Frame,
            topic if topic == topics.want => Sent::Want,
            _ => {
                let text = "a device sends to kinglet/ID/up and kinglet/ID/want alone, with its own id";
                return Err(goodbye(Why::NotAuthorized, text));
            }
        };
        Ok(Ask::Take { id, sent, payload })
    }

    fn subscribe(
        &mut self,
        id: NonZeroU16,
        filters: &[ByteString],
        topics: &Topics,
        out: &mut BytesMut,
    ) -> Result<(), Goodbye> {
        check_number(filters)?;
        let status = filters.iter().map(|filter| match self.want(filter, topics) {
            Some(wanted) => {
                *wanted = true;
                SubscribeAckReason::GrantedQos0
            }
            None if filter.starts_with("$share/") => SubscribeAckReason::SharedSubscriptionNotSupported,
            None if filter.contains(['#', '+']) => SubscribeAckReason::WildcardSubscriptionsNotSupported,
            None => SubscribeAckReason::NotAuthorized,
        });
        let status = status.collect();
        self.speech.suback(id, status, out);
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        id: NonZeroU16,
        filters: &[ByteString],
        topics: &Topics,
        out: &mut BytesMut,
    ) -> Result<(), Goodbye> {
        check_number(filters)?;
        let had = filters.iter().map(|filter| self.want(filter, topics).is_some_and(std::mem::take));
        let had: Vec<bool> = had.collect();
        self.speech.unsuback(id, &had, out);
        Ok(())
    }

    fn want(&mut self, filter: &ByteString, topics: &Topics) -> Option<&mut bool> {
        match filter {
            filter if *filter == topics.down => Some(&mut self.wants.down),
            filter if *filter == topics.refused => Some(&mut self.wants.refused),
            filter if *filter == topics.piece => Some(&mut self.wants.piece),
            _ => None,
        }
    }
}

fn check_number(filters: &[ByteString]) -> Result<(), Goodbye> {
    match filters.len() {
        1..=FILTERS_MAX => Ok(()),
        _ => Err(goodbye(Why::QuotaExceeded, "there are but three topics to subscribe to")),
    }
}

pub(super) fn goodbye(why: Why, text: &'static str) -> Goodbye {
    Goodbye { why, text }
}

fn protocol_error(text: &'static str) -> Goodbye {
    goodbye(Why::ProtocolError, text)
}
