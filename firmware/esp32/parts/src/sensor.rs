//! What is wired to which pins, and which of its quantities feeds which channel of the bundle.

use alloc::string::String;
use alloc::vec::Vec;

use kinglet_codec::{Decimal, Model};
use kinglet_node::Reading;

use crate::dht::Kind;

/// The sensor, as `kinglet device flash-config --sensor` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    /// `dht11 4`, `dht22 4`: data wire at that GPIO.
    Dht {
        /// Which of the two.
        kind: Kind,
        /// GPIO of its data wire.
        pin: u8,
    },
    /// `bme280 6 7` or `bme280 6 7 77`: I²C data, clock, and its address in hexadecimal.
    Bme280 {
        /// GPIO of SDA.
        sda: u8,
        /// GPIO of SCL.
        scl: u8,
        /// 0x76, or 0x77 where SDO is wired to the supply.
        address: u8,
    },
}

/// What a sensor can measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// °C.
    Temperature,
    /// % relative humidity.
    Humidity,
    /// hPa.
    Pressure,
}

/// One sample of everything a sensor measures; `None` where it did not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// °C.
    pub temperature: Reading,
    /// % relative humidity.
    pub humidity: Reading,
    /// hPa.
    pub pressure: Reading,
}

impl Sensor {
    /// Reads its description; the reason is for a person.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().ok_or("no sensor is named: say dht22 4, or bme280 6 7")?;
        let mut pin = |why| words.next().and_then(|word| word.parse().ok()).ok_or(why);
        let sensor = if name.eq_ignore_ascii_case("dht11") {
            Self::Dht { kind: Kind::Dht11, pin: pin("its GPIO is missing: say dht11 4")? }
        } else if name.eq_ignore_ascii_case("dht22") || name.eq_ignore_ascii_case("am2302") {
            Self::Dht { kind: Kind::Dht22, pin: pin("its GPIO is missing: say dht22 4")? }
        } else if name.eq_ignore_ascii_case("bme280") {
            let why = "its GPIOs are missing: say bme280 SDA SCL";
            let (sda, scl) = (pin(why)?, pin(why)?);
            let address = words.next().map_or(Some(0x76), |word| {
                u8::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
            });
            let address = address.filter(|address| matches!(address, 0x76 | 0x77));
            Self::Bme280 { sda, scl, address: address.ok_or("its address is 76 or 77")? }
        } else {
            return Err("there are dht11, dht22 and bme280");
        };
        if words.next().is_some() { Err("there is more than a sensor and its pins") } else { Ok(sensor) }
    }

    /// Shortest time between two readings, in milliseconds.
    pub fn pause_ms(self) -> u32 {
        match self {
            Self::Dht { kind, .. } => kind.pause_ms(),
            Self::Bme280 { .. } => 100,
        }
    }

    fn measures(self, quantity: Quantity) -> bool {
        !matches!((self, quantity), (Self::Dht { .. }, Quantity::Pressure))
    }
}

impl Quantity {
    /// By a channel's name: `temperature`, `temp_c`, `rel. humidity`, `pressure_hpa`.
    fn of_channel(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let has = |word| name.contains(word);
        match () {
            () if has("temp") => Some(Self::Temperature),
            () if has("hum") => Some(Self::Humidity),
            () if has("press") => Some(Self::Pressure),
            () => None,
        }
    }
}

impl Sample {
    /// As the channels want it.
    pub fn readings(&self, channels: &[Quantity]) -> Vec<Reading> {
        let of = |quantity: &Quantity| match quantity {
            Quantity::Temperature => self.temperature,
            Quantity::Humidity => self.humidity,
            Quantity::Pressure => self.pressure,
        };
        channels.iter().map(of).collect()
    }

