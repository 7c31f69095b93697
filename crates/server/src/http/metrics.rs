//! `GET /metrics` and `GET /readyz`: for those who watch over the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::problem::Problem;
use crate::config::StoreChoice;
use crate::core::{Core, LIVE_STREAMS_MAX};
use crate::metrics::{Exposition, read};
use crate::store::StoreError;

/// How long the store may take to answer a server that is ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prometheus' text format. No label names a device: there may be ten thousand, and who may watch the server need
/// not know them.
pub(super) async fn metrics(State(core): State<Arc<Core>>) -> Result<impl IntoResponse, Problem> {
    let mut out = Exposition::default();
    let store = if core.config.store == StoreChoice::Sqlite { "sqlite" } else { "postgres" };
    out.family("kinglet_build_info", "gauge", "The version that runs, and its kind of store.");
    out.sample("kinglet_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("store", store)], 1);
    core.metrics.write(&mut out);
    out.family("kinglet_limited_total", "counter", "Frames and joins that were more than may be taken in.");
    out.sample("kinglet_limited_total", &[("what", "frames")], read(&core.limits.refused_frames));
    out.sample("kinglet_limited_total", &[("what", "joins")], read(&core.limits.refused_joins));
    let census = core.store.census().await?;
    out.family("kinglet_store_size_bytes", "gauge", "Room the store takes.");
    out.sample("kinglet_store_size_bytes", &[], census.bytes);
    let name = "kinglet_retention_clock_ahead_seconds";
    out.family(
        name,
        "gauge",
        "How far the clock stands ahead of the one retention goes by; 0 while that follows.",
    );
    out.sample(name, &[], core.metrics.clock_ahead_ms.load(Ordering::Relaxed) / 1000);
    out.family("kinglet_devices", "gauge", "Registered devices, by state.");
    out.sample("kinglet_devices", &[("state", "active")], census.n_devices.saturating_sub(census.n_revoked));
    out.sample("kinglet_devices", &[("state", "revoked")], census.n_revoked);
    out.family("kinglet_bundles", "gauge", "Bundles in the store.");
    out.sample("kinglet_bundles", &[], census.n_bundles);
    alerted(&core, &mut out, census.n_alerts);
    out.family("kinglet_live_streams", "gauge", "Open live streams.");
    out.sample(
        "kinglet_live_streams",
        &[],
        LIVE_STREAMS_MAX.saturating_sub(core.live_streams.available_permits()),
    );
    forwarded(&core, &mut out).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.text()))
}

/// Names of rules are of the configuration: there are few.
fn alerted(core: &Core, out: &mut Exposition, n_raised: u64) {
    out.family("kinglet_alerts_raised", "gauge", "Alerts that are raised, of all rules and servers.");
    out.sample("kinglet_alerts_raised", &[], n_raised);
    let config = core.current();
    if config.alerts.is_empty() {
        return;
    }
    out.family("kinglet_alerts_total", "counter", "Alerts this server has raised and cleared, by rule.");
    for rule in &config.alerts {
        let counts = core.alerted.of(&rule.name);
        for (state, n) in [("raised", &counts.raised), ("cleared", &counts.cleared)] {
            out.sample("kinglet_alerts_total", &[("rule", &rule.name), ("state", state)], read(n));
        }
    }
}

async fn forwarded(core: &Core, out: &mut Exposition) -> Result<(), StoreError> {
    let config = core.current();
    if config.forward.is_empty() {
        return Ok(());
    }
    let named = config.forward.iter().map(|target| target.name.as_str());
    let targets: Vec<_> = named.map(|name| (name, core.forwarded.of(name))).collect();
    out.family(
        "kinglet_forward_windows_total",
        "counter",
        "Windows that were passed on, by target and result.",
    );
    for &(target, ref counts) in &targets {
        let results =
            [("confirmed", &counts.passed), ("refused", &counts.refused), ("undecodable", &counts.flawed)];
        for (result, n) in results {
            let labels = [("target", target), ("result", result)];
            out.sample("kinglet_forward_windows_total", &labels, read(n));
        }
    }
    out.family("kinglet_forward_alerts_total", "counter", "Words of alerts, by target and result.");
    for &(target, ref counts) in &targets {
        for (result, n) in [("confirmed", &counts.alerts), ("refused", &counts.alerts_refused)] {
            out.sample("kinglet_forward_alerts_total", &[("target", target), ("result", result)], read(n));
        }
    }
    out.family(
        "kinglet_forward_failures_total",
        "counter",
        "Attempts to pass on that failed and are repeated.",
    );
    for &(target, ref counts) in &targets {
        out.sample("kinglet_forward_failures_total", &[("target", target)], read(&counts.failures));
    }
    // What the store knows of all servers' work.
    let (mut lags, mut lost) = (Vec::new(), Vec::new());
    for row in core.store.targets().await? {
        if let Some(&(target, _)) = targets.iter().find(|(name, _)| *name == row.target) {
            let first = core.store.stored_after(row.at, 1).await?;
            let lag_ms =
                first.first().map_or(0, |(_, w)| core.clock.now_ms().saturating_sub(w.t_arrival).max(0));
            lags.push((target, lag_ms as f64 / 1000.0));
            lost.push((target, row.n_lost));
        }
    }
    out.family(
        "kinglet_forward_lag_seconds",
        "gauge",
        "Age of the oldest window that waits to be passed on.",
    );
    for (target, lag) in lags {
        out.sample("kinglet_forward_lag_seconds", &[("target", target)], lag);
    }
    let name = "kinglet_forward_lost_windows_total";
    out.family(name, "counter", "Windows that retention deleted before they were passed on.");
    for (target, n) in lost {
        out.sample(name, &[("target", target)], n);
    }
    Ok(())
}

/// 200 while frames can be taken in: the store answers and the server is not about to stop.
pub(super) async fn readyz(State(core): State<Arc<Core>>) -> Result<&'static str, Problem> {
    let not_ready = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail);
    if *core.stopping.borrow() {
        return Err(not_ready("the server is stopping"));
    }
    match tokio::time::timeout(PATIENCE, core.store.device_by_short_id(0)).await {
        Ok(Ok(_)) => Ok("ready\n"),
        Ok(Err(_)) | Err(_) => Err(not_ready("the store does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::config::Config;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn a_server_that_is_to_stop_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path());
        let store = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
        let core = Arc::new(Core::new(config, store, Arc::new(SystemClock)).unwrap());
        let ask = async || readyz(State(Arc::clone(&core))).await.into_response().status();
        assert_eq!(ask().await, StatusCode::OK);
        core.stopping.send_replace(true);
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
