//! The way to the server over MQTT 5, and over TLS: a connection for each device, since each has its own password.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, Broker, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet,
    PubAckReason, PublishOptions, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zeroize::Zeroizing;

use kinglet_node::update::Wanted;
use kinglet_wire::piece::PieceRequest;

use super::link::{Account, Answer, Line, LinkError, host_and_port, piece_request};
use super::trust::Trust;

/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What the server sends after its PUBACKs is there at once; this long is waited for it all the same.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Seconds.
const KEEP_ALIVE_S: u16 = 60;
/// Requests to the client's own loop; more than one exchange has.
const CAPACITY: usize = 256;

/// Where the server is, and how it is believed.
pub(super) struct MqttServer {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl MqttServer {
    /// `mqtt://host[:port]` or `mqtts://host[:port]`; `None` if it is neither.
    pub(super) fn new(url: &str, trust: &Trust) -> Option<Self> {
        let (tls, port) = match url.split_once("://")?.0 {
            "mqtt" => (None, 1883),
            "mqtts" => (Some(trust.config()), 8883),
            _ => return None,
        };
        let (host, port) = host_and_port(url, port)?;
        Some(Self { host, port, tls })
    }
}

/// A device's connection; made when it is needed, and anew after it broke.
pub(super) struct MqttLine {
    server: Arc<MqttServer>,
    id: String,
    password: Zeroizing<Vec<u8>>,
    connection: Option<Connection>,
}

impl MqttLine {
    pub(super) fn new(server: Arc<MqttServer>, account: &Account) -> Self {
        let password = Zeroizing::new(account.password.to_vec());
        Self { server, id: account.id.to_string(), password, connection: None }
    }

    /// The connection, or what the server has against it. Only what has worked is put back, to be used again.
    fn take_connection(&mut self) -> Result<Result<Connection, Answer>, LinkError> {
        match self.connection.take() {
            Some(connection) => Ok(Ok(connection)),
            None => Connection::new(&self.server, &self.id, &self.password),
        }
    }

