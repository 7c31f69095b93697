//! Old windows go, a few at a time, and the room they took with them.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::store::StoreError;

/// Windows deleted in one transaction: frames that come in wait no longer for it than for another commit.
const AT_ONCE: u32 = 500;
/// Between two such transactions.
const BREATH: Duration = Duration::from_millis(100);
/// Between two looks at what has grown old.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

impl Core {
    /// Deletes what is older than the configuration keeps, until the server stops; nothing while it keeps everything.
    pub(crate) async fn keep_retention(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow() {
            let pause = match self.forget_some().await {
                Ok(true) => BREATH,
                Ok(false) => PATIENCE,
                Err(error) => {
                    tracing::warn!(%error, "old readings could not be deleted; they are tried again");
                    PATIENCE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
    }

    /// True if there may be more to do.
    async fn forget_some(&self) -> Result<bool, StoreError> {
        let days = self.current().retention_days;
        if days == 0 {
            return Ok(false);
        }
        let kept_ms = i64::from(days) * DAY_MS;
        let before_ms = self.clock.now_ms().saturating_sub(kept_ms);
        let gone = self.store.forget(before_ms, AT_ONCE).await?;
        Ok(gone > 0 || self.store.compact().await?)
    }
}
