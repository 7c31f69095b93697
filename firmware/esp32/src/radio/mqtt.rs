//! Requests over MQTT, on a connection that stays open, by TLS if the image has it.

use embassy_time::with_timeout;
use embedded_io_async::{Read, Write};
use embedded_nal_async::{Dns, TcpConnect};
use kinglet_esp32_parts::exchange::Outgoing;
use kinglet_esp32_parts::mqtt::Mqtt;
use kinglet_esp32_parts::server::{Scheme, dial};

use super::{ANSWERS, Access, REQUESTS, TIMEOUT, said};

/// Connects, sends `outgoing` and what comes after it, until the connection ends. Gives back what an old connection did not
/// answer; what a new one does not answer has none.
pub async fn serve<T: TcpConnect, D: Dns>(
    tcp: &T,
    dns: &D,
    access: &Access,
    outgoing: Outgoing,
    buf: &mut [u8],
) -> Option<Outgoing> {
    let Some(io) = said(with_timeout(TIMEOUT, dial(tcp, dns, &access.server)).await) else {
        ANSWERS.send(None).await;
        return None;
    };
    if access.server.scheme == Scheme::Mqtt {
        return talk(io, access, outgoing, buf).await;
    }
    #[cfg(feature = "tls")]
    if let Some(pin) = access.pin {
        use kinglet_esp32_parts::tls;
        let (mut read, mut write) = (alloc::vec![0; tls::READ_LEN], alloc::vec![0; tls::WRITE_LEN]);
        let mut random = |out: &mut [u8]| esp_hal::rng::Rng::new().read(out);
        let opened = tls::open(io, pin, &mut random, &mut read, &mut write);
        if let Some(io) = said(with_timeout(TIMEOUT, opened).await) {
            return talk(io, access, outgoing, buf).await;
        }
    }
    ANSWERS.send(None).await;
    None
}

async fn talk<S: Read + Write>(
    io: S,
    access: &Access,
    mut outgoing: Outgoing,
    buf: &mut [u8],
) -> Option<Outgoing> {
    let (id, token) = access.login.as_ref().map_or(("", ""), |(id, token)| (id, token));
    let Some(mut mqtt) = said(with_timeout(TIMEOUT, Mqtt::connect(io, id, token, buf)).await) else {
        ANSWERS.send(None).await;
        return None;
    };
    let mut is_new = true;
    loop {
        let answer = with_timeout(TIMEOUT, mqtt.exchange(&outgoing, buf)).await;
        if !is_new && !matches!(answer, Ok(Ok(_))) {
            return Some(outgoing);
        }
        let answer = said(answer);
        let is_over = answer.is_none();
        ANSWERS.send(answer).await;
        if is_over {
            return None;
        }
        is_new = false;
        outgoing = REQUESTS.receive().await;
    }
}
