//! What the server has against what was measured: every acknowledged window, stored once, within the bound.

use std::collections::HashMap;
use std::sync::Arc;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{ABOVE, BELOW, Grid};
use kinglet_server::Core;
use kinglet_server::readings::{Readings, Value, decode_all};
use kinglet_server::store::StoreError;
use kinglet_train::fit::error_over_bound;
use kinglet_train::recording::Recording;

use super::fleet::Member;

/// More windows of one device than any run makes.
const WINDOWS_MAX: u32 = 10_000_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Found {
    /// Windows on the server.
    pub(crate) windows_stored: u64,
    /// Samples the devices took.
    pub(crate) samples_measured: u64,
    /// Samples that are on the server.
    pub(crate) samples_stored: u64,
    /// Readings (numbers) among them.
    pub(crate) readings: u64,
    /// Samples stored more than once.
    pub(crate) duplicates: u64,
    /// Samples whose window was acknowledged and that are not there.
    pub(crate) missing: u64,
    /// Samples of windows that were not acknowledged when it ended; some of them may be stored.
    pub(crate) unacknowledged: u64,
    /// Stored samples nobody measured, at no sample's time, or windows that do not decode.
    pub(crate) strangers: u64,
    /// Bytes of the frames the stored windows came in.
    pub(crate) frame_bytes: u64,
    /// Bytes of the longest of them.
    pub(crate) frame_bytes_max: u64,
    /// Bytes of their codes.
    pub(crate) payload_bytes: u64,
    /// Bytes of a JSON body for each stored sample: `{"temperature":21.5,"humidity":44.1}`.
    pub(crate) json_bytes: u64,
    /// Largest error in units of its channel's bound.
    pub(crate) max_error_over_bound: f64,
}

impl Found {
    /// True if every promise held.
    pub(crate) fn holds(&self) -> bool {
        let Self { duplicates, missing, strangers, max_error_over_bound, .. } = *self;
        duplicates == 0 && missing == 0 && strangers == 0 && max_error_over_bound <= 1.0
    }
}

/// Reads all windows of all devices back from the store and compares them with what was measured.
pub(crate) async fn verify(
    core: &Arc<Core>,
    bundle: &Bundle,
    members: &[Member<'_>],
) -> Result<Found, StoreError> {
    let model = bundle.model();
    let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
    let names: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).name).collect();
    let mut found = Found::default();
    for member in members {
        let rows = core.store.windows(member.short_id, i64::MIN, i64::MAX, WINDOWS_MAX).await?;
        found.windows_stored += rows.len() as u64;
        found.frame_bytes += rows.iter().map(|row| u64::from(row.frame_len)).sum::<u64>();
        let longest = rows.iter().map(|row| u64::from(row.frame_len)).max().unwrap_or(0);
        found.frame_bytes_max = found.frame_bytes_max.max(longest);
        found.payload_bytes += rows.iter().map(|row| row.code.len() as u64).sum::<u64>();
        let decoded = decode_all(&core.bundles, rows).await?;
        let mut seen = vec![0u32; member.truth.len()];
        let at: HashMap<i64, usize> =
            member.truth.iter().enumerate().map(|(idx, &(t_ms, _))| (t_ms, idx)).collect();
        for (_, window) in decoded {
            match window {
                Ok(window) => compare(&mut found, &window, &grids, member, &at, &mut seen),
                Err(_) => found.strangers += 1,
            }
        }
        found.samples_measured += seen.len() as u64;
        found.samples_stored += seen.iter().filter(|n| **n > 0).count() as u64;
        found.duplicates += seen.iter().map(|n| u64::from(n.saturating_sub(1))).sum::<u64>();
        let absent = seen.iter().filter(|n| **n == 0).count() as u64;
        // Windows are acked in any order, so what waits is named by its number, not by its place.
        match member.session.node().stats().n_windows_waiting {
            0 => found.missing += absent,
            n => {
                let waiting = (n * model.samples()) as u64;
                found.unacknowledged += absent.min(waiting);
                found.missing += absent.saturating_sub(waiting);
            }
        }
        for (_, &(_, row)) in seen.iter().zip(&member.truth).filter(|(n, _)| **n > 0) {
            found.json_bytes += json_len(member.recording, &names, row);
            let numbers = member.recording.channels().iter().filter(|c| c.values.get(row).is_some());
            found.readings += numbers.count() as u64;
        }
    }
    Ok(found)
}

fn compare(
    found: &mut Found,
    window: &Readings,
    grids: &[Grid],
    member: &Member<'_>,
    at: &HashMap<i64, usize>,
    seen: &mut [u32],
) {
    // Frames of slow channels say whole seconds; the first sample is the one nearest to that.
    let near =
        |t_ms: i64| (0..=500).flat_map(move |d| [t_ms - d, t_ms + d]).find_map(|t_ms| at.get(&t_ms).copied());
    let Some(first) = near(window.t_first) else {
        found.strangers += 1;
        return;
    };
    for (i, (t_ms, values)) in window.samples().enumerate() {
        let Some(&(t_truth, row)) = member.truth.get(first + i) else {
            found.strangers += 1;
            continue;
        };
        if 2 * (t_truth - t_ms).abs() > window.period_ms.max(2) {
            found.strangers += 1;
            continue;
        }
        seen[first + i] += 1;
        for ((value, grid), channel) in values.iter().zip(grids).zip(member.recording.channels()) {
            let error = match (channel.values.get(row), *value) {
                (Some(truth), Value::Number(decoded)) => error_over_bound(grid, truth, decoded),
                (Some(truth), Value::Above) if grid.quantise(truth).step == ABOVE => 0.0,
                (Some(truth), Value::Below) if grid.quantise(truth).step == BELOW => 0.0,
                (None, Value::Missing) => 0.0,
                _ => f64::INFINITY,
            };
            found.max_error_over_bound = found.max_error_over_bound.max(error);
        }
    }
}

/// Bytes of the JSON body that says one sample: names and numbers, no time, no HTTP around it.
fn json_len(recording: &Recording, names: &[&str], row: usize) -> u64 {
    let cells = recording.channels().iter().zip(names).filter_map(|(channel, name)| {
        let value = channel.values.get(row)?;
        Some(name.len() + value.to_string().len() + "\"\":,".len())
    });
    // A comma less than cells, and the braces.
    (cells.sum::<usize>() + 1) as u64
}
