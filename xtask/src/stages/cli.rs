//! One story told with the release binary: learn, judge, code, serve, send, lose power, go on; then mistakes.

mod exported;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run::{self, Ran};
use crate::serving::{self, Serving};

const PATIENCE: Duration = Duration::from_secs(120);
const ROWS: usize = 1500;
const BOUNDS: [f64; 2] = [0.25, 1.0];

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let program = release_binary(context)?;
    let dir = context.target().join("cli-smoke");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let story = Story { context, program, dir };
    let mut tally = Tally::default();
    let steps: &[Step<'_>] = &[
        ("help is there for every command", Story::help),
        ("a recording is learned within its bound", Story::learn),
        ("what is coded comes back within the bound", Story::code),
        ("a server stores what a device sends, once, through a power cut", Story::send),
        ("an exported crate builds for a chip and encodes as we do", exported::crates),
        ("mistakes are named with a way out", Story::mistakes),
    ];
    for (what, step) in steps {
        let done = step(&story);
        tally.add(Tally::one(done.is_ok()));
        match done {
            Ok(()) => context.say(&format!("{} {what}", context.paint("32", "ok"))),
            Err(why) => context.say(&format!("{} {what}: {why}", context.paint("31", "FAILED"))),
        }
    }
    Ok(tally)
}

/// What holds, and the part of the story that shows it.
type Step<'a> = (&'static str, fn(&Story<'a>) -> Result<()>);

struct Story<'a> {
    context: &'a Context,
    program: PathBuf,
    dir: PathBuf,
}

