//! Old windows go, a few at a time, and the room they took with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::store::{AgeClock, StoreError};

/// Windows deleted in one transaction: frames that come in wait no longer for it than for another commit.
const AT_ONCE: u32 = 500;
/// Between two such transactions.
const BREATH: Duration = Duration::from_millis(100);
/// Between two looks at what has grown old.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the clock that retention goes by is written down.
const KEPT_EVERY: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 86_400_000;

impl Core {
    /// Deletes what is older than the configuration keeps, until the server stops; nothing while it keeps everything.
    pub(crate) async fn keep_retention(self: Arc<Self>) {
        let (mut stopping, mut told) = (self.stopping.subscribe(), self.told.subscribe());
        let mut aging = Aging::default();
        while !*stopping.borrow() {
            told.borrow_and_update();
            let pause = match self.forget_some(&mut aging).await {
                Ok(true) => BREATH,
                Ok(false) => PATIENCE,
                Err(_) if self.current().retention_days == 0 => PATIENCE,
                Err(error) => {
                    tracing::warn!(%error, "old readings could not be deleted; they are tried again");
                    PATIENCE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = told.changed() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
    }

    /// True if there may be more to do.
    async fn forget_some(&self, aging: &mut Aging) -> Result<bool, StoreError> {
        // Also while everything is kept: who turns retention on has a clock that is known by then.
        let now_ms = aging.now_ms(self).await?;
        let days = self.current().retention_days;
        if days == 0 {
            return Ok(false);
        }
        let before_ms = now_ms.saturating_sub(i64::from(days) * DAY_MS);
        let gone = self.store.forget(before_ms, AT_ONCE).await?;
        Ok(gone > 0 || self.store.compact().await?)
    }
}

/// The clock retention goes by, as this server follows it.
#[derive(Default)]
struct Aging {
    /// And when it was last looked at.
    clock: Option<(AgeClock, Instant)>,
    kept: Option<Instant>,
}

impl Aging {
    /// By what time things are old: never ahead of the system's clock, nor of a clock that has run since the last look.
    async fn now_ms(&mut self, core: &Core) -> Result<i64, StoreError> {
        let now_ms = core.store.clock_ms().await?.unwrap_or_else(|| core.clock.now_ms());
        let before = match self.clock {
            Some((clock, _)) => clock,
            // A store that has never had one is empty.
            None => core.store.age_clock().await?.unwrap_or(AgeClock::at(now_ms)),
        };
        let ran = self.clock.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let after = before.follow(now_ms, i64::try_from(ran.as_millis()).unwrap_or(i64::MAX));
        self.say(core, before, after);
        self.clock = Some((after, Instant::now()));
        core.metrics.clock_ahead_ms.store(after.ahead_ms, Ordering::Relaxed);
        let is_due = self.kept.is_none_or(|kept| kept.elapsed() >= KEPT_EVERY);
        let is_set = after.t_ms < before.t_ms || after.is_waiting() != before.is_waiting();
        if is_due || is_set {
            core.store.keep_age_clock(after).await?;
            if !after.is_waiting() {
                core.store.cap_last_seen(after.t_ms).await?;
            }
            self.kept = Some(Instant::now());
        }
        Ok(after.t_ms.min(now_ms))
    }

    /// Once of each jump, and where it matters.
    fn say(&self, core: &Core, before: AgeClock, after: AgeClock) {
        if core.current().retention_days == 0 {
            return;
        }
        let is_another = after.is_waiting() && (after.waited_ms == 0 || self.clock.is_none());
        if is_another {
            tracing::warn!(
                hours = after.ahead_ms / 3_600_000,
                "the clock has jumped: retention does not follow it before the server has run by it for 7 days, or it is \
                 set right; if it is right now, nothing needs to be done"
            );
        } else if before.is_waiting() && !after.is_waiting() {
            tracing::info!("retention follows the clock again");
        }
    }
}
