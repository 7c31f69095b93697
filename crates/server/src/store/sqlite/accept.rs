//! Whether a frame is new: the row decides, in the transaction that keeps it.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use kinglet_wire::ranges;

use super::memo::Memo;
use super::received::Witness;
use crate::store::{
    Arrival, BootSync, Content, FrameId, JoinChange, Outcome, StoreError, TimeQuality, Verdict, WindowRow,
    day_of,
};

/// Takes frames in, in order; counts per device and day those that leave no row of a window behind. The others
/// are counted, and their numbers put into the ranges, when the background pass files them: until then their
/// rows themselves say so.
pub(super) fn accept(
    conn: &Connection,
    memo: &mut Memo,
    arrivals: &[Arrival],
) -> Result<Vec<Outcome>, StoreError> {
    memo.received.keep_few(conn)?;
    let mut counted: HashMap<(u32, i32), Counted> = HashMap::new();
    let mut verdicts = Vec::with_capacity(arrivals.len());
    // Nothing asks in here whether the number is there already: the ranges have said so, in this transaction.
    let mut insert = conn.prepare_cached(
        "INSERT INTO window (id, device, generation, counter, t_first, t_arrival, t_quality, boot, uptime, \
         frame_len, crc, bundle, tag, code) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for arrival in arrivals {
        let verdict = accept_one(conn, memo, &mut insert, arrival)?;
        count(&mut counted, arrival, verdict);
        verdicts.push(verdict);
    }
    memo.received.save_unwitnessed(conn)?;
    for ((device, day), counted) in counted {
        counted.add(conn, device, day)?;
    }
    let outcome = |(arrival, verdict): (&Arrival, Verdict)| {
        let acked = matches!(verdict, Verdict::Stored | Verdict::AlreadyStored);
        let span = acked.then(|| memo.received.span(arrival.device, arrival.sealed_as)).flatten();
        Outcome { verdict, span }
    };
    Ok(arrivals.iter().zip(verdicts).map(outcome).collect())
}

fn accept_one(
    conn: &Connection,
    memo: &mut Memo,
    insert: &mut CachedStatement<'_>,
    arrival: &Arrival,
) -> Result<Verdict, StoreError> {
    let device = arrival.device;
    if let Some(refused) = memo.standing(conn, device)? {
        return Ok(refused);
    }
    match memo.received.check(conn, device, arrival.sealed_as)? {
        ranges::Received::New => {}
        ranges::Received::Closed => return Ok(Verdict::TooOld),
        ranges::Received::Already => {
            // No tag left: retention took the window, the counter still says it was stored.
            let same = tag_of(conn, memo, arrival)?.is_none_or(|tag| tag == arrival.tag)
                || is_overtaken(conn, memo, arrival)?;
            return Ok(if same { Verdict::AlreadyStored } else { Verdict::CounterReuse });
        }
    }
    let verdict = match &arrival.content {
        Content::Window { .. } => keep_window(conn, memo, insert, arrival)?,
        Content::Status { .. } => keep_status(conn, memo, arrival)?,
    };
    if verdict == Verdict::CounterReuse {
        return Ok(verdict);
    }
    let by_row = matches!(arrival.content, Content::Window { .. }) && arrival.origin == arrival.sealed_as;
    let witness = if by_row { Witness::Row } else { Witness::None };
    memo.received.insert(conn, device, arrival.sealed_as, witness)?;
    if arrival.origin != arrival.sealed_as {
        memo.received.insert(conn, device, arrival.origin, witness)?;
    }
    if let Some(change) = &arrival.confirm {
        // Another frame of the batch may have confirmed the same generation: then there is nothing to do.
        swap_join_state(conn, change)?;
    }
    Ok(verdict)
}

