//! Devices, slots and bundles. What changes here is told to all servers, with the commit.

use tokio_postgres::Row;

use super::conn::Conn;
use super::{number, short};
use crate::store::{
    BundleRow, DeviceRow, Fingerprint, FrameId, JoinChange, KeyChange, NewDevice, OfferRow, StoreError,
};

/// One statement is one view of everything a device has.
const DEVICE: &str = "SELECT short_id, id, name, wrapped_key, join_state, join_version, t_created, t_revoked, \
     GREATEST((SELECT max(t_last) FROM day_stats s WHERE s.device = short_id), \
     (SELECT max(t_arrival) FROM stored_window w WHERE w.device = short_id AND (w.xact, w.id) > \
     ((SELECT xact FROM progress), (SELECT id FROM progress)))), \
     status, windows_lost, \
     (SELECT array_agg(slot ORDER BY slot) FROM slot s WHERE s.device = short_id), \
     (SELECT array_agg(fingerprint ORDER BY slot) FROM slot s WHERE s.device = short_id), \
     (SELECT array_agg(generation ORDER BY generation) FROM received r WHERE r.device = short_id), \
     (SELECT array_agg(highest ORDER BY generation) FROM received r WHERE r.device = short_id) FROM device";

macro_rules! device_sql {
    ($rest:literal) => {{
        static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("{DEVICE} {}", $rest));
        SQL.as_str()
    }};
}

pub(super) async fn add_device(conn: &Conn, new: &NewDevice) -> Result<DeviceRow, StoreError> {
    // Asked first, so that a taken id uses up no number.
    if device(conn, &new.id).await?.is_some() {
        return Err(StoreError::Exists(new.id.clone()));
    }
    let n = conn
        .execute(
            "INSERT INTO device (id, name, wrapped_key, join_state, t_created) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
            &[&new.id, &new.name, &new.wrapped_key, &new.join_state, &new.t_created],
        )
        .await?;
    if n == 0 {
        return Err(StoreError::Exists(new.id.clone()));
    }
    tell(conn).await?;
    let row = device(conn, &new.id).await?;
    row.ok_or_else(|| StoreError::Database("the new device is not there".into()))
}

pub(super) async fn device(conn: &Conn, id: &str) -> Result<Option<DeviceRow>, StoreError> {
    let row = conn.row(device_sql!("WHERE id = $1"), &[&id]).await?;
    row.as_ref().map(device_row).transpose()
}

pub(super) async fn device_by_short_id(conn: &Conn, short_id: u32) -> Result<Option<DeviceRow>, StoreError> {
    let row = conn.row(device_sql!("WHERE short_id = $1"), &[&i64::from(short_id)]).await?;
    row.as_ref().map(device_row).transpose()
}

pub(super) async fn devices(conn: &Conn, after: u32, limit: u32) -> Result<Vec<DeviceRow>, StoreError> {
    let sql = device_sql!("WHERE short_id > $1 ORDER BY short_id LIMIT $2");
    let rows = conn.rows(sql, &[&i64::from(after), &i64::from(limit)]).await?;
    rows.iter().map(device_row).collect()
}

/// Waits for frames of the device that are being stored; none is stored after it.
pub(super) async fn revoke(conn: &Conn, id: &str, t_ms: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE device SET t_revoked = COALESCE(t_revoked, $2) WHERE id = $1";
    let n = conn.execute(sql, &[&id, &t_ms]).await?;
    tell(conn).await?;
    Ok(n == 1)
}

/// Replaces a join state if nobody else did.
pub(super) async fn swap_join_state(conn: &Conn, change: &JoinChange) -> Result<bool, StoreError> {
    let n = conn
        .execute(
            "UPDATE device SET join_state = $3, join_version = join_version + 1 \
             WHERE short_id = $1 AND join_version = $2 AND t_revoked IS NULL",
            &[&i64::from(change.device), &number(change.expected), &change.state],
        )
        .await?;
    if n == 1 {
        tell(conn).await?;
    }
    Ok(n == 1)
}

