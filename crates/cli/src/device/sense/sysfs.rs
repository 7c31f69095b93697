//! Sensors the Linux kernel reads for us: industrial I/O (DHT11, DHT22, BME280, …) and 1-wire thermometers.
//!
//! A sensor is a folder, a quantity a file with a decimal number: `iio:device0/in_temp_input` in thousandths of a degree,
//! `in_humidityrelative_input` in thousandths of a per cent, `in_pressure_input` in kilopascals;
//! `28-…/temperature` in thousandths of a degree. Reading a file measures, and may fail: a DHT misses every tenth time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinglet_codec::Decimal;
use kinglet_node::Reading;

use super::{Event, Listener, Source};
use crate::failure::{Failure, Result};

/// Tries per reading.
const TRIES: u32 = 4;
/// Between two tries; a DHT is asked every two seconds at most by the kernel, which answers from memory in between.
const PAUSE: Duration = Duration::from_millis(500);
/// Errors of Linux that trying again mends: a pulse was missed, the sensor was busy.
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const ETIMEDOUT: i32 = 110;

/// Which of the kernel's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    Iio,
    OneWire,
}

/// The files that feed the channels.
#[derive(Debug)]
pub(crate) struct Sysfs {
    dir: PathBuf,
    every: Duration,
    probes: Vec<Probe>,
}

/// A quantity that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Probe {
    quantity: Quantity,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// File in thousandths of a degree.
    Temperature,
    /// File in thousandths of a per cent.
    Humidity,
    /// File in kilopascals, wanted in hectopascals.
    Pressure,
}

impl Sysfs {
    /// Finds the file for each channel: by the channel's name, sensors in the order of their names.
    pub(crate) fn find(kernel: Kernel, dir: &Path, channels: &[String], every: Duration) -> Result<Self> {
        let found = probes(kernel, dir).map_err(|e| {
            let failure = Failure::reading(dir, &e);
            match e.kind() {
                std::io::ErrorKind::NotFound => failure.next(
                    "tell the kernel of the sensor first: on a Raspberry Pi a dtoverlay line in /boot/firmware/config.txt (docs/devices.md has them), and start it anew",
                ),
                _ => failure,
            }
        })?;
        let mut free = found.clone();
        let mut chosen = Vec::new();
        for name in channels {
            let quantity = Quantity::of_channel(name);
            let at = free.iter().position(|probe| Some(probe.quantity) == quantity);
            match at {
                Some(at) => chosen.push(free.remove(at)),
                None => {
                    let all: Vec<String> = found.iter().map(|p| p.path.display().to_string()).collect();
                    let all = if all.is_empty() { "nothing".into() } else { all.join(", ") };
                    return Err(Failure::input(format_args!("nothing in {} measures `{name}`", dir.display()))
                        .why(format_args!("found: {all}"))
                        .next("name the sensor's own folder, or use a bundle whose channels are called temperature, humidity or pressure"));
                }
            }
        }
        Ok(Self { dir: dir.to_path_buf(), every, probes: chosen })
    }
}

impl Source for Sysfs {
    fn origin(&self) -> String {
        self.dir.display().to_string()
    }

    fn run(self, listener: &Listener) {
        // Never so long that the next beat is missed.
        let pause = PAUSE.min(self.every / (2 * TRIES));
        listener.at_every_beat(self.every, |listener| {
            self.probes.iter().map(|probe| probe.read(pause, listener)).collect()
        });
    }
}

impl Probe {
    fn read(&self, pause: Duration, listener: &Listener) -> Reading {
        match retrying(pause, || std::fs::read_to_string(&self.path)) {
            Ok(text) => {
                let reading = self.quantity.of_text(&text);
                if reading.is_none() {
                    listener.tell(Event::Trouble(format!("{} holds no number", self.path.display())));
                }
                reading
            }
            Err(why) => {
                listener.tell(Event::Trouble(format!("{}: {why}", self.path.display())));
                None
            }
        }
    }
}

impl Quantity {
    fn of_channel(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let all = [("temp", Self::Temperature), ("hum", Self::Humidity), ("press", Self::Pressure)];
        all.into_iter().find(|(word, _)| name.contains(word)).map(|(_, quantity)| quantity)
    }

    /// In °C, % and hPa, exactly as the text says.
    fn of_text(self, text: &str) -> Reading {
        let value: Decimal = text.trim().parse().ok()?;
        match self {
            Self::Temperature | Self::Humidity => Some(Decimal::new(value.mantissa(), value.scale() + 3)),
            Self::Pressure => Some(Decimal::new(value.mantissa().checked_mul(10)?, value.scale())),
        }
    }
}

