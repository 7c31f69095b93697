//! A generated indoor climate, for people who have a board and no recording yet.
//!
//! It is a small physical model, not a curve with noise on it, because a codec trained on curves learns
//! nothing about rooms:
//!
//! - **Weather** (`climate/weather.rs`): a season, a day, slow fronts (temperature, dew point, cloud, pressure) as
//!   Ornstein–Uhlenbeck processes, sun through the clouds, the half-daily tide of the air pressure.
//! - **House** (`climate/house.rs`): air, walls and a radiator as three heat stores; a thermostat with hysteresis and
//!   a night set-back; people who are there or not, cook, shower and open windows; the water in the air as
//!   a balance of sources, ventilation and walls that take it up. Each seed is another house.
//! - **Sensor** (`climate/sensor.rs`): lag, self-heating, a calibration error, noise, the range and the step of the
//!   data sheet (DHT11: 1 °C, 1 %; DHT22: 0.1 °C, 0.1 %; BME280: 0.01 °C, 0.01 %, 0.01 hPa), failed
//!   readings, and now and then an outage after which sampling starts again at another phase.
//!
//! What it is not: any particular house. Figures from it are labelled as generated wherever they are shown.
//!
//! The same options give the same recording on every machine: the random numbers are our own, and functions
//! such as `exp` come from `libm` instead of the platform. Water vapour: Magnus formula with the constants
//! of Sonntag (1990). Sun: declination after Cooper (1969).

mod chance;
mod house;
mod sensor;
mod weather;

use kinglet_codec::Decimal;

use crate::recording::{RecordedChannel, Recording, RecordingError, Values};

use chance::Chance;
use house::House;
use sensor::Probe;
use weather::Weather;

/// Longest step of the simulation, seconds: airing and thermostats are quick.
const DT_MAX_S: f64 = 60.0;
/// Most steps between two rows: a day of minutes. Every process here is exact or stable in longer ones.
const STEPS_MAX: u32 = 1440;
/// Days the house runs before the recording begins, until walls and damp have settled.
const SETTLE_DAYS: u32 = 4;
/// Most rows of one recording.
pub const ROWS_MAX: usize = 5_000_000;

/// A sensor whose recording is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    /// Temperature in steps of 1 °C, humidity in steps of 1 %.
    Dht11,
    /// Temperature in steps of 0.1 °C, humidity in steps of 0.1 %.
    Dht22,
    /// Temperature in steps of 0.01 °C, humidity in steps of 0.01 %, pressure in steps of 0.01 hPa.
    Bme280,
}

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClimateOptions {
    /// The sensor.
    pub sensor: Sensor,
    /// Rows of the recording, `2..=ROWS_MAX`; outages lengthen its time and not its rows.
    pub rows: usize,
    /// Time from row to row, at least 1 ms.
    pub period_ms: u32,
    /// House, weather and noise.
    pub seed: u64,
    /// Time of the first row, Unix milliseconds; decides season and time of day.
    pub start_t_ms: i64,
}

impl Default for ClimateOptions {
    /// Two weeks of a DHT22, once a minute, from the first of March 2024.
    fn default() -> Self {
        Self {
            sensor: Sensor::Dht22,
            rows: 20_160,
            period_ms: 60_000,
            seed: 1,
            start_t_ms: 1_709_251_200_000,
        }
    }
}

/// Generates a recording.
///
/// Fails as [`Recording::new`] does, on fewer than 2 rows or a period of 0; rows beyond [`ROWS_MAX`] are not
/// generated.
pub fn generate(options: &ClimateOptions) -> Result<Recording, RecordingError> {
    let rows = options.rows.min(ROWS_MAX);
    let mut world = World::new(options);
    let mut probe = Probe::new(options.sensor, &mut world.chance);
    let mut times_ms = Vec::with_capacity(rows);
    let mut columns = vec![Values::default(); options.sensor.channels().len()];
    let mut t_ms = options.start_t_ms;
    world.settle(&mut probe, t_ms);
    for _ in 0..rows {
        let readings = probe.read(&mut world.chance);
        times_ms.push(t_ms);
        for (column, reading) in columns.iter_mut().zip(readings) {
            column.push(reading);
        }
        let step_ms = i64::from(options.period_ms) + probe.outage_ms(options.period_ms, &mut world.chance);
        t_ms = t_ms.saturating_add(step_ms);
        world.run(&mut probe, t_ms);
    }
    let names = options.sensor.channels().iter().zip(columns);
    let channels =
        names.map(|(&(name, unit), values)| RecordedChannel { name: name.into(), unit: unit.into(), values });
    Recording::new(times_ms, channels.collect(), options.period_ms)
}

