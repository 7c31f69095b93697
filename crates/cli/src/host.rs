//! The server's side on this machine: its data directory, and a whole server in this process.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kinglet_server::config::{Config, Overrides, StoreChoice};
use kinglet_server::store::{Store, StoreError};
use kinglet_server::tls::Pin;
use kinglet_server::{Clock, ConfigError, Core, Listeners, RunError, SystemClock, Tls};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::failure::{Failure, Kind, Result};

/// The threads everything with sockets or a store runs on.
pub(crate) fn runtime() -> Result<Runtime> {
    kinglet_server::runtime().map_err(|e| Failure::new(Kind::Failure, "no threads can be started").why(e))
}

/// The server's configuration.
pub(crate) fn config(flags: &Overrides) -> Result<Config> {
    Config::load(flags, std::env::vars_os()).map_err(misconfigured)
}

fn misconfigured(error: ConfigError) -> Failure {
    let next = match error {
        ConfigError::RemoteWithoutLogin(_) => {
            "add a user with `kinglet user add`, listen on 127.0.0.1, or say --allow-remote-without-login if that is what you want"
        }
        _ => "`kinglet config` prints every key with its default",
    };
    Failure::usage("the server cannot be configured like that").why(error).next(next)
}

/// Opens a server's data without listening; works while that server runs.
pub(crate) fn core(runtime: &Runtime, config: Config) -> Result<Arc<Core>> {
    let store = store(runtime, &config)?;
    let core = Core::new(config, store, clock()).map_err(|e| {
        Failure::new(Kind::Failure, "the server's secrets cannot be had")
            .why(e)
            .next("run it as the server's user")
    })?;
    runtime.block_on(core.registry.check_master_key()).map_err(|e| {
        Failure::new(Kind::Failure, "the devices' keys cannot be read")
            .why(e)
            .next("see `kinglet config`, master_key_file")
    })?;
    Ok(Arc::new(core))
}

/// True if nothing was ever kept there: a path that was mistyped, maybe.
pub(crate) fn is_new(config: &Config) -> bool {
    config.store == StoreChoice::Sqlite && !config.store_path().exists()
}

/// Where readings, devices and bundles are kept, in words.
pub(crate) fn kept(config: &Config) -> String {
    match &config.store {
        StoreChoice::Sqlite => config.data.display().to_string(),
        shared => shared.to_string(),
    }
}

/// The right to serve from this data directory, as long as the file is held. Two servers on one SQLite file would not see
/// what the other has just taken in.
fn alone(config: &Config) -> Result<Option<File>> {
    if config.store != StoreChoice::Sqlite {
        return Ok(None);
    }
    let path = config.data.join("serve.lock");
    let failed = |e: io::Error| unusable(config, format_args!("{}: {e}", path.display()));
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Kind::Failure, format_args!("{} is in use", config.data.display()))
                .why("another `kinglet serve` keeps its readings there")
                .next("stop that one, or name another --data; many servers share one PostgreSQL (--store)"))
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn store(runtime: &Runtime, config: &Config) -> Result<Arc<dyn Store>> {
    std::fs::create_dir_all(&config.data).map_err(|e| unusable(config, e))?;
    runtime.block_on(kinglet_server::store::open(config)).map_err(|e| match e {
        StoreError::Unreachable { .. } => Failure::new(Kind::Network, "the store cannot be used").why(e),
        StoreError::Damaged { .. } => Failure::new(Kind::Failure, "the store cannot be used").why(e),
        e => unusable(config, e),
    })
}

fn unusable(config: &Config, why: impl Display) -> Failure {
    Failure::new(Kind::Output, format_args!("the data directory {} cannot be used", config.data.display()))
        .why(why)
        .next("name another with --data DIR, or change who may write there")
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now_ms()
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A server in this process; ends when it is told to, and tells how.
pub(crate) struct Server {
    pub(crate) core: Arc<Core>,
    pub(crate) addr: SocketAddr,
    /// Where the same is served by TLS.
    pub(crate) https: Option<SocketAddr>,
    /// The pin of the certificate, if anything is served by TLS.
    pub(crate) pin: Option<Pin>,
    /// The certificate itself.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where MQTT is served, without and with TLS.
    pub(crate) mqtt: [Option<SocketAddr>; 2],
    /// Where CoAP is served.
    pub(crate) coap: Option<SocketAddr>,
    /// Where `POST /decode` is answered, if it is.
    pub(crate) seed_addr: Option<SocketAddr>,
    /// Held until all is written.
    _alone: Option<File>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), RunError>>,
}

