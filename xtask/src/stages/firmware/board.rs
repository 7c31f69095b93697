//! Boards made of the firmware's parts, on the host, before a real server: everything but pins and radio.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::{LONG, Stage, must};
use crate::Result;
use crate::run;
use crate::serving::{self, Serving};

/// One bundle's samples come fast, the other's as slowly as a board must sleep between them.
const PERIOD_MS: usize = 50;
const SLEEP_PERIOD_MS: usize = 600;
const N_SAMPLES: usize = 200;
const N_ASLEEP: usize = 40;

/// A server, and bundles for boards.
pub(super) struct Boards<'a> {
    stage: &'a Stage<'a>,
    server: Serving,
    mqtt: SocketAddr,
    mqtts: SocketAddr,
}

impl Stage<'_> {
    /// Builds the board and starts the server.
    pub(super) fn boards(&self) -> Result<Boards<'_>> {
        let args = ["build", "--locked", "--package", "kinglet-esp32-parts", "--features", "tls"];
        let args = [&args[..], &["--example", "board"]].concat();
        must(run::show(self.context, &mut self.cargo(&args), LONG)?, "the board of parts does not build")?;
        self.write("room.csv", recording(PERIOD_MS))?;
        self.write("slow.csv", recording(SLEEP_PERIOD_MS))?;
        for (n, file) in [(N_SAMPLES, "wire.csv"), (N_ASLEEP, "short.csv")] {
            self.write(file, (0..n).map(|n| format!("{},{}\n", tenths(n).0, tenths(n).1)).collect())?;
        }
        for (bound, more, csv, file) in [
            ("0.2,1", "16", "room.csv", "room.kinglet"),
            ("0.1,1", "16", "room.csv", "better.kinglet"),
            ("0.2,1", "8", "slow.csv", "slow.kinglet"),
        ] {
            let train = ["train", csv, "--bound", bound, "--window", more, "--effort", "fast", "--out", file];
            self.kinglet(&train)?;
        }
        let (addr, mqtt, mqtts) = (serving::free_addr()?, serving::free_addr()?, serving::free_addr()?);
        let by = [mqtt, mqtts].map(|addr| addr.to_string());
        let serve = ["serve", "--data", "data", "--mqtt", &by[0], "--mqtts", &by[1]];
        let server = Serving::start(&self.program, &serve, addr, &self.dir, Duration::from_secs(30))?;
        Ok(Boards { stage: self, server, mqtt, mqtts })
    }

    fn write(&self, name: &str, text: String) -> Result<()> {
        std::fs::write(self.dir.join(name), text).map_err(|e| format!("{name}: {e}"))
    }
}

impl Boards<'_> {
    /// Pulses of a DHT22, through everything the firmware runs but pins and radio, to a server and back.
    pub(super) fn by_http(&self) -> Result<String> {
        self.stage.kinglet(&["bundles", "keygen", "--out", "updates.key"])?;
        let sign = ["bundles", "sign", "better.kinglet", "--key", "updates.key", "--serial", "7"];
        self.stage.kinglet(&[&sign[..], &["--out", "signed.kinglet"]].concat())?;
        self.updated("porch", &format!("http://{}", self.server.addr))
    }

    /// The same by MQTT.
    pub(super) fn by_mqtt(&self) -> Result<String> {
        self.updated("attic", &format!("mqtt://{}", self.mqtt))
    }

    /// A board that changes its bundle on the way.
    fn updated(&self, device: &str, url: &str) -> Result<String> {
        self.add(device, "room.kinglet", url, &["--update-key", "updates.key.pub"])?;
        self.stage.kinglet(&["bundles", "offer", "signed.kinglet", "--to", device, "--data", "data"])?;
        let said = self.run(device, "room.kinglet", "wire.csv", &[])?;
        let (_, shown) = serving::get(self.server.addr, &format!("/v1/devices/{device}"))?;
        if !shown.contains(r#""serial":7,"takes_updates":true,"trial":false"#) {
            return Err(format!("the board does not use the bundle that came over the air: {shown}"));
        }
        self.compare(device, &said, N_SAMPLES)
    }

    pub(super) fn asleep_by_mqtts(&self) -> Result<String> {
        self.add("cellar", "slow.kinglet", &format!("mqtts://{}", self.mqtts), &[])?;
        let said = self.run("cellar", "slow.kinglet", "short.csv", &["--sleep"])?;
        let compared = self.compare("cellar", &said, N_ASLEEP)?;
        let n_sessions = said.lines().find_map(|line| line.strip_suffix(" sessions")).unwrap_or("?");
        // The first is by hand, with one sample; then there is one for each eight.
        if n_sessions != "5" {
            return Err(format!("the radio was on {n_sessions} times:\n{said}"));
        }
        // The same board, told to believe another certificate.
        let key = self.stage.dir.join("cellar.key");
        let text = std::fs::read_to_string(&key).map_err(|e| format!("cellar.key: {e}"))?;
        let at = text.find("sha256%3A").ok_or("the provisioning has no pin")? + 9;
        let digit = if text[at..].starts_with('0') { "1" } else { "0" };
        self.stage.write("cellar.key", format!("{}{digit}{}", &text[..at], &text[at + 1..]))?;
        match self.run("cellar", "room.kinglet", "short.csv", &[]) {
            Err(why) if why.contains("InvalidCertificate") => {
                Ok(format!("{compared}, {n_sessions} sessions"))
            }
            Err(why) => Err(format!("before a server with another certificate: {why}")),
            Ok(said) => Err(format!("a server with another certificate was believed:\n{said}")),
        }
    }

    fn add(&self, device: &str, bundle: &str, url: &str, more: &[&str]) -> Result<()> {
        let key = format!("{device}.key");
        let add = ["device", "add", device, "--bundle", bundle, "--key-out", &key, "--data", "data"];
        self.stage.kinglet(&[&add[..], &["--server", url], more].concat()).map(drop)
    }

    /// Gives a board what is its own, and lets it measure; what it says.
    fn run(&self, device: &str, bundle: &str, wire: &str, more: &[&str]) -> Result<String> {
        let (key, record) = (format!("{device}.key"), format!("{device}.txt"));
        let give = ["device", "flash-config", "--key", &key, "--bundle", bundle, "--sensor", "dht22 4"];
        let where_to = ["--ssid", "nowhere", "--open", "--allow-loopback", "--port", "-"];
        self.stage.write(&record, self.stage.kinglet(&[&give[..], &where_to, more].concat())?)?;
        let mut board = Command::new(self.stage.target().join("debug/examples/board"));
        board.args([&record, wire]).current_dir(&self.stage.dir);
        let ran = run::quiet(&mut board, Duration::from_secs(120))?;
        let said = ran.text.clone();
        must(ran, "the board of parts gave up").map(|()| said)
    }

    fn compare(&self, device: &str, said: &str, n: usize) -> Result<String> {
        let path = format!("/v1/devices/{device}/readings?from=0&format=csv");
        let stored = match serving::get(self.server.addr, &path)? {
            (200, body) => body,
            (status, body) => return Err(format!("readings: status {status}: {body}")),
        };
        let n_missing = compare(said, &stored, n)?;
        Ok(format!(": {n} samples, {n_missing} of them disturbed"))
    }
}

