//! Readings of the seed's own mode, in blocks.

use tokio_postgres::Row;

use super::conn::Conn;
use super::number;
use crate::store::seed::{BLOCK_SPAN_MS, blocks, channels_text, sample};
use crate::store::{SeedRun, SeedSeries, StoreError};

/// Appends the samples; of a series with more than `keep` the oldest blocks go.
pub(super) async fn add(conn: &Conn, runs: &[SeedRun], keep: u64) -> Result<(), StoreError> {
    for run in runs {
        let Some(t_last) = run.times.iter().max() else { continue };
        let n_samples = number(run.times.len() as u64);
        // Locks the series: one server at a time adds to it and trims it.
        let row = conn
            .row(
                "INSERT INTO seed_series AS s (device, bundle, channels, n_samples, t_last) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (device, bundle) DO UPDATE SET n_samples = s.n_samples + excluded.n_samples, \
                 t_last = GREATEST(s.t_last, excluded.t_last) RETURNING id",
                &[&run.device, &run.bundle.as_slice(), &channels_text(&run.channels), &n_samples, t_last],
            )
            .await?;
        let Some(series) = row.map(|row| row.try_get::<_, i64>(0)).transpose()? else { continue };
        for block in blocks(run) {
            conn.execute(
                "INSERT INTO seed_block (series, t_first, n_samples, samples) VALUES ($1, $2, $3, $4)",
                &[&series, &block.t_first, &number(block.n_samples as u64), &block.bytes],
            )
            .await?;
        }
        trim(conn, series, keep).await?;
    }
    Ok(())
}

async fn trim(conn: &Conn, series: i64, keep: u64) -> Result<(), StoreError> {
    // From the newest block on: those that begin beyond what is kept go.
    conn.execute(
        "WITH gone AS (DELETE FROM seed_block USING (SELECT id, sum(n_samples) OVER (ORDER BY t_first DESC, id DESC) AS n \
         FROM seed_block WHERE series = $1) b WHERE seed_block.id = b.id AND b.n > $2::bigint \
         AND (SELECT n_samples FROM seed_series WHERE id = $1) > $2::bigint RETURNING n_samples) \
         UPDATE seed_series SET n_samples = n_samples - (SELECT sum(n_samples) FROM gone)::bigint \
         WHERE id = $1 AND EXISTS (SELECT FROM gone)",
        &[&series, &number(keep)],
    )
    .await?;
    Ok(())
}

pub(super) async fn series(conn: &Conn) -> Result<Vec<SeedSeries>, StoreError> {
    let rows = conn
        .rows(
            "SELECT device, bundle, channels, n_samples, t_last FROM seed_series ORDER BY device, t_last DESC",
            &[],
        )
        .await?;
    let one = |row: &Row| {
        Ok(SeedSeries {
            device: row.try_get(0)?,
            bundle: super::fingerprint(row.try_get(1)?)?,
            channels: channels_of(row, 2)?,
            n_samples: row.try_get::<_, i64>(3)?.unsigned_abs(),
            t_last: row.try_get(4)?,
        })
    };
    rows.iter().map(one).collect()
}

/// Samples of a name with `from <= time < to`, one run per bundle, by time; at most `limit` of each, the newest.
pub(super) async fn samples(
    conn: &Conn,
    device: &str,
    from_ms: i64,
    to_ms: i64,
    limit: u32,
) -> Result<Vec<SeedRun>, StoreError> {
    let all = conn
        .rows("SELECT id, bundle, channels FROM seed_series WHERE device = $1 ORDER BY t_last", &[&device])
        .await?;
    let limit = limit as usize;
    let mut runs = Vec::new();
    for row in &all {
        let series: i64 = row.try_get(0)?;
        let channels = channels_of(row, 2)?;
        let width = 8 + 4 * channels.len();
        // Each block has a sample at least.
        let rows = conn
            .rows(
                "SELECT samples FROM seed_block WHERE series = $1 AND t_first >= $2 AND t_first < $3 \
                 ORDER BY t_first DESC LIMIT $4",
                &[&series, &from_ms.saturating_sub(BLOCK_SPAN_MS), &to_ms, &number(limit as u64 + 3600)],
            )
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            let bytes: &[u8] = row.try_get(0)?;
            found.extend(bytes.chunks_exact(width).map(sample).filter(|(t, _)| (from_ms..to_ms).contains(t)));
            if found.len() >= limit {
                break;
            }
        }
        found.sort_by_key(|(t, _)| *t);
        found.drain(..found.len().saturating_sub(limit));
        if !found.is_empty() {
            let bundle = super::fingerprint(row.try_get(1)?)?;
            let times = found.iter().map(|(t, _)| *t).collect();
            let values = found.into_iter().flat_map(|(_, values)| values).collect();
            runs.push(SeedRun { device: device.into(), bundle, channels, times, values });
        }
    }
    Ok(runs)
}

fn channels_of(row: &Row, idx: usize) -> Result<Vec<(String, String)>, StoreError> {
    let text: &str = row.try_get(idx)?;
    serde_json::from_str(text).map_err(|e| StoreError::Database(e.to_string()))
}