impl<'a> Story<'a> {
    fn run(&self, args: &[&str]) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).env("HOME", &self.dir);
        for name in [
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "XDG_STATE_HOME",
            "KINGLET_DATA",
            "KINGLET_SERVER",
            "KINGLET_CONFIG",
        ] {
            command.env_remove(name);
        }
        run::quiet(&mut command, PATIENCE)
    }

    fn ok(&self, args: &[&str]) -> Result<String> {
        let ran = self.run(args)?;
        if ran.ok { Ok(ran.text) } else { Err(format!("kinglet {} failed:\n{}", args.join(" "), ran.text)) }
    }

    /// It must fail and its words must contain each of `words`.
    fn fails(&self, args: &[&str], words: &[&str]) -> Result<()> {
        let ran = self.run(args)?;
        let line = args.join(" ");
        if ran.ok {
            return Err(format!("kinglet {line} should have failed:\n{}", ran.text));
        }
        match words.iter().find(|w| !ran.text.contains(*w)) {
            Some(word) => Err(format!("kinglet {line} did not say {word:?}:\n{}", ran.text)),
            None if ran.text.contains("panicked") => Err(format!("kinglet {line} panicked:\n{}", ran.text)),
            None => Ok(()),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        std::fs::write(self.dir.join(name), bytes).map_err(|e| format!("{name}: {e}"))
    }

    fn help(&self) -> Result<()> {
        let all = self.ok(&["--help"])?;
        let commands =
            ["demo", "train", "eval", "encode", "decode", "inspect", "serve", "device", "send", "simulate"];
        for command in commands {
            if !all.contains(command) {
                return Err(format!("--help does not name {command}"));
            }
            self.ok(&[command, "--help"])?;
        }
        Ok(())
    }

    fn learn(&self) -> Result<()> {
        self.write("room.csv", recording(ROWS))?;
        self.ok(&["train", "room.csv", "--bound", "0.25,1", "--out", "room.kinglet"])?;
        let said = self.ok(&["eval", "room.kinglet", "room.csv", "--json"])?;
        let said: Value =
            serde_json::from_str(said.trim()).map_err(|e| format!("eval --json: {e}: {said}"))?;
        for key in [
            "windows",
            "bits_per_value",
            "payload_bytes_mean",
            "payload_bytes_p95",
            "max_error_over_bound",
            "static_bytes",
        ] {
            if !said[key].is_number() {
                return Err(format!("eval --json has no number {key}: {said}"));
            }
        }
        match said["max_error_over_bound"].as_f64() {
            Some(error) if error <= 1.0 => Ok(()),
            error => Err(format!("max_error_over_bound is {error:?}")),
        }
    }

    fn code(&self) -> Result<()> {
        self.ok(&["encode", "room.kinglet", "room.csv", "--out", "room.codes"])?;
        self.ok(&["inspect", "room.kinglet"])?;
        self.ok(&["inspect", "room.codes"])?;
        self.ok(&["decode", "room.kinglet", "room.codes", "--out", "back.csv"])?;
        let back =
            std::fs::read_to_string(self.dir.join("back.csv")).map_err(|e| format!("back.csv: {e}"))?;
        within_bound(&back)
    }

    fn send(&self) -> Result<()> {
        let addr = serving::free_addr()?;
        let url = format!("http://{addr}");
        let serve = || {
            Serving::start(
                &self.program,
                &["serve", "--data", "data"],
                addr,
                &self.dir,
                Duration::from_secs(30),
            )
        };
        let server = serve()?;
        self.ok(&[
            "device",
            "add",
            "porch",
            "--bundle",
            "room.kinglet",
            "--key-out",
            "porch.key",
            "--server",
            &url,
            "--data",
            "data",
        ])?;
        let send = [
            "send",
            "--key",
            "porch.key",
            "--bundle",
            "room.kinglet",
            "--outbox",
            "porch.outbox",
            "--json",
            "room.csv",
        ];
        self.ok(&send)?;
        let stored = self.readings(&server)?;
        within_bound(&stored)?;
        server.kill();
        // Nobody is there: it must fail and keep what it has.
        let gone = [&send[..7], &["--patience", "2s", "--json", "room.csv"]].concat();
        self.fails(&gone, &[])?;
        let server = serve()?;
        let again = self.readings(&server)?;
        if again != stored {
            return Err("what was acknowledged before the power cut is not what is there after it".into());
        }
        let rest: Vec<&str> = send.into_iter().filter(|a| *a != "room.csv").collect();
        self.ok(&rest)?;
        self.ok(&["device", "list", "--data", "data"])?;
        self.ok(&["device", "revoke", "porch", "--data", "data"])?;
        Ok(())
    }

    fn readings(&self, server: &Serving) -> Result<String> {
        match serving::get(server.addr, "/v1/devices/porch/readings?from=0&format=csv")? {
            (200, body) => Ok(body),
            (status, body) => Err(format!("readings: status {status}: {body}")),
        }
    }

    fn mistakes(&self) -> Result<()> {
        self.write("empty.csv", "")?;
        self.write(
            "noise.csv",
            (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
        )?;
        self.fails(&["train", "empty.csv"], &["empty.csv"])?;
        self.fails(&["train", "noise.csv"], &["noise.csv"])?;
        self.fails(&["train", "not-there.csv"], &["not-there.csv"])?;
        self.fails(&["train", "room.csv", "--bound", "1,2,3", "--out", "other.kinglet"], &["bound"])?;
        self.fails(&["trian", "room.csv"], &["train"])?;
        self.fails(&["eval", "room.csv", "room.csv"], &["room.csv"])?;
        let mut bundle =
            std::fs::read(self.dir.join("room.kinglet")).map_err(|e| format!("room.kinglet: {e}"))?;
        let last = bundle.len() - 1;
        bundle[last] ^= 1;
        self.write("damaged.kinglet", &bundle)?;
        self.fails(&["eval", "damaged.kinglet", "room.csv"], &["damaged.kinglet"])?;
        self.write("cut.kinglet", &bundle[..last / 2])?;
        self.fails(&["eval", "cut.kinglet", "room.csv"], &["cut.kinglet"])?;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let addr = taken.local_addr().map_err(|e| e.to_string())?.to_string();
        self.fails(&["serve", "--http", &addr, "--data", "other"], &[&addr])?;
        self.fails(&["serve", "--http", "0.0.0.0:0", "--data", "other"], &["--allow-remote-without-login"])
    }
}

/// Two channels a minute apart with what real recordings have: noise, a stuck stretch, missing readings, a gap.
fn recording(rows: usize) -> String {
    let mut text = String::from("time,temperature,humidity\n");
    for row in 0..rows {
        let [temperature, humidity] = truth(row);
        let cell = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.1}"));
        text.push_str(&format!("{},{},{}\n", time(row), cell(temperature), cell(humidity)));
    }
    text
}

