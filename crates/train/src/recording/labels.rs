//! Which column says where a row comes from, in files whose header does not tell: rows of one time say different things there.

use super::cell;
use super::error::RecordingError;
use super::layout::Layout;

/// Columns that are looked at.
const COLUMNS_MAX: usize = 4;
/// Different texts of a column that names sources.
const TEXTS_MAX: usize = 64;

/// A column's text in each row.
pub(super) struct Labels {
    pub(super) column: usize,
    shown: String,
    texts: Vec<Vec<u8>>,
    /// Of each row, its text's place.
    rows: Vec<u8>,
}

impl Labels {
    /// Of the columns that hold text; none where a source is known.
    pub(super) fn of(layout: &Layout) -> Vec<Self> {
        let texts = layout.texts.iter().filter(|_| layout.source.is_none()).take(COLUMNS_MAX);
        let labels = |(column, shown): &(usize, String)| Self {
            column: *column,
            shown: shown.clone(),
            texts: Vec::new(),
            rows: Vec::new(),
        };
        texts.map(labels).collect()
    }

    /// Takes the text of the next row; false once there are too many different ones.
    pub(super) fn push(&mut self, text: &[u8]) -> bool {
        let text = cell::trim(text);
        let place = self.texts.iter().position(|known| known == text).unwrap_or(self.texts.len());
        if place == self.texts.len() {
            self.texts.push(text.to_vec());
        }
        self.rows.push(place as u8);
        self.texts.len() <= TEXTS_MAX
    }

    pub(super) fn reorder(&mut self, order: &[u32]) {
        self.rows = order.iter().map(|&row| self.rows[row as usize]).collect();
    }

    /// True if nearly all rows of one time (in order) have different texts.
    pub(super) fn tell_apart(&self, times_ms: &[i64]) -> bool {
        let pairs = times_ms.windows(2).zip(self.rows.windows(2)).filter(|(t, _)| t[0] == t[1]);
        let (n, n_apart) =
            pairs.fold((0, 0), |(n, apart), (_, row)| (n + 1, apart + usize::from(row[0] != row[1])));
        100 * n_apart > 95 * n
    }

    /// Why such rows are no recording.
    pub(super) fn several(&self) -> Option<RecordingError> {
        let [first, other, ..] = &self.texts[..] else { return None };
        let (column, first, other) = (self.shown.clone(), cell::example(first), cell::example(other));
        Some(RecordingError::SeveralSources { column, first, other })
    }
}
