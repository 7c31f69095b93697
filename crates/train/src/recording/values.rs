//! Many exact decimals in little memory.

use kinglet_codec::Decimal;

/// Marks a missing reading in `scales`; no decimal has so many digits.
const MISSING_SCALE: u8 = u8::MAX;

/// Exact decimals, missing ones among them: 9 bytes each, whatever their digits.
///
/// Q: Why not one scale for the whole channel? A: One stray `1e-15` beside `1e12` would overflow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    mantissas: Vec<i64>,
    scales: Vec<u8>,
}

impl Values {
    /// How many, missing ones included.
    pub fn len(&self) -> usize {
        self.mantissas.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.mantissas.is_empty()
    }

    /// Value `idx`; `None` if it is missing or past the end.
    pub fn get(&self, idx: usize) -> Option<Decimal> {
        let scale = *self.scales.get(idx)?;
        (scale != MISSING_SCALE).then(|| Decimal::new(self.mantissas[idx], scale))
    }

    /// Appends a value.
    pub fn push(&mut self, value: Option<Decimal>) {
        self.mantissas.push(value.map_or(0, Decimal::mantissa));
        self.scales.push(value.map_or(MISSING_SCALE, Decimal::scale));
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<Decimal>> + '_ {
        (0..self.len()).map(|idx| self.get(idx))
    }

    /// Overwrites value `to` with value `from`; both exist.
    pub(super) fn copy_within(&mut self, from: usize, to: usize) {
        self.mantissas[to] = self.mantissas[from];
        self.scales[to] = self.scales[from];
    }

    /// Keeps the first `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        self.mantissas.truncate(len);
        self.scales.truncate(len);
    }

    /// The same values in the order `order` names them.
    pub(super) fn reordered(&self, order: &[u32]) -> Self {
        Self {
            mantissas: order.iter().map(|&i| self.mantissas[i as usize]).collect(),
            scales: order.iter().map(|&i| self.scales[i as usize]).collect(),
        }
    }
}

impl FromIterator<Option<Decimal>> for Values {
    fn from_iter<I: IntoIterator<Item = Option<Decimal>>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|v| all.push(v));
        all
    }
}
