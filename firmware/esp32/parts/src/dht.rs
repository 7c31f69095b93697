//! DHT11 and DHT22: edges on their wire become a reading.
//!
//! The board pulls the wire low for some milliseconds and lets go. The sensor answers with 80 µs low and 80 µs high,
//! then sends 40 bits, most significant first, each as 50 µs low and a high of 26 µs (0) or 70 µs (1):
//! humidity 2 bytes, temperature 2 bytes, and the sum of these four.

use kinglet_codec::Decimal;

/// Bits of a reading.
const N_BITS: usize = 40;
/// Low and high phases of a whole answer: the response, then the bits.
pub const N_PULSES: usize = 1 + N_BITS;

/// One low phase and the high phase behind it, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Length of the low phase.
    pub low_us: u16,
    /// Length of the high phase.
    pub high_us: u16,
}

/// Which sensor it is: the same wire, other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole per cent; whole degrees, newer ones tenths.
    Dht11,
    /// Tenths of both. Also sold as AM2302.
    Dht22,
}

/// What the sensor measured, exactly as it says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// °C.
    pub temperature: Decimal,
    /// % relative humidity.
    pub humidity: Decimal,
}

/// Why there is no reading. Trying again after the sensor's pause is right for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhtError {
    /// Nobody answered: so many pulses came.
    TooFew(usize),
    /// This pulse is no bit: an edge was missed, or something else drives the wire.
    Timing(usize),
    /// The bytes do not add up.
    Checksum,
    /// The bytes add up to what the sensor cannot measure.
    Range,
}

impl Kind {
    /// How long the board pulls the wire low to ask for a reading, in milliseconds.
    pub fn start_ms(self) -> u32 {
        match self {
            Self::Dht11 => 20,
            Self::Dht22 => 2,
        }
    }

    /// Shortest time between two readings, in milliseconds.
    pub fn pause_ms(self) -> u32 {
        match self {
            Self::Dht11 => 1_000,
            Self::Dht22 => 2_000,
        }
    }
}

/// Reads an answer. `pulses`: at least the 40 of the bits; what stands before these (the response, or the wire
/// rising before it) is passed over.
pub fn decode(kind: Kind, pulses: &[Pulse]) -> Result<Measured, DhtError> {
    let first = pulses.len().checked_sub(N_BITS).ok_or(DhtError::TooFew(pulses.len()))?;
    let bits = &pulses[first..];
    // The mean low phase is the yardstick, half way between the two highs: a clock that runs fast or slow makes no
    // difference, and one late edge little.
    let low_us = bits.iter().map(|pulse| u32::from(pulse.low_us)).sum::<u32>() / N_BITS as u32;
    let mut bytes = [0_u8; N_BITS / 8];
    for (bit, pulse) in bits.iter().enumerate() {
        // Data sheets: low 48..55, high 22..30 or 68..75. A capture that is late by some microseconds is taken;
        // what no sensor sends is not.
        if !(30..=90).contains(&pulse.low_us) || !(10..=100).contains(&pulse.high_us) {
            return Err(DhtError::Timing(first + bit));
        }
        bytes[bit / 8] = bytes[bit / 8] << 1 | u8::from(u32::from(pulse.high_us) > low_us);
    }
    let [h0, h1, t0, t1, sum] = bytes;
    if h0.wrapping_add(h1).wrapping_add(t0).wrapping_add(t1) != sum {
        return Err(DhtError::Checksum);
    }
    let (temperature, humidity) = match kind {
        Kind::Dht11 => dht11(h0, h1, t0, t1),
        Kind::Dht22 => dht22(u16::from_be_bytes([h0, h1]), u16::from_be_bytes([t0, t1])),
    }
    .ok_or(DhtError::Range)?;
    Ok(Measured { temperature: Decimal::new(temperature, 1), humidity: Decimal::new(humidity, 1) })
}

/// Tenths of a degree and of a per cent.
fn dht11(h0: u8, h1: u8, t0: u8, t1: u8) -> Option<(i64, i64)> {
    // Newer ones say tenths, and below zero set the first bit of the tenths.
    let (tenths, negative) = (t1 & 0x7F, t1 & 0x80 != 0);
    let magnitude = i64::from(t0) * 10 + i64::from(tenths);
    let temperature = if negative { -magnitude } else { magnitude };
    let humidity = i64::from(h0) * 10 + i64::from(h1);
    let fits = h1 < 10 && tenths < 10 && (-200..=600).contains(&temperature) && humidity <= 1000;
    // A dead wire that stays low reads as zeros, and zeros add up.
    (fits && [h0, h1, t0, t1] != [0; 4]).then_some((temperature, humidity))
}

fn dht22(humidity: u16, raw: u16) -> Option<(i64, i64)> {
    let magnitude = i64::from(raw & 0x7FFF);
    let temperature = match raw & 0x8000 != 0 {
        false => magnitude,
        // Some makers count in two's complement below zero; no sensor measures 3000 degrees.
        true if magnitude > 0x7000 => i64::from(raw.cast_signed()),
        true => -magnitude,
    };
    let fits = (-400..=1250).contains(&temperature) && humidity <= 1000;
    (fits && (humidity, raw) != (0, 0)).then_some((temperature, humidity.into()))
}