    fn exchange(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        let mut connection = match self.take_connection()? {
            Ok(connection) => connection,
            Err(refused) => return Ok(refused),
        };
        let answer = connection.exchange(frames)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Line for MqttLine {
    fn join(&mut self, request: &[u8]) -> Result<Answer, LinkError> {
        self.exchange(&[request.to_vec()])
    }

    fn bring(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        self.exchange(frames)
    }

    fn fetch(&mut self, wanted: &Wanted) -> Result<Vec<u8>, LinkError> {
        let mut connection =
            self.take_connection()?.map_err(|_| LinkError("the server refuses the login".into()))?;
        match connection.fetch(&piece_request(wanted)) {
            Ok(piece) => {
                self.connection = Some(connection);
                piece.ok_or_else(|| LinkError("the bundle is not there".into()))
            }
            Err(Broken::Lost(why)) => Err(LinkError(why)),
            Err(Broken::Refused(_)) => Err(LinkError("the server refuses the login".into())),
        }
    }
}

struct Connection {
    runtime: Runtime,
    client: AsyncClient,
    events: EventLoop,
    up: String,
    down: String,
    refused: String,
    want: String,
    piece: String,
    /// Whether the server gives pieces here; `None` until it was asked.
    has_pieces: Option<bool>,
}

impl Connection {
    /// Logs in and subscribes; the inner error is what the server has against it.
    fn new(server: &MqttServer, id: &str, password: &[u8]) -> Result<Result<Self, Answer>, LinkError> {
        let failed = |e: &dyn std::fmt::Display| LinkError(e.to_string());
        let mut options = MqttOptions::new(format!("{id}-kinglet"), Broker::tcp(&*server.host, server.port));
        options.set_keep_alive(KEEP_ALIVE_S);
        options.set_credentials(id, password.to_vec());
        // Its own puts host and port together, which an IPv6 address does not bear.
        let (host, port) = (server.host.clone(), server.port);
        options.set_socket_connector(move |_, _| tokio::net::TcpStream::connect((host.clone(), port)));
        if let Some(config) = &server.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(config))));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| failed(&e))?;
        let built = AsyncClient::builder(options).capacity(CAPACITY).try_build();
        let (client, events) = built.map_err(|e| failed(&e))?;
        let topic = |last: &str| format!("kinglet/{id}/{last}");
        let (up, down, refused) = (topic("up"), topic("down"), topic("refused"));
        let (want, piece, has_pieces) = (topic("want"), topic("piece"), None);
        let mut connection = Self { runtime, client, events, up, down, refused, want, piece, has_pieces };
        match connection.subscribe() {
            Ok(()) => Ok(Ok(connection)),
            Err(Broken::Refused(answer)) => Ok(Err(answer)),
            Err(Broken::Lost(why)) => Err(LinkError(why)),
        }
    }

    fn subscribe(&mut self) -> Result<(), Broken> {
        let Self { runtime, client, events, down, refused, .. } = self;
        within(runtime, async {
            for topic in [down, refused] {
                client.subscribe(topic.as_str(), QoS::AtMostOnce).await.map_err(lost)?;
            }
            let mut n_waiting = 2;
            while n_waiting > 0 {
                if let Event::Incoming(Packet::SubAck(_)) = events.poll().await? {
                    n_waiting -= 1;
                }
            }
            Ok(())
        })
    }

    /// Asks for a piece and waits for it; `None` if the server gives none.
    fn fetch(&mut self, request: &PieceRequest) -> Result<Option<Vec<u8>>, Broken> {
        let Self { runtime, client, events, want, piece, has_pieces, .. } = self;
        within(runtime, async {
            if has_pieces.is_none() {
                client.subscribe(piece.as_str(), QoS::AtMostOnce).await.map_err(lost)?;
                *has_pieces = loop {
                    if let Event::Incoming(Packet::SubAck(ack)) = events.poll().await? {
                        break Some(matches!(ack.return_codes[..], [SubscribeReasonCode::Success(_)]));
                    }
                };
            }
            if *has_pieces != Some(true) {
                // A server from before would end the connection of who asks all the same.
                return Ok(None);
            }
            let options = PublishOptions::new(QoS::AtLeastOnce);
            client.publish(want.as_str(), request.to_bytes().to_vec(), options).await.map_err(lost)?;
            loop {
                match events.poll().await? {
                    Event::Incoming(Packet::Publish(publish)) if publish.topic == piece.as_bytes() => {
                        // One that comes late belongs to an earlier request.
                        if let Some(bytes) = request.read(&publish.payload) {
                            return Ok(Some(bytes.to_vec()));
                        }
                    }
                    Event::Incoming(Packet::PubAck(ack)) if ack.reason != PubAckReason::Success => {
                        return Ok(None);
                    }
                    Event::Incoming(Packet::Disconnect(_)) => {
                        return Err(Broken::Lost("the server has ended the connection".into()));
                    }
                    _ => {}
                }
            }
        })
    }

    /// Publishes the frames and waits until each has its PUBACK and the sealed answer behind the last one is there.
    fn exchange(&mut self, frames: &[Vec<u8>]) -> Result<Answer, LinkError> {
        let Self { runtime, client, events, up, down, refused, .. } = self;
        let mut answer = Answer { status: 200, ..Answer::default() };
        let mut words: Vec<String> = Vec::new();
        let done = within(runtime, async {
            for frame in frames {
                let options = PublishOptions::new(QoS::AtLeastOnce);
                client.publish(up.as_str(), frame.clone(), options).await.map_err(lost)?;
            }
            let (mut n_waiting, mut n_taken, mut is_told) = (frames.len(), 0, false);
            while n_waiting > 0 || !is_told {
                let event = match n_waiting {
                    0 => match timeout(AFTERWARDS, events.poll()).await {
                        Ok(event) => event?,
                        // Whoever sent it sends it again.
                        Err(_) => break,
                    },
                    _ => events.poll().await?,
                };
                match event {
                    Event::Incoming(Packet::PubAck(ack)) => {
                        n_waiting = n_waiting.saturating_sub(1);
                        n_taken += usize::from(ack.reason == PubAckReason::Success);
                        is_told = false;
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        is_told = true;
                        match &publish.topic[..] {
                            topic if topic == down.as_bytes() => {
                                answer.downlinks.push(publish.payload.into())
                            }
                            topic if topic == refused.as_bytes() => {
                                words.push(String::from_utf8_lossy(&publish.payload).into_owned());
                            }
                            _ => {}
                        }
                    }
                    Event::Incoming(Packet::Disconnect(packet)) => {
                        let why = packet.properties.and_then(|properties| properties.reason_string);
                        return Err(Broken::Lost(why.unwrap_or_else(|| format!("{:?}", packet.reason_code))));
                    }
                    _ => {}
                }
            }
            if n_taken == 0 {
                answer.status = 400;
            }
            Ok(())
        });
        match done {
            Ok(()) => {}
            Err(Broken::Lost(why)) => return Err(LinkError(why)),
            Err(Broken::Refused(refused)) => return Ok(refused),
        }
        answer.refused = (!words.is_empty()).then(|| words.join(", "));
        Ok(answer)
    }
}

/// Why a connection cannot go on.
enum Broken {
    Lost(String),
    /// The login was refused.
    Refused(Answer),
}

fn lost(error: impl std::fmt::Display) -> Broken {
    Broken::Lost(error.to_string())
}

impl From<ConnectionError> for Broken {
    fn from(error: ConnectionError) -> Self {
        let refused = |word: &str, detail: &str| {
            let (refused, detail) = (Some(word.into()), Some(detail.into()));
            Self::Refused(Answer { status: 403, refused, detail, ..Answer::default() })
        };
        match error {
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword) => {
                refused("not_verified", "the server knows no device of this id with this key")
            }
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized) => {
                refused("revoked", "the device was revoked: give it a new id and key")
            }
            error => lost(error),
        }
    }
}

fn within<T>(runtime: &Runtime, todo: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
    let in_time = runtime.block_on(async { timeout(TIMEOUT, todo).await });
    in_time.unwrap_or_else(|_| Err(Broken::Lost(format!("no answer within {} s", TIMEOUT.as_secs()))))
}
