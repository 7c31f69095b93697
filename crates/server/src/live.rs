//! The background pass: follows the store, decodes what is new, tells those who watch.
//!
//! Of many servers on one store one records what is found; the others decode only while somebody watches them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::StoreChoice;
use crate::core::Core;
use crate::forward::Lease;
use crate::readings::{Readings, decode_each};
use crate::store::{DecodedMark, Flaw, LogPlace, StoreError, WindowRow};

/// The name of recording beside that of targets, none of which can have it.
const WORK: &str = "$pass";
/// How often a server asks whether the one that records has let go.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// How much of what came before somebody began to watch may be shown.
const SHOWN_AGAIN: Duration = Duration::from_secs(1);
/// Most windows per round.
const ROUND: u32 = 4096;
/// So many windows are filed together, of each device that has any and altogether: the tables lie in the order of devices,
/// and each of their pages is written once for all windows that belong there. Under load this is most of what filing
/// costs; more at once, and frames that come meanwhile wait long for their acks.
const FILED_TOGETHER_EACH: usize = 256;
const FILED_TOGETHER: usize = 32_768;
/// So few are filed at once, and so are those that have waited this long.
const FILED_AT_ONCE: usize = 1024;
const FILED_AFTER: Duration = Duration::from_secs(1);
/// Windows decoded together, or told of before other tasks get their turn.
const TURN: usize = 256;
/// How often it looks without being woken: another process may have stored something.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while somebody watches: another server's windows are to be seen soon.
const PATIENCE_WATCHED: Duration = Duration::from_millis(300);
/// From the first arrival to the round that takes it: under load many windows share one look.
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

/// What was found in windows that are not filed yet.
#[derive(Default)]
struct Unfiled {
    marks: Vec<DecodedMark>,
    /// Whose they are.
    devices: HashSet<u32>,
    since: Option<Instant>,
}

impl Unfiled {
    fn is_due(&self) -> bool {
        let enough = FILED_TOGETHER.min(FILED_TOGETHER_EACH * self.devices.len());
        match self.marks.len() {
            0 => false,
            n if n < FILED_AT_ONCE || n >= enough => true,
            _ => self.since.is_none_or(|since| since.elapsed() >= FILED_AFTER),
        }
    }
}

/// How far a server that does not record has shown windows, or had nobody to show them to. Whoever begins to watch may see
/// some from before again, and misses none.
struct Shown {
    to: LogPlace,
    since: Instant,
}

/// Which server records. One that shares its store with nobody does; so does one that cannot draw a name for itself: each
/// window counts once even then.
struct Recorder {
    lease: Option<Lease>,
    asked: Option<Instant>,
}

impl Recorder {
    fn new(core: &Core) -> Self {
        let is_shared = core.config.store != StoreChoice::Sqlite;
        Self { lease: is_shared.then(|| Lease::new(WORK, false).ok()).flatten(), asked: None }
    }

    async fn is_here(&mut self, core: &Core) -> Result<bool, StoreError> {
        let Some(lease) = &mut self.lease else { return Ok(true) };
        if !lease.is_held() && self.asked.is_some_and(|asked| asked.elapsed() < ELSEWHERE) {
            return Ok(false);
        }
        self.asked = Some(Instant::now());
        Ok(lease.hold(core).await?.is_some())
    }
}

impl Core {
    /// Runs until the server stops.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let mut recorder = Recorder::new(&self);
        let (mut unfiled, mut shown) = (Unfiled::default(), None);
        while !*stopping.borrow() {
            match self.round(&mut recorder, &mut unfiled, &mut shown).await {
                Ok(n) if n == ROUND as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the background pass waits"),
            }
            self.rejects.flush(self.store.as_ref()).await;
            let patience = match (unfiled.since, self.live.receiver_count()) {
                (Some(_), _) => FILED_AFTER,
                (None, 0) => PATIENCE,
                (None, _) => PATIENCE_WATCHED,
            };
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
        let _ = self.round(&mut recorder, &mut unfiled, &mut shown).await;
        let _ = self.file(&mut unfiled).await;
        if let Some(lease) = recorder.lease.as_mut().filter(|lease| lease.is_held()) {
            lease.release(&self).await;
        }
        self.rejects.flush(self.store.as_ref()).await;
    }

