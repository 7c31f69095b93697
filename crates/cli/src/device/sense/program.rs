//! A program that prints one sample and ends, run at every beat.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kinglet_codec::Decimal;
use kinglet_node::Reading;

use super::{Event, Listener, Source};

/// Most bytes of its output that are read.
const OUTPUT_LEN_MAX: u64 = 64 << 10;
/// How long it may take, if the beat is not longer.
const PATIENCE_MIN: Duration = Duration::from_secs(10);

/// A command line, for the shell.
pub(crate) struct Program {
    pub(crate) line: String,
    pub(crate) every: Duration,
    pub(crate) n_channels: usize,
}

impl Source for Program {
    fn origin(&self) -> String {
        format!("`{}`", self.line)
    }

    fn run(self, listener: &Listener) {
        let patience = self.every.max(PATIENCE_MIN);
        listener.at_every_beat(self.every, |listener| {
            let said = output(&self.line, patience);
            let readings = said.and_then(|text| parse(&text, self.n_channels));
            readings.unwrap_or_else(|why| {
                listener.tell(Event::Trouble(format!("`{}` {why}", self.line)));
                vec![None; self.n_channels]
            })
        });
    }
}

/// What it prints; killed if it takes too long.
fn output(line: &str, patience: Duration) -> Result<String, String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = shell.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What broke off is no sample, and says so when it is parsed.
        let _ = out.map(|out| out.take(OUTPUT_LEN_MAX).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let end = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                // It may be gone already; either way it is waited for, or it would stay a zombie.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not end within {} s", patience.as_secs()));
            }
        }
    }
    // Its own children may hold the pipe open: they are not waited for.
    while !reader.is_finished() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    if reader.is_finished() {
        reader.join().map_err(|_| "broke off".into())
    } else {
        Err("left its output open".into())
    }
}

/// The last line's numbers, in the channels' order: `21.5,40`, `21.5 40`, `t=21.5 h=40`. An empty cell is a missing reading.
pub(super) fn parse(text: &str, n_channels: usize) -> Result<Vec<Reading>, String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).ok_or("printed nothing")?;
    let cells = super::piped::cells(line);
    let cells: Vec<&str> =
        cells.iter().map(|cell| cell.rsplit(['=', ':']).next().unwrap_or(cell).trim()).collect();
    if cells.len() != n_channels {
        return Err(format!("printed {} numbers, the bundle has {n_channels} channels", cells.len()));
    }
    let readings: Vec<Reading> = cells.iter().map(|cell| cell.parse::<Decimal>().ok()).collect();
    match cells
        .iter()
        .zip(&readings)
        .find(|(cell, reading)| reading.is_none() && !super::piped::is_missing(cell))
    {
        Some(_) => Err("printed something that is no number".into()),
        None => Ok(readings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_last_line() {
        let check = |text: &str, want: &[Option<&str>]| {
            let got: Vec<Option<String>> =
                parse(text, want.len()).unwrap().iter().map(|r| r.map(|v| v.to_string())).collect();
            assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), want, "{text}");
        };
        check("21.5\n", &[Some("21.5")]);
        check("warming up\n21.5,40\n\n", &[Some("21.5"), Some("40")]);
        check("temp=21.5 hum=40", &[Some("21.5"), Some("40")]);
        check("21.5;;1013", &[Some("21.5"), None, Some("1013")]);
        check("nan,40", &[None, Some("40")]);
        for (text, n) in [("", 1), ("1,2", 1), ("1", 2), ("warm", 1), ("1,x", 2)] {
            assert!(parse(text, n).is_err(), "{text}");
        }
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_no_sample() {
        let second = Duration::from_secs(1);
        assert_eq!(output("echo 21.5", second * 20).as_deref(), Ok("21.5\n"));
        assert!(output("echo 21.5; exit 3", second * 20).is_err_and(|why| why.contains('3')));
        let started = Instant::now();
        assert!(output("exec sleep 60", second / 5).is_err());
        assert!(output("sleep 60 & echo 1", second / 2).is_err());
        assert!(started.elapsed() < second * 20);
    }
}
