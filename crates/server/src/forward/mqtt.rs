//! The user's own broker, by MQTT 5: QoS 1, confirmed by its PUBACKs.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, Packet, PubAckReason, PublishOptions, QoS,
};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::config::MqttConfig;
use super::homeassistant::{HomeAssistant, Message, News};
use super::{Delivery, Parcel, Trouble, payload, said};
use crate::alerts::alert_json;
use crate::core::Core;
use crate::store::{AlertRow, AlertStep};

/// How long the broker may take for a delivery, connecting included.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long Home Assistant has to listen to a device that was introduced: its first state would be lost, and the device
/// unavailable until the next one, which may be an hour away.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Requests to the client's own loop; more than one delivery has.
const CAPACITY: usize = 512;

pub(super) struct Mqtt {
    config: MqttConfig,
    client_id: String,
    home_assistant: Option<HomeAssistant>,
    connection: Option<Connection>,
}

struct Connection {
    client: AsyncClient,
    events: EventLoop,
}

impl Mqtt {
    pub(super) fn new(config: &MqttConfig, name: &str) -> Self {
        let home_assistant =
            config.discovery_prefix.as_deref().map(|prefix| HomeAssistant::new(prefix, &config.topic));
        let client_id = format!("kinglet-{}-{name}", config.topic.replace('/', "-"));
        Self { config: config.clone(), client_id, home_assistant, connection: None }
    }

    pub(super) async fn deliver(&mut self, core: &Core, parcels: &[Parcel]) -> Delivery {
        let published = timeout(TIMEOUT, self.publish_all(core, parcels)).await;
        self.delivery(parcels.len(), published)
    }

    /// Says what has happened to alerts, one message each.
    pub(super) async fn tell(&mut self, due: &[(AlertStep, AlertRow)]) -> Delivery {
        let message = |(step, row): &(AlertStep, AlertRow)| Message {
            topic: format!("{}/{}/alert", self.config.topic, row.device_id),
            body: alert_json(row, *step).to_string().into_bytes(),
            retain: false,
        };
        let messages = due.iter().map(message).collect();
        let published = timeout(TIMEOUT, self.publish(messages)).await;
        self.delivery(due.len(), published)
    }

    fn delivery(&mut self, n: usize, published: Result<Result<(), Trouble>, Elapsed>) -> Delivery {
        let trouble = match published {
            Ok(Ok(())) => return Delivery::all(n),
            Ok(Err(trouble)) => trouble,
            Err(_) => slow(),
        };
        // What it holds of this delivery must not be sent beside the next one.
        self.connection = None;
        Delivery::none(trouble)
    }

    /// Says that it is there, as soon as it is.
    pub(super) async fn keep(&mut self) -> Result<(), Trouble> {
        match timeout(TIMEOUT, self.be_connected()).await {
            Ok(done) => done,
            Err(_) => Err(slow()),
        }
    }

    async fn be_connected(&mut self) -> Result<(), Trouble> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
            if let Some(home_assistant) = &mut self.home_assistant {
                home_assistant.forget();
            }
        }
        Ok(())
    }

    async fn publish_all(&mut self, core: &Core, parcels: &[Parcel]) -> Result<(), Trouble> {
        self.be_connected().await?;
        let kind = if self.config.format == super::Format::Senml { "senml" } else { "readings" };
        let mut messages: Vec<Message> = parcels
            .iter()
            .filter_map(|parcel| {
                let body = payload::body(self.config.format, parcel)?;
                Some(Message {
                    topic: format!("{}/{}/{kind}", self.config.topic, parcel.device),
                    body,
                    retain: false,
                })
            })
            .collect();
        let Some(home_assistant) = &mut self.home_assistant else { return self.publish(messages).await };
        let News { introductions, states } = home_assistant.news(core, parcels).await?;
        let is_new = !introductions.is_empty() && !states.is_empty();
        messages.extend(introductions);
        self.publish(messages).await?;
        if is_new {
            sleep(SETTLE).await;
        }
        self.publish(states).await
    }

    async fn publish(&mut self, messages: Vec<Message>) -> Result<(), Trouble> {
        self.be_connected().await?;
        match &mut self.connection {
            Some(connection) => connection.publish(messages).await,
            None => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let status = format!("{}/status", self.config.topic);
        let mut options = self.config.broker.options(self.client_id.clone())?;
        options.set_last_will(LastWill::new(&*status, "offline", QoS::AtLeastOnce, true, None));
        let built = AsyncClient::builder(options).capacity(CAPACITY).try_build();
        let (client, events) = built.map_err(|e| Trouble::Target(said(&e.to_string())))?;
        let mut connection = Connection { client, events };
        let online = Message { topic: status, body: b"online".to_vec(), retain: true };
        connection.publish(vec![online]).await?;
        Ok(connection)
    }

    /// Keeps the connection alive; ends when it is lost.
    pub(super) async fn idle(&mut self) {
        let Some(connection) = &mut self.connection else { return std::future::pending().await };
        while connection.events.poll().await.is_ok() {}
        self.connection = None;
    }

    /// Says that nothing more will come.
    pub(super) async fn close(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let topic = format!("{}/status", self.config.topic);
        let goodbye = Message { topic, body: b"offline".to_vec(), retain: true };
        let leave = async {
            connection.publish(vec![goodbye]).await?;
            connection.client.disconnect().await.map_err(|e| Trouble::Target(e.to_string()))?;
            while connection.events.poll().await.is_ok() {}
            Ok::<_, Trouble>(())
        };
        // If it does not listen, its will says the same.
        let _ = timeout(GOODBYE, leave).await;
    }
}

fn slow() -> Trouble {
    Trouble::Target(format!("the broker does not confirm within {} s", TIMEOUT.as_secs()))
}

impl Connection {
    /// Publishes and waits until each message has its PUBACK.
    async fn publish(&mut self, messages: Vec<Message>) -> Result<(), Trouble> {
        let mut n_waiting = messages.len();
        for Message { topic, body, retain } in messages {
            let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
            let queued = self.client.publish(topic, body, options).await;
            queued.map_err(|e| Trouble::Target(said(&e.to_string())))?;
        }
        while n_waiting > 0 {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => n_waiting -= 1,
                    reason => {
                        return Err(Trouble::Target(format!("the broker refuses a message: {reason:?}")));
                    }
                },
                Ok(Event::Incoming(Packet::Disconnect(packet))) => {
                    return Err(Trouble::Target(format!("the broker ends it: {:?}", packet.reason_code)));
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => {
                    return Err(Trouble::Target(format!("the broker refuses the login: {code:?}")));
                }
                Err(error) => return Err(Trouble::Target(said(&error.to_string()))),
            }
        }
        Ok(())
    }
}
