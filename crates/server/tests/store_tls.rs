//! TLS to a real PostgreSQL with a certificate of its own.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod postgres;

use kinglet_server::store::{PostgresStore, StoreError};
use postgres::Schema;

/// Names the file with the certificate of that database, which is for `localhost`.
const CA_FILE: &str = "KINGLET_TEST_POSTGRES_CA";

async fn open(uri: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(&uri.parse().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_encrypted_and_believes_no_other_certificate() {
    let Some(schema) = Schema::new("tls").await else { return };
    let Ok(ca) = std::env::var(CA_FILE) else { return };
    let (by_address, by_name) = (schema.uri.clone(), schema.uri.replace("127.0.0.1", "localhost"));
    assert_ne!(by_address, by_name);
    let n_plain = async |expected: i64| {
        let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'tls' AND pid <> pg_backend_pid() AND ssl = $1";
        let encrypted: i64 = schema.client.query_one(sql, &[&true]).await.unwrap().get(0);
        let plain: i64 = schema.client.query_one(sql, &[&false]).await.unwrap().get(0);
        assert!(encrypted >= expected && plain == 0, "{encrypted} encrypted, {plain} not");
    };
    let full = open(&format!("{by_name}&sslmode=verify-full&sslrootcert={ca}")).await.unwrap();
    n_plain(1).await;
    drop(full);
    let unchecked = open(&format!("{by_address}&sslmode=require")).await.unwrap();
    n_plain(1).await;
    drop(unchecked);
    // Another name than the certificate's; an authority that is none of ours; a file that is none.
    for (uri, why) in [
        (format!("{by_address}&sslmode=verify-full&sslrootcert={ca}"), "certificate"),
        (format!("{by_name}&sslmode=verify-full"), "certificate"),
        (format!("{by_name}&sslmode=verify-full&sslrootcert=/nowhere.pem"), "/nowhere.pem"),
    ] {
        let refused = open(&uri).await.err().expect("must be refused").to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
