//! Devices, slots and bundles.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::windows::TAIL;
use crate::store::{BundleRow, DeviceRow, Fingerprint, FrameId, KeyChange, NewDevice, OfferRow, StoreError};

const DEVICE: &str = "SELECT short_id, id, name, wrapped_key, join_state, join_version, t_created, t_revoked, \
     (SELECT MAX(t_last) FROM day_stats WHERE device = short_id), status, windows_lost FROM device";

pub(super) fn add_device(conn: &Connection, new: &NewDevice) -> Result<DeviceRow, StoreError> {
    if device(conn, &new.id)?.is_some() {
        return Err(StoreError::Exists(new.id.clone()));
    }
    // Short ids are never used twice: rows are revoked, not deleted.
    conn.prepare_cached(
        "INSERT INTO device (short_id, id, name, wrapped_key, join_state, t_created) \
         SELECT COALESCE(MAX(short_id), 0) + 1, ?1, ?2, ?3, ?4, ?5 FROM device",
    )?
    .execute(params![new.id, new.name, new.wrapped_key, new.join_state, new.t_created])?;
    device(conn, &new.id)?.ok_or_else(|| StoreError::Database("the new device is not there".into()))
}

pub(super) fn device(conn: &Connection, id: &str) -> Result<Option<DeviceRow>, StoreError> {
    one_device(conn, &format!("{DEVICE} WHERE id = ?1"), &id)
}

pub(super) fn device_by_short_id(conn: &Connection, short_id: u32) -> Result<Option<DeviceRow>, StoreError> {
    one_device(conn, &format!("{DEVICE} WHERE short_id = ?1"), &short_id)
}

pub(super) fn devices(conn: &Connection, after: u32, limit: u32) -> Result<Vec<DeviceRow>, StoreError> {
    let mut statement =
        conn.prepare_cached(&format!("{DEVICE} WHERE short_id > ?1 ORDER BY short_id LIMIT ?2"))?;
    let rows = statement.query_map([after, limit], device_row)?.collect::<Result<Vec<_>, _>>()?;
    let news = News::read(conn, None)?;
    rows.into_iter().map(|row| with_parts(conn, row, &news)).collect()
}

pub(super) fn revoke(conn: &Connection, id: &str, t_ms: i64) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("UPDATE device SET t_revoked = COALESCE(t_revoked, ?2) WHERE id = ?1")?
        .execute(params![id, t_ms])?;
    Ok(n == 1)
}

pub(super) fn set_slot(
    conn: &Connection,
    device: u32,
    slot: u8,
    bundle: &Fingerprint,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO slot VALUES (?1, ?2, ?3) ON CONFLICT (device, slot) DO UPDATE SET fingerprint = excluded.fingerprint",
    )?
    .execute(params![device, slot, bundle])?;
    Ok(())
}

pub(super) fn add_bundle(conn: &Connection, new: &BundleRow) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("INSERT INTO bundle VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![new.fingerprint, new.name, new.bytes, new.t_added])?;
    Ok(n == 1)
}

pub(super) fn replace_keys(conn: &Connection, changes: &[KeyChange]) -> Result<usize, StoreError> {
    let mut replace =
        conn.prepare_cached("UPDATE device SET wrapped_key = ?3 WHERE short_id = ?1 AND wrapped_key = ?2")?;
    let mut n = 0;
    for change in changes {
        n += replace.execute(params![change.device, change.wrapped_before, change.wrapped])?;
    }
    Ok(n)
}

pub(super) fn bundle(conn: &Connection, fingerprint: &Fingerprint) -> Result<Option<BundleRow>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT fingerprint, name, bytes, t_added FROM bundle WHERE fingerprint = ?1")?;
    Ok(statement.query_row([fingerprint], bundle_row).optional()?)
}

pub(super) fn bundles(conn: &Connection) -> Result<Vec<BundleRow>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT fingerprint, name, x'', t_added FROM bundle ORDER BY t_added DESC, name")?;
    let rows = statement.query_map([], bundle_row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

pub(super) fn set_offer(conn: &Connection, offer: &OfferRow) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO offer VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        offer.device,
        offer.fingerprint,
        offer.percent,
        offer.update,
        offer.t_offered
    ])?;
    Ok(())
}

