//! The host's sockets, behind the traits the firmware's network stack has, and the ways to the server above them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use embassy_futures::block_on;
use embedded_io::{ErrorKind, ErrorType};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use kinglet_esp32_parts::exchange::{Incoming, Outgoing};
use kinglet_esp32_parts::mqtt::{Mqtt, MqttError};
use kinglet_esp32_parts::post::{ANSWER_LEN_MAX, post};
use kinglet_esp32_parts::server::{Scheme, Server, dial};
use kinglet_esp32_parts::tls::{self, Tls};
use kinglet_node::provision::Given;

use crate::Result;

/// The way to the server that was given, as the firmware's radio task goes it.
pub(crate) struct Way<'a> {
    url: &'a str,
    server: Server<'a>,
    login: (String, String),
    pin: Option<[u8; 32]>,
    open: Option<Open>,
    buf: Vec<u8>,
}

enum Open {
    Plain(Mqtt<Socket>),
    Tls(Box<Mqtt<Tls<'static, Socket>>>),
}

impl<'a> Way<'a> {
    pub(crate) fn new(given: &Given<'a>) -> Result<Self> {
        let identity = given.identity().ok_or("no id or key")?;
        let token = identity.key.access_token(&identity.id).password();
        Ok(Self {
            url: given.server,
            server: Server::parse(given.server)?,
            login: (identity.id.as_str().to_string(), String::from_utf8(token.to_vec())?),
            pin: given.pin,
            open: None,
            buf: vec![0; ANSWER_LEN_MAX],
        })
    }

    pub(crate) fn request(&mut self, outgoing: &Outgoing) -> Result<Incoming> {
        if self.server.scheme == Scheme::Http {
            return Ok(block_on(post(&Net, &Net, self.url, outgoing, &mut self.buf)).map_err(debug)?);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        let incoming = match &mut open {
            Open::Plain(mqtt) => block_on(mqtt.exchange(outgoing, &mut self.buf)).map_err(debug)?,
            Open::Tls(mqtt) => block_on(mqtt.exchange(outgoing, &mut self.buf)).map_err(debug)?,
        };
        self.open = Some(open);
        Ok(incoming)
    }

    fn connect(&mut self) -> Result<Open> {
        let socket = block_on(dial(&Net, &Net, &self.server)).map_err(debug)?;
        let (id, token) = &self.login;
        if self.server.scheme == Scheme::Mqtt {
            return Ok(Open::Plain(
                block_on(Mqtt::connect(socket, id, token, &mut self.buf)).map_err(debug)?,
            ));
        }
        let mut random = |out: &mut [u8]| getrandom::fill(out).expect("the system gives random numbers");
        let (read, write) = (vec![0; tls::READ_LEN].leak(), vec![0; tls::WRITE_LEN].leak());
        let pin = self.pin.ok_or("no pin")?;
        let tls = block_on(tls::open(socket, pin, &mut random, read, write)).map_err(debug)?;
        let mqtt = block_on(Mqtt::connect(tls, id, token, &mut self.buf)).map_err(debug::<MqttError<_>>)?;
        Ok(Open::Tls(Box::new(mqtt)))
    }
}

fn debug<E: std::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

struct Net;
pub(crate) struct Socket(TcpStream);
#[derive(Debug)]
pub(crate) struct Failed(std::io::Error);

impl core::fmt::Display for Failed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::error::Error for Failed {}
impl embedded_io::Error for Failed {
    fn kind(&self) -> ErrorKind {
        self.0.kind().into()
    }
}
impl ErrorType for Socket {
    type Error = Failed;
}
impl embedded_io_async::Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, Failed> {
        self.0.read(buf).map_err(Failed)
    }
}
impl embedded_io_async::Write for Socket {
    async fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, Failed> {
        self.0.write(buf).map_err(Failed)
    }
    async fn flush(&mut self) -> core::result::Result<(), Failed> {
        self.0.flush().map_err(Failed)
    }
}
impl TcpConnect for Net {
    type Error = Failed;
    type Connection<'a> = Socket;
    async fn connect(&self, remote: SocketAddr) -> core::result::Result<Socket, Failed> {
        let stream = TcpStream::connect_timeout(&remote, Duration::from_secs(5)).map_err(Failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(15))).map_err(Failed)?;
        Ok(Socket(stream))
    }
}
impl Dns for Net {
    type Error = Failed;
    async fn get_host_by_name(&self, host: &str, _: AddrType) -> core::result::Result<IpAddr, Failed> {
        let mut found = (host, 0).to_socket_addrs().map_err(Failed)?;
        found.next().map(|addr| addr.ip()).ok_or_else(|| Failed(std::io::ErrorKind::NotFound.into()))
    }
    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> core::result::Result<usize, Failed> {
        Err(Failed(std::io::ErrorKind::Unsupported.into()))
    }
}
