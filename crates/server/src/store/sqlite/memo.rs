//! What the writer remembers from one transaction to the next. All of it can be read anew from the file, and
//! is after a rollback or when another process has written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::accept::db_counter;
use super::fresh::Fresh;
use super::received::Received;
use super::windows::TAIL;
use crate::store::{FrameId, StoreError, Verdict, WindowRow};

/// Most windows of the tail that are found by number without reading the tail.
const TAIL_KEPT: usize = 1 << 16;
/// Most devices known to be in good standing.
const STANDING_KEPT: usize = 1 << 14;

/// Ids by device and number.
type Tail = HashMap<(u32, FrameId), i64>;

/// The writer's memory.
pub(super) struct Memo {
    /// The counters received.
    pub(super) received: Received,
    /// Devices that exist and are not revoked.
    standing: HashSet<u32>,
    /// Windows of the tail by device and number, once a repeated frame has asked for one.
    tail: Option<Tail>,
    next_id: Option<i64>,
    data_version: i64,
    /// Windows of this transaction.
    added: Vec<WindowRow>,
    /// Times of windows stored before have changed in this transaction.
    is_redated: bool,
    pub(super) fresh: Arc<Fresh>,
}

impl Memo {
    /// Knows nothing yet of a file at this `data_version`.
    pub(super) fn new(data_version: i64, fresh: Arc<Fresh>) -> Self {
        let (received, standing, added) = (Received::default(), HashSet::new(), Vec::new());
        Self { received, standing, tail: None, next_id: None, data_version, added, is_redated: false, fresh }
    }

    /// Whether another process has written since the last call.
    pub(super) fn is_stale(&mut self, data_version: i64) -> bool {
        std::mem::replace(&mut self.data_version, data_version) != data_version
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.fresh.clear();
        // What was done in the transaction before may be committed yet.
        *self = Self { is_redated: true, ..Self::new(self.data_version, Arc::clone(&self.fresh)) };
    }

    /// To be called after a commit.
    pub(super) fn committed(&mut self) {
        if std::mem::take(&mut self.is_redated) {
            self.fresh.clear();
        }
        self.fresh.add(&mut self.added);
    }

    /// To be called when times of windows that were stored before change.
    pub(super) fn redated(&mut self) {
        self.is_redated = true;
        self.added.clear();
        self.fresh.clear();
    }

    /// Stays within bounds; only between transactions.
    pub(super) fn trim(&mut self) {
        if self.standing.len() > STANDING_KEPT {
            self.standing.clear();
        }
        if self.tail.as_ref().is_some_and(|tail| tail.len() > TAIL_KEPT) {
            self.tail = None;
        }
    }

    /// Why a device may send nothing, if so.
    pub(super) fn standing(&mut self, conn: &Connection, device: u32) -> Result<Option<Verdict>, StoreError> {
        if self.standing.contains(&device) {
            return Ok(None);
        }
        let t_revoked: Option<Option<i64>> = conn
            .prepare_cached("SELECT t_revoked FROM device WHERE short_id = ?1")?
            .query_row([device], |row| row.get(0))
            .optional()?;
        match t_revoked {
            None => return Ok(Some(Verdict::UnknownDevice)),
            Some(Some(_)) => return Ok(Some(Verdict::Revoked)),
            Some(None) => self.standing.insert(device),
        };
        Ok(None)
    }

    /// To be called when a device is revoked.
    pub(super) fn forget_standing(&mut self) {
        self.standing.clear();
    }

    /// An id above all that ever were: of the rows there are, and of those the background pass has seen.
    pub(super) fn next_id(&mut self, conn: &Connection) -> Result<i64, StoreError> {
        let id = match self.next_id {
            Some(id) => id,
            None => conn
                .prepare_cached(
                    "SELECT MAX(decoded_to, COALESCE((SELECT MAX(id) FROM window), 0)) + 1 FROM progress",
                )?
                .query_row([], |row| row.get(0))?,
        };
        self.next_id = Some(id + 1);
        Ok(id)
    }

    /// Takes note of a window that was just inserted.
    pub(super) fn stored(&mut self, row: WindowRow) {
        if let Some(tail) = &mut self.tail {
            tail.insert((row.device, row.origin), row.row_id);
        }
        self.added.push(row);
    }

    /// Takes note that a window is not in the tail any more.
    pub(super) fn filed(&mut self, device: u32, origin: FrameId) {
        if let Some(tail) = &mut self.tail {
            tail.remove(&(device, origin));
        }
    }

    /// The window first sealed under a number.
    pub(super) fn window_id(
        &mut self,
        conn: &Connection,
        device: u32,
        origin: FrameId,
    ) -> Result<Option<i64>, StoreError> {
        let key = params![device, origin.generation, db_counter(origin.counter)];
        let id = conn
            .prepare_cached(
                "SELECT id FROM window_number WHERE device = ?1 AND generation = ?2 AND counter = ?3",
            )?
            .query_row(key, |row| row.get(0))
            .optional()?;
        if id.is_some() {
            return Ok(id);
        }
        if self.tail.is_none() {
            self.tail = read_tail(conn)?;
        }
        if let Some(tail) = &self.tail {
            return Ok(tail.get(&(device, origin)).copied());
        }
        // The background pass is far behind: slow, but right.
        Ok(conn
            .prepare_cached(&format!(
                "SELECT id FROM window WHERE {TAIL} AND device = ?1 AND generation = ?2 AND counter = ?3"
            ))?
            .query_row(key, |row| row.get(0))
            .optional()?)
    }
}

/// The tail by device and number; `None` if it is too long to be kept in memory.
fn read_tail(conn: &Connection) -> Result<Option<Tail>, StoreError> {
    let span = "SELECT COALESCE((SELECT MAX(id) FROM window), 0) - decoded_to FROM progress";
    let n: i64 = conn.prepare_cached(span)?.query_row([], |row| row.get(0))?;
    if usize::try_from(n).is_ok_and(|n| n > TAIL_KEPT) {
        return Ok(None);
    }
    let mut statement =
        conn.prepare_cached(&format!("SELECT device, generation, counter, id FROM window WHERE {TAIL}"))?;
    let rows = statement.query_map([], |row| {
        let origin = FrameId { generation: row.get(1)?, counter: row.get(2)? };
        Ok(((row.get(0)?, origin), row.get(3)?))
    })?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}
