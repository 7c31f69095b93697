//! Readings that wait for the network: in memory, and on disk as soon as one could not be sent.
//!
//! The file has one line per window, `unix-ms value value …`. It is there only while something waits in it. A process that
//! is killed while it empties the file may send some of its lines twice: the seed's protocol cannot tell.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind, Result};

/// Largest file that is read: more than a year of one reading in ten seconds.
const FILE_LEN_MAX: u64 = 128 << 20;

/// A window as it was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) t_ms: i64,
    /// Natural units.
    pub(crate) values: Vec<f32>,
    /// True once it has waited for the network.
    pub(crate) late: bool,
}

/// What waits, oldest first.
pub(crate) struct Kept {
    path: PathBuf,
    file: File,
    queue: VecDeque<Waiting>,
    /// How many at the front are in the file; those behind them are not yet.
    n_on_disk: usize,
    /// Lines of the file, sent ones among them.
    n_lines: usize,
}

impl Kept {
    /// Opens or makes the file and reads what was left; one sender at a time.
    pub(crate) fn open(path: &Path, n_values: usize) -> Result<Self> {
        let failed = |e: std::io::Error| Failure::writing(path.display(), &e);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(Kind::Failure, format_args!("{} is in use", path.display()))
                    .why("another `kinglet send` keeps its readings there")
                    .next("end that one, or name another file with --outbox"));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let mut text = String::new();
        Read::take(&mut file, FILE_LEN_MAX).read_to_string(&mut text).map_err(|e| foreign(path, e))?;
        let lines = text.lines().map(|line| read(line, n_values).ok_or_else(|| foreign(path, line)));
        let queue = lines.collect::<Result<VecDeque<_>>>()?;
        let n = queue.len();
        Ok(Self { path: path.into(), file, queue, n_on_disk: n, n_lines: n })
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn first(&self) -> Option<&Waiting> {
        self.queue.front()
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.queue.push_back(waiting);
    }

    /// The network is away: what is not in the file yet goes there.
    pub(crate) fn save(&mut self) -> Result {
        let mut text = String::new();
        for waiting in self.queue.iter_mut().skip(self.n_on_disk) {
            waiting.late = true;
            let _ = write!(text, "{}", waiting.t_ms);
            for v in &waiting.values {
                let _ = write!(text, " {v}");
            }
            text.push('\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| Failure::writing(self.path.display(), &e))?;
        self.n_lines += self.queue.len() - self.n_on_disk;
        self.n_on_disk = self.queue.len();
        Ok(())
    }

    /// The first is done with.
    pub(crate) fn pop(&mut self) -> Result {
        if self.queue.pop_front().is_some() {
            self.n_on_disk = self.n_on_disk.saturating_sub(1);
        }
        if self.n_on_disk == 0 && self.n_lines > 0 {
            self.n_lines = 0;
            self.file.set_len(0).map_err(|e| Failure::writing(self.path.display(), &e))?;
        }
        Ok(())
    }

    /// At the end: what waits is in the file, and only that; without anything there is no file.
    pub(crate) fn close(mut self) -> Result<usize> {
        if self.queue.is_empty() {
            let _ = std::fs::remove_file(&self.path);
            return Ok(0);
        }
        self.save()?;
        if self.n_lines > self.queue.len() {
            let mut text = String::new();
            self.file.rewind()?;
            self.file.read_to_string(&mut text)?;
            let rest: Vec<&str> = text.lines().skip(self.n_lines - self.queue.len()).collect();
            let rest = rest.join("\n") + "\n";
            crate::files::write(&self.path, rest.as_bytes(), true, crate::files::Access::Usual)?;
        }
        Ok(self.queue.len())
    }
}

fn read(line: &str, n_values: usize) -> Option<Waiting> {
    let mut words = line.split(' ');
    let t_ms = words.next()?.parse().ok()?;
    let values = words.map(|word| word.parse().ok()).collect::<Option<Vec<f32>>>()?;
    let fits = values.len() == n_values && values.iter().all(|v| v.is_finite());
    fits.then_some(Waiting { t_ms, values, late: true })
}

fn foreign(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::input(format_args!("{} holds no readings for this bundle", path.display()))
        .why(why)
        .next("name another file with --outbox; this one is left as it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(t_ms: i64) -> Waiting {
        Waiting { t_ms, values: vec![t_ms as f32 + 0.5], late: false }
    }

    fn times(kept: &Kept) -> Vec<i64> {
        kept.queue.iter().map(|w| w.t_ms).collect()
    }

    #[test]
    fn what_waits_outlives_the_process_and_what_was_sent_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/seed.kept");
        let mut kept = Kept::open(&path, 1).unwrap();
        assert!(Kept::open(&path, 1).is_err(), "one at a time");
        for t in 0..4 {
            kept.push(waiting(t));
        }
        kept.save().unwrap();
        kept.push(waiting(4));
        kept.pop().unwrap();
        // Killed here, all four are in the file; closed in order, those that wait.
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
        assert_eq!(kept.close().unwrap(), 4);
        let mut kept = Kept::open(&path, 1).unwrap();
        assert_eq!(times(&kept), [1, 2, 3, 4]);
        assert!(kept.first().unwrap().late && kept.first().unwrap().values == [1.5]);
        while kept.len() > 0 {
            kept.pop().unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(kept.close().unwrap(), 0);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for text in ["precious\n", "1 2 3\n", "1 nan\n", "\u{0}\n", "1\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Kept::open(&path, 1).is_err(), "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Kept::open(&path, 1).is_err());
    }
}
