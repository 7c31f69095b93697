//! A schema of its own for each test, in the database that `KINGLET_TEST_POSTGRES` names.
// Each test file uses its own part of this, and none is a library.
#![allow(dead_code, clippy::print_stderr, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use kinglet_server::Config;
use kinglet_server::store::{PostgresStore, PostgresTarget, Store};
use tokio_postgres::{Client, NoTls};

pub(crate) const DATABASE: &str = "KINGLET_TEST_POSTGRES";

/// Of the servers that share a database the one that makes the master key.
pub(crate) const FIRST: &str = "a";

/// Of one of many servers on a database: each has its data under `dir`, and the others the master key of the first.
pub(crate) fn shared_config(uri: &str, dir: &Path, name: &str) -> Config {
    let mut config = Config::new(dir.join(name));
    config.http.set_port(0);
    config.store = uri.parse().unwrap();
    config.master_key_file = (name != FIRST).then(|| dir.join(FIRST).join("master.key"));
    config
}

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
