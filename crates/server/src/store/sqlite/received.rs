//! The counters received, read once and written back once per request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{AckFlags, Millis};
use kinglet_wire::ranges::{self, ReceivedRanges};
use rusqlite::{Connection, OptionalExtension, params};

use super::accept::db_counter;
use crate::store::{FrameId, Span, StoreError};

/// Most sets of ranges that are remembered from one transaction to the next: two megabytes of them.
const KEPT: usize = 512;

/// The ranges that were looked at, by device and generation.
#[derive(Default)]
pub(super) struct Received {
    // Boxed: a full set of ranges is some kilobytes.
    loaded: HashMap<(u32, u32), Box<ReceivedRanges>>,
    changed: Vec<(u32, u32)>,
}

impl Received {
    /// What is known of a number.
    pub(super) fn check(
        &mut self,
        conn: &Connection,
        device: u32,
        id: FrameId,
    ) -> Result<ranges::Received, StoreError> {
        let Some(counter) = Counter::new(id.counter) else { return Ok(ranges::Received::Closed) };
        Ok(self.load(conn, device, id.generation)?.check(counter))
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, conn: &Connection, device: u32, id: FrameId) -> Result<(), StoreError> {
        let Some(counter) = Counter::new(id.counter) else { return Ok(()) };
        let key = (device, id.generation);
        let is_new = self.load(conn, device, id.generation)?.insert(counter) == ranges::Received::New;
        if is_new && !self.changed.contains(&key) {
            self.changed.push(key);
        }
        Ok(())
    }

    /// What is received around a number that was looked at.
    pub(super) fn span(&self, device: u32, id: FrameId) -> Option<Span> {
        let ranges = self.loaded.get(&(device, id.generation))?;
        let ack = ranges.ack_around(Counter::new(id.counter)?, Millis::default(), AckFlags::default())?;
        Some(Span { base: ack.base.get(), run: ack.run, bitmap: ack.bitmap })
    }

    /// Writes back what has changed.
    pub(super) fn save(&mut self, conn: &Connection) -> Result<(), StoreError> {
        for (device, generation) in self.changed.drain(..) {
            let Some(ranges) = self.loaded.get(&(device, generation)) else { continue };
            let mut bytes = vec![0; ranges.emit_len()];
            ranges.emit(&mut bytes).map_err(|e| StoreError::Database(e.to_string()))?;
            let highest = ranges.highest().map_or(0, |highest| db_counter(highest.get()));
            conn.prepare_cached(
                "INSERT INTO received VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device, generation) \
                 DO UPDATE SET highest = excluded.highest, ranges = excluded.ranges",
            )?
            .execute(params![device, generation, highest, bytes])?;
        }
        Ok(())
    }

    /// Forgets ranges if they have become many; only between transactions.
    pub(super) fn trim(&mut self) {
        if self.loaded.len() > KEPT {
            self.loaded = HashMap::new();
        }
    }

    fn load(
        &mut self,
        conn: &Connection,
        device: u32,
        generation: u32,
    ) -> Result<&mut ReceivedRanges, StoreError> {
        Ok(match self.loaded.entry((device, generation)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Box::new(read(conn, device, generation)?)),
        })
    }
}

fn read(conn: &Connection, device: u32, generation: u32) -> Result<ReceivedRanges, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT ranges FROM received WHERE device = ?1 AND generation = ?2")?;
    let bytes: Option<Vec<u8>> = statement.query_row([device, generation], |row| row.get(0)).optional()?;
    match bytes {
        None => Ok(ReceivedRanges::new()),
        Some(bytes) => ReceivedRanges::parse(&bytes)
            .map_err(|e| StoreError::Database(format!("the counters of device {device} are damaged ({e})"))),
    }
}
