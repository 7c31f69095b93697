//! How frames are taken in, kept, shown and passed on.
//!
//! [`run`] is the whole server as a function of its surroundings. The way of a frame is in [`ingest`], what
//! is kept in [`store`], who may speak in [`registry`] and [`join`], the doors in `http`, the pages in `dash`.
#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
pub mod bundles;
pub mod coap;
pub mod config;
mod core;
mod dash;
pub mod export;
pub mod forward;
mod habits;
mod http;
pub mod ingest;
pub mod join;
mod limits;
pub mod list;
pub mod live;
pub mod lorawan;
mod metrics;
mod mqtt;
pub mod offers;
mod pace;
mod pieces;
pub mod readings;
mod reference;
pub mod registry;
pub mod reports;
mod retention;
pub mod seed;
pub mod store;
pub mod tls;
mod trust;
pub mod vault;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kinglet_codec::seed::SeedModel;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

pub use crate::config::{Config, ConfigError, Overrides};
pub use crate::core::{Clock, Core};
pub use crate::http::router;
pub use crate::limits::TooFast;
use crate::seed::SeedMode;
pub use crate::seed::{SeedConfig, SeedOverrides};
use crate::store::{Store, StoreError};
pub use crate::tls::{Tls, TlsError};
use crate::vault::VaultError;

/// Sockets that are already bound: whoever binds them learns of a port in use before anything starts.
#[derive(Debug)]
pub struct Listeners {
    /// Takes HTTP.
    pub http: TcpListener,
    /// Takes HTTP by TLS, if that is on.
    pub https: Option<TcpListener>,
    /// Takes MQTT, if that is on.
    pub mqtt: Option<TcpListener>,
    /// Takes MQTT by TLS, if that is on.
    pub mqtts: Option<TcpListener>,
    /// Takes CoAP, if that is on.
    pub coap: Option<UdpSocket>,
    /// The certificate, if anything is served by TLS.
    pub tls: Option<Arc<Tls>>,
    /// Takes `POST /decode`, if the seed's own mode is on.
    pub seed: Option<SeedListener>,
}

