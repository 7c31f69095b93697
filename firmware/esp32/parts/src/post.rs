//! A request over TCP: HTTP, with nothing around it. Frames are sealed; that they are sent, and how long they are, is
//! for everybody to see.

use alloc::format;
use alloc::string::String;

use embedded_nal_async::{Dns, TcpConnect};
use reqwless::client::HttpClient;
use reqwless::request::{Method, RequestBuilder};

use crate::exchange::{Incoming, MANY, ONE, Outgoing, asks_for_join};

/// Room for an answer's head and body. A sealed ack has some 60 bytes, a piece of a bundle 1,024.
pub const ANSWER_LEN_MAX: usize = 2048;

/// Posts `outgoing` to `server`, or asks for it (`http://host:port`, a path is kept in front) and reads the answer into `buf`.
///
/// Bytes of the answer never leave `buf` unchecked: what does not fit is an error, and what is not sealed does nothing.
pub async fn post<T: TcpConnect, D: Dns>(
    tcp: &T,
    dns: &D,
    server: &str,
    outgoing: &Outgoing,
    buf: &mut [u8],
) -> Result<Incoming, reqwless::Error> {
    let url = url(server, &outgoing.path);
    let mut client = HttpClient::new(tcp, dns);
    let headers = [("connection", "close"), ("content-type", outgoing.kind)];
    // What only asks says all in its path.
    let (method, headers, body) = match outgoing.kind {
        "" => (Method::GET, &headers[..1], &[][..]),
        _ => (Method::POST, &headers[..], outgoing.body.as_slice()),
    };
    let mut request = client.request(method, &url).await?.headers(headers).body(body);
    let response = request.send(buf).await?;
    let mut incoming = Incoming { status: response.status.0, ..Incoming::default() };
    for (name, value) in response.headers() {
        if name.eq_ignore_ascii_case("content-type") {
            incoming.many = kind_of(value);
        } else if name.eq_ignore_ascii_case("kinglet-refused") {
            incoming.join_required = asks_for_join(value);
        }
    }
    incoming.body = response.body().read_to_end().await?.to_vec();
    Ok(incoming)
}

/// `server` and `path` as one address.
pub fn url(server: &str, path: &str) -> String {
    format!("{}{path}", server.trim().trim_end_matches('/'))
}

fn kind_of(content_type: &[u8]) -> Option<bool> {
    let word = content_type.split(|&b| b == b';').next()?.trim_ascii();
    if word.eq_ignore_ascii_case(ONE.as_bytes()) {
        Some(false)
    } else {
        word.eq_ignore_ascii_case(MANY.as_bytes()).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_type() {
        assert_eq!(kind_of(b"application/vnd.kinglet.frame"), Some(false));
        assert_eq!(kind_of(b"Application/vnd.kinglet.frames; x=1"), Some(true));
        assert_eq!(kind_of(b"application/problem+json"), None);
        assert_eq!(url("http://192.0.2.7:8470/", "/v1/join"), "http://192.0.2.7:8470/v1/join");
    }
}
