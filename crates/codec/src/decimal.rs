//! Numbers as a sensor writes them, exactly.

use core::fmt;
use core::str::FromStr;

/// Most digits after the point.
pub(crate) const SCALE_MAX: u8 = 15;

/// An exact decimal, `mantissa × 10^-scale`.
///
/// Bounds and quanta are decimals and stay so: in binary floats 0.3 / 0.1 floors to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    mantissa: i64,
    scale: u8,
}

/// The text is not a finite decimal number that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseDecimalError;

impl fmt::Display for ParseDecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a finite decimal number of at most 18 digits")
    }
}

impl core::error::Error for ParseDecimalError {}

/// `10^n` for `n <= 18`.
pub(crate) fn pow10(n: u8) -> i64 {
    10i64.pow(u32::from(n))
}

impl Decimal {
    /// `mantissa × 10^-scale`, trailing zeros dropped. `scale` above 15 is rounded to 15 digits.
    pub fn new(mantissa: i64, scale: u8) -> Self {
        let (mut mantissa, mut scale) = (mantissa, scale);
        while scale > SCALE_MAX {
            mantissa = div_round(i128::from(mantissa), 10) as i64;
            scale -= 1;
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// The digits without the point.
    pub fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// Digits after the point, as few as the value needs.
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// The mantissa at `scale` digits after the point; exact if `scale >= self.scale()`, else rounded.
    pub fn at_scale(self, scale: u8) -> i128 {
        let scale = scale.min(18);
        if scale >= self.scale {
            i128::from(self.mantissa) * i128::from(pow10(scale - self.scale))
        } else {
            div_round(i128::from(self.mantissa), i128::from(pow10(self.scale - scale)))
        }
    }
}

/// `a / b` rounded half away from zero; `b > 0`.
pub(crate) fn div_round(a: i128, b: i128) -> i128 {
    let divisor = b.unsigned_abs();
    let quotient = div(a.unsigned_abs() + divisor / 2, divisor) as i128;
    if a >= 0 { quotient } else { -quotient }
}

/// `dividend / divisor`, 0 for a divisor of 0. On a chip the compiler's own division of 128 bits is 3.6 kB, and a reading
/// nearly always fits the one of 64 that is there anyway.
fn div(mut dividend: u128, divisor: u128) -> u128 {
    if let (Ok(a), Ok(b)) = (u64::try_from(dividend), u64::try_from(divisor)) {
        return a.checked_div(b).unwrap_or(0).into();
    }
    let mut quotient = 0;
    let shift_max = divisor.leading_zeros().saturating_sub(dividend.leading_zeros());
    for shift in (0..=shift_max).rev() {
        if dividend >= divisor << shift {
            dividend -= divisor << shift;
            quotient |= 1 << shift;
        }
    }
    quotient
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Reads `-12.50`, `+3`, `.5`, `1e-3`. More than 15 digits after the point are rounded; NaN, infinities,
    /// thousands separators and anything past 18 significant digits before the point are refused.
    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        let bytes = text.trim().as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (digits, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&bytes[..at], parse_exponent(&bytes[at + 1..])?),
            None => (bytes, 0),
        };
        let (mut mantissa, mut scale, mut seen_digit, mut seen_point) = (0i64, 0i32, false, false);
        let mut round_up = None;
        for &b in digits {
            match b {
                b'0'..=b'9' => {
                    seen_digit = true;
                    let digit = i64::from(b - b'0');
                    // Digits past what fits are rounded away after the point, refused before it.
                    if round_up.is_some() || mantissa >= 100_000_000_000_000_000 {
                        if !seen_point {
                            return Err(ParseDecimalError);
                        }
                        round_up.get_or_insert(digit >= 5);
                        continue;
                    }
                    mantissa = mantissa * 10 + digit;
                    scale += i32::from(seen_point);
                }
                b'.' if !seen_point => seen_point = true,
                _ => return Err(ParseDecimalError),
            }
        }
        if !seen_digit {
            return Err(ParseDecimalError);
        }
        mantissa += i64::from(round_up == Some(true));
        if negative {
            mantissa = -mantissa;
        }
        scale -= exponent;
        if mantissa == 0 {
            return Ok(Self::default());
        }
        while scale < 0 {
            mantissa = mantissa
                .checked_mul(10)
                .filter(|m| m.abs() < 1_000_000_000_000_000_000)
                .ok_or(ParseDecimalError)?;
            scale += 1;
        }
        while scale > i32::from(SCALE_MAX) && mantissa != 0 {
            mantissa = div_round(i128::from(mantissa), 10) as i64;
            scale -= 1;
        }
        Ok(Self::new(mantissa, u8::try_from(scale.min(i32::from(SCALE_MAX))).unwrap_or(0)))
    }
}

