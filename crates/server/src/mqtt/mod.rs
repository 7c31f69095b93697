//! MQTT from devices, 3.1.1 and 5: not a broker, but a door for frames that speaks MQTT.
//!
//! A device logs in with its id and its access token, publishes frames to `kinglet/ID/up` and subscribes to
//! `kinglet/ID/down` and `kinglet/ID/refused`, and gets pieces of a bundle by `kinglet/ID/want` and `kinglet/ID/piece`; nothing
//! else can be published or read (`spec/mqtt.md`). A PUBACK leaves after the commit. `speech` makes one language of both versions, `conversation` holds the rules, `login` says who it is,
//! `take` brings frames to the store, `session` moves the bytes, `sessions` knows who is connected.

mod conversation;
mod login;
mod session;
mod sessions;
mod speech;
mod take;

use std::sync::Arc;
use std::time::Duration;

use kinglet_wire::FRAME_LEN_MAX;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::core::Core;
use crate::http::accept;
use crate::tls::Tls;
pub(crate) use sessions::Sessions;

/// Longest packet before a login: id, token, client id, and some properties.
const LOGIN_LEN_MAX: usize = 1024;
/// Longest packet after it: a frame, its topic, and some properties.
const PACKET_LEN_MAX: usize = FRAME_LEN_MAX + 512;
/// Frames of one connection on their way to the store (Receive Maximum); then reading waits.
const IN_FLIGHT_MAX: usize = 64;
/// Topic aliases a client may use.
const ALIASES_MAX: usize = 4;
/// Most filters in one SUBSCRIBE.
const FILTERS_MAX: usize = 16;
/// Connections nobody has logged in on yet; further ones wait in the system's queue.
const LOGINS_MAX: usize = 512;

const _: () = assert!(IN_FLIGHT_MAX >= 1 && IN_FLIGHT_MAX <= u16::MAX as usize);

/// Serves until the server stops, then lets frames on their way be stored and acked.
pub(crate) async fn serve(listener: TcpListener, tls: Option<&Tls>, core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    let places = Arc::new(Semaphore::new(core.config.mqtt_connections));
    let logins = Arc::new(Semaphore::new(LOGINS_MAX));
    // Closed once the last connection has dropped its end.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let handshake = Duration::from_millis(core.config.handshake_timeout_ms);
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = async {
                let login = Arc::clone(&logins).acquire_owned().await.ok()?;
                Some((accept(&listener, &places).await?, login))
            } => accepted,
            _ = stopping.changed() => break,
        };
        let Some(((stream, place), login)) = accepted else { continue };
        // An ack that waits to fill a packet only adds delay.
        let _ = stream.set_nodelay(true);
        let (core, alive, acceptor) = (Arc::clone(&core), alive.clone(), tls.map(Tls::acceptor));
        tokio::spawn(async move {
            match acceptor {
                None => session::serve(stream, core, login).await,
                Some(acceptor) => match timeout(handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => session::serve(Box::new(stream), core, login).await,
                    _ => tracing::debug!("no TLS was agreed on"),
                },
            }
            drop((place, alive));
        });
    }
    drop((listener, alive));
    let drain = Duration::from_millis(core.config.drain_timeout_ms);
    if timeout(drain, all_gone.recv()).await.is_err() {
        tracing::warn!("some MQTT connections did not end in time and were cut off");
    }
}

/// What a client may send: whatever it is, it is understood or refused, and answered with little.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    use bytes::BytesMut;
    use conversation::{Ask, Conversation, Topics};
    let Some(id) = kinglet_wire::keys::DeviceId::new("porch") else { return };
    let mut conversation = Conversation::new();
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    // In pieces, as a network brings it; the first byte says how long they are.
    let piece = usize::from(bytes.first().copied().unwrap_or(0)).max(1);
    for piece in bytes.get(1..).unwrap_or_default().chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            match conversation.next(&mut input, &mut out) {
                Ok(None) => break,
                Ok(Some(Ask::Login(_))) => conversation.welcome(Topics::of(&id), None, None, &mut out),
                Ok(Some(Ask::Take { payload, .. })) => assert!(payload.len() <= PACKET_LEN_MAX),
                Ok(Some(Ask::Ping)) => {}
                Ok(Some(Ask::Over)) => return,
                Err(goodbye) => {
                    conversation.part(goodbye, &mut out);
                    // A welcome and a goodbye at most once, two bytes per ping, a few per filter.
                    assert!(out.len() <= 512 + 4 * bytes.len(), "{} for {}", out.len(), bytes.len());
                    return;
                }
            }
        }
        assert!(input.len() <= PACKET_LEN_MAX + bytes.len().min(piece.len()) + 5);
    }
}