/// The pulses a sensor sends for these bytes: for tests, and for boards that exist only on the host. `jitter`: added to
/// each phase, in microseconds.
pub fn pulses_of(bytes: [u8; 4], mut jitter: impl FnMut() -> i16) -> [Pulse; N_PULSES] {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let all = [bytes[0], bytes[1], bytes[2], bytes[3], sum];
    let mut late = |us: u16| us.saturating_add_signed(jitter());
    let mut pulses = [Pulse::default(); N_PULSES];
    pulses[0] = Pulse { low_us: late(80), high_us: late(80) };
    for (bit, pulse) in pulses[1..].iter_mut().enumerate() {
        let is_set = all[bit / 8] >> (7 - bit % 8) & 1 == 1;
        *pulse = Pulse { low_us: late(50), high_us: late(if is_set { 70 } else { 26 }) };
    }
    pulses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, bytes: [u8; 4]) -> Result<(i64, i64), DhtError> {
        let tenths = |value: Decimal| value.at_scale(1) as i64;
        decode(kind, &pulses_of(bytes, || 0)).map(|m| (tenths(m.temperature), tenths(m.humidity)))
    }

    #[test]
    fn data_sheet_examples() {
        // DHT22: 0000'0010 1000'1100, 0000'0001 0101'1111 is 65.2 % and 35.1 °C; with the first bit, -10.1 °C.
        assert_eq!(read(Kind::Dht22, [0x02, 0x8C, 0x01, 0x5F]), Ok((351, 652)));
        assert_eq!(read(Kind::Dht22, [0x02, 0x8C, 0x80, 0x65]), Ok((-101, 652)));
        // The same in two's complement.
        assert_eq!(read(Kind::Dht22, [0x02, 0x8C, 0xFF, 0x9B]), Ok((-101, 652)));
        // DHT11: 0011'0101 0, 0001'1000 0000'0100 is 53 % and 24.4 °C.
        assert_eq!(read(Kind::Dht11, [0x35, 0, 0x18, 0x04]), Ok((244, 530)));
        assert_eq!(read(Kind::Dht11, [0x35, 0, 0x0A, 0x81]), Ok((-101, 530)));
        assert_eq!(read(Kind::Dht11, [45, 0, 22, 0]), Ok((220, 450)));
    }

    #[test]
    fn late_edges_and_fast_clocks_make_no_difference() {
        let mut state = 1_u32;
        let mut jitter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i16 % 21 - 10
        };
        for n in 0..500_u16 {
            let bytes = [0x01, (n % 256) as u8, 0x00, (n % 251) as u8];
            let want = decode(Kind::Dht22, &pulses_of(bytes, || 0));
            assert!(want.is_ok());
            let mut pulses = pulses_of(bytes, &mut jitter);
            assert_eq!(decode(Kind::Dht22, &pulses), want, "reading {n}");
            for pulse in &mut pulses {
                (pulse.low_us, pulse.high_us) = (pulse.low_us * 5 / 4, pulse.high_us * 5 / 4);
            }
            assert_eq!(decode(Kind::Dht22, &pulses), want, "reading {n}, clock a quarter fast");
        }
    }

    #[test]
    fn what_stands_before_the_bits_is_passed_over() {
        let pulses = pulses_of([2, 140, 1, 95], || 0);
        let want = decode(Kind::Dht22, &pulses);
        assert_eq!(decode(Kind::Dht22, &pulses[1..]), want);
        let rising = [&[Pulse { low_us: 1, high_us: 30 }][..], &pulses].concat();
        assert_eq!(decode(Kind::Dht22, &rising), want);
    }

    #[test]
    fn missed_edges_and_noise_are_no_readings() {
        let pulses = pulses_of([2, 140, 1, 95], || 0);
        for n in 0..N_BITS {
            assert_eq!(decode(Kind::Dht22, &pulses[..n]), Err(DhtError::TooFew(n)));
        }
        for missed in 1..N_PULSES - 1 {
            // The edge between two pulses was not seen.
            let mut heard = pulses.to_vec();
            let next = heard.remove(missed + 1);
            heard[missed].high_us += next.low_us + next.high_us;
            assert!(decode(Kind::Dht22, &heard).is_err(), "pulse {missed}");
        }
        for bit in 0..N_BITS {
            let mut flipped = pulses;
            let high = &mut flipped[1 + bit].high_us;
            *high = if *high > 50 { 26 } else { 70 };
            assert_eq!(decode(Kind::Dht22, &flipped), Err(DhtError::Checksum), "bit {bit}");
        }
    }

    #[test]
    fn a_wire_that_stays_low_and_impossible_numbers_are_no_readings() {
        for kind in [Kind::Dht11, Kind::Dht22] {
            assert_eq!(read(kind, [0; 4]), Err(DhtError::Range));
            assert_eq!(read(kind, [0xFF; 4]), Err(DhtError::Range));
        }
        assert_eq!(read(Kind::Dht22, [0x03, 0xE9, 0, 1]), Err(DhtError::Range));
        assert_eq!(read(Kind::Dht11, [101, 0, 20, 0]), Err(DhtError::Range));
    }
}