    /// What this server has to do of the pass. Gives how many windows it decoded.
    async fn round(
        &self,
        recorder: &mut Recorder,
        unfiled: &mut Unfiled,
        shown: &mut Option<Shown>,
    ) -> Result<usize, StoreError> {
        if recorder.is_here(self).await? {
            *shown = None;
            return self.decode_round(unfiled).await;
        }
        // Had it been recording: whoever does now begins with these.
        *unfiled = Unfiled::default();
        match shown {
            Some(shown) if self.live.receiver_count() > 0 => self.show_round(shown).await,
            Some(shown) if shown.since.elapsed() < SHOWN_AGAIN => Ok(0),
            _ => {
                *shown = Some(Shown { to: self.store.log_end().await?, since: Instant::now() });
                Ok(0)
            }
        }
    }

    /// Decodes and tells of the next windows, which another server records.
    async fn show_round(&self, shown: &mut Shown) -> Result<usize, StoreError> {
        let mut rows = self.store.stored_after(shown.to, ROUND).await?.into_iter();
        let n_rows = rows.len();
        while rows.len() > 0 {
            let (places, turn): (Vec<_>, Vec<_>) = rows.by_ref().take(TURN).unzip();
            let keep = |row: WindowRow, decoded: Result<Readings, Flaw>| Some((row.device, decoded.ok()?));
            for (device, readings) in decode_each(&self.bundles, turn, keep).await?.into_iter().flatten() {
                self.tell(device, readings).await?;
            }
            shown.to = places.last().copied().unwrap_or(shown.to);
        }
        Ok(n_rows)
    }

    /// Decodes the next windows and tells of them; files what is due. Gives how many it decoded.
    async fn decode_round(&self, unfiled: &mut Unfiled) -> Result<usize, StoreError> {
        // What could not be filed before: nothing more is taken on.
        if unfiled.marks.len() >= FILED_TOGETHER {
            self.file(unfiled).await?;
        }
        let after = unfiled.marks.last().map(|mark| mark.row_id);
        let rows = self.store.undecoded(after, ROUND).await?;
        let watched = self.live.receiver_count() > 0;
        let n_rows = rows.len();
        let (mut marks, mut readings) = (Vec::with_capacity(n_rows), Vec::new());
        let mut rows = rows.into_iter();
        // Not all at once: decoded, a round is tens of megabytes, and kept only for somebody.
        while rows.len() > 0 {
            let turn = rows.by_ref().take(TURN).collect();
            let keep = move |row: WindowRow, decoded: Result<Readings, Flaw>| {
                let found = decoded.as_ref().map(Readings::extent).map_err(|flaw| *flaw);
                let mark = DecodedMark { row_id: row.row_id, device: row.device, found };
                (mark, decoded.ok().filter(|_| watched).map(|readings| (row.device, readings)))
            };
            for (mark, told) in decode_each(&self.bundles, turn, keep).await? {
                marks.push(mark);
                readings.extend(told);
            }
        }
        if !marks.is_empty() {
            unfiled.since.get_or_insert_with(Instant::now);
            unfiled.devices.extend(marks.iter().map(|mark| mark.device));
            unfiled.marks.append(&mut marks);
        }
        for (i, (device, readings)) in readings.into_iter().enumerate() {
            self.tell(device, readings).await?;
            if i % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        if unfiled.is_due() {
            self.file(unfiled).await?;
        }
        Ok(n_rows)
    }

    async fn file(&self, unfiled: &mut Unfiled) -> Result<(), StoreError> {
        if unfiled.marks.is_empty() {
            return Ok(());
        }
        self.store.mark_decoded(unfiled.marks.clone()).await?;
        let marks = std::mem::take(unfiled).marks;
        // One line for all: a device with a wrong bundle sends thousands of them.
        let mut flawed = marks.iter().filter_map(|mark| Some((mark.device, mark.found.err()?)));
        if let Some((device, flaw)) = flawed.next() {
            let n = 1 + flawed.count();
            tracing::warn!(n, device, ?flaw, "stored windows do not decode; they are kept");
        }
        Ok(())
    }

    async fn tell(&self, short_id: u32, readings: Readings) -> Result<(), StoreError> {
        if self.live.receiver_count() == 0 {
            return Ok(());
        }
        let device = match self.registry.find(short_id).await {
            Ok(Some(device)) => device.id.to_string(),
            _ => return Ok(()),
        };
        // Nobody may be listening any more; that is fine.
        let _ = self.live.send(Arc::new(LiveWindow { device, short_id, readings }));
        Ok(())
    }
}