impl Server {
    /// Binds, opens the data and begins to serve.
    pub(crate) fn start(runtime: &Runtime, config: Config) -> Result<Self> {
        // The port first: if it is taken, nothing is made.
        let listeners = runtime.block_on(Listeners::bind(&config)).map_err(refused)?;
        let addr = listeners.http_addr().map_err(|e| Failure::new(Kind::Network, "no address").why(e))?;
        let seed_addr = listeners.seed_addr();
        let (mqtt, coap) = (listeners.mqtt_addrs(), listeners.coap_addr());
        let tls = listeners.tls.clone();
        let (https, pin) = (listeners.https_addr(), listeners.tls.as_ref().map(|tls| tls.pin()));
        if is_new(&config) {
            // Nobody can have been added: nothing is made.
            config.check_login(false).map_err(misconfigured)?;
        }
        std::fs::create_dir_all(&config.data).map_err(|e| unusable(&config, e))?;
        let alone = alone(&config)?;
        let core = core(runtime, config)?;
        let has_users =
            runtime.block_on(core.store.standing(None)).map_err(crate::cmd::store_failed)?.has_users;
        core.config.check_login(has_users).map_err(misconfigured)?;
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(kinglet_server::run_core(Arc::clone(&core), listeners, async move {
            // A sender that was dropped is a stop too.
            let _ = stopped.await;
        }));
        Ok(Self { core, addr, https, pin, tls, mqtt, coap, seed_addr, _alone: alone, stop, serving })
    }

    /// Where it is reached from this machine.
    pub(crate) fn url(&self) -> String {
        from_here("http", self.addr)
    }

    /// True if it ended although nobody told it to.
    pub(crate) fn is_over(&self) -> bool {
        self.serving.is_finished()
    }

    /// Answers what is under way, writes what is queued, closes the store.
    pub(crate) fn stop(self, runtime: &Runtime) -> Result {
        // If it has ended already there is nobody to tell.
        let _ = self.stop.send(());
        match runtime.block_on(self.serving) {
            Ok(ended) => ended.map_err(refused),
            Err(e) => Err(Failure::new(Kind::Failure, "the server stopped in the middle").why(e)),
        }
    }
}

/// An address as it is reached from this machine.
pub(crate) fn from_here(scheme: &str, mut addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("{scheme}://{addr}")
}

fn refused(error: RunError) -> Failure {
    let (kind, next) = match error {
        RunError::Bind { .. } => {
            (Kind::Network, "see what listens there with `ss -ltnp`, or choose another --http")
        }
        RunError::SeedBundle { .. } => {
            (Kind::Input, "name a file made by `kinglet train --preset seed` or `kinglet import`")
        }
        RunError::Tls(error) => return crate::cmd::certificate::refused(error),
        RunError::Config(_) => (Kind::Usage, "see `kinglet serve --help`"),
        _ => (Kind::Failure, "what was acknowledged is on disk; start it again once that is mended"),
    };
    Failure::new(kind, "the server cannot run").why(error).next(next)
}

/// A flag that Ctrl-C and SIGTERM raise, from the moment this returns.
pub(crate) fn interrupt(runtime: &Runtime) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    // Made here and not in the task: a signal that comes before the task first runs must find its handler.
    let signals = {
        let _inside = runtime.enter();
        signals()
    };
    runtime.spawn(async move {
        signals.await;
        raised.store(true, Ordering::Relaxed);
    });
    flag
}

/// A flag that SIGHUP raises, from the moment this returns: whoever sends one wants the configuration read anew.
pub(crate) fn hangup(runtime: &Runtime) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let raised = Arc::clone(&flag);
        let _inside = runtime.enter();
        // Without it SIGHUP ends the process, as it always has.
        if let Ok(mut hangups) = signal(SignalKind::hangup()) {
            runtime.spawn(async move {
                while hangups.recv().await.is_some() {
                    raised.store(true, Ordering::Relaxed);
                }
            });
        }
    }
    #[cfg(not(unix))]
    let _ = runtime;
    flag
}

/// What waits for Ctrl-C or SIGTERM; it listens before it is first polled.
#[cfg(unix)]
fn signals() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        match heard {
            [Ok(mut interrupt), Ok(mut terminate)] => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without signals only a kill ends it.
            _ => std::future::pending().await,
        }
    }
}

/// What waits for Ctrl-C.
#[cfg(not(unix))]
async fn signals() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