pub(super) async fn replace_keys(conn: &Conn, changes: &[KeyChange]) -> Result<usize, StoreError> {
    let mut n = 0;
    // In the order of ids, as whoever takes frames in locks the rows.
    let mut changes: Vec<&KeyChange> = changes.iter().collect();
    changes.sort_unstable_by_key(|change| change.device);
    for change in changes {
        n += conn
            .execute(
                "UPDATE device SET wrapped_key = $3 WHERE short_id = $1 AND wrapped_key = $2",
                &[&i64::from(change.device), &change.wrapped_before, &change.wrapped],
            )
            .await?;
    }
    tell(conn).await?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

pub(super) async fn set_slot(
    conn: &Conn,
    device: u32,
    slot: u8,
    fingerprint: &Fingerprint,
) -> Result<(), StoreError> {
    let n = conn
        .execute(
            "INSERT INTO slot AS s VALUES ($1, $2, $3) ON CONFLICT (device, slot) \
             DO UPDATE SET fingerprint = excluded.fingerprint WHERE s.fingerprint <> excluded.fingerprint",
            &[&i64::from(device), &i16::from(slot), &fingerprint.as_slice()],
        )
        .await?;
    // Most status frames say what is known.
    if n == 1 { tell(conn).await } else { Ok(()) }
}

/// Lets every server forget what it remembers of the registry, as soon as this is committed.
async fn tell(conn: &Conn) -> Result<(), StoreError> {
    conn.execute("SELECT pg_notify($1, '')", &[&super::conn::CHANNEL]).await?;
    Ok(())
}

pub(super) async fn add_bundle(conn: &Conn, new: &BundleRow) -> Result<bool, StoreError> {
    let n = conn
        .execute(
            "INSERT INTO bundle VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[&new.fingerprint.as_slice(), &new.name, &new.bytes, &new.t_added],
        )
        .await?;
    Ok(n == 1)
}

pub(super) async fn bundle(conn: &Conn, fingerprint: &Fingerprint) -> Result<Option<BundleRow>, StoreError> {
    let sql = "SELECT fingerprint, name, bytes, t_added FROM bundle WHERE fingerprint = $1";
    conn.row(sql, &[&fingerprint.as_slice()]).await?.as_ref().map(bundle_row).transpose()
}

pub(super) async fn bundles(conn: &Conn) -> Result<Vec<BundleRow>, StoreError> {
    let sql = "SELECT fingerprint, name, ''::bytea, t_added FROM bundle ORDER BY t_added DESC, name";
    conn.rows(sql, &[]).await?.iter().map(bundle_row).collect()
}

pub(super) async fn set_offer(conn: &Conn, offer: &OfferRow) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO offer VALUES ($1, $2, $3, $4, $5) ON CONFLICT (device, fingerprint) DO UPDATE SET \
         percent = excluded.percent, signed = excluded.signed, t_offered = excluded.t_offered",
        &[
            &i64::from(offer.device),
            &offer.fingerprint.as_slice(),
            &i16::from(offer.percent),
            &offer.update,
            &offer.t_offered,
        ],
    )
    .await?;
    tell(conn).await
}

pub(super) async fn withdraw_offers(
    conn: &Conn,
    bundle: &Fingerprint,
    device: Option<u32>,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM offer WHERE fingerprint = $1 AND ($2::bigint IS NULL OR device = $2)";
    let n = conn.execute(sql, &[&bundle.as_slice(), &device.map(i64::from)]).await?;
    tell(conn).await?;
    Ok(n)
}

pub(super) async fn offers(conn: &Conn) -> Result<Vec<OfferRow>, StoreError> {
    let sql = "SELECT device, fingerprint, percent, signed, t_offered FROM offer \
               ORDER BY t_offered DESC, device, fingerprint";
    let row = |row: &Row| {
        Ok(OfferRow {
            device: short(row.try_get(0)?)?,
            fingerprint: super::fingerprint(row.try_get(1)?)?,
            percent: u8::try_from(row.try_get::<_, i16>(2)?).unwrap_or(0),
            update: row.try_get(3)?,
            t_offered: row.try_get(4)?,
        })
    };
    conn.rows(sql, &[]).await?.iter().map(row).collect()
}

fn device_row(row: &Row) -> Result<DeviceRow, StoreError> {
    let slots: Option<Vec<i16>> = row.try_get(11)?;
    let prints: Option<Vec<Vec<u8>>> = row.try_get(12)?;
    let slots = slots.unwrap_or_default().into_iter().zip(prints.unwrap_or_default());
    let generations: Option<Vec<i64>> = row.try_get(13)?;
    let highest: Option<Vec<i64>> = row.try_get(14)?;
    let highest = generations.unwrap_or_default().into_iter().zip(highest.unwrap_or_default());
    Ok(DeviceRow {
        short_id: short(row.try_get(0)?)?,
        id: row.try_get(1)?,
        name: row.try_get(2)?,
        wrapped_key: row.try_get(3)?,
        join_state: row.try_get(4)?,
        join_version: row.try_get::<_, i64>(5)?.unsigned_abs(),
        t_created: row.try_get(6)?,
        t_revoked: row.try_get(7)?,
        t_last_seen: row.try_get(8)?,
        status: row.try_get(9)?,
        windows_lost: row.try_get::<_, i64>(10)?.unsigned_abs(),
        slots: slots
            .map(|(slot, print)| Ok((u8::try_from(slot).unwrap_or(u8::MAX), super::fingerprint(&print)?)))
            .collect::<Result<_, StoreError>>()?,
        highest: highest
            .map(|(generation, counter)| {
                Ok(FrameId { generation: short(generation)?, counter: counter.unsigned_abs() })
            })
            .collect::<Result<_, StoreError>>()?,
    })
}

fn bundle_row(row: &Row) -> Result<BundleRow, StoreError> {
    Ok(BundleRow {
        fingerprint: super::fingerprint(row.try_get(0)?)?,
        name: row.try_get(1)?,
        bytes: row.try_get(2)?,
        t_added: row.try_get(3)?,
    })
}
