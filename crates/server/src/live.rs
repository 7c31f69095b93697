//! The background pass: follows the store, decodes what is new, tells those who watch.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::readings::{Decoder, Readings};
use crate::store::{DecodedMark, StoreError, WindowRow};

/// Most windows per round.
const ROUND: u32 = 4096;
/// Windows decoded, or told of, before other tasks get their turn.
const TURN: usize = 64;
/// How often it looks without being woken: another process may have stored something.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while somebody watches: another server's windows are to be seen soon.
const PATIENCE_WATCHED: Duration = Duration::from_millis(300);

/// From the first arrival to the round that takes it: under load many windows share one look and the pages
/// that one write changes.
const BREATH: Duration = Duration::from_millis(200);

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
            let patience = if self.live.receiver_count() > 0 { PATIENCE_WATCHED } else { PATIENCE };
            tokio::select! {
                () = self.arrived.notified() => {}
                () = tokio::time::sleep(patience) => {}
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
        let watched = self.live.receiver_count() > 0;
        let mut decoder = Decoder::new(&self.bundles);
        let (mut marks, mut readings) = (Vec::with_capacity(rows.len()), Vec::new());
        for turn in rows.chunks(TURN) {
            for (row, decoded) in turn.iter().zip(decoder.decode_all(turn).await?) {
                let found = decoded.as_ref().map(Readings::extent).map_err(|flaw| *flaw);
                marks.push(DecodedMark { row_id: row.row_id, device: row.device, found });
                // Kept only for somebody: decoded, a round is tens of megabytes.
                readings.extend(decoded.ok().filter(|_| watched).map(|readings| (row, readings)));
            }
            tokio::task::yield_now().await;
        }
        let flawed: Vec<_> =
            marks.iter().filter_map(|m| m.found.err().map(|flaw| (m.device, flaw))).collect();
        self.store.mark_decoded(marks).await?;
        // One line for all: a device with a wrong bundle sends thousands of them.
        if let Some((device, flaw)) = flawed.first() {
            let n = flawed.len();
            tracing::warn!(n, device, ?flaw, "stored windows do not decode; they are kept");
        }
        for (i, (row, readings)) in readings.into_iter().enumerate() {
            self.tell(row, readings).await?;
            if i % TURN == TURN - 1 {
                tokio::task::yield_now().await;
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
