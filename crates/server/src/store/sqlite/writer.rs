//! One thread that writes, many writes per commit.
//!
//! While one commit waits for the disk, requests queue up; the next transaction takes all of them (up to
//! [`BATCH_MAX`]). Each write runs in its own savepoint, so one that fails takes nobody with it, and no
//! answer leaves before the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Answer, StoreError};

/// Most writes in one transaction.
const BATCH_MAX: usize = 1000;
/// Writes that may wait before senders wait too: the backpressure of the whole server.
const QUEUE_LEN: usize = 4096;

/// The sending side: hands writes to the thread.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    epoch: Arc<AtomicU64>,
}

/// A write and whoever waits for it.
trait Job: Send {
    fn run(&mut self, conn: &Connection) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Work<T, F> {
    todo: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, conn: &Connection) -> Result<(), StoreError> {
        if let Some(todo) = self.todo.take() {
            self.done = Some(todo(conn)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { done, reply, .. } = *self;
        // Whoever asked may have gone away; the write stands all the same.
        let _ = reply.send(committed.and_then(|()| done.ok_or(StoreError::Closed)));
    }
}

impl Writer {
    /// Starts the thread; it ends when the writer is dropped or closed and the queue is empty.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        let epoch = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&epoch);
        std::thread::Builder::new().name("store-writer".into()).spawn(move || serve(conn, queue, &seen))?;
        Ok(Self { jobs, epoch })
    }

    /// Runs `todo` in the next transaction; the answer comes after the commit.
    pub(super) fn write<T, F>(&self, todo: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work { todo: Some(todo), done: None, reply });
        Box::pin(async move {
            self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    /// Grows whenever another process wrote to the file.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Ends the thread after everything queued is on disk.
    pub(super) fn close(&self) -> Answer<'_, ()> {
        let (reply, answer) = oneshot::channel();
        Box::pin(async move {
            let sent = self.jobs.send(Box::new(Close(Some(reply)))).await;
            if sent.is_ok() {
                let _ = answer.await;
            }
            Ok(())
        })
    }
}

/// The last job: its reply is dropped with the queue, after the commit of everything before it.
struct Close(Option<oneshot::Sender<()>>);

impl Job for Close {
    fn run(&mut self, _: &Connection) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn finish(mut self: Box<Self>, _: Result<(), StoreError>) {
        drop(self.0.take());
    }
}

fn serve(mut conn: Connection, mut queue: mpsc::Receiver<Box<dyn Job>>, epoch: &AtomicU64) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut seen_version = data_version(&conn);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        // Before the transaction: a registry read after this is newer than what others wrote before it.
        let version = data_version(&conn);
        if version != seen_version {
            seen_version = version;
            epoch.fetch_add(1, Ordering::AcqRel);
        }
        let mut closing = false;
        let outcomes = commit(&mut conn, &mut batch, &mut closing);
        if closing {
            // Later senders learn that the store is closed; those already queued are refused below.
            queue.close();
        }
        for (job, outcome) in batch.drain(..).zip(outcomes) {
            job.finish(outcome);
        }
        if closing {
            while let Ok(job) = queue.try_recv() {
                job.finish(Err(StoreError::Closed));
            }
            break;
        }
    }
    // Leaves one tidy file behind; a failure here loses nothing, the log is replayed at the next start.
    let _ = conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
}

fn data_version(conn: &Connection) -> i64 {
    conn.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap_or(0)
}

/// Runs a batch in one transaction; one outcome per job.
fn commit(
    conn: &mut Connection,
    batch: &mut [Box<dyn Job>],
    closing: &mut bool,
) -> Vec<Result<(), StoreError>> {
    let all = |error: StoreError| vec![Err(error); batch.len()];
    let tx = match conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(e) => return all(e.into()),
    };
    let mut outcomes = Vec::with_capacity(batch.len());
    for job in batch.iter_mut() {
        let outcome = in_savepoint(&tx, job.as_mut());
        *closing |= outcome == Err(StoreError::Closed);
        if tx.is_autocommit() {
            // The database rolled everything back by itself (disk full): nobody's write stands.
            let error = outcome.err().unwrap_or(StoreError::Database("rolled back".into()));
            return vec![Err(error); batch.len()];
        }
        outcomes.push(outcome);
    }
    match tx.commit() {
        Ok(()) => outcomes,
        Err(e) => vec![Err(e.into()); batch.len()],
    }
}

fn in_savepoint(conn: &Connection, job: &mut dyn Job) -> Result<(), StoreError> {
    conn.prepare_cached("SAVEPOINT one")?.execute([])?;
    let outcome = job.run(conn);
    if outcome.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK TO one")?.execute([])?;
    }
    if !conn.is_autocommit() {
        conn.prepare_cached("RELEASE one")?.execute([])?;
    }
    outcome
}
