//! Connections: each used by one transaction at a time, kept for the next one, made anew when the server is back.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row, Socket, Statement};

use super::target::PostgresTarget;
use super::tls::Tls;
use crate::store::StoreError;

/// Most connections for questions and small writes. Each server has these, the writer's and the listener's.
const CONNECTIONS: usize = 6;
/// Where changes of the registry are told.
pub(super) const CHANNEL: &str = "kinglet_registry";

/// How often a transaction that met another one is begun anew.
pub(super) const ATTEMPTS: usize = 8;

/// Runs a question on a connection that only this question uses; once more if the database has closed it.
macro_rules! read {
    ($pool:expr, |$conn:ident| $todo:expr) => {{
        let $conn = $pool.get().await?;
        match $todo.await {
            Err(_) if $conn.is_closed() => {
                drop($conn);
                let $conn = $pool.get().await?;
                $todo.await
            }
            answer => answer,
        }
    }};
}

/// Runs a change in one transaction, again where the database asks for it.
macro_rules! write {
    ($pool:expr, |$conn:ident| $todo:expr) => {{
        let $conn = $pool.get().await?;
        let mut attempt = 1;
        loop {
            $conn.begin().await?;
            if let Some(done) = $conn.end($todo.await, attempt).await? {
                break Ok(done);
            }
            attempt += 1;
        }
    }};
}

pub(super) use {read, write};

/// On every connection: an acked frame is on disk, and a server that has died in the middle of a transaction
/// without its system saying so holds nobody's rows for long.
const SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
     SET idle_in_transaction_session_timeout = '30s'; \
     SET default_transaction_isolation = 'read committed';";

/// Connections that are not in use.
pub(super) struct Pool {
    target: PostgresTarget,
    config: tokio_postgres::Config,
    tls: Option<Tls>,
    idle: Mutex<Vec<Arc<Conn>>>,
    permits: Semaphore,
}

/// A connection with the statements it has prepared.
pub(super) struct Conn {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
    /// Begun and not yet ended: whoever waited for it may have gone away in the middle.
    in_transaction: AtomicBool,
}

/// A connection on loan.
pub(super) struct Loan<'a> {
    conn: Arc<Conn>,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(target: PostgresTarget) -> Result<Self, StoreError> {
        let (config, tls) = target
            .config()
            .map_err(|e| StoreError::Unreachable { server: target.to_string(), why: e.to_string() })?;
        Ok(Self { target, config, tls, idle: Mutex::default(), permits: Semaphore::new(CONNECTIONS) })
    }

    /// A connection, as soon as there is one.
    pub(super) async fn get(&self) -> Result<Loan<'_>, StoreError> {
        let permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|conn| !conn.is_closed());
            idle.pop()
        };
        let conn = match kept {
            Some(conn) => conn,
            None => Arc::new(self.connect().await?),
        };
        Ok(Loan { conn, pool: self, _permit: permit })
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<Conn, StoreError> {
        Ok(self.connect_with(|_| {}).await?)
    }

    /// A connection and something for each change of the registry, until it is lost or dropped.
    pub(super) async fn listen(&self) -> Result<(Conn, mpsc::Receiver<()>), StoreError> {
        let (told, notices) = mpsc::channel(1);
        let conn = self
            .connect_with(move |message| {
                if let AsyncMessage::Notification(_) = message {
                    // One that waits already stands for all.
                    let _ = told.try_send(());
                }
            })
            .await?;
        conn.client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok((conn, notices))
    }

    async fn connect_with(
        &self,
        told: impl Fn(AsyncMessage) + Send + 'static,
    ) -> Result<Conn, tokio_postgres::Error> {
        let client = match &self.tls {
            Some(tls) => self.drive(self.config.connect(tls.clone()).await?, told),
            None => self.drive(self.config.connect(NoTls).await?, told),
        };
        client.batch_execute(SETTINGS).await?;
        Ok(Conn { client, prepared: Mutex::default(), in_transaction: AtomicBool::new(false) })
    }

    /// Lets a connection work in the background until it is lost or its client dropped.
    fn drive<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        (client, mut connection): (Client, Connection<Socket, S>),
        told: impl Fn(AsyncMessage) + Send + 'static,
    ) -> Client {
        let server = self.target.to_string();
        tokio::spawn(async move {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    None => return,
                    Some(Ok(message)) => told(message),
                    Some(Err(error)) => {
                        tracing::warn!(%server, %error, "the connection to PostgreSQL is lost; the next use makes a new one");
                        return;
                    }
                }
            }
        });
        client
    }
}

impl Conn {
    /// A statement, prepared once per connection.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, StoreError> {
        let prepared = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = prepared().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        prepared().insert(sql, statement.clone());
        Ok(statement)
    }

    /// A statement that is prepared already: sent when it is first polled.
    pub(super) async fn query(
        &self,
        statement: &Statement,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.client.query(statement, params).await?)
    }

    pub(super) async fn rows(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.client.query(&self.prepare(sql).await?, params).await?)
    }

    pub(super) async fn row(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.client.query_opt(&self.prepare(sql).await?, params).await?)
    }

    /// For what is not done twice.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Rows changed.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        Ok(self.client.execute(&self.prepare(sql).await?, params).await?)
    }

    /// Statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.client.batch_execute(sql).await?)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends the transaction of the `attempt`th attempt: with a commit, or with a roll back. `None` where the database
    /// has chosen this one to give way to another and it may be tried again.
    pub(super) async fn end<T>(
        &self,
        done: Result<T, StoreError>,
        attempt: usize,
    ) -> Result<Option<T>, StoreError> {
        let done = match done {
            Ok(done) => self.commit().await.map(|()| done),
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.is_closed() => Err(error),
            Err(error) => {
                self.roll_back().await?;
                if attempt < ATTEMPTS && gives_way(&error) { Ok(None) } else { Err(error) }
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        self.in_transaction.store(true, Ordering::Release);
        self.batch("BEGIN").await
    }

    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        self.batch("COMMIT").await?;
        self.in_transaction.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) async fn roll_back(&self) -> Result<(), StoreError> {
        self.batch("ROLLBACK").await?;
        self.in_transaction.store(false, Ordering::Release);
        Ok(())
    }
}

/// True if the same transaction may succeed when it is run again: a deadlock was broken.
pub(super) fn gives_way(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(why) if why.ends_with("(40P01)") || why.ends_with("(40001)"))
}

impl Deref for Loan<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        // One that is in the middle of a transaction is closed instead, and the database rolls back.
        if !self.conn.is_closed() && !self.conn.in_transaction.load(Ordering::Acquire) {
            let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Arc::clone(&self.conn));
        }
    }
}
