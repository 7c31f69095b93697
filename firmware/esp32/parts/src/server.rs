//! The server's address, as a board was given it.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embedded_nal_async::{AddrType, Dns, TcpConnect};

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// MQTT over plain TCP.
    Mqtt,
    /// MQTT by TLS 1.3, to the one server whose certificate is pinned.
    Mqtts,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Name or IPv4 address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
}

impl<'a> Server<'a> {
    /// Reads `mqtts://192.0.2.7:8883`; what follows a `/` matters to HTTP alone. The reason is for a person.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        const NONE: &str = "the server's address is none of http://HOST, mqtt://HOST and mqtts://HOST";
        let (scheme, rest) = text.trim().split_once("://").ok_or(NONE)?;
        let (scheme, usual) = match scheme {
            "http" => (Scheme::Http, 80),
            "mqtt" => (Scheme::Mqtt, 1883),
            "mqtts" => (Scheme::Mqtts, 8883),
            _ => return Err(NONE),
        };
        let place = rest.split('/').next().unwrap_or_default();
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| "the server's port is none")?),
            None => (place, usual),
        };
        if host.is_empty() { Err(NONE) } else { Ok(Self { scheme, host, port }) }
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError<T, D> {
    /// The name is unknown.
    Name(D),
    /// Nobody listens there, or not to us.
    Tcp(T),
}

/// A TCP connection to it.
pub async fn dial<'a, T: TcpConnect, D: Dns>(
    tcp: &'a T,
    dns: &D,
    server: &Server<'_>,
) -> Result<T::Connection<'a>, DialError<T::Error, D::Error>> {
    let ip = match server.host.parse::<Ipv4Addr>() {
        Ok(ip) => IpAddr::V4(ip),
        Err(_) => dns.get_host_by_name(server.host, AddrType::IPv4).await.map_err(DialError::Name)?,
    };
    tcp.connect(SocketAddr::new(ip, server.port)).await.map_err(DialError::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let check = |text, scheme, host, port| {
            assert_eq!(Server::parse(text), Ok(Server { scheme, host, port }), "{text}");
        };
        check("http://192.0.2.7:8470/below/", Scheme::Http, "192.0.2.7", 8470);
        check("mqtt://k.lan", Scheme::Mqtt, "k.lan", 1883);
        check(" mqtts://k.lan:1 ", Scheme::Mqtts, "k.lan", 1);
        for wrong in ["", "k.lan", "https://k.lan", "mqtt://", "mqtt://:1", "mqtt://k:x", "mqtt://k:65536"] {
            assert!(Server::parse(wrong).is_err(), "{wrong}");
        }
    }
}
