//! How long to wait before something is sent again.

/// Randomness as the node asks for it: fills the slice.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// Milliseconds before attempt `attempts + 1`: doubling from `min` to `max`, give or take a quarter, so that
/// many devices that failed together do not come back together.
pub(crate) fn delay_ms(attempts: u8, min_ms: u32, max_ms: u32, random: &mut Random<'_>) -> u64 {
    let doublings = attempts.saturating_sub(1).min(31);
    let delay = (u64::from(min_ms.max(1)) << doublings).min(u64::from(max_ms.max(min_ms).max(1)));
    delay - delay / 4 + up_to(delay / 2, random)
}

/// A random number from 0 to `limit`.
pub(crate) fn up_to(limit: u64, random: &mut Random<'_>) -> u64 {
    let mut bytes = [0; 4];
    random(&mut bytes);
    (u64::from(u32::from_le_bytes(bytes)) * (limit + 1)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_with_a_quarter_of_jitter() {
        for (attempts, delay) in [(0, 1000), (1, 1000), (2, 2000), (5, 16_000), (11, 900_000), (255, 900_000)]
        {
            for (byte, expected) in [(0, delay - delay / 4), (0xFF, delay + delay / 4)] {
                let got = delay_ms(attempts, 1000, 900_000, &mut |out: &mut [u8]| out.fill(byte));
                assert_eq!(got, expected, "attempt {attempts}");
            }
        }
        assert!(delay_ms(3, 0, 0, &mut |out: &mut [u8]| out.fill(7)) <= 2);
    }
}
