//! Frames on their way into the database: many requests per commit.
//!
//! While one transaction is under way, requests queue up and the next one takes all of them. One task, with a connection of
//! its own: with a second one beside it each transaction takes fewer, and the database does less in the same time.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::accept;
use super::conn::{Conn, Pool};
use crate::store::{Answer, Arrival, Outcome, StoreError};

/// Most requests in one transaction.
const REQUESTS_MAX: usize = 512;
/// Requests that may wait before senders wait too: the backpressure of the whole server.
const QUEUE_LEN: usize = 4096;

/// The sending side.
pub(super) struct Writer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    sender: mpsc::WeakSender<Request>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Frames that came together and whoever waits for them.
pub(super) struct Request {
    pub(super) arrivals: Vec<Arrival>,
    pub(super) reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

impl Writer {
    /// Starts the task. It ends when the writer is closed or dropped, and the queue is empty.
    pub(super) fn start(pool: &Arc<Pool>) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_LEN);
        let task = tokio::spawn(serve(Arc::clone(pool), queue));
        let sender = requests.downgrade();
        Self { requests: Mutex::new(Some(requests)), sender, task: Mutex::new(Some(task)) }
    }

    /// The answer comes after the commit.
    pub(super) fn accept(&self, arrivals: Vec<Arrival>) -> Answer<'_, Vec<Outcome>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let sender = self.sender.upgrade().ok_or(StoreError::Closed)?;
            sender.send(Request { arrivals, reply }).await.map_err(|_| StoreError::Closed)?;
            drop(sender);
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    /// Returns after everything queued is answered.
    pub(super) async fn close(&self) {
        drop(self.requests.lock().await.take());
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn serve(pool: Arc<Pool>, mut queue: mpsc::Receiver<Request>) {
    let mut conn: Option<Conn> = None;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, REQUESTS_MAX).await > 0 {
        if conn.as_ref().is_none_or(Conn::is_closed) {
            conn = None;
            match pool.connect().await {
                Ok(new) => conn = Some(new),
                Err(error) => {
                    answer(&mut batch, |_| Err(error.clone()));
                    continue;
                }
            }
        }
        if let Some(conn) = &conn {
            commit(conn, &mut batch).await;
        }
    }
}

/// All requests in one transaction; each for itself if that fails, so that the one that fails takes nobody with it.
async fn commit(conn: &Conn, batch: &mut Vec<Request>) {
    let requests: Vec<&[Arrival]> = batch.iter().map(|request| request.arrivals.as_slice()).collect();
    match accept::accept(conn, &requests).await {
        Ok(mut outcomes) => answer(batch, |i| std::mem::replace(&mut outcomes[i], Err(StoreError::Closed))),
        Err(error) if batch.len() == 1 || conn.is_closed() => answer(batch, |_| Err(error.clone())),
        Err(_) => {
            for request in batch.drain(..) {
                let outcomes = accept::accept(conn, &[&request.arrivals]).await;
                let one = outcomes.and_then(|mut outcomes| outcomes.pop().unwrap_or(Err(StoreError::Closed)));
                // Whoever asked may have gone away; the write stands all the same.
                let _ = request.reply.send(one);
            }
        }
    }
}

fn answer(batch: &mut Vec<Request>, mut outcome: impl FnMut(usize) -> Result<Vec<Outcome>, StoreError>) {
    for (i, request) in batch.drain(..).enumerate() {
        let _ = request.reply.send(outcome(i));
    }
}