    /// From a driver that computes in single precision: `°C`, `%`, `Pa`. Kept to hundredths, finer than the sensor's noise;
    /// what is no number is no reading.
    pub fn from_floats(temperature: f32, humidity: f32, pressure_pa: f32) -> Self {
        let hundredths = |value: f32, lo: f32, hi: f32| {
            let kept = value.is_finite() && (lo..=hi).contains(&value);
            // Within the sensor's range, so far within i64's. Half away from zero, as people round.
            let scaled = value * 100.0 + if value < 0.0 { -0.5 } else { 0.5 };
            kept.then(|| Decimal::new(scaled as i64, 2))
        };
        Self {
            temperature: hundredths(temperature, -40.0, 85.0),
            humidity: hundredths(humidity, 0.0, 100.0),
            pressure: hundredths(pressure_pa / 100.0, 300.0, 1100.0),
        }
    }
}

/// Which quantity feeds which channel of the model; the reason names the channel that nothing feeds.
pub fn channels(sensor: Sensor, model: &Model<'_>) -> Result<Vec<Quantity>, String> {
    (0..model.channels())
        .map(|idx| {
            let name = model.channel(idx).name;
            let quantity = Quantity::of_channel(name).filter(|quantity| sensor.measures(*quantity));
            quantity.ok_or_else(|| {
                alloc::format!("the bundle's channel {name:?} is nothing this sensor measures")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn descriptions_are_read_or_refused_with_a_reason() {
        let dht = |kind, pin| Ok(Sensor::Dht { kind, pin });
        assert_eq!(Sensor::parse("dht11 4"), dht(Kind::Dht11, 4));
        assert_eq!(Sensor::parse("  DHT22  21 "), dht(Kind::Dht22, 21));
        let bme = |address| Ok(Sensor::Bme280 { sda: 6, scl: 7, address });
        assert_eq!(Sensor::parse("bme280 6 7"), bme(0x76));
        assert_eq!(Sensor::parse("bme280 6 7 0x77"), bme(0x77));
        for wrong in
            ["", "dht11", "dht11 x", "dht11 256", "dht11 4 5", "bme280 6", "bme280 6 7 80", "sht31 6 7"]
        {
            assert!(Sensor::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn channels_are_fed_by_name() {
        let check = |name: &str, want| assert_eq!(Quantity::of_channel(name), want, "{name}");
        check("temperature", Some(Quantity::Temperature));
        check("Temp_C", Some(Quantity::Temperature));
        check("rel. Humidity", Some(Quantity::Humidity));
        check("pressure_hpa", Some(Quantity::Pressure));
        check("lux", None);
    }

    #[test]
    fn starters_fit_their_sensors() {
        let bundle = |name: &str| {
            let path =
                std::format!("{}/../../../crates/cli/bundles/{name}.kinglet", env!("CARGO_MANIFEST_DIR"));
            kinglet_codec::bundle::Bundle::parse(&std::fs::read(path).unwrap()).unwrap()
        };
        for name in ["dht11", "dht22", "bme280"] {
            let pins = if name == "bme280" { "6 7" } else { "4" };
            let sensor = Sensor::parse(&std::format!("{name} {pins}")).unwrap();
            let fed = channels(sensor, &bundle(name).model());
            assert!(fed.as_ref().is_ok_and(|fed| fed.len() >= 2), "{name}: {fed:?}");
        }
        let wrong = channels(Sensor::parse("dht22 4").unwrap(), &bundle("bme280").model());
        assert!(wrong.is_err_and(|why| why.contains("pressure")));
    }

    #[test]
    fn floats_are_rounded_to_hundredths_within_the_sensors_range() {
        let sample = Sample::from_floats(-3.456, 51.004, 101_325.0);
        let text = |reading: Reading| reading.unwrap().to_string();
        assert_eq!((text(sample.temperature), text(sample.humidity)), ("-3.46".into(), "51".into()));
        assert_eq!(text(sample.pressure), "1013.25");
        assert_eq!(Sample::from_floats(f32::NAN, 101.0, 0.0), Sample::default());
        assert_eq!(Sample::from_floats(f32::INFINITY, -1.0, f32::NAN), Sample::default());
        let fed = sample.readings(&[Quantity::Humidity, Quantity::Temperature]);
        assert_eq!(fed, [sample.humidity, sample.temperature]);
    }
}