fn keep_window(
    conn: &Connection,
    memo: &mut Memo,
    insert: &mut CachedStatement<'_>,
    arrival: &Arrival,
) -> Result<Verdict, StoreError> {
    let Content::Window { t_first, t_quality, uptime, bundle, code } = &arrival.content else {
        return Ok(Verdict::CounterReuse);
    };
    let (device, origin) = (arrival.device, arrival.origin);
    let resealed = origin != arrival.sealed_as;
    if resealed {
        let same = same_content(conn, memo, arrival, bundle, code)?;
        if same == Some(false) {
            return Ok(Verdict::CounterReuse);
        }
        remember_tag(conn, arrival)?;
        let before = memo.received.check(conn, device, origin)?;
        if same == Some(true) || before == ranges::Received::Already {
            return Ok(Verdict::AlreadyStored);
        }
    }
    let dated = match uptime {
        Some((boot, uptime)) => boot_time(conn, device, *boot)?.map(|t_boot| t_boot.saturating_add(*uptime)),
        None => None,
    };
    let (t_first, t_quality) = dated.map_or((*t_first, *t_quality), |t| (t, TimeQuality::Boot));
    let crc = crate::store::row_crc(device, origin, bundle, &arrival.tag, code);
    let id = memo.next_id(conn)?;
    insert.execute(params![
        id,
        device,
        origin.generation,
        db_counter(origin.counter),
        t_first,
        arrival.t_arrival,
        t_quality as u8,
        uptime.map(|(boot, _)| boot),
        uptime.map(|(_, uptime)| uptime),
        arrival.frame_len,
        crc,
        bundle,
        arrival.tag,
        code
    ])?;
    memo.stored(WindowRow {
        row_id: id,
        device,
        origin,
        t_first,
        t_arrival: arrival.t_arrival,
        t_quality,
        bundle: *bundle,
        code: code.clone(),
        frame_len: arrival.frame_len,
        n_samples: None,
        flaw: None,
    });
    Ok(Verdict::Stored)
}

fn keep_status(conn: &Connection, memo: &mut Memo, arrival: &Arrival) -> Result<Verdict, StoreError> {
    let Content::Status { body, slot, windows_lost, sync } = &arrival.content else {
        return Ok(Verdict::CounterReuse);
    };
    remember_tag(conn, arrival)?;
    let FrameId { generation, counter } = arrival.sealed_as;
    let newest =
        conn.prepare_cached(
            "UPDATE device SET status = ?2, status_generation = ?3, status_counter = ?4, \
             windows_lost = MAX(windows_lost, ?5) \
             WHERE short_id = ?1 AND (status_generation, status_counter) < (?3, ?4)",
        )?
        .execute(params![
            arrival.device,
            body,
            generation,
            db_counter(counter),
            db_counter(windows_lost.unwrap_or(0))
        ])? == 1;
    if let (true, Some((slot, fingerprint))) = (newest, slot) {
        super::registry::set_slot(conn, arrival.device, *slot, fingerprint)?;
    }
    if let (true, Some(sync)) = (newest, sync) {
        learn_boot_time(conn, memo, arrival.device, *sync)?;
    }
    Ok(Verdict::Stored)
}

/// Keeps when a boot began and dates its windows that came with an uptime alone.
fn learn_boot_time(
    conn: &Connection,
    memo: &mut Memo,
    device: u32,
    sync: BootSync,
) -> Result<(), StoreError> {
    // Boot numbers wrap: the latest word is about the present boot.
    conn.prepare_cached(
        "INSERT INTO boot VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET t_boot = excluded.t_boot",
    )?
    .execute(params![device, sync.boot, sync.t_boot])?;
    let undated: Vec<(i64, i64, i64)> = conn
        .prepare_cached(
            "SELECT id, t_first, uptime FROM window WHERE device = ?1 AND boot = ?2 AND t_quality = 5",
        )?
        .query_map([device, sync.boot], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    if !undated.is_empty() {
        memo.redated();
    }
    let mut date = conn.prepare_cached("UPDATE window SET t_first = ?2, t_quality = ?3 WHERE id = ?1")?;
    // Windows of the tail are not in there yet; the background pass will find them with their new time.
    let mut shift = conn.prepare_cached(
        "UPDATE window_order SET t_first = ?4 WHERE device = ?1 AND t_first = ?2 AND id = ?3",
    )?;
    for (id, t_before, uptime) in undated {
        let t_first = sync.t_boot.saturating_add(uptime);
        date.execute(params![id, t_first, TimeQuality::Boot as u8])?;
        shift.execute(params![device, t_before, id, t_first])?;
    }
    Ok(())
}

fn boot_time(conn: &Connection, device: u32, boot: u32) -> Result<Option<i64>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT t_boot FROM boot WHERE device = ?1 AND boot = ?2")?;
    Ok(statement.query_row([device, boot], |row| row.get(0)).optional()?)
}

