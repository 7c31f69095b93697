//! From the embedded store to the shared one: everything, in one transaction.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::PostgresStore;
use super::conn::Conn;
use super::target::PostgresTarget;
use crate::store::sqlite::check;
use crate::store::{Checked, SqliteStore, Store as _, StoreError};

/// How long somebody else may take to let go of the store.
const PATIENCE: Duration = Duration::from_millis(200);

/// One table: its name there, what is read here, and what is written there.
struct Table {
    to: &'static str,
    columns: &'static str,
    from: &'static str,
    /// Of each column a letter, see [`type_of`].
    types: &'static str,
}

const TABLES: &[Table] = &[
    Table {
        to: "device",
        columns: "short_id, id, name, wrapped_key, join_state, join_version, t_created, t_revoked, status, \
                  status_generation, status_counter, windows_lost",
        from: "SELECT short_id, id, name, wrapped_key, join_state, join_version, t_created, t_revoked, status, \
               status_generation, status_counter, windows_lost FROM device",
        types: "8ttbb888b888",
    },
    Table {
        to: "slot",
        columns: "device, slot, fingerprint",
        from: "SELECT device, slot, fingerprint FROM slot",
        types: "82b",
    },
    Table {
        to: "bundle",
        columns: "fingerprint, name, bytes, t_added",
        from: "SELECT fingerprint, name, bytes, t_added FROM bundle",
        types: "btb8",
    },
    // Of transactions before any that the database will run: in the order of the tail they come first, by their ids.
    Table {
        to: "stored_window",
        columns: "id, xact, device, generation, counter, t_first, t_arrival, t_quality, boot, uptime, frame_len, crc, \
                  is_decoded, flaw, n_samples, span_ms, bundle, tag, code",
        from: "SELECT w.id, 0, w.device, w.generation, w.counter, w.t_first, w.t_arrival, w.t_quality, w.boot, \
               w.uptime, w.frame_len, w.crc, o.id IS NOT NULL, COALESCE(o.flaw, 0), \
               o.n_samples, o.span_ms, w.bundle, w.tag, w.code FROM window AS w LEFT JOIN window_order AS o \
               ON o.device = w.device AND o.t_first = w.t_first AND o.id = w.id ORDER BY w.id",
        types: "888888828888?288bbb",
    },
    Table {
        to: "other_frame",
        columns: "device, generation, counter, tag",
        from: "SELECT device, generation, counter, tag FROM other_frame",
        types: "888b",
    },
    Table {
        to: "received",
        columns: "device, generation, highest, ranges",
        from: "SELECT device, generation, highest, ranges FROM received",
        types: "888b",
    },
    Table {
        to: "boot",
        columns: "device, boot, t_boot",
        from: "SELECT device, boot, t_boot FROM boot",
        types: "888",
    },
    Table {
        to: "day_stats",
        columns: "device, day, t_last, frames, bytes, windows, readings, duplicates",
        from: "SELECT device, day, t_last, frames, bytes, windows, readings, duplicates FROM day_stats",
        types: "84888888",
    },
    Table {
        to: "reject",
        columns: "device, day, reason, n, n_judged",
        from: "SELECT device, day, reason, n, n_judged FROM reject",
        types: "84t88",
    },
    Table {
        to: "seed_series",
        columns: "id, device, bundle, channels, n_samples, t_last",
        from: "SELECT id, device, bundle, channels, n_samples, t_last FROM seed_series",
        types: "8tbt88",
    },
    Table {
        to: "seed_block",
        columns: "id, series, t_first, n_samples, samples",
        from: "SELECT id, series, t_first, n_samples, samples FROM seed_block",
        types: "8888b",
    },
    Table {
        to: "offer",
        columns: "device, fingerprint, percent, signed, t_offered",
        from: "SELECT device, fingerprint, percent, signed, t_offered FROM offer",
        types: "8b2b8",
    },
    // No sessions: people log in anew.
    Table {
        to: "account",
        columns: "name, role, password, t_created",
        from: "SELECT name, role, password, t_created FROM account",
        types: "ttt8",
    },
    Table {
        to: "token",
        columns: "name, role, secret, t_created, t_expires",
        from: "SELECT name, role, secret, t_created, t_expires FROM token",
        types: "ttb88",
    },
    Table {
        to: "age_clock",
        columns: "t_ms, ahead_ms, waited_ms",
        from: "SELECT t_ms, ahead_ms, waited_ms FROM age_clock",
        types: "888",
    },
    Table {
        to: "forward",
        columns: "target, xact, id, n_lost",
        from: "SELECT target, 0, id, n_lost FROM forward",
        types: "t888",
    },
    Table {
        to: "alert",
        columns: "id, rule, kind, device, channel, said, detail, t_raised, t_cleared",
        from: "SELECT id, rule, kind, device, channel, said, detail, t_raised, t_cleared FROM alert",
        types: "8tt8ttt88",
    },
    Table {
        to: "alert_due",
        columns: "target, alert, step",
        from: "SELECT target, alert, step FROM alert_due",
        types: "t82",
    },
];

/// What has to go on where it stood: the background pass, and numbers that are handed out.
const GO_ON: &str = "\
    UPDATE progress SET xact = 0, id = GREATEST($1::bigint, 0) \
      RETURNING setval(pg_get_serial_sequence('device', 'short_id'), \
        GREATEST((SELECT max(short_id) FROM device), 1), (SELECT max(short_id) FROM device) IS NOT NULL), \
      setval(pg_get_serial_sequence('stored_window', 'id'), \
        GREATEST((SELECT max(id) FROM stored_window), (SELECT max(id) FROM forward), $1, 1)), \
      setval(pg_get_serial_sequence('seed_series', 'id'), GREATEST((SELECT max(id) FROM seed_series), 1)), \
      setval(pg_get_serial_sequence('seed_block', 'id'), GREATEST((SELECT max(id) FROM seed_block), 1)), \
      setval(pg_get_serial_sequence('alert', 'id'), GREATEST((SELECT max(id) FROM alert), 1))";

