//! The statements of taking frames in, each for a whole batch.

use futures_util::future::{join3, join4};

use super::accept::{Number, Wanted};
use super::conn::Conn;
use super::decide::{Changes, Known, Standing};
use super::{number, registry, short};
use crate::store::{StoreError, row_crc};

/// The lock that everything about a device happens under. In the order of ids, so that no two servers wait for
/// each other; not for key update, so that nobody who only refers to the row waits.
const LOCK: &str = "SELECT short_id, t_revoked IS NOT NULL, status_generation, status_counter, join_version \
     FROM device WHERE short_id = ANY($1) ORDER BY short_id FOR NO KEY UPDATE";

/// A statement of its own after the lock: its snapshot holds what the lock's last owner committed.
const RECEIVED: &str = "SELECT r.device, r.generation, r.ranges FROM unnest($1::bigint[], $2::bigint[]) \
     AS k (device, generation) JOIN received r USING (device, generation)";

const BOOTS: &str = "SELECT b.device, b.boot, b.t_boot FROM unnest($1::bigint[], $2::bigint[]) \
     AS k (device, boot) JOIN boot b USING (device, boot)";

const INSERT: &str = "INSERT INTO stored_window (device, generation, counter, t_first, t_arrival, t_quality, boot, uptime, \
     frame_len, crc, bundle, tag, code) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], \
     $5::bigint[], $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bytea[], \
     $12::bytea[], $13::bytea[]) ON CONFLICT DO NOTHING";

const SAVE: &str = "INSERT INTO received SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) \
     ON CONFLICT (device, generation) DO UPDATE SET highest = excluded.highest, ranges = excluded.ranges";

const COUNT: &str = "INSERT INTO day_stats AS d SELECT device, day, t_last, frames, bytes, 0, 0, duplicates \
     FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
     AS c (device, day, t_last, frames, bytes, duplicates) ON CONFLICT (device, day) DO UPDATE \
     SET t_last = GREATEST(d.t_last, excluded.t_last), frames = d.frames + excluded.frames, \
     bytes = d.bytes + excluded.bytes, duplicates = d.duplicates + excluded.duplicates";

/// Begins the transaction, locks the devices and reads their counters, in one round trip.
pub(super) async fn lock_and_look(
    conn: &Conn,
    wanted: &Wanted,
    known: &mut Known<'_>,
) -> Result<(), StoreError> {
    // Prepared before any of them runs, and polled in this order: the lock goes first on the wire.
    let (lock, received) = (conn.prepare(LOCK).await?, conn.prepare(RECEIVED).await?);
    let boots = conn.prepare(BOOTS).await?;
    let (devices, generations) = unzip(&wanted.generations);
    let (boot_devices, boot_numbers) = unzip(&wanted.boots);
    let (begun, locked, received, dated) = join4(
        conn.begin(),
        conn.query(&lock, &[&wanted.devices]),
        conn.query(&received, &[&devices, &generations]),
        async {
            match wanted.boots.is_empty() {
                true => Ok(Vec::new()),
                false => conn.query(&boots, &[&boot_devices, &boot_numbers]).await,
            }
        },
    )
    .await;
    begun?;
    for row in locked? {
        let standing = Standing {
            revoked: row.try_get(1)?,
            status: (row.try_get(2)?, row.try_get(3)?),
            join_version: row.try_get::<_, i64>(4)?.unsigned_abs(),
        };
        known.device(short(row.try_get(0)?)?, standing);
    }
    for row in received? {
        known.received(short(row.try_get(0)?)?, short(row.try_get(1)?)?, row.try_get(2)?);
    }
    for row in dated? {
        known.boot(short(row.try_get(0)?)?, short(row.try_get(1)?)?, row.try_get(2)?);
    }
    Ok(())
}

/// Which of these numbers a window is stored under.
pub(super) async fn stored(conn: &Conn, numbers: &[Number]) -> Result<Vec<Number>, StoreError> {
    let keys = Keys::of(numbers);
    let rows = conn
        .rows(
            "SELECT device, generation, counter FROM stored_window JOIN (SELECT DISTINCT * FROM \
             unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS u (device, generation, counter)) k \
             USING (device, generation, counter)",
            &[&keys.device, &keys.generation, &keys.counter],
        )
        .await?;
    let number = |row: &tokio_postgres::Row| {
        let counter = row.try_get::<_, i64>(2)?.unsigned_abs();
        Ok((short(row.try_get(0)?)?, crate::store::FrameId { generation: short(row.try_get(1)?)?, counter }))
    };
    rows.iter().map(number).collect()
}

