//! Windows that were stored a moment ago, in memory: the background pass need not read back what was just written, nor
//! what it was handed once it files it.
//!
//! What is in here is also in the file. Another process may have changed the file, and a boot that is dated changes the
//! times of windows stored before: then all of it goes, and the pass reads the file.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::filing::FiledRow;
use crate::store::WindowRow;

/// Most bytes in here; further windows are read from the file.
const BYTES_MAX: usize = 8 << 20;
/// Most windows that are remembered to have been handed out: more than the pass files at once.
const HANDED_MAX: usize = 1 << 16;

/// What the writer leaves for the background pass.
#[derive(Default)]
pub(super) struct Fresh {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By id.
    rows: VecDeque<WindowRow>,
    n_bytes: usize,
    /// What the pass was handed and has not filed yet, by id and without a gap.
    handed: Vec<FiledRow>,
    /// The last window that was filed by this process.
    filed_to: Option<i64>,
    version: u64,
}

impl Fresh {
    /// Takes over windows that are on disk now.
    pub(super) fn add(&self, rows: &mut Vec<WindowRow>) {
        if rows.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for row in rows.drain(..) {
            if inner.n_bytes < BYTES_MAX {
                inner.n_bytes += len(&row);
                inner.rows.push_back(row);
            }
        }
    }

    /// To be called when windows of the tail may have changed: when this begins to be so, and again after its commit.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        *inner = Inner { version: inner.version + 1, filed_to: inner.filed_to, ..Inner::default() };
    }

    /// Whoever reads this, then rows of the tail, and then finds the same here within a transaction of the writer, knows those
    /// rows as they are.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Takes note that all windows up to this one are filed.
    pub(super) fn filed(&self, to: i64) {
        let mut inner = self.lock();
        inner.filed_to = inner.filed_to.max(Some(to));
        inner.handed.retain(|row| row.id > to);
    }

    /// Takes out the windows right after `after`, or after those that are filed; `None` if they are not here.
    pub(super) fn take(&self, after: Option<i64>, limit: u32) -> Option<Vec<WindowRow>> {
        let mut inner = self.lock();
        let after = after.or(inner.filed_to)?;
        let (mut rows, mut next) = (Vec::new(), after + 1);
        while rows.len() < limit as usize
            && let Some(row) = inner.rows.pop_front_if(|row| row.row_id <= next)
        {
            inner.n_bytes -= len(&row);
            if row.row_id == next {
                rows.push(row);
                next += 1;
            }
        }
        inner.hand(&rows);
        (!rows.is_empty()).then_some(rows)
    }

    /// Takes note of windows that were read from the file and are handed out, and of the version before they were read.
    pub(super) fn hand(&self, rows: &[WindowRow], version: u64) {
        let mut inner = self.lock();
        if inner.version == version {
            inner.hand(rows);
        }
    }

    /// Windows that were handed out, the last of them this one, and the version at which they are as they are here.
    pub(super) fn handed(&self, to: i64) -> Option<(Vec<FiledRow>, u64)> {
        let inner = self.lock();
        let end = inner.handed.binary_search_by_key(&to, |row| row.id).ok()?;
        Some((inner.handed[..=end].to_vec(), inner.version))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hand(&mut self, rows: &[WindowRow]) {
        for row in rows {
            let is_next = self.handed.last().is_none_or(|last| last.id + 1 == row.row_id);
            if is_next && self.handed.len() < HANDED_MAX {
                self.handed.push(FiledRow::from(row));
            }
        }
    }
}

fn len(row: &WindowRow) -> usize {
    size_of::<WindowRow>() + row.code.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FrameId, TimeQuality};

    fn row(row_id: i64) -> WindowRow {
        let origin = FrameId { generation: 1, counter: 1 };
        let (t_quality, code) = (TimeQuality::Clock, vec![7; 100]);
        let (device, t_first, t_arrival, bundle, frame_len) = (1, 2, 3, [0; 16], 4);
        let (n_samples, flaw) = (None, None);
        WindowRow {
            row_id,
            device,
            origin,
            t_first,
            t_arrival,
            t_quality,
            bundle,
            code,
            frame_len,
            n_samples,
            flaw,
        }
    }

    fn ids(fresh: &Fresh, after: Option<i64>, limit: u32) -> Option<Vec<i64>> {
        Some(fresh.take(after, limit)?.iter().map(|row| row.row_id).collect())
    }

    #[test]
    fn only_what_follows_without_a_gap_is_given() {
        let fresh = Fresh::default();
        fresh.add(&mut [3, 4, 5, 8, 9].map(row).into());
        assert_eq!(ids(&fresh, None, 9), None, "nobody knows what was before");
        assert_eq!(ids(&fresh, Some(1), 9), None);
        assert_eq!(ids(&fresh, Some(2), 2), Some(vec![3, 4]));
        fresh.filed(4);
        assert_eq!(ids(&fresh, None, 9), Some(vec![5]));
        assert_eq!(ids(&fresh, Some(5), 9), None, "another process has stored 6 and 7");
        assert_eq!(ids(&fresh, Some(8), 9), Some(vec![9]), "what was read from the file is not given again");
        assert_eq!(ids(&fresh, Some(9), 9), None);
        assert_eq!(fresh.lock().n_bytes, 0);
    }

    #[test]
    fn what_was_handed_out_is_known_until_it_is_filed_or_may_have_changed() {
        let fresh = Fresh::default();
        fresh.hand(&[1, 2].map(row), fresh.version());
        fresh.add(&mut [3, 4, 5].map(row).into());
        assert_eq!(ids(&fresh, Some(2), 9), Some(vec![3, 4, 5]));
        // Read again from the file, and one that does not follow.
        fresh.hand(&[4, 5, 7].map(row), fresh.version());
        let handed = |to| Some(fresh.handed(to)?.0.iter().map(|row| row.id).collect::<Vec<_>>());
        assert_eq!((handed(4), handed(7)), (Some(vec![1, 2, 3, 4]), None));
        fresh.filed(4);
        assert_eq!(handed(5), Some(vec![5]));
        let before = fresh.version();
        fresh.clear();
        fresh.hand(&[6].map(row), before);
        assert_eq!((handed(5), handed(6)), (None, None));
    }

    #[test]
    fn it_does_not_grow_without_end_and_forgets_at_once() {
        let fresh = Fresh::default();
        for id in 0..100_000 {
            fresh.add(&mut vec![row(id)]);
        }
        let n = fresh.lock().n_bytes;
        assert!((BYTES_MAX..BYTES_MAX + 1000).contains(&n), "{n}");
        let version = fresh.version();
        fresh.clear();
        assert_ne!(fresh.version(), version);
        assert_eq!(ids(&fresh, Some(-1), 9), None);
    }
}