pub(super) fn withdraw_offers(
    conn: &Connection,
    bundle: &Fingerprint,
    device: Option<u32>,
) -> Result<u64, StoreError> {
    let n = conn
        .prepare_cached("DELETE FROM offer WHERE fingerprint = ?1 AND (?2 IS NULL OR device = ?2)")?
        .execute(params![bundle, device])?;
    Ok(n as u64)
}

pub(super) fn offers(conn: &Connection) -> Result<Vec<OfferRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT device, fingerprint, percent, signed, t_offered FROM offer ORDER BY t_offered DESC, device, fingerprint",
    )?;
    let row = |row: &Row<'_>| {
        Ok(OfferRow {
            device: row.get(0)?,
            fingerprint: row.get(1)?,
            percent: row.get(2)?,
            update: row.get(3)?,
            t_offered: row.get(4)?,
        })
    };
    let rows = statement.query_map([], row)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

fn one_device(
    conn: &Connection,
    sql: &str,
    key: &dyn rusqlite::ToSql,
) -> Result<Option<DeviceRow>, StoreError> {
    let row = conn.prepare_cached(sql)?.query_row([key], device_row).optional()?;
    let Some(row) = row else { return Ok(None) };
    let news = News::read(conn, Some(row.short_id))?;
    with_parts(conn, row, &news).map(Some)
}

fn device_row(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    Ok(DeviceRow {
        short_id: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        wrapped_key: row.get(3)?,
        join_state: row.get(4)?,
        join_version: row.get(5)?,
        t_created: row.get(6)?,
        t_revoked: row.get(7)?,
        t_last_seen: row.get(8)?,
        status: row.get(9)?,
        windows_lost: row.get(10)?,
        slots: Vec::new(),
        highest: Vec::new(),
    })
}

/// What the windows say that the background pass has not filed yet.
struct News(HashMap<u32, Vec<(FrameId, i64)>>);

impl News {
    /// The highest number of each generation and the last arrival, of one device or of all.
    fn read(conn: &Connection, device: Option<u32>) -> Result<Self, StoreError> {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT device, generation, MAX(counter), MAX(t_arrival) FROM window \
             WHERE {TAIL} AND (?1 IS NULL OR device = ?1) GROUP BY device, generation"
        ))?;
        let mut news = HashMap::<u32, Vec<_>>::new();
        let mut rows = statement.query([device])?;
        while let Some(row) = rows.next()? {
            let id = FrameId { generation: row.get(1)?, counter: row.get(2)? };
            news.entry(row.get(0)?).or_default().push((id, row.get(3)?));
        }
        Ok(Self(news))
    }

    fn add_to(&self, row: &mut DeviceRow) {
        for (id, t_arrival) in self.0.get(&row.short_id).into_iter().flatten() {
            row.t_last_seen = row.t_last_seen.max(Some(*t_arrival));
            match row.highest.iter_mut().find(|known| known.generation == id.generation) {
                Some(known) => known.counter = known.counter.max(id.counter),
                None => row.highest.push(*id),
            }
        }
        row.highest.sort_unstable_by_key(|id| id.generation);
    }
}

fn with_parts(conn: &Connection, mut row: DeviceRow, news: &News) -> Result<DeviceRow, StoreError> {
    row.slots = conn
        .prepare_cached("SELECT slot, fingerprint FROM slot WHERE device = ?1 ORDER BY slot")?
        .query_map([row.short_id], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    row.highest = conn
        .prepare_cached("SELECT generation, highest FROM received WHERE device = ?1 ORDER BY generation")?
        .query_map([row.short_id], |r| Ok(FrameId { generation: r.get(0)?, counter: r.get(1)? }))?
        .collect::<Result<_, _>>()?;
    news.add_to(&mut row);
    Ok(row)
}

fn bundle_row(row: &Row<'_>) -> rusqlite::Result<BundleRow> {
    Ok(BundleRow { fingerprint: row.get(0)?, name: row.get(1)?, bytes: row.get(2)?, t_added: row.get(3)? })
}
