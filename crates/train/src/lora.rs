//! How long a frame is on the air over LoRa, and what that costs a battery.
//!
//! The airtime is the formula of Semtech's AN1200.13 and of section 4.1.1.7 of the SX1276 datasheet, for EU868: 125 kHz,
//! coding rate 4/5, explicit header, CRC, a preamble of 8 symbols, low data rate optimisation at SF11 and SF12. The
//! frame travels as the payload of a LoRaWAN 1.0 uplink without options, which adds 13 bytes.
//!
//! Energy is an estimate from data sheets, not a measurement on a board: [`ASSUMPTIONS`] says of what.

/// What LoRaWAN adds to a payload: MHDR, DevAddr, FCtrl, FCnt, FPort, MIC.
pub const LORAWAN_LEN: usize = 13;
/// Share of the time a device may send in most of EU868.
pub const DUTY_CYCLE: f64 = 0.01;
/// What the estimates rest on, in words.
pub const ASSUMPTIONS: &str = "LoRaWAN in EU868: 125 kHz, coding rate 4/5, explicit header, CRC, 8 preamble symbols, 13 bytes of LoRaWAN \
around the frame, 1 % duty cycle. Radio as in the SX1276 data sheet: 29 mA to send at +13 dBm, 11.5 mA to listen; after \
each frame two empty receive windows of 8 symbols, the second at SF12. 5 µA asleep. Two AA cells: 2200 mAh usable. \
The sensor and the encoder are not counted.";

const BANDWIDTH_HZ: f64 = 125_000.0;
const PREAMBLE_SYMBOLS: f64 = 8.0 + 4.25;
const TX_MA: f64 = 29.0;
const RX_MA: f64 = 11.5;
const SLEEP_MA: f64 = 0.005;
const BATTERY_MAH: f64 = 2200.0;
const RX_SYMBOLS: f64 = 8.0;

/// A frame at one spreading factor.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct OnAir {
    /// Spreading factor, 7 to 12.
    pub spreading_factor: u8,
    /// Longest payload LoRaWAN allows there in EU868.
    pub payload_len_max: usize,
    /// True if the frame is no longer than that.
    pub is_allowed: bool,
    /// Time on the air.
    pub airtime_ms: f64,
    /// Frames an hour the duty cycle allows.
    pub frames_per_hour_max: f64,
    /// True if frames at this interval keep to that.
    pub is_within_duty_cycle: bool,
    /// Charge for one frame, its receive windows included.
    pub charge_uah: f64,
    /// How long two AA cells last at one frame per `interval`.
    pub battery_years: f64,
}

/// A frame of `frame_len` bytes, sent every `interval_ms`, at all six spreading factors.
pub fn on_air(frame_len: usize, interval_ms: f64) -> [OnAir; 6] {
    [7u8, 8, 9, 10, 11, 12].map(|sf| {
        let payload_len_max = match sf {
            7 | 8 => 222,
            9 => 115,
            _ => 51,
        };
        let airtime_ms = airtime_ms(sf, frame_len + LORAWAN_LEN);
        let listen_ms = RX_SYMBOLS * (symbol_ms(sf) + symbol_ms(12));
        let charge_uah = (airtime_ms * TX_MA + listen_ms * RX_MA) / 3600.0;
        let mean_ma = SLEEP_MA + charge_uah * 3600.0 / interval_ms.max(airtime_ms);
        OnAir {
            spreading_factor: sf,
            payload_len_max,
            is_allowed: frame_len <= payload_len_max,
            airtime_ms,
            frames_per_hour_max: DUTY_CYCLE * 3_600_000.0 / airtime_ms,
            is_within_duty_cycle: airtime_ms <= DUTY_CYCLE * interval_ms,
            charge_uah,
            battery_years: BATTERY_MAH / mean_ma / (24.0 * 365.25),
        }
    })
}

/// Time on the air of `phy_len` bytes of physical payload at spreading factor `sf`, 7 to 12.
pub fn airtime_ms(sf: u8, phy_len: usize) -> f64 {
    let slow = f64::from(u8::from(sf >= 11));
    let bits = 8.0 * phy_len as f64 - 4.0 * f64::from(sf) + 28.0 + 16.0;
    let blocks = (bits / (4.0 * (f64::from(sf) - 2.0 * slow))).ceil().max(0.0);
    (PREAMBLE_SYMBOLS + 8.0 + 5.0 * blocks) * symbol_ms(sf)
}

fn symbol_ms(sf: u8) -> f64 {
    1000.0 * libm::exp2(f64::from(sf)) / BANDWIDTH_HZ
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked examples of LoRaWAN calculators: 13 bytes at SF12 1155.07 ms, 51 + 13 at SF12 2793.47 ms.
    #[test]
    fn airtimes_are_those_of_the_data_sheet() {
        for (sf, phy_len, ms) in [
            (7, 13, 46.336),
            (7, 37, 82.176),
            (12, 13, 1155.072),
            (12, 37, 1974.272),
            (12, 64, 2793.472),
            (9, 128, 676.864),
            (7, 235, 368.896),
            (10, 64, 698.368),
        ] {
            let found = airtime_ms(sf, phy_len);
            assert!((found - ms).abs() < 0.001, "SF{sf}, {phy_len} bytes: {found}");
        }
    }

    #[test]
    fn longer_frames_and_slower_rates_cost_more() {
        let (short, long) = (on_air(31, 600_000.0), on_air(51, 600_000.0));
        assert!(short.iter().zip(&long).all(|(a, b)| a.airtime_ms <= b.airtime_ms));
        assert!(long.windows(2).all(|p| p[0].airtime_ms < p[1].airtime_ms));
        assert!(long.windows(2).all(|p| p[0].battery_years > p[1].battery_years));
        assert!(long.iter().all(|a| a.is_allowed) && !on_air(52, 1.0)[5].is_allowed);
        assert!(on_air(222, 1.0)[0].is_allowed && !on_air(222, 1.0)[0].is_within_duty_cycle);
        // 31 and 13 bytes at SF7 are 92 ms: one each 10 s is allowed, one a second is not.
        assert!(on_air(31, 10_000.0)[0].is_within_duty_cycle && !on_air(31, 1_000.0)[0].is_within_duty_cycle);
    }
}
