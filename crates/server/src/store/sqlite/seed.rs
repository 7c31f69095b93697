//! Readings of the seed's own mode, in blocks.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::seed::{BLOCK_SPAN_MS, blocks, channels_text, sample};
use crate::store::{SeedRun, SeedSeries, StoreError};

/// Appends the samples; of a series with more than `keep` the oldest blocks go.
pub(super) fn add(conn: &Connection, runs: &[SeedRun], keep: u64) -> Result<(), StoreError> {
    for run in runs {
        let Some(t_last) = run.times.iter().max() else { continue };
        let series: i64 = conn
            .prepare_cached(
                "INSERT INTO seed_series (device, bundle, channels, n_samples, t_last) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (device, bundle) DO UPDATE SET n_samples = n_samples + excluded.n_samples, \
                 t_last = MAX(t_last, excluded.t_last) RETURNING id",
            )?
            .query_row(
                params![run.device, run.bundle, channels_text(&run.channels), run.times.len(), t_last],
                |row| row.get(0),
            )?;
        let mut insert = conn.prepare_cached(
            "INSERT INTO seed_block (series, t_first, n_samples, samples) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for block in blocks(run) {
            insert.execute(params![series, block.t_first, block.n_samples, block.bytes])?;
        }
        trim(conn, series, keep)?;
    }
    Ok(())
}

pub(super) fn series(conn: &Connection) -> Result<Vec<SeedSeries>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT device, bundle, channels, n_samples, t_last FROM seed_series ORDER BY device, t_last DESC",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(SeedSeries {
            device: row.get(0)?,
            bundle: row.get(1)?,
            channels: channels_of(row, 2)?,
            n_samples: row.get(3)?,
            t_last: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Samples of a name with `from <= time < to`, one run per bundle, by time; at most `limit` of each, the newest.
pub(super) fn samples(
    conn: &Connection,
    device: &str,
    from_ms: i64,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<SeedRun>, StoreError> {
    let mut all = conn
        .prepare_cached("SELECT id, bundle, channels FROM seed_series WHERE device = ?1 ORDER BY t_last")?
        .query_map([device], |row| Ok((row.get(0)?, row.get(1)?, channels_of(row, 2)?)))?
        .collect::<Result<Vec<(i64, _, _)>, _>>()?;
    let mut runs = Vec::new();
    for (series, bundle, channels) in all.drain(..) {
        let mut found = Vec::new();
        let mut statement = conn.prepare_cached(
            "SELECT samples FROM seed_block WHERE series = ?1 AND t_first >= ?2 AND t_first < ?3 ORDER BY t_first DESC",
        )?;
        let mut rows = statement.query(params![series, from_ms.saturating_sub(BLOCK_SPAN_MS), to_ms])?;
        let width = 8 + 4 * channels.len();
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let samples = bytes.chunks_exact(width).map(sample);
            found.extend(samples.filter(|(t, _)| (from_ms..to_ms).contains(t)));
            if found.len() >= limit as usize {
                break;
            }
        }
        found.sort_by_key(|(t, _)| *t);
        found.drain(..found.len().saturating_sub(limit as usize));
        if !found.is_empty() {
            let times = found.iter().map(|(t, _)| *t).collect();
            let values = found.into_iter().flat_map(|(_, values)| values).collect();
            runs.push(SeedRun { device: device.into(), bundle, channels, times, values });
        }
    }
    Ok(runs)
}

fn trim(conn: &Connection, series: i64, keep: u64) -> Result<(), StoreError> {
    let mut count = conn.prepare_cached("SELECT n_samples FROM seed_series WHERE id = ?1")?;
    let mut n: u64 = count.query_row([series], |row| row.get(0))?;
    let before = n;
    let mut oldest = conn.prepare_cached(
        "SELECT id, n_samples FROM seed_block WHERE series = ?1 ORDER BY t_first, id LIMIT 1",
    )?;
    let mut delete = conn.prepare_cached("DELETE FROM seed_block WHERE id = ?1")?;
    while n > keep {
        let block: Option<(i64, u64)> =
            oldest.query_row([series], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((id, n_samples)) = block else { break };
        delete.execute([id])?;
        n = n.saturating_sub(n_samples);
    }
    if n < before {
        conn.prepare_cached("UPDATE seed_series SET n_samples = ?2 WHERE id = ?1")?
            .execute(params![series, n])?;
    }
    Ok(())
}

fn channels_of(row: &Row<'_>, idx: usize) -> rusqlite::Result<Vec<(String, String)>> {
    let text = row.get_ref(idx)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(idx, rusqlite::types::Type::Text, Box::new(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(times: &[i64]) -> SeedRun {
        SeedRun {
            device: "porch".into(),
            bundle: [1; 16],
            channels: vec![("temperature".into(), "°C".into())],
            times: times.to_vec(),
            values: times.iter().map(|t| *t as f32).collect(),
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("v2.sql")).unwrap();
        for t in 0..10 {
            add(&conn, &[run(&[t])], 4).unwrap();
        }
        let kept = samples(&conn, "porch", 0, i64::MAX, 100).unwrap();
        assert_eq!(kept[0].times, [6, 7, 8, 9]);
        assert_eq!(series(&conn).unwrap()[0].n_samples, 4);
    }
}