/// Reads again what may succeed the next time.
fn retrying(pause: Duration, mut read: impl FnMut() -> io::Result<String>) -> io::Result<String> {
    for _ in 1..TRIES {
        match read() {
            Err(e) if matches!(e.raw_os_error(), Some(EIO | EAGAIN | EBUSY | ETIMEDOUT)) => {
                std::thread::sleep(pause);
            }
            done => return done,
        }
    }
    read()
}

/// All there is, in a fixed order. `dir`: the folder of all sensors, or a sensor's own.
fn probes(kernel: Kernel, dir: &Path) -> io::Result<Vec<Probe>> {
    let files: &[(&str, Quantity)] = match kernel {
        Kernel::Iio => &[
            ("in_temp_input", Quantity::Temperature),
            ("in_humidityrelative_input", Quantity::Humidity),
            ("in_pressure_input", Quantity::Pressure),
        ],
        Kernel::OneWire => &[("temperature", Quantity::Temperature)],
    };
    let mut folders = vec![dir.to_path_buf()];
    let mut inside: Vec<PathBuf> = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    folders.extend(inside);
    let of = |folder: &PathBuf| {
        let here =
            files.iter().map(|(file, quantity)| Probe { quantity: *quantity, path: folder.join(file) });
        here.filter(|probe| probe.path.is_file()).collect::<Vec<_>>()
    };
    Ok(folders.iter().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_is_tried_again_and_nothing_else() {
        let check = |errors: &[i32], want: Option<&str>, tries: usize| {
            let mut n = 0;
            let read = || {
                n += 1;
                errors
                    .get(n - 1)
                    .map_or(Ok("21500\n".into()), |code| Err(io::Error::from_raw_os_error(*code)))
            };
            let got = retrying(Duration::ZERO, read);
            assert_eq!((got.ok().as_deref(), n), (want, tries), "{errors:?}");
        };
        check(&[], Some("21500\n"), 1);
        check(&[EIO, ETIMEDOUT, EIO], Some("21500\n"), 4);
        check(&[EIO; 9], None, 4);
        // No such file: a sensor that was pulled off.
        check(&[2], None, 1);
    }

    #[test]
    fn kernels_numbers_become_readings_exactly() {
        let check = |quantity: Quantity, text: &str, want: Option<&str>| {
            assert_eq!(quantity.of_text(text).map(|v| v.to_string()).as_deref(), want, "{text}");
        };
        check(Quantity::Temperature, "23400\n", Some("23.4"));
        check(Quantity::Temperature, "-62\n", Some("-0.062"));
        check(Quantity::Humidity, "46125.976562500\n", Some("46.1259765625"));
        check(Quantity::Pressure, "101.325000000\n", Some("1013.25"));
        check(Quantity::Temperature, "nan", None);
        check(Quantity::Temperature, "", None);
    }

    #[test]
    fn channels_find_their_files_in_a_fixed_order() {
        let dir = tempfile::tempdir().unwrap();
        for (device, file) in [
            ("iio:device1", "in_temp_input"),
            ("iio:device0", "in_temp_input"),
            ("iio:device0", "in_humidityrelative_input"),
            ("iio:device0", "name"),
        ] {
            std::fs::create_dir_all(dir.path().join(device)).unwrap();
            std::fs::write(dir.path().join(device).join(file), "21500\n").unwrap();
        }
        let find = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            let found = Sysfs::find(Kernel::Iio, dir.path(), &names, Duration::from_secs(1));
            found.map(|s| {
                s.probes
                    .iter()
                    .map(|p| p.path.strip_prefix(dir.path()).unwrap().display().to_string())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            find(&["humidity", "temp"]).unwrap(),
            ["iio:device0/in_humidityrelative_input", "iio:device0/in_temp_input"]
        );
        assert_eq!(
            find(&["temp_in", "temp_out"]).unwrap(),
            ["iio:device0/in_temp_input", "iio:device1/in_temp_input"]
        );
        assert!(
            find(&["pressure"]).is_err()
                && find(&["temp", "temp", "temp"]).is_err()
                && find(&["lux"]).is_err()
        );
        let own = Sysfs::find(
            Kernel::Iio,
            &dir.path().join("iio:device1"),
            &["temp".into()],
            Duration::from_secs(1),
        );
        assert!(own.unwrap().probes[0].path.ends_with("iio:device1/in_temp_input"));
    }
}