/// Which of these windows were stored from a frame that was sealed again.
pub(super) async fn sealed_again(
    conn: &Conn,
    numbers: &[Number],
    known: &mut Known<'_>,
) -> Result<(), StoreError> {
    let keys = Keys::of(numbers);
    let rows = conn
        .rows(
            "SELECT k.n FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY \
             AS k (device, generation, counter, n) JOIN stored_window w USING (device, generation, counter) \
             WHERE EXISTS (SELECT FROM other_frame a WHERE a.device = w.device AND a.tag = w.tag)",
            &[&keys.device, &keys.generation, &keys.counter],
        )
        .await?;
    for row in &rows {
        let n = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        if let Some(number) = n.checked_sub(1).and_then(|n| numbers.get(n)) {
            known.sealed_again(*number);
        }
    }
    Ok(())
}

/// Reads tags and contents stored under these numbers.
pub(super) async fn look_up(
    conn: &Conn,
    numbers: &[Number],
    known: &mut Known<'_>,
) -> Result<(), StoreError> {
    let keys = Keys::of(numbers);
    let rows = conn
        .rows(
            "SELECT k.n, COALESCE(o.tag, w.tag), w.bundle, w.code \
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS k (device, generation, counter, n) \
             LEFT JOIN other_frame o USING (device, generation, counter) \
             LEFT JOIN stored_window w USING (device, generation, counter)",
            &[&keys.device, &keys.generation, &keys.counter],
        )
        .await?;
    for row in &rows {
        let n = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        let Some(number) = n.checked_sub(1).and_then(|n| numbers.get(n)) else { continue };
        if let Some(tag) = row.try_get(1)? {
            known.tag(*number, tag);
        }
        if let (Some(bundle), Some(code)) = (row.try_get(2)?, row.try_get(3)?) {
            known.content(*number, bundle, code);
        }
    }
    Ok(())
}

/// Writes what was decided; false if a window's number was there already.
pub(super) async fn write(conn: &Conn, changes: &Changes<'_>) -> Result<bool, StoreError> {
    let (inserted, saved, counted) =
        join3(insert(conn, changes), save(conn, changes), count(conn, changes)).await;
    let n = inserted?;
    saved?;
    counted?;
    if n != changes.windows.len() as u64 {
        return Ok(false);
    }
    rest(conn, changes).await?;
    Ok(true)
}

async fn insert(conn: &Conn, changes: &Changes<'_>) -> Result<u64, StoreError> {
    let windows = &changes.windows;
    if windows.is_empty() {
        return Ok(0);
    }
    let each =
        |value: fn(&super::decide::NewWindow<'_>) -> i64| windows.iter().map(value).collect::<Vec<_>>();
    let qualities: Vec<i16> = windows.iter().map(|w| i16::from(w.t_quality as u8)).collect();
    let boots: Vec<Option<i64>> = windows.iter().map(|w| w.uptime.map(|(boot, _)| boot.into())).collect();
    let uptimes: Vec<Option<i64>> = windows.iter().map(|w| w.uptime.map(|(_, uptime)| uptime)).collect();
    let bundles: Vec<&[u8]> = windows.iter().map(|w| w.bundle.as_slice()).collect();
    let tags: Vec<&[u8]> = windows.iter().map(|w| w.arrival.tag.as_slice()).collect();
    let codes: Vec<&[u8]> = windows.iter().map(|w| w.code).collect();
    let crc = |w: &super::decide::NewWindow<'_>| {
        row_crc(w.arrival.device, w.arrival.origin, w.bundle, &w.arrival.tag, w.code).into()
    };
    conn.execute(
        INSERT,
        &[
            &each(|w| w.arrival.device.into()),
            &each(|w| w.arrival.origin.generation.into()),
            &each(|w| number(w.arrival.origin.counter)),
            &each(|w| w.t_first),
            &each(|w| w.arrival.t_arrival),
            &qualities,
            &boots,
            &uptimes,
            &each(|w| w.arrival.frame_len.into()),
            &each(crc),
            &bundles,
            &tags,
            &codes,
        ],
    )
    .await
}

