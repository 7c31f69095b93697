//! The counters received, as ranges: read once, written back when the background pass files windows.
//!
//! The row of a window is a witness of its own number: until the pass has filed it, the ranges on disk need not
//! know it. What leaves no such row (a status frame, a window sealed again) is written back in its transaction.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use kinglet_wire::counter::Counter;
use kinglet_wire::payload::{AckFlags, Millis};
use kinglet_wire::ranges::{self, ReceivedRanges};
use rusqlite::{Connection, OptionalExtension, params};

use super::accept::db_counter;
use super::windows::TAIL;
use crate::store::{FrameId, Span, StoreError};

/// Most sets of ranges that are remembered from one transaction to the next: two megabytes of them.
const KEPT: usize = 512;

/// What on disk, apart from the ranges, says that a number was received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Witness {
    /// The row of a window that is not filed yet.
    Row,
    /// Nothing.
    None,
}

/// The ranges that were looked at, by device and generation.
#[derive(Default)]
pub(super) struct Received {
    // Boxed: a full set of ranges is some kilobytes.
    loaded: HashMap<(u32, u32), Box<ReceivedRanges>>,
    /// Changed since they were written back, each number with its row as witness.
    witnessed: HashSet<(u32, u32)>,
    /// To be written back in this transaction.
    unwitnessed: Vec<(u32, u32)>,
    /// Whether the ranges on disk, with those in here, know every number of the tail.
    is_settled: bool,
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
    pub(super) fn insert(
        &mut self,
        conn: &Connection,
        device: u32,
        id: FrameId,
        witness: Witness,
    ) -> Result<(), StoreError> {
        let Some(counter) = Counter::new(id.counter) else { return Ok(()) };
        let key = (device, id.generation);
        if self.load(conn, device, id.generation)?.insert(counter) != ranges::Received::New {
            return Ok(());
        }
        match witness {
            Witness::Row => drop(self.witnessed.insert(key)),
            Witness::None if !self.unwitnessed.contains(&key) => self.unwitnessed.push(key),
            Witness::None => {}
        }
        Ok(())
    }

    /// What is received around a number that was looked at.
    pub(super) fn span(&self, device: u32, id: FrameId) -> Option<Span> {
        let ranges = self.loaded.get(&(device, id.generation))?;
        let ack = ranges.ack_around(Counter::new(id.counter)?, Millis::default(), AckFlags::default())?;
        Some(Span { base: ack.base.get(), run: ack.run, bitmap: ack.bitmap })
    }

    /// Writes back what nothing else on disk says.
    pub(super) fn save_unwitnessed(&mut self, conn: &Connection) -> Result<(), StoreError> {
        for key in std::mem::take(&mut self.unwitnessed) {
            self.witnessed.remove(&key);
            self.write_back(conn, key)?;
        }
        Ok(())
    }

    /// Writes back what changed of these; afterwards the ranges on disk stand without the rows of their windows.
    pub(super) fn save(
        &mut self,
        conn: &Connection,
        keys: impl Iterator<Item = (u32, u32)>,
    ) -> Result<(), StoreError> {
        for key in keys {
            if self.witnessed.remove(&key) {
                self.write_back(conn, key)?;
            }
        }
        Ok(())
    }

    /// Writes back everything; afterwards the ranges on disk stand without any row.
    pub(super) fn save_all(&mut self, conn: &Connection) -> Result<(), StoreError> {
        self.save_unwitnessed(conn)?;
        for key in std::mem::take(&mut self.witnessed) {
            self.write_back(conn, key)?;
        }
        Ok(())
    }

    /// Writes back and forgets ranges if they have become many.
    pub(super) fn keep_few(&mut self, conn: &Connection) -> Result<(), StoreError> {
        if self.loaded.len() > KEPT {
            self.save_all(conn)?;
            self.loaded = HashMap::new();
        }
        Ok(())
    }

    /// Puts numbers of the tail into the ranges: windows that are about to be filed, by device and generation.
    pub(super) fn settle(
        &mut self,
        conn: &Connection,
        numbers: impl Iterator<Item = (u32, FrameId)>,
    ) -> Result<(), StoreError> {
        for (device, id) in numbers {
            let (key, Some(counter)) = ((device, id.generation), Counter::new(id.counter)) else { continue };
            let ranges = match self.loaded.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => match read(conn, device, id.generation)? {
                    Some(ranges) => entry.insert(Box::new(ranges)),
                    // Damaged: every frame of this generation is refused anyway, those of others are not.
                    None => continue,
                },
            };
            if ranges.insert(counter) == ranges::Received::New {
                self.witnessed.insert(key);
            }
        }
        Ok(())
    }

    fn write_back(&self, conn: &Connection, key: (u32, u32)) -> Result<(), StoreError> {
        let Some(ranges) = self.loaded.get(&key) else { return Ok(()) };
        let mut bytes = vec![0; ranges.emit_len()];
        ranges.emit(&mut bytes).map_err(|e| StoreError::Database(e.to_string()))?;
        let highest = ranges.highest().map_or(0, |highest| db_counter(highest.get()));
        conn.prepare_cached(
            "INSERT INTO received VALUES (?1, ?2, ?3, ?4) ON CONFLICT (device, generation) \
             DO UPDATE SET highest = excluded.highest, ranges = excluded.ranges",
        )?
        .execute(params![key.0, key.1, highest, bytes])?;
        Ok(())
    }

    /// After a start, a rollback or a write of another process: what the rows of the tail know.
    fn settle_tail(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT device, generation, counter FROM window WHERE {TAIL} ORDER BY device, generation"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = FrameId { generation: row.get(1)?, counter: row.get(2)? };
            self.settle(conn, std::iter::once((row.get(0)?, id)))?;
            self.keep_few(conn)?;
        }
        self.is_settled = true;
        Ok(())
    }

    fn load(
        &mut self,
        conn: &Connection,
        device: u32,
        generation: u32,
    ) -> Result<&mut ReceivedRanges, StoreError> {
        if !self.is_settled {
            self.settle_tail(conn)?;
        }
        Ok(match self.loaded.entry((device, generation)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Box::new(read(conn, device, generation)?.ok_or_else(|| {
                    StoreError::Database(format!("the counters of device {device} are damaged"))
                })?))
            }
        })
    }
}

/// The ranges on disk; `None` if they are damaged.
fn read(conn: &Connection, device: u32, generation: u32) -> Result<Option<ReceivedRanges>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT ranges FROM received WHERE device = ?1 AND generation = ?2")?;
    let bytes: Option<Vec<u8>> = statement.query_row([device, generation], |row| row.get(0)).optional()?;
    Ok(match bytes {
        None => Some(ReceivedRanges::new()),
        Some(bytes) => ReceivedRanges::parse(&bytes).ok(),
    })
}
