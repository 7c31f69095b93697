//! The background pass: follows the store, decodes what is new, tells those who watch.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::readings::{Decoder, Readings};
use crate::store::{DecodedMark, StoreError, WindowRow, day_of};

/// Windows per round.
const ROUND: u32 = 512;
/// How often it looks without being woken: another process may have stored something.
const PATIENCE: Duration = Duration::from_secs(2);

/// Least time between two rounds: under load many windows share one look and one write.
const BREATH: Duration = Duration::from_millis(100);

/// A window that has just been stored.
#[derive(Clone, Debug)]
pub struct LiveWindow {
    /// The id people use.
    pub device: String,
    /// The id in its frames.
    pub short_id: u32,
    /// What it says.
    pub readings: Readings,
}

impl Core {
    /// Runs until the server stops.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow() {
            match self.decode_round().await {
                Ok(n) if n == ROUND as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the background pass waits"),
            }
            self.rejects.flush(self.store.as_ref()).await;
            tokio::select! {
                () = self.arrived.notified() => {}
                () = tokio::time::sleep(PATIENCE) => {}
                _ = stopping.changed() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(BREATH) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        // What came with the last requests is shown as decoded at the next start at the latest.
        let _ = self.decode_round().await;
        self.rejects.flush(self.store.as_ref()).await;
    }

    async fn decode_round(&self) -> Result<usize, StoreError> {
        let rows = self.store.undecoded(ROUND).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let decoded = Decoder::new(&self.bundles).decode_all(&rows).await?;
        let mark = |(row, decoded): (&WindowRow, &Result<Readings, _>)| DecodedMark {
            row_id: row.row_id,
            device: row.device,
            day: day_of(row.t_arrival),
            found: decoded.as_ref().map(Readings::extent).map_err(|flaw| *flaw),
        };
        self.store.mark_decoded(rows.iter().zip(&decoded).map(mark).collect()).await?;
        for (row, decoded) in rows.iter().zip(decoded) {
            match decoded {
                Ok(readings) => self.tell(row, readings).await?,
                Err(flaw) => {
                    tracing::warn!(device = row.device, ?flaw, "a stored window does not decode; it is kept")
                }
            }
        }
        Ok(rows.len())
    }

    async fn tell(&self, row: &WindowRow, readings: Readings) -> Result<(), StoreError> {
        if self.live.receiver_count() == 0 {
            return Ok(());
        }
        let device = match self.registry.find(row.device).await {
            Ok(Some(device)) => device.id.to_string(),
            _ => return Ok(()),
        };
        // Nobody may be listening any more; that is fine.
        let _ = self.live.send(Arc::new(LiveWindow { device, short_id: row.device, readings }));
        Ok(())
    }
}
