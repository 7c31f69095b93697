//! A schema of its own for each test, in the database that `KINGLET_TEST_POSTGRES` names.
// Each test file uses its own part of this, and none is a library.
#![allow(dead_code, clippy::print_stderr, clippy::unwrap_used)]

use std::sync::Arc;

use kinglet_server::store::{PostgresStore, PostgresTarget, Store};
use tokio_postgres::{Client, NoTls};

pub(crate) const DATABASE: &str = "KINGLET_TEST_POSTGRES";

pub(crate) struct Schema {
    pub(crate) uri: String,
    pub(crate) client: Client,
}

impl Schema {
    /// An empty one; `None` if there is no database, which is said.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let Ok(database) = std::env::var(DATABASE) else {
            eprintln!("skipped: {DATABASE} names no database; `cargo xtask postgres` starts one");
            return None;
        };
        let joint = if database.contains('?') { '&' } else { '?' };
        let uri = format!("{database}{joint}application_name={name}&options=-csearch_path%3D{name}");
        let (client, connection) = tokio_postgres::connect(&uri, NoTls).await.unwrap();
        tokio::spawn(connection);
        let make = format!(
            "SET client_min_messages = warning; DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"
        );
        client.batch_execute(&make).await.unwrap();
        Some(Self { uri, client })
    }

    pub(crate) fn target(&self) -> PostgresTarget {
        self.uri.parse().unwrap()
    }

    /// A server's view of it.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.target()).await.unwrap())
    }
}
