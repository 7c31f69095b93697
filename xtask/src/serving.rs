//! A `kinglet` that listens, as a child of ours.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A running server; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// What it prints.
    log: PathBuf,
}

impl Serving {
    /// Starts `program ARGS --http ADDR` in `dir` and waits up to `patience` until it answers `/healthz`.
    pub(crate) fn start(
        program: &Path,
        args: &[&str],
        addr: SocketAddr,
        dir: &Path,
        patience: Duration,
    ) -> Result<Self> {
        let log = dir.join(format!("{}.log", args.first().unwrap_or(&"kinglet")));
        let out = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let err = out.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new(program)
            .args(args)
            .args(["--http", &addr.to_string()])
            .current_dir(dir)
            .env("HOME", dir)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("{} could not be started: {e}", program.display()))?;
        let mut serving = Self { child, addr, log };
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Ok(Some(status)) = serving.child.try_wait() {
                return Err(format!("it ended before it listened ({status}):\n{}", serving.said()));
            }
            if get(addr, "/healthz").is_ok_and(|(status, _)| status == 200) {
                return Ok(serving);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{addr} did not answer /healthz within {} s:\n{}", patience.as_secs(), serving.said()))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        crate::run::plain(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // SIGKILL: nothing is flushed, nothing is said. If it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address of this machine nobody listens on.
pub(crate) fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    listener.map_err(|e| format!("no free port: {e}"))
}

/// Status and body of a GET. HTTP/1.0, so that the body ends with the connection.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Result<(u16, String)> {
    let wrong = |e: std::io::Error| format!("GET {path}: {e}");
    let limit = Duration::from_secs(20);
    let mut to = TcpStream::connect_timeout(&addr, limit).map_err(wrong)?;
    to.set_read_timeout(Some(limit)).map_err(wrong)?;
    write!(to, "GET {path} HTTP/1.0\r\nHost: {addr}\r\nAccept: */*\r\n\r\n").map_err(wrong)?;
    let mut bytes = Vec::new();
    to.read_to_end(&mut bytes).map_err(wrong)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("GET {path}: no HTTP answer"))?;
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    Ok((status.ok_or_else(|| format!("GET {path}: no status"))?, body.into()))
}