fn time(row: usize) -> usize {
    // An hour's gap in the middle.
    1_760_000_000 + row * 60 + if row > ROWS / 2 { 3600 } else { 0 }
}

fn truth(row: usize) -> [Option<f64>; 2] {
    let day = row as f64 / 1440.0 * std::f64::consts::TAU;
    let noise = |salt: usize| ((row * 7919 + salt * 104_729) % 1009) as f64 / 1009.0 - 0.5;
    let stuck = if (400..460).contains(&row) { 400.0 / 1440.0 * std::f64::consts::TAU } else { day };
    let temperature =
        (row % 97 != 13).then(|| ((21.0 + 3.0 * stuck.sin() + 0.3 * noise(1)) * 10.0).round() / 10.0);
    let humidity =
        (row % 211 != 5).then(|| ((45.0 - 8.0 * day.sin() + 2.0 * noise(2)) * 10.0).round() / 10.0);
    [temperature, humidity]
}

/// Every reading of the recording is in `back`, at its time, within its bound, once; missing ones are missing.
fn within_bound(back: &str) -> Result<()> {
    let mut at = std::collections::BTreeMap::new();
    for line in back.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [when, values @ ..] = cells.as_slice() else { continue };
        let when = epoch_s(when).ok_or_else(|| format!("no time: {line}"))?;
        if at.insert(when, values.iter().map(|v| v.parse::<f64>().ok()).collect::<Vec<_>>()).is_some() {
            return Err(format!("two rows at {when}"));
        }
    }
    for row in 0..ROWS {
        let found = at.get(&(time(row) as i64));
        for (c, (truth, bound)) in truth(row).into_iter().zip(BOUNDS).enumerate() {
            let got = found.and_then(|v| v.get(c).copied()).flatten();
            let good = match (truth, got) {
                (Some(truth), Some(got)) => (truth - got).abs() <= bound + 1e-9,
                (None, None) => true,
                _ => false,
            };
            if !good {
                return Err(format!(
                    "row {row}, channel {c}: measured {truth:?}, came back as {got:?}, bound {bound}"
                ));
            }
        }
    }
    Ok(())
}

/// Seconds, from a number of seconds or milliseconds or from `2025-10-09T08:53:20Z`.
fn epoch_s(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(if number > 100_000_000_000 { number / 1000 } else { number });
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days since 1970 in the proleptic Gregorian calendar, years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(epoch_s("2023-11-14T22:13:20Z"), Some(1_700_000_000));
        assert_eq!(epoch_s("1700000000000"), Some(1_700_000_000));
        assert_eq!(epoch_s("1700000000"), Some(1_700_000_000));
        assert_eq!(epoch_s("soon"), None);
    }

    #[test]
    fn the_recording_itself_is_within_its_bound_and_a_change_is_not() {
        let good = recording(ROWS);
        assert_eq!(within_bound(&good), Ok(()));
        assert!(within_bound(&good.replacen("21.", "22.", 1)).is_err(), "a value");
        let twice = format!("{good}{}\n", good.lines().last().expect("rows"));
        assert!(within_bound(&twice).is_err(), "a row twice");
        let shorter: Vec<&str> = good.lines().take(ROWS).collect();
        assert!(within_bound(&shorter.join("\n")).is_err(), "a row gone");
    }
}
