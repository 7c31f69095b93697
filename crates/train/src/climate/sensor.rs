//! A sensor on the wall: what it makes of the air.

use kinglet_codec::Decimal;

use super::chance::{Chance, approach};
use super::house::House;
use super::weather::Weather;
use super::{Sensor, stepped, vapour_full_hpa};

/// A sensor and its state.
pub(super) struct Probe {
    sheet: Sheet,
    celsius: f64,
    humidity: f64,
    pressure_hpa: f64,
    /// Calibration errors, which stay.
    off_celsius: f64,
    off_humidity: f64,
    off_hpa: f64,
}

/// What the data sheet says, and what such sensors do beyond it.
struct Sheet {
    /// Digits of temperature, humidity, pressure; no pressure without the last.
    digits: &'static [u8],
    /// White noise of one reading, deviations.
    noise_celsius: f64,
    noise_humidity: f64,
    noise_hpa: f64,
    /// Lag of the housing, seconds.
    lag_celsius_s: f64,
    lag_humidity_s: f64,
    /// What its own current warms it by, kelvin.
    self_heat_k: f64,
    /// Deviation of the calibration errors from part to part.
    spread_celsius: f64,
    spread_humidity: f64,
    celsius: (f64, f64),
    humidity: (f64, f64),
    /// Share of readings that fail.
    failing: f64,
}

const DHT11: Sheet = Sheet {
    digits: &[0, 0],
    noise_celsius: 0.12,
    noise_humidity: 0.25,
    noise_hpa: 0.0,
    lag_celsius_s: 180.0,
    lag_humidity_s: 40.0,
    self_heat_k: 0.4,
    spread_celsius: 0.7,
    spread_humidity: 2.5,
    celsius: (0.0, 50.0),
    humidity: (20.0, 90.0),
    failing: 0.006,
};

const DHT22: Sheet = Sheet {
    digits: &[1, 1],
    noise_celsius: 0.03,
    noise_humidity: 0.07,
    noise_hpa: 0.0,
    lag_celsius_s: 150.0,
    lag_humidity_s: 30.0,
    self_heat_k: 0.3,
    spread_celsius: 0.25,
    spread_humidity: 1.5,
    celsius: (-40.0, 80.0),
    humidity: (0.0, 99.9),
    failing: 0.004,
};

const BME280: Sheet = Sheet {
    digits: &[2, 2, 2],
    noise_celsius: 0.004,
    noise_humidity: 0.02,
    noise_hpa: 0.012,
    lag_celsius_s: 60.0,
    lag_humidity_s: 10.0,
    self_heat_k: 0.7,
    spread_celsius: 0.3,
    spread_humidity: 1.2,
    celsius: (-40.0, 85.0),
    humidity: (0.0, 100.0),
    failing: 0.0003,
};

impl Probe {
    pub(super) fn new(sensor: Sensor, chance: &mut Chance) -> Self {
        let sheet = match sensor {
            Sensor::Dht11 => DHT11,
            Sensor::Dht22 => DHT22,
            Sensor::Bme280 => BME280,
        };
        Self {
            off_celsius: sheet.spread_celsius * chance.normal(),
            off_humidity: sheet.spread_humidity * chance.normal(),
            off_hpa: 0.4 * chance.normal(),
            sheet,
            celsius: 20.0,
            humidity: 45.0,
            pressure_hpa: 990.0,
        }
    }

    /// Lets `dt_s` pass.
    pub(super) fn run(&mut self, dt_s: f64, house: &House, weather: &Weather, chance: &mut Chance) {
        // The chip's own warmth comes and goes a little with the air that moves past it.
        let warmth = self.sheet.self_heat_k * (1.0 + 0.02 * chance.normal());
        self.celsius = approach(self.celsius, house.local_celsius() + warmth, dt_s, self.sheet.lag_celsius_s);
        // Relative humidity is that of the air at the sensor's own temperature.
        let humidity = 100.0 * house.vapour_hpa / vapour_full_hpa(self.celsius);
        self.humidity = approach(self.humidity, humidity, dt_s, self.sheet.lag_humidity_s);
        self.pressure_hpa = weather.pressure_hpa;
    }

    /// One reading of all channels; missing ones if it fails.
    pub(super) fn read(&self, chance: &mut Chance) -> Vec<Option<Decimal>> {
        let sheet = &self.sheet;
        let values = [
            (self.celsius + self.off_celsius + sheet.noise_celsius * chance.normal())
                .clamp(sheet.celsius.0, sheet.celsius.1),
            (self.humidity + self.off_humidity + sheet.noise_humidity * chance.normal())
                .clamp(sheet.humidity.0, sheet.humidity.1),
            (self.pressure_hpa + self.off_hpa + sheet.noise_hpa * chance.normal()).clamp(300.0, 1100.0),
        ];
        let fails = chance.even() < sheet.failing;
        sheet
            .digits
            .iter()
            .zip(values)
            .map(|(&digits, value)| (!fails).then(|| stepped(value, digits)))
            .collect()
    }

    /// Time lost to an outage before the next reading, mostly 0: power, Wi-Fi or a reset, every few days.
    pub(super) fn outage_ms(&self, period_ms: u32, chance: &mut Chance) -> i64 {
        let period_s = f64::from(period_ms) / 1000.0;
        if !chance.happens(1.0 / 100.0, period_s) {
            return 0;
        }
        // A few minutes mostly, hours sometimes; the clock then starts at any phase.
        let outage_s = 120.0 * libm::exp(1.2 * chance.normal().abs()) + period_s * chance.even();
        (outage_s * 1000.0) as i64
    }
}
