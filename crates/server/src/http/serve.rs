//! Connections: taken one by one, each with its time limits, all drained at the end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::guard::Peer;
use crate::core::Core;
use crate::tls::Tls;

/// Largest header of a request; a few times what browsers send.
const HEADER_BYTES: usize = 16 << 10;

/// Serves until the server stops, then lets requests under way end.
pub(crate) async fn serve(listener: TcpListener, tls: Option<&Tls>, router: Router, core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    let connections = Arc::new(Semaphore::new(core.config.connections));
    let graceful = GracefulShutdown::new();
    let limits = Limits {
        handshake: Duration::from_millis(core.config.handshake_timeout_ms),
        header: Duration::from_millis(core.config.header_timeout_ms),
    };
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            _ = stopping.changed() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        // Answers are small: waiting to fill a packet only adds delay.
        let _ = stream.set_nodelay(true);
        let (watcher, router) = (graceful.watcher(), router.clone());
        let acceptor = tls.map(Tls::acceptor);
        let Ok(from) = stream.peer_addr() else { continue };
        let peer = Peer { ip: from.ip(), by_tls: tls.is_some() };
        tokio::spawn(async move {
            match acceptor {
                None => answer(stream, router, peer, limits, watcher).await,
                Some(acceptor) => match timeout(limits.handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, router, peer, limits, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS was agreed on"),
                    Err(_) => tracing::debug!("no TLS was agreed on in time"),
                },
            }
            drop(place);
        });
    }
    drop(listener);
    let drain = Duration::from_millis(core.config.drain_timeout_ms);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
}

#[derive(Clone, Copy)]
struct Limits {
    handshake: Duration,
    header: Duration,
}

/// Answers the requests of one connection.
async fn answer<S>(stream: S, router: Router, peer: Peer, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        // Who sends a frame is in the frame.
        if request.uri().path() != "/v1/frames" {
            request.extensions_mut().insert(peer);
        }
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES)
        // Nobody looks for the end of a connection whose answer is being made: that would be one read in vain
        // per frame, and what a frame asks for is stored whether its sender still listens or not.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The next connection, once there is a place for it.
pub(crate) async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            // Out of file descriptors, most likely: others will be closed soon.
            tracing::warn!(%error, "cannot take a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