impl Sensor {
    /// Name and unit of each channel.
    fn channels(self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 3] = [("temperature", "°C"), ("humidity", "%"), ("pressure", "hPa")];
        match self {
            Self::Dht11 | Self::Dht22 => &ALL[..2],
            Self::Bme280 => &ALL,
        }
    }
}

/// Weather, house and chance, at one time.
struct World {
    chance: Chance,
    weather: Weather,
    house: House,
    t_ms: i64,
}

impl World {
    fn new(options: &ClimateOptions) -> Self {
        let mut chance = Chance::new(options.seed);
        let weather = Weather::new(&mut chance);
        let house = House::new(&mut chance);
        Self { chance, weather, house, t_ms: options.start_t_ms }
    }

    /// Runs the days before the recording.
    fn settle(&mut self, probe: &mut Probe, start_t_ms: i64) {
        for days_left in (0..SETTLE_DAYS).rev() {
            self.t_ms = start_t_ms.saturating_sub(i64::from(days_left + 1) * 86_400_000);
            self.run(probe, start_t_ms.saturating_sub(i64::from(days_left) * 86_400_000));
        }
    }

    /// Runs until `t_ms` in steps of at most a minute.
    fn run(&mut self, probe: &mut Probe, t_ms: i64) {
        let span_s = (t_ms.saturating_sub(self.t_ms)) as f64 / 1000.0;
        let n_steps = libm::ceil(span_s / DT_MAX_S).clamp(1.0, f64::from(STEPS_MAX)) as u32;
        let dt_s = span_s / f64::from(n_steps);
        for step in 1..=n_steps {
            let clock = Clock::at(self.t_ms as f64 / 1000.0 + f64::from(step) * dt_s);
            self.weather.run(dt_s, clock, &mut self.chance);
            self.house.run(dt_s, clock, &self.weather, &mut self.chance);
            probe.run(dt_s, &self.house, &self.weather, &mut self.chance);
        }
        self.t_ms = t_ms;
    }
}

/// Time as people and the sun have it.
#[derive(Clone, Copy)]
struct Clock {
    /// Days since 1970, whole.
    day: i64,
    /// Hours since midnight, UTC taken as the sun's time.
    hour: f64,
    /// Share of the year gone.
    year_share: f64,
}

impl Clock {
    fn at(t_s: f64) -> Self {
        let days = t_s / 86_400.0;
        let day = libm::floor(days);
        let years = days / 365.2425;
        Self { day: day as i64, hour: 24.0 * (days - day), year_share: years - libm::floor(years) }
    }

    /// A wave of one period per day that is 1 at `hour`.
    fn daily(self, hour: f64) -> f64 {
        libm::cos((self.hour - hour) * std::f64::consts::TAU / 24.0)
    }

    fn is_weekend(self) -> bool {
        // 1970-01-01 was a Thursday.
        (self.day + 3).rem_euclid(7) >= 5
    }
}

/// Pressure of water vapour over water at `celsius` when the air is full of it, hPa (Magnus, Sonntag 1990).
fn vapour_full_hpa(celsius: f64) -> f64 {
    6.112 * libm::exp(17.62 * celsius / (243.12 + celsius))
}

/// `value` in steps of `10^-digits`.
fn stepped(value: f64, digits: u8) -> Decimal {
    Decimal::new(libm::round(value * libm::pow(10.0, f64::from(digits))) as i64, digits)
}

#[cfg(test)]
mod tests;