/// Temperature and humidity of sample `n`.
fn tenths(n: usize) -> (i32, i32) {
    let x = n as f64;
    let noise = (n * 7919 % 1009) as f64 / 1009.0 - 0.5;
    ((80.0 * (x / 120.0).sin() - 20.0 + 3.0 * noise) as i32, (550.0 - 120.0 * (x / 150.0).cos()) as i32)
}

fn recording(period_ms: usize) -> String {
    let row = |n: usize| {
        let ((t, h), ms) = (tenths(n), n * period_ms);
        let sign = if t < 0 { "-" } else { "" };
        let (seconds, t) = (1_760_000_000 + ms / 1000, t.abs());
        format!("{seconds}.{:03},{sign}{}.{},{}.{}\n", ms % 1000, t / 10, t % 10, h / 10, h % 10)
    };
    format!("time,temperature,humidity\n{}", (0..2000).map(row).collect::<String>())
}

/// Every sample the board took is stored once, in order, within its bound, and missing where the wire was disturbed.
fn compare(taken: &str, stored: &str, n: usize) -> Result<usize> {
    let rows = |text: &str, skip: usize| -> Vec<Vec<Option<f64>>> {
        text.lines()
            .skip(skip)
            .filter(|line| line.contains(','))
            .map(|line| line.split(',').skip(1).map(|cell| cell.parse().ok()).collect())
            .collect()
    };
    let (taken, stored) = (rows(taken, 0), rows(stored, 1));
    if taken.len() != n || stored.len() != taken.len() {
        return Err(format!("{} samples taken, {} stored", taken.len(), stored.len()));
    }
    for (n, (taken, stored)) in taken.iter().zip(&stored).enumerate() {
        for (c, bound) in [0.2, 1.0].into_iter().enumerate() {
            let good = match (taken.get(c).copied().flatten(), stored.get(c).copied().flatten()) {
                (Some(taken), Some(stored)) => (taken - stored).abs() <= bound + 1e-9,
                (None, None) => true,
                _ => false,
            };
            if !good {
                return Err(format!("sample {n}: taken {taken:?}, stored {stored:?}"));
            }
        }
    }
    let n_missing = taken.iter().filter(|row| row.iter().any(Option::is_none)).count();
    if n_missing == 0 { Err("no disturbance was played".into()) } else { Ok(n_missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_is_wrong_missing_or_too_many_is_found() {
        let row = |n: usize| if n == 7 { format!("{n},,\n") } else { format!("{n},{}.5,50\n", n % 30) };
        let taken: String = (0..N_SAMPLES).map(row).collect();
        let stored = format!("time,t,h\n{taken}");
        let check = |stored: &str| compare(&taken, stored, N_SAMPLES);
        assert_eq!(check(&stored), Ok(1));
        assert!(check(&stored.replacen("3.5", "4.5", 1)).is_err());
        assert!(check(&format!("{stored}x,1,1\n")).is_err());
        assert!(check(&stored.replacen("7,,", "7,1,1", 1)).is_err());
    }
}
