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

    /// Takes off what binary floats add in print: `21.3999996185303` becomes `21.4` again. Returns how many
    /// readings were so; none is touched unless nearly all long ones are.
    pub(super) fn drop_float_noise(&mut self) -> u64 {
        let is_long = |d: &Decimal| d.mantissa().unsigned_abs() >= LONG;
        let (mut n_long, mut n_noisy) = (0u64, 0u64);
        for value in self.iter().flatten().filter(is_long) {
            n_long += 1;
            n_noisy += u64::from(without_noise(value).is_some());
        }
        if n_noisy * 100 < n_long * 99 || n_noisy == 0 {
            return 0;
        }
        for idx in 0..self.len() {
            if let Some(short) = self.get(idx).filter(is_long).and_then(without_noise) {
                (self.mantissas[idx], self.scales[idx]) = (short.mantissa(), short.scale());
            }
        }
        n_noisy
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

/// A mantissa of ten digits or more: no sensor gives so many.
const LONG: u64 = 1_000_000_000;

/// `value` rounded to six digits, if that is within the rounding of a 32-bit float, or to twelve, if that is within what few
/// sums and products of 64-bit floats make of it.
fn without_noise(value: Decimal) -> Option<Decimal> {
    let n_digits = value.mantissa().unsigned_abs().checked_ilog10()? + 1;
    // One unit in the last place of a 24-bit significand, eight of one of 53 bits.
    [(6, 23), (12, 50)].into_iter().find_map(|(n_left, n_bits)| {
        let scale = u32::from(value.scale()).checked_sub(n_digits.checked_sub(n_left)?)?;
        let short = Decimal::new(i64::try_from(value.at_scale(scale as u8)).ok()?, scale as u8);
        let off = (short.at_scale(value.scale()) - i128::from(value.mantissa())).unsigned_abs();
        (off << n_bits <= u128::from(value.mantissa().unsigned_abs())).then_some(short)
    })
}

impl FromIterator<Option<Decimal>> for Values {
    fn from_iter<I: IntoIterator<Item = Option<Decimal>>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|v| all.push(v));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], want: &[&str]) {
        let mut values: Values = values.iter().map(|v| v.parse().ok()).collect();
        let n = values.drop_float_noise();
        let shown: Vec<String> = values.iter().map(|v| v.map_or("_".into(), |v| v.to_string())).collect();
        assert_eq!(shown, want);
        assert_eq!(n > 0, values.iter().flatten().all(|v| v.mantissa().abs() < 1_000_000_000), "{n}");
    }

    #[test]
    fn float_noise_is_taken_off_and_nothing_else() {
        check(&["21.3999996185303", "x", "21.5", "21.600000381469727"], &["21.4", "_", "21.5", "21.6"]);
        check(&["-0.10000000149011612", "0.30000000000000004"], &["-0.1", "0.3"]);
        check(&["1013.2000122070312"], &["1013.2"]);
        // Knots in miles an hour.
        check(&["10.357019999999999", "8.05546", "13.809359999999998"], &["10.35702", "8.05546", "13.80936"]);
        check(&["10.357019999999999", "3.933333333333333"], &["10.357019999999999", "3.933333333333333"]);
        check(&["572.666666666667", "21.3999996185303"], &["572.666666666667", "21.3999996185303"]);
        check(&["1700000000", "1700000060"], &["1700000000", "1700000060"]);
    }
}