/// Copies the store at `from`, which no server may use meanwhile, into an empty database; all of it or nothing.
/// Wrapped keys stay under the same master key.
///
/// `progress` hears how many of the windows are copied, in 0..=1.
pub async fn copy_to_postgres(
    from: &Path,
    to: &PostgresTarget,
    progress: impl FnMut(f64),
) -> Result<Checked, StoreError> {
    drop(alone(from)?);
    // Brings an older file to the newest schema, and writes what lies in its log.
    SqliteStore::open(from)?.close().await?;
    let checked = check(from)?;
    let source = alone(from)?;
    let target = PostgresStore::open(to).await?;
    let conn = target.pool.connect().await?;
    conn.begin().await?;
    let copied = copy_all(&source, &conn, to, checked.n_windows, progress).await;
    // What fails is rolled back by the end of the connection.
    if copied.is_ok() {
        conn.commit().await?;
    }
    target.close().await?;
    copied.map(|()| checked)
}

/// A connection to a store that nobody else has open.
fn alone(path: &Path) -> Result<Connection, StoreError> {
    let source = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(PATIENCE)?;
    source.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    if source.execute_batch("BEGIN EXCLUSIVE").is_err() {
        let why = "a server or another program uses it: stop that first, or what it takes meanwhile would be missing";
        return Err(StoreError::Copy { path: path.display().to_string(), why: why.into() });
    }
    Ok(source)
}

async fn copy_all(
    source: &Connection,
    conn: &Conn,
    to: &PostgresTarget,
    n_windows: u64,
    mut progress: impl FnMut(f64),
) -> Result<(), StoreError> {
    conn.batch("LOCK TABLE device, stored_window, bundle, seed_series IN ACCESS EXCLUSIVE MODE").await?;
    let sql = "SELECT EXISTS (SELECT FROM device) OR EXISTS (SELECT FROM stored_window) \
               OR EXISTS (SELECT FROM bundle) OR EXISTS (SELECT FROM seed_series) OR EXISTS (SELECT FROM forward)";
    let row = conn.row(sql, &[]).await?;
    if row.map(|row| row.try_get::<_, bool>(0)).transpose()? != Some(false) {
        let why = "it holds devices, bundles or readings already: name an empty database or schema";
        return Err(StoreError::Copy { path: to.to_string(), why: why.into() });
    }
    for table in TABLES {
        let is_long = table.to == "stored_window";
        let of = n_windows.max(1) as f64;
        let mut told = |n: u64| {
            if is_long {
                progress(n as f64 / of);
            }
        };
        let n = copy_table(source, conn.client(), table, &mut told).await?;
        let there =
            conn.client().query_one(format!("SELECT count(*) FROM {}", table.to).as_str(), &[]).await?;
        if u64::try_from(there.try_get::<_, i64>(0)?) != Ok(n) {
            return Err(StoreError::Database(format!("not all rows of {} have arrived", table.to)));
        }
    }
    let decoded_to: i64 = source.query_row("SELECT decoded_to FROM progress", [], |row| row.get(0))?;
    conn.row(GO_ON, &[&decoded_to]).await?;
    Ok(())
}

/// Gives how many rows there were.
async fn copy_table(
    source: &Connection,
    client: &Client,
    table: &Table,
    mut progress: impl FnMut(u64),
) -> Result<u64, StoreError> {
    let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.to, table.columns);
    let types: Vec<Type> = table.types.chars().map(type_of).collect();
    let writer = BinaryCopyInWriter::new(client.copy_in(sql.as_str()).await?, &types);
    let mut writer = std::pin::pin!(writer);
    let mut statement = source.prepare(table.from)?;
    let mut rows = statement.query([])?;
    let mut n = 0;
    while let Some(row) = rows.next()? {
        let cells = types.iter().enumerate().map(|(at, kind)| cell(row, at, kind));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        let refs: Vec<&(dyn ToSql + Sync)> =
            cells.iter().map(|cell| -> &(dyn ToSql + Sync) { &**cell }).collect();
        writer.as_mut().write(&refs).await?;
        n += 1;
        if n % 1000 == 0 {
            progress(n);
        }
    }
    writer.as_mut().finish().await?;
    Ok(n)
}

fn type_of(letter: char) -> Type {
    match letter {
        't' => Type::TEXT,
        'b' => Type::BYTEA,
        '?' => Type::BOOL,
        '2' => Type::INT2,
        '4' => Type::INT4,
        _ => Type::INT8,
    }
}

/// A value as the other database has it.
fn cell(row: &Row<'_>, at: usize, kind: &Type) -> Result<Box<dyn ToSql + Sync>, StoreError> {
    let is_null = matches!(row.get_ref(at)?, ValueRef::Null);
    let number = || row.get::<_, Option<i64>>(at);
    Ok(match *kind {
        Type::BYTEA => Box::new(row.get::<_, Option<Vec<u8>>>(at)?),
        Type::TEXT => Box::new(row.get::<_, Option<String>>(at)?),
        Type::BOOL => Box::new(number()?.map(|n| n != 0)),
        Type::INT2 if !is_null => Box::new(row.get::<_, i16>(at)?),
        Type::INT4 if !is_null => Box::new(row.get::<_, i32>(at)?),
        _ => Box::new(number()?),
    })
}
