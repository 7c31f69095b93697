//! The log of writes is copied into the file beside the writer.
//!
//! SQLite does this within a commit once its log is long, and every ack waits for thousands of pages and two
//! syncs. Here a thread with a connection of its own copies while the writer goes on; what the writer has added
//! meanwhile, little, the writer copies itself, because only a log that is copied to its end begins anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

/// Pages of log from which on they are copied: 4 MB.
const LOG_PAGES: u32 = 1000;
/// Pages of log from which on every write waits until they are copied: the disk does not keep up.
const LOG_PAGES_MAX: u32 = 16_000;

/// How long a write waits then, at most.
const WAIT_MS: u32 = 10_000;

const IDLE: u8 = 0;
/// Set by the writer; the thread copies.
const COPYING: u8 = 1;
/// Set by the thread; the writer copies the rest.
const COPIED: u8 = 2;

/// The writer's side.
pub(super) struct Checkpoints {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    state: Arc<AtomicU8>,
    /// Pages from which on the next copy begins: a reader may hold back what lies before.
    next: u32,
    /// `None` while it ends.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Takes over from the writer's own connection. `beside` is another one to the same file.
    pub(super) fn start(writer: &mut Connection, beside: Connection) -> rusqlite::Result<Self> {
        let (pages, state) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU8::new(IDLE)));
        let counted = Arc::clone(&pages);
        // In place of SQLite's own hook, which is its automatic checkpoint.
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, n: std::ffi::c_int| {
            counted.store(u32::try_from(n).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let (wake, woken) = sync_channel(1);
        let copied = Arc::clone(&state);
        // Where there is no thread, nobody is to be woken, and the writer copies all.
        let thread = std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
            while woken.recv().is_ok() {
                copy(&beside);
                copied.store(COPIED, Ordering::Release);
            }
        });
        Ok(Self { pages, state, next: LOG_PAGES, wake: Some(wake), thread: thread.ok() })
    }

    /// After each commit.
    pub(super) fn after_commit(&mut self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < LOG_PAGES {
            self.next = LOG_PAGES;
        }
        if pages >= LOG_PAGES_MAX {
            self.wait();
        }
        match self.state.load(Ordering::Acquire) {
            COPIED => self.copy_rest(writer, pages),
            IDLE if pages >= self.next => {
                // Before it is woken: it may be done before this thread goes on.
                self.state.store(COPYING, Ordering::Release);
                if self.wake.as_ref().is_none_or(|wake| wake.try_send(()).is_err()) {
                    self.copy_rest(writer, pages);
                }
            }
            _ => {}
        }
    }

    fn copy_rest(&mut self, writer: &Connection, pages: u32) {
        copy(writer);
        self.next = pages.saturating_add(LOG_PAGES);
        self.state.store(IDLE, Ordering::Release);
    }

    /// Until the thread has copied what there was.
    fn wait(&self) {
        for _ in 0..WAIT_MS {
            if self.state.load(Ordering::Acquire) != COPYING {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies as much as readers allow. What fails stays in the log, which is as safe; the next call tries again.
fn copy(conn: &Connection) {
    let copied = conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)").and_then(|mut pragma| {
        pragma.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
    });
    if let Err(error) = copied {
        tracing::debug!(%error, "the log of writes was not copied");
    }
}
