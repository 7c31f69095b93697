//! Windows coded after an earlier one that the decoder is known to have.
//!
//! Most of what a window costs at its beginning says where the sensor stands and how it moves, and the decoder of the
//! window before knows that. A code that *refers* is read with the end of that window, its *tail*: histories go on where
//! they were, and there is no first value. Which window is meant stands in the code as a *distance*, a small number that
//! the codec only carries. A code that refers can be turned into one that stands alone, byte for byte the same on both
//! ends ([`crate::Referring`], [`crate::resolve`]): so nobody has to keep windows that others lean on.

use crate::freq::{Table, fixed};
use crate::model::{Model, Reader};
use crate::parts;
use crate::range::{Coder, Decoder, Site, Stop};

/// Samples of a window that a later one is coded after, at most.
pub const TAIL_SAMPLES_MAX: usize = 16;
/// The farthest that a code can refer.
pub const DISTANCE_MAX: u8 = 4;

/// What a window is coded after.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The last samples of the earlier window as its decoder reads them, `[samples × channels]`, sample-major; of more
    /// than [`TAIL_SAMPLES_MAX`] the last count.
    pub tail: &'a [i32],
    /// How far the earlier window lies behind, in whatever the caller counts: 1..=[`DISTANCE_MAX`].
    pub distance: u8,
}

/// What [`crate::encode_after`] made: two codes of the same values, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referring {
    /// Bytes of the code that refers, at the front of `out`.
    pub code_len: usize,
    /// Bytes of the code behind it, which stands alone and is what [`crate::resolve`] makes of the first.
    pub alone_len: usize,
    /// The rung of both.
    pub rung: crate::Rung,
}

/// Head symbols of a code that refers: hold, context, predict, special.
pub(crate) const HEAD_SYMBOLS: usize = 4;
/// How far it refers: nearly always to the window before.
const DISTANCES: Table<'static> = fixed(33120, &[2, 64, 96, 96]);

/// The trained part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReferenceTables<'a> {
    /// Refers, stands alone.
    mark: Table<'a>,
    pub(crate) head: Table<'a>,
    _part: parts::References,
}

impl<'a> ReferenceTables<'a> {
    pub(crate) fn parse(section: &'a [u8]) -> Option<Self> {
        let part = parts::references()?;
        let mut reader = Reader(section);
        let mark = Table::parse(&mut reader, 2)?;
        let head = Table::parse(&mut reader, HEAD_SYMBOLS)?;
        reader.0.is_empty().then_some(Self { mark, head, _part: part })
    }

    /// Codes whether and how far a code refers; `None` if it stands alone.
    pub(crate) fn code(&self, coder: &mut dyn Coder, distance: Option<u8>) -> Result<Option<u8>, Stop> {
        if coder.symbol(Site::Fixed, self.mark, usize::from(distance.is_none()))? == 1 {
            return Ok(None);
        }
        let place = usize::from(distance.unwrap_or(1).saturating_sub(1)).min(DISTANCES.len() - 1);
        Ok(Some(coder.symbol(Site::Fixed, DISTANCES, place)? as u8 + 1))
    }
}

/// How far `code` refers; `None` for one that stands alone. Of bytes that are no code the answer means nothing.
pub(crate) fn distance(model: &Model<'_>, code: &[u8]) -> Option<u8> {
    model.reference?.code(&mut Decoder::new(code), None).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_right() {
        let sum: u32 = (0..DISTANCES.len()).map(|sym| DISTANCES.interval(sym).1).sum();
        assert_eq!(sum, DISTANCES.total());
        assert_eq!(DISTANCES.len(), usize::from(DISTANCE_MAX));
    }
}
