//! One thread that writes, many writes per commit.
//!
//! While one commit waits for the disk, requests queue up; the next transaction takes all of them (up to
//! [`BATCH_MAX`]). If one of them fails, all are rolled back and run again, each in its own savepoint, so that
//! the one that fails takes nobody with it. No answer leaves before the commit; all answers of a commit leave
//! together, by one task that is woken once: waking each of a hundred tasks from here costs more than their rows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::fresh::Fresh;
use super::memo::Memo;
use crate::store::{Answer, StoreError};

/// Most writes in one transaction.
const BATCH_MAX: usize = 1000;
/// Writes that may wait before senders wait too: the backpressure of the whole server.
const QUEUE_LEN: usize = 4096;

/// From how many answers on one task gives them all.
const TOGETHER_MIN: usize = 4;

/// The sending side: hands writes to the thread.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    answers: Arc<Answers>,
    epoch: Arc<AtomicU64>,
}

/// The jobs of a transaction and what became of them.
type Committed = Vec<(Box<dyn Job>, Result<(), StoreError>)>;

/// A write and whoever waits for it.
trait Job: Send {
    /// May be run again after a rollback.
    fn run(&mut self, conn: &Connection, memo: &mut Memo) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Work<T, F> {
    todo: F,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: Fn(&Connection, &mut Memo) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, conn: &Connection, memo: &mut Memo) -> Result<(), StoreError> {
        self.done = Some((self.todo)(conn, memo)?);
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
    pub(super) fn start(
        conn: Connection,
        checkpoints: Checkpoints,
        fresh: Arc<Fresh>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        let epoch = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&epoch);
        let answers = Arc::new(Answers::default());
        let answering = Arc::clone(&answers);
        std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            let memo = Memo::new(data_version(&conn).unwrap_or(0), fresh);
            serve(conn, memo, checkpoints, queue, &answering, &seen);
        })?;
        Ok(Self { jobs, answers, epoch })
    }

    /// Runs `todo` in the next transaction, a second time if another write of that transaction fails; the answer comes after the commit.
    pub(super) async fn write<T, F>(&self, todo: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection, &mut Memo) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work { todo, done: None, reply });
        self.answers.run_here();
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
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

/// The way back: to one task that answers all who wait for a commit.
#[derive(Default)]
struct Answers {
    task: Mutex<Option<mpsc::UnboundedSender<Committed>>>,
}

impl Answers {
    /// Starts the task in the caller's runtime, unless it runs.
    fn run_here(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
            let (sender, mut commits) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                while let Some(committed) = commits.recv().await {
                    finish(committed);
                }
            });
            *task = Some(sender);
        }
    }

    fn give(&self, committed: Committed) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match task {
            Some(task) if committed.len() >= TOGETHER_MIN => {
                if let Err(mpsc::error::SendError(committed)) = task.send(committed) {
                    finish(committed);
                }
            }
            _ => finish(committed),
        }
    }
}

fn finish(committed: Committed) {
    for (job, outcome) in committed {
        job.finish(outcome);
    }
}

/// The last job: its reply is dropped with the queue, after the commit of everything before it.
struct Close(Option<oneshot::Sender<()>>);

impl Job for Close {
    fn run(&mut self, _: &Connection, _: &mut Memo) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn finish(mut self: Box<Self>, _: Result<(), StoreError>) {
        drop(self.0.take());
    }
}

fn serve(
    conn: Connection,
    mut memo: Memo,
    mut checkpoints: Checkpoints,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    answers: &Answers,
    epoch: &AtomicU64,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let mut closing = false;
        let outcomes = commit(&conn, &mut memo, &mut batch, &mut closing, epoch);
        if closing {
            // Later senders learn that the store is closed; those already queued are refused below.
            queue.close();
        }
        answers.give(batch.drain(..).zip(outcomes).collect());
        checkpoints.after_commit(&conn);
        if closing {
            while let Ok(job) = queue.try_recv() {
                job.finish(Err(StoreError::Closed));
            }
            break;
        }
    }
    drop(checkpoints);
    // Leaves one tidy file behind; a failure here loses nothing, the log is replayed at the next start.
    let _ = conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
}

fn data_version(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// Runs a batch in one transaction; one outcome per job.
fn commit(
    conn: &Connection,
    memo: &mut Memo,
    batch: &mut [Box<dyn Job>],
    closing: &mut bool,
    epoch: &AtomicU64,
) -> Vec<Result<(), StoreError>> {
    let done = match together(conn, memo, batch, epoch) {
        Ok(true) => Ok(vec![Ok(()); batch.len()]),
        Ok(false) => one_by_one(conn, memo, batch, closing),
        Err(error) => Err(error),
    };
    match done {
        Ok(_) => memo.committed(),
        Err(_) => memo.clear(),
    }
    memo.trim();
    done.unwrap_or_else(|error| vec![Err(error); batch.len()])
}

/// All jobs; false if one has failed and nothing is done.
fn together(
    conn: &Connection,
    memo: &mut Memo,
    batch: &mut [Box<dyn Job>],
    epoch: &AtomicU64,
) -> Result<bool, StoreError> {
    let tx = begin(conn)?;
    // Inside the transaction: nobody else can write any more. The epoch moves before any answer leaves, so a
    // registry read after it is newer than what others wrote before this batch.
    if memo.is_stale(data_version(conn)?) {
        memo.clear();
        epoch.fetch_add(1, Ordering::AcqRel);
    }
    for job in batch.iter_mut() {
        if job.run(conn, memo).is_err() {
            return Ok(false);
        }
    }
    tx.commit()?;
    Ok(true)
}

/// Each job for itself, in one transaction all the same.
fn one_by_one(
    conn: &Connection,
    memo: &mut Memo,
    batch: &mut [Box<dyn Job>],
    closing: &mut bool,
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    // What was rolled back, and what another process may have written since.
    memo.clear();
    let tx = begin(conn)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for job in batch.iter_mut() {
        let outcome = in_savepoint(conn, memo, job.as_mut());
        *closing |= outcome == Err(StoreError::Closed);
        if conn.is_autocommit() {
            // The database rolled everything back by itself (disk full): nobody's write stands.
            return Err(outcome.err().unwrap_or(StoreError::Database("rolled back".into())));
        }
        outcomes.push(outcome);
    }
    tx.commit()?;
    Ok(outcomes)
}

/// A transaction whose statements are prepared once; rolled back when dropped before its commit.
struct Transaction<'a>(&'a Connection);

fn begin(conn: &Connection) -> Result<Transaction<'_>, StoreError> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(Transaction(conn))
}

impl Transaction<'_> {
    fn commit(self) -> Result<(), StoreError> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // Fails only where SQLite has rolled back by itself.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

fn in_savepoint(conn: &Connection, memo: &mut Memo, job: &mut dyn Job) -> Result<(), StoreError> {
    conn.prepare_cached("SAVEPOINT one")?.execute([])?;
    let outcome = job.run(conn, memo);
    if outcome.is_err() {
        memo.clear();
    }
    if outcome.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK TO one")?.execute([])?;
    }
    if !conn.is_autocommit() {
        conn.prepare_cached("RELEASE one")?.execute([])?;
    }
    outcome
}
