//! Connections: taken one by one, each with its time limits, all drained at the end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::core::Core;

/// Largest header of a request; a few times what browsers send.
const HEADER_BYTES: usize = 16 << 10;

/// Serves until the server stops, then lets requests under way end.
pub(crate) async fn serve(listener: TcpListener, router: Router, core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    let connections = Arc::new(Semaphore::new(core.config.connections));
    let graceful = GracefulShutdown::new();
    let header_timeout = Duration::from_millis(core.config.header_timeout_ms);
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            _ = stopping.changed() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        // Answers are small: waiting to fill a packet only adds delay.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEADER_BYTES)
            // Nobody looks for the end of a connection whose answer is being made: that would be one read in
            // vain per frame, and what a frame asks for is stored whether its sender still listens or not.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    let drain = Duration::from_millis(core.config.drain_timeout_ms);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
}

async fn accept(
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