/// The port of the seed's own mode, and the bundle that answers there.
#[derive(Debug)]
pub struct SeedListener {
    /// Takes `POST /decode`.
    pub listener: TcpListener,
    /// Decodes.
    pub model: SeedModel,
}

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An address cannot be taken.
    #[error(
        "cannot listen on {addr}: {why}; stop what listens there or choose another address with --http ADDR (--https, --mqtt …)"
    )]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// What the system said.
        why: std::io::Error,
    },
    /// The bundle of the seed's own mode cannot be used.
    #[error("cannot use {path} for POST /decode: {why}")]
    SeedBundle {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The secrets cannot be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is no certificate to serve by.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Listeners {
    /// Binds what the configuration names.
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        config.check()?;
        let bind = async |addr| TcpListener::bind(addr).await.map_err(|why| RunError::Bind { addr, why });
        let model = config.seed.bundle.as_deref().map(seed::load).transpose()?;
        let http = bind(config.http).await?;
        let maybe = async |addr: Option<SocketAddr>| match addr {
            Some(addr) => bind(addr).await.map(Some),
            None => Ok(None),
        };
        let (https, mqtt, mqtts) =
            (maybe(config.https).await?, maybe(config.mqtt).await?, maybe(config.mqtts).await?);
        let coap = match config.coap {
            Some(addr) => Some(UdpSocket::bind(addr).await.map_err(|why| RunError::Bind { addr, why })?),
            None => None,
        };
        let tls = (https.is_some() || mqtts.is_some()).then(|| Tls::open(config)).transpose()?.map(Arc::new);
        let seed = match model {
            Some(model) => Some(SeedListener { listener: bind(config.seed.listen).await?, model }),
            None => None,
        };
        Ok(Self { http, https, mqtt, mqtts, coap, tls, seed })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Where HTTP is served by TLS, if it is.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https.as_ref()?.local_addr().ok()
    }

    /// Where MQTT is served, if it is: without and with TLS.
    pub fn mqtt_addrs(&self) -> [Option<SocketAddr>; 2] {
        [&self.mqtt, &self.mqtts].map(|listener| listener.as_ref()?.local_addr().ok())
    }

    /// Where CoAP is served, if it is.
    pub fn coap_addr(&self) -> Option<SocketAddr> {
        self.coap.as_ref()?.local_addr().ok()
    }

    /// Where `POST /decode` is served, if it is.
    pub fn seed_addr(&self) -> Option<SocketAddr> {
        self.seed.as_ref()?.listener.local_addr().ok()
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The threads to serve on: one fewer than there are processors, for one is the store's writer's. A further one would
/// only take the writer's time, and frames would go from one to the other on their way.
pub fn runtime() -> std::io::Result<Runtime> {
    let n_processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(n_processors.saturating_sub(1).max(1))
        .enable_all()
        .build()
}

/// Serves until `shutdown` is ready, then answers what is under way, writes what is queued, and closes the store.
pub async fn run(
    config: Config,
    listeners: Listeners,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    run_core(Arc::new(Core::new(config, store, clock)?), listeners, shutdown).await
}

/// As [`run`], with a [`Core`] that its maker also keeps, to add devices or read counts while it serves.
pub async fn run_core(
    core: Arc<Core>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    core.config.check()?;
    core.config.check_login(core.store.standing(None).await?.has_users)?;
    let follower = tokio::spawn(Arc::clone(&core).follow());
    let retention = tokio::spawn(Arc::clone(&core).keep_retention());
    let passing_on = tokio::spawn(Arc::clone(&core).pass_on());
    let watching = tokio::spawn(Arc::clone(&core).be_alert());
    let hearing = tokio::spawn(Arc::clone(&core).listen_to_lorawan());
    let serving = http::serve(listeners.http, None, router(Arc::clone(&core)), Arc::clone(&core));
    let serving_tls = async {
        if let (Some(listener), Some(tls)) = (listeners.https, &listeners.tls) {
            http::serve(listener, Some(tls), router(Arc::clone(&core)), Arc::clone(&core)).await;
        }
    };
    let serving_mqtt = async {
        if let Some(listener) = listeners.mqtt {
            mqtt::serve(listener, None, Arc::clone(&core)).await;
        }
    };
    let serving_mqtts = async {
        if let (Some(listener), Some(tls)) = (listeners.mqtts, &listeners.tls) {
            mqtt::serve(listener, Some(tls), Arc::clone(&core)).await;
        }
    };
    let serving_coap = async {
        if let Some(socket) = listeners.coap {
            coap::serve(socket, Arc::clone(&core)).await;
        }
    };
    let renewing = async {
        if let Some(tls) = &listeners.tls {
            tls.follow(core.stopping.subscribe()).await;
        }
    };
    let decoding = decode(listeners.seed, Arc::clone(&core));
    let stop = async {
        shutdown.await;
        core.stopping.send_replace(true);
    };
    let (.., decoded) = tokio::join!(
        serving,
        serving_tls,
        serving_mqtt,
        serving_mqtts,
        serving_coap,
        renewing,
        stop,
        decoding
    );
    // The background pass has been told; it ends with the round it is in.
    let _ = follower.await;
    let _ = retention.await;
    let _ = passing_on.await;
    let _ = watching.await;
    let _ = hearing.await;
    core.store.close().await?;
    decoded
}

/// Serves `POST /decode` until the server stops, then stores what was answered last.
async fn decode(seed: Option<SeedListener>, core: Arc<Core>) -> Result<(), RunError> {
    let Some(SeedListener { listener, model }) = seed else { return Ok(()) };
    let mode = Arc::new(SeedMode::open(Arc::clone(&core), model).await?);
    if let Ok(addr) = listener.local_addr() {
        mode.announce(addr);
    }
    let follower = tokio::spawn(Arc::clone(&mode).follow());
    http::serve(listener, None, http::decode::router(Arc::clone(&mode)), core).await;
    let _ = follower.await;
    Ok(mode.flush().await?)
}