/// The tag stored under the number the frame was sealed as.
fn tag_of(conn: &Connection, memo: &mut Memo, arrival: &Arrival) -> Result<Option<Vec<u8>>, StoreError> {
    let FrameId { generation, counter } = arrival.sealed_as;
    // A window sealed again has its row under its origin; the other table knows the number it came under.
    let tag = conn
        .prepare_cached("SELECT tag FROM other_frame WHERE device = ?1 AND generation = ?2 AND counter = ?3")?
        .query_row(params![arrival.device, generation, db_counter(counter)], |row| row.get(0))
        .optional()?;
    if tag.is_some() {
        return Ok(tag);
    }
    let Some(id) = memo.window_id(conn, arrival.device, arrival.sealed_as)? else { return Ok(None) };
    let mut statement = conn.prepare_cached("SELECT tag FROM window WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}

fn remember_tag(conn: &Connection, arrival: &Arrival) -> Result<(), StoreError> {
    let FrameId { generation, counter } = arrival.sealed_as;
    conn.prepare_cached("INSERT INTO other_frame VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![arrival.device, generation, db_counter(counter), arrival.tag])?;
    Ok(())
}

/// Whether the window stored under the arrival's origin holds the same code; `None` if there is none.
fn same_content(
    conn: &Connection,
    memo: &mut Memo,
    arrival: &Arrival,
    bundle: &[u8],
    code: &[u8],
) -> Result<Option<bool>, StoreError> {
    let Some(id) = memo.window_id(conn, arrival.device, arrival.origin)? else { return Ok(None) };
    let mut statement = conn.prepare_cached("SELECT bundle = ?2 AND code = ?3 FROM window WHERE id = ?1")?;
    Ok(statement.query_row(params![id, bundle, code], |row| row.get(0)).optional()?)
}

/// True if the same window was stored from a frame that was sealed again, under this number as its origin: this is the first
/// frame, which has come late.
fn is_overtaken(conn: &Connection, memo: &mut Memo, arrival: &Arrival) -> Result<bool, StoreError> {
    let Content::Window { bundle, code, .. } = &arrival.content else { return Ok(false) };
    let Some(id) = memo.window_id(conn, arrival.device, arrival.sealed_as)? else { return Ok(false) };
    let mut statement = conn.prepare_cached(
        "SELECT 1 FROM window w JOIN other_frame o ON o.device = w.device AND o.tag = w.tag \
         WHERE w.id = ?1 AND w.bundle = ?2 AND w.code = ?3 LIMIT 1",
    )?;
    Ok(statement.exists(params![id, bundle, code])?)
}

/// Replaces a join state if nobody else did.
pub(super) fn swap_join_state(conn: &Connection, change: &JoinChange) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached(
            "UPDATE device SET join_state = ?3, join_version = join_version + 1 \
             WHERE short_id = ?1 AND join_version = ?2 AND t_revoked IS NULL",
        )?
        .execute(params![change.device, db_counter(change.expected), change.state])?;
    Ok(n == 1)
}

/// A counter has 48 bits; anything larger never left this process.
pub(super) fn db_counter(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Counted {
    t_last: i64,
    frames: i64,
    bytes: i64,
    duplicates: i64,
    reused: i64,
}

fn count(counted: &mut HashMap<(u32, i32), Counted>, arrival: &Arrival, verdict: Verdict) {
    let in_its_row = verdict == Verdict::Stored && matches!(arrival.content, Content::Window { .. });
    if in_its_row || matches!(verdict, Verdict::UnknownDevice | Verdict::Revoked | Verdict::TooOld) {
        return;
    }
    let entry = counted.entry((arrival.device, day_of(arrival.t_arrival))).or_default();
    if verdict == Verdict::CounterReuse {
        entry.reused += 1;
        return;
    }
    entry.t_last = entry.t_last.max(arrival.t_arrival);
    entry.frames += 1;
    entry.bytes += i64::from(arrival.frame_len);
    entry.duplicates += i64::from(verdict == Verdict::AlreadyStored);
}

impl Counted {
    fn add(self, conn: &Connection, device: u32, day: i32) -> Result<(), StoreError> {
        if self.frames > 0 {
            conn.prepare_cached(
                "INSERT INTO day_stats VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6) ON CONFLICT (device, day) DO UPDATE \
                 SET t_last = MAX(t_last, excluded.t_last), frames = frames + excluded.frames, \
                 bytes = bytes + excluded.bytes, duplicates = duplicates + excluded.duplicates",
            )?
            .execute(params![device, day, self.t_last, self.frames, self.bytes, self.duplicates])?;
        }
        if self.reused > 0 {
            super::stats::add_reject(conn, device, day, "counter_reuse", self.reused)?;
        }
        Ok(())
    }
}
