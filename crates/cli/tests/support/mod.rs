//! Runs the real binary in a directory of its own.
#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with nothing of the user's in it.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The command, in this directory, with a clean environment.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with_input<A: AsRef<OsStr>>(&self, args: &[A], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A child that refuses its input early closes the pipe: no failure of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ran::from(output)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// It did what was asked.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// It ended with `code` and said each of `words` on standard error, with a next step and no ANSI codes.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in {self:#?}");
        }
        assert!(!self.err.contains("panicked"), "{self:#?}");
        assert!(!self.err.contains('\u{1b}'), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A process that is ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `kinglet serve` on a free port, ready; gives its address.
pub(crate) fn serve(place: &Place, http: &str) -> (Running, String) {
    let (running, ready) = serve_by(place, &["--http", http]);
    (running, ready["url"].as_str().unwrap().to_string())
}

/// A running server on `data`, and what it says when it is ready.
pub(crate) fn serve_by(place: &Place, more: &[&str]) -> (Running, Value) {
    let mut command = place.command(&["serve", "--data", "data", "--json"]);
    let mut child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(child);
    let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    (running, ready)
}

/// A bundle nothing was trained for: two channels, tenths within 0.2 and whole numbers lossless, 8 samples,
/// one a minute.
pub(crate) fn plain_bundle() -> Vec<u8> {
    use kinglet_codec::Grid;
    use kinglet_codec::learn::{Outline, Parts};
    let tenths = Grid { scale: 1, origin: 0, quantum: 1, bound_steps: 2, rounds: false };
    let ones = Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    let outlines = [Outline::new("temp", tenths, (-400, 800)), Outline::new("co2", ones, (0, 5000))];
    let device = Parts::untrained(8, 60_000, &outlines).emit();
    kinglet_codec::bundle::Bundle::new("plain", device, serde_json::json!({})).unwrap().emit()
}

/// `n` rows for [`plain_bundle`], one a minute, with a gap and a missing reading.
pub(crate) fn plain_csv(n: usize) -> String {
    let mut csv = String::from("time,temp,co2\n");
    for i in 0..n {
        let t = 1_700_000_000 + 60 * i + if i > n / 2 { 7200 } else { 0 };
        let temp = if i == 3 { String::new() } else { format!("{}.{}", 20 + i % 5, i * 7 % 10) };
        csv += &format!("{t},{temp},{}\n", 400 + i * 13 % 90);
    }
    csv
}

/// `n` minutes of a room: a day, a little noise, two channels.
pub(crate) fn room_csv(n: usize) -> String {
    let mut csv = String::from("time,temperature,humidity\n");
    for i in 0..n {
        let day = i as f64 / 1440.0 * std::f64::consts::TAU;
        let noise = |salt: usize| ((i * 7919 + salt * 104_729) % 1009) as f64 / 1009.0 - 0.5;
        let (t, h) = (21.0 + 3.0 * day.sin() + 0.3 * noise(1), 45.0 - 8.0 * day.sin() + 2.0 * noise(2));
        csv += &format!("{},{t:.1},{h:.1}\n", 1_760_000_000 + 60 * i);
    }
    csv
}