fn parse_exponent(bytes: &[u8]) -> Result<i32, ParseDecimalError> {
    let text = core::str::from_utf8(bytes).map_err(|_| ParseDecimalError)?;
    let exponent: i32 = text.parse().map_err(|_| ParseDecimalError)?;
    if exponent.abs() <= 40 { Ok(exponent) } else { Err(ParseDecimalError) }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = pow10(self.scale).unsigned_abs();
        let magnitude = self.mantissa.unsigned_abs();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if self.scale == 0 {
            write!(f, "{sign}{magnitude}")
        } else {
            write!(
                f,
                "{sign}{}.{:0width$}",
                magnitude / unit,
                magnitude % unit,
                width = usize::from(self.scale)
            )
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let scale = self.scale.max(other.scale);
        self.at_scale(scale).cmp(&other.at_scale(scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    extern crate std;

    fn check(text: &str, shown: &str) {
        assert_eq!(text.parse::<Decimal>().map(|d| d.to_string()).as_deref(), Ok(shown), "{text}");
    }

    /// Against the compiler's own division, at every width, where a bit more or less matters most.
    #[test]
    fn division_is_division() {
        let mut state = 7_u64;
        let mut next = || {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u128::from(state) << 64 | u128::from(state.rotate_left(23))
        };
        for (wide_a, wide_b) in (0..125).flat_map(|a| (0..125).map(move |b| (a, b))) {
            let (a, b) = (next() >> (3 + wide_a), (next() >> (3 + wide_b)).max(1));
            for a in [a, a / b * b, (a / b * b).saturating_sub(1), u128::MAX >> wide_a] {
                assert_eq!(div(a, b), a / b, "{a} / {b}");
            }
            let (a, b) = ((a >> 2) as i128, b as i128);
            for a in [a, -a] {
                let half = b / 2;
                let rounded = if a >= 0 { (a + half) / b } else { -((-a + half) / b) };
                assert_eq!(div_round(a, b), rounded, "{a} / {b}");
            }
        }
        assert_eq!((div(5, 0), div(u128::MAX, 1)), (0, u128::MAX));
    }

    #[test]
    fn reads_what_sensors_write() {
        check("23.70", "23.7");
        check("-0.05", "-0.05");
        check("+3", "3");
        check(".5", "0.5");
        check("1e-3", "0.001");
        check("1.5E2", "150");
        check("572.666666666667", "572.666666666667");
        check("0.12345678901234567", "0.123456789012346");
        check("0e9", "0");
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in
            ["", "-", ".", "nan", "inf", "1,5", "1.2.3", "0x10", "1e", "1e999", "99999999999999999999", "--1"]
        {
            assert_eq!(text.parse::<Decimal>(), Err(ParseDecimalError), "{text}");
        }
    }

    #[test]
    fn orders_by_value() {
        let d = |t: &str| t.parse::<Decimal>().unwrap();
        assert!(d("0.3") > d("0.29999") && d("-1") < d("0.5") && d("2.50") == d("2.5"));
    }
}
