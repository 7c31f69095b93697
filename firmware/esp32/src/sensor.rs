//! The sensor on its pins.

use embassy_time::{Duration, Timer};
use esp_hal::delay::Delay;
use esp_hal::gpio::{AnyPin, DriveMode, Flex, InputConfig, Level, OutputConfig, Pull};
use esp_hal::i2c::master::{Config as I2cConfig, I2c};
use esp_hal::peripherals::I2C0;
use esp_hal::time::Instant;
use esp_hal::{Blocking, ram};
use kinglet_esp32_parts::dht::{self, Kind, N_PULSES, Pulse};
use kinglet_esp32_parts::sensor::{Sample, Sensor};

use crate::say;

/// A phase that lasts longer than this ends the answer: the wire is at rest.
const PHASE_US_MAX: u64 = 200;

/// The sensor, ready to be asked.
pub enum Driver {
    Dht(Kind, Flex<'static>),
    Bme280(bme280::i2c::BME280<I2c<'static, Blocking>>),
}

impl Driver {
    /// Sets the pins up; the reason is for the log.
    pub fn new(
        sensor: Sensor,
        mut pin: impl FnMut(u8) -> Option<AnyPin<'static>>,
        i2c: I2C0<'static>,
    ) -> Result<Self, &'static str> {
        const NO_PIN: &str = "its GPIO is none that is free on this chip";
        match sensor {
            Sensor::Dht { kind, pin: number } => {
                let mut wire = Flex::new(pin(number).ok_or(NO_PIN)?);
                wire.apply_output_config(
                    &OutputConfig::default().with_drive_mode(DriveMode::OpenDrain).with_pull(Pull::Up),
                );
                wire.apply_input_config(&InputConfig::default().with_pull(Pull::Up));
                wire.set_high();
                wire.set_output_enable(true);
                wire.set_input_enable(true);
                Ok(Self::Dht(kind, wire))
            }
            Sensor::Bme280 { sda, scl, address } => {
                let (sda, scl) = (pin(sda).ok_or(NO_PIN)?, pin(scl).ok_or(NO_PIN)?);
                let bus = I2c::new(i2c, I2cConfig::default()).map_err(|_| "I²C cannot be set up")?;
                let mut driver = bme280::i2c::BME280::new(bus.with_sda(sda).with_scl(scl), address);
                driver
                    .init(&mut Delay::new())
                    .map_err(|_| "nobody answers on I²C: check wiring and address")?;
                Ok(Self::Bme280(driver))
            }
        }
    }

    /// Asks it; what it does not say is missing.
    pub async fn measure(&mut self) -> Sample {
        match self {
            Self::Dht(kind, wire) => {
                wire.set_low();
                Timer::after(Duration::from_millis(kind.start_ms().into())).await;
                let mut pulses = [Pulse::default(); N_PULSES + 1];
                let n = critical_section::with(|_| {
                    wire.set_high();
                    capture(wire, &mut pulses)
                });
                match dht::decode(*kind, &pulses[..n]) {
                    Ok(measured) => Sample {
                        temperature: Some(measured.temperature),
                        humidity: Some(measured.humidity),
                        pressure: None,
                    },
                    Err(error) => {
                        say::warning!("no reading: {error:?}");
                        Sample::default()
                    }
                }
            }
            Self::Bme280(driver) => match driver.measure(&mut Delay::new()) {
                Ok(m) => Sample::from_floats(m.temperature, m.humidity, m.pressure),
                Err(_) => {
                    say::warning!("no reading: nobody answers on I²C");
                    Sample::default()
                }
            },
        }
    }
}

/// Measures low and high phases until the wire rests; gives their number. Runs from RAM and with interrupts off, some
/// 5 ms: a cache miss in between would cost an edge. The radio loses a beacon at most.
#[ram]
fn capture(wire: &Flex<'_>, pulses: &mut [Pulse]) -> usize {
    let mut n = 0;
    // From letting go until the sensor answers.
    if phase(wire, Level::High).is_none() {
        return 0;
    }
    while n < pulses.len() {
        let Some(low_us) = phase(wire, Level::Low) else { break };
        let Some(high_us) = phase(wire, Level::High) else { break };
        pulses[n] = Pulse { low_us, high_us };
        n += 1;
    }
    n
}

/// How long the wire stays at `level`, in microseconds; `None` if for too long.
#[ram]
fn phase(wire: &Flex<'_>, level: Level) -> Option<u16> {
    let since = Instant::now();
    while wire.level() == level {
        if since.elapsed().as_micros() > PHASE_US_MAX {
            return None;
        }
    }
    Some(since.elapsed().as_micros() as u16)
}
