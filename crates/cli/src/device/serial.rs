//! A board's serial port: lines go out, each is answered before the next.

use std::path::Path;

use kinglet_node::provision::{DATA_LEN_MAX, Line};
use zeroize::Zeroizing;

use crate::failure::Result;

/// The lines that bring `record`.
pub(crate) fn lines(record: &[u8]) -> impl Iterator<Item = Zeroizing<String>> {
    let data = record.chunks(DATA_LEN_MAX).enumerate().map(|(n, chunk)| Line::Data(n * DATA_LEN_MAX, chunk));
    let all = std::iter::once(Line::Begin(record.len())).chain(data).chain(std::iter::once(Line::End));
    all.map(|line| Zeroizing::new(line.to_string()))
}

/// Brings `record` to the board at `port`; returns when the board has stored it.
#[cfg(unix)]
pub(crate) fn send(port: &Path, record: &[u8]) -> Result {
    unix::send(port, record)
}

/// Only where ports are files.
#[cfg(not(unix))]
pub(crate) fn send(port: &Path, _record: &[u8]) -> Result {
    Err(crate::failure::Failure::usage(format_args!(
        "{} cannot be opened as a serial port here",
        port.display()
    ))
    .next("say --port - and send the lines with a terminal program, 115200 baud"))
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use kinglet_node::provision::{Refusal, Reply};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::OFlags;
    use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};

    use super::lines;
    use crate::failure::{Failure, Kind, Result};
    use crate::term::Progress;

    const BAUD: u32 = 115_200;
    /// A board that was reset by opening its port needs this long to listen.
    const PATIENCE: Duration = Duration::from_secs(15);
    /// How long one line may go unanswered before it is said again.
    const ANSWER: Duration = Duration::from_millis(1_500);
    /// Longest line of a board's that is looked at.
    const LINE_LEN_MAX: usize = 4096;

    pub(super) fn send(path: &Path, record: &[u8]) -> Result {
        let failed = |why: io::Error| {
            Failure::new(Kind::Network, format_args!("the serial port {} cannot be used", path.display()))
                .why(why)
                .next("`ls /dev/ttyACM* /dev/ttyUSB*` shows the ports; close other programs that use it")
        };
        let mut port = Port::open(path).map_err(failed)?;
        let bar = Progress::bar("to the board");
        let n_lines = lines(record).count();
        for (n, line) in lines(record).enumerate() {
            let is_last = n + 1 == n_lines;
            bar.set(n as f64 / n_lines as f64);
            let end = Instant::now() + PATIENCE;
            loop {
                port.say(&line).map_err(failed)?;
                match port.reply(ANSWER.min(end.saturating_duration_since(Instant::now()))).map_err(failed)? {
                    Some(Reply::Stored) if is_last => break,
                    Some(Reply::Have(_)) if !is_last => break,
                    // A line was garbled on its way: again.
                    Some(Reply::Refused(Refusal::Line)) | None if Instant::now() < end => {}
                    Some(Reply::Refused(why)) => return Err(refused(path, why)),
                    _ => return Err(unanswered(path)),
                }
            }
        }
        Ok(())
    }

    fn refused(path: &Path, why: Refusal) -> Failure {
        Failure::new(Kind::Refused, format_args!("the board at {} refuses", path.display()))
            .why(Reply::Refused(why))
            .next("run it again; should it refuse again, flash the firmware with its partitions.csv")
    }

    fn unanswered(path: &Path) -> Failure {
        Failure::new(Kind::Network, format_args!("the board at {} does not answer", path.display()))
            .why(format_args!("nothing Kinglet's firmware would say came within {} s", PATIENCE.as_secs()))
            .next("flash the firmware first, name the port it logs on, and close other programs that use it")
    }

    struct Port {
        file: File,
        /// What came after the last whole line.
        rest: Vec<u8>,
    }

    impl Port {
        fn open(path: &Path) -> io::Result<Self> {
            // Without NONBLOCK opening waits for a modem's carrier; without NOCTTY a line's hang-up would end us.
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            let mut options = File::options();
            let file = options.read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
            let mut line = tcgetattr(&file)?;
            line.make_raw();
            line.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
            line.set_speed(BAUD)?;
            tcsetattr(&file, OptionalActions::Flush, &line)?;
            Ok(Self { file, rest: Vec::new() })
        }

        fn say(&mut self, line: &str) -> io::Result<()> {
            let text = zeroize::Zeroizing::new(format!("{line}\n"));
            let mut left = text.as_bytes();
            while !left.is_empty() {
                match self.file.write(left) {
                    Ok(n) => left = &left[n..],
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        if !self.wait(PollFlags::OUT, ANSWER)? {
                            return Err(io::ErrorKind::TimedOut.into());
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        }

        /// The board's next answer; what else it prints is passed over. `None` if nothing came in time.
        fn reply(&mut self, patience: Duration) -> io::Result<Option<Reply>> {
            let end = Instant::now() + patience;
            loop {
                while let Some(at) = self.rest.iter().position(|&b| b == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=at).collect();
                    if let Some(reply) = Reply::parse(&String::from_utf8_lossy(&line)) {
                        return Ok(Some(reply));
                    }
                }
                if self.rest.len() > LINE_LEN_MAX {
                    self.rest.clear();
                }
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() || !self.wait(PollFlags::IN, left)? {
                    return Ok(None);
                }
                let mut buf = [0; 512];
                match self.file.read(&mut buf) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => self.rest.extend_from_slice(&buf[..n]),
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(e) => return Err(e),
                }
            }
        }

        fn wait(&self, what: PollFlags, patience: Duration) -> io::Result<bool> {
            let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
            Ok(poll(&mut [PollFd::new(&self.file, what)], Some(&timeout))? > 0)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use kinglet_node::MemFlash;
        use kinglet_node::provision::{Receiver, Slots};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use std::os::fd::OwnedFd;

        /// A board on a pseudo-terminal: the firmware's receiver, `noise` between its answers. Gives what it has stored.
        fn board(
            noise: &'static str,
            deaf_for: usize,
        ) -> (std::path::PathBuf, std::thread::JoinHandle<Vec<u8>>) {
            let port: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&port).unwrap();
            unlockpt(&port).unwrap();
            let name = ptsname(&port, Vec::new()).unwrap().into_string().unwrap();
            let thread = std::thread::spawn(move || {
                let mut port = File::from(port);
                let mut flash = MemFlash::new(vec![0xFF; 32 * 4096], 4096, 4);
                let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
                let (mut line, mut n, mut buf) = (Vec::new(), 0, [0; 64]);
                loop {
                    // A pseudo-terminal nobody holds open yet answers with an error.
                    let Ok(got) = port.read(&mut buf) else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    for &byte in &buf[..got] {
                        if byte != b'\n' {
                            line.push(byte);
                            continue;
                        }
                        n += 1;
                        if n > deaf_for
                            && let Some(reply) = receiver.line(&mut flash, &line)
                        {
                            port.write_all(format!("{noise}{reply}\r\n").as_bytes()).unwrap();
                            if reply == Reply::Stored {
                                // The host reads it before the port goes away.
                                std::thread::sleep(Duration::from_millis(300));
                                let slots = Slots::open(&mut flash).unwrap();
                                let mut out = vec![0; slots.record_len().unwrap()];
                                slots.read(&mut flash, &mut out).unwrap();
                                return out;
                            }
                        }
                        line.clear();
                    }
                }
            });
            (name.into(), thread)
        }

        fn record() -> Vec<u8> {
            let model = vec![0x5A; 5_000];
            let given = kinglet_node::provision::Given { ssid: "home", model: &model, ..Default::default() };
            let mut out = vec![0; given.record_len()];
            given.emit(&mut out).unwrap();
            out
        }

        #[test]
        fn a_board_is_given_its_record_between_its_log_lines() {
            let (path, board) = board("INFO - Wi-Fi: nobody answers\r\n", 0);
            send(&path, &record()).unwrap();
            assert_eq!(board.join().unwrap(), record());
        }

        #[test]
        fn a_board_that_just_starts_is_asked_again() {
            let (path, board) = board("", 2);
            send(&path, &record()).unwrap();
            assert_eq!(board.join().unwrap(), record());
        }

        #[test]
        fn what_is_no_port_is_said() {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("x");
            std::fs::write(&file, "").unwrap();
            for path in [&file, &dir.path().join("nowhere")] {
                assert!(send(path, &record()).is_err(), "{}", path.display());
            }
        }
    }
}