async fn save(conn: &Conn, changes: &Changes<'_>) -> Result<(), StoreError> {
    if changes.received.is_empty() {
        return Ok(());
    }
    let keys: Vec<(u32, u32)> = changes.received.iter().map(|(key, _)| *key).collect();
    let (devices, generations) = unzip(&keys);
    let highest: Vec<i64> = changes
        .received
        .iter()
        .map(|(_, r)| r.highest().map_or(0, |highest| number(highest.get())))
        .collect();
    let mut ranges = Vec::with_capacity(keys.len());
    for (_, received) in &changes.received {
        let mut bytes = vec![0; received.emit_len()];
        received.emit(&mut bytes).map_err(|e| StoreError::Database(e.to_string()))?;
        ranges.push(bytes);
    }
    conn.execute(SAVE, &[&devices, &generations, &highest, &ranges]).await?;
    Ok(())
}

async fn count(conn: &Conn, changes: &Changes<'_>) -> Result<(), StoreError> {
    let counted: Vec<_> = changes.counted.iter().filter(|(_, counted)| counted.frames > 0).collect();
    if counted.is_empty() {
        return Ok(());
    }
    let each =
        |value: fn(&super::decide::Counted) -> i64| counted.iter().map(|(_, c)| value(c)).collect::<Vec<_>>();
    let devices: Vec<i64> = counted.iter().map(|((device, _), _)| i64::from(*device)).collect();
    let days: Vec<i32> = counted.iter().map(|((_, day), _)| *day).collect();
    conn.execute(
        COUNT,
        &[
            &devices,
            &days,
            &each(|c| c.t_last),
            &each(|c| c.frames),
            &each(|c| c.bytes),
            &each(|c| c.duplicates),
        ],
    )
    .await?;
    Ok(())
}

/// What few batches have: status frames, windows sealed again, joins, counters used twice.
async fn rest(conn: &Conn, changes: &Changes<'_>) -> Result<(), StoreError> {
    for arrival in &changes.others {
        conn.execute(
            "INSERT INTO other_frame VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[
                &i64::from(arrival.device),
                &i64::from(arrival.sealed_as.generation),
                &number(arrival.sealed_as.counter),
                &arrival.tag,
            ],
        )
        .await?;
    }
    for (device, status) in &changes.statuses {
        conn.execute(
            "UPDATE device SET status = $2, status_generation = $3, status_counter = $4, \
             windows_lost = GREATEST(windows_lost, $5) WHERE short_id = $1",
            &[
                &i64::from(*device),
                &status.body,
                &i64::from(status.id.generation),
                &number(status.id.counter),
                &status.windows_lost,
            ],
        )
        .await?;
    }
    for ((device, slot), fingerprint) in &changes.slots {
        registry::set_slot(conn, *device, *slot, fingerprint).await?;
    }
    for ((device, boot), t_boot) in &changes.boots {
        learn_boot_time(conn, *device, *boot, *t_boot).await?;
    }
    for change in &changes.joins {
        registry::swap_join_state(conn, change).await?;
    }
    for ((device, day), counted) in changes.counted.iter().filter(|(_, counted)| counted.reused > 0) {
        let n = counted.reused.unsigned_abs();
        let reject =
            crate::store::RejectCount { device: *device, day: *day, reason: "counter_reuse".into(), n };
        super::stats::add_rejects(conn, &[reject]).await?;
    }
    Ok(())
}

/// Keeps when a boot began and dates its windows that came with an uptime alone, those of this batch included.
async fn learn_boot_time(conn: &Conn, device: u32, boot: u32, t_boot: i64) -> Result<(), StoreError> {
    let (device, boot) = (i64::from(device), i64::from(boot));
    // Boot numbers wrap: the latest word is about the present boot.
    conn.execute(
        "INSERT INTO boot VALUES ($1, $2, $3) ON CONFLICT (device, boot) DO UPDATE SET t_boot = excluded.t_boot",
        &[&device, &boot, &t_boot],
    )
    .await?;
    conn.execute(
        "UPDATE stored_window SET t_first = $3 + uptime, t_quality = 2 \
         WHERE device = $1 AND boot = $2 AND t_quality = 5",
        &[&device, &boot, &t_boot],
    )
    .await?;
    Ok(())
}

/// Numbers as three columns.
struct Keys {
    device: Vec<i64>,
    generation: Vec<i64>,
    counter: Vec<i64>,
}

impl Keys {
    fn of(numbers: &[Number]) -> Self {
        Self {
            device: numbers.iter().map(|(device, _)| i64::from(*device)).collect(),
            generation: numbers.iter().map(|(_, id)| i64::from(id.generation)).collect(),
            counter: numbers.iter().map(|(_, id)| number(id.counter)).collect(),
        }
    }
}

fn unzip(keys: &[(u32, u32)]) -> (Vec<i64>, Vec<i64>) {
    keys.iter().map(|(a, b)| (i64::from(*a), i64::from(*b))).unzip()
}
