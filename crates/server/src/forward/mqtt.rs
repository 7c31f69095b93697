//! The user's own broker, by MQTT 5: QoS 1, confirmed by its PUBACKs.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, PubAckReason,
    PublishOptions, QoS, TlsConfiguration, Transport,
};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};

use super::config::MqttConfig;
use super::homeassistant::{HomeAssistant, Message};
use super::{Delivery, Parcel, Trouble, payload, said, trust};
use crate::core::Core;

/// How long the broker may take for a delivery, connecting included.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_S: u16 = 60;
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
        let trouble = match timeout(TIMEOUT, self.publish_all(core, parcels)).await {
            Ok(Ok(())) => return Delivery::all(parcels.len()),
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
        if let Some(home_assistant) = &mut self.home_assistant {
            messages.extend(home_assistant.messages(core, parcels).await?);
        }
        match &mut self.connection {
            Some(connection) => connection.publish(messages).await,
            None => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let config = &self.config;
        let mut options = MqttOptions::new(self.client_id.clone(), Broker::tcp(&*config.host, config.port));
        options.set_keep_alive(KEEP_ALIVE_S);
        if let Some(user) = &config.user {
            let password = config.password.as_ref().map(|password| password.read()).transpose()?;
            let password = password.map(|password| password.as_bytes().to_vec()).unwrap_or_default();
            options.set_credentials(user, password);
        }
        let status = format!("{}/status", config.topic);
        options.set_last_will(LastWill::new(&*status, "offline", QoS::AtLeastOnce, true, None));
        // Its own puts host and port together, which an IPv6 address does not bear.
        let (host, port) = (config.host.clone(), config.port);
        options.set_socket_connector(move |_, _| tokio::net::TcpStream::connect((host.clone(), port)));
        if config.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(self.tls()?)));
        }
        let built = AsyncClient::builder(options).capacity(CAPACITY).try_build();
        let (client, events) = built.map_err(|e| Trouble::Target(said(&e.to_string())))?;
        let mut connection = Connection { client, events };
        let online = Message { topic: status, body: b"online".to_vec(), retain: true };
        connection.publish(vec![online]).await?;
        Ok(connection)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Trouble> {
        let wrong = |e: tokio_rustls::rustls::Error| Trouble::Target(format!("TLS cannot be used: {e}"));
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &self.config.ca_file {
            roots = RootCertStore::empty();
            for cert in trust::authorities(path)? {
                roots.add(cert).map_err(wrong)?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(ALL_VERSIONS).map_err(wrong)?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
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
