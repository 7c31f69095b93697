//! Running other programs: their output is shown as it comes and kept for counting.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;
use crate::context::Context;

/// What a program said and how it ended.
pub(crate) struct Ran {
    pub(crate) ok: bool,
    /// Standard output and error as they came, without colours.
    pub(crate) text: String,
}

/// `cargo`, in `dir`, into the one target folder.
pub(crate) fn cargo(context: &Context, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(dir).env("CARGO_TARGET_DIR", context.target());
    // What `cargo run` set for us is about xtask and would only make child builds stale.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command.env("CARGO_TERM_COLOR", if context.colour { "always" } else { "never" });
    command
}

/// Runs to the end, showing everything; kills it after `limit`.
pub(crate) fn show(context: &Context, command: &mut Command, limit: Duration) -> Result<Ran> {
    context.say(&context.paint("2", &format!("$ {}", line_of(command))));
    go(command, limit, if context.options.json { Echo::Err } else { Echo::Out })
}

/// Runs to the end, showing nothing.
pub(crate) fn quiet(command: &mut Command, limit: Duration) -> Result<Ran> {
    go(command, limit, Echo::No)
}

/// Standard output of a program that must succeed.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let out = command.stderr(Stdio::inherit()).output().map_err(|e| cannot_start(command, &e))?;
    if !out.status.success() {
        return Err(format!("{} failed: {}", line_of(command), out.status));
    }
    String::from_utf8(out.stdout).map_err(|_| format!("{} printed no UTF-8", line_of(command)))
}

/// What `todo` gives for each item, in their order; as many at a time as there are processors.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], todo: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let work = || {
        let mut done = Vec::new();
        while let Some((n, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, items.get(n)?)))
        {
            done.push((n, todo(item)));
        }
        done
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        // A panic is one of the item's own, as it would be without threads.
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, done)| done).collect()
}

/// True if `name` is on the path.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// As one would type it.
pub(crate) fn line_of(command: &Command) -> String {
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(program, |line, arg| line + " " + &arg.to_string_lossy())
}

/// Text without ANSI escapes.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            // CSI: everything up to the first letter.
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Echo {
    No,
    Out,
    Err,
}

fn go(command: &mut Command, limit: Duration, echo: Echo) -> Result<Ran> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| cannot_start(command, &e))?;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let readers: Vec<_> = [
        child.stdout.take().map(|r| Box::new(r) as Box<dyn Read + Send>),
        child.stderr.take().map(|r| Box::new(r) as Box<dyn Read + Send>),
    ]
    .into_iter()
    .flatten()
    .map(|from| {
        let kept = Arc::clone(&kept);
        std::thread::spawn(move || pump(from, &kept, echo))
    })
    .collect();
    let ended = wait(&mut child, limit);
    for reader in readers {
        // A reader only ends early when the pipe breaks: what it kept until then is still there.
        let _ = reader.join();
    }
    let bytes = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    let text = plain(&String::from_utf8_lossy(&bytes));
    match ended {
        Some(status) => Ok(Ran { ok: status.success(), text }),
        None => Err(format!("{} did not end within {} s and was stopped", line_of(command), limit.as_secs())),
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn pump(mut from: Box<dyn Read + Send>, kept: &Mutex<Vec<u8>>, echo: Echo) {
    let mut buf = [0; 8192];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        let chunk = &buf[..n];
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(chunk);
        // A closed terminal is no reason to lose the result.
        let _ = match echo {
            Echo::No => Ok(()),
            Echo::Out => std::io::stdout().write_all(chunk),
            Echo::Err => std::io::stderr().write_all(chunk),
        };
    }
}

fn cannot_start(command: &Command, why: &std::io::Error) -> String {
    format!("{} could not be started: {why}", command.get_program().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_done_once_and_in_its_place() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(each(&items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(each(&[], |n: &usize| *n).is_empty());
    }

    #[test]
    fn escapes_are_taken_out() {
        assert_eq!(plain("\x1b[32;1mok\x1b[0m 3"), "ok 3");
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let started = Instant::now();
        let why = quiet(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert!(why.is_err_and(|w| w.contains("stopped")));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn both_streams_are_kept() {
        let ran =
            quiet(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), Duration::from_secs(60));
        let ran = ran.expect("sh exists");
        assert!(!ran.ok && ran.text.contains('a') && ran.text.contains('b'));
    }
}
